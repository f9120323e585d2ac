//! Eight bytes at a time, for texts shorter than what it takes to start a vectorised search.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = ONES << 7;

/// Whether one of the eight bytes is below `limit`, which is 128 at most.
#[inline(always)]
pub(crate) fn any_below(word: u64, limit: u8) -> bool {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS != 0
}

/// Whether one of the eight bytes is `byte`.
#[inline(always)]
pub(crate) fn any_is(word: u64, byte: u8) -> bool {
    any_below(word ^ (ONES * u64::from(byte)), 1)
}
