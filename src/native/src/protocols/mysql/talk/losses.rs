//! What was not captured, what is given up, and the end.

use super::{Phase, Talk};
use crate::exchange::{ErrorKind, Sink, Verdict, Which};
use crate::protocols::mysql::answer::{Outcome, State};
use crate::protocols::mysql::command::{self, com};
use crate::protocols::mysql::packet::Packet;
use crate::protocols::mysql::sync::{is_command, is_plain_answer, Sync};

impl Talk {
    /// A command whose end is missing, or is not awaited.
    pub(in super::super) fn push_partial(&mut self, packet: &Packet<'_>) {
        let Some(&code) = packet.bytes.first() else {
            return;
        };
        let is_call = command::name(code).is_some()
            && command::is_answered(code)
            && !command::is_replication(code);
        if packet.seq == 0 && is_call {
            let attributes = self.attributes();
            self.queue.push(packet, &mut self.statements, attributes);
            self.sync = Sync::LongRequest;
        }
    }

    /// More of the request whose end is missing.
    pub(in super::super) fn long_request(&mut self, bytes: u64) {
        if let Some(asked) = self.queue.front_mut() {
            asked.request_bytes = asked.request_bytes.saturating_add(bytes);
        }
    }

    /// Something was not captured.
    pub(in super::super) fn misses_some(&mut self) {
        self.lossy = true;
    }

    /// Where the client's next packet begins is not known. `goes_on`: in the packets of one message.
    pub(in super::super) fn client_lost(&mut self, goes_on: bool, sink: &mut dyn Sink) -> Verdict {
        match self.phase {
            Phase::Commands => {}
            Phase::Login => return Verdict::Continue, // what the client says there is passed over anyway
            Phase::Silent | Phase::Old => return Verdict::NotMine, // not by what was to prove it
            Phase::Greeted => {
                self.phase = Phase::Old;
                return Verdict::Continue;
            }
        }
        if !self.proven {
            self.withdraw();
        } else if self.queue.is_empty() {
            self.out_of_step(sink);
        } else {
            let one = self.queue.len() == 1;
            self.sync = if one && (goes_on || self.infile) {
                Sync::LongRequest
            } else {
                Sync::Draining
            };
            self.infile = false;
            self.next_seq = None;
        }
        Verdict::Continue
    }

    /// Something of the client's is missing, while out of step.
    pub(in super::super) fn client_gap(&mut self, sink: &mut dyn Sink) {
        if self.sync != Sync::Draining {
            self.out_of_step(sink);
        }
    }

    /// While out of step: the client's next piece. True if this is a command, and both sides are in step.
    pub(in super::super) fn comes_back(
        &mut self,
        burst: bool,
        piece: &[u8],
        sink: &mut dyn Sink,
    ) -> bool {
        if self.sync == Sync::In {
            return true;
        }
        if !burst {
            return false;
        }
        let looks = is_command(piece, false);
        let round = Sync::Out {
            asked: true,
            answered: true,
        };
        if looks && (self.sync == round || self.sync == Sync::Forgotten) {
            self.sync = Sync::In;
            return true;
        }
        if looks {
            sink.abandoned(Which::Untold);
        }
        self.tail.clear();
        self.sync = Sync::Out {
            asked: is_command(piece, true),
            answered: false,
        };
        false
    }

    /// The end of an answer is missing. `bytes`: of the packet under way, and of what is missing.
    pub(in super::super) fn server_lost(&mut self, bytes: u64, sink: &mut dyn Sink) -> Verdict {
        match self.phase {
            Phase::Commands => {}
            Phase::Silent => return Verdict::NotMine, // not by its first packet
            Phase::Greeted | Phase::Old => {
                self.phase = Phase::Old;
                return Verdict::Continue;
            }
            // whether it was accepted was missed, and with it where compression began
            Phase::Login => {
                self.phase = Phase::Old;
                self.capabilities = None;
                return Verdict::Continue;
            }
        }
        if !self.proven {
            self.withdraw();
        } else if self.queue.len() == 1 && self.sync != Sync::Draining {
            if !std::mem::replace(&mut self.begun, true) {
                self.answer_bytes = 0;
            }
            self.answer_bytes = self.answer_bytes.saturating_add(bytes);
            self.tail.clear();
            self.sync = Sync::LongAnswer;
        } else {
            self.out_of_step(sink);
        }
        Verdict::Continue
    }

    /// Out of step: the server's next piece.
    pub(in super::super) fn hears(&mut self, ts_ns: u64, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        self.heard_ns = ts_ns;
        self.tail.push(piece);
        self.answer_bytes = self.answer_bytes.saturating_add(piece.len() as u64);
        if let Sync::Out { answered, .. } = &mut self.sync {
            *answered = self.tail.ends_rows() || is_plain_answer(piece);
        }
    }

    /// Out of step, and something of the server's is missing.
    pub(in super::super) fn hears_gap(&mut self, bytes: u64) {
        self.answer_bytes = self.answer_bytes.saturating_add(bytes);
        self.tail.clear();
        if let Sync::Out { answered, .. } = &mut self.sync {
            *answered = false;
        }
    }

    /// The client goes on: the answer whose end was missing is over, if its last bytes say so too.
    pub(in super::super) fn settle_long_answer(&mut self, sink: &mut dyn Sink) {
        if !self.tail.ends_rows() {
            return self.out_of_step(sink);
        }
        self.sync = Sync::In;
        self.tell(self.heard_ns, None, 0, None, sink);
        // what was missing may have been results of other statements
        self.several = true;
        self.moved = self.moved.take().map(|_| Vec::new());
        self.effects(&Outcome::default());
        self.answer.state = State::First;
        self.over(sink);
    }

    /// No server says this, no client asks it: something is missing, or it never was this protocol.
    pub(super) fn nonsense(&mut self, sink: &mut dyn Sink) -> Verdict {
        if !self.proven || !self.lossy {
            return Verdict::NotMine;
        }
        self.out_of_step(sink);
        Verdict::Continue
    }

    /// What is not proven was nobody told of.
    pub(super) fn withdraw(&mut self) {
        self.queue.clear();
        self.begun = false;
        self.phase = Phase::Old;
    }

    /// Anything may be missing.
    pub(super) fn out_of_step(&mut self, sink: &mut dyn Sink) {
        self.give_up(sink);
        // it may have been changed, unheard
        self.database.clear();
        self.tail.clear();
        self.sync = Sync::Out {
            asked: false,
            answered: false,
        };
    }

    /// What is in flight will not be told.
    pub(in super::super) fn give_up(&mut self, sink: &mut dyn Sink) {
        let count = self.queue.clear();
        if self.proven {
            (0..count).for_each(|_| sink.abandoned(Which::Untold));
        }
        self.begun = false;
        self.several = false;
        self.infile = false;
        self.late_eof = None;
        self.moved = None;
        self.answer.state = State::First;
    }

    /// What was in flight is counted elsewhere; what comes next begins a burst.
    pub(in super::super) fn forget(&mut self, sink: &mut dyn Sink) {
        self.give_up(sink);
        self.lossy = true;
        if self.phase != Phase::Commands {
            self.phase = Phase::Old;
        }
        if self.switched {
            self.database.clear(); // and may have been again; most connections never are
        }
        self.tail.clear();
        self.sync = Sync::Forgotten;
    }

    /// The connection is over.
    pub(in super::super) fn end(&mut self, ts_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        if self.sync == Sync::LongAnswer {
            self.settle_long_answer(sink); // whether the answer was over is not known otherwise
        }
        if !self.proven {
            self.queue.clear();
        }
        while !self.queue.is_empty() {
            self.tell(ts_ns, Some(error), 0, None, sink);
            if self
                .queue
                .front()
                .is_some_and(|asked| asked.command == com::STMT_PREPARE)
            {
                self.queue.prepare(0); // the next one may execute it
            }
            self.queue.pop();
            self.begun = false;
        }
    }
}
