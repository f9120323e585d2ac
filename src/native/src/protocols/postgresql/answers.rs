//! What a server says.

use super::half::{Message, Place};
use super::message::{self, REPLY};
use super::queue::{Kind, Step};
use super::{Connection, Outcome};
use crate::exchange::Sink;

impl Connection {
    /// Takes a message of the server, whose last byte came at `ts_ns`. False: it answers nothing that was asked.
    pub(super) fn answer(
        &mut self,
        message: Message,
        payload: &[u8],
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) -> bool {
        let kind = message.kind;
        match kind {
            b'S' | b'N' | b'A' => return true, // at any time
            REPLY => return self.reply(payload),
            _ => self.outcome.bytes += message.bytes,
        }
        let Some(front) = self.queue.front() else {
            // an error of its own: the server is shut down, say
            let knows = self.request.place != Place::Lost;
            self.pipelines |= knows && kind == b'Z';
            return !knows || kind == b'E';
        };
        let found = match (front.kind, kind) {
            (Kind::Extended, _) => self.answer_extended(kind, payload, ts_ns, sink),
            (_, b'Z') => self.ready(payload, ts_ns, sink),
            (Kind::Query, b'D') => {
                self.outcome.data_rows += 1;
                true
            }
            (Kind::Query, b'C') => {
                self.copies_in = false;
                let rows = message::rows(payload);
                let before = self.outcome.rows;
                self.outcome.rows = rows.map_or(before, |rows| {
                    Some(before.unwrap_or(0).saturating_add(rows))
                });
                true
            }
            (Kind::Query, b'G') => {
                self.copies_in = true;
                true
            }
            (Kind::Query, b'W') => {
                // what is replicated is no call, and may go on forever
                self.tell(ts_ns, None, sink);
                self.queue.told();
                true
            }
            (Kind::Query | Kind::Function, b'E') => self.failed(payload),
            (Kind::Query, b'T' | b'I' | b'H' | b'd' | b'c')
            | (Kind::Function, b'V')
            | (Kind::Session, b'R' | b'K' | b'v' | b'E')
            | (Kind::Sync, b'E')
            | (Kind::Told, _) => true,
            _ => false,
        };
        if found && !matches!(kind, b'D' | b'd' | b'E') {
            self.confirmed = true;
            self.request.cautious = false;
        }
        found
    }

    fn answer_extended(
        &mut self,
        kind: u8,
        payload: &[u8],
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) -> bool {
        match (kind, self.queue.expects()) {
            (b'1', Some(Step::Parse))
            | (b'2', Some(Step::Bind))
            | (b'3', Some(Step::Close))
            | (b'T' | b'n', Some(Step::Describe)) => self.queue.answered(),
            (b't', Some(Step::Describe)) | (b'T' | b'H' | b'd' | b'c', Some(Step::Execute)) => {}
            (b'D', Some(Step::Execute)) => self.outcome.data_rows += 1,
            (b'G', Some(Step::Execute)) => {
                self.copies_in = true;
                self.queue.ignore_sync();
            }
            (b'C' | b'I' | b's', Some(Step::Execute)) => {
                self.copies_in = false;
                self.outcome.rows = match kind {
                    b'C' => message::rows(payload),
                    b's' => Some(self.outcome.data_rows),
                    _ => None,
                };
                self.queue.answered();
                // what comes last is committed with Sync, and may yet fail
                if !self.queue.is_before_sync() {
                    self.report(ts_ns, None, sink);
                }
            }
            (b'E', left) => {
                self.failed(payload);
                if left.is_some() && !self.queue.fail() {
                    self.skips = true;
                    self.report(ts_ns, None, sink);
                }
            }
            (b'Z', None) => return self.ready(payload, ts_ns, sink),
            _ => return false,
        }
        true
    }

    /// The front's call has failed.
    fn failed(&mut self, payload: &[u8]) -> bool {
        self.copies_in = false;
        let code = message::sqlstate(payload);
        // successful completion and warnings are no errors
        self.outcome.failed = code.is_none_or(|code| &code[..2] > b"01".as_slice());
        self.outcome.status = code;
        self.outcome.rows = None;
        true
    }

    /// ReadyForQuery.
    pub(super) fn ready(&mut self, payload: &[u8], ts_ns: u64, sink: &mut dyn Sink) -> bool {
        let Some(front) = self.queue.front() else {
            return false;
        };
        if !matches!(payload, [] | [b'I' | b'T' | b'E']) {
            return false;
        }
        match front.kind {
            Kind::Query | Kind::Function => self.report(ts_ns, None, sink),
            Kind::Session | Kind::Sync | Kind::Told => self.queue.finish(),
            Kind::Extended if self.queue.is_answered() => {
                self.report(ts_ns, None, sink);
                self.queue.finish();
            }
            Kind::Extended => return false,
        }
        self.outcome = Outcome::default();
        if payload == b"I" && self.queue.is_empty() {
            self.statements.close_portals();
        }
        true
    }

    /// The answer to the wish for encryption.
    fn reply(&mut self, payload: &[u8]) -> bool {
        match payload {
            b"N" => true,
            // what follows is ciphertext; what is in it comes as a connection of its own
            b"S" | b"G" => {
                self.request.restart(Place::Shut);
                self.response.restart(Place::Shut);
                true
            }
            _ => false,
        }
    }
}
