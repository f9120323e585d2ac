//! Messages that wait for an answer which names them by an ever growing number: delivery tags, say.

use std::collections::VecDeque;

use super::message::Message;

/// A message that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub tag: u64,
    pub message: Message,
    pub extra: T,
}

/// In the order of their tags. What is taken out of the middle leaves a hole until those before it are gone, or until
/// there are more holes than messages.
#[derive(Debug)]
pub(super) struct Tagged<T> {
    queue: VecDeque<(u64, Option<Waiting<T>>)>,
    live: usize,
}

impl<T> Default for Tagged<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            live: 0,
        }
    }
}

impl<T> Tagged<T> {
    pub fn len(&self) -> usize {
        self.live
    }

    /// The greatest tag of those that wait, or did.
    pub fn newest(&self) -> Option<u64> {
        self.queue.back().map(|(tag, _)| *tag)
    }

    /// `tag` is greater than all before it.
    pub fn push(&mut self, tag: u64, message: Message, extra: T) {
        let waiting = Waiting {
            tag,
            message,
            extra,
        };
        self.queue.push_back((tag, Some(waiting)));
        self.live += 1;
    }

    pub fn oldest(&self) -> Option<&Waiting<T>> {
        self.queue.iter().find_map(|(_, waiting)| waiting.as_ref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiting<T>> {
        self.queue
            .iter_mut()
            .filter_map(|(_, waiting)| waiting.as_mut())
    }

    /// Takes out those that are to go.
    pub fn take_all(&mut self, goes: impl Fn(&T) -> bool) -> Vec<Waiting<T>> {
        let mut gone = Vec::new();
        for (_, waiting) in &mut self.queue {
            gone.extend(waiting.take_if(|waiting| goes(&waiting.extra)));
        }
        self.live -= gone.len();
        self.queue.retain(|(_, waiting)| waiting.is_some());
        self.rest();
        gone
    }

    pub fn pop(&mut self) -> Option<Waiting<T>> {
        while let Some((_, waiting)) = self.queue.pop_front() {
            if let Some(waiting) = waiting {
                self.live -= 1;
                self.rest();
                return Some(waiting);
            }
        }
        None
    }

    /// The oldest, if its tag is not greater than this.
    pub fn pop_through(&mut self, tag: u64) -> Option<Waiting<T>> {
        let oldest = self.oldest()?.tag;
        (oldest <= tag).then(|| self.pop())?
    }

    pub fn get(&self, tag: u64) -> Option<&Waiting<T>> {
        let at = self
            .queue
            .binary_search_by_key(&tag, |(tag, _)| *tag)
            .ok()?;
        self.queue.get(at)?.1.as_ref()
    }

    pub fn take(&mut self, tag: u64) -> Option<Waiting<T>> {
        let at = self
            .queue
            .binary_search_by_key(&tag, |(tag, _)| *tag)
            .ok()?;
        let taken = self.queue.get_mut(at)?.1.take()?;
        self.live -= 1;
        while let Some((_, None)) = self.queue.front() {
            self.queue.pop_front();
        }
        if self.queue.len() > self.live + self.live / 2 + 64 {
            self.queue.retain(|(_, waiting)| waiting.is_some());
        }
        self.rest();
        Some(taken)
    }

    /// Gives memory back that a burst has needed.
    fn rest(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
    }
}
