//! What tells that a connection speaks CQL's protocol, and who says what.

use super::body::Body;
use super::compress;
use super::message::{flag, opcode, Header, HEADER};
use super::segment::{self, Segment};
use crate::exchange::Side;
use crate::protocols::{Detect, Opening};

/// Says what starts here.
pub fn detect(opening: &Opening<'_>) -> Detect {
    let bytes = opening.bytes;
    if opening.datagram || bytes.is_empty() {
        return Detect::No;
    }
    if may_be_messages(Side::Request, bytes) {
        return if bytes.len() < HEADER {
            Detect::More
        } else {
            Detect::Request
        };
    }
    if opening.first {
        return Detect::No;
    }
    match [false, true].map(|compressed| speaker(bytes, compressed)) {
        [Some(side), _] | [_, Some(side)] => match side {
            Side::Request => Detect::Request,
            Side::Response => Detect::Response,
        },
        _ => Detect::No,
    }
}

/// Who says a segment that is self-contained, if one begins here.
pub(super) fn speaker(bytes: &[u8], compressed: bool) -> Option<Side> {
    let segment = Segment::parse(bytes, compressed).filter(|segment| segment.self_contained)?;
    let size = if compressed {
        segment::COMPRESSED
    } else {
        segment::PLAIN
    };
    let payload = bytes.get(size..)?;
    let mut unpacked = Vec::new();
    let header = match segment.holds {
        None => payload.first_chunk()?,
        Some(_) => {
            compress::lz4(payload, HEADER, &mut unpacked);
            unpacked.first_chunk()?
        }
    };
    [Side::Request, Side::Response]
        .into_iter()
        .find(|side| Header::parse(*side, *header).is_some())
}

/// Whether these bytes are messages of that side, one behind the other, up to their end.
pub(super) fn may_be_messages(side: Side, mut bytes: &[u8]) -> bool {
    loop {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return match (side, bytes) {
                (_, []) => true,
                (Side::Request, [version, flags @ ..]) => {
                    (3..=5).contains(version) && flags.first().is_none_or(|flags| *flags < 0x20)
                }
                (Side::Response, [version, ..]) => (0x83..=0x85).contains(version),
            };
        };
        let Some(header) = Header::parse(side, *header) else {
            return false;
        };
        let length = header.length as usize;
        if !may_be_body(header, &rest[..length.min(rest.len())]) {
            return false;
        }
        match rest.get(length..) {
            Some(next) => bytes = next,
            None => return true,
        }
    }
}

/// Whether a body may begin so.
pub(super) fn may_be_body(header: Header, bytes: &[u8]) -> bool {
    let length = header.length as usize;
    if header.flags & (flag::COMPRESSION | flag::CUSTOM_PAYLOAD) != 0 {
        return header.opcode != opcode::OPTIONS;
    }
    let mut body = Body(bytes);
    let fits = |size: Option<i32>| size.is_none_or(|size| (1..=length as i32).contains(&size));
    match header.opcode {
        opcode::OPTIONS => length == 0,
        opcode::STARTUP => {
            length >= 2 && {
                let count = body.short();
                count.is_none_or(|count| (1..64).contains(&count))
                    && body.string().is_none_or(<[u8]>::is_ascii)
            }
        }
        opcode::QUERY | opcode::PREPARE => length > 4 && fits(body.int()),
        opcode::EXECUTE => {
            length > 4
                && body
                    .short()
                    .is_none_or(|size| (1..=64).contains(&size) && usize::from(size) < length)
        }
        opcode::BATCH => length > 4 && body.byte().is_none_or(|kind| kind < 3),
        _ => true,
    }
}
