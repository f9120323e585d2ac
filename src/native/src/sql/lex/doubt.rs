//! Tokens that the server may read otherwise, so that what we take for code may be inside of a literal.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Whitespace};

use super::{is_string, Kind, Reader};
use crate::sql::Dialect;

impl Reader<'_> {
    /// What starts here is not to be shown.
    pub(super) fn is_doubtful(&mut self, token: &Token, start: usize, end: usize) -> bool {
        let raw = self.text.get(start..end).unwrap_or_default();
        let rest = self.text.get(start..).unwrap_or_default();
        let after_string = self
            .pieces
            .last()
            .is_some_and(|p| p.kind == Kind::Literal && p.end == start);
        let in_escapes = self.in_escapes;
        if !matches!(token, Token::Whitespace(_)) {
            self.in_escapes = matches!(token, Token::EscapedStringLiteral(_))
                || (in_escapes && matches!(token, Token::SingleQuotedString(_)));
        }
        match token {
            Token::Whitespace(Whitespace::MultiLineComment(_)) => self.is_doubtful_comment(raw),
            Token::Whitespace(Whitespace::SingleLineComment { .. }) => self.is_doubtful_line(raw),
            Token::Whitespace(_) => false,
            // `'O'Brien'`: somebody forgot to escape.
            Token::Word(word) if word.quote_style.is_none() => after_string,
            Token::Word(_) => match self.dialect {
                Dialect::Clickhouse => raw.contains('\\'),
                Dialect::Generic => is_escape_somewhere(raw),
                _ => false,
            },
            Token::DollarQuotedString(string) => match (&string.tag, self.dialect) {
                (None, _) => false,
                (Some(_), Dialect::Cassandra) => true,
                (Some(tag), _) => tag.starts_with(|c: char| c.is_ascii_digit()),
            },
            Token::Placeholder(name) if name.starts_with('$') => {
                let name = &name[1..];
                match self.dialect {
                    Dialect::Postgresql => {
                        name.is_empty() || !name.bytes().all(|b| b.is_ascii_digit())
                    }
                    Dialect::Cassandra => true,
                    Dialect::Generic | Dialect::Clickhouse => name.is_empty(),
                    Dialect::Mysql | Dialect::SqlServer | Dialect::Sqlite => false,
                }
            }
            // Hexadecimal and binary strings have no use for one.
            Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_) => raw.contains('\\'),
            Token::EscapedStringLiteral(_) => false,
            Token::UnicodeStringLiteral(_) => {
                self.dialect == Dialect::Generic && is_escape_somewhere(raw)
            }
            token if is_string(token) => {
                (in_escapes && raw.contains('\\'))
                    || (self.dialect == Dialect::Generic && self.is_doubtful_string(raw))
            }
            // MySQL takes what follows for a comment.
            Token::Minus => {
                self.dialect == Dialect::Mysql
                    && rest.strip_prefix("--").is_some_and(|comment| {
                        comment.starts_with(|c: char| c.is_control() && !c.is_whitespace())
                    })
            }
            Token::Char(c) => c.is_control(),
            _ => {
                self.splits_a_comment(end)
                    || (self.dialect == Dialect::Generic && is_doubtful_sign(rest))
            }
        }
    }

    /// `||/` is an operator to sqlparser even where `/*` comes next.
    fn splits_a_comment(&self, end: usize) -> bool {
        let around = end
            .checked_sub(1)
            .and_then(|last| self.text.as_bytes().get(last..=end));
        around == Some(b"/*") || (around == Some(b"--") && self.dialect != Dialect::Mysql)
    }

    fn is_doubtful_string(&self, raw: &str) -> bool {
        if raw == r"'\'" {
            // `LIKE … ESCAPE '\'`
            let before = self.significant().next().map(|p| p.kind);
            return before != Some(Kind::Word(Keyword::ESCAPE));
        }
        is_escape_somewhere(raw) || raw.starts_with("'''") || raw.starts_with("\"\"\"")
    }

    fn is_doubtful_comment(&self, raw: &str) -> bool {
        let nests = raw.get(2..).is_some_and(|inner| inner.contains("/*"));
        // `/*!50110 … */` is code, where a quote may hide the end.
        let is_code = raw.starts_with("/*!") || raw.starts_with("/*M!");
        match self.dialect {
            Dialect::Generic => nests || (is_code && has_quote(raw)),
            Dialect::Mysql => is_code && has_quote(raw),
            // Nested only in later versions.
            Dialect::Clickhouse => nests,
            _ => false,
        }
    }

    fn is_doubtful_line(&self, raw: &str) -> bool {
        // No comment in MySQL: `5--2`.
        let may_be_minus = self.dialect == Dialect::Generic
            && raw.get(2..).is_some_and(|comment| {
                comment.starts_with(|c: char| !c.is_whitespace() && !c.is_control())
            });
        // Some servers end a line at a lone CR.
        let line = raw.trim_end_matches('\r');
        (may_be_minus && hides_a_quote(raw)) || (line.contains('\r') && hides_a_quote(line))
    }
}

/// Signs that start something else in other dialects.
fn is_doubtful_sign(rest: &str) -> bool {
    if let Some(inner) = rest.strip_prefix('[') {
        // An index, or a name in brackets: `[it's]`, `[a]]'b]`
        let (inner, behind) = inner.split_once(']').unwrap_or((inner, ""));
        return inner.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && (has_quote(inner) || behind.starts_with(']'));
    }
    // Comments in MySQL and in CQL
    (rest.starts_with('#') || rest.starts_with("//")) && hides_a_quote(rest)
}

/// A backslash before a quote, which escapes it or does not.
fn is_escape_somewhere(raw: &str) -> bool {
    raw.as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && matches!(pair[1], b'\'' | b'"' | b'`'))
}

fn has_quote(text: &str) -> bool {
    text.contains(['\'', '"', '`'])
}

/// The line, read as a comment or not, changes how the next one is read.
fn hides_a_quote(text: &str) -> bool {
    let line = text.split('\n').next().unwrap_or_default();
    has_quote(line) || line.contains("/*")
}
