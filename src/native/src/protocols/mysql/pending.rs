//! Commands in flight, in order, with what their answers' exchanges will say.

use super::command::{self, com, Parents, Query};
use super::packet::Packet;
use super::statements::{Statement, Statements};
use std::collections::VecDeque;
use std::sync::Arc;

/// Commands in flight on one connection, beyond which it is given up. MariaDB's connectors send all executions of a
/// batch before they read an answer.
const MAX_PENDING: usize = 32 << 10;
/// Bytes kept of one statement.
pub(super) const MAX_TEXT: usize = 16 << 10;
/// Bytes kept of all in flight; beyond it a call goes without its text.
const MAX_TEXTS: usize = 256 << 10;
/// Room that a connection without any in flight keeps.
const KEEP: usize = 4096;
const KEEP_PENDING: usize = 64;

/// Number of the statement that was prepared last on this connection: MariaDB's.
const LAST_PREPARED: u32 = u32::MAX;

/// Where a call's text is.
#[derive(Clone, Debug)]
enum Text {
    /// It came with the command, or there is none.
    Own,
    /// It was prepared.
    Statement(Arc<Statement>),
    /// It is prepared by what is in flight before this.
    LastPrepared,
}

/// A command whose answer is not over.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub command: u8,
    /// Of the client's last packet: the answer goes on from there.
    pub seq: u8,
    /// What its text says of a trace is about this call, and not about others with the same prepared text.
    pub first: bool,
    /// Nothing of its own text is missing.
    pub whole: bool,
    pub start_ns: u64,
    pub request_bytes: u64,
    text: Text,
    /// Where its own texts are, counted from the first byte that ever stood in `Queue::texts`.
    at: usize,
    len: u16,
    parent: u8,
    state: u16,
}

/// All of them. Memory: what the constants above allow.
#[derive(Debug, Default)]
pub(super) struct Queue {
    list: VecDeque<Pending>,
    texts: Vec<u8>,
    /// Bytes of texts that were cut off at the front.
    gone: usize,
    /// Bytes of long data that the next execution takes with it.
    long_data: u64,
    /// What PREPARE made last.
    prepared: Option<Arc<Statement>>,
}

/// A command's texts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Texts<'a> {
    pub text: &'a [u8],
    pub parents: Parents<'a>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.list.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Pending> {
        self.list.front_mut()
    }

    /// More of a long parameter, which nobody answers.
    pub(super) fn long_data(&mut self, bytes: u64) {
        self.long_data = self.long_data.saturating_add(bytes);
    }

    /// A command; false where there is no room for it. `attributes`: see `Query::of`.
    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        statements: &mut Statements,
        attributes: Option<bool>,
    ) -> bool {
        let Some((&command, payload)) = packet.bytes.split_first() else {
            return false;
        };
        if self.list.len() >= MAX_PENDING {
            return false;
        }
        let mut own = Texts::default();
        let mut pending = Pending {
            command,
            seq: packet.last_seq,
            first: true,
            whole: packet.is_whole(),
            start_ns: packet.start_ns,
            request_bytes: packet.wire_bytes,
            text: Text::Own,
            at: self.gone + self.texts.len(),
            len: 0,
            parent: 0,
            state: 0,
        };
        match command {
            com::QUERY => {
                let query = Query::of(payload, attributes).unwrap_or_default();
                (own.text, own.parents) = (query.text, query.parents);
            }
            com::INIT_DB | com::STMT_PREPARE => own.text = payload,
            com::CHANGE_USER => own.text = command::changed_database(payload),
            com::STMT_EXECUTE | com::STMT_BULK_EXECUTE => {
                pending.request_bytes += std::mem::take(&mut self.long_data);
                let parameters = pending.execute(payload, statements);
                if command == com::STMT_EXECUTE && attributes == Some(true) {
                    own.parents = command::execute_parents(payload, parameters);
                }
            }
            _ => {}
        }
        self.keep(&mut pending, own);
        self.list.push_back(pending);
        true
    }

    fn keep(&mut self, pending: &mut Pending, own: Texts<'_>) {
        let text = &own.text[..own.text.len().min(MAX_TEXT)];
        let fits = |text: &[u8], most: usize| if text.len() <= most { text.len() } else { 0 };
        let parent = fits(own.parents.traceparent, 255);
        let state = fits(own.parents.tracestate, 512);
        if self.texts.len() + text.len() + parent + state > MAX_TEXTS {
            pending.whole = false;
            return;
        }
        self.texts.extend_from_slice(text);
        self.texts
            .extend_from_slice(&own.parents.traceparent[..parent]);
        self.texts
            .extend_from_slice(&own.parents.tracestate[..state]);
        pending.len = text.len() as u16;
        pending.parent = parent as u8;
        pending.state = state as u16;
    }

    /// What there is of a call's text.
    pub(super) fn texts<'a>(&'a self, pending: &'a Pending) -> Texts<'a> {
        let own = &self.texts[(pending.at - self.gone).min(self.texts.len())..];
        let (text, rest) = split(own, pending.len.into());
        let (traceparent, rest) = split(rest, pending.parent.into());
        let (tracestate, _) = split(rest, pending.state.into());
        Texts {
            text: match &pending.text {
                Text::Own => text,
                Text::Statement(statement) => &statement.text,
                Text::LastPrepared => self.prepared.as_ref().map_or(b"", |s| &s.text),
            },
            parents: Parents {
                traceparent,
                tracestate,
            },
        }
    }

    /// Parameters of the call's prepared statement.
    pub(super) fn parameters(&self, pending: &Pending) -> u16 {
        match &pending.text {
            Text::Own => 0,
            Text::Statement(statement) => statement.parameters,
            Text::LastPrepared => self.prepared.as_ref().map_or(0, |s| s.parameters),
        }
    }

    /// The oldest prepared its text, or tried to.
    pub(super) fn prepare(&mut self, parameters: u16) -> Option<Arc<Statement>> {
        let text = self.texts(self.list.front()?).text.to_vec();
        let statement = Arc::new(Statement { text, parameters });
        self.prepared = Some(statement.clone());
        Some(statement)
    }

    /// Forgets the oldest.
    pub(super) fn pop(&mut self) {
        self.list.pop_front();
        match self.list.front() {
            None => _ = self.clear(),
            // Moving less than half of the buffer each time keeps this linear.
            Some(next) if (next.at - self.gone) * 2 > self.texts.len().max(KEEP) => {
                self.texts
                    .drain(..(next.at - self.gone).min(self.texts.len()));
                self.gone = next.at;
            }
            Some(_) => {}
        }
    }

    /// Forgets all; gives how many there were.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.list.len();
        self.list.clear();
        self.texts.clear();
        self.gone = 0;
        if self.texts.capacity() > KEEP {
            self.texts = Vec::new();
        }
        if self.list.capacity() > KEEP_PENDING {
            self.list = VecDeque::new();
        }
        count
    }

    /// No statement is prepared any longer.
    pub(super) fn forget_prepared(&mut self) {
        self.prepared = None;
        self.long_data = 0;
    }
}

impl Pending {
    /// Finds what is executed; gives how many parameters it has, as far as that is known.
    fn execute(&mut self, payload: &[u8], statements: &mut Statements) -> u16 {
        let id = payload.first_chunk().map(|id| u32::from_le_bytes(*id));
        if id == Some(LAST_PREPARED) {
            self.text = Text::LastPrepared;
            return 0;
        }
        let Some((statement, first)) = id.and_then(|id| statements.execute(id)) else {
            return 0;
        };
        let parameters = statement.parameters;
        self.first = first;
        self.text = Text::Statement(statement);
        parameters
    }
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len()))
}
