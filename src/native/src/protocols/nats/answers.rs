//! Messages that wait for one with another subject: requests for their answers, deliveries for theirs.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use crate::protocols::message::Message;
use crate::protocols::tagged::Tagged;

/// What waits, and bytes of what it says about itself.
const MAX_WAITING: usize = 4096;
const MAX_TEXTS: usize = 512 << 10;

/// By the subject that it waits for.
#[derive(Debug)]
pub struct Answers<T> {
    waiting: Tagged<(Box<[u8]>, T)>,
    /// Tags by the subject's hash.
    tags: FxHashMap<u64, u64>,
    next: u64,
    texts: usize,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self {
            waiting: Tagged::default(),
            tags: FxHashMap::default(),
            next: 0,
            texts: 0,
        }
    }
}

fn hash(subject: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(subject);
    hasher.finish()
}

impl<T> Answers<T> {
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING || self.texts >= MAX_TEXTS
    }

    /// Nothing waits for this subject yet.
    pub fn push(&mut self, subject: &[u8], message: Message, extra: T) {
        self.texts += message.heap_bytes() + subject.len();
        self.tags.insert(hash(subject), self.next);
        self.waiting
            .push(self.next, message, (subject.into(), extra));
        self.next += 1;
    }

    /// What waits for this subject.
    pub fn take(&mut self, subject: &[u8]) -> Option<(Message, T)> {
        let hash = hash(subject);
        let tag = *self.tags.get(&hash)?;
        if *self.waiting.get(tag)?.extra.0 != *subject {
            return None;
        }
        self.tags.remove(&hash);
        let waiting = self.waiting.take(tag)?;
        self.texts -= waiting.message.heap_bytes() + subject.len();
        self.rest();
        Some((waiting.message, waiting.extra.1))
    }

    pub fn has(&self, subject: &[u8]) -> bool {
        let tag = self.tags.get(&hash(subject));
        let waiting = tag.and_then(|tag| self.waiting.get(*tag));
        waiting.is_some_and(|waiting| *waiting.extra.0 == *subject)
    }

    pub fn pop(&mut self) -> Option<(Message, T)> {
        let waiting = self.waiting.pop()?;
        let (subject, extra) = waiting.extra;
        let hash = hash(&subject);
        if self.tags.get(&hash) == Some(&waiting.tag) {
            self.tags.remove(&hash);
        }
        self.texts -= waiting.message.heap_bytes() + subject.len();
        self.rest();
        Some((waiting.message, extra))
    }

    /// The one that waits longest, if it was whole before this.
    pub fn pop_before(&mut self, ts_ns: u64) -> Option<(Message, T)> {
        let oldest = self.waiting.oldest()?.message.whole_ns;
        (oldest < ts_ns).then(|| self.pop())?
    }

    fn rest(&mut self) {
        if self.tags.is_empty() && self.tags.capacity() > 64 {
            self.tags = FxHashMap::default();
        }
    }
}
