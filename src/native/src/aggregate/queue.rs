//! Encoded spans of one process that wait to be taken.

use std::collections::VecDeque;

use crate::otlp::split_spans;

/// Spans wait in runs of about this many bytes: what is taken at once need not be copied.
const CHUNK_BYTES: usize = 64 << 10;
/// Most processes have little to say.
const FIRST_CHUNK_BYTES: usize = 4 << 10;

/// Never empty.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    count: u64,
}

/// Oldest first.
#[derive(Debug, Default)]
pub struct SpanQueue(VecDeque<Chunk>);

impl SpanQueue {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.0.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Lets `write` append one span, and keeps it if it has at most `room` bytes. Gives its bytes, 0 if not
    /// kept.
    #[inline]
    pub fn append(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self
            .0
            .back()
            .is_none_or(|chunk| chunk.bytes.len() >= CHUNK_BYTES)
        {
            self.add_chunk();
        }
        let last = self.0.len() - 1;
        let chunk = &mut self.0[last];
        let before = chunk.bytes.len();
        write(&mut chunk.bytes);
        let added = chunk.bytes.len() - before;
        if added <= room {
            chunk.count += 1;
            return added;
        }
        chunk.bytes.truncate(before);
        if chunk.count == 0 {
            self.0.pop_back();
        }
        0
    }

    #[cold]
    fn add_chunk(&mut self) {
        let capacity = if self.0.is_empty() {
            FIRST_CHUNK_BYTES
        } else {
            CHUNK_BYTES + FIRST_CHUNK_BYTES
        };
        self.0.push_back(Chunk {
            bytes: Vec::with_capacity(capacity),
            count: 0,
        });
    }

    /// The oldest spans, as many as fit `room` bytes at once; a single one that does not fit only if `or_one`.
    pub fn take(&mut self, room: usize, or_one: bool) -> Option<(Vec<u8>, u64)> {
        let chunk = self.0.front_mut()?;
        if chunk.bytes.len() <= room {
            return self.0.pop_front().map(|chunk| (chunk.bytes, chunk.count));
        }
        let (len, count) = split_spans(&chunk.bytes, room);
        if len > room && !or_one {
            return None;
        }
        if len == chunk.bytes.len() {
            return self.0.pop_front().map(|chunk| (chunk.bytes, chunk.count));
        }
        chunk.count -= count;
        Some((chunk.bytes.drain(..len).collect(), count))
    }
}
