//! Kafka's protocol (protocol guide of 4.3; KIP-482, KIP-227, KIP-516, KIP-932), all versions of what producers and
//! consumers say, as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of frames: four bytes of size, then so many. A request has a correlation id, which its
//! response repeats. `walk` goes through what is known of a message (`schema`) one value after the other, `records`
//! through the batches in it, `call` listens to both and makes a `Pending` of a request, and of that and the response
//! what is told.
//!
//! ```text
//! direction   Size ─► Head ─► Body ─► Rest ─► Size            request    size 4 │ api key 2 │ version 2 │ id 4 │ client │ ...
//!              ▲                │ gap over a frame's end       response   size 4 │ id 4 │ ...
//!              └── a piece begins with a likely frame ── Lost ◄┘
//! ```
//!
//! Rules:
//! - Nothing is told of a connection before a response had the id of a request, or a request's record batches filled
//!   their place to the byte. If that is never so, nothing was there.
//! - One exchange for each topic of a request: PRODUCE is "send", FETCH and SHARE_FETCH are "poll", OFFSET_COMMIT and
//!   TXN_OFFSET_COMMIT "commit", SHARE_ACKNOWLEDGE "acknowledge". All other requests are followed and not told, and so
//!   are those of brokers that copy.
//! - A FETCH that brings neither messages nor an error is not told: consumers ask all the time, and where nobody sends,
//!   nothing happens. So is one that gets no answer.
//! - Messages are counted by their batches' headers, those that the consumer did not ask for and those of transactions'
//!   ends left out. Where some of those headers were not captured (brokers send logs by sendfile, and of
//!   large operations only the ends are passed on), metrics have the messages that were seen and spans no number. Compressed ones stay closed: their contexts are not seen.
//! - Newer versions than are known here are told of no more than by name: they count as abandoned.
//! - A topic that is named by an id has a name once any METADATA answer had it (`topics`); until then it has none.
//! - A gap within records, or in what is skipped, is harmless. Another one within a frame leaves the rest of the frame
//!   unread. One over a frame's end loses the direction; answers in it are abandoned when a later one comes, or at the end.
//! - Memory: MAX_IN_FLIGHT requests of some KB (`pending`), what is known of a connection (`call`), a few hundred bytes.

mod api;
mod call;
mod errors;
mod frame;
mod half;
mod pending;
mod records;
mod schema;
mod topics;
mod walk;

use super::{Detect, Opening};
use crate::capture_mode::Capture;
use crate::exchange::{End, ErrorKind, Exchange, Input, Parser, Side, Sink, Verdict, Which};
use api::{key, Api};
use call::Known;
use half::{Half, Place};
use pending::Pending;
use std::collections::VecDeque;

/// Requests in flight on one connection. Clients have five.
const MAX_IN_FLIGHT: usize = 256;
/// Bytes of all of them.
const MAX_BYTES: usize = 1 << 20;
/// Requests whose buffers are kept for the next ones.
const MAX_SPARE: usize = 2;
/// Pieces of a connection that may look like nothing before it is given up, if nothing was seen on it.
const MAX_MISSES: u16 = 64;
/// The largest request: what brokers allow (socket.request.max.bytes).
const MAX_REQUEST: u32 = 100 << 20;
/// The largest response: what brokers can send.
const MAX_RESPONSE: u32 = i32::MAX as u32;
/// The smallest ones.
const MIN_REQUEST: u32 = 10;
const MIN_RESPONSE: u32 = 4;

/// Not by frames: who reads sizes by themselves, as Kafka's own client and the broker do, has operations that begin with
/// what only looks like one, and a connection's first answers are often its largest.
pub const CAPTURE: Capture = Capture::Plain;

/// Says what starts here. A request can be told by its header; that a response is one shows by its request alone.
pub fn detect(opening: &Opening<'_>) -> Detect {
    if opening.datagram {
        return Detect::No;
    }
    if opening.bytes.len() < 14 {
        return if may_be_request(opening.bytes, b"") {
            Detect::More
        } else {
            Detect::No
        };
    }
    if !may_be_request(opening.bytes, b"") {
        return Detect::No;
    }
    struct Nobody;
    impl Sink for Nobody {
        fn begin(&mut self, _: &[u8]) {}
        fn exchange(&mut self, _: &Exchange<'_>) {}
        fn abandoned(&mut self, _: Which<'_>) {}
    }
    // it must hold what its header promises
    let mut trial = Connection::new(false);
    match trial.feed(Side::Request, 0, Input::Data(opening.bytes), &mut Nobody) {
        Verdict::Continue => Detect::Request,
        _ => Detect::No,
    }
}

/// Whether a request may begin with these bytes, of a client with this name (if that is known), and whether more of
/// them follow each other up to the end of these bytes.
fn may_be_request(mut bytes: &[u8], client: &[u8]) -> bool {
    loop {
        let Some((size, rest)) = bytes.split_first_chunk() else {
            return bytes.is_empty() || bytes[0] <= (MAX_REQUEST >> 24) as u8;
        };
        let size = u32::from_be_bytes(*size);
        if !(MIN_REQUEST..=MAX_REQUEST).contains(&size) || !may_be_head(size, rest, client) {
            return false;
        }
        match rest.get(size as usize..) {
            Some(next) => bytes = next,
            None => return true,
        }
    }
}

fn may_be_head(size: u32, head: &[u8], client: &[u8]) -> bool {
    let Some((&[k0, k1, v0, v1], rest)) = head.split_first_chunk() else {
        return true;
    };
    let api = Api::new(i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let (Some(_), Some((&[_, _, _, _, l0, l1], rest))) = (api, rest.split_first_chunk()) else {
        return api.is_some();
    };
    let length = i16::from_be_bytes([l0, l1]);
    let Ok(length) = usize::try_from(length) else {
        return length == -1 && client.is_empty();
    };
    let named = &rest[..length.min(rest.len())];
    let is_text = |named: &[u8]| !named.iter().any(|byte| *byte < b' ' || *byte == 0x7f);
    length + MIN_REQUEST as usize <= size as usize
        && is_text(named)
        && (client.is_empty() || client.len() == length && client.starts_with(named))
}

/// A parser for one connection.
pub fn parser(old: bool) -> Box<dyn Parser + Send> {
    Box::new(Connection::new(old))
}

/// The parser of one connection.
#[derive(Debug)]
struct Connection {
    /// By `Side`.
    halves: [Half; 2],
    in_flight: VecDeque<Pending>,
    /// Bytes of `in_flight`.
    bytes: usize,
    /// What is being read, by `Side`: a request, and the request that is being answered.
    at_hand: [Option<Pending>; 2],
    spare: Vec<Pending>,
    known: Known,
    /// The name of the client that spoke last.
    client: Vec<u8>,
    /// It is Kafka's protocol.
    sure: bool,
    /// Tokens of SASL go by without a header: how SASL_HANDSHAKE began in version 0.
    has_tokens: bool,
    /// Pieces in which nothing was found while a direction was lost.
    misses: u16,
    over: Option<Verdict>,
}

impl Connection {
    fn new(old: bool) -> Self {
        let place = if old { Place::Lost } else { Place::Size };
        Self {
            halves: [Half::new(place), Half::new(place)],
            in_flight: VecDeque::new(),
            bytes: 0,
            at_hand: [None, None],
            spare: Vec::new(),
            known: Known::default(),
            client: Vec::new(),
            sure: false,
            has_tokens: false,
            misses: 0,
            over: None,
        }
    }

    fn data(&mut self, side: Side, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        if self.halves[side as usize].place == Place::Lost && !self.find(side, bytes) {
            self.misses = self.misses.saturating_add(1);
            return if !self.sure && self.misses > MAX_MISSES {
                self.not_mine()
            } else {
                Verdict::Continue
            };
        }
        while self.advance(side, ts_ns, &mut bytes, sink) {}
        self.over.unwrap_or(Verdict::Continue)
    }

    /// At the start of a piece, while nobody knows where frames begin: does one here?
    fn find(&mut self, side: Side, bytes: &[u8]) -> bool {
        let found = bytes.len() >= 4
            && match side {
                Side::Request => may_be_request(bytes, &self.client),
                Side::Response => self.may_be_response(bytes),
            };
        if found {
            self.halves[side as usize].find();
        }
        found
    }

    fn may_be_response(&self, bytes: &[u8]) -> bool {
        let Some((size, rest)) = bytes.split_first_chunk() else {
            return false;
        };
        let is_awaited = |id: &[u8; 4]| {
            let id = i32::from_be_bytes(*id);
            self.in_flight
                .iter()
                .any(|pending| pending.correlation == id)
        };
        (MIN_RESPONSE..=MAX_RESPONSE).contains(&u32::from_be_bytes(*size))
            && rest
                .first_chunk()
                .map_or(!self.in_flight.is_empty(), is_awaited)
    }

    /// Takes the next part of what is at hand. False: there is no more.
    fn advance(&mut self, side: Side, ts_ns: u64, bytes: &mut &[u8], sink: &mut dyn Sink) -> bool {
        let half = &mut self.halves[side as usize];
        let place = half.place;
        let read = match place {
            Place::Lost => {
                *bytes = &[];
                return false;
            }
            Place::Size => half.size(ts_ns, bytes),
            Place::Head => half.head(side, bytes),
            Place::Body => self.body(side, bytes),
            Place::Rest => half.rest(bytes),
        };
        match read {
            half::Read::More => false,
            half::Read::Next => true,
            half::Read::Size(size) => {
                let (least, most) = match side {
                    _ if self.has_tokens => (0, MAX_REQUEST),
                    Side::Request => (MIN_REQUEST, MAX_REQUEST),
                    Side::Response => (MIN_RESPONSE, MAX_RESPONSE),
                };
                (least..=most).contains(&size) || self.is_wrong(side)
            }
            half::Read::Head(head) => match side {
                Side::Request => self.asked(head),
                Side::Response => self.answered(head, sink),
            },
            half::Read::Bad if place == Place::Head && self.has_tokens => {
                self.halves[side as usize].skip_rest();
                true
            }
            half::Read::Bad => self.is_wrong(side),
            half::Read::End => {
                self.end_of_frame(side, ts_ns, sink);
                self.over.is_none()
            }
        }
    }

    /// These bytes are not what they should be. False: nothing more will come of them.
    fn is_wrong(&mut self, side: Side) -> bool {
        if self.sure || self.halves[side as usize].tentative {
            self.lose(side);
        } else {
            self.not_mine();
        }
        false
    }

    fn not_mine(&mut self) -> Verdict {
        self.in_flight.clear();
        self.at_hand = [None, None];
        self.over = Some(Verdict::NotMine);
        Verdict::NotMine
    }

    /// Nobody knows where frames begin.
    fn lose(&mut self, side: Side) {
        self.halves[side as usize].lose();
        match side {
            Side::Request => self.known.doubt(),
            Side::Response => self.in_flight.iter_mut().for_each(|p| p.doubtful = true),
        }
    }

    /// The fixed part of a request's header.
    fn asked(&mut self, head: [u8; 8]) -> bool {
        let [k0, k1, v0, v1, id @ ..] = head;
        let api = Api::new(i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        let half = &mut self.halves[Side::Request as usize];
        let Some(api) = api else {
            if self.has_tokens {
                half.skip_rest();
                return true;
            }
            return self.is_wrong(Side::Request);
        };
        let mut pending = self.spare.pop().unwrap_or_else(Pending::new);
        (pending.api, pending.correlation) = (api, i32::from_be_bytes(id));
        pending.start_ns = half.start_ns;
        half.hand.begin(0);
        let fields = if api.is_future() {
            schema::REST
        } else {
            schema::request(api.key)
        };
        half.walk
            .begin_request(fields, api.version, api.is_flexible());
        self.at_hand[Side::Request as usize] = Some(pending);
        true
    }

    /// A response's correlation id.
    fn answered(&mut self, head: [u8; 8], sink: &mut dyn Sink) -> bool {
        let [id @ .., _, _, _, _] = head;
        let id = i32::from_be_bytes(id);
        let found = self.in_flight.iter().position(|p| p.correlation == id);
        let half = &mut self.halves[Side::Response as usize];
        let Some(index) = found else {
            if self.sure || half.tentative {
                half.skip_rest(); // to a request that nobody saw, or a token
                return true;
            }
            return self.is_wrong(Side::Response);
        };
        self.sure = true;
        // brokers answer in order: what was asked before, and may have been answered unseen, was
        let mut before = index;
        for at in (0..index).rev() {
            if self.in_flight[at].doubtful {
                self.abandon(at, sink);
                before -= 1;
            }
        }
        let Some(mut pending) = self.take(before) else {
            return true;
        };
        pending.records = 0;
        let api = pending.api;
        let half = &mut self.halves[Side::Response as usize];
        half.hand.begin(pending.text_bytes());
        let fields = if api.is_future() {
            schema::REST
        } else {
            schema::response(api.key)
        };
        half.walk.begin_response(
            fields,
            api.version,
            api.is_flexible(),
            api.answers_with_tags(),
        );
        self.at_hand[Side::Response as usize] = Some(pending);
        true
    }

    fn take(&mut self, at: usize) -> Option<Pending> {
        let taken = self.in_flight.remove(at)?;
        self.bytes -= taken.heap_bytes();
        Some(taken)
    }

    fn abandon(&mut self, at: usize, sink: &mut dyn Sink) {
        if let Some(lost) = self.take(at) {
            if self.sure {
                lost.abandon(sink);
            }
            self.reuse(lost);
        }
    }

    fn body(&mut self, side: Side, bytes: &mut &[u8]) -> half::Read {
        let Some(pending) = &mut self.at_hand[side as usize] else {
            return half::Read::Bad;
        };
        let read = self.halves[side as usize].body(
            bytes,
            pending,
            &mut self.known,
            side == Side::Response,
            self.sure,
        );
        if read == half::Read::Next && side == Side::Request {
            self.sure |= self.halves[side as usize].is_proof();
        }
        read
    }

    /// All of a frame has gone by.
    fn end_of_frame(&mut self, side: Side, ts_ns: u64, sink: &mut dyn Sink) {
        let lost = self.halves[side as usize].lost;
        let whole = self.halves[side as usize].end();
        let Some(mut pending) = self.at_hand[side as usize].take() else {
            return;
        };
        if side == Side::Response {
            if pending.api.key == key::SASL_HANDSHAKE && pending.api.version == 0 {
                self.has_tokens = true;
            }
            pending.answer_cut = lost;
            pending.tell(ts_ns, whole, sink);
            return self.reuse(pending);
        }
        (pending.cut, pending.thin) = (lost, !whole);
        if lost {
            self.known.doubt();
        }
        let name = pending.get(pending.client);
        if self.client != name {
            self.client.clear();
            self.client.extend_from_slice(name);
        }
        if pending.get(pending.group).is_empty() && pending.is_poll() {
            pending.group = pending.keep(self.known.consumer_group()); // of the other requests
        }
        if pending.unanswered {
            if self.sure {
                pending.tell(ts_ns, whole, sink);
            }
            return self.reuse(pending);
        }
        let bytes = pending.heap_bytes();
        while !self.in_flight.is_empty()
            && (self.in_flight.len() >= MAX_IN_FLIGHT || self.bytes + bytes > MAX_BYTES)
        {
            self.abandon(0, sink);
        }
        self.bytes += bytes;
        self.in_flight.push_back(pending);
    }

    /// Keeps the memory of a request that is over.
    fn reuse(&mut self, pending: Pending) {
        if self.spare.len() < MAX_SPARE && pending.is_small() {
            self.spare.push(pending.reused());
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, count: u64, sink: &mut dyn Sink) {
        let half = &mut self.halves[side as usize];
        match half.gap(count) {
            half::Gap::Within => while self.advance(side, ts_ns, &mut &[][..], sink) {},
            half::Gap::Over => {
                if half.place == Place::Rest {
                    self.end_of_frame(side, ts_ns, sink); // it ended within the gap
                }
                if let Some(lost) = self.at_hand[side as usize].take() {
                    if self.sure {
                        lost.abandon(sink);
                    }
                    self.reuse(lost);
                }
                self.lose(side);
            }
            half::Gap::Nowhere => {}
        }
    }

    /// Nothing more will be answered.
    fn finish(&mut self, ts_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        let mut answering = self.at_hand[Side::Response as usize].take();
        if let Some(pending) = &mut answering {
            pending.answer_cut = true;
        }
        let doubtful = self.halves[Side::Response as usize].lost;
        for pending in answering.into_iter().chain(self.in_flight.drain(..)) {
            if !self.sure {
                continue;
            }
            if pending.doubtful || doubtful {
                pending.abandon(sink);
            } else {
                pending.fail(ts_ns, error, sink);
            }
        }
        self.bytes = 0;
        self.at_hand = [None, None];
        self.over = Some(Verdict::Ended);
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        match input {
            Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
            Input::Gap(0) => Verdict::Continue,
            Input::Gap(count) => {
                self.gap(side, ts_ns, count, sink);
                self.over.unwrap_or(Verdict::Continue)
            }
        }
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                if self.sure {
                    let answering = self.at_hand[Side::Response as usize].take();
                    for pending in answering.into_iter().chain(self.in_flight.drain(..)) {
                        pending.abandon(sink);
                    }
                }
                self.in_flight.clear();
                self.bytes = 0;
                self.at_hand = [None, None];
                self.halves = [Half::new(Place::Lost), Half::new(Place::Lost)];
            }
            return Verdict::Continue;
        };
        self.finish(ts_ns, error, sink);
        Verdict::Ended
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len() + usize::from(self.at_hand[Side::Response as usize].is_some())
    }
}
