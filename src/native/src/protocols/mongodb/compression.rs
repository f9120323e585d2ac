//! OP_COMPRESSED: a message that is compressed, of which the beginning is looked at.
//!
//! ```text
//! header(16) opcode of what is within(4) its size without its header(4) compressor(1) ...
//! ```

use super::bson::i32_at;
use super::frame::MAX_KEPT;
use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::Read;

/// Larger ones would take more memory than what they have to say is worth: zstd's window (RFC 8878, 3.1.1.1.2), which
/// the drivers' levels leave at 8 MB or less.
const MAX_WINDOW: u64 = 8 << 20;

/// What stands in front of the compressed bytes.
pub(super) struct Compressed<'a> {
    pub op: i32,
    pub size: usize,
    compressor: u8,
    bytes: &'a [u8],
}

mod compressor {
    pub const NOOP: u8 = 0;
    pub const SNAPPY: u8 = 1;
    pub const ZLIB: u8 = 2;
    pub const ZSTD: u8 = 3;
}

/// `None`: there is too little of it, or it is none.
pub(super) fn compressed(body: &[u8]) -> Option<Compressed<'_>> {
    let (compressor, bytes) = body.get(8..)?.split_first()?;
    (*compressor <= compressor::ZSTD).then_some(Compressed {
        op: i32_at(body, 0)?,
        size: usize::try_from(i32_at(body, 4)?).ok()?,
        compressor: *compressor,
        bytes,
    })
}

impl Compressed<'_> {
    /// Puts the beginning of what is within into `plain`, as far as it can be had. Says whether that is all of it.
    pub(super) fn plain(&self, plain: &mut Vec<u8>) -> bool {
        plain.clear();
        let room = self.size.min(MAX_KEPT);
        match self.compressor {
            compressor::NOOP => {
                plain.extend_from_slice(self.bytes.get(..room).unwrap_or(self.bytes));
            }
            compressor::SNAPPY => drop(snappy(self.bytes, room, plain)),
            compressor::ZLIB => {
                plain.reserve_exact(room);
                // bytes that are none of zlib's end it, as too few of them do
                let _ =
                    Decompress::new(true).decompress_vec(self.bytes, plain, FlushDecompress::Sync);
                plain.truncate(room);
            }
            _ => drop(zstd(self.bytes, room, plain)),
        }
        plain.len() == self.size
    }
}

/// zstd (RFC 8878). `None`: it can't be read, or only this far.
fn zstd(bytes: &[u8], room: usize, plain: &mut Vec<u8>) -> Option<()> {
    if window(bytes)? > MAX_WINDOW {
        return None;
    }
    let mut source = bytes;
    let mut decoder = FrameDecoder::new();
    decoder.init(&mut source).ok()?;
    while plain.len() < room && !(decoder.is_finished() && decoder.can_collect() == 0) {
        let more = BlockDecodingStrategy::UptoBlocks(1);
        let goes_on = decoder.decode_blocks(&mut source, more).is_ok();
        let at = plain.len();
        plain.resize(room, 0);
        let read = decoder.read(plain.get_mut(at..)?).unwrap_or(0);
        plain.truncate(at + read);
        if read == 0 && !goes_on {
            return None;
        }
    }
    Some(())
}

/// Bytes that a frame's blocks may refer back to (RFC 8878, 3.1.1.1).
fn window(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.get(4)?;
    if descriptor & 0x20 == 0 {
        let byte = u64::from(*frame.get(5)?);
        let base = 1_u64 << (10 + (byte >> 3));
        return Some(base + (base >> 3) * (byte & 7));
    }
    // a single segment: all of it
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let number = |len: usize| {
        let mut word = [0; 8];
        word.get_mut(..len)?
            .copy_from_slice(frame.get(at..at + len)?);
        Some(u64::from_le_bytes(word))
    };
    match descriptor >> 6 {
        0 => number(1),
        1 => number(2).map(|size| size + 256),
        2 => number(4),
        _ => number(8),
    }
}

/// Snappy's raw format (format_description.txt of google/snappy). `None`: it can't be read, or only this far.
///
/// ```text
/// size(varint) element ...     element   xxxxxx00 literal: length - 1 in the tag, or 60..63 and in 1..4 bytes behind it
///                                        ooolll01 copy: length - 4, offset's upper 3 bits, its lower 8 behind it
///                                        llllll10 copy: length - 1, offset in 2 bytes, llllll11 in 4
/// ```
fn snappy(mut bytes: &[u8], room: usize, plain: &mut Vec<u8>) -> Option<()> {
    let size = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    bytes = bytes.get(size + 1..)?;
    while plain.len() < room {
        let (tag, rest) = bytes.split_first()?;
        let (tag, upper) = (usize::from(*tag), usize::from(*tag >> 2));
        let behind = match tag & 3 {
            0 => upper.saturating_sub(59),
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let (number, rest) = rest.split_at_checked(behind)?;
        let number = number
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | usize::from(*byte));
        bytes = rest;
        let left = room - plain.len();
        if tag & 3 == 0 {
            let len = if behind == 0 { upper } else { number }.checked_add(1)?;
            let literal = bytes.get(..len.min(left)).unwrap_or(bytes);
            plain.extend_from_slice(literal);
            bytes = bytes.get(len..)?;
            continue;
        }
        let (len, offset) = match tag & 3 {
            1 => ((upper & 7) + 4, (tag >> 5) << 8 | number),
            _ => (upper + 1, number),
        };
        let from = plain.len().checked_sub(offset).filter(|_| offset > 0)?;
        for at in from..from + len.min(left) {
            plain.push(*plain.get(at)?);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(compressor: u8, bytes: &[u8], size: usize) -> (Vec<u8>, bool) {
        let mut plain = Vec::new();
        let compressed = Compressed {
            op: 0,
            size,
            compressor,
            bytes,
        };
        let whole = compressed.plain(&mut plain);
        (plain, whole)
    }

    #[test]
    fn snappy_copies_what_it_is_about_to_write() {
        // "ab", then ten bytes from two back
        let bytes = [12, 0x04, b'a', b'b', 0x26, 2, 0];
        assert_eq!(plain(1, &bytes, 12), (b"abababababab".to_vec(), true));
    }

    #[test]
    fn snappy_never_copies_from_before_its_beginning() {
        for offset in [0, 3, 255] {
            let bytes = [12, 0x04, b'a', b'b', 0x26, offset, 0];
            assert_eq!(plain(1, &bytes, 12), (b"ab".to_vec(), false));
        }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room() {
        // a literal of a byte, then copies of 64 bytes from one back
        let bytes: Vec<u8> = [0xff, 0xff, 0x7f, 0x00, b'x']
            .into_iter()
            .chain([0xfe, 1, 0].repeat(1000))
            .collect();
        let (found, whole) = plain(1, &bytes, 2_000_000);
        assert_eq!((found.len(), whole), (MAX_KEPT, false));
    }

    #[test]
    fn a_window_that_is_too_large_is_not_made() {
        let magic = [0x28, 0xb5, 0x2f, 0xfd];
        let frame = |rest: &[u8]| [&magic[..], rest].concat();
        assert_eq!(window(&frame(&[0x00, 0x58])), Some(2 << 20));
        assert_eq!(window(&frame(&[0x20, 0x10])), Some(16));
        assert_eq!(window(&frame(&[0x60, 0x10, 0x00])), Some(272));
        assert_eq!(
            window(&frame(&[0xa3, 1, 2, 3, 4, 0, 0, 0, 1])),
            Some(1 << 24)
        );
        assert_eq!(plain(3, &frame(&[0x00, 0xff]), 100), (Vec::new(), false));
    }
}
