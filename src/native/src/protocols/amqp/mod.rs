//! AMQP 0-9-1 with RabbitMQ's extensions, as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of frames (`frame`). Those of a channel are methods (`method`), and behind some of them
//! the message that they are about: a content header (`properties`) and its body. A channel (`channel`) knows what is
//! under way in it:
//!
//! ```text
//! publish ──► message whole ──────────────────────► send      confirms are off
//!                  └──► ack or nack of its number ─► send     confirms are on; basic.return says why it failed
//! get ───────► get-ok and its message, get-empty ──► receive  later acks of it are settle
//! deliver ───► message whole ──────────────────────► process  the consumer said no-ack
//!                  └──► ack, nack, reject ─────────► process  there is no settle besides
//! ```
//!
//! Rules:
//! - What is found depends on the bytes, never on how they were cut. Only while a direction is lost do the borders of
//!   pieces mean something: it goes on with a piece that begins with a method that only this side sends.
//! - Of a channel whose opening nobody saw it is not known whether its messages are confirmed: they end when they are
//!   sent. Of a consumer that nobody saw begin it is not known whether it acknowledges: its deliveries wait, and if for
//!   long nobody acknowledges any, they end with their last byte, and so do those that follow.
//! - A gap within a body is harmless, also where it goes over frames of the same body: they are all as long as the
//!   first, which the end of the frame in which the gap ends must prove. Any other loses the direction, and with it what
//!   may have been answered there, or asked.
//! - Transactions are not told apart: what is published in one ends when it is sent.
//! - Memory: a payload per direction (16 KB), the channels (2,047), and of all of them together 1,024 consumers, 256
//!   requests without an answer, 256 messages whose body has not come, and what waits for an acknowledgement, 8,192
//!   messages or 1 MB of what they say about themselves. Beyond that the oldest are given up.

mod channel;
mod frame;
mod method;
mod names;
mod properties;

use rustc_hash::FxHashMap;

use super::{Detect, Opening};
use crate::capture_mode::{Capture, Framing};
use crate::exchange::{End, ErrorKind, Input, Parser, Side, Sink, Verdict};
use channel::{Answers, Channel, Shared};
use frame::{Frame, Half, Kind, Step, PREFACE};

/// Channels of a connection, as many as brokers allow.
const MAX_CHANNELS: usize = 2047;

/// Of bodies nothing is wanted, but frames say what they carry only in front of their lengths.
pub const CAPTURE: Capture = Capture::Framed(
    Framing {
        header: frame::HEADER as u8,
        length_at: 3,
        length_bytes: 4,
        little_endian: false,
        lettered: false,
        bias: 1, // the end octet
        want_request: 2048,
        want_response: 2048,
    }
    .checked(),
);

/// Says what starts here.
pub fn detect(opening: &Opening<'_>) -> Detect {
    let bytes = opening.bytes;
    if bytes.starts_with(PREFACE) {
        return Detect::Request;
    }
    if !bytes.is_empty() && PREFACE.starts_with(bytes) {
        return Detect::More;
    }
    if opening.first {
        return Detect::No; // the client speaks first
    }
    let mut rest = bytes;
    while let Some((header, payload, after)) = frame::whole(rest) {
        rest = after;
        match (header.kind, method::side(payload)) {
            (Kind::Method, Some(Side::Request)) => return Detect::Request,
            (Kind::Method, Some(Side::Response)) => return Detect::Response,
            (Kind::Method, None) if !method::is_of(Side::Request, payload) => return Detect::No,
            (Kind::ContentHeader | Kind::Body, _) => return Detect::No,
            (Kind::Method | Kind::Heartbeat, _) => {} // of either
        }
    }
    Detect::No
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
    state: State,
    over: Option<Verdict>,
}

#[derive(Debug, Default)]
struct State {
    channels: FxHashMap<u16, Box<Channel>>,
    shared: Shared,
}

impl Connection {
    fn new(old: bool) -> Self {
        Self {
            halves: [
                Half::new(Side::Request, old),
                Half::new(Side::Response, old),
            ],
            state: State::default(),
            over: None,
        }
    }

    fn data(&mut self, side: Side, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        let answers = &mut self.state.shared.answers;
        *answers = match (*answers, side) {
            (Answers::Lost, Side::Response) => Answers::Turning,
            (Answers::Turning, Side::Request) => Answers::Known,
            (as_before, _) => as_before,
        };
        let half = &mut self.halves[side as usize];
        if half.is_lost() && !half.find(side, bytes) {
            self.state.lose(side, sink);
            return Verdict::Continue;
        }
        loop {
            let half = &mut self.halves[side as usize];
            match half.data(ts_ns, &mut bytes) {
                Step::Nothing => return Verdict::Continue,
                Step::Unproven => {
                    self.halves[side as usize].lose();
                    self.state.lose(side, sink);
                    return Verdict::Continue;
                }
                Step::Illegal => {
                    self.state.lose(Side::Request, sink);
                    self.over = Some(Verdict::NotMine);
                    return Verdict::NotMine;
                }
                Step::Frame(frame) => self.state.frame(side, frame, ts_ns, sink),
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, mut gap: u64, sink: &mut dyn Sink) {
        while gap > 0 {
            let half = &mut self.halves[side as usize];
            match half.gap(ts_ns, &mut gap) {
                Step::Nothing => return,
                Step::Illegal | Step::Unproven => {
                    self.halves[side as usize].lose();
                    return self.state.lose(side, sink);
                }
                Step::Frame(frame) => self.state.frame(side, frame, ts_ns, sink),
            }
        }
    }
}

impl State {
    fn frame(&mut self, side: Side, frame: Frame<'_>, ts_ns: u64, sink: &mut dyn Sink) {
        let header = frame.header;
        match header.kind {
            Kind::Heartbeat => {}
            Kind::Method if frame.holed => self.lose(side, sink), // it may have been any
            Kind::ContentHeader if frame.payload.len() < 12 => self.lose(side, sink),
            Kind::Method if header.channel == 0 => {
                self.connection(side, frame.payload, ts_ns, sink);
            }
            Kind::Method => {
                let opens = side == Side::Request && method::is_open(frame.payload);
                let full = self.channels.len() >= MAX_CHANNELS;
                if full && !self.channels.contains_key(&header.channel) {
                    return;
                }
                let channel = self.channels.entry(header.channel).or_default();
                if opens {
                    channel.lose_all(&mut self.shared, sink);
                    **channel = Channel::default();
                    return;
                }
                let times = [frame.start_ns, ts_ns];
                channel.method(side, frame.payload, times, &mut self.shared, sink);
            }
            Kind::ContentHeader | Kind::Body => {
                let Some(channel) = self.channels.get_mut(&header.channel) else {
                    return;
                };
                let shared = &mut self.shared;
                if header.kind == Kind::ContentHeader {
                    channel.header(side, frame.payload, ts_ns, shared, sink);
                } else {
                    channel.body(side, header.size.into(), ts_ns, shared, sink);
                }
            }
        }
    }

    /// A method of the connection itself. What it says beyond its end, secrets among it, is not looked at.
    fn connection(&mut self, side: Side, payload: &[u8], ts_ns: u64, sink: &mut dyn Sink) {
        let Some((called, mut arguments)) = method::Arguments::of(payload) else {
            return;
        };
        match (side, called) {
            (_, method::CONNECTION_CLOSE) => {
                let failure = method::failure(arguments.short().unwrap_or_default());
                self.close(ts_ns, failure, ErrorKind::ConnectionClosed, sink);
            }
            (Side::Request, method::CONNECTION_OPEN) => {
                self.lose(Side::Request, sink); // nothing can have been before it
                self.shared.answers = Answers::Known;
            }
            _ => {}
        }
    }

    fn close(&mut self, ts_ns: u64, failure: &'static str, error: ErrorKind, sink: &mut dyn Sink) {
        let mut ids: Vec<u16> = self.channels.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.close(ts_ns, failure, error, &mut self.shared, sink);
            }
        }
    }

    /// Some of what this side said is not known.
    fn lose(&mut self, side: Side, sink: &mut dyn Sink) {
        match side {
            Side::Response => {
                for channel in self.channels.values_mut() {
                    channel.lose_answers(&mut self.shared, sink);
                }
            }
            Side::Request => {
                for channel in self.channels.values_mut() {
                    channel.lose_all(&mut self.shared, sink);
                }
                self.channels.clear();
                self.shared.answers = Answers::Lost;
            }
        }
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
                self.halves.iter_mut().for_each(Half::lose);
                self.state.lose(Side::Request, sink);
                None
            }
            _ => end.error(),
        };
        if let Some(error) = error {
            self.state.close(ts_ns, "", error, sink);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.state.shared.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange, Which};

    const SECOND_NS: u64 = 1_000_000_000;

    /// When operations ended, in seconds.
    #[derive(Default)]
    struct Ends(Vec<u64>);

    impl Sink for Ends {
        fn begin(&mut self, _: &[u8]) {}
        fn exchange(&mut self, exchange: &Exchange<'_>) {
            self.0.push(exchange.end_ns / SECOND_NS);
        }
        fn abandoned(&mut self, _: Which<'_>) {
            panic!("nothing is given up");
        }
    }

    fn method(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![1, 0, 1];
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(payload);
        frame.push(0xce);
        frame
    }

    fn delivery(tag: u8) -> Vec<u8> {
        let mut frames = method(&[
            0, 60, 0, 60, 1, b'c', 0, 0, 0, 0, 0, 0, 0, tag, 0, 0, 1, b'q',
        ]);
        frames.extend_from_slice(&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0]);
        frames.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xce]);
        frames
    }

    fn ack(tag: u8) -> Vec<u8> {
        method(&[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, tag, 0])
    }

    #[test]
    fn a_consumer_that_nobody_saw_begin_is_believed_not_to_acknowledge_in_time() {
        let (mut parser, mut ends) = (Connection::new(true), Ends::default());
        let mut at = |side, second: u64, bytes: &[u8]| {
            parser.feed(side, second * SECOND_NS, Input::Data(bytes), &mut ends);
            ends.0.clone()
        };
        let none: [u64; 0] = [];
        assert_eq!(at(Side::Response, 1, &delivery(1)), none);
        assert_eq!(at(Side::Response, 2, &delivery(2)), none);
        assert_eq!(at(Side::Response, 40, &delivery(3)), [1, 2, 40]);
        assert_eq!(at(Side::Response, 41, &delivery(4)), [1, 2, 40, 41]);
        // it does, after all
        assert_eq!(at(Side::Request, 42, &ack(4)), [1, 2, 40, 41]);
        assert_eq!(at(Side::Response, 43, &delivery(5)), [1, 2, 40, 41]);
        assert_eq!(at(Side::Request, 90, &ack(5)), [1, 2, 40, 41, 90]);
    }
}
