//! Says whether a burst begins with a command.

use super::binary::{Header, REQUEST};
use super::commands::{find, Answers, Keys};
use super::{number, MAX_LINE};
use crate::protocols::{Detect, Opening};
use memchr::memchr;

const REDIS_PORT: u16 = 6379;

/// Answers are not recognised: alone they prove nothing, and the next command will.
pub fn detect(opening: &Opening<'_>) -> Detect {
    match opening.bytes {
        _ if opening.datagram => Detect::No,
        [] => Detect::More,
        [REQUEST, ..] => packet(opening.bytes),
        _ if opening.has_port(REDIS_PORT) => Detect::No,
        bytes => line(bytes),
    }
}

/// A piece of a request may be the first one of a command.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let found = match bytes {
        [REQUEST, ..] => packet(bytes),
        _ => line(bytes),
    };
    matches!(found, Detect::Request | Detect::More)
}

fn packet(bytes: &[u8]) -> Detect {
    match Header::read(bytes) {
        Some(header) if header.asks() => Detect::Request,
        None if bytes.len() < 24 => Detect::More,
        _ => Detect::No,
    }
}

/// A line with a command and as many arguments as it takes.
fn line(bytes: &[u8]) -> Detect {
    let end = memchr(b'\n', bytes);
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = text.split(|byte| *byte == b' ');
    let name = words.next().unwrap_or_default();
    let whole_name = end.is_some() || name.len() < text.len();
    if !whole_name {
        let of_name = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
        let may_be = name.len() <= 16 && name.iter().all(of_name);
        return if may_be { Detect::More } else { Detect::No };
    }
    let command = find(name);
    let printable = text
        .iter()
        .all(|byte| (b' '..=b'~').contains(byte) || *byte >= 0x80);
    if command.name.is_empty() || !printable {
        return Detect::No;
    }
    if end.is_none() {
        let keys = matches!(command.keys, Keys::All | Keys::AllButFirst);
        return if keys || line.len() <= MAX_LINE {
            Detect::More
        } else {
            Detect::No
        };
    }
    let arguments = words.clone().filter(|word| !word.is_empty()).count();
    let data = match command.data_at {
        0 => true,
        at => words.nth(usize::from(at) - 1).and_then(number).is_some(),
    };
    let enough = match command.answers {
        Answers::Number => arguments >= 2,
        Answers::Touched => arguments == 2 || arguments == 3,
        Answers::Values if command.keys == Keys::All => arguments >= 1,
        Answers::Values => arguments >= 2,
        Answers::MetaEnd | Answers::Version => arguments == 0,
        Answers::Close => arguments == 0,
        Answers::Stats | Answers::Ok | Answers::Lines | Answers::Watch => true,
        _ => arguments >= 1,
    };
    if data && enough {
        Detect::Request
    } else {
        Detect::No
    }
}
