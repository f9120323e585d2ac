//! Commands in flight, and their texts.
//!
//! ```text
//! text   | gone |  GET key:1  | SET key:2 ?  | ... | under way     one buffer per connection
//!               ^ Pending.at
//! ```

use std::collections::VecDeque;

/// More commands than this in flight on one connection are given up.
const MAX_PENDING: usize = 1 << 16;
/// What their texts may hold together, in bytes; those that come when it is full have none.
const MAX_TEXT: usize = 256 << 10;
/// Buffers of connections with nothing in flight are not kept when they hold more than this.
const KEEP: usize = 4096;

/// What a protocol remembers of a command.
pub(super) trait Named {
    /// The operation's name, where the text has none.
    fn name(&self) -> &'static str;
}

/// A command that is whole, and whose answer is not.
#[derive(Debug)]
pub(super) struct Pending<T> {
    pub start_ns: u64,
    /// On the wire.
    pub bytes: u64,
    /// What its protocol remembers of it.
    pub of: T,
    /// Where its text begins, counted from the first byte that ever stood in `text`.
    at: usize,
    len: u16,
    /// The operation's name is the first part of the text.
    operation: u8,
}

/// First in, first out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    pending: VecDeque<Pending<T>>,
    text: Vec<u8>,
    gone: usize,
    /// Length of the text under way, at the end of `text`.
    open: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            text: Vec::new(),
            gone: 0,
            open: 0,
        }
    }
}

impl<T: Named> Queue<T> {
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    #[inline(always)]
    pub(super) fn front(&mut self) -> Option<&mut Pending<T>> {
        self.pending.front_mut()
    }

    pub(super) fn back(&mut self) -> Option<&mut Pending<T>> {
        self.pending.back_mut()
    }

    /// Of the command under way.
    #[inline(always)]
    pub(super) fn text(&self) -> &[u8] {
        let start = self.text.len() - self.open;
        self.text.get(start..).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn text_mut(&mut self) -> &mut [u8] {
        let start = self.text.len() - self.open;
        self.text.get_mut(start..).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.open += bytes.len();
    }

    /// Shortens the text of the command under way.
    pub(super) fn cut(&mut self, len: usize) {
        let less = self.open.saturating_sub(len);
        self.text.truncate(self.text.len() - less);
        self.open -= less;
    }

    /// Puts the command under way at the queue's end; false when there is no room for it.
    #[inline(always)]
    pub(super) fn push(&mut self, start_ns: u64, bytes: u64, of: T, operation: u8) -> bool {
        if self.pending.len() >= MAX_PENDING {
            self.cut(0);
            return false;
        }
        if self.text.len() > MAX_TEXT {
            self.cut(0);
        }
        let len = std::mem::take(&mut self.open);
        self.pending.push_back(Pending {
            start_ns,
            bytes,
            of,
            at: self.gone + self.text.len() - len,
            len: len as u16,
            operation,
        });
        true
    }

    /// The oldest command, the name of its operation and its text.
    #[inline(always)]
    pub(super) fn oldest(&self) -> Option<(&Pending<T>, &[u8], &[u8])> {
        let pending = self.pending.front()?;
        Some(self.shown(pending))
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<(&Pending<T>, &[u8], &[u8])> {
        let pending = self.pending.back()?;
        Some(self.shown(pending))
    }

    #[inline(always)]
    fn shown<'a>(&'a self, pending: &'a Pending<T>) -> (&'a Pending<T>, &'a [u8], &'a [u8]) {
        let start = pending.at - self.gone;
        let end = start + usize::from(pending.len);
        let text = self.text.get(start..end).unwrap_or_default();
        let operation = match text.get(..usize::from(pending.operation)) {
            Some(operation) => operation,
            None => pending.of.name().as_bytes(),
        };
        (pending, operation, text)
    }

    /// Forgets the oldest command; false if there is none.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> bool {
        if self.pending.pop_front().is_none() {
            return false;
        }
        match self.pending.front() {
            None => self.rest(),
            // Moving less than half of the buffer each time keeps this linear.
            Some(first) if (first.at - self.gone) * 2 > self.text.len().max(KEEP) => {
                self.text.drain(..first.at - self.gone);
                self.gone = first.at;
            }
            Some(_) => {}
        }
        true
    }

    /// Forgets the newest command.
    pub(super) fn pop_newest(&mut self) {
        if let Some(last) = self.pending.pop_back() {
            self.text.truncate(last.at - self.gone);
        }
    }

    #[inline(always)]
    fn rest(&mut self) {
        if self.open == 0 {
            self.text.clear();
            self.gone = 0;
        } else {
            let done = self.text.len() - self.open;
            self.text.drain(..done);
            self.gone += done;
        }
        if self.text.capacity() > KEEP {
            self.text.shrink_to(KEEP);
        }
        if self.pending.capacity() > KEEP {
            self.pending.shrink_to(KEEP / 64);
        }
    }
}
