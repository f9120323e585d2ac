//! What spans wait in. Pieces of the full size come from a pool and return to it when whoever has them lets go:
//! a busy process's spans neither fault in new pages nor are copied into a larger piece.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The full size: few enough pieces to a request that each may cost a call to send it.
pub const FULL_BYTES: usize = 256 << 10;
/// What the pool keeps, 4 MB: what is being sent, and what is being filled meanwhile.
const KEPT: usize = 16;

/// Pieces that wait for their next use, and room for no more than `KEPT` of them.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn pieces(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Encoded spans, and how many: a run of `ScopeSpans.spans` fields. Its memory goes back where it came from.
pub struct SpanBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
    home: Arc<Pool>,
}

impl SpanBytes {
    /// Room for `capacity` bytes at least.
    pub(super) fn with_capacity(home: &Arc<Pool>, capacity: usize) -> Self {
        let kept = if capacity == FULL_BYTES {
            home.pieces().pop()
        } else {
            None
        };
        Self {
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(capacity)),
            count: 0,
            home: Arc::clone(home),
        }
    }

    /// How many spans.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first `len` bytes, which are `count` spans, on their own.
    pub(super) fn split_front(&mut self, len: usize, count: u64) -> Self {
        let mut front = Self::with_capacity(&self.home, len);
        front.bytes.extend(self.bytes.drain(..len));
        front.count = count;
        self.count -= count;
        front
    }
}

impl Deref for SpanBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for SpanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spans in {} bytes", self.count, self.bytes.len())
    }
}

impl Drop for SpanBytes {
    fn drop(&mut self) {
        // one that grew for a span beyond all estimates is larger, and not kept
        if self.bytes.capacity() != FULL_BYTES {
            return;
        }
        let mut piece = std::mem::take(&mut self.bytes);
        piece.clear();
        let mut pieces = self.home.pieces();
        if pieces.len() < KEPT {
            pieces.push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_full_pieces_and_not_too_many() {
        let pool = Arc::new(Pool::default());
        let take = |capacity| SpanBytes::with_capacity(&pool, capacity);
        drop(take(4096));
        assert_eq!(pool.pieces().len(), 0);

        let taken: Vec<_> = (0..KEPT + 5).map(|_| take(FULL_BYTES)).collect();
        assert_eq!(pool.pieces().len(), 0);
        drop(taken);
        assert_eq!(pool.pieces().len(), KEPT);

        let mut again = take(FULL_BYTES);
        assert_eq!((pool.pieces().len(), again.len()), (KEPT - 1, 0));
        again.bytes.resize(FULL_BYTES + 1, 0);
        drop(again);
        assert_eq!(pool.pieces().len(), KEPT - 1, "it grew");
    }

    #[test]
    fn what_comes_back_is_the_same_memory_and_empty() {
        let pool = Arc::new(Pool::default());
        let mut piece = SpanBytes::with_capacity(&pool, FULL_BYTES);
        piece.bytes.extend_from_slice(b"spans");
        let at = piece.as_ptr();
        drop(piece);
        let piece = SpanBytes::with_capacity(&pool, FULL_BYTES);
        assert_eq!((piece.as_ptr(), piece.len(), piece.count), (at, 0, 0));
    }
}
