//! The beginning of what was compressed, as far as it is needed: LZ4 blocks and Snappy, which both copy bytes and
//! repeat earlier ones. Written here since one wants no more than a prefix, of what may itself be no more than one;
//! libraries decode all or nothing.

/// How a repetition or literal bytes end: with the room that there is, or the bytes.
type Going = Option<()>;

/// Decodes an LZ4 block until `most` bytes are there or `from` is over. What is wrong ends it, too.
pub(super) fn lz4(from: &[u8], most: usize, to: &mut Vec<u8>) {
    to.clear();
    let mut rest = from;
    while to.len() < most {
        if lz4_sequence(&mut rest, most, to).is_none() {
            return;
        }
    }
}

/// ```text
/// sequence   literals 4 bits │ repeated - 4: 4 bits │ more literals, 255 and so on │ literals │ distance 2 │ more repeated
/// ```
fn lz4_sequence(rest: &mut &[u8], most: usize, to: &mut Vec<u8>) -> Going {
    let token = byte(rest)?;
    let literals = lz4_length(token >> 4, rest)?;
    literal(literals, rest, most, to)?;
    let (distance, behind) = rest.split_first_chunk()?;
    *rest = behind;
    let distance = usize::from(u16::from_le_bytes(*distance));
    let length = lz4_length(token & 15, rest)?.saturating_add(4);
    repeat(distance, length, most, to)
}

fn lz4_length(nibble: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let more = byte(rest)?;
            length = length.saturating_add(usize::from(more));
            if more < 255 {
                break;
            }
        }
    }
    Some(length)
}

/// Decodes Snappy's raw format, likewise.
pub(super) fn snappy(from: &[u8], most: usize, to: &mut Vec<u8>) {
    to.clear();
    let mut rest = from;
    // the length of all, seven bits to a byte
    while byte(&mut rest).is_some_and(|byte| byte >= 0x80) {}
    while to.len() < most {
        if snappy_element(&mut rest, most, to).is_none() {
            return;
        }
    }
}

/// ```text
/// element   length - 1: 6 bits │ 00   literals; 60 to 63: the length is in 1 to 4 bytes
///           distance: 3 bits │ length - 4: 3 bits │ 01 │ distance 1
///           length - 1: 6 bits │ 10 │ distance 2
///           length - 1: 6 bits │ 11 │ distance 4
/// ```
fn snappy_element(rest: &mut &[u8], most: usize, to: &mut Vec<u8>) -> Going {
    let tag = byte(rest)?;
    let upper = usize::from(tag >> 2);
    if tag & 3 == 0 {
        let length = match upper {
            60.. => little(upper - 59, rest)?,
            _ => upper,
        };
        return literal(length.saturating_add(1), rest, most, to);
    }
    let (distance, length) = match tag & 3 {
        1 => (
            usize::from(tag >> 5) << 8 | little(1, rest)?,
            (upper & 7) + 4,
        ),
        2 => (little(2, rest)?, upper + 1),
        _ => (little(4, rest)?, upper + 1),
    };
    repeat(distance, length, most, to)
}

fn little(size: usize, rest: &mut &[u8]) -> Option<usize> {
    let (bytes, behind) = rest.split_at_checked(size)?;
    *rest = behind;
    let bits = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
    Some(bytes.iter().rev().fold(0, bits))
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, behind) = rest.split_first()?;
    *rest = behind;
    Some(*byte)
}

fn literal(length: usize, rest: &mut &[u8], most: usize, to: &mut Vec<u8>) -> Going {
    let there = length.min(rest.len());
    let taken = there.min(most - to.len());
    to.extend_from_slice(&rest[..taken]);
    *rest = &rest[there..];
    (taken == length).then_some(())
}

fn repeat(distance: usize, length: usize, most: usize, to: &mut Vec<u8>) -> Going {
    let from = to.len().checked_sub(distance).filter(|_| distance > 0)?;
    let length = length.min(most - to.len());
    if distance >= length {
        to.extend_from_within(from..from + length);
    } else {
        for at in from..from + length {
            to.push(to[at]); // it repeats what it makes
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{lz4, snappy};

    #[test]
    fn blocks_of_lz4() {
        let mut to = Vec::new();
        // "abc", then 9 bytes from 3 before, then "xy"
        let block = b"\x35abc\x03\x00\x20xy";
        lz4(block, 100, &mut to);
        assert_eq!(to, b"abcabcabcabcxy");
        for most in 0..=14 {
            lz4(block, most, &mut to);
            assert_eq!(to, &b"abcabcabcabcxy"[..most]);
        }
        for end in 0..block.len() {
            lz4(&block[..end], 100, &mut to);
            assert!(b"abcabcabcabcxy".starts_with(&to), "{end}: {to:?}");
        }
    }

    #[test]
    fn long_lengths_of_lz4() {
        let mut to = Vec::new();
        let mut block = vec![0xff, 255, 5];
        block.extend([b'z'; 275]);
        block.extend([1, 0, 255, 0, 0]);
        lz4(&block, 10_000, &mut to);
        assert_eq!(to, [b'z'; 275 + 4 + 15 + 255]);
        lz4(b"\x04\x05\x00", 10, &mut to);
        assert_eq!(to, b"", "from before the beginning");
    }

    #[test]
    fn elements_of_snappy() {
        let mut to = Vec::new();
        let text = b"\x0e\x08abc\x15\x03\x04xy";
        snappy(text, 100, &mut to);
        assert_eq!(to, b"abcabcabcabcxy");
        snappy(text, 5, &mut to);
        assert_eq!(to, b"abcab");
        snappy(b"\x05\xf0\x01ab\x06\x02\x00", 100, &mut to);
        assert_eq!(to, b"abab");
        snappy(b"\x05\x00a\x03\x01\x00\x00\x00", 100, &mut to);
        assert_eq!(to, b"aa");
        snappy(b"\x05\x06\x09\x00", 100, &mut to);
        assert_eq!(to, b"", "from before the beginning");
    }
}
