//! OP_COMPRESSED: a message that is compressed, of which the beginning is looked at.
//!
//! ```text
//! header(16) opcode of what is within(4) its size without its header(4) compressor(1) ...
//! ```

use super::bson::i32_at;
use super::frame::MAX_KEPT;
use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::cell::RefCell;
use std::io::Read;

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
            // a thread that ends has no decoders any more
            compressor::ZLIB => drop(ZLIB.try_with(|zlib| inflate(zlib, self.bytes, room, plain))),
            _ => drop(ZSTD.try_with(|decoder| zstd(decoder, self.bytes, room, plain))),
        }
        plain.len() == self.size
    }
}

thread_local! {
    // they take longer to make than to use
    static ZLIB: RefCell<Option<Decompress>> = const { RefCell::new(None) };
    static ZSTD: RefCell<Option<FrameDecoder>> = const { RefCell::new(None) };
}

/// zlib (RFC 1950).
fn inflate(zlib: &RefCell<Option<Decompress>>, bytes: &[u8], room: usize, plain: &mut Vec<u8>) {
    let Ok(mut zlib) = zlib.try_borrow_mut() else {
        return;
    };
    let zlib = zlib.get_or_insert_with(|| Decompress::new(true));
    zlib.reset(true);
    plain.reserve_exact(room);
    // bytes that are none of zlib's end it, as too few of them do
    let _ = zlib.decompress_vec(bytes, plain, FlushDecompress::Sync);
    plain.truncate(room);
}

/// The header of a frame with the smallest window there is, of no known size and without a checksum.
const FRAME: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0, 0];

/// zstd (RFC 8878). `None`: it can't be read, or only this far.
///
/// A decoder keeps a window of what it has decoded for itself, which may be all that there is. So the frame is given
/// another header: with the smallest window, a block is enough to get at the beginning, and to what is beyond the
/// window its blocks may refer all the same, as nothing is taken out before they are decoded.
fn zstd(
    decoder: &RefCell<Option<FrameDecoder>>,
    bytes: &[u8],
    room: usize,
    plain: &mut Vec<u8>,
) -> Option<()> {
    let mut decoder = decoder.try_borrow_mut().ok()?;
    let decoder = decoder.get_or_insert_with(FrameDecoder::new);
    let mut source = FRAME.chain(bytes.get(header_len(bytes)?..)?);
    decoder.init(&mut source).ok()?;
    while decoder.can_collect() < room && !decoder.is_finished() {
        let one = BlockDecodingStrategy::UptoBlocks(1);
        if decoder.decode_blocks(&mut source, one).is_err() {
            break;
        }
    }
    plain.resize(room, 0);
    let read = decoder.read(plain).unwrap_or(0);
    plain.truncate(read);
    Some(())
}

/// Of a frame's header (RFC 8878, 3.1.1.1). `None`: it is none, or has a dictionary that nobody here knows.
fn header_len(frame: &[u8]) -> Option<usize> {
    let rest = frame.strip_prefix(&FRAME[..4])?;
    let descriptor = *rest.first()?;
    let (single_segment, dictionary) = (descriptor & 0x20 != 0, descriptor & 3 != 0);
    let size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    (!dictionary).then_some(FRAME.len() - usize::from(single_segment) + size)
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
    fn a_frame_of_zstd_has_a_header_of_some_length() {
        let frame = |descriptor| [&FRAME[..4], &[descriptor]].concat();
        let of = [0x00, 0x20, 0x60, 0xa0, 0xe4, 0x80, 0x01].map(|byte| header_len(&frame(byte)));
        let expected = [Some(6), Some(6), Some(7), Some(9), Some(13), Some(10), None];
        assert_eq!(of, expected);
        assert_eq!(header_len(b"\x28\xb5\x2f\xfe\x00"), None);
    }

    #[test]
    fn zstd_is_read_no_further_than_there_is_room() {
        // blocks that repeat a byte 128 KB times, in a window of 2 GB; the second one is none
        let size = (128 << 10) << 3;
        let block = [size | 2, size >> 8, size >> 16, i32::from(b'x')].map(|byte| byte as u8);
        let bytes = [&FRAME[..4], &[0, 0xa8], &block, &[6, 0, 0]].concat();
        let (found, whole) = plain(3, &bytes, 2_000_000);
        assert_eq!((found, whole), (vec![b'x'; MAX_KEPT], false));
    }
}
