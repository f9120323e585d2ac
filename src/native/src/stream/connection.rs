//! One connection: puts its two streams in order, decides who asks and who answers, and feeds the parser.

use super::decide::decide;
use super::held::Held;
use super::{Closed, Direction, Segment, StreamCounters, WITHIN_TLS};
use crate::aggregate::Aggregator;
use crate::capture_mode::Found;
use crate::conn::{Address, ConnInfo};
use crate::exchange::{End, Exchange, Input, Parser, Role, Side, Sink, Verdict as Protocol, Which};
use crate::processes::{Processes, Verdict};
use crate::protocols::{http1, http2, Detect, Protocol as Spoken};
use memchr::memmem;
use std::collections::VecDeque;

/// Bursts that may look like nothing before a connection whose beginning was not understood is left alone.
const MAX_MISSES: u8 = 16;
/// A guess that turned out to be wrong counts for so many.
const MISGUESS: u8 = 4;

pub(super) enum State {
    /// Who asks is not known yet; the bytes of the burst that may tell.
    Undecided {
        held: Vec<u8>,
        dir: Direction,
        ts_ns: u64,
        /// The burst is of HTTP/2's frames so far, which do not say who asks.
        frames: bool,
    },
    /// HTTP/1.
    Http1(Box<http1::Connection>),
    /// HTTP/2.
    Http2(Box<http2::Connection>),
    /// Another protocol.
    Other(&'static Spoken, Box<dyn Parser + Send>),
}

/// A connection, and what is known of its two streams.
pub(super) struct Conn {
    pub(super) info: ConnInfo,
    pub(super) state: State,
    /// Bursts that looked like nothing.
    misses: u8,
    /// Who used it last, as of `Processes::epoch`. What is passed on may be a process's before it.
    pub(super) tgid: u32,
    pub(super) key: u64,
    pub(super) epoch: u64,
    /// The last process that was found to have its verdict.
    pub(super) judged: Option<u64>,
    /// Stream offsets passed on, by direction.
    pub(super) off: [u64; 2],
    pub(super) held: VecDeque<Held>,
    /// In `Streams::holding`.
    pub(super) listed: bool,
    last: Option<Direction>,
    pub(super) last_ns: u64,
    pub(super) old: bool,
    /// `tgid` ended.
    pub(super) exiting: bool,
    /// What the verdict says of this connection.
    pub(super) allowed: bool,
    pub(super) tcp: bool,
}

/// Where what a connection says goes.
pub(super) struct Into<'a> {
    pub(super) aggregator: &'a mut Aggregator,
    pub(super) processes: &'a Processes,
    pub(super) counters: &'a mut StreamCounters,
    /// What was found out that the kernel side may not know.
    pub(super) found: &'a mut Vec<(u64, Found)>,
}

/// The connection, or what is within its TLS, as the kernel side is told of it.
pub(super) fn within(info: &ConnInfo, id: u64) -> u64 {
    if info.encrypted {
        id | WITHIN_TLS
    } else {
        id
    }
}

impl State {
    /// Nothing that was said so far tells who asks.
    fn undecided(ts_ns: u64) -> Self {
        Self::Undecided {
            held: Vec::new(),
            dir: Direction::Recv,
            ts_ns,
            frames: false,
        }
    }

    pub(super) fn http2(parser: http2::Connection) -> Self {
        Self::Http2(Box::new(parser))
    }
}

impl Conn {
    /// Nothing of it has been passed on. `old`: there may have been something before.
    pub(super) fn new(info: ConnInfo, tgid: u32, epoch: u64, ts_ns: u64, old: bool) -> Self {
        Self {
            tcp: info.unix_path.is_none() && info.local.address != Address::Unix && !info.datagram,
            key: info.process_key,
            info,
            state: State::undecided(ts_ns),
            misses: 0,
            tgid,
            epoch,
            judged: None,
            off: [0, 0],
            held: VecDeque::new(),
            listed: false,
            last: None,
            last_ns: ts_ns,
            old,
            exiting: false,
            allowed: true,
        }
    }

    /// The parser, once there is one, and where it puts what it finds.
    pub(super) fn speaking<'a>(
        &'a mut self,
        aggregator: &'a mut Aggregator,
    ) -> Option<(&'a mut dyn Parser, ConnSink<'a>)> {
        let parser: &mut dyn Parser = match &mut self.state {
            State::Undecided { .. } => return None,
            State::Http1(parser) => &mut **parser,
            State::Http2(parser) => &mut **parser,
            State::Other(_, parser) => &mut **parser,
        };
        let sink = ConnSink {
            info: &mut self.info,
            aggregator,
            allowed: self.allowed,
        };
        Some((parser, sink))
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        match &self.state {
            State::Undecided { .. } => 0,
            State::Http1(parser) => parser.in_flight(),
            State::Http2(parser) => parser.in_flight(),
            State::Other(_, parser) => parser.in_flight(),
        }
    }

    /// Somebody has said whether its process is watched, which nobody takes back.
    #[inline]
    pub(super) fn is_judged(&mut self, processes: &Processes) -> bool {
        if self.judged != Some(self.key) && !undecided(processes, self.key) {
            self.judged = Some(self.key);
        }
        self.judged == Some(self.key)
    }

    /// Bytes that went the other way before these, and that were not passed on; 0 where that can't be known.
    pub(super) fn missing(&self, dir: Direction, other_off: u64) -> u64 {
        if self.last.is_some() || !self.old {
            other_off.saturating_sub(self.off[dir.other() as usize])
        } else {
            0
        }
    }

    /// Feeds the parser. `key`: of the process that did it.
    pub(super) fn pass_on(&mut self, s: &Segment<'_>, key: u64, into: Into<'_>) -> Protocol {
        let Into {
            aggregator,
            processes,
            counters,
            found,
        } = into;
        if s.counted_elsewhere {
            // this record begins a burst: nothing that was before it matters any longer
            self.forget_pending(s.ts_ns, aggregator);
        }
        if self.info.process_key != key {
            self.info.process_key = key;
            self.allowed = allowed(processes, &self.info);
        }
        let burst = self.last != Some(s.dir);
        let first = self.last.is_none();
        self.last = Some(s.dir);
        self.last_ns = s.ts_ns;
        if s.counted_elsewhere || (first && self.old) {
            // what went by before is not ours: lost and counted, or before our time
            let other = s.dir.other();
            let held = self.held.iter().find(|h| h.is(other));
            self.off[s.dir as usize] = s.off;
            self.off[other as usize] = held.map_or(s.other_off, |h| s.other_off.min(h.place().1));
        }
        let off = &mut self.off[s.dir as usize];
        let hole = s.off.wrapping_sub(*off);
        if hole > u64::MAX / 2 {
            counters.out_of_order += 1;
            return Protocol::Continue;
        }
        *off = s.off + s.adv;
        let rest = s.adv.saturating_sub(s.data.len() as u64);

        let side = side(self.info.role, s.dir);
        let mut sink = ConnSink {
            info: &mut self.info,
            aggregator,
            allowed: self.allowed,
        };
        match &mut self.state {
            State::Http1(parser) => {
                if side == Side::Response && is_upgrade(s.data) {
                    return self.upgrade(s, hole, rest, aggregator, found);
                }
                feed(&mut **parser, side, s.ts_ns, hole, s.data, rest, &mut sink)
            }
            State::Http2(parser) => {
                feed(&mut **parser, side, s.ts_ns, hole, s.data, rest, &mut sink)
            }
            State::Other(_, parser) => {
                let verdict = feed(&mut **parser, side, s.ts_ns, hole, s.data, rest, &mut sink);
                self.guessed(verdict, s.ts_ns)
            }
            State::Undecided { .. } => {
                let verdict = decide(self, s, burst, hole, rest, aggregator, processes);
                // what began with the preface the kernel side has found itself
                if self.old && matches!(self.state, State::Http2(_)) {
                    found.push((within(&self.info, s.conn), Found::Http2));
                }
                match self.state {
                    State::Other(protocol, _) => {
                        if !self.info.datagram {
                            let what = protocol.capture.found(self.info.role);
                            found.push((within(&self.info, s.conn), what));
                        }
                        self.guessed(verdict, s.ts_ns)
                    }
                    _ => verdict,
                }
            }
        }
    }

    /// A response that looks like 101 (Switching Protocols) to h2c. If it is one, the request is answered by HTTP/2.
    #[cold]
    fn upgrade(
        &mut self,
        s: &Segment<'_>,
        hole: u64,
        rest: u64,
        aggregator: &mut Aggregator,
        found: &mut Vec<(u64, Found)>,
    ) -> Protocol {
        let State::Http1(parser) = &mut self.state else {
            return Protocol::Continue;
        };
        let mut sink = UpgradeSink {
            upgrade: None,
            sink: ConnSink {
                info: &mut self.info,
                aggregator,
                allowed: self.allowed,
            },
        };
        let side = Side::Response;
        let verdict = feed(&mut **parser, side, s.ts_ns, hole, s.data, rest, &mut sink);
        let (Protocol::Ended, Some(upgrade)) = (verdict, sink.upgrade) else {
            return verdict;
        };
        let mut parser = Box::new(http2::Connection::upgraded(upgrade));
        let after = memmem::find(s.data, b"\r\n\r\n").map_or(s.data.len(), |at| at + 4);
        let data = &s.data[after..];
        let verdict = feed(&mut *parser, side, s.ts_ns, 0, data, rest, &mut sink.sink);
        self.state = State::Http2(parser);
        found.push((within(&self.info, s.conn), Found::Http2));
        verdict
    }

    /// What a parser says of bytes that only looked like its own need not be the last word on the connection.
    fn guessed(&mut self, verdict: Protocol, ts_ns: u64) -> Protocol {
        if verdict != Protocol::NotMine {
            return verdict;
        }
        self.state = State::undecided(ts_ns);
        self.old = true;
        self.miss(MISGUESS)
    }

    /// What was said looks like nothing.
    pub(super) fn miss(&mut self, weight: u8) -> Protocol {
        self.misses = self.misses.saturating_add(weight);
        if self.misses > MAX_MISSES {
            Protocol::NotMine
        } else {
            Protocol::Continue
        }
    }

    /// What is in flight is counted elsewhere, or not at all.
    pub(super) fn forget_pending(&mut self, ts_ns: u64, aggregator: &mut Aggregator) {
        if let Some((parser, mut sink)) = self.speaking(aggregator) {
            parser.end(ts_ns, End::Lost, &mut sink);
        }
        match &mut self.state {
            State::Http1(parser) => **parser = http1::Connection::new(),
            State::Other(protocol, parser) => *parser = (protocol.parser)(true),
            State::Undecided { .. } | State::Http2(_) => {} // which knows by itself what it knows no longer
        }
    }

    /// One side, or all of the connection, is over. `exiting`: the process had ended by then.
    pub(super) fn close(
        &mut self,
        ts_ns: u64,
        how: Closed,
        exiting: bool,
        aggregator: &mut Aggregator,
    ) {
        if self.in_flight() == 0 {
            return;
        }
        let end = match how {
            _ if exiting => End::ProcessExit,
            Closed::Fin(dir) => End::Fin(side(self.info.role, dir)),
            Closed::Reset(err) => End::Broken(err),
            Closed::Gone(0) => End::Closed,
            Closed::Gone(err) => End::Broken(err),
        };
        if let Some((parser, mut sink)) = self.speaking(aggregator) {
            parser.end(ts_ns, end, &mut sink);
        }
    }

    /// Which of what is held comes next, and after how many bytes of the other way that will never come. `all`:
    /// nothing is worth waiting for any longer.
    pub(super) fn next_held(&self, all: bool) -> Option<(usize, u64)> {
        let barrier = self.held.iter().position(Held::settles);
        let before = barrier.unwrap_or(self.held.len());
        let first = |way| self.held.iter().take(before).position(|h| h.is(way));
        let (next, other) = match (first(Direction::Recv), first(Direction::Send)) {
            (None, None) => return barrier.map(|at| (at, 0)),
            (Some(only), None) | (None, Some(only)) => (only, None),
            (Some(recv), Some(send)) if self.goes_first(recv, send) => (recv, Some(send)),
            (Some(recv), Some(send)) => (send, Some(recv)),
        };
        let (dir, _, other_off) = self.held[next].place();
        let mut missing = self.missing(dir, other_off);
        if let Some(other) = other {
            // what is held is not missing, only what is not before it
            let (way, off, _) = self.held[other].place();
            missing = missing.min(off.saturating_sub(self.off[way as usize]));
        } else if missing > 0 && !all && barrier.is_none() {
            return None;
        }
        Some((next, missing))
    }

    /// Does the first of these two go before the second? It does if the second's hook saw it and not the other
    /// way round. Both hooks may have run after both operations: then a request is not told after its answer.
    fn goes_first(&self, recv: usize, send: usize) -> bool {
        let (_, recv_off, recv_saw) = self.held[recv].place();
        let (_, send_off, send_saw) = self.held[send].place();
        match (recv_saw <= send_off, send_saw <= recv_off) {
            (true, false) => true,
            (false, true) => false,
            (true, true) => recv < send,
            (false, false) => match &self.state {
                State::Http1(_) | State::Http2(_) | State::Other(..) => {
                    self.info.role == Role::Server
                }
                State::Undecided { .. } => {
                    match (self.held[recv].looks_like(), self.held[send].looks_like()) {
                        (Detect::Request, _) | (_, Detect::Response) => true,
                        (Detect::Response, _) | (_, Detect::Request) => false,
                        _ => recv < send,
                    }
                }
            },
        }
    }
}

/// The sink of one connection: adds the connection to what a parser says.
pub(super) struct ConnSink<'a> {
    info: &'a mut ConnInfo,
    aggregator: &'a mut Aggregator,
    allowed: bool,
}

/// 101 (Switching Protocols) to h2c.
#[inline(always)]
fn is_upgrade(data: &[u8]) -> bool {
    data.starts_with(b"HTTP/1.1 101") && memmem::find(data, b"h2c").is_some()
}

impl Sink for ConnSink<'_> {
    fn begin(&mut self, method: &[u8]) {
        if self.allowed {
            self.aggregator.begin(self.info, method);
        }
    }
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if self.allowed {
            self.aggregator.exchange(self.info, exchange);
        }
    }
    fn abandoned(&mut self, which: Which<'_>) {
        if self.allowed {
            self.aggregator.abandoned(self.info, which);
        }
    }
}

/// Keeps a request that is answered by changing to HTTP/2: its answer comes there.
struct UpgradeSink<'a> {
    upgrade: Option<http2::Upgrade>,
    sink: ConnSink<'a>,
}

impl Sink for UpgradeSink<'_> {
    fn begin(&mut self, method: &[u8]) {
        self.sink.begin(method);
    }
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if self.upgrade.is_none() {
            self.upgrade = http2::Upgrade::of(exchange);
            if self.upgrade.is_none() {
                self.sink.exchange(exchange);
            }
        }
    }
    fn abandoned(&mut self, which: Which<'_>) {
        self.sink.abandoned(which);
    }
}

pub(super) fn side(role: Role, dir: Direction) -> Side {
    match (role, dir) {
        (Role::Server, Direction::Recv) | (Role::Client, Direction::Send) => Side::Request,
        _ => Side::Response,
    }
}

/// Nobody has said yet whether the process is watched.
pub(super) fn undecided(processes: &Processes, key: u64) -> bool {
    processes
        .get(key)
        .is_some_and(|p| p.verdict == Verdict::Unknown)
}

pub(super) fn allowed(processes: &Processes, info: &ConnInfo) -> bool {
    processes
        .get(info.process_key)
        .is_none_or(|p| p.verdict.allows(info.server().port))
}

#[inline(always)]
pub(super) fn feed<P: Parser + ?Sized>(
    parser: &mut P,
    side: Side,
    ts_ns: u64,
    hole: u64,
    data: &[u8],
    rest: u64,
    sink: &mut dyn Sink,
) -> Protocol {
    let mut verdict = Protocol::Continue;
    if hole > 0 {
        verdict = parser.feed(side, ts_ns, Input::Gap(hole), sink);
    }
    if verdict == Protocol::Continue && !data.is_empty() {
        verdict = parser.feed(side, ts_ns, Input::Data(data), sink);
    }
    if verdict == Protocol::Continue && rest > 0 {
        verdict = parser.feed(side, ts_ns, Input::Gap(rest), sink);
    }
    verdict
}
