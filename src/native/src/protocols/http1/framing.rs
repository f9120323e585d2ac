//! How long a body is, as its head says (RFC 9112, section 6.3).

use super::body::Body;

/// What the header fields say about the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    length: Length,
    coding: Coding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Absent,
    Is(u64),
    /// Not a number, or two that differ.
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Absent,
    /// `chunked` is the last one.
    Chunked,
    /// There is one, and chunked is not the last.
    Other,
}

/// How long a body is, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    None,
    Some(Body),
    /// RFC 9112, 6.3: an unrecoverable error.
    Invalid,
}

impl Framing {
    pub(super) const NONE: Self = Self {
        length: Length::Absent,
        coding: Coding::Absent,
    };

    /// A Content-Length that is a plain number; false if it is not the first one.
    #[inline(always)]
    pub(super) fn set_length(&mut self, length: u64) -> bool {
        let first = self.length == Length::Absent;
        if first {
            self.length = Length::Is(length);
        }
        first
    }

    /// Any Content-Length. RFC 9110, 8.6: a list of equal numbers counts as that number.
    #[cold]
    pub(super) fn add_length(&mut self, value: &[u8]) {
        for part in value.split(|&byte| byte == b',') {
            let length = decimal(part.trim_ascii()).map_or(Length::Invalid, Length::Is);
            self.length = match self.length {
                Length::Absent => length,
                same if same == length => same,
                _ => Length::Invalid,
            };
        }
    }

    /// Only the last coding of the last header decides. `identity` was one once and means none.
    #[cold]
    pub(super) fn add_coding(&mut self, value: &[u8]) {
        let last = value.rsplit(|&byte| byte == b',').next();
        let last = last.unwrap_or_default().trim_ascii();
        if last.eq_ignore_ascii_case(b"chunked") {
            self.coding = Coding::Chunked;
        } else if !last.eq_ignore_ascii_case(b"identity") {
            self.coding = Coding::Other;
        }
    }

    /// Of a request (RFC 9112, 6.3): no length means no body, a coding that isn't chunked has no end.
    #[inline]
    pub(super) fn of_request(&self) -> Extent {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Extent::Some(Body::CHUNKED),
            (Coding::Other, _) | (_, Length::Invalid) => Extent::Invalid,
            (_, Length::Absent | Length::Is(0)) => Extent::None,
            (_, Length::Is(length)) => Extent::Some(Body::Length(length)),
        }
    }

    /// Of a response whose method and status allow a body: without a length it goes on until the close.
    #[inline]
    pub(super) fn of_response(&self) -> Extent {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Extent::Some(Body::CHUNKED),
            (Coding::Other, _) | (_, Length::Absent) => Extent::Some(Body::UntilClose),
            (_, Length::Invalid) => Extent::Invalid,
            (_, Length::Is(0)) => Extent::None,
            (_, Length::Is(length)) => Extent::Some(Body::Length(length)),
        }
    }
}

#[inline]
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}
