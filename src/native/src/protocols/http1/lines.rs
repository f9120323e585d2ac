//! Line ends of a head, sixteen bytes at a time. A head has lines of some 30 bytes: a call of memchr per line
//! costs more than the search itself (measured: 2.5 times the instructions on nginx's response head).

/// Iterates over the offsets of LF in a slice.
pub(super) struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Offset of the block that `mask` speaks for.
    block: usize,
    /// Bit i: there is an LF at block + i that was not yet given.
    mask: u32,
}

const BLOCK: usize = 16;

impl<'a> LineEnds<'a> {
    #[inline]
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

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.block += BLOCK;
            if self.block >= self.bytes.len() {
                // Stay put, so that asking again does not run away.
                self.block = self.bytes.len();
                return None;
            }
            self.mask = mask_at(self.bytes, self.block);
        }
        let end = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(end)
    }
}

#[inline]
fn mask_at(bytes: &[u8], at: usize) -> u32 {
    let rest = &bytes[at..];
    if let Some(block) = rest.first_chunk::<BLOCK>() {
        return mask(block);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    mask(&last)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn mask(block: &[u8; BLOCK]) -> u32 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86_64, and an unaligned load of 16 bytes from an array of 16 is in bounds.
    unsafe {
        let bytes = _mm_loadu_si128(block.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8))) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn mask(block: &[u8; BLOCK]) -> u32 {
    portable_mask(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_mask(block: &[u8; BLOCK]) -> u32 {
    block
        .iter()
        .rev()
        .fold(0, |mask, &byte| mask << 1 | u32::from(byte == b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_plain_search_finds() {
        for len in 0..70_usize {
            for step in 1..20 {
                let bytes: Vec<u8> = (0..len)
                    .map(|i| if i % step == 0 { b'\n' } else { 0x8a })
                    .collect();
                let expected: Vec<usize> = (0..len).step_by(step).collect();
                assert_eq!(LineEnds::new(&bytes).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn both_masks_agree() {
        for pattern in 0..=u16::MAX {
            let block = std::array::from_fn(|i| if pattern >> i & 1 == 1 { b'\n' } else { b'x' });
            assert_eq!(portable_mask(&block), mask(&block));
        }
    }
}
