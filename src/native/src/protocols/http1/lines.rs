//! Line ends of a head, 64 bytes at a time. A head has lines of some 30 bytes: a call of memchr per line costs
//! more than the search itself.

/// Iterates over the offsets of LF in a slice.
pub(super) struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Offset of the block that `mask` speaks for.
    block: usize,
    /// Bit i: there is an LF at block + i that was not yet given.
    mask: u64,
}

const BLOCK: usize = 64;
const QUARTER: usize = 16;

impl<'a> LineEnds<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            block: 0,
            mask: mask_at(bytes, 0),
        }
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            // At the end this stays put, so that asking again does not run away.
            let next = self.block + BLOCK;
            if next >= self.bytes.len() {
                return None;
            }
            self.block = next;
            self.mask = mask_at(self.bytes, next);
        }
        let end = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(end)
    }
}

/// Of the block at `at`, which may be cut short by the end.
#[inline(always)]
fn mask_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(block) = rest.first_chunk::<BLOCK>() {
        return block_mask(block);
    }
    // The end of the last block that can be loaded whole, of which the other bytes were seen already.
    if let Some(last) = bytes.last_chunk::<BLOCK>() {
        return block_mask(last) >> ((BLOCK - rest.len()) % BLOCK);
    }
    let mut bits = 0;
    let mut from = 0;
    while let Some(quarter) = rest.get(from..).and_then(|rest| rest.first_chunk()) {
        bits |= mask(quarter) << from;
        from += QUARTER;
    }
    bits | match (rest.len() - from, rest.last_chunk()) {
        (0, _) => 0,
        (left, Some(last)) => (mask(last) >> (QUARTER - left)) << from,
        (_, None) => portable_mask(rest),
    }
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

/// Of up to 64 bytes.
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
                let byte = |i: usize| if i % step == 0 { b'\n' } else { 0x8a };
                let bytes: Vec<u8> = (0..len).map(byte).collect();
                let mut ends = LineEnds::new(&bytes);
                let expected: Vec<usize> = (0..len).step_by(step).collect();
                assert_eq!(ends.by_ref().collect::<Vec<_>>(), expected);
                assert_eq!(ends.next(), None);
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
