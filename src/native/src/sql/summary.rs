//! `db.query.summary`: operations and their targets, in the order and the spelling of the statement.
//!
//! Not a parser: parentheses and a few keywords say where names of targets stand. Each pair of parentheses is a
//! frame with an operation of its own or none, so that `EXTRACT(YEAR FROM d)` names no target. Names given by WITH
//! are none either, like subqueries: the conventions' `SELECT SELECT orders customers` names what is read.
//!
//! Memory: [`MAX_DEPTH`] frames, [`MAX_NAMES`] names of WITH, and the summary.

mod words;

use sqlparser::keywords::Keyword;

use super::lex::{Kind, Piece};
use super::{Dialect, MAX_SUMMARY_CHARS};
use words::{Operation, OBJECTS};

/// Parentheses in parentheses; what is deeper names nothing.
const MAX_DEPTH: usize = 64;
/// Names given by WITH that are known again.
const MAX_NAMES: usize = 32;
/// Words between CREATE and what is created.
const MAX_MODIFIERS: u8 = 8;

/// Marks, too, which identifiers in double quotes are names of targets, and so no strings.
pub(super) fn summarise(dialect: Dialect, source: &str, pieces: &mut [Piece]) -> String {
    let mut summary = Summary {
        dialect,
        source,
        pieces,
        frames: vec![Frame::START],
        deeper: 0,
        names: Vec::new(),
        out: String::new(),
        chars: 0,
        is_full: false,
    };
    let mut index = 0;
    while index < summary.pieces.len() {
        index = summary.piece(index);
    }
    summary.out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// An operation comes next.
    Start,
    /// Like `Start`, behind FROM: a name may come, too.
    StartOrTarget,
    /// Names and queries of WITH, before the operation.
    With,
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Create,
    /// A statement follows: EXPLAIN.
    Prefix,
    /// Nothing in here matters any more.
    Inert,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Nothing,
    Target,
    /// What kind of thing is created, in so many words.
    Object(u8),
    /// A name given by WITH.
    Name,
}

#[derive(Clone, Copy)]
struct Frame {
    mode: Mode,
    expect: Expect,
    /// Behind a comma comes another target.
    in_list: bool,
}

impl Frame {
    const START: Self = Self::new(Mode::Start, Expect::Nothing);

    const fn new(mode: Mode, expect: Expect) -> Self {
        Self {
            mode,
            expect,
            in_list: false,
        }
    }
}

struct Summary<'a> {
    dialect: Dialect,
    source: &'a str,
    pieces: &'a mut [Piece],
    frames: Vec<Frame>,
    deeper: usize,
    names: Vec<&'a str>,
    out: String,
    chars: usize,
    is_full: bool,
}

impl<'a> Summary<'a> {
    /// Where to go on.
    fn piece(&mut self, index: usize) -> usize {
        let kind = self.pieces[index].kind;
        match kind {
            Kind::Space | Kind::Comment => {}
            Kind::Semicolon => {
                self.frames.clear();
                self.frames.push(Frame::START);
                self.deeper = 0;
                self.names.clear();
            }
            Kind::Open => self.open(index),
            Kind::Close if self.deeper > 0 => self.deeper -= 1,
            Kind::Close => {
                if self.frames.len() > 1 {
                    self.frames.pop();
                }
            }
            _ if self.deeper > 0 => {}
            Kind::Word(keyword) => return self.word(index, keyword),
            Kind::Quoted | Kind::Doubtful => return self.quoted(index),
            Kind::Literal if self.is_name_in_quotes(index) => return self.target(index),
            Kind::Comma => {
                let frame = self.frame();
                if frame.mode == Mode::With {
                    frame.expect = Expect::Name;
                } else if frame.in_list {
                    frame.expect = Expect::Target;
                }
            }
            _ => {
                let is_inner = self.frames.len() > 1;
                let frame = self.frame();
                if frame.expect == Expect::Target {
                    frame.expect = Expect::Nothing;
                }
                // Before a statement there may be `{` and `?=`, as in `{?= call f}`.
                if is_inner && matches!(frame.mode, Mode::Start | Mode::StartOrTarget) {
                    frame.mode = Mode::Inert;
                }
            }
        }
        index + 1
    }

    fn open(&mut self, index: usize) {
        if self.deeper > 0 || self.frames.len() >= MAX_DEPTH {
            self.deeper += 1;
            return;
        }
        let is_top = self
            .before(index)
            .is_some_and(|p| p.kind == Kind::Word(Keyword::TOP));
        let frame = self.frame();
        let mut mode = Mode::Start;
        match (frame.mode, frame.expect) {
            (Mode::StartOrTarget, _) => {
                frame.mode = Mode::Select;
                mode = Mode::StartOrTarget;
            }
            // `UPDATE TOP (1) t`
            (_, Expect::Target) if is_top => {}
            (_, Expect::Target) => {
                frame.expect = Expect::Nothing;
                if frame.in_list || frame.mode == Mode::Select {
                    mode = Mode::StartOrTarget;
                }
            }
            _ => {}
        }
        self.frames.push(Frame::new(mode, Expect::Nothing));
    }

    fn word(&mut self, index: usize, keyword: Keyword) -> usize {
        let frame = *self.frame();
        match frame.expect {
            Expect::Target if self.is_modifier(index, keyword) => return index + 1,
            Expect::Target => return self.target(index),
            Expect::Object(left) => {
                self.object(index, left);
                return index + 1;
            }
            Expect::Name if keyword == Keyword::RECURSIVE => return index + 1,
            Expect::Name => {
                if self.names.len() < MAX_NAMES {
                    self.names.push(self.text(index));
                }
                self.frame().expect = Expect::Nothing;
                return index + 1;
            }
            Expect::Nothing => {}
        }
        let before = self.before(index).map(|p| p.kind);
        if before == Some(Kind::Period) {
            return index + 1;
        }
        match frame.mode {
            Mode::Start => return self.start(index, keyword),
            Mode::StartOrTarget => {
                if matches!(keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES) {
                    return self.start(index, keyword);
                }
                *self.frame() = Frame::new(Mode::Select, Expect::Target);
                self.frame().in_list = true;
                return index;
            }
            Mode::With if words::is_query(keyword) => return self.start(index, keyword),
            Mode::Prefix if words::is_query(keyword) => {
                if keyword != Keyword::WITH || !self.is_open(index) {
                    return self.start(index, keyword);
                }
            }
            // An alias.
            Mode::Select | Mode::Update | Mode::Delete
                if before == Some(Kind::Word(Keyword::AS)) => {}
            Mode::Select if keyword == Keyword::SELECT => return self.start(index, keyword),
            Mode::Select => self.in_select(keyword, before),
            Mode::Insert | Mode::Create => match keyword {
                Keyword::SELECT => return self.start(index, keyword),
                Keyword::WITH if !self.is_open(index) => return self.start(index, keyword),
                _ => {}
            },
            Mode::Update | Mode::Delete => self.in_change(keyword, before),
            Mode::Merge if keyword == Keyword::USING => self.frame().expect = Expect::Target,
            Mode::With | Mode::Merge | Mode::Prefix | Mode::Inert => {}
        }
        index + 1
    }

    fn in_select(&mut self, keyword: Keyword, before: Option<Kind>) {
        match keyword {
            // `SELECT … INTO t FROM …`; elsewhere a variable or a file.
            Keyword::INTO if matches!(self.dialect, Dialect::Postgresql | Dialect::SqlServer) => {
                self.frame().expect = Expect::Target;
            }
            Keyword::JOIN if before == Some(Kind::Word(Keyword::ARRAY)) => {}
            Keyword::APPLY => self.frame().expect = Expect::Target,
            _ => self.in_tables(keyword, before),
        }
    }

    fn in_change(&mut self, keyword: Keyword, before: Option<Kind>) {
        if keyword == Keyword::USING && self.frame().mode == Mode::Delete {
            self.tables();
        } else {
            self.in_tables(keyword, before);
        }
    }

    fn in_tables(&mut self, keyword: Keyword, before: Option<Kind>) {
        match keyword {
            // `IS DISTINCT FROM` compares.
            Keyword::FROM if before != Some(Kind::Word(Keyword::DISTINCT)) => self.tables(),
            Keyword::JOIN | Keyword::STRAIGHT_JOIN => self.frame().expect = Expect::Target,
            _ if words::ends_tables(keyword) => self.frame().in_list = false,
            _ => {}
        }
    }

    fn tables(&mut self) {
        let frame = self.frame();
        frame.expect = Expect::Target;
        frame.in_list = true;
    }

    /// The first word of a statement.
    fn start(&mut self, index: usize, keyword: Keyword) -> usize {
        let text = self.text(index);
        if self.frames.len() > 1 && !self.may_start_inside(index, keyword) {
            *self.frame() = Frame::new(Mode::Inert, Expect::Nothing);
            return index + 1;
        }
        let Some(operation) = Operation::of(text, self.dialect) else {
            if !words::joins_queries(keyword) {
                *self.frame() = Frame::new(Mode::Inert, Expect::Nothing);
            }
            return index + 1;
        };
        if operation != Operation::With {
            self.push(text);
        }
        let mut frame = match operation {
            Operation::With => Frame::new(Mode::With, Expect::Name),
            Operation::Select => Frame::new(Mode::Select, Expect::Nothing),
            Operation::Insert => Frame::new(Mode::Insert, Expect::Target),
            Operation::Update => Frame::new(Mode::Update, Expect::Target),
            Operation::Delete if self.names_its_target(index) => {
                Frame::new(Mode::Delete, Expect::Target)
            }
            Operation::Delete => Frame::new(Mode::Delete, Expect::Nothing),
            Operation::Merge => Frame::new(Mode::Merge, Expect::Target),
            Operation::Create | Operation::Drop => {
                Frame::new(Mode::Create, Expect::Object(MAX_MODIFIERS))
            }
            Operation::Prefix | Operation::Begin => Frame::new(Mode::Prefix, Expect::Nothing),
            Operation::Named | Operation::Table => Frame::new(Mode::Inert, Expect::Target),
            Operation::Alone | Operation::End => Frame::new(Mode::Inert, Expect::Nothing),
        };
        frame.in_list = matches!(operation, Operation::Update | Operation::Drop)
            || text.eq_ignore_ascii_case("TRUNCATE");
        *self.frame() = frame;
        let next = self.next(index);
        let is_part = next.is_some_and(|next| {
            let word = self.text(next);
            match operation {
                Operation::Begin | Operation::End => words::is_transaction(word),
                // `TRUNCATE TABLE t`, and a table of that name
                Operation::Table => {
                    words::is_table(word)
                        && self.next(next).is_some_and(|after| self.is_name(after))
                }
                _ => false,
            }
        });
        match next {
            Some(next) if is_part => {
                self.push(self.text(next));
                next + 1
            }
            _ => index + 1,
        }
    }

    /// Queries stand in parentheses; what changes something only as part of WITH.
    fn may_start_inside(&self, index: usize, keyword: Keyword) -> bool {
        let outer = self
            .frames
            .len()
            .checked_sub(2)
            .map(|at| self.frames[at].mode);
        match keyword {
            Keyword::SELECT | Keyword::WITH => true,
            Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE | Keyword::MERGE => {
                outer == Some(Mode::With) && self.next(index).is_some_and(|next| self.is_name(next))
            }
            _ => self
                .frames
                .last()
                .is_some_and(|f| words::joins_queries(keyword) && f.mode == Mode::Start),
        }
    }

    /// `DELETE t WHERE …`, in dialects that can do without FROM.
    fn names_its_target(&self, index: usize) -> bool {
        let Some(first) = self.next(index) else {
            return false;
        };
        if !self.is_name(first) || self.pieces[first].kind == Kind::Word(Keyword::FROM) {
            return false;
        }
        let mut last = first;
        while let Some(part) = self.next_part(last) {
            last = part;
        }
        match self.next(last).map(|next| self.pieces[next].kind) {
            None | Some(Kind::Semicolon | Kind::Close) => true,
            Some(Kind::Word(keyword)) => matches!(keyword, Keyword::WHERE | Keyword::OUTPUT),
            _ => false,
        }
    }

    fn object(&mut self, index: usize, left: u8) {
        let word = self.text(index);
        if OBJECTS
            .iter()
            .any(|object| object.eq_ignore_ascii_case(word))
        {
            self.push(word);
            self.frame().expect = Expect::Target;
        } else {
            self.frame().expect = match left.checked_sub(1) {
                Some(left) => Expect::Object(left),
                None => Expect::Nothing,
            };
        }
    }

    /// A word between the operation and its target.
    fn is_modifier(&self, index: usize, keyword: Keyword) -> bool {
        let Some(next) = self.next(index) else {
            return false;
        };
        let is_followed = self.is_name(next) || self.pieces[next].kind == Kind::Open;
        let mode = self.frames.last().map(|f| f.mode);
        // `INSERT INTO TABLE t`, but `INSERT INTO table (a)`, as some call it
        let is_table = mode == Some(Mode::Insert)
            && words::is_table(self.text(index))
            && self.is_name(next)
            && !matches!(self.pieces[next].kind, Kind::Word(word) if words::follows_table(word));
        is_followed && (is_table || mode.is_some_and(|mode| words::is_modifier(mode, keyword)))
    }

    fn quoted(&mut self, index: usize) -> usize {
        let frame = self.frame();
        match (frame.expect, frame.mode) {
            (Expect::Target, _) => return self.target(index),
            (Expect::Name, _) => {
                frame.expect = Expect::Nothing;
                if self.names.len() < MAX_NAMES {
                    self.names.push(self.text(index));
                }
            }
            (_, Mode::Start) => frame.mode = Mode::Inert,
            (_, Mode::StartOrTarget) => {
                *frame = Frame::new(Mode::Select, Expect::Target);
                frame.in_list = true;
                return index;
            }
            _ => {}
        }
        index + 1
    }

    /// `FROM 'artists'`: a table, in the conventions and in some databases.
    fn is_name_in_quotes(&self, index: usize) -> bool {
        let is_table = self
            .frames
            .last()
            .is_some_and(|f| f.mode == Mode::Select && f.expect == Expect::Target && f.in_list);
        is_table && self.dialect == Dialect::Generic && self.text(index).starts_with('\'')
    }

    /// A name with all its parts.
    fn target(&mut self, index: usize) -> usize {
        let mut name = self.text(index).to_owned();
        let mut last = index;
        self.is_no_string(index);
        while let Some(part) = self.next_part(last) {
            name.extend(
                (last + 1..part)
                    .filter(|at| self.pieces[*at].kind == Kind::Period)
                    .map(|_| '.'),
            );
            name.push_str(self.text(part));
            self.is_no_string(part);
            last = part;
        }
        let frame = self.frame();
        frame.expect = Expect::Nothing;
        let is_variable = name.starts_with('@') && frame.mode == Mode::Inert;
        let next = self.next(last);
        if is_variable && next.is_some_and(|next| self.pieces[next].kind == Kind::Comparison) {
            // `EXEC @result = procedure`
            self.frame().expect = Expect::Target;
            return next.unwrap_or(last) + 1;
        }
        let is_name_of_with = self
            .names
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&name));
        if !is_name_of_with {
            self.push(&name);
        }
        last + 1
    }

    fn is_no_string(&mut self, index: usize) {
        let piece = &mut self.pieces[index];
        if piece.kind == Kind::Doubtful {
            piece.kind = Kind::Quoted;
        }
    }

    /// The part of a name behind this one and its period.
    fn next_part(&self, index: usize) -> Option<usize> {
        let mut next = self.next(index)?;
        let mut periods = 0;
        while self.pieces[next].kind == Kind::Period {
            periods += 1;
            next = self.next(next)?;
        }
        (periods > 0 && self.is_name(next)).then_some(next)
    }

    fn push(&mut self, part: &str) {
        let separator = usize::from(!self.out.is_empty());
        let chars = part.chars().count() + separator;
        if self.is_full || self.chars + chars > MAX_SUMMARY_CHARS {
            self.is_full = true;
            return;
        }
        if separator > 0 {
            self.out.push(' ');
        }
        self.out.push_str(part);
        self.chars += chars;
    }

    fn frame(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn text(&self, index: usize) -> &'a str {
        self.pieces[index].of(self.source)
    }

    fn is_name(&self, index: usize) -> bool {
        matches!(
            self.pieces[index].kind,
            Kind::Word(_) | Kind::Quoted | Kind::Doubtful
        )
    }

    /// A parenthesis is next.
    fn is_open(&self, index: usize) -> bool {
        let next = self.next(index);
        next.is_some_and(|next| self.pieces[next].kind == Kind::Open)
    }

    /// The next piece that is neither whitespace nor comment.
    fn next(&self, index: usize) -> Option<usize> {
        let rest = self.pieces.get(index + 1..)?;
        let at = rest.iter().position(is_significant)?;
        Some(index + 1 + at)
    }

    fn before(&self, index: usize) -> Option<&Piece> {
        self.pieces[..index]
            .iter()
            .rev()
            .find(|p| is_significant(p))
    }
}

fn is_significant(piece: &Piece) -> bool {
    !matches!(piece.kind, Kind::Space | Kind::Comment)
}
