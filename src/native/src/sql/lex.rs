//! Pieces of a statement: sqlparser's tokens, with their places in the source and what we need to know of them.
//!
//! A lexer that stumbles has said nothing about what comes next, so [`Lexed::has_rest`] stands for all of it. The
//! same goes for a token that `doubt` finds the server could read otherwise.

mod dialect;
mod doubt;

use std::borrow::Cow;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, Tokenizer, Whitespace};

use super::Dialect;

/// What a piece of a statement is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Space,
    Comment,
    /// Without quotes.
    Word(Keyword),
    /// An identifier in quotes.
    Quoted,
    /// In double quotes, where they may hold an identifier or a string.
    Doubtful,
    /// All literals but numbers.
    Literal,
    /// With its sign, where it has one.
    Number,
    Placeholder,
    /// Plus or minus, on its own.
    Sign,
    Comma,
    Open,
    Close,
    Period,
    Colon,
    Semicolon,
    Comparison,
    Other,
}

/// Bytes `start..end` of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

impl Piece {
    pub fn of<'a>(&self, source: &'a str) -> &'a str {
        source.get(self.start..self.end).unwrap_or_default()
    }
}

/// Everything up to where reading had to end.
pub(super) struct Lexed {
    pub pieces: Vec<Piece>,
    /// There is more, and it may hold anything.
    pub has_rest: bool,
}

/// A statement as text.
pub(super) struct Source<'a> {
    pub text: Cow<'a, str>,
    /// Bytes behind the text are of a character set that may hide quotes.
    ends_early: bool,
}

/// What is not UTF-8 becomes U+FFFD, up to a byte that is a character of its own in UTF-8 and in other sets (GBK,
/// Shift JIS) the second half of one.
pub(super) fn decode(bytes: &[u8]) -> Source<'_> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Source {
            text: Cow::Borrowed(text),
            ends_early: false,
        };
    }
    let mut text = String::with_capacity(bytes.len());
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let behind = chunks.peek().and_then(|next| next.valid().chars().next());
        if !chunk.invalid().is_empty() {
            if behind.is_some_and(|c| matches!(c, '\\' | '`' | '[' | ']')) {
                return Source {
                    text: Cow::Owned(text),
                    ends_early: true,
                };
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Source {
        text: Cow::Owned(text),
        ends_early: false,
    }
}

/// `cut`: the source goes on, so its last token may, too.
pub(super) fn lex(dialect: Dialect, source: &Source<'_>, cut: bool) -> Lexed {
    let text = &*source.text;
    let mut tokens = Vec::with_capacity(text.len() / 4 + 1);
    let complete = Tokenizer::new(&dialect, text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens)
        .is_ok();
    if cut && complete {
        tokens.pop();
    }
    let mut reader = Reader {
        dialect,
        text,
        place: Place::new(text),
        pieces: Vec::with_capacity(tokens.len()),
        in_escapes: false,
    };
    let read_all = tokens
        .iter()
        .all(|token| reader.read(&token.token, token.span.start, token.span.end));
    let rest = text.get(reader.place.at..).unwrap_or_default();
    Lexed {
        has_rest: !read_all || source.ends_early || (!complete && !rest.starts_with("/*")) || cut,
        pieces: reader.pieces,
    }
}

struct Reader<'a> {
    dialect: Dialect,
    text: &'a str,
    place: Place<'a>,
    pieces: Vec<Piece>,
    /// Behind a string with escapes (`E'…'`), whose continuations have them without saying so.
    in_escapes: bool,
}

impl Reader<'_> {
    /// False where the token is not to be trusted.
    fn read(&mut self, token: &Token, start: Location, end: Location) -> bool {
        let start = self.place.go_to(start);
        if self.pieces.last().is_some_and(|last| start < last.end) {
            // Part of a UUID.
            return true;
        }
        let end = self.place.go_to(end);
        if self.is_doubtful(token, start, end) {
            self.place.at = start;
            return false;
        }
        let piece = Piece {
            kind: self.kind(token),
            start,
            end,
        };
        match piece.kind {
            Kind::Number => self.number(piece),
            Kind::Word(_) => self.word(piece),
            Kind::Literal => self.literal(piece),
            _ => self.pieces.push(piece),
        }
        true
    }

    fn kind(&self, token: &Token) -> Kind {
        use Token as T;
        match token {
            T::Whitespace(
                Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
            ) => Kind::Comment,
            T::Whitespace(_) => Kind::Space,
            T::Word(word) => match word.quote_style {
                None => Kind::Word(word.keyword),
                Some('"') if self.doubts_double_quotes() => Kind::Doubtful,
                Some(_) => Kind::Quoted,
            },
            T::Number(..) => Kind::Number,
            T::Placeholder(name) if self.is_money(name) => Kind::Number,
            T::Placeholder(_) | T::Question => Kind::Placeholder,
            T::Plus | T::Minus => Kind::Sign,
            T::Comma => Kind::Comma,
            T::LParen => Kind::Open,
            T::RParen => Kind::Close,
            T::Period => Kind::Period,
            T::Colon => Kind::Colon,
            T::SemiColon => Kind::Semicolon,
            T::Eq | T::DoubleEq | T::Neq | T::Lt | T::Gt | T::LtEq | T::GtEq => Kind::Comparison,
            // `0x1F` is one of these, too.
            T::HexStringLiteral(_) => Kind::Number,
            token if is_string(token) => Kind::Literal,
            _ => Kind::Other,
        }
    }

    fn doubts_double_quotes(&self) -> bool {
        matches!(
            self.dialect,
            Dialect::Generic | Dialect::SqlServer | Dialect::Sqlite
        )
    }

    /// `$12.50` is money in Transact-SQL, `$action` is a column.
    fn is_money(&self, placeholder: &str) -> bool {
        self.dialect == Dialect::SqlServer && placeholder.bytes().any(|b| b.is_ascii_digit())
    }

    fn number(&mut self, mut piece: Piece) {
        if self.is_uuid(&mut piece) {
            self.pieces.push(piece);
            return;
        }
        let Some(last) = self.pieces.last().copied() else {
            self.pieces.push(piece);
            return;
        };
        let is_part = last.end == piece.start
            && match last.kind {
                // `1.2.3`
                Kind::Number => true,
                // `$1.50`
                Kind::Placeholder => self.text[piece.start..].starts_with('.'),
                Kind::Sign => self.is_unary_sign(),
                _ => false,
            };
        if is_part {
            piece.start = last.start;
            self.pieces.pop();
        } else if last.end == piece.start && self.is_positional() {
            piece.kind = Kind::Placeholder;
        }
        self.pieces.push(piece);
    }

    /// `:1`, where it can't be the end of a slice or a time.
    fn is_positional(&self) -> bool {
        let mut before = self.significant();
        self.dialect == Dialect::Generic
            && before.next().is_some_and(|p| p.kind == Kind::Colon)
            && before
                .next()
                .is_some_and(|p| matches!(p.kind, Kind::Comparison | Kind::Open | Kind::Comma))
    }

    /// The last piece is a sign that can't be an operator; behind a literal it counts as none, as in the
    /// conventions' test cases.
    fn is_unary_sign(&self) -> bool {
        let mut before = self.significant();
        if before.next().is_none_or(|p| p.kind != Kind::Sign) {
            return false;
        }
        match before.next().map(|p| p.kind) {
            Some(Kind::Word(keyword)) => takes_value(keyword),
            Some(Kind::Quoted | Kind::Doubtful | Kind::Placeholder | Kind::Close) => false,
            // `]` of an array.
            Some(Kind::Other) => !self.text[..self.pieces.last().map_or(0, |sign| sign.start)]
                .trim_end()
                .ends_with(']'),
            _ => true,
        }
    }

    fn word(&mut self, mut piece: Piece) {
        if self.is_uuid(&mut piece) {
            self.pieces.push(piece);
            return;
        }
        // `0XFF`, `1e`, `5m`
        if let Some(last) = self.pieces.last_mut() {
            if last.kind == Kind::Number && last.end == piece.start {
                last.end = piece.end;
                return;
            }
        }
        let is_value = match piece.kind {
            Kind::Word(Keyword::TRUE | Keyword::FALSE) => true,
            _ if self.may_be_cut_uuid(piece) => true,
            _ => self.dialect == Dialect::Cassandra && is_duration(piece.of(self.text).as_bytes()),
        };
        if is_value && self.pieces.last().is_none_or(|p| p.kind != Kind::Period) {
            piece.kind = Kind::Literal;
        }
        self.pieces.push(piece);
    }

    /// CQL writes UUIDs without quotes.
    fn is_uuid(&self, piece: &mut Piece) -> bool {
        if !matches!(self.dialect, Dialect::Cassandra | Dialect::Generic) {
            return false;
        }
        let bytes = &self.text.as_bytes()[piece.start..];
        let mut len = 0;
        for digits in [8, 4, 4, 4, 12] {
            let group = bytes[len..].iter().take(digits);
            let found = group.take_while(|b| b.is_ascii_hexdigit()).count();
            len += found;
            if found < digits || bytes.get(len) != Some(&b'-') {
                break;
            }
            len += 1;
        }
        // Whole, or cut behind its first group; the others are arithmetic.
        if len < 36 && (len < 9 || len < bytes.len()) {
            return false;
        }
        piece.kind = Kind::Number;
        piece.end = piece.end.max(piece.start + len);
        true
    }

    /// Where the statement ends, this may be the start of a UUID.
    fn may_be_cut_uuid(&self, piece: Piece) -> bool {
        let word = piece.of(self.text).as_bytes();
        matches!(self.dialect, Dialect::Cassandra | Dialect::Generic)
            && piece.end == self.text.len()
            && (5..=8).contains(&word.len())
            && word.iter().all(u8::is_ascii_hexdigit)
            && self.significant().next().is_some_and(|p| match p.kind {
                Kind::Word(keyword) => takes_value(keyword),
                Kind::Comparison | Kind::Open | Kind::Comma | Kind::Colon | Kind::Sign => true,
                kind => kind == Kind::Other,
            })
    }

    fn literal(&mut self, mut piece: Piece) {
        if let Some(last) = self.pieces.last() {
            let is_prefix = matches!(last.kind, Kind::Word(_))
                && last.end == piece.start
                && matches!(
                    last.of(self.text),
                    "b" | "B" | "n" | "N" | "x" | "X" | "e" | "E" | "r" | "R"
                );
            if is_prefix {
                piece.start = last.start;
                self.pieces.pop();
            }
        }
        self.pieces.push(piece);
    }

    /// Backwards, without whitespace and comments.
    fn significant(&self) -> impl Iterator<Item = &Piece> {
        let pieces = self.pieces.iter().rev();
        pieces.filter(|p| !matches!(p.kind, Kind::Space | Kind::Comment))
    }
}

/// ISO 8601, as CQL writes it: `P1Y2M`, `PT5M`.
fn is_duration(word: &[u8]) -> bool {
    let Some((b'p' | b'P', parts)) = word.split_first() else {
        return false;
    };
    let mut digits = 0;
    let mut units = 0;
    for byte in parts {
        match byte.to_ascii_uppercase() {
            b'0'..=b'9' => digits += 1,
            b'Y' | b'M' | b'W' | b'D' | b'H' | b'S' if digits > 0 => {
                digits = 0;
                units += 1;
            }
            b'T' if digits == 0 => {}
            _ => return false,
        }
    }
    digits + units > 0
}

/// Keywords before an expression: a sign behind them belongs to its number.
fn takes_value(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::ALL
            | K::AND
            | K::BETWEEN
            | K::BY
            | K::CASE
            | K::DEFAULT
            | K::DISTINCT
            | K::ELSE
            | K::HAVING
            | K::IN
            | K::INTERVAL
            | K::IS
            | K::LIKE
            | K::LIMIT
            | K::NOT
            | K::OFFSET
            | K::ON
            | K::OR
            | K::RETURN
            | K::SELECT
            | K::SET
            | K::THEN
            | K::TO
            | K::TOP
            | K::VALUE
            | K::VALUES
            | K::WHEN
            | K::WHERE
            | K::WITH
    )
}

fn is_string(token: &Token) -> bool {
    use Token as T;
    matches!(
        token,
        T::SingleQuotedString(_)
            | T::DoubleQuotedString(_)
            | T::TripleSingleQuotedString(_)
            | T::TripleDoubleQuotedString(_)
            | T::DollarQuotedString(_)
            | T::SingleQuotedByteStringLiteral(_)
            | T::DoubleQuotedByteStringLiteral(_)
            | T::TripleSingleQuotedByteStringLiteral(_)
            | T::TripleDoubleQuotedByteStringLiteral(_)
            | T::SingleQuotedRawStringLiteral(_)
            | T::DoubleQuotedRawStringLiteral(_)
            | T::TripleSingleQuotedRawStringLiteral(_)
            | T::TripleDoubleQuotedRawStringLiteral(_)
            | T::NationalStringLiteral(_)
            | T::QuoteDelimitedStringLiteral(_)
            | T::NationalQuoteDelimitedStringLiteral(_)
            | T::EscapedStringLiteral(_)
            | T::UnicodeStringLiteral(_)
            | T::CopyData { .. }
    )
}

/// Finds lines and columns, as sqlparser counts them, in the source. They only ever grow.
struct Place<'a> {
    text: &'a str,
    at: usize,
    now: Location,
}

impl<'a> Place<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            now: Location { line: 1, column: 1 },
        }
    }

    fn go_to(&mut self, place: Location) -> usize {
        while self.now < place {
            let Some(c) = self
                .text
                .get(self.at..)
                .and_then(|rest| rest.chars().next())
            else {
                break;
            };
            self.at += c.len_utf8();
            if c == '\n' {
                self.now = Location {
                    line: self.now.line + 1,
                    column: 1,
                };
            } else {
                self.now.column += 1;
            }
        }
        self.at
    }
}
