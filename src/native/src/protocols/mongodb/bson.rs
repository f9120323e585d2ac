//! BSON (bsonspec.org, 1.1) as far as one can read it without understanding it: values are skipped by their length.
//!
//! ```text
//! document   length(4, all of it) element ... 0
//! element    type(1) name 0 value
//! ```
//!
//! What is at hand may be the beginning of a document: its last value is then cut off, and nothing is behind it.

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const OBJECT_ID: u8 = 0x07;
const BOOLEAN: u8 = 0x08;
const DATE: u8 = 0x09;
const NULL: u8 = 0x0a;
const REGEX: u8 = 0x0b;
const DB_POINTER: u8 = 0x0c;
const CODE: u8 = 0x0d;
const SYMBOL: u8 = 0x0e;
const CODE_WITH_SCOPE: u8 = 0x0f;
const INT32: u8 = 0x10;
const TIMESTAMP: u8 = 0x11;
const INT64: u8 = 0x12;
const DECIMAL: u8 = 0x13;
const MIN_KEY: u8 = 0xff;
const MAX_KEY: u8 = 0x7f;

/// An empty document.
const SHORTEST: usize = 5;

/// A length or number of four bytes.
pub(super) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(i32::from_le_bytes(word.try_into().ok()?))
}

fn len_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(i32_at(bytes, at)?).ok()
}

/// Takes a text that ends with a zero off the front.
pub(super) fn cstring<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, bytes)?;
    let text = bytes.get(..end)?;
    *bytes = bytes.get(end + 1..)?;
    Some(text)
}

/// The elements of a document or an array.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    /// All of them are there.
    whole: bool,
    /// The last one was there.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    kind: u8,
    pub name: &'a [u8],
    /// Or its beginning.
    value: &'a [u8],
}

/// The document that begins here, and its length.
pub(super) fn document(bytes: &[u8]) -> Option<(Elements<'_>, usize)> {
    let len = len_at(bytes, 0).filter(|len| *len >= SHORTEST)?;
    let (whole, end) = (bytes.len() >= len, bytes.len().min(len - 1));
    let elements = Elements {
        rest: bytes.get(4..end)?,
        whole,
        ended: false,
    };
    Some((elements, len))
}

/// How many documents stand here one behind the other; `None` if the last one is cut off.
pub(super) fn count(mut bytes: &[u8]) -> Option<u32> {
    let mut count = 0_u32;
    while !bytes.is_empty() {
        let len = len_at(bytes, 0).filter(|len| *len >= SHORTEST)?;
        bytes = bytes.get(len..)?;
        count = count.saturating_add(1);
    }
    Some(count)
}

impl<'a> Elements<'a> {
    /// How many there are; `None` if not all are at hand.
    pub(super) fn count_all(mut self) -> Option<u32> {
        let mut count = 0_u32;
        while self.next().is_some() {
            count = count.saturating_add(1);
        }
        (self.whole && self.ended).then_some(count)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let Some((kind, rest)) = self.rest.split_first() else {
            self.ended = true;
            return None;
        };
        let mut rest = rest;
        let element = cstring(&mut rest).and_then(|name| Some((name, size(*kind, rest)?)));
        let Some((name, size)) = element else {
            self.rest = &[];
            self.whole = false;
            return None;
        };
        self.whole &= size <= rest.len();
        let (value, rest) = rest.split_at(size.min(rest.len()));
        self.rest = rest;
        Some(Element {
            kind: *kind,
            name,
            value,
        })
    }
}

/// Bytes of a value of this type; `None` if there are not enough to know, or no such type.
fn size(kind: u8, value: &[u8]) -> Option<usize> {
    let string = || len_at(value, 0)?.checked_add(4);
    Some(match kind {
        UNDEFINED | NULL | MIN_KEY | MAX_KEY => 0,
        BOOLEAN => 1,
        INT32 => 4,
        DOUBLE | DATE | TIMESTAMP | INT64 => 8,
        OBJECT_ID => 12,
        DECIMAL => 16,
        STRING | CODE | SYMBOL => string()?,
        DB_POINTER => string()?.checked_add(12)?,
        BINARY => string()?.checked_add(1)?,
        DOCUMENT | ARRAY | CODE_WITH_SCOPE => len_at(value, 0).filter(|len| *len >= SHORTEST)?,
        REGEX => {
            let mut rest = value;
            cstring(&mut rest)?;
            cstring(&mut rest)?;
            value.len() - rest.len()
        }
        _ => return None,
    })
}

impl<'a> Element<'a> {
    /// A text, if it is one.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        let (b'\0', text) = self.value.get(4..)?.split_last()? else {
            return None;
        };
        let whole = len_at(self.value, 0)? == text.len() + 1;
        (self.kind == STRING && whole).then_some(text)
    }

    /// A document or an array, or its beginning.
    pub(super) fn elements(&self) -> Option<Elements<'a>> {
        matches!(self.kind, DOCUMENT | ARRAY)
            .then(|| document(self.value))?
            .map(|(elements, _)| elements)
    }

    /// A number, rounded towards zero, or a truth (1) or untruth (0).
    pub(super) fn number(&self) -> Option<i64> {
        match (self.kind, self.value) {
            (BOOLEAN, [byte]) => Some(i64::from(*byte)),
            (INT32, value) => i32_at(value, 0).map(i64::from),
            (INT64, value) => Some(i64::from_le_bytes(value.try_into().ok()?)),
            (DOUBLE, value) => Some(f64::from_le_bytes(value.try_into().ok()?) as i64),
            _ => None,
        }
    }
}
