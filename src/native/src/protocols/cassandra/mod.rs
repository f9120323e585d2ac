//! Cassandra's protocol for CQL, versions 3 to 5 (native_protocol_v3.spec to native_protocol_v5.spec in Cassandra's
//! documentation), as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of messages; from version 5 on they stand in segments, once the server has answered
//! STARTUP. `half` finds the messages, `message` has their headers. A request has a stream's number, which its response
//! repeats; responses come in any order. `request` reads what is asked, `response` what is answered, both in the
//! beginning of a message's body, which is all that is kept of it.
//!
//! ```text
//! 3, 4   │ message │ message │ ...
//! 5      │ OPTIONS │ STARTUP │ segment [ message, message ] │ segment [ mess ] │ segment [ age ] │ ...
//! ```
//!
//! Rules:
//! - Nothing is told of a connection before a response had the stream of a request that may be answered so. If that is
//!   never so, nothing was there.
//! - QUERY, EXECUTE and BATCH are told. PREPARE is where it fails; otherwise EXECUTE tells what is done. All other
//!   requests are followed and not told, and what AUTH_RESPONSE says is not looked at. Events are nobody's answers.
//! - What was prepared before the connection was seen has no text: EXECUTE is told without one.
//! - The keyspace is the one that the connection uses (USE, and what the client says on version 5). Where an answer was
//!   missed that may have changed it, there is none.
//! - A gap within a body is harmless, also where the body goes on in segments that are not compressed. One over its end
//!   ends the message, and loses the direction: in version 5 until the next segment that is self-contained, without
//!   segments until a piece that looks like messages. Requests that may have been answered unseen are abandoned.
//! - Memory: MAX_IN_FLIGHT requests, whose texts take up MAX_BYTES at most; `prepared`; of a message the beginning
//!   (`Header::wanted`), of a compressed segment all, which is 128 KB.

mod body;
mod compress;
mod detect;
mod half;
mod message;
mod prepared;
mod request;
mod response;
mod segment;

use crate::capture_mode::Capture;
use crate::exchange::{
    Db, Detail, End, ErrorKind, Exchange, Input, Parser, Side, Sink, Verdict, Which,
};
use body::Body;
pub use detect::detect;
use detect::{may_be_body, may_be_messages, speaker};
use half::{Gap, Half, Part, Place, Segments, Step};
use message::{flag, opcode, Header, HEADER};
use prepared::{Prepared, Statement};
use request::{Request, Text};
use response::Response;
use rustc_hash::FxHashMap;
use segment::Segment;
use std::sync::Arc;

/// Requests in flight on one connection. Drivers have up to 2,048, and 32,768 on request.
const MAX_IN_FLIGHT: usize = 4096;
/// Bytes of the texts of all of them.
const MAX_BYTES: usize = 1 << 20;
/// Room for requests in flight that a connection without any keeps.
const MAX_SPARE: usize = 64;
/// Pieces of a connection that may look like nothing before it is given up, if nothing was seen on it.
const MAX_MISSES: u16 = 64;

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Lz4,
    Snappy,
}

/// Versions 3 and 4 are made of frames of one format, version 5 is after its handshake of others.
pub const CAPTURE: Capture = Capture::Plain;

/// A parser for one connection.
pub fn parser(old: bool) -> Box<dyn Parser + Send> {
    Box::new(Connection::new(old))
}

/// The parser of one connection.
#[derive(Debug)]
struct Connection {
    /// By `Side`.
    halves: [Half; 2],
    in_flight: FxHashMap<i16, Request>,
    /// Bytes of their texts.
    bytes: usize,
    /// Requests so far.
    asked: u64,
    prepared: Prepared,
    keyspace: Option<Arc<[u8]>>,
    /// As STARTUP says.
    compression: Option<Compression>,
    /// It is Cassandra's protocol.
    sure: bool,
    /// Something may have gone by before.
    old: bool,
    /// Pieces in which nothing was found while a direction was lost.
    misses: u16,
    over: Option<Verdict>,
}

impl Connection {
    fn new(old: bool) -> Self {
        Self {
            halves: [Half::new(old), Half::new(old)],
            in_flight: FxHashMap::default(),
            bytes: 0,
            asked: 0,
            prepared: Prepared::default(),
            keyspace: None,
            compression: None,
            sure: false,
            old,
            misses: 0,
            over: None,
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        &mut self.halves[side as usize]
    }

    fn data(&mut self, side: Side, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) {
        if self.half(side).is_lost() && !self.find(side, bytes) {
            self.misses = self.misses.saturating_add(1);
            if !self.sure && self.misses > MAX_MISSES {
                self.not_mine();
            }
            return;
        }
        while !bytes.is_empty() && self.over.is_none() {
            if self.half(side).segments.is_some() {
                self.segments(side, ts_ns, &mut bytes, sink);
            } else {
                self.messages(side, [ts_ns; 2], &mut bytes, sink);
            }
        }
    }

    /// At the start of a piece, while nobody knows where messages begin: do they here?
    fn find(&mut self, side: Side, bytes: &[u8]) -> bool {
        if let Some(segments) = &self.half(side).segments {
            let compressed = segments.is_compressed();
            if Segment::parse(bytes, compressed).is_none() {
                return false;
            }
            self.half(side).segments = Some(Segments::new(compressed, false));
            return true;
        }
        let awaited = |header: &[u8; HEADER]| {
            Header::parse(Side::Response, *header)
                .is_some_and(|header| self.in_flight.contains_key(&header.stream))
        };
        let found = match side {
            Side::Request => bytes.len() >= HEADER && may_be_messages(side, bytes),
            Side::Response => {
                bytes.first_chunk().is_some_and(awaited) && may_be_messages(side, bytes)
            }
        };
        if found {
            self.half(side).messages.begin();
            return true;
        }
        let begins = |compressed| speaker(bytes, compressed) == Some(side);
        let Some(compressed) = [false, true].into_iter().find(|it| begins(*it)) else {
            return false;
        };
        for half in &mut self.halves {
            half.segments = Some(Segments::new(compressed, true));
        }
        self.half(side).segments = Some(Segments::new(compressed, false));
        true
    }

    /// Takes some of what segments hold.
    fn segments(&mut self, side: Side, ts_ns: u64, bytes: &mut &[u8], sink: &mut dyn Sink) {
        let Half { messages, segments } = &mut self.halves[side as usize];
        let Some(segments) = segments else {
            return;
        };
        let part = segments.step(ts_ns, bytes);
        let times = [segments.start_ns, ts_ns];
        match part {
            Part::More => {}
            Part::Begin(segment) if segment.self_contained => {
                if !messages.is_between() {
                    // the rest of a message is missing
                    let knew = messages.place != Place::Lost;
                    messages.begin();
                    if knew {
                        self.doubt(side);
                    }
                }
            }
            Part::Begin(_) => {}
            Part::Bytes(mut held) => {
                while !held.is_empty() && self.over.is_none() {
                    self.messages(side, times, &mut held, sink);
                }
            }
            Part::Packed { holds, whole } => self.packed(side, times, holds, whole, sink),
            Part::Bad => self.lose(side),
        }
    }

    /// Takes what was compressed.
    fn packed(
        &mut self,
        side: Side,
        times: [u64; 2],
        holds: u32,
        whole: bool,
        sink: &mut dyn Sink,
    ) {
        let Some(segments) = &mut self.half(side).segments else {
            return;
        };
        let packed = std::mem::take(&mut segments.packed);
        let mut unpacked = Vec::new();
        compress::lz4(&packed, holds as usize, &mut unpacked);
        segments.keep(packed);
        let mut held = &unpacked[..];
        while !held.is_empty() && self.over.is_none() {
            self.messages(side, times, &mut held, sink);
        }
        let missing = u64::from(holds).saturating_sub(unpacked.len() as u64);
        if missing > 0 || !whole {
            self.gap_in_messages(side, times[1], missing, sink);
        }
    }

    /// Takes some of messages. `times`: when the first byte came, and the last.
    fn messages(
        &mut self,
        side: Side,
        [start_ns, ts_ns]: [u64; 2],
        bytes: &mut &[u8],
        sink: &mut dyn Sink,
    ) {
        match self.half(side).messages.step(side, start_ns, bytes) {
            Step::More => {}
            Step::Message(header, Some(body)) => self.message(side, header, body, ts_ns, sink),
            Step::Message(header, None) => self.kept_message(side, header, ts_ns, sink),
            Step::Bad if self.sure || self.old => {
                self.lose(side);
                *bytes = &[];
            }
            Step::Bad => self.not_mine(),
        }
    }

    /// A message is whole whose body came in pieces.
    fn kept_message(&mut self, side: Side, header: Header, ts_ns: u64, sink: &mut dyn Sink) {
        let body = std::mem::take(&mut self.half(side).messages.body);
        self.message(side, header, &body, ts_ns, sink);
        self.half(side).messages.body = body;
    }

    /// A message is whole; `bytes`: its body's beginning.
    fn message(
        &mut self,
        side: Side,
        header: Header,
        bytes: &[u8],
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) {
        if header.wanted() == 0 {
            return self.read(side, header, b"", ts_ns, sink);
        }
        if header.flags & flag::COMPRESSION == 0 || header.version >= 5 {
            return self.read(side, header, bytes, ts_ns, sink);
        }
        let mut unpacked = Vec::new();
        let compression = self.compression.unwrap_or(match bytes {
            // of LZ4 the size comes first, in four bytes; of Snappy too, but so that it does not begin with 0
            [0, ..] => Compression::Lz4,
            _ => Compression::Snappy,
        });
        match compression {
            Compression::Lz4 => {
                let packed = bytes.get(4..).unwrap_or_default();
                compress::lz4(packed, header.wanted(), &mut unpacked);
            }
            Compression::Snappy => compress::snappy(bytes, header.wanted(), &mut unpacked),
        }
        self.read(side, header, &unpacked, ts_ns, sink);
    }

    fn read(&mut self, side: Side, header: Header, body: &[u8], ts_ns: u64, sink: &mut dyn Sink) {
        match side {
            Side::Request => self.asked(header, body, sink),
            Side::Response => self.answered(header, body, ts_ns, sink),
        }
    }

    fn asked(&mut self, header: Header, body: &[u8], sink: &mut dyn Sink) {
        if !self.sure && !may_be_body(header, body) {
            return self.not_mine();
        }
        if header.opcode == opcode::STARTUP {
            self.startup(body);
        }
        let start_ns = self.half(Side::Request).messages.start_ns;
        let mut request = Request::new(header, start_ns, self.keyspace.clone());
        request.number = self.asked;
        self.asked += 1;
        let _ = request.read(header.flags, body, &mut self.prepared); // of what is cut, what there is
        self.abandon(header.stream, sink);
        let bytes = request.heap_bytes();
        while self.in_flight.len() >= MAX_IN_FLIGHT || self.bytes + bytes > MAX_BYTES {
            let oldest = self.in_flight.iter().min_by_key(|(_, r)| r.number);
            let Some(stream) = oldest.map(|(stream, _)| *stream) else {
                break;
            };
            self.abandon(stream, sink);
        }
        self.bytes += bytes;
        self.in_flight.insert(header.stream, request);
    }

    /// [string map]
    fn startup(&mut self, body: &[u8]) {
        let mut body = Body(body);
        let options = body.short().unwrap_or(0);
        for _ in 0..options {
            let (Some(name), Some(value)) = (body.string(), body.string()) else {
                return;
            };
            if name.eq_ignore_ascii_case(b"COMPRESSION") {
                self.compression = if value.eq_ignore_ascii_case(b"lz4") {
                    Some(Compression::Lz4)
                } else if value.eq_ignore_ascii_case(b"snappy") {
                    Some(Compression::Snappy)
                } else {
                    None
                };
            }
        }
    }

    fn answered(&mut self, header: Header, body: &[u8], ts_ns: u64, sink: &mut dyn Sink) {
        if header.stream < 0 {
            return;
        }
        let Some(request) = self.take(header.stream) else {
            if !self.sure && !self.old {
                self.not_mine();
            }
            return;
        };
        if !header.may_answer(request.opcode) {
            if self.sure {
                abandon(&request, sink);
            } else if !self.old {
                self.not_mine();
            }
            return;
        }
        self.sure = true;
        if request.opcode == opcode::STARTUP
            && header.version == 5
            && header.opcode != opcode::ERROR
        {
            let compressed = self.compression.is_some();
            for half in &mut self.halves {
                half.segments = Some(Segments::new(compressed, false));
            }
        }
        let response = response::read(header.opcode, header.flags, header.version, body);
        let bytes = u64::from(header.length) + HEADER as u64;
        tell(&request, response, bytes, ts_ns, sink);
        match response {
            Some(Response::Keyspace(name)) if name.len() <= request::MAX_KEYSPACE => {
                self.keyspace = Some(name.into());
            }
            Some(Response::Prepared { id, has_markers }) => {
                if let (Text::Own(text), true) = (request.text, request.is_whole) {
                    let text = text.into();
                    self.prepared.insert(id, Statement { text, has_markers });
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, stream: i16) -> Option<Request> {
        let taken = self.in_flight.remove(&stream)?;
        self.bytes -= taken.heap_bytes();
        if self.in_flight.is_empty() && self.in_flight.capacity() > MAX_SPARE {
            self.in_flight = FxHashMap::default();
        }
        Some(taken)
    }

    /// What is asked on this stream will not be answered.
    fn abandon(&mut self, stream: i16, sink: &mut dyn Sink) {
        if let Some(lost) = self.take(stream) {
            if self.sure {
                abandon(&lost, sink);
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, mut count: u64, sink: &mut dyn Sink) {
        while count > 0 && self.over.is_none() {
            match self.half(side).gap(&mut count) {
                Gap::Within => {}
                Gap::Message(header) => self.kept_message(side, header, ts_ns, sink),
                Gap::Packed { holds } => self.packed(side, [ts_ns; 2], holds, false, sink),
                Gap::OverMessage => self.end_in_gap(side, ts_ns, sink),
                Gap::Over => {
                    self.end_in_gap(side, ts_ns, sink);
                    return self.lose(side);
                }
            }
        }
    }

    /// Where messages begin is known no more. The one at hand, if there is one, ended in the gap.
    fn end_in_gap(&mut self, side: Side, ts_ns: u64, sink: &mut dyn Sink) {
        if let Some(header) = self.half(side).messages.at_hand() {
            self.kept_message(side, header, ts_ns, sink);
        }
        self.half(side).messages.lose();
        self.doubt(side);
    }

    /// Bytes of messages are missing; where the next one begins is known no more, unless it is within a body.
    fn gap_in_messages(&mut self, side: Side, ts_ns: u64, count: u64, sink: &mut dyn Sink) {
        match self.half(side).message_gap(count) {
            Gap::Message(header) => self.kept_message(side, header, ts_ns, sink),
            Gap::Over => self.end_in_gap(side, ts_ns, sink),
            Gap::Within | Gap::OverMessage | Gap::Packed { .. } => {}
        }
    }

    fn not_mine(&mut self) {
        self.in_flight.clear();
        self.over = Some(Verdict::NotMine);
    }

    /// Nobody knows where messages begin.
    fn lose(&mut self, side: Side) {
        self.half(side).lose();
        self.doubt(side);
    }

    /// Some messages were missed.
    fn doubt(&mut self, side: Side) {
        if side == Side::Response {
            self.in_flight.values_mut().for_each(|r| r.doubtful = true);
        }
        self.keyspace = None;
    }

    /// Nothing more will be answered.
    fn finish(&mut self, ts_ns: u64, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        let mut left: Vec<Request> = self.in_flight.drain().map(|(_, r)| r).collect();
        left.sort_unstable_by_key(|request| request.number);
        let lost = self.half(Side::Response).is_lost();
        for request in left.iter().filter(|_| self.sure) {
            match error {
                Some(error) if !request.doubtful && !lost => {
                    if is_told(request, None) {
                        exchange(request, request.db(), ts_ns, Some(error), sink);
                    }
                }
                _ => abandon(request, sink),
            }
        }
        self.bytes = 0;
    }
}

/// Whether it is something that an application asked for.
fn is_told(request: &Request, response: Option<Response<'_>>) -> bool {
    match request.opcode {
        opcode::QUERY | opcode::EXECUTE | opcode::BATCH => true,
        opcode::PREPARE => matches!(response, Some(Response::Error(_))),
        _ => false,
    }
}

fn abandon(request: &Request, sink: &mut dyn Sink) {
    if is_told(request, None) {
        sink.abandoned(Which::Untold);
    }
}

fn tell(
    request: &Request,
    response: Option<Response<'_>>,
    response_bytes: u64,
    end_ns: u64,
    sink: &mut dyn Sink,
) {
    if !is_told(request, response) {
        return;
    }
    let mut code = String::new();
    let mut db = Db {
        response_bytes,
        ..request.db()
    };
    match response {
        Some(Response::Error(error)) => {
            code = error.to_string();
            db.failed = true;
        }
        Some(Response::Rows(rows)) => db.returned_rows = Some(rows),
        _ => {}
    }
    db.status = code.as_bytes();
    exchange(request, db, end_ns, None, sink);
}

fn exchange(
    request: &Request,
    db: Db<'_>,
    end_ns: u64,
    error: Option<ErrorKind>,
    sink: &mut dyn Sink,
) {
    sink.exchange(&Exchange {
        start_ns: request.start_ns,
        end_ns: end_ns.max(request.start_ns),
        error,
        detail: Detail::Db(db),
    });
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if self.over.is_none() {
            match input {
                Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
                Input::Gap(0) => {}
                Input::Gap(count) => self.gap(side, ts_ns, count, sink),
            }
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.finish(ts_ns, None, sink);
                self.keyspace = None;
                self.halves.iter_mut().for_each(Half::lose);
            }
            return Verdict::Continue;
        };
        self.finish(ts_ns, Some(error), sink);
        self.over = Some(Verdict::Ended);
        Verdict::Ended
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}
