//! Starts of lines of a head, 64 bytes at a time. A head has lines of some 30 bytes: a call of memchr per line
//! costs more than the search itself.

/// Bytes looked at together.
pub(super) const BLOCK: usize = 64;
const QUARTER: usize = 16;

/// Iterates over the lines of a slice after the first: the offsets of their first bytes, and these bytes. An LF at
/// the very end begins none, but where the slice is less than a block one that starts with a zero.
#[derive(Clone, Copy)]
pub(super) struct LineStarts<'a> {
    bytes: &'a [u8],
    block: &'a [u8; BLOCK],
    /// Where the block stands in the slice.
    base: usize,
    /// Bit i: a line that was not yet given starts at the block's byte i.
    starts: u64,
    /// One starts just behind the block.
    carry: u64,
}

impl<'a> LineStarts<'a> {
    /// `block` is the `first_block` of `bytes`.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], block: &'a [u8; BLOCK]) -> Self {
        let ends = block_mask(block);
        Self {
            bytes,
            block,
            base: 0,
            starts: ends << 1,
            carry: ends >> (BLOCK - 1),
        }
    }

    /// All of the slice.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next one, which stays the next one.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<(usize, u8)> {
        while self.starts == 0 {
            self.refill()?;
        }
        let bit = self.starts.trailing_zeros() as usize;
        Some((self.base + bit, self.block[bit % BLOCK]))
    }

    #[inline(always)]
    fn refill(&mut self) -> Option<()> {
        // At the end this stays put, so that asking again does not run away.
        let next = self.base + BLOCK;
        let rest = self.bytes.get(next..).filter(|rest| !rest.is_empty())?;
        if let Some(block) = rest.first_chunk() {
            let ends = block_mask(block);
            self.block = block;
            self.base = next;
            self.starts = (ends << 1) | self.carry;
            self.carry = ends >> (BLOCK - 1);
        } else {
            // The last block that can be loaded whole. The lines before `next` were given already.
            self.block = self.bytes.last_chunk()?;
            self.base = self.bytes.len() - BLOCK;
            self.starts = (block_mask(self.block) << 1) & (u64::MAX << (BLOCK - rest.len()));
        }
        Some(())
    }
}

impl Iterator for LineStarts<'_> {
    type Item = (usize, u8);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, u8)> {
        let start = self.peek()?;
        self.starts &= self.starts - 1;
        Some(start)
    }
}

/// The first block of a slice. Where there is less than that, it is put into `short` and filled up with zeros.
#[inline(always)]
pub(super) fn first_block<'a>(
    bytes: &'a [u8],
    short: &'a mut Option<[u8; BLOCK]>,
) -> &'a [u8; BLOCK] {
    bytes.first_chunk().unwrap_or_else(|| {
        let block = short.insert([0; BLOCK]);
        if let Some(start) = block.get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
        }
        block
    })
}

#[inline(always)]
fn block_mask(block: &[u8; BLOCK]) -> u64 {
    let quarter = |i: usize| {
        block[i..]
            .first_chunk()
            .map_or(0, |quarter| mask(quarter) << i)
    };
    quarter(0) | quarter(16) | quarter(32) | quarter(48)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask(quarter: &[u8; QUARTER]) -> u64 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86_64, and an unaligned load of 16 bytes from an array of 16 is in bounds.
    let bits = unsafe {
        let bytes = _mm_loadu_si128(quarter.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8)))
    };
    u64::from(bits as u16)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn mask(quarter: &[u8; QUARTER]) -> u64 {
    portable_mask(quarter)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_mask(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |mask, &byte| (mask << 1) | u64::from(byte == b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_plain_search_finds() {
        for len in 0..200_usize {
            for step in 1..90 {
                for phase in 0..step.min(3) {
                    let byte = |i: usize| {
                        if i % step == phase {
                            b'\n'
                        } else {
                            i as u8 | 0x80
                        }
                    };
                    let bytes: Vec<u8> = (0..len).map(byte).collect();
                    let mut short = None;
                    let mut starts = LineStarts::new(&bytes, first_block(&bytes, &mut short));
                    let expected: Vec<_> = (1..len + usize::from(len < BLOCK))
                        .filter(|&i| bytes[i - 1] == b'\n')
                        .map(|i| (i, bytes.get(i).copied().unwrap_or_default()))
                        .collect();
                    assert_eq!(starts.by_ref().collect::<Vec<_>>(), expected);
                    assert_eq!(starts.next(), None);
                }
            }
        }
    }

    #[test]
    fn both_masks_agree() {
        for pattern in 0..=u16::MAX {
            let bit = |i: usize| (pattern >> i) & 1 == 1;
            let block = std::array::from_fn(|i| if bit(i) { b'\n' } else { b'x' });
            assert_eq!(portable_mask(&block), u64::from(pattern));
            assert_eq!(mask(&block), u64::from(pattern));
        }
    }
}
