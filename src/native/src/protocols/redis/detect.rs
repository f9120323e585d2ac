//! Says whether a burst begins with a command.

use super::building::number;
use super::commands::{find_any_case, is_name, MAX_NAME, UNKNOWN};
use super::replies::line_end;
use crate::protocols::{Detect, Opening};

const PORT: u16 = 6379;
/// Inline commands are recognised up to this length.
const MAX_INLINE: usize = 1024;
/// As many arguments as a client may announce before it has authenticated itself (proto-max-multibulk-len).
const MAX_ARGUMENTS: u64 = 1 << 20;
/// Inline commands that other protocols of lines have as well, memcached's among them.
const SHARED: &[&[u8]] = &[
    b"GET",
    b"SET",
    b"APPEND",
    b"INCR",
    b"DECR",
    b"TOUCH",
    b"QUIT",
    b"SHUTDOWN",
    b"WATCH",
];

/// Answers are not recognised: alone they prove nothing, and the next command will.
pub fn detect(opening: &Opening<'_>) -> Detect {
    let from_server = opening.from_port == PORT && opening.to_port != PORT;
    if opening.datagram || (from_server && !opening.first) {
        return Detect::No;
    }
    match opening.bytes {
        [] => Detect::More,
        [b'*', ..] => match array(opening.bytes) {
            Detect::Response if opening.first || opening.to_port == PORT => Detect::Request,
            Detect::Response => Detect::No,
            other => other,
        },
        bytes if opening.first => inline(bytes, opening.has_port(PORT)),
        _ => Detect::No,
    }
}

/// An array whose first string is the name of a command: a request. `Response`: it may be one, but of a command that
/// nobody knows, and just as well an answer.
pub(super) fn array(bytes: &[u8]) -> Detect {
    let mut rest = bytes;
    let count = match announced(&mut rest, b'*') {
        Ok(count) => count,
        Err(other) => return other,
    };
    let len = match announced(&mut rest, b'$') {
        Ok(len) => len,
        Err(other) => return other,
    };
    if count == 0 || count > MAX_ARGUMENTS || len == 0 || len > MAX_NAME as u64 {
        return Detect::No;
    }
    let name = rest.get(..len as usize).unwrap_or(rest);
    let behind = rest.get(len as usize..).unwrap_or_default();
    if !(name.is_empty() || is_name(name)) || !b"\r\n".starts_with(&behind[..behind.len().min(2)]) {
        Detect::No
    } else if behind.len() < 2 {
        Detect::More
    } else if find_any_case(name) == &UNKNOWN {
        Detect::Response
    } else {
        Detect::Request
    }
}

/// The number of a line of this kind.
fn announced(rest: &mut &[u8], kind: u8) -> Result<u64, Detect> {
    match rest.first() {
        None => return Err(Detect::More),
        Some(first) if *first != kind => return Err(Detect::No),
        Some(_) => {}
    }
    let Some(end) = line_end(rest) else {
        let digits = rest[1..].strip_suffix(b"\r").unwrap_or(&rest[1..]);
        let may_be = digits.is_empty() || number(digits).is_some();
        return Err(if may_be { Detect::More } else { Detect::No });
    };
    let digits = rest[1..end].strip_suffix(b"\r").and_then(number);
    *rest = &rest[end + 1..];
    digits.ok_or(Detect::No)
}

/// A command that somebody typed. `at_home`: at Redis' port.
fn inline(bytes: &[u8], at_home: bool) -> Detect {
    let line = match line_end(bytes) {
        Some(end) => bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]),
        None => bytes,
    };
    let printable = line
        .iter()
        .all(|byte| matches!(byte, b'\t' | b'\r' | b' '..=b'~'));
    if !printable || line.len() > MAX_INLINE {
        return Detect::No;
    }
    let end = line.iter().position(|byte| *byte == b' ');
    let (name, arguments) = line.split_at(end.unwrap_or(line.len()));
    let whole = line.len() < bytes.len();
    if end.is_none() && !whole {
        let may_be = name.len() <= MAX_NAME && is_name(name);
        return if may_be { Detect::More } else { Detect::No };
    }
    let command = find_any_case(name);
    let shared = SHARED.contains(&command.name.as_bytes()) && name != command.name.as_bytes();
    // NATS greets with INFO and an object, HTTP asks with GET and its version
    let another =
        arguments.starts_with(b" {") || memchr::memmem::find(arguments, b" HTTP/").is_some();
    if command == &UNKNOWN || another || (shared && !at_home) {
        Detect::No
    } else if whole {
        Detect::Request
    } else {
        Detect::More
    }
}
