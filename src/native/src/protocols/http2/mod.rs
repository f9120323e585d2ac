//! HTTP/2 (RFC 9113) with gRPC on top of it, as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of frames, taken apart by `half`; header blocks are decoded by `hpack`, one decoder
//! per direction. Between the directions stand the streams in flight: a request's head makes one, the end of its
//! response takes it away.
//!
//! ```text
//! request side    Preface ─► Header ◄─► Payload         response side   Header ◄─► Payload
//!                              │  gap elsewhere than in DATA                │
//!                              └────────► Lost ─ a piece begins with frames ┘ ─► Header
//! ```
//!
//! Rules:
//! - What is found depends on the bytes, never on how they were cut. Only while a direction is lost do the borders
//!   of pieces mean something.
//! - Start of an exchange: the piece with the first byte of its HEADERS. End: the piece with the last byte of the
//!   frame that ends the response, or the reset.
//! - A gap within DATA is bytes of a body. Any other loses the direction: its decoder forgets what it knew, and
//!   where responses may have been lost, the requests in flight are abandoned.
//! - A field that is not known is left out; never is one guessed. A request whose method and path are not known
//!   counts all the same.
//! - Nobody tells of frames that belong to no stream in flight: they are late ones of a stream that is over.
//! - A connection with frames that no endpoint would send is given up, and so are the requests in flight on it.
//! - Memory: per connection what `MAX_STREAMS` and `MAX_TEXTS` allow, two decoders (`hpack`), and a header block
//!   per direction.

mod frame;
mod grpc;
mod half;
mod head;
mod hpack;
mod stream;

use crate::exchange::{
    Detail, End, ErrorKind, Exchange, Input, Parser, Side, Sink, Verdict, Which,
};
use crate::protocols::headers;
use frame::{flag, kind, Frame, PREFACE};
use half::{Block, Half, Place, Step};
use head::{Request, Response};
use hpack::Decoder;
use rustc_hash::FxHashMap;
use stream::Stream;

/// Requests in flight on one connection. Most servers allow 100 to 250, some as many as one likes.
const MAX_STREAMS: usize = 4096;
/// Bytes of the fields of all requests in flight on one connection.
const MAX_TEXTS: usize = 1 << 20;
/// Buffers kept for the next requests, and bytes of one.
const MAX_SPARE: usize = 4;
const MAX_SPARE_BYTES: usize = 2048;
/// Room for requests in flight that a connection without any keeps.
const MAX_SPARE_STREAMS: usize = 64;
/// Pieces of a connection that may look like nothing before it is given up, if no request was seen on it.
const MAX_MISSES: u16 = 64;

/// What bytes at the start of a burst look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// A client's.
    Request,
    /// A server's.
    Response,
    /// SETTINGS, which may be a server's first frame.
    Settings,
    /// Other frames, of either.
    Either,
    /// The beginning of what would be a client's.
    More,
    /// None of HTTP/2.
    No,
}

/// Says what starts here; for connections whose beginning nobody saw.
pub fn detect(bytes: &[u8]) -> Detect {
    if bytes.starts_with(PREFACE) {
        return Detect::Request;
    }
    if !bytes.is_empty() && PREFACE.starts_with(bytes) {
        return Detect::More;
    }
    if !frame::are_likely(bytes) {
        return Detect::No;
    }
    let who = |(frame, payload): (Frame, &[u8])| match frame.kind {
        kind::HEADERS => asks_or_answers(frame, payload),
        kind::PUSH_PROMISE => Some(Detect::Response),
        _ => None,
    };
    let first = frame::likely(bytes).next();
    let settings = first.is_some_and(|(frame, _)| frame.kind == kind::SETTINGS);
    frame::likely(bytes).find_map(who).unwrap_or(if settings {
        Detect::Settings
    } else {
        Detect::Either
    })
}

/// Whose header block: pseudo-header fields come first, and those of requests are not those of responses.
fn asks_or_answers(frame: Frame, payload: &[u8]) -> Option<Detect> {
    let block = frame::fragment(frame, payload)?;
    let mut decoder = Decoder::new();
    decoder.forget();
    let mut found = None;
    let _ = decoder.block(block, |name, _| match name {
        b":method" | b":path" | b":scheme" | b":authority" => found = Some(Detect::Request),
        b":status" => found = Some(Detect::Response),
        _ => {}
    });
    found
}

/// A request by HTTP/1.1 that is answered by HTTP/2, on stream 1.
#[derive(Debug)]
pub struct Upgrade {
    request: Request,
    start_ns: u64,
}

impl Upgrade {
    /// `None`: it was answered otherwise. The sink knows of the request, and does of its end from then on by HTTP/2.
    pub fn of(exchange: &Exchange<'_>) -> Option<Self> {
        let Detail::Http(http) = &exchange.detail else {
            return None;
        };
        if http.status != Some(101) || http.method.is_empty() {
            return None;
        }
        Some(Self {
            request: Request::of_http1(http),
            start_ns: exchange.start_ns,
        })
    }
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Connection {
    /// By `Side`.
    halves: [Half; 2],
    streams: FxHashMap<u32, Stream>,
    /// The newest streams of the client's and of the server's making (PUSH_PROMISE).
    newest: [u32; 2],
    /// Bytes of the fields of `streams`.
    texts: usize,
    spare: Vec<Vec<u8>>,
    /// Pieces in which no frames were found while a direction was lost.
    misses: u16,
    /// Some request was a call of gRPC.
    has_calls: bool,
    over: Option<Verdict>,
}

impl Connection {
    /// Of which everything will be seen.
    pub fn new() -> Self {
        Self::at([Place::Preface(0), Place::Header])
    }

    /// Of which some has gone by: frames begin with the next pieces.
    pub fn old() -> Self {
        let mut old = Self::at([Place::Lost, Place::Lost]);
        for half in &mut old.halves {
            half.lose();
        }
        old
    }

    /// Of which the server's first frames may have gone by, but no response.
    fn begun() -> Self {
        let mut begun = Self::new();
        let response = &mut begun.halves[Side::Response as usize];
        (response.place, response.sure) = (Place::Lost, false);
        begun
    }

    /// Of which the client has sent the first request as HTTP/1.1, and the server has agreed to change.
    pub fn upgraded(upgrade: Upgrade) -> Self {
        let mut upgraded = Self::new();
        let mut stream = Stream::new(upgrade.request, upgrade.start_ns);
        stream.told = true;
        upgraded.texts = stream.heap_bytes();
        upgraded.newest[Side::Request as usize] = 1;
        upgraded.streams.insert(1, stream);
        upgraded
    }

    fn at([request, response]: [Place; 2]) -> Self {
        Self {
            halves: [Half::new(request), Half::new(response)],
            streams: FxHashMap::default(),
            newest: [0; 2],
            texts: 0,
            spare: Vec::new(),
            misses: 0,
            has_calls: false,
            over: None,
        }
    }

    /// Bytes on the heap: what a connection costs beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        let halves: usize = self.halves.iter().map(Half::heap_bytes).sum();
        let spare: usize = self.spare.iter().map(Vec::capacity).sum();
        halves + spare + self.texts + self.streams.capacity() * size_of::<(u32, Stream)>()
    }

    fn data(&mut self, side: Side, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        let half = &mut self.halves[side as usize];
        let begins = side == Side::Request && self.newest == [0; 2] && bytes.starts_with(PREFACE);
        if half.place == Place::Lost && begins {
            *self = Self::begun();
        } else if half.place == Place::Lost && !half.find(bytes) {
            self.lose(side, sink); // all that was in it
            self.misses = self.misses.saturating_add(1);
            let never_found = self.newest == [0; 2] && self.misses > MAX_MISSES;
            return if never_found {
                self.give_up(sink)
            } else {
                Verdict::Continue
            };
        }
        loop {
            let half = &mut self.halves[side as usize];
            match half.data(ts_ns, &mut bytes) {
                Step::Nothing => return Verdict::Continue,
                Step::Illegal if half.sure => {
                    if side == Side::Response && !half.begun {
                        // HTTP/1, say: no server of HTTP/2 has heard of these requests
                        self.finish_those(|_| true, ts_ns, ErrorKind::InvalidResponse, sink);
                    }
                    return self.give_up(sink);
                }
                Step::Illegal => {
                    self.lose(side, sink);
                    return Verdict::Continue;
                }
                Step::Body(frame, bytes) => self.with(frame, |stream| stream.data(side, bytes)),
                Step::BodyGap(frame, bytes) => self.with(frame, |stream| stream.gap(side, bytes)),
                Step::End(frame) => self.frame(side, frame, ts_ns, sink),
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, mut gap: u64, sink: &mut dyn Sink) {
        loop {
            match self.halves[side as usize].gap(&mut gap) {
                Step::BodyGap(frame, bytes) => self.with(frame, |stream| stream.gap(side, bytes)),
                Step::End(frame) => self.frame(side, frame, ts_ns, sink),
                Step::Illegal => return self.lose(side, sink),
                _ => return,
            }
        }
    }

    /// Some bytes are not understood, and nobody knows where frames begin behind them.
    fn lose(&mut self, side: Side, sink: &mut dyn Sink) {
        self.halves[side as usize].lose();
        self.streams.values_mut().for_each(|s| s.lose(side)); // they may have had DATA in it
        if side == Side::Response {
            self.abandon_all(sink); // their ends may have been lost
        }
    }

    fn with(&mut self, frame: Frame, act: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            act(stream);
        }
    }

    /// A frame is whole.
    fn frame(&mut self, side: Side, frame: Frame, ts_ns: u64, sink: &mut dyn Sink) {
        let half = &mut self.halves[side as usize];
        match frame.kind {
            kind::DATA => self.end_of_stream(side, frame, ts_ns, sink),
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                if let Some(block) = half.add_to_block(frame) {
                    self.block(side, block, sink);
                    self.end_of_stream(side, block.frame, ts_ns, sink);
                }
            }
            kind::RST_STREAM => match half.payload().first_chunk() {
                Some(code) => {
                    let error = error_of(u32::from_be_bytes(*code));
                    self.finish(frame.stream, ts_ns, Some(error), sink);
                }
                None => self.abandon(frame.stream, sink),
            },
            kind::GOAWAY if side == Side::Response => {
                if let Some(last) = half.payload().first_chunk() {
                    let last = u32::from_be_bytes(*last) & !(1 << 31);
                    let is_refused = |stream: u32| stream % 2 == 1 && stream > last;
                    self.finish_those(is_refused, ts_ns, ErrorKind::RefusedStream, sink);
                }
            }
            _ => {}
        }
    }

    fn end_of_stream(&mut self, side: Side, frame: Frame, ts_ns: u64, sink: &mut dyn Sink) {
        let ends = frame.kind != kind::PUSH_PROMISE && frame.has(flag::END_STREAM);
        if ends && side == Side::Response {
            self.finish(frame.stream, ts_ns, None, sink);
        }
    }

    /// A header block is whole.
    fn block(&mut self, side: Side, block: Block, sink: &mut dyn Sink) {
        if side == Side::Request || block.frame.kind == kind::PUSH_PROMISE {
            return self.asked(side, block, sink);
        }
        let mut response = Response::default();
        let mut lines = Vec::new();
        let whole = self.halves[side as usize].decode(|name, value| {
            response.field(name, value);
            if headers::are_wanted() {
                headers::append(&mut lines, name, value);
            }
        });
        response.unknown |= !whole;
        if self.texts + lines.capacity() > MAX_TEXTS {
            lines = Vec::new();
        }
        let (mut before, mut after) = (0, 0);
        self.with(block.frame, |stream| {
            before = stream.heap_bytes();
            stream.answer(response, lines);
            after = stream.heap_bytes();
        });
        self.texts = self.texts - before + after;
    }

    /// A request's fields, or its trailers.
    fn asked(&mut self, side: Side, block: Block, sink: &mut dyn Sink) {
        let mut request = Request::reusing(self.spare.pop().unwrap_or_default());
        let whole = self.halves[side as usize].decode(|name, value| request.field(name, value));
        request.unknown |= !whole;
        let newest = &mut self.newest[side as usize];
        let fits = (block.stream % 2 == 1) == (side == Side::Request);
        // a connection older than its capture has streams that nobody saw begin
        let is_head = request.leads || request.unknown;
        if block.stream <= *newest || !fits || !is_head {
            return self.keep(request);
        }
        *newest = block.stream;
        self.make_room(sink);
        self.texts += request.heap_bytes();
        let mut stream = Stream::new(request, block.start_ns);
        if stream.is_plain() {
            stream.told = true;
            sink.begin(stream.request.method());
        }
        self.streams.insert(block.stream, stream);
    }

    /// Where there are too many requests in flight, the oldest ones are most likely over, unseen.
    fn make_room(&mut self, sink: &mut dyn Sink) {
        while self.streams.len() >= MAX_STREAMS || self.texts > MAX_TEXTS {
            let ids = self.in_order(|_| true);
            // a quarter, so that who keeps it full does not have them put in order each time
            for id in &ids[..=ids.len() / 4] {
                self.abandon(*id, sink);
            }
        }
    }

    /// Keeps the memory of a request that is over.
    fn keep(&mut self, request: Request) {
        if self.spare.len() < MAX_SPARE && request.heap_bytes() <= MAX_SPARE_BYTES {
            self.spare.push(request.into_text());
        }
    }

    fn take(&mut self, stream: u32) -> Option<Stream> {
        let taken = self.streams.remove(&stream)?;
        self.texts -= taken.heap_bytes();
        if self.streams.is_empty() && self.streams.capacity() > MAX_SPARE_STREAMS {
            self.streams = FxHashMap::default();
        }
        Some(taken)
    }

    fn finish(&mut self, id: u32, end_ns: u64, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        let Some(stream) = self.take(id) else {
            return; // a late frame of a stream that is over
        };
        let is_grpc = stream.is_grpc(self.has_calls);
        self.has_calls |= is_grpc;
        if !stream.told && !is_grpc {
            sink.begin(stream.request.method());
        }
        stream.finish(end_ns, error, is_grpc, |exchange| {
            sink.exchange(exchange);
        });
        self.keep(stream.request);
    }

    /// In the order in which they began.
    fn finish_those(
        &mut self,
        which: impl Fn(u32) -> bool,
        end_ns: u64,
        error: ErrorKind,
        sink: &mut dyn Sink,
    ) {
        for id in self.in_order(which) {
            self.finish(id, end_ns, Some(error), sink);
        }
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        for id in self.in_order(|_| true) {
            self.abandon(id, sink);
        }
    }

    fn abandon(&mut self, id: u32, sink: &mut dyn Sink) {
        if let Some(stream) = self.take(id) {
            sink.abandoned(if stream.told {
                Which::Method(stream.request.method())
            } else {
                Which::Untold
            });
        }
    }

    fn in_order(&self, which: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .streams
            .keys()
            .copied()
            .filter(|id| which(*id))
            .collect();
        ids.sort_unstable();
        ids
    }

    fn give_up(&mut self, sink: &mut dyn Sink) -> Verdict {
        self.abandon_all(sink);
        self.over = Some(Verdict::NotMine);
        Verdict::NotMine
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(over) = self.over {
            return over;
        }
        match input {
            Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
            Input::Gap(bytes) => {
                self.gap(side, ts_ns, bytes, sink);
                Verdict::Continue
            }
        }
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        let error = match end {
            End::Lost => {
                self.lose(Side::Request, sink);
                self.lose(Side::Response, sink);
                None
            }
            _ => end.error(),
        };
        if let Some(error) = error {
            self.finish_those(|_| true, ts_ns, error, sink);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.streams.len()
    }
}

/// The error codes' names; who does not know a code takes it for INTERNAL_ERROR (RFC 9113, 7).
fn error_of(code: u32) -> ErrorKind {
    match code {
        0x0 => ErrorKind::NoError,
        0x1 => ErrorKind::ProtocolError,
        0x3 => ErrorKind::FlowControlError,
        0x4 => ErrorKind::SettingsTimeout,
        0x5 => ErrorKind::StreamClosed,
        0x6 => ErrorKind::FrameSizeError,
        0x7 => ErrorKind::RefusedStream,
        0x8 => ErrorKind::Cancel,
        0x9 => ErrorKind::CompressionError,
        0xa => ErrorKind::ConnectError,
        0xb => ErrorKind::EnhanceYourCalm,
        0xc => ErrorKind::InadequateSecurity,
        0xd => ErrorKind::Http11Required,
        _ => ErrorKind::InternalError,
    }
}
