//! What the server says: its greeting, its answers, and what becomes of the commands by them.

use super::{Phase, Talk};
use crate::exchange::{Db, DbSystem, Detail, ErrorKind, Exchange, Query, Sink, Verdict};
use crate::protocols::mysql::answer::{Event, Outcome, State};
use crate::protocols::mysql::command::{self, com, Parents};
use crate::protocols::mysql::login::{capability, greeting, refusal, Greets};
use crate::protocols::mysql::packet::Packet;
use crate::protocols::mysql::sync::Sync;
use crate::protocols::sqlcommenter;

const ER_UNKNOWN_STMT_HANDLER: u16 = 1243;

impl Talk {
    /// A message of the server's.
    #[inline]
    pub(in super::super) fn server_packet(
        &mut self,
        ts_ns: u64,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        match self.phase {
            Phase::Commands => self.answered(ts_ns, packet, sink),
            Phase::Silent => self.greets(ts_ns, packet, sink),
            Phase::Old => Verdict::Continue,
            Phase::Greeted => Verdict::NotMine,
            Phase::Login => self.admits(ts_ns, packet, sink),
        }
    }

    /// Nothing proved yet that it is this protocol, and a first answer does not begin with this number.
    pub(in super::super) fn is_contradicted_by(&self, seq: u8) -> bool {
        let first = self.phase == Phase::Commands && !self.begun && !self.unnumbered;
        !self.proven && first && seq != 1
    }

    pub(super) fn greets(
        &mut self,
        ts_ns: u64,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        self.start_ns = packet.start_ns;
        if let Greets::Yes(greeting) = greeting(packet.bytes) {
            self.system = greeting.system;
            self.capabilities = Some(greeting.capabilities);
            self.phase = Phase::Greeted;
            return Verdict::Continue;
        }
        match refusal(packet.bytes) {
            Some(code) => self.refused(ts_ns, code, sink),
            None => Verdict::NotMine,
        }
    }

    pub(super) fn admits(
        &mut self,
        ts_ns: u64,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        match packet.bytes {
            [0, ..] if packet.len >= 7 => {}
            [0xff, low, high, ..] => {
                return self.refused(ts_ns, u16::from_le_bytes([*low, *high]), sink)
            }
            _ => return Verdict::Continue, // another method, a key, a part of a proof
        }
        self.phase = Phase::Commands;
        self.proven = true;
        let both = self.capabilities.unwrap_or(0);
        if both & capability::COMPRESS != 0 {
            self.compresses = true;
            self.unnumbered = true;
        } else if both & capability::ZSTD_COMPRESSION != 0 && self.system == DbSystem::Mysql {
            return Verdict::Ended; // which nobody here reads
        }
        Verdict::Continue
    }

    /// The connection was not to be.
    pub(super) fn refused(&mut self, ts_ns: u64, code: u16, sink: &mut dyn Sink) -> Verdict {
        let code = code.to_string();
        sink.exchange(&Exchange {
            start_ns: self.start_ns,
            end_ns: ts_ns,
            error: None,
            detail: Detail::Db(Db {
                namespace: &self.database,
                operation: b"CONNECT",
                status: code.as_bytes(),
                failed: true,
                ..Db::new(self.system)
            }),
        });
        Verdict::Ended
    }

    pub(super) fn answered(
        &mut self,
        ts_ns: u64,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        if let Some(seq) = self.late_eof.take() {
            let is_eof = packet.len == 5 && packet.bytes.first() == Some(&0xfe);
            let late = is_eof && packet.seq == seq;
            self.answer.eof = Some(late);
            if late {
                return Verdict::Continue;
            }
        }
        let Some(asked) = self.queue.front() else {
            return if self.proven {
                Verdict::Continue // before it closes an idle connection, a server may say why
            } else {
                Verdict::NotMine
            };
        };
        let code = asked.command;
        if !self.begun {
            self.begun = true;
            self.several = false;
            self.answer_bytes = 0;
            self.next_seq = match self.sync {
                Sync::In | Sync::Draining => Some(asked.seq.wrapping_add(1)),
                _ => None,
            };
            self.answer.begin(code);
        }
        self.answer_bytes += packet.wire_bytes;
        let is_error = packet.bytes.first() == Some(&0xff);
        if !self.follows(packet, is_error) {
            return self.nonsense(sink);
        }
        self.next_seq = Some(packet.last_seq.wrapping_add(1));
        match self.answer.packet(code, packet) {
            Event::More if code == com::CHANGE_USER => self.next_seq = None, // the client may say more
            Event::More => {}
            Event::Results(schema) => {
                self.several = true;
                if let Some(schema) = schema {
                    self.moved = Some(schema.to_vec());
                }
            }
            Event::Infile => {
                self.infile = true;
                self.next_seq = None;
            }
            Event::End(outcome) => self.finish(ts_ns, packet.last_seq, outcome, sink),
            Event::Nonsense => return self.nonsense(sink),
        }
        Verdict::Continue
    }

    /// It is what comes next, as far as that can be told.
    pub(super) fn follows(&self, packet: &Packet<'_>, is_error: bool) -> bool {
        // an error may come unasked, or in the middle of what the client says
        let in_order =
            is_error || self.unnumbered || self.next_seq.is_none_or(|next| next == packet.seq);
        let strict = !self.proven && matches!(self.answer.state, State::Columns(_));
        in_order && (!strict || packet.bytes.starts_with(b"\x03def"))
    }

    /// The oldest command has its answer.
    pub(super) fn finish(
        &mut self,
        ts_ns: u64,
        seq: u8,
        outcome: Outcome<'_>,
        sink: &mut dyn Sink,
    ) {
        self.proven = true;
        self.infile = false;
        if outcome.eof_may_follow {
            self.late_eof = Some(seq.wrapping_add(1));
        }
        let rows = self.answer.rows;
        self.tell(ts_ns, None, outcome.code, rows, sink);
        self.effects(&outcome);
        self.over(sink);
    }

    /// Says what became of the oldest command.
    pub(super) fn tell(
        &self,
        end_ns: u64,
        error: Option<ErrorKind>,
        code: u16,
        rows: Option<u64>,
        sink: &mut dyn Sink,
    ) {
        let Some(asked) = self.queue.front() else {
            return;
        };
        let texts = self.queue.texts(asked);
        let mut digits = [0; 5];
        let failed = code != 0;
        let query = match asked.command {
            _ if texts.text.is_empty() => Query::None,
            // its number means nothing to the server, whatever it was before
            com::STMT_EXECUTE if code == ER_UNKNOWN_STMT_HANDLER => Query::None,
            com::QUERY | com::STMT_EXECUTE | com::STMT_BULK_EXECUTE => Query::Statement {
                text: texts.text,
                parameterised: self.queue.parameters(asked) > 0,
            },
            // its text is with the executions, if there can be any
            com::STMT_PREPARE if failed => Query::Statement {
                text: texts.text,
                parameterised: false,
            },
            _ => Query::None,
        };
        let Parents {
            mut traceparent,
            mut tracestate,
        } = texts.parents;
        let comment = match query {
            Query::Statement { text, .. } if asked.first && traceparent.is_empty() => {
                sqlcommenter::context(text)
            }
            _ => None,
        };
        if let Some(comment) = &comment {
            traceparent = comment.traceparent;
            tracestate = comment.tracestate.as_deref().unwrap_or_default();
        }
        let given = |text: &[u8]| !text.is_empty();
        sink.exchange(&Exchange {
            start_ns: asked.start_ns,
            end_ns,
            error,
            detail: Detail::Db(Db {
                namespace: &self.database,
                operation: command::name(asked.command).unwrap_or("").as_bytes(),
                query,
                status: decimal(code, &mut digits),
                failed,
                returned_rows: rows.filter(|_| !failed),
                request_bytes: asked.request_bytes,
                response_bytes: if self.begun { self.answer_bytes } else { 0 },
                traceparent: Some(traceparent).filter(|text| given(text)),
                tracestate: Some(tracestate).filter(|text| given(text)),
                ..Db::new(self.system)
            }),
        });
    }

    /// What the oldest command changed.
    pub(super) fn effects(&mut self, outcome: &Outcome<'_>) {
        let moved = self.moved.take();
        let Some(asked) = self.queue.front() else {
            return;
        };
        if asked.command == com::STMT_PREPARE {
            let parameters = outcome.prepared.map_or(0, |(_, parameters)| parameters);
            let statement = self.queue.prepare(parameters);
            if let (Some(statement), Some((id, _))) = (statement, outcome.prepared) {
                self.statements.insert(id, statement);
            }
            return;
        }
        let text = self.queue.texts(asked).text;
        let told = outcome.schema.map(<[u8]>::to_vec).or(moved);
        let used = |text| command::used_database(text, asked.whole).map(<[u8]>::to_vec);
        let database = match asked.command {
            com::INIT_DB | com::CHANGE_USER if outcome.code == 0 => {
                Some(if asked.whole { text } else { b"" }.to_vec())
            }
            _ if told.is_some() => told,
            com::QUERY if self.several => {
                // which of its statements were executed last is not known
                let later = |at: usize| used(&text[at + 1..]).is_some();
                (!asked.whole || memchr::memchr_iter(b';', text).any(later))
                    .then(Vec::new)
                    .or_else(|| used(text))
            }
            com::QUERY if outcome.code == 0 => used(text),
            _ => None,
        };
        let resets = matches!(asked.command, com::CHANGE_USER | com::RESET_CONNECTION);
        if resets && outcome.code == 0 {
            self.statements.clear();
            self.queue.forget_prepared();
        }
        if let Some(database) = database {
            self.switched = true;
            self.enter(&database);
        }
    }

    /// The oldest command is over, whichever way.
    pub(super) fn over(&mut self, sink: &mut dyn Sink) {
        self.queue.pop();
        self.begun = false;
        self.next_seq = None;
        match self.sync {
            Sync::LongRequest => {
                self.sync = Sync::In;
                self.client_anew = true;
            }
            Sync::Draining if self.queue.is_empty() => self.out_of_step(sink),
            _ => {}
        }
    }
}

/// A number's digits; none of 0.
fn decimal(mut number: u16, digits: &mut [u8; 5]) -> &[u8] {
    let mut at = digits.len();
    while number > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    &digits[at..]
}
