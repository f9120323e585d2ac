//! Messages (PostgreSQL 15's manual, 55.7, "Message Formats"), and what of them is looked at.
//!
//! ```text
//! | type 1 | length 4, itself included, big-endian | payload |      all but the client's first
//!          | length 4 | code 4 | payload |                         the client's first, and that after SSLRequest
//!  S, N or G                                                       the answer to SSLRequest and GSSENCRequest
//! ```

use crate::exchange::Side;

/// Type and length.
pub(super) const HEADER: usize = 5;
/// In place of a type: the client's first message.
pub(super) const STARTUP: u8 = 0;
/// In place of a type: the one byte that answers the wish for encryption.
pub(super) const REPLY: u8 = 1;

/// The largest length there may be (MaxAllocSize).
const MAX: u32 = 0x3fff_ffff;
/// The largest length of a client's first message (MAX_STARTUP_PACKET_LENGTH).
const MAX_STARTUP: u32 = 10_000;
/// Lengths above this are not believed where nothing else says that here a message begins.
pub(super) const MAX_LIKELY: u32 = 0xff_ffff;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// The protocol's version, upper half.
const VERSION: u32 = 3;

/// Values of a session's parameter that mean yes.
const IS_TRUE: [&[u8]; 4] = [b"true", b"on", b"yes", b"1"];

/// What of a statement's text is kept, in bytes.
pub(super) const MAX_TEXT: usize = 16 << 10;
/// Names of statements, portals and databases are kept up to here. The server's own are shorter than 64 bytes.
pub(super) const MAX_NAME: usize = 256;

/// Which lengths a message of this type may have; `None` if there is no such type.
fn lengths(side: Side, kind: u8) -> Option<(u32, u32)> {
    Some(match (side, kind) {
        (_, b'd') | (Side::Request, b'p') => (4, MAX),
        (Side::Request, b'H' | b'S' | b'c' | b'X') => (4, 4),
        (Side::Request, b'Q' | b'f') => (5, MAX),
        (Side::Request, b'C' | b'D') => (6, MAX),
        (Side::Request, b'P') => (8, MAX),
        (Side::Request, b'E') => (9, MAX),
        (Side::Request, b'B') => (12, MAX),
        (Side::Request, b'F') => (14, MAX),
        (Side::Response, b'1' | b'2' | b'3' | b'I' | b'c' | b'n' | b's') => (4, 4),
        (Side::Response, b'Z') => (5, 5),
        (Side::Response, b'C') => (5, 1 << 10),
        (Side::Response, b'E' | b'N') => (5, MAX),
        (Side::Response, b'D' | b'T' | b'S' | b't') => (6, MAX),
        (Side::Response, b'G' | b'H' | b'W') => (7, 1 << 14),
        (Side::Response, b'R' | b'V') => (8, MAX),
        (Side::Response, b'A') => (10, 1 << 14),
        (Side::Response, b'K' | b'v') => (12, 1 << 14),
        _ => return None,
    })
}

/// Could an endpoint send a message of this type and length?
#[inline]
pub(super) fn is_legal(side: Side, kind: u8, length: u32) -> bool {
    if kind == STARTUP {
        return (8..=MAX_STARTUP).contains(&length);
    }
    lengths(side, kind).is_some_and(|(least, most)| (least..=most).contains(&length))
}

/// How much of a payload is looked at, from its beginning.
pub(super) fn wanted(side: Side, kind: u8) -> usize {
    match (side, kind) {
        (_, STARTUP) => MAX_STARTUP as usize,
        (Side::Request, b'Q') => MAX_TEXT + 1,
        (Side::Request, b'P') => MAX_TEXT + MAX_NAME,
        (Side::Request, b'B') => 4 * MAX_NAME,
        (Side::Request, b'C' | b'D' | b'E') => MAX_NAME + 8,
        (Side::Response, b'C') => 64,
        (Side::Response, b'E') => 256,
        (Side::Response, b'Z') => 1,
        _ => 0,
    }
}

/// Cuts a string off the front, without its NUL. `None` if that is not there.
pub(super) fn string<'a>(payload: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, payload)?;
    let (string, rest) = payload.split_at(end);
    *payload = rest.get(1..)?;
    Some(string)
}

/// Cuts a number of two bytes off the front.
pub(super) fn int16(payload: &mut &[u8]) -> Option<u16> {
    let (number, rest) = payload.split_first_chunk()?;
    *payload = rest;
    Some(u16::from_be_bytes(*number))
}

fn int32(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*number))
}

/// A client's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Startup<'a> {
    /// A session with this database; "" where that was not captured.
    Session(&'a [u8]),
    /// Another connection's request is to be cancelled.
    Cancel,
    /// SSLRequest or GSSENCRequest.
    Encryption,
}

/// Takes the code and what is behind it.
pub(super) fn startup(payload: &[u8]) -> Option<Startup<'_>> {
    match int32(payload, 0)? {
        CANCEL_REQUEST => Some(Startup::Cancel),
        SSL_REQUEST | GSSENC_REQUEST => Some(Startup::Encryption),
        code if code >> 16 == VERSION => {
            let mut rest = payload.get(4..)?;
            let (mut user, mut database) = (&b""[..], &b""[..]);
            let whole = loop {
                let (name, value) = match (string(&mut rest), string(&mut rest)) {
                    (Some(name), Some(value)) => (name, value),
                    (name, _) => break name == Some(b""),
                };
                match name {
                    b"user" => user = value,
                    b"database" => database = value,
                    b"replication" if IS_TRUE.iter().any(|is| value.eq_ignore_ascii_case(is)) => {
                        return Some(Startup::Session(b"")); // of no database, whatever is named
                    }
                    _ => {}
                }
            };
            if !whole {
                return Some(Startup::Session(b""));
            }
            // "defaults to the user name"
            let name = if database.is_empty() { user } else { database };
            Some(Startup::Session(name.get(..MAX_NAME).unwrap_or(name)))
        }
        _ => None,
    }
}

/// The rows that a command gave, from CommandComplete's tag: "SELECT 3".
pub(super) fn rows(tag: &[u8]) -> Option<u64> {
    let count = tag
        .strip_prefix(b"SELECT ")
        .or_else(|| tag.strip_prefix(b"FETCH "))?;
    std::str::from_utf8(count.strip_suffix(b"\0")?)
        .ok()?
        .parse()
        .ok()
}

/// Is this a tag of CommandComplete? "INSERT 0 1", "CREATE TABLE".
fn is_tag(payload: &[u8]) -> bool {
    let Some((0, tag)) = payload.split_last() else {
        return false;
    };
    let is_legal = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    tag.first().is_some_and(u8::is_ascii_uppercase) && tag.iter().all(is_legal)
}

/// SQLSTATE of an ErrorResponse: the field C.
pub(super) fn sqlstate(mut payload: &[u8]) -> Option<[u8; 5]> {
    while let Some((&field, rest)) = payload.split_first() {
        payload = rest;
        let value = string(&mut payload)?;
        if field == b'C' {
            let code: [u8; 5] = value.try_into().ok()?;
            return Some(code).filter(|code| code.iter().all(u8::is_ascii_alphanumeric));
        }
    }
    None
}

/// How a burst of the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail<'a> {
    /// With CommandComplete and this payload.
    Complete(&'a [u8]),
    /// With ErrorResponse and this SQLSTATE.
    Error([u8; 5]),
}

const READY: &[u8] = b"Z\0\0\0\x05";

/// Does a burst of the server end with these bytes? Then what was before its ReadyForQuery.
pub(super) fn tail(bytes: &[u8]) -> Option<Tail<'_>> {
    let (status, before) = bytes.split_last()?;
    let before = before.strip_suffix(READY)?;
    if !b"ITE".contains(status) {
        return None;
    }
    // from behind: the one whose length reaches just up to here
    (1..=before.len()).rev().find_map(|at| {
        let kind = *before.get(at - 1)?;
        let payload = before.get(at + 4..)?;
        if int32(before, at)? as usize != payload.len() + 4 {
            return None;
        }
        match kind {
            b'C' if is_tag(payload) => Some(Tail::Complete(payload)),
            b'E' if payload.starts_with(b"S") && payload.ends_with(b"\0\0") => {
                sqlstate(payload).map(Tail::Error)
            }
            _ => None,
        }
    })
}

/// What messages at the start of a burst look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Messages, to the last byte.
    Whole,
    /// Messages, the last of which goes on.
    Part,
    /// Something else.
    No,
}

/// May a client ask something with a message of this type, when nothing is under way?
pub(super) fn asks(kind: u8) -> bool {
    b"QPBDCEFSHX".contains(&kind)
}

/// Are these messages of a client, the first of which may begin a request?
pub(super) fn requests(bytes: &[u8]) -> Fit {
    match bytes.first() {
        Some(kind) if asks(*kind) => messages(Side::Request, bytes),
        _ => Fit::No,
    }
}

/// Are these messages of a server?
pub(super) fn responses(bytes: &[u8]) -> Fit {
    messages(Side::Response, bytes)
}

fn messages(side: Side, mut bytes: &[u8]) -> Fit {
    let mut first = true;
    while let Some((&kind, rest)) = bytes.split_first() {
        let Some(length) = int32(rest, 0) else {
            return if first { Fit::No } else { Fit::Part };
        };
        if length > MAX_LIKELY || !is_legal(side, kind, length) {
            return Fit::No;
        }
        let payload = rest.get(4..).unwrap_or_default();
        let whole = payload.get(..length as usize - 4);
        if !is_likely(side, kind, whole.unwrap_or(payload), whole.is_some()) {
            return Fit::No;
        }
        match whole {
            Some(whole) => bytes = &payload[whole.len()..],
            None => return Fit::Part,
        }
        first = false;
    }
    if first {
        Fit::No
    } else {
        Fit::Whole
    }
}

/// Is this what is in such a message? Not `whole`: its beginning.
pub(super) fn is_likely(side: Side, kind: u8, payload: &[u8], whole: bool) -> bool {
    let mut rest = payload;
    let mut name = || match string(&mut rest) {
        Some(name) => name.iter().all(|byte| *byte >= b' '),
        None => !whole,
    };
    match (side, kind) {
        (Side::Request, b'Q') => match memchr::memchr(0, payload) {
            Some(end) => whole && end + 1 == payload.len() && is_text(&payload[..end]),
            None => !whole && is_text(payload),
        },
        (Side::Request, b'P' | b'B') => name() && name(),
        (Side::Request, b'C' | b'D') => {
            let named = payload.get(1..).unwrap_or_default();
            match (payload.first(), memchr::memchr(0, named)) {
                (Some(b'S' | b'P'), Some(end)) => end + 1 == named.len(),
                (Some(b'S' | b'P') | None, None) => !whole,
                _ => false,
            }
        }
        (Side::Request, b'E') => name() && (!whole || rest.len() == 4),
        (Side::Response, b'Z') => !whole || matches!(payload, [b'I' | b'T' | b'E']),
        (Side::Response, b'C') => !whole || is_tag(payload),
        _ => true,
    }
}

/// Bytes of a statement's text: no control characters but white space.
fn is_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c))
}

/// Do these begin a client's first message? `None`: they may.
pub(super) fn begins_session(bytes: &[u8]) -> Option<bool> {
    let wanted =
        |at: usize, allowed: &[u8]| bytes.get(at).is_none_or(|byte| allowed.contains(byte));
    // the length is below 10,000; the code's first two bytes are 0 and 3, or 0x04d2
    if !(wanted(0, &[0]) && wanted(1, &[0]) && bytes.get(2).is_none_or(|byte| *byte < 0x28)) {
        return Some(false);
    }
    if !(wanted(4, &[0, 0x04]) && wanted(5, &[3, 0xd2])) {
        return Some(false);
    }
    let (length, code) = (int32(bytes, 0)?, int32(bytes, 4)?);
    Some(match code {
        SSL_REQUEST | GSSENC_REQUEST => length == 8,
        CANCEL_REQUEST => (16..=12 + 256).contains(&length),
        _ if code >> 16 == VERSION => {
            // a parameter's name: Kafka has a number here
            let name = bytes.get(8..).unwrap_or_default();
            let end = memchr::memchr(0, name);
            let known = &name[..end.unwrap_or(name.len())];
            let is_name = known
                .iter()
                .all(|byte| byte.is_ascii_alphabetic() || b"_.".contains(byte));
            if !is_name || !is_legal(Side::Request, STARTUP, length) || end == Some(0) {
                return Some(false);
            }
            return end.map(|_| true);
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_a_tag_that_counts_rows() {
        assert_eq!(rows(b"SELECT 12\0"), Some(12));
        assert_eq!(rows(b"FETCH 3\0"), Some(3));
        for other in [
            &b"INSERT 0 1\0"[..],
            b"SELECT\0",
            b"SELECT 1",
            b"SELECT -1\0",
            b"SELECT 99999999999999999999\0",
            b"",
        ] {
            assert_eq!(rows(other), None);
        }
    }

    #[test]
    fn the_error_code_is_found_among_the_fields() {
        let fields = b"SERROR\0VERROR\0C42P01\0Mrelation \"C\" does not exist\0\0";
        assert_eq!(sqlstate(fields), Some(*b"42P01"));
        assert_eq!(sqlstate(&fields[..15]), None);
        assert_eq!(sqlstate(b"SERROR\0C42\0\0"), None);
    }

    #[test]
    fn a_burst_ends_with_what_happened_and_ready_for_query() {
        let complete = b"...D\0\0\0\x04C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        assert_eq!(tail(complete), Some(Tail::Complete(b"SELECT 1\0")));
        let error = b"xE\0\0\0\x15SERROR\0C42601\0\0\0Z\0\0\0\x05T";
        assert_eq!(tail(error), None, "a length that does not fit");
        let error = b"xE\0\0\0\x13SERROR\0C42601\0\0Z\0\0\0\x05T";
        assert_eq!(tail(error), Some(Tail::Error(*b"42601")));
        assert_eq!(tail(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05X"), None);
        assert_eq!(tail(b"C\0\0\0\x0eSELECT 1\0Z\0\0\0\x05I"), None);
        assert_eq!(tail(b"Z\0\0\0\x05I"), None);
    }

    #[test]
    fn what_begins_with_a_type_and_a_length_need_not_be_a_message() {
        assert_eq!(requests(b"Q\0\0\0\x0dselect 1\0"), Fit::Whole);
        assert_eq!(requests(b"Q\0\0\0\x0dselect"), Fit::Part);
        assert_eq!(requests(b"Q\0\0\0\x0dsel\0ct 1\0"), Fit::No);
        assert_eq!(requests(b"Q\0\0\0\x0dselect 1\0POST / HTTP/1.1"), Fit::No);
        assert_eq!(requests(b"POST / HTTP/1.1"), Fit::No);
        assert_eq!(requests(b"d\0\0\0\x04"), Fit::No, "begins no request");
        // MySQL: a packet of 0x51 bytes, COM_QUERY
        assert_eq!(requests(b"Q\0\0\0\x03select 1"), Fit::No);
    }

    #[test]
    fn a_session_begins_with_a_version_and_a_name() {
        assert_eq!(begins_session(b"\0\0\0\x08\x04\xd2\x16\x2f"), Some(true));
        assert_eq!(begins_session(b"\0\0\0\x08\x04\xd2"), None);
        let startup = b"\0\0\0\x29\0\x03\0\0user\0me\0";
        assert_eq!(begins_session(startup), Some(true));
        for cut in 0..13 {
            assert_eq!(begins_session(&startup[..cut]), None);
        }
        // Kafka: a request for Metadata, version 0
        let kafka = b"\0\0\0\x1d\0\x03\0\0\0\0\0\x01\0\x08consumer";
        assert_eq!(begins_session(kafka), Some(false));
        assert_eq!(begins_session(b"GET / HTTP/1.1"), Some(false));
    }
}
