//! Encoded spans of one process that wait to be taken, in pieces that never grow: a full one is followed by a
//! larger one, up to the full size. Most processes have little to say and cost little; who had much to say
//! since it was last asked starts with a large one.

mod memory;

use std::collections::VecDeque;
use std::sync::Arc;

pub use memory::{Pool, SpanBytes};

use crate::otlp::split_spans;
use memory::FULL_BYTES;

const FIRST_BYTES: usize = 4 << 10;
/// From one size to the next, up and down. The full size is one of them.
const STEP: usize = 4;

/// Oldest first; no piece is empty.
#[derive(Debug)]
pub struct SpanQueue {
    pieces: VecDeque<SpanBytes>,
    /// Size of the next piece.
    next_bytes: usize,
}

impl Default for SpanQueue {
    fn default() -> Self {
        Self {
            pieces: VecDeque::new(),
            next_bytes: FIRST_BYTES,
        }
    }
}

impl SpanQueue {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// Lets `write` append one span, and keeps it if it has at most `room` bytes. Gives its bytes, 0 if not
    /// kept. `longest` is what it will hardly exceed.
    #[inline]
    pub fn append(
        &mut self,
        pool: &Arc<Pool>,
        room: usize,
        longest: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let fits = |piece: &SpanBytes| piece.bytes.capacity() - piece.bytes.len() >= longest;
        if !self.pieces.back().is_some_and(fits) {
            self.add_piece(pool, longest);
        }
        let last = self.pieces.len() - 1;
        let piece = &mut self.pieces[last];
        let before = piece.bytes.len();
        write(&mut piece.bytes);
        let added = piece.bytes.len() - before;
        if added <= room {
            piece.count += 1;
            return added;
        }
        piece.bytes.truncate(before);
        if piece.count == 0 {
            self.pieces.pop_back();
        }
        0
    }

    #[cold]
    fn add_piece(&mut self, pool: &Arc<Pool>, longest: usize) {
        let capacity = self.next_bytes.max(longest);
        self.pieces
            .push_back(SpanBytes::with_capacity(pool, capacity));
        self.next_bytes = (self.next_bytes * STEP).min(FULL_BYTES);
    }

    /// The oldest piece if it has at most `room` bytes; else, only if `or_part`, as many spans of it as fit, one
    /// at least.
    pub fn take(&mut self, room: usize, or_part: bool) -> Option<SpanBytes> {
        let front = self.pieces.front_mut()?;
        if front.len() > room {
            if !or_part {
                return None;
            }
            let (len, count) = split_spans(front, room);
            if len < front.len() {
                return Some(front.split_front(len, count));
            }
        }
        let piece = self.pieces.pop_front()?;
        if self.pieces.is_empty() {
            let size = piece.bytes.capacity();
            let little = piece.len() < size / STEP;
            let next = if little { size / STEP } else { size };
            self.next_bytes = next.clamp(FIRST_BYTES, FULL_BYTES);
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends a span of 2 + `len` bytes (less than 130).
    fn append(queue: &mut SpanQueue, pool: &Arc<Pool>, len: usize) {
        let added = queue.append(pool, usize::MAX, 130, |out| {
            out.extend_from_slice(&[0x12, len as u8]);
            out.resize(out.len() + len, b'x');
        });
        assert_eq!(added, len + 2);
    }

    fn take_all(queue: &mut SpanQueue) -> Vec<SpanBytes> {
        std::iter::from_fn(|| queue.take(usize::MAX, true)).collect()
    }

    #[test]
    fn a_busy_process_soon_has_full_pieces_that_never_grow() {
        let (mut queue, pool) = (SpanQueue::default(), Arc::new(Pool::default()));
        let sizes = |pieces: &[SpanBytes]| -> Vec<usize> {
            pieces.iter().map(|piece| piece.bytes.capacity()).collect()
        };
        append(&mut queue, &pool, 100);
        assert_eq!(sizes(&take_all(&mut queue)), [FIRST_BYTES]);
        for _ in 0..5000 {
            append(&mut queue, &pool, 100);
        }
        assert_eq!(queue.bytes(), 510_000);
        let taken = take_all(&mut queue);
        assert_eq!(
            sizes(&taken),
            [4 << 10, 16 << 10, 64 << 10, 256 << 10, 256 << 10]
        );
        assert_eq!(taken.iter().map(|piece| piece.count).sum::<u64>(), 5000);
        append(&mut queue, &pool, 100);
        assert_eq!(sizes(&take_all(&mut queue)), [FULL_BYTES]);
        for smaller in [64 << 10, 16 << 10, 4 << 10, 4 << 10] {
            append(&mut queue, &pool, 100);
            assert_eq!(sizes(&take_all(&mut queue)), [smaller], "quiet again");
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_only_if_asked() {
        let (mut queue, pool) = (SpanQueue::default(), Arc::new(Pool::default()));
        for _ in 0..10 {
            append(&mut queue, &pool, 98);
        }
        assert!(queue.take(999, false).is_none());
        let part = queue.take(399, true).unwrap();
        assert_eq!((part.len(), part.count), (300, 3));
        let one = queue.take(1, true).unwrap();
        assert_eq!((one.len(), one.count), (100, 1));
        let rest = queue.take(600, false).unwrap();
        assert_eq!((rest.len(), rest.count), (600, 6));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_span_beyond_the_room_leaves_nothing() {
        let (mut queue, pool) = (SpanQueue::default(), Arc::new(Pool::default()));
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&[0x12, 2, 0, 0]);
        assert_eq!(queue.append(&pool, 3, 10, write), 0);
        assert!(queue.is_empty());
        assert_eq!(queue.append(&pool, 4, 10, write), 4);
        assert_eq!(queue.append(&pool, 3, 10, write), 0);
        assert_eq!(queue.bytes(), 4);
    }

    #[test]
    fn a_span_longer_than_a_piece_has_its_own() {
        let (mut queue, pool) = (SpanQueue::default(), Arc::new(Pool::default()));
        append(&mut queue, &pool, 100);
        let write = |out: &mut Vec<u8>| out.resize(out.len() + 20_000, 0);
        assert_eq!(queue.append(&pool, usize::MAX, 20_000, write), 20_000);
        assert_eq!(queue.pieces.len(), 2);
        assert_eq!(queue.pieces[1].bytes.capacity(), 20_000);
    }
}
