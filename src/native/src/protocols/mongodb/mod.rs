//! MongoDB's wire protocol, as somebody who listens hears it: the manual's "MongoDB Wire Protocol" and the drivers'
//! specifications.
//!
//! # Theory of operation
//!
//! Each direction is a sequence of messages, each with its length, an id, and the id of what it answers. A call is a
//! message that asks, and the message that answers it.
//!
//! - What is asked stands in the beginning of a message; documents are not read. The names of command, database and
//!   collection are all that is kept of it: values never are. db.query.text is not set, as the conventions have it.
//! - What was not captured does no harm within a message: the names may be missing, no others are put in their place.
//! - A write that wants no answer (moreToCome, and the operations of before OP_MSG) ends when it is sent. Some servers
//!   answer it all the same: an answer to nothing makes no call.
//! - An answer that announces another one (moreToCome: an exhaust cursor) goes on with it, whose responseTo is the id of
//!   the one before. The call ends with the last of them: until then somebody waits.
//! - By which drivers get to know servers and watch them, and by which they log in, makes no call. See `request`.
//! - Of a compressed message the beginning is decompressed.
//! - A stream with a gap across a message's border goes on where a piece begins with a message. If it was the server's,
//!   what was in flight may have been answered, and is given up.
//! - Memory: per connection `MAX_IN_FLIGHT` requests of three names, in each direction a message's first `MAX_KEPT`
//!   bytes, and as much of a decompressed one.

mod bson;
mod compression;
mod frame;
mod reply;
mod request;

use super::{Detect, Opening};
use crate::capture_mode::{Capture, Framing};
use crate::exchange::{
    Db, DbSystem, Detail, End, ErrorKind, Exchange, Input, Parser, Side, Sink, Verdict, Which,
};
use compression::compressed;
use frame::{op, Half, Header, Message, HEADER, MAX_KEPT};
use reply::Reply;
use request::{Found, Request};
use std::collections::VecDeque;

/// More requests than this in flight on one connection, which drivers use for one at a time, are not waited for.
const MAX_IN_FLIGHT: usize = 1024;
/// Texts of answered requests that are used again.
const MAX_SPARE: usize = 8;

/// A command may have the name of its database behind all else; of answers the beginning is enough.
pub(super) const CAPTURE: Capture = Capture::Framed(
    Framing {
        header: HEADER as u8,
        length_at: 0,
        length_bytes: 4,
        little_endian: true,
        lettered: false,
        bias: -(HEADER as i32),
        want_request: (MAX_KEPT - HEADER) as u32,
        want_response: 4096,
    }
    .checked(),
);

/// Says whose messages start here: the header has little to be recognised by, so that what follows has to be what the
/// header says.
pub(super) fn detect(opening: &Opening<'_>) -> Detect {
    match opening.datagram {
        true => Detect::No,
        false => whose(opening.bytes),
    }
}

fn whose(bytes: &[u8]) -> Detect {
    let Some(header) = Header::of(bytes) else {
        let begins = bytes.len() < HEADER && Header::may_begin(bytes);
        return if begins { Detect::More } else { Detect::No };
    };
    let end = header.len.min(bytes.len()).min(MAX_KEPT);
    let (body, whole) = (
        bytes.get(HEADER..end).unwrap_or_default(),
        end == header.len,
    );
    let more = match whole || end == MAX_KEPT {
        true => Detect::No,
        false => Detect::More,
    };
    let mut plain = Vec::new();
    let (op, body, whole) = if header.op == op::COMPRESSED {
        let Some(compressed) = compressed(body) else {
            return more;
        };
        let all = compressed.plain(&mut plain);
        (compressed.op, &plain[..], all)
    } else {
        (header.op, body, whole)
    };
    if op == op::REPLY || header.answers != 0 {
        return match reply::reply(op, body, whole, true) {
            Some(_) if body.len() > 4 || whole => Detect::Response,
            Some(_) => more,
            None => Detect::No,
        };
    }
    match request::request(op, body, whole) {
        Some(Found::Request(_) | Found::Noise) => Detect::Request,
        Some(Found::Unknown) => more,
        None => Detect::No,
    }
}

/// A parser for one connection.
pub(super) fn parser(_old: bool) -> Box<dyn Parser + Send> {
    Box::<Connection>::default()
}

#[derive(Debug, Default)]
struct Connection {
    /// The client's direction, the server's.
    halves: [Half; 2],
    calls: Calls,
    over: Option<Verdict>,
}

/// A request in flight.
#[derive(Debug)]
struct Pending {
    /// Of the message that will be answered.
    id: i32,
    start_ns: u64,
    /// Operation, database and collection, and where the last two begin.
    text: Vec<u8>,
    namespace: usize,
    collection: usize,
    batch: Option<u32>,
    is_command: bool,
    request_bytes: u64,
    /// Of the answers so far.
    response_bytes: u64,
    rows: Option<u64>,
    answered: bool,
}

#[derive(Debug, Default)]
struct Calls {
    pending: VecDeque<Pending>,
    spare: Vec<Vec<u8>>,
    /// The beginning of a message that was compressed.
    plain: Vec<u8>,
    /// A message was understood here: it is MongoDB.
    confirmed: bool,
    /// A message was none.
    odd: bool,
}

impl Calls {
    fn take(&mut self, side: Side, message: &Message<'_>, ts_ns: u64, sink: &mut dyn Sink) {
        let mut plain = std::mem::take(&mut self.plain);
        let (op, body, whole) = match message.header.op {
            op::COMPRESSED => match compressed(message.body) {
                Some(compressed) => {
                    let all = compressed.plain(&mut plain);
                    (compressed.op, &plain[..], all && message.whole)
                }
                None => (op::MSG, &[][..], false),
            },
            op => (op, message.body, message.whole),
        };
        match side {
            Side::Request => match request::request(op, body, whole) {
                Some(Found::Request(request)) => self.asked(message, &request, ts_ns, sink),
                Some(Found::Noise) => self.confirmed = true,
                Some(Found::Unknown) => sink.abandoned(Which::Untold),
                None => self.odd = true,
            },
            Side::Response => self.answered(message, (op, body, whole), ts_ns, sink),
        }
        self.plain = plain;
    }

    fn asked(
        &mut self,
        message: &Message<'_>,
        request: &Request<'_>,
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) {
        self.confirmed = true;
        let mut text = self.spare.pop().unwrap_or_default();
        text.extend_from_slice(request.operation);
        text.extend_from_slice(request.namespace);
        text.extend_from_slice(request.collection);
        let namespace = request.operation.len();
        let pending = Pending {
            id: message.header.id,
            start_ns: message.start_ns,
            text,
            namespace,
            collection: namespace + request.namespace.len(),
            batch: request.batch,
            is_command: request.is_command,
            request_bytes: message.header.len as u64,
            response_bytes: 0,
            rows: None,
            answered: false,
        };
        if request.unanswered {
            self.finish(pending, &Reply::default(), (ts_ns, None), sink);
            return;
        }
        if self.pending.len() >= MAX_IN_FLIGHT {
            self.pending.pop_front();
            sink.abandoned(Which::Untold);
        }
        self.pending.push_back(pending);
    }

    fn answered(
        &mut self,
        message: &Message<'_>,
        (op, body, whole): (i32, &[u8], bool),
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) {
        let is_it = |pending: &Pending| pending.id == message.header.answers;
        let at = self.pending.iter().position(is_it);
        let of_command = at
            .and_then(|at| self.pending.get(at))
            .is_none_or(|p| p.is_command);
        let Some(reply) = reply::reply(op, body, whole, of_command) else {
            self.odd = true;
            return;
        };
        self.confirmed = true;
        let Some(pending) = at.and_then(|at| self.pending.get_mut(at)) else {
            return;
        };
        pending.response_bytes += message.header.len as u64;
        pending.rows = match (pending.answered, pending.rows, reply.rows) {
            (false, _, rows) => rows,
            (true, Some(before), Some(rows)) => Some(before.saturating_add(rows)),
            (true, ..) => None,
        };
        pending.answered = true;
        if reply.more_to_come {
            pending.id = message.header.id;
            return;
        }
        if let Some(pending) = at.and_then(|at| self.pending.remove(at)) {
            self.finish(pending, &reply, (ts_ns, None), sink);
        }
    }

    fn finish(
        &mut self,
        pending: Pending,
        reply: &Reply,
        (end_ns, error): (u64, Option<ErrorKind>),
        sink: &mut dyn Sink,
    ) {
        let part = |from, to| pending.text.get(from..to).unwrap_or_default();
        let operation = part(0, pending.namespace);
        let code = reply
            .code
            .filter(|_| reply.failed)
            .map(|code| code.to_string());
        // documents that could not be counted when they were sent
        let inserted = || {
            u32::try_from(
                reply
                    .n
                    .filter(|_| operation == b"insert" && !reply.failed)?,
            )
            .ok()
        };
        let batch = pending.batch.or_else(inserted);
        let db = Db {
            namespace: part(pending.namespace, pending.collection),
            operation,
            collection: part(pending.collection, pending.text.len()),
            status: code.as_deref().unwrap_or_default().as_bytes(),
            failed: reply.failed,
            batch_size: batch.filter(|size| *size > 1).unwrap_or(0),
            returned_rows: pending.rows,
            request_bytes: pending.request_bytes,
            response_bytes: pending.response_bytes,
            ..Db::new(DbSystem::Mongodb)
        };
        sink.exchange(&Exchange {
            start_ns: pending.start_ns,
            end_ns,
            error,
            detail: Detail::Db(db),
        });
        let mut text = pending.text;
        if self.spare.len() < MAX_SPARE {
            text.clear();
            self.spare.push(text);
        }
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        for _ in self.pending.drain(..) {
            sink.abandoned(Which::Untold);
        }
    }
}

impl Connection {
    fn data(&mut self, side: Side, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) {
        let (half, calls) = (&mut self.halves[side as usize], &mut self.calls);
        if half.lost {
            let expected = match side {
                Side::Request => Detect::Request,
                Side::Response => Detect::Response,
            };
            if whose(bytes) != expected {
                return;
            }
            half.reset();
        }
        let mut left = bytes;
        while half
            .take(ts_ns, &mut left, |message| {
                calls.take(side, &message, ts_ns, sink);
            })
            .is_some()
        {}
        if half.lost {
            calls.odd = true;
            if side == Side::Response {
                calls.abandon_all(sink);
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, count: u64, sink: &mut dyn Sink) {
        let (half, calls) = (&mut self.halves[side as usize], &mut self.calls);
        half.gap(count, |message| calls.take(side, &message, ts_ns, sink));
        if half.lost && side == Side::Response {
            calls.abandon_all(sink);
        }
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        match input {
            Input::Data([]) | Input::Gap(0) => {}
            Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
            Input::Gap(count) => self.gap(side, ts_ns, count, sink),
        }
        if self.calls.odd && !self.calls.confirmed {
            self.over = Some(Verdict::NotMine);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.calls.abandon_all(sink);
                // what comes next begins a message
                self.halves.iter_mut().for_each(Half::reset);
            }
            return Verdict::Continue;
        };
        while let Some(pending) = self.calls.pending.pop_front() {
            let outcome = (ts_ns, Some(error));
            self.calls.finish(pending, &Reply::default(), outcome, sink);
        }
        if !matches!(end, End::Fin(_)) {
            self.over = Some(Verdict::Ended);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.calls.pending.len()
    }
}
