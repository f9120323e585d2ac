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

impl<'a> LineEnds<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            block: 0,
            mask: mask_of(bytes),
        }
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            // At the end this stays put, so that asking again does not run away.
            let rest = self.bytes.get(self.block + BLOCK..)?;
            self.block += BLOCK;
            self.mask = mask_of(rest);
        }
        let end = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(end)
    }
}

/// Of the first `BLOCK` bytes.
#[inline(always)]
fn mask_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<BLOCK>() {
        Some(block) => mask(block),
        None => {
            let mut last = [0; BLOCK];
            last[..bytes.len()].copy_from_slice(bytes);
            mask(&last)
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask(block: &[u8; BLOCK]) -> u64 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    let quarter = |at: usize| {
        // SAFETY: SSE2 is part of x86_64, and 16 bytes at 0, 16, 32 and 48 are within the 64 of the block; the
        // load needs no alignment.
        let bits = unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().add(at).cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8)))
        };
        u64::from(bits as u16) << at
    };
    quarter(0) | quarter(16) | quarter(32) | quarter(48)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn mask(block: &[u8; BLOCK]) -> u64 {
    portable_mask(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_mask(block: &[u8; BLOCK]) -> u64 {
    block
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
        for pattern in [
            0,
            1,
            u64::MAX,
            1 << 63,
            0x8000_0001_0001_8000,
            0x0123_4567_89ab_cdef,
        ] {
            let bit = |i: usize| (pattern >> i) & 1 == 1;
            let block = std::array::from_fn(|i| if bit(i) { b'\n' } else { b'x' });
            assert_eq!(portable_mask(&block), pattern);
            assert_eq!(mask(&block), pattern);
        }
    }
}
