//! Questions in flight: by what an answer repeats of them, oldest first where one has to be given up.

use super::message::Question;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// More than this, of all clients of a socket together, are not waited for.
pub(super) const MAX_IN_FLIGHT: usize = 4096;
/// An answer may come so long after the question was asked, or asked again: resolv.conf(5) knows no longer wait.
pub(super) const PATIENCE_NS: u64 = 30_000_000_000;
/// So long resolvers wait if nobody tells them otherwise, glibc's and Go's: then they ask again, or give up.
const TIMEOUT_NS: u64 = 5_000_000_000;
/// They wait no shorter than this: the smallest `timeout` of resolv.conf(5).
const SHORTEST_TIMEOUT_NS: u64 = 1_000_000_000;
/// An answer that does not repeat the question is looked up among so many.
const FEW: usize = 16;

#[derive(Debug)]
pub(super) struct Asked {
    pub id: u16,
    pub qtype: u16,
    /// In text.
    pub name: Box<[u8]>,
    pub start_ns: u64,
    /// When it was asked again, or first.
    pub last_ns: u64,
    pub retries: u32,
    /// Its place in the order; it has others where it was asked before.
    number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Flight {
    by_key: FxHashMap<u64, Asked>,
    /// Keys and numbers as they were asked; also of some that were asked again or answered by now.
    order: VecDeque<(u64, u64)>,
    count: u64,
}

impl Flight {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Takes a question. `false`: it can't be told from another one.
    pub(super) fn ask(
        &mut self,
        question: &Question,
        id: u16,
        name: &[u8],
        span: (u64, u64),
    ) -> bool {
        let number = self.count;
        let (start_ns, last_ns) = span;
        match self.by_key.get_mut(&question.key) {
            Some(asked) if !asked.is(id, name) => return false,
            Some(asked) => {
                asked.retries = asked.retries.saturating_add(1);
                (asked.last_ns, asked.number) = (last_ns, number);
            }
            None => {
                let asked = Asked {
                    id,
                    qtype: question.qtype,
                    name: name.into(),
                    start_ns,
                    last_ns,
                    retries: 0,
                    number,
                };
                self.by_key.insert(question.key, asked);
            }
        }
        self.count += 1;
        self.order.push_back((question.key, number));
        if self.order.len() > 2 * MAX_IN_FLIGHT {
            let by_key = &self.by_key;
            self.order
                .retain(|(key, number)| is_last(by_key, *key, *number));
        }
        true
    }

    /// The question that this one repeats.
    pub(super) fn answered(&mut self, question: &Question, id: u16, name: &[u8]) -> Option<Asked> {
        if !self.by_key.get(&question.key)?.is(id, name) {
            return None;
        }
        let asked = self.by_key.remove(&question.key);
        if self.by_key.is_empty() {
            self.order.clear();
        }
        asked
    }

    /// The only question with this id.
    pub(super) fn answered_by_id(&mut self, id: u16) -> Option<Asked> {
        if self.len() > FEW {
            return None;
        }
        let mut with_id = self.by_key.iter().filter(|(_, asked)| asked.id == id);
        let key = *with_id.next()?.0;
        match with_id.next() {
            Some(_) => None,
            None => self.by_key.remove(&key),
        }
    }

    /// The oldest question, if there are too many.
    pub(super) fn crowded_out(&mut self) -> Option<Asked> {
        if self.len() <= MAX_IN_FLIGHT {
            return None;
        }
        self.oldest()
    }

    /// A question that nobody waits for any longer.
    pub(super) fn given_up(&mut self, ts_ns: u64) -> Option<Asked> {
        while let Some((key, number)) = self.order.front().copied() {
            if is_last(&self.by_key, key, number) {
                let asked = self.by_key.get(&key)?;
                if asked.last_ns.saturating_add(PATIENCE_NS) > ts_ns {
                    return None;
                }
                return self.oldest();
            }
            self.order.pop_front();
        }
        None
    }

    /// Takes what was asked longest ago.
    pub(super) fn oldest(&mut self) -> Option<Asked> {
        while let Some((key, number)) = self.order.pop_front() {
            if is_last(&self.by_key, key, number) {
                return self.by_key.remove(&key);
            }
        }
        None
    }
}

/// This is where a question in flight stands in the order.
fn is_last(by_key: &FxHashMap<u64, Asked>, key: u64, number: u64) -> bool {
    by_key.get(&key).is_some_and(|asked| asked.number == number)
}

impl Asked {
    /// When nobody waited for it any longer, as far as one can know.
    pub(super) fn timeout_ns(&self) -> u64 {
        self.last_ns.saturating_add(TIMEOUT_NS)
    }

    /// Whoever asked may have given up by then.
    pub(super) fn may_be_over(&self, ts_ns: u64) -> bool {
        ts_ns.saturating_sub(self.last_ns) >= SHORTEST_TIMEOUT_NS
    }

    fn is(&self, id: u16, name: &[u8]) -> bool {
        self.id == id && self.name.eq_ignore_ascii_case(name)
    }
}
