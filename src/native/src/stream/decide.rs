//! What is spoken on a connection, and who asks.

use super::connection::{allowed, feed, side, Conn, State};
use super::{Direction, Segment};
use crate::aggregate::Aggregator;
use crate::conn::ConnInfo;
use crate::exchange::{Input, Role, Side, Verdict as Protocol};
use crate::processes::Processes;
use crate::protocols::{http1, http2, Detect, Opening, PROTOCOLS};

/// Bytes kept of a burst that may yet turn out to be a request.
const MAX_UNDECIDED: usize = 16 << 10;

/// Who asks on this connection? Whoever sends what is certainly a request, or the other if it is a response, at the
/// start of a burst. On a new one HTTP/1 has the benefit of the doubt: whoever speaks first asks.
pub(super) fn decide(
    conn: &mut Conn,
    s: &Segment<'_>,
    burst: bool,
    hole: u64,
    rest: u64,
    aggregator: &mut Aggregator,
    processes: &Processes,
) -> Protocol {
    let State::Undecided {
        held,
        dir,
        ts_ns,
        frames: of_frames,
    } = &mut conn.state
    else {
        return Protocol::Continue;
    };
    let mut before = Vec::new();
    let middle = !burst && held.is_empty();
    if burst {
        before = std::mem::take(held);
        let began = std::mem::replace(ts_ns, s.ts_ns);
        *dir = s.dir;
        let preface = http2::detect(&before) == http2::Detect::More;
        if !before.is_empty() && !preface && !conn.old {
            let asked = (s.dir.other(), &before[..], began);
            return answered_in_the_middle(conn, s, asked, hole, rest, aggregator, processes);
        }
    } else if middle && !*of_frames {
        return Protocol::Continue; // the middle of a burst that began like nothing
    }
    *of_frames = false;
    let whole;
    let bytes = if held.is_empty() {
        s.data
    } else {
        held.extend_from_slice(s.data);
        whole = std::mem::take(held);
        &whole[..]
    };
    let (looks, frames) = match (hole, middle) {
        (0, false) => (http1::detect(bytes), http2::detect(bytes)),
        (0, true) => (Detect::No, http2::detect(bytes)),
        _ => (Detect::No, http2::Detect::No), // what is missing may have been the first of it
    };
    let (other, began, old) = (s.dir.other(), *ts_ns, conn.old);
    let new_enough = rest == 0 && bytes.len() <= MAX_UNDECIDED;
    let (asks, state) = match (old, looks, frames) {
        (_, _, http2::Detect::More) if rest == 0 => {
            *held = bytes.to_vec();
            return Protocol::Continue;
        }
        (false, _, http2::Detect::Request) => (s.dir, State::http2(http2::Connection::new())),
        // a server need not wait for the client's preface
        (false, _, http2::Detect::Settings) => (other, State::http2(http2::Connection::new())),
        (_, Detect::Request, _) => (s.dir, State::Http1(Box::default())),
        (true, Detect::Response, _) => (other, State::Http1(Box::default())),
        (true, _, http2::Detect::Request) => (s.dir, State::http2(http2::Connection::old())),
        (true, _, http2::Detect::Response) => (other, State::http2(http2::Connection::old())),
        (true, _, http2::Detect::Settings | http2::Detect::Either) => {
            *of_frames = true; // soon somebody asks
            return Protocol::Continue;
        }
        (true, _, http2::Detect::No) if middle => return Protocol::Continue,
        (true, Detect::More, _) if new_enough => {
            *held = bytes.to_vec();
            return Protocol::Continue;
        }
        (false, _, _) if is_request_line(bytes) => (s.dir, State::Http1(Box::default())),
        _ => {
            let found = match hole {
                0 => other_protocol(&conn.info, s.dir, bytes, !old && before.is_empty()),
                _ => Other::No,
            };
            match found {
                Other::Asks(state) => (s.dir, state),
                Other::Answers(state) => (other, state),
                Other::More if new_enough => {
                    if let State::Undecided { held, .. } = &mut conn.state {
                        *held = bytes.to_vec();
                    }
                    return Protocol::Continue;
                }
                _ if !old => (s.dir, State::Http1(Box::default())),
                _ => return conn.miss(1),
            }
        }
    };
    settle(conn, asks, state, processes);
    let side = side(conn.info.role, s.dir);
    let Some((parser, mut sink)) = conn.speaking(aggregator) else {
        return Protocol::Continue;
    };
    let begun = http2::detect(&before) == http2::Detect::More;
    if begun && frames == http2::Detect::Settings {
        // the server spoke while the preface came
        parser.feed(Side::Request, began, Input::Data(&before), &mut sink);
    }
    // the first byte's time counts, also where it came in an earlier piece; but not that of HTTP/2's preface
    let earlier = match frames {
        http2::Detect::Request => 0,
        _ => bytes.len().saturating_sub(s.data.len()),
    };
    let (first, later) = bytes.split_at(earlier);
    if !first.is_empty() {
        let verdict = parser.feed(side, began, Input::Data(first), &mut sink);
        if verdict != Protocol::Continue {
            return verdict;
        }
    }
    feed(parser, side, s.ts_ns, hole, later, rest, &mut sink)
}

fn settle(conn: &mut Conn, asks: Direction, state: State, processes: &Processes) {
    conn.info.role = if asks == Direction::Recv {
        Role::Server
    } else {
        Role::Client
    };
    conn.allowed = allowed(processes, &conn.info);
    conn.state = state;
}

/// The other side speaks on a new connection while it is not known yet what the first one began to say: HTTP/1 has the
/// benefit of the doubt. `asked`: which way, what, since when.
#[cold]
fn answered_in_the_middle(
    conn: &mut Conn,
    s: &Segment<'_>,
    (asks, begun, began_ns): (Direction, &[u8], u64),
    hole: u64,
    rest: u64,
    aggregator: &mut Aggregator,
    processes: &Processes,
) -> Protocol {
    settle(conn, asks, State::Http1(Box::default()), processes);
    let Some((parser, mut sink)) = conn.speaking(aggregator) else {
        return Protocol::Continue;
    };
    let verdict = parser.feed(Side::Request, began_ns, Input::Data(begun), &mut sink);
    if verdict != Protocol::Continue {
        return verdict;
    }
    feed(
        parser,
        Side::Response,
        s.ts_ns,
        hole,
        s.data,
        rest,
        &mut sink,
    )
}

/// Of HTTP/1, with any token for a method ("get" is a command of memcached too).
fn is_request_line(bytes: &[u8]) -> bool {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(0);
    let line = bytes[..end].trim_ascii_end();
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// Whether it is a protocol other than HTTP, and whether who said it asks or answers.
enum Other {
    Asks(State),
    Answers(State),
    More,
    No,
}

/// `first`: nothing was said before.
#[cold]
fn other_protocol(info: &ConnInfo, dir: Direction, bytes: &[u8], first: bool) -> Other {
    let (from, to) = match dir {
        Direction::Send => (info.local.port, info.remote.port),
        Direction::Recv => (info.remote.port, info.local.port),
    };
    let opening = Opening {
        bytes,
        from_port: from,
        to_port: to,
        first,
        datagram: info.datagram,
    };
    let mut more = false;
    for protocol in PROTOCOLS {
        let state = || State::Other(protocol, (protocol.parser)(!first));
        match (protocol.detect)(&opening) {
            Detect::Request => return Other::Asks(state()),
            Detect::Response => return Other::Answers(state()),
            Detect::More => more = true,
            Detect::No => {}
        }
    }
    if more {
        Other::More
    } else {
        Other::No
    }
}
