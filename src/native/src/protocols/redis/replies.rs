//! One answer after the other (RESP2 and RESP3): where each ends, what kind it has, and its first words.
//!
//! ```text
//! line      + simple   - error   : integer   , double   # boolean   ( big number   _ null
//! payload   $ string   ! error   = verbatim              $? in pieces, each behind a line of its own: ;
//! values    * array    ~ set     > push    % map and | attribute: two for each   *? until a line: .
//! ```
//!
//! Values within values are counted, not kept: `left` is how many are still to come, whatever they are within. Only
//! those whose number is not told beforehand need a place each, up to `MAX_OPEN`.

use super::building::number;
use crate::protocols::few::Few;

/// Values without a number that are within each other.
const MAX_OPEN: usize = 32;
/// Lines are kept up to this length; only words at their beginning and numbers matter.
const MAX_LINE: usize = 64;
/// A word's.
const MAX_WORD: usize = 32;

/// What a piece of the response did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of it was taken, and the answer goes on.
    More,
    /// An answer ended after so many bytes.
    Done(usize),
    /// This is no answer.
    Bad,
}

/// The answer under way, or the last one.
#[derive(Debug)]
pub(super) struct Reply {
    /// Values to come; 0 between answers.
    left: u64,
    /// Bytes of payload to come, its line end included.
    payload: u64,
    /// What that payload is.
    payload_is: Payload,
    /// What was `left` outside of values without a number.
    open: Vec<u64>,
    /// A line that was cut, and its length.
    line: Few<MAX_LINE>,
    line_bytes: u64,
    /// Its type, once it has one that is not an attribute's.
    pub kind: u8,
    /// An attribute came in front of it.
    attribute: bool,
    /// On the wire so far.
    pub bytes: u64,
    /// The last integer.
    pub integer: Option<i64>,
    /// The answer itself or its first value, where that is a short string; else its code, if it is an error.
    word: Few<MAX_WORD>,
    /// The code of the first error that is within it.
    error: Few<MAX_WORD>,
    /// Values so far, those within others included.
    values: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    String,
    /// The first value of the answer.
    Word,
    Error,
    /// Of a string in pieces.
    Piece,
}

impl Reply {
    pub(super) const fn new() -> Self {
        Self {
            left: 0,
            payload: 0,
            payload_is: Payload::String,
            open: Vec::new(),
            line: Few::EMPTY,
            line_bytes: 0,
            kind: 0,
            attribute: false,
            bytes: 0,
            integer: None,
            word: Few::EMPTY,
            error: Few::EMPTY,
            values: 0,
        }
    }

    /// Between answers.
    #[inline(always)]
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.line_bytes == 0
    }

    pub(super) fn reset(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        open.clear();
        *self = Self::new();
        self.open = open;
    }

    /// A simple string, or what a value of several begins with.
    #[inline(always)]
    pub(super) fn word(&self) -> &[u8] {
        self.word.get()
    }

    /// The prefix of the error that it is; "" where it is none.
    #[inline(always)]
    pub(super) fn code(&self) -> &[u8] {
        if matches!(self.kind, b'-' | b'!') {
            self.error.get()
        } else {
            b""
        }
    }

    /// The same, of the first error within it.
    pub(super) fn any_code(&self) -> &[u8] {
        self.error.get()
    }

    /// Takes bytes up to the end of an answer.
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        if self.is_between() {
            self.begin();
            self.bytes = 0;
        }
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if self.payload > 0 {
                match self.payload(rest) {
                    Some(used) => at += used,
                    None => return Step::Bad,
                }
                if self.payload > 0 {
                    self.bytes += bytes.len() as u64;
                    return Step::More;
                }
            } else if let (true, Some((number, used))) = (self.line_bytes == 0, announced(rest)) {
                if !self.numbered(rest.first().copied().unwrap_or_default(), number) {
                    return Step::Bad;
                }
                at += used;
            } else {
                let Some(end) = line_end(rest) else {
                    self.line.add(rest);
                    self.line_bytes += rest.len() as u64;
                    self.bytes += bytes.len() as u64;
                    // what begins a line is known before it ends
                    let known = self.line.get().first().is_none_or(|kind| is_kind(*kind));
                    return if known { Step::More } else { Step::Bad };
                };
                let (line, used) = (&rest[..end], end + 1);
                let good = if self.line_bytes == 0 {
                    line.strip_suffix(b"\r").is_some_and(|line| self.line(line))
                } else {
                    self.cut_line(line)
                };
                if !good {
                    return Step::Bad;
                }
                at += used;
            }
            if self.left == 0 {
                self.bytes += at as u64;
                return Step::Done(at);
            }
        }
    }

    /// So many bytes went by unseen: `Done(0)` where the answer ends with them, `Bad` where they go beyond its payload.
    pub(super) fn gap(&mut self, count: u64) -> Step {
        let matters = matches!(self.payload_is, Payload::Word | Payload::Error) && self.payload > 2;
        if self.payload < count || matters {
            return Step::Bad;
        }
        self.payload -= count;
        self.bytes = self.bytes.saturating_add(count);
        if self.payload > 0 {
            return Step::More;
        }
        self.payload_end();
        if self.left == 0 {
            Step::Done(0)
        } else {
            Step::More
        }
    }

    #[inline(always)]
    fn begin(&mut self) {
        self.left = 1;
        self.kind = 0;
        self.attribute = false;
        self.values = 0;
        self.integer = None;
        self.word.clear();
        self.error.clear();
    }

    /// Skips payload; `None` if its line does not end as it has to.
    #[inline(always)]
    fn payload(&mut self, rest: &[u8]) -> Option<usize> {
        let used = self.payload.min(rest.len() as u64) as usize;
        let (taken, after) = (&rest[..used], self.payload - used as u64);
        if after < 2 {
            // of the line's end, whatever of it has come
            let end: &[u8] = if after == 0 { b"\r\n" } else { b"\r" };
            let seen = taken.len().min(end.len());
            if taken[taken.len() - seen..] != end[end.len() - seen..] {
                return None;
            }
        }
        if self.payload_is != Payload::String {
            let content = self.payload.saturating_sub(2).min(taken.len() as u64) as usize;
            match self.payload_is {
                Payload::Word => self.word.add(&taken[..content]),
                Payload::Error => self.error.add(&taken[..content]),
                _ => {}
            }
        }
        self.payload = after;
        if after == 0 {
            self.payload_end();
        }
        Some(used)
    }

    #[inline(always)]
    fn payload_end(&mut self) {
        match self.payload_is {
            Payload::Piece => {}
            Payload::Error => {
                self.error.cut(code(self.error.get()).len());
                self.code_or_err();
                self.left -= 1;
            }
            Payload::String | Payload::Word => self.left -= 1,
        }
    }

    #[cold]
    fn cut_line(&mut self, rest: &[u8]) -> bool {
        self.line.add(rest);
        let whole = self.line_bytes + rest.len() as u64;
        let ends = match rest.last() {
            Some(last) => *last == b'\r',
            None => self.line.get().last() == Some(&b'\r') || whole > MAX_LINE as u64,
        };
        let line = std::mem::replace(&mut self.line, Few::EMPTY);
        self.line_bytes = 0;
        let text = line.get();
        ends && self.line(text.strip_suffix(b"\r").unwrap_or(text))
    }

    /// Takes a line of a number, which most lines are.
    #[inline(always)]
    fn numbered(&mut self, kind: u8, number: u64) -> bool {
        if !self.is_expected(kind) {
            return false;
        }
        match kind {
            b'$' => {
                self.sized(number);
                true
            }
            b':' => {
                self.integer = i64::try_from(number).ok();
                self.left -= 1;
                self.integer.is_some()
            }
            _ => self.counted(number, 1),
        }
    }

    /// Takes a line without its end; false if it is none of this protocol.
    #[inline(always)]
    fn line(&mut self, line: &[u8]) -> bool {
        let Some((&kind, text)) = line.split_first() else {
            return false;
        };
        if !self.is_expected(kind) {
            return false;
        }
        if kind == b'+' {
            if self.values <= 2 {
                self.word.add(text);
            }
            self.left -= 1;
            return true;
        }
        self.other(kind, text)
    }

    #[inline(always)]
    fn is_expected(&mut self, kind: u8) -> bool {
        if self.kind == 0 {
            self.first_line(kind);
        }
        self.values += 1;
        (self.payload_is == Payload::Piece) == (kind == b';')
    }

    /// Of an answer whose kind is not known yet.
    #[inline(always)]
    fn first_line(&mut self, kind: u8) {
        if kind == b'|' {
            self.attribute = true;
        } else if !self.attribute {
            self.kind = kind;
        } else if self.left == 1 {
            // what an attribute says is not the answer's
            self.begin();
            self.kind = kind;
        }
    }

    fn other(&mut self, kind: u8, text: &[u8]) -> bool {
        match kind {
            b'$' | b'=' => self.string(text),
            b':' => {
                self.integer = integer(text);
                self.left -= 1;
                self.integer.is_some()
            }
            b'*' | b'~' | b'>' => self.values(text, 1),
            b'-' => {
                if self.error.is_empty() {
                    self.error.add(code(text));
                    self.code_or_err();
                }
                self.left -= 1;
                true
            }
            b'%' => self.values(text, 2),
            b'|' => {
                // it comes in front of a value, and is none
                self.left = self.left.saturating_add(1);
                self.values(text, 2)
            }
            b'!' => {
                let fine = self.string(text);
                if fine && self.payload > 0 && self.error.is_empty() {
                    self.payload_is = Payload::Error;
                }
                fine
            }
            b',' | b'(' => {
                self.left -= 1;
                let of_number = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                !text.is_empty() && text.iter().all(of_number)
            }
            b'#' => {
                self.left -= 1;
                matches!(text, b"t" | b"f")
            }
            b'_' => {
                self.left -= 1;
                text.is_empty()
            }
            b';' => self.piece(text),
            b'.' => {
                let outside = self.open.pop();
                self.left = outside.unwrap_or_default();
                outside.is_some() && text.is_empty()
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn sized(&mut self, len: u64) {
        self.payload_is = if self.values == 2 && len <= MAX_WORD as u64 {
            Payload::Word
        } else {
            Payload::String
        };
        self.payload = len.saturating_add(2);
    }

    /// Behind `$`, `=` and `!`.
    fn string(&mut self, text: &[u8]) -> bool {
        if let Some(len) = number(text) {
            self.sized(len);
            return true;
        }
        if text == b"?" {
            return self.open(Payload::Piece);
        }
        self.left -= 1;
        text == b"-1"
    }

    /// Behind `;`: the length of a string's next piece, 0 behind the last one.
    fn piece(&mut self, text: &[u8]) -> bool {
        match number(text) {
            Some(0) => {
                self.payload_is = Payload::String;
                self.left = self.open.pop().unwrap_or_default();
                true
            }
            Some(len) => {
                self.payload = len.saturating_add(2);
                true
            }
            None => false,
        }
    }

    /// Behind `*` and the like: how many, each of so many values.
    fn values(&mut self, text: &[u8], each: u64) -> bool {
        if text == b"?" {
            return self.open(Payload::String);
        }
        if let Some(count) = number(text) {
            return self.counted(count, each);
        }
        self.left -= 1;
        text == b"-1"
    }

    #[inline(always)]
    fn counted(&mut self, count: u64, each: u64) -> bool {
        let values = count.checked_mul(each);
        let left = values.and_then(|values| values.checked_add(self.left - 1));
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    /// Values without a number begin.
    #[cold]
    fn open(&mut self, payload_is: Payload) -> bool {
        self.open.push(self.left - 1);
        self.left = u64::MAX / 2;
        self.payload_is = payload_is;
        self.open.len() <= MAX_OPEN
    }

    /// Redis itself counts errors without a code as ERR.
    fn code_or_err(&mut self) {
        if self.error.is_empty() {
            self.error.add(b"ERR");
        }
    }
}

/// An error's prefix: its first word, if that has the form of one.
fn code(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b' ');
    let word = &text[..end.unwrap_or(text.len())];
    let of_code = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    if word.len() < MAX_WORD && word.iter().all(of_code) {
        word
    } else {
        b""
    }
}

fn is_kind(byte: u8) -> bool {
    b"+-:$*,#(_!=~>%|;.".contains(&byte)
}

fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = i64::try_from(number(digits)?).ok()?;
    Some(if negative { -number } else { number })
}

/// The number of a line of `$`, `*` or `:`, and the line's length, if it is whole and nothing else.
#[inline(always)]
pub(super) fn announced(bytes: &[u8]) -> Option<(u64, usize)> {
    let (b'$' | b'*' | b':') = bytes.first()? else {
        return None;
    };
    let (mut number, mut at) = (0u64, 1);
    loop {
        let digit = bytes.get(at)?.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.checked_mul(10)?.checked_add(digit.into())?;
        at += 1;
    }
    (at > 1 && bytes.get(at..at + 2)? == b"\r\n").then_some((number, at + 2))
}

/// Where the first line feed is. Most lines are shorter than what it takes to start a vectorised search.
#[inline(always)]
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    let near = bytes.get(..16).unwrap_or(bytes);
    match near.iter().position(|byte| *byte == b'\n') {
        None if bytes.len() > near.len() => {
            memchr::memchr(b'\n', &bytes[near.len()..]).map(|at| near.len() + at)
        }
        found => found,
    }
}
