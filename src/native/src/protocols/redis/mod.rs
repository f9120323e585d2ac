//! Redis (RESP2 and RESP3), as somebody who listens hears it: https://redis.io/docs/latest/develop/reference/protocol-spec
//!
//! # Theory of operation
//!
//! Two machines, one per direction, and the queue of commands in flight between them. A command enters the queue when
//! it is whole; each answer is the oldest one's. So pipelines need no care: each command is a call of its own.
//!
//! What is not an answer, or not one each:
//! - Pushes (`>`, and the arrays of a RESP2 connection that subscribed) are nobody's. SUBSCRIBE and its kin have as
//!   many confirmations as arguments, and end with the last. Messages that are delivered are told nowhere: PUBLISH is
//!   a call of the database like any other, as it is in the instrumentations of Redis' clients.
//! - MONITOR's lines are nobody's.
//! - After CLIENT REPLY OFF or SKIP a command has no answer and ends as it is sent.
//! - Of a transaction each command is a call that ends with QUEUED; EXEC is the batch, and has failed if one of them has.
//! - PSYNC and SYNC end what can be told; so does what shows that this is a replica's connection.
//!
//! db.namespace is the index of the last SELECT that succeeded, "0" before the first; "" where the beginning was not
//! seen, or something was lost since. A prefix of an error is its status, MOVED and ASK included.
//!
//! Getting lost: see `turns`.
//!
//! Certainty. An array with the name of a command as its first string is a command. All else (inline commands, names
//! that are not known) is told of only once an answer has come that fits.
//!
//! Memory: per connection `size_of::<Connection>()`, and while commands are in flight what `queue` bounds.

mod building;
mod commands;
mod detect;
mod replies;
mod requests;
mod responses;

pub use detect::detect;

use super::few::Few;
use super::queue::{self, Pending};
use super::turns::Turns;
use crate::exchange::{
    Db, DbSystem, Detail, End, ErrorKind, Exchange, Input, Parser, Query, Side, Sink, Verdict,
    Which,
};
use building::{Building, Silence};
use commands::{Asked, Kind};
use replies::Reply;

type Queue = queue::Queue<Asked>;

/// The parser of one connection.
#[derive(Debug)]
pub struct Connection {
    queue: Queue,
    building: Building,
    asking: requests::Asking,
    /// A line of the request that was cut.
    line: Few<32>,
    /// An inline command that was cut.
    inline: Vec<u8>,
    reply: Reply,
    /// Index of the database, in text; "" where it is not known.
    namespace: Few<10>,
    /// CLIENT REPLY's.
    silence: Silence,
    /// Commands that this transaction has queued; `None` outside of one.
    queued: Option<u32>,
    /// An index that a queued SELECT will set.
    queued_select: Option<u32>,
    /// Channels, patterns and shards' channels that are subscribed to.
    subscribed: [u64; 3],
    /// Arrays may be pushes.
    subscriber: bool,
    monitor: bool,
    /// Bytes of the confirmations that the oldest command has had.
    confirmed_bytes: u64,
    /// It is Redis.
    certain: bool,
    turns: Turns,
    over: Option<Verdict>,
}

impl Connection {
    /// A connection of which nothing was seen yet. `old`: it may have had traffic before.
    pub fn new(old: bool) -> Self {
        let mut namespace = Few::EMPTY;
        if !old {
            namespace.add(b"0");
        }
        Self {
            queue: Queue::default(),
            building: Building::new(),
            asking: requests::Asking::Between,
            line: Few::EMPTY,
            inline: Vec::new(),
            reply: Reply::new(),
            namespace,
            silence: Silence::On,
            queued: None,
            queued_select: None,
            subscribed: [0; 3],
            subscriber: false,
            monitor: false,
            confirmed_bytes: 0,
            certain: false,
            turns: Turns::new(old),
            over: None,
        }
    }

    /// Nobody knows any longer which command an answer is for. `framed`: the next command's beginning is known.
    #[cold]
    fn lose(&mut self, framed: bool, sink: &mut dyn Sink) {
        self.abandon_all(sink);
        self.turns.lose(framed);
        if !framed {
            self.queue.cut(0);
            self.line.clear();
            self.inline.clear();
            self.asking = requests::Asking::Between;
        }
        self.reply.reset();
        self.namespace.clear();
        self.queued = None;
        self.queued_select = None;
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        while self.queue.pop() {
            sink.abandoned(Which::Untold);
        }
        self.confirmed_bytes = 0;
    }

    /// Tells the end of the oldest command. `code`: of an error.
    #[inline(always)]
    fn finish(&mut self, outcome: Outcome, sink: &mut dyn Sink) {
        if let Some((pending, operation, text)) = self.queue.oldest() {
            let code = match outcome {
                Outcome { error: Some(_), .. } => b"",
                _ if pending.of.command.kind == Kind::Exec => self.reply.any_code(),
                _ => self.reply.code(),
            };
            let batch = match (pending.of.command.kind, self.queued) {
                (Kind::Exec, Some(queued)) if queued > 1 && code != b"EXECABORT" => queued,
                _ => 0,
            };
            let db = Db {
                status: code,
                failed: !code.is_empty(),
                batch_size: batch,
                response_bytes: outcome.bytes,
                ..told(pending, operation, text, self.namespace.get())
            };
            sink.exchange(&Exchange {
                start_ns: pending.start_ns,
                end_ns: outcome.end_ns,
                error: outcome.error,
                detail: Detail::Db(db),
            });
        }
        self.queue.pop();
    }

    /// The connection is at its end: so is everything in flight.
    fn finish_all(&mut self, end_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        if !self.certain {
            self.abandon_all(sink);
        }
        while let Some(pending) = self.queue.front() {
            let kind = pending.of.command.kind;
            // SHUTDOWN has no other answer, and who quits need not wait for it
            let proper = matches!(kind, Kind::Shutdown | Kind::Quit)
                && matches!(error, ErrorKind::ConnectionClosed | ErrorKind::ProcessExit);
            if proper {
                self.reply.reset();
            }
            let outcome = Outcome {
                end_ns,
                bytes: 0,
                error: (!proper).then_some(error),
            };
            self.finish(outcome, sink);
            if matches!(kind, Kind::Select | Kind::Exec | Kind::Reset) {
                self.namespace.clear(); // nobody knows whether it succeeded
            }
        }
    }

    /// The connection is over, or not Redis'.
    #[cold]
    fn give_up(&mut self, verdict: Verdict, sink: &mut dyn Sink) -> Verdict {
        // of a guess that was wrong nobody hears
        if self.certain || verdict != Verdict::NotMine {
            self.abandon_all(sink);
        }
        self.queue = Queue::default();
        self.inline = Vec::new();
        self.over = Some(verdict);
        verdict
    }
}

/// How the oldest command ended.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    end_ns: u64,
    /// Of the answer.
    bytes: u64,
    error: Option<ErrorKind>,
}

/// What a command says without its answer.
#[inline(always)]
fn told<'a>(
    pending: &Pending<Asked>,
    operation: &'a [u8],
    text: &'a [u8],
    namespace: &'a [u8],
) -> Db<'a> {
    Db {
        namespace,
        operation,
        query: if text.is_empty() {
            Query::None
        } else {
            Query::Command(text)
        },
        request_bytes: pending.bytes,
        ..Db::new(DbSystem::Redis)
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        if matches!(input, Input::Data([]) | Input::Gap(0)) {
            return Verdict::Continue;
        }
        let verdict = match (side, input) {
            (Side::Request, Input::Data(bytes)) => self.request_data(ts_ns, bytes, sink),
            (Side::Request, Input::Gap(count)) => self.request_gap(ts_ns, count, sink),
            (Side::Response, Input::Data(bytes)) => self.response_data(ts_ns, bytes, sink),
            (Side::Response, Input::Gap(count)) => self.response_gap(ts_ns, count, sink),
        };
        self.turns.spoke(side, ts_ns);
        if verdict == Verdict::Continue {
            verdict
        } else {
            self.give_up(verdict, sink)
        }
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.lose(false, sink);
                self.turns.burst();
            } else {
                self.queue.cut(0);
                self.asking = requests::Asking::Over;
            }
            return Verdict::Continue;
        };
        self.finish_all(ts_ns, error, sink);
        match end {
            End::Fin(_) => Verdict::Continue,
            _ => self.give_up(Verdict::Ended, sink),
        }
    }

    fn in_flight(&self) -> usize {
        self.queue.len()
    }
}
