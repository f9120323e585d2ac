//! Acknowledgements: by consumers, of what was delivered and got; by the broker, of what was published.

use super::{
    hold, is_counted, make_room, operation, release, Acks, Came, Channel, Shared, MAX_UNSURE,
    PROCESS, PUBLISH, UNSURE_NS,
};
use crate::exchange::{ErrorKind, OperationType, Sink};
use crate::protocols::amqp::names;
use crate::protocols::message::{Message, Word};

impl Channel {
    /// Brokers count deliveries upwards.
    pub(super) fn is_next(&self, tag: u64) -> bool {
        self.unacked.newest().is_none_or(|newest| newest < tag)
    }

    pub(super) fn delivered(
        &mut self,
        tag: u64,
        acks: Acks,
        message: Message,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        let mut acks = acks;
        if acks == Acks::Unsure {
            self.judge(message.whole_ns, shared, sink);
            acks = self.acks.unwrap_or(Acks::Unsure);
        }
        if acks == Acks::NotNeeded {
            let end_ns = message.whole_ns;
            shared.finish(message, PROCESS, end_ns, None, sink);
        } else if self.is_next(tag) && make_room(&mut self.unacked, is_counted, shared, sink) {
            hold(&mut self.unacked, tag, message, Came::Pushed(acks), shared);
        } else {
            shared.abandon(message, sink);
        }
    }

    /// Whether consumers that nobody saw begin acknowledge: those that never do are told not to.
    pub(super) fn judge(&mut self, now_ns: u64, shared: &mut Shared, sink: &mut dyn Sink) {
        let Some(oldest) = self.unacked.oldest().filter(|_| self.acks.is_none()) else {
            return;
        };
        let waited = now_ns.saturating_sub(oldest.message.whole_ns) > UNSURE_NS;
        if oldest.extra == Came::Pushed(Acks::Unsure)
            && (waited || self.unacked.len() >= MAX_UNSURE)
        {
            self.acks = Some(Acks::NotNeeded);
            while let Some(waiting) = self.unacked.pop() {
                release(&waiting, shared);
                match waiting.extra {
                    Came::Pushed(Acks::Unsure) => {
                        let end_ns = waiting.message.whole_ns;
                        shared.finish(waiting.message, PROCESS, end_ns, None, sink);
                    }
                    Came::Pushed(_) => shared.abandon(waiting.message, sink),
                    Came::Pulled => shared.spare.take_back(waiting.message),
                }
            }
        }
    }

    /// The consumer acknowledges messages, or refuses them.
    pub(super) fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        name: &'static str,
        ts_ns: u64,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        if self.acks == Some(Acks::NotNeeded) {
            self.acks = Some(Acks::Needed);
        }
        let failure: &[u8] = if name == "ack" { b"" } else { name.as_bytes() };
        let (mut pulled, mut count) = (None::<Message>, 0);
        loop {
            let next = match (multiple, tag) {
                (true, 0) => self.unacked.pop(),
                (true, _) => self.unacked.pop_through(tag),
                (false, _) => self.unacked.take(tag),
            };
            let Some(mut waiting) = next else { break };
            release(&waiting, shared);
            if let Came::Pushed(acks) = waiting.extra {
                if acks == Acks::Unsure {
                    self.acks = Some(Acks::Needed);
                }
                waiting.message.put(Word::Failure, &[failure]);
                shared.finish(waiting.message, PROCESS, ts_ns, None, sink);
            } else {
                count += 1;
                pulled = Some(match pulled {
                    Some(before) => names::both(before, waiting.message, &mut shared.spare),
                    None => waiting.message,
                });
            }
            if !multiple {
                break;
            }
        }
        if let Some(mut message) = pulled {
            message.start_ns = ts_ns;
            let settle = operation(OperationType::Settle, name);
            message.report_of(settle, b"", ts_ns, None, count, sink);
            shared.spare.take_back(message);
        }
    }

    /// The broker confirms messages, or refuses them.
    pub(super) fn confirmed(
        &mut self,
        tag: u64,
        multiple: bool,
        failure: &str,
        ts_ns: u64,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        loop {
            let next = match (multiple, tag) {
                (true, 0) => self.unconfirmed.pop(),
                (true, _) => self.unconfirmed.pop_through(tag),
                (false, _) => self.unconfirmed.take(tag),
            };
            let Some(mut waiting) = next else { break };
            release(&waiting, shared);
            if waiting.message.get(Word::Failure).is_empty() {
                waiting.message.put(Word::Failure, &[failure.as_bytes()]);
            }
            shared.finish(waiting.message, PUBLISH, ts_ns, None, sink);
            if !multiple {
                break;
            }
        }
    }

    /// Deliveries that were not acknowledged become the broker's again.
    pub(super) fn give_back(
        &mut self,
        failure: &str,
        ts_ns: u64,
        error: Option<ErrorKind>,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        while let Some(mut waiting) = self.unacked.pop() {
            release(&waiting, shared);
            match waiting.extra {
                Came::Pulled => shared.spare.take_back(waiting.message),
                Came::Pushed(Acks::Unsure) => shared.abandon(waiting.message, sink),
                Came::Pushed(_) => {
                    waiting.message.put(Word::Failure, &[failure.as_bytes()]);
                    shared.finish(waiting.message, PROCESS, ts_ns, error, sink);
                }
            }
        }
    }
}
