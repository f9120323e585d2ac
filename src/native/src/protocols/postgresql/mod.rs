//! PostgreSQL's protocol, version 3 (https://www.postgresql.org/docs/15/protocol.html), as somebody who listens
//! hears it: the server's own, and poolers and databases that speak it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of messages, taken apart by `half`. What the client asks stands in `queue` until the
//! server has answered it; answers come in the order of the questions, and each kind of question has its kinds of
//! answers, which is how a parser that has lost its place finds out.
//!
//! ```text
//! client   Query ──────────────────────► one call, whatever statements are in its text
//!          FunctionCall ───────────────► one call
//!          Parse Bind Describe Execute ► one call for each Execute; its text is the prepared statement's
//!          Sync
//! server   ... CommandComplete, EmptyQueryResponse, PortalSuspended, ErrorResponse   the end of an Execute
//!          ReadyForQuery                                       the end of a Query, a FunctionCall, and of Sync
//! ```
//!
//! Rules:
//! - A call begins with the first of its messages and ends with the message that ends it. The last Execute before
//!   Sync ends with ReadyForQuery: what it did is committed, and may fail, there.
//! - After an error the server passes over all up to Sync. What it passes over is no call. An error of messages
//!   without Execute (a statement that can't be prepared) is a call that failed.
//! - Notifications, notices and parameters come at any time, and are nobody's answer. Replication goes by.
//! - Nothing is kept of authentication, of parameters, and of rows. The database is known from the session's first
//!   message only.
//! - Names are those that were prepared while somebody listened; a statement that was prepared before has no text.
//!   What was lost of the client's bytes may have prepared something else under a known name: all are forgotten.
//! - A gap within a message whose length is known does no harm. Any other loses the direction. The client's is
//!   found again where a burst of it begins with messages, after what was asked before is given up. The server's is
//!   found at the end of a burst, if only one unit is in flight: ReadyForQuery, and what happened before it.
//! - On a connection with several units in flight at once, the beginning of a burst says nothing. There the place
//!   is found again after a silence of `SILENCE_NS`.
//! - Until something was answered as this protocol answers, nothing is told.
//! - Memory: per connection what `queue` and `statements` allow, a message per direction up to what is wanted of
//!   it, and the tail of a burst.

mod answers;
mod asks;
mod half;
mod message;
mod queue;
mod statements;

use super::sqlcommenter;
use super::{Detect, Opening};
use crate::capture_mode::{Capture, Framing};
use crate::exchange::{
    Db, DbSystem, Detail, End, ErrorKind, Exchange, Input, Parser, Query, Side, Sink, Verdict,
    Which,
};
use half::{Half, Message, Place, Step};
use message::{Fit, Tail};
use queue::{Item, Kind, Queue};
use statements::Statements;

/// Nobody has said anything for so long: nothing is in flight, also where several units may be.
const SILENCE_NS: u64 = 1_000_000_000;
/// Times that a connection may be lost, or look like nothing, before it is given up.
const MAX_MISSES: u8 = 64;
/// Bytes of the end of a burst in which its place is looked for.
const MAX_TAIL: usize = 512;
/// Bytes of a text's buffer that is kept for the next query.
const MAX_SPARE: usize = 4 << 10;
/// db.operation.name of a call that has no text: the message's name.
const FUNCTION_CALL: &[u8] = b"FunctionCall";

/// Rows up to this size are passed on by the kernel side: a record for each that goes by would cost more.
const ROW: u32 = 4 << 10;

/// Statements as far as they are kept, names, and errors as far as their code. What of rows is passed on goes by.
pub const CAPTURE: Capture = Capture::Framed(
    Framing {
        header: message::HEADER as u8,
        length_at: 1,
        length_bytes: 4,
        little_endian: false,
        lettered: true,
        bias: -4,
        want_request: (message::MAX_TEXT + message::MAX_NAME) as u32,
        want_response: ROW,
    }
    .checked(),
);

/// Says whether these bytes are of this protocol: a client's first message, or, where the beginning was not seen,
/// messages that fit together.
pub fn detect(opening: &Opening<'_>) -> Detect {
    if opening.datagram {
        return Detect::No;
    }
    match message::begins_session(opening.bytes) {
        Some(true) => return Detect::Request,
        None => return Detect::More,
        Some(false) if opening.first => return Detect::No,
        Some(false) => {}
    }
    if message::requests(opening.bytes) != Fit::No {
        return Detect::Request;
    }
    if message::responses(opening.bytes) == Fit::Whole && message::tail(opening.bytes).is_some() {
        return Detect::Response;
    }
    Detect::No
}

/// A parser for one connection.
pub fn parser(old: bool) -> Box<dyn Parser + Send> {
    Box::new(Connection::new(old))
}

/// How the call at the front of the queue is answered, so far.
#[derive(Debug, Default)]
struct Outcome {
    status: Option<[u8; 5]>,
    failed: bool,
    /// What the tags of its commands say.
    rows: Option<u64>,
    /// DataRow messages.
    data_rows: u64,
    /// Bytes on the wire.
    bytes: u64,
}

/// A connection.
struct Connection {
    request: Half,
    response: Half,
    queue: Queue,
    outcome: Outcome,
    statements: Statements,
    database: Box<[u8]>,
    /// Who said something last, and when.
    last: Option<Side>,
    last_ns: u64,
    /// The server waits for data of a COPY.
    copies_in: bool,
    /// The server passes over what the client asks, up to a Sync that is yet to come.
    skips: bool,
    /// Several units were in flight at once.
    pipelines: bool,
    /// It is this protocol.
    confirmed: bool,
    misses: u8,
    over: Option<Verdict>,
    /// While the response's place is lost: the last bytes of the burst.
    tail: Vec<u8>,
    /// For the next query's text.
    spare: Option<Vec<u8>>,
}

impl Connection {
    fn new(old: bool) -> Self {
        let [request, response] = if old {
            [Place::Lost, Place::Lost]
        } else {
            [Place::Startup, Place::Header]
        };
        Self {
            request: Half::new(Side::Request, request),
            response: Half::new(Side::Response, response),
            queue: Queue::default(),
            outcome: Outcome::default(),
            statements: Statements::default(),
            database: Box::default(),
            last: None,
            last_ns: 0,
            copies_in: false,
            skips: false,
            pipelines: false,
            confirmed: false,
            misses: 0,
            over: None,
            tail: Vec::new(),
            spare: None,
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    fn data(&mut self, side: Side, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) {
        if side == Side::Response && self.response.place == Place::Lost {
            return self.look_for_tail(ts_ns, bytes, sink);
        }
        let mut rest = bytes;
        loop {
            match self.half(side).next(ts_ns, &mut rest) {
                Step::Whole(message, payload) => self.message(side, message, payload, ts_ns, sink),
                Step::Kept(message) => self.kept(side, message, ts_ns, sink),
                Step::Illegal => return self.misfit(sink),
                Step::Nothing => return,
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, mut gap: u64, sink: &mut dyn Sink) {
        loop {
            match self.half(side).gap(&mut gap) {
                Step::Kept(message) => self.kept(side, message, ts_ns, sink),
                Step::Illegal => return self.lost(side, sink),
                Step::Whole(..) | Step::Nothing => return,
            }
        }
    }

    fn kept(&mut self, side: Side, message: Message, ts_ns: u64, sink: &mut dyn Sink) {
        let kept = std::mem::take(&mut self.half(side).kept);
        self.message(side, message, &kept, ts_ns, sink);
        self.half(side).give_back(kept);
    }

    #[inline]
    fn message(
        &mut self,
        side: Side,
        message: Message,
        payload: &[u8],
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) {
        let fits = match side {
            Side::Request if self.request.cautious && !is_likely(message, payload) => false,
            Side::Request => self.ask(message, payload),
            Side::Response => self.answer(message, payload, ts_ns, sink),
        };
        if !fits {
            self.misfit(sink);
        }
    }

    /// Tells of the front's call.
    fn tell(&mut self, end_ns: u64, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        let Some(item) = self.queue.front() else {
            return;
        };
        let text = item.text.bytes();
        let context = text.filter(|_| item.fresh).and_then(sqlcommenter::context);
        let tracestate = context
            .as_ref()
            .and_then(|found| found.tracestate.as_deref());
        let operation: &[u8] = match item.kind {
            Kind::Function => FUNCTION_CALL,
            _ => b"",
        };
        let db = Db {
            namespace: &self.database,
            operation,
            query: match text {
                Some(text) if !text.is_empty() => Query::Statement {
                    text,
                    parameterised: item.parameterised,
                },
                _ => Query::None,
            },
            status: self.outcome.status.as_ref().map_or(b"", |code| code),
            failed: self.outcome.failed,
            returned_rows: self.outcome.rows,
            request_bytes: item.bytes,
            response_bytes: self.outcome.bytes,
            traceparent: context.as_ref().map(|found| found.traceparent),
            tracestate,
            ..Db::new(DbSystem::Postgresql)
        };
        sink.exchange(&Exchange {
            start_ns: item.start_ns,
            end_ns,
            error,
            detail: Detail::Db(db),
        });
    }

    /// Tells of the front's call, which is over.
    fn report(&mut self, end_ns: u64, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        self.tell(end_ns, error, sink);
        self.outcome = Outcome::default();
        let text = self.queue.take_text();
        self.spare = text.filter(|text| text.capacity() <= MAX_SPARE);
        self.queue.finish();
    }

    /// The connection is over.
    fn break_off(&mut self, ts_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        while let Some(front) = self.queue.front() {
            // an error's code says more than that the connection ended after it
            let failed = self.outcome.status.is_some();
            let is_answered = front.kind == Kind::Extended && self.queue.is_answered();
            if front.is_call() || failed {
                let error = Some(error).filter(|_| !is_answered && !failed);
                self.outcome.rows = self.outcome.rows.filter(|_| error.is_none());
                self.report(ts_ns, error, sink);
            } else {
                self.queue.finish();
            }
        }
    }

    /// What is in flight will not be told of.
    fn abandon(&mut self, calls: usize, sink: &mut dyn Sink) {
        if self.confirmed {
            (0..calls).for_each(|_| sink.abandoned(Which::Untold));
        }
    }

    fn forget(&mut self, sink: &mut dyn Sink) {
        let calls = self.queue.forget();
        self.abandon(calls, sink);
        self.outcome = Outcome::default();
        (self.copies_in, self.skips) = (false, false);
    }

    /// Bytes that no endpoint would send, or not now.
    fn misfit(&mut self, sink: &mut dyn Sink) {
        if !self.confirmed && !self.request.cautious {
            self.over = Some(Verdict::NotMine);
        }
        self.miss(sink);
    }

    /// Nobody knows any longer what answers what.
    fn miss(&mut self, sink: &mut dyn Sink) {
        self.misses = self.misses.saturating_add(1);
        if self.misses > MAX_MISSES {
            self.over = Some(Verdict::NotMine);
        }
        self.lose(sink);
    }

    fn lose(&mut self, sink: &mut dyn Sink) {
        self.forget(sink);
        self.statements.forget();
        for half in [&mut self.request, &mut self.response] {
            if half.place != Place::Shut {
                half.restart(Place::Lost);
            }
        }
        self.tail.clear();
    }

    /// Some of one direction was lost, and with it where messages begin.
    fn lost(&mut self, side: Side, sink: &mut dyn Sink) {
        self.half(side).restart(Place::Lost);
        match side {
            // what was asked before is answered before
            Side::Request => {
                if self.pipelines || !self.copies_in {
                    self.statements.forget();
                }
                self.skips = false;
            }
            Side::Response => {
                self.tail.clear();
                if !self.request.at_border() {
                    self.lose(sink);
                } else if !self.queue.is_one_unit() {
                    self.forget(sink);
                }
            }
        }
    }

    /// A burst of the client begins with these bytes: the place to start from, if it was lost.
    fn begin_burst(&mut self, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) {
        let knows = match self.request.place {
            Place::Lost => false,
            Place::Shut | Place::Startup => return,
            _ if self.response.place != Place::Lost => return,
            _ => self.request.at_border() && !self.copies_in,
        };
        if self.pipelines && ts_ns.saturating_sub(self.last_ns) < SILENCE_NS {
            if knows {
                self.lose(sink);
            }
            return;
        }
        let place = match bytes.first() {
            Some(kind) if message::asks(*kind) => Place::Header,
            Some(0) if !self.confirmed => Place::Startup,
            _ if self.confirmed => return,
            _ => return self.miss(sink),
        };
        self.forget(sink);
        self.request.restart(place);
        self.request.cautious = place == Place::Header;
        self.response.restart(Place::Header);
    }

    /// While the server's place is lost: does its burst end here?
    fn look_for_tail(&mut self, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) {
        if self.queue.is_empty() {
            return; // nobody asks
        }
        let from = bytes.len().saturating_sub(MAX_TAIL);
        let room = MAX_TAIL.saturating_sub(bytes.len());
        let surplus = self.tail.len().saturating_sub(room);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(&bytes[from..]);
        let kept = std::mem::take(&mut self.tail);
        if let Some(found) = message::tail(&kept) {
            self.response.restart(Place::Header);
            self.end_burst(found, ts_ns, sink);
        } else {
            self.tail = kept;
        }
    }

    /// The only unit in flight is over, and the last that was said of it is this.
    fn end_burst(&mut self, tail: Tail<'_>, ts_ns: u64, sink: &mut dyn Sink) {
        if !self.queue.is_answered() || self.queue.front().is_some_and(|front| !front.executes) {
            let skipped = self.queue.keep_last();
            let is_sure = skipped == Some(0) || matches!(tail, Tail::Complete(_));
            self.abandon(skipped.unwrap_or(0), sink);
            if skipped.is_none() || !is_sure {
                return self.forget(sink);
            }
            self.outcome.rows = None;
            if skipped != Some(0) {
                self.outcome = Outcome::default(); // it was another's
            }
            match tail {
                Tail::Complete(tag) => {
                    let single = self.queue.front().is_some_and(is_single);
                    self.outcome.rows = message::rows(tag).filter(|_| single);
                }
                Tail::Error(code) => {
                    self.outcome.failed = &code[..2] > b"01".as_slice();
                    self.outcome.status = Some(code);
                }
            }
        }
        if !self.ready(b"", ts_ns, sink) {
            self.miss(sink);
        }
    }
}

/// It looks like a message of a client's from within, too.
fn is_likely(message: Message, payload: &[u8]) -> bool {
    let (side, kind) = (Side::Request, message.kind);
    let seen = payload.len().min(message::wanted(side, kind));
    let whole = message.bytes == (message::HEADER + seen) as u64;
    seen == 0 || message::is_likely(side, kind, &payload[..seen], whole)
}

/// It has one statement at most.
fn is_single(item: &Item) -> bool {
    if item.kind != Kind::Query {
        return true;
    }
    let text = item.text.bytes().unwrap_or_default();
    let before = text.trim_ascii_end();
    let before = before.strip_suffix(b";").unwrap_or(before);
    item.whole && !before.contains(&b';')
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(over) = self.over {
            return over;
        }
        let begins = self.last != Some(side);
        match input {
            Input::Data([]) => {}
            Input::Data(bytes) => {
                if begins && side == Side::Request {
                    self.begin_burst(ts_ns, bytes, sink);
                }
                (self.last, self.last_ns) = (Some(side), ts_ns);
                self.data(side, ts_ns, bytes, sink);
            }
            Input::Gap(bytes) => {
                (self.last, self.last_ns) = (Some(side), ts_ns);
                self.gap(side, ts_ns, bytes, sink);
            }
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        let error = match end {
            End::Lost => {
                self.lose(sink);
                self.last = None; // what comes next begins a burst
                None
            }
            _ => end.error(),
        };
        if let Some(error) = error {
            if !self.confirmed || self.response.place == Place::Lost {
                self.forget(sink); // they may have been answered
            }
            self.break_off(ts_ns, error, sink);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.queue.calls()
    }
}
