//! The client/server protocol of MySQL and MariaDB, as somebody who listens hears it. Sources: MySQL's "Source Code
//! Documentation", Client/Server Protocol; MariaDB's "Clientserver Protocol".
//!
//! # Theory of operation
//!
//! The server greets, the client logs in, then it asks and the server answers, in order. Each direction is a stream
//! of packets (`packet`), within frames where both ends want compression (`compressed`). A command (`command`) enters
//! the queue of those in flight (`pending`); the oldest's answer is followed to its end (`answer`).
//!
//! ```text
//! Greeting ──► Login ──OK──► Commands            old connections: Old ──command, login within TLS──► ...
//!    │ SSLRequest  └─ERR─► an exchange "CONNECT"
//!    └───────────► Ended: what is within TLS is another connection, which begins with the login
//! ```
//!
//! Rules:
//! - A connection that is older than its capture is one only if a command that is surely one has an answer that fits;
//!   until then nothing is told of it. What it prepared before, its database, and whether it is MariaDB, are not known.
//! - A call with a text is named by it; others by their command. What nobody answers (COM_STMT_CLOSE, long data,
//!   COM_QUIT) is no call, nor is a login that succeeds.
//! - Prepared statements are kept with their numbers, so that an execution has a text.
//! - A gap within a payload hides nothing that counts. Where it hides the end of an answer, the connection's only one
//!   in flight, the answer's last packet tells that it is over, once the client has gone on (`Sync::LongAnswer`).
//!   Anything else that may hide requests or answers takes the connection out of step: what is in flight is given up,
//!   and a whole round of question and answer has to fit before the next command counts (`Sync::Out`).
//! - Passwords, or what proves them, are passed over, and wiped where a login came in pieces.
//! - Memory: what `pending`, `statements` and `compressed` bound, and `MAX_TEXT` and `MAX_ANSWER` for packets that
//!   come in pieces.

mod answer;
mod command;
mod compressed;
mod login;
mod packet;
mod pending;
mod statements;
mod sync;
mod talk;

use super::{Detect, Opening, Protocol};
use crate::capture_mode::Capture;
use crate::exchange::{End, Input, Parser, Side, Sink, Verdict};
use compressed::Compression;
use login::{greeting, hello, refusal, Greets};
use packet::{length, Packets, Passed};
use std::ops::Range;
use sync::Sync;
use talk::{Phase, Talk};

/// In the table of protocols.
pub const MYSQL: Protocol = Protocol {
    name: "mysql",
    detect,
    // a frame for each row is more than is worth looking at in the kernel; and compressed ones have other headers
    capture: Capture::Plain,
    parser: |old| Box::new(Connection::new(old)),
};

/// Bytes kept of an answer's packet that comes in pieces: an OK with its message and the session's changes.
const MAX_ANSWER: usize = 1024;
/// Bytes kept of a command: its text, with the query attributes in front of it.
const MAX_COMMAND: usize = pending::MAX_TEXT + 1024;

/// Bytes of a command by which it is recognised: servers read its header first, and then the rest.
const ENOUGH: usize = 24;
/// How long a login may be, and the first frame of a compressed connection by which it is recognised.
const LOGIN: Range<usize> = 33..4096;
const FRAME: Range<usize> = 5..pending::MAX_TEXT;

/// Says what starts here: a server's greeting or refusal on a new connection; on an old one a command that is surely
/// one, or a login (within TLS, where the greeting was outside of it).
pub fn detect(opening: &Opening<'_>) -> Detect {
    let bytes = opening.bytes;
    let Some((header, payload)) = bytes.split_first_chunk::<4>() else {
        return if opening.datagram {
            Detect::No
        } else {
            Detect::More
        };
    };
    let len = length(*header) as usize;
    if opening.datagram || len == 0 {
        return Detect::No;
    }
    if opening.first {
        return detect_greeting(header[3], len, payload);
    }
    match header[3] {
        0 if payload.len() < len.min(ENOUGH) && command::may_be(payload) => Detect::More,
        0 if command::is_surely(payload) && goes_on_well(payload, len) => Detect::Request,
        1 | 2 if len == payload.len() && is_login(payload) => Detect::Request,
        1 | 2 if payload.is_empty() && LOGIN.contains(&len) => Detect::More,
        // a frame's header, which is three bytes longer
        0 if payload.len() == 3 && FRAME.contains(&len) => Detect::More,
        0 if FRAME.contains(&len) && compressed::is_first_command(bytes, command::is_surely) => {
            Detect::Request
        }
        _ => Detect::No,
    }
}

fn detect_greeting(seq: u8, len: usize, payload: &[u8]) -> Detect {
    if seq > 1 || len > login::MAX_GREETING || payload.len() > len {
        return Detect::No;
    }
    match greeting(payload) {
        Greets::Yes(_) if seq == 0 => Detect::Response,
        Greets::SoFar if payload.len() < len && seq == 0 => Detect::More,
        _ if payload.first() == Some(&0xff) && payload.len() < len => Detect::More,
        _ if payload.len() == len && refusal(payload).is_some() => Detect::Response,
        _ => Detect::No,
    }
}

/// What is behind the command, if there is anything, begins another one.
fn goes_on_well(payload: &[u8], len: usize) -> bool {
    match payload.get(len..) {
        None | Some([]) => true,
        Some([_, _, _, 0, command, ..]) => command::name(*command).is_some(),
        Some(_) => false,
    }
}

fn is_login(payload: &[u8]) -> bool {
    matches!(hello(payload), Some(login::Hello::Login { .. }))
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Connection {
    client: Packets,
    server: Packets,
    compression: Option<Box<Compression>>,
    talk: Talk,
    last: Option<Side>,
    over: Option<Verdict>,
}

impl Connection {
    /// Nothing was said yet; `old`: that is known.
    pub fn new(old: bool) -> Self {
        Self {
            client: Packets::default(),
            server: Packets::default(),
            compression: None,
            talk: Talk::new(old),
            last: None,
            over: None,
        }
    }

    /// A piece of the stream of packets.
    fn packets(
        &mut self,
        side: Side,
        ts_ns: u64,
        burst: bool,
        input: Input<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        match (side, input) {
            (Side::Request, Input::Data(data)) => self.asks(ts_ns, burst, data, sink),
            (Side::Response, Input::Data(data)) => self.answers(ts_ns, data, sink),
            (Side::Request, Input::Gap(count)) => self.asks_unheard(count, sink),
            (Side::Response, Input::Gap(count)) => self.answers_unheard(ts_ns, count, sink),
        }
    }

    fn asks(&mut self, ts_ns: u64, burst: bool, mut data: &[u8], sink: &mut dyn Sink) -> Verdict {
        match self.talk.sync {
            Sync::In => {}
            Sync::LongRequest => {
                self.talk.long_request(data.len() as u64);
                return Verdict::Continue;
            }
            Sync::Draining => return Verdict::Continue,
            Sync::LongAnswer | Sync::Forgotten | Sync::Out { .. } => {
                if self.talk.sync == Sync::LongAnswer {
                    self.talk.settle_long_answer(sink);
                }
                if !self.talk.comes_back(burst, data, sink) {
                    return Verdict::Continue;
                }
                self.client.begin_anew();
                self.server.begin_anew();
            }
        }
        loop {
            let keep = self.talk.keep();
            let Some(packet) = self.client.next(&mut data, ts_ns, keep) else {
                return Verdict::Continue;
            };
            if keep > 0 && packet.is_unheard() {
                return self.talk.client_lost(false, sink);
            }
            match self.talk.client_packet(&packet, sink) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
            if self.talk.goes_on_in_frames(data) {
                return Verdict::Continue;
            }
            if self.talk.wipes() {
                self.client.wipe();
            }
            if self.talk.sync != Sync::In {
                return Verdict::Continue;
            }
        }
    }

    fn answers(&mut self, ts_ns: u64, mut data: &[u8], sink: &mut dyn Sink) -> Verdict {
        if matches!(
            self.talk.sync,
            Sync::LongAnswer | Sync::Forgotten | Sync::Out { .. }
        ) {
            self.talk.hears(ts_ns, data);
            return Verdict::Continue;
        }
        loop {
            let Some(packet) = self.server.next(&mut data, ts_ns, MAX_ANSWER) else {
                let number = self.server.number();
                return if number.is_some_and(|seq| self.talk.is_contradicted_by(seq)) {
                    Verdict::NotMine
                } else {
                    Verdict::Continue
                };
            };
            if packet.is_unheard() {
                let verdict = self.talk.server_lost(packet.wire_bytes, sink);
                self.talk.hears(ts_ns, data);
                return verdict;
            }
            if self.talk.is_idle()
                && self.client.has_header()
                && packet.bytes.first() == Some(&0xff)
            {
                // the server will not hear the request out
                self.talk.push_partial(&self.client.so_far());
            }
            match self.talk.server_packet(ts_ns, &packet, sink) {
                Verdict::Continue => {}
                verdict => return verdict,
            }
            match self.talk.sync {
                Sync::In | Sync::LongRequest | Sync::Draining => {}
                Sync::LongAnswer | Sync::Forgotten | Sync::Out { .. } => {
                    self.talk.hears(ts_ns, data);
                    return Verdict::Continue;
                }
            }
            if self.talk.client_begins_anew() {
                self.client.begin_anew();
            }
            if self.talk.begins_compression() {
                self.compression = Some(Box::default());
                return self.frames(Side::Response, ts_ns, false, Input::Data(data), sink);
            }
        }
    }

    fn asks_unheard(&mut self, count: u64, sink: &mut dyn Sink) -> Verdict {
        if self.talk.sync == Sync::LongAnswer {
            self.talk.settle_long_answer(sink);
        }
        match self.talk.sync {
            Sync::In => {}
            Sync::LongRequest => {
                self.talk.long_request(count);
                return Verdict::Continue;
            }
            _ => {
                self.talk.client_gap(sink);
                return Verdict::Continue;
            }
        }
        let had_header = self.client.has_header();
        match self.client.skip(count) {
            Passed::Inside => Verdict::Continue,
            Passed::Whole if self.talk.keep() == 0 || !self.client.so_far().is_unheard() => {
                self.talk.client_packet(&self.client.so_far(), sink)
            }
            Passed::Whole => self.talk.client_lost(false, sink),
            Passed::Border { goes_on } => {
                if self.talk.phase == Phase::Commands && had_header && !self.talk.sends_file() {
                    self.talk.push_partial(&self.client.so_far());
                }
                self.client.begin_anew();
                self.talk.client_lost(had_header && goes_on, sink)
            }
        }
    }

    fn answers_unheard(&mut self, ts_ns: u64, count: u64, sink: &mut dyn Sink) -> Verdict {
        if matches!(
            self.talk.sync,
            Sync::LongAnswer | Sync::Forgotten | Sync::Out { .. }
        ) {
            self.talk.hears_gap(count);
            return Verdict::Continue;
        }
        let bytes = self.server.bytes_under_way().saturating_add(count);
        match self.server.skip(count) {
            Passed::Inside => Verdict::Continue,
            Passed::Whole if !self.server.so_far().is_unheard() => {
                self.talk.server_packet(ts_ns, &self.server.so_far(), sink)
            }
            Passed::Whole | Passed::Border { .. } => {
                self.server.begin_anew();
                self.talk.server_lost(bytes, sink)
            }
        }
    }

    /// A piece of the stream of compressed frames.
    fn frames(
        &mut self,
        side: Side,
        ts_ns: u64,
        burst: bool,
        input: Input<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        let Some(mut compression) = self.compression.take() else {
            return Verdict::Continue;
        };
        let frames = match side {
            Side::Request => &mut compression.client,
            Side::Response => &mut compression.server,
        };
        let (mut verdict, mut burst_inside) = (Verdict::Continue, burst);
        frames.feed(ts_ns, burst, input, &mut |ts_ns, input| {
            if verdict == Verdict::Continue {
                verdict = self.packets(side, ts_ns, burst_inside, input, sink);
                burst_inside = false;
            }
        });
        self.compression = Some(compression);
        verdict
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let burst = self.last != Some(side);
        self.last = Some(side);
        if matches!(input, Input::Gap(_)) {
            self.talk.misses_some();
        }
        let verdict = if self.compression.is_some() {
            self.frames(side, ts_ns, burst, input, sink)
        } else {
            self.packets(side, ts_ns, burst, input, sink)
        };
        if verdict != Verdict::Continue {
            self.talk.give_up(sink);
            self.over = Some(verdict);
            return verdict;
        }
        if let Some(first) = self.talk.takes_frames() {
            // the first packet of an old connection is a frame
            self.compression = Some(Box::default());
            self.client.begin_anew();
            let verdict = self.frames(side, ts_ns, burst, Input::Data(&first), sink);
            if verdict != Verdict::Continue {
                self.over = Some(verdict);
            }
            return verdict;
        }
        Verdict::Continue
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.talk.forget(sink);
                self.client.begin_anew();
                self.server.begin_anew();
                if let Some(compression) = &mut self.compression {
                    **compression = Compression::default();
                }
                self.last = None;
            }
            return Verdict::Continue;
        };
        self.talk.end(ts_ns, error, sink);
        if matches!(end, End::Fin(_)) {
            return Verdict::Continue;
        }
        self.over = Some(Verdict::Ended);
        Verdict::Ended
    }

    fn in_flight(&self) -> usize {
        self.talk.in_flight()
    }
}
