//! DNS (RFC 1035) over UDP and TCP, as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! A lookup is a message of the QUERY kind with one question, and the first answer with its id and its question. Ids and
//! questions alone pair them, whatever their order, since resolvers ask for A and AAAA at once, and since on a server's
//! UDP socket all clients are one.
//!
//! ```text
//! datagrams   each piece is a message (what was not captured of it follows as a gap)
//! stream      length(2) message length(2) message ...
//! ```
//!
//! - Which of them it is the first piece tells: where a datagram counts its questions (0 1), a stream has a message's
//!   flags, which are never that.
//! - The same question asked again with the same id before its answer (a lost datagram, a resolver that asks all its
//!   servers at once) is the same lookup, asked again. Asked over TCP after a truncated answer it is a lookup of its own.
//! - An answer to what nobody asked makes no lookup, and one to another question than was asked ends none. One without a
//!   question ends the lookup with its id if it is an error: some servers give back nothing of what they don't
//!   understand.
//! - Of a transfer (AXFR) the first message counts.
//! - A datagram's lookup that nobody has answered when its socket is closed, or 30 s after it was last asked, has timed
//!   out. There is no clock here: later traffic tells the time, and it counts as over 5 s after it was last asked, which
//!   is when resolvers lose their patience.
//! - A stream with a gap across a message's border, or with what is no message, goes on where a piece begins with a
//!   whole message. If it was the server's, what was in flight may have been answered, and is given up.
//! - Memory: per connection `MAX_IN_FLIGHT` questions of up to 255 bytes, two messages of `MAX_KEPT`.

mod flight;
mod message;
mod name;
mod stream;

use super::{Detect, Opening};
use crate::exchange::{
    Detail, Dns, End, ErrorKind, Exchange, Input, Parser, Side, Sink, Verdict, Which,
};
use flight::{Asked, Flight};
use message::{Header, HEADER};
use name::Trouble;
use stream::{Half, Message};

/// The port of all servers but private ones.
const PORT: u16 = 53;

/// Says whose messages start here. Datagrams count on DNS's own port alone: mDNS and LLMNR have the same form.
pub(super) fn detect(opening: &Opening<'_>) -> Detect {
    let bytes = opening.bytes;
    if opening.datagram {
        return match message::detect(bytes, bytes.len()) {
            looks if opening.has_port(PORT) => looks,
            _ => Detect::No,
        };
    }
    let Some(len) = stream::prefix(bytes) else {
        return Detect::More;
    };
    let message = bytes.get(2..).unwrap_or_default();
    match message::detect(message, len) {
        // a question is all that is certain of an answer
        Detect::Response if message.len() < len && !opening.has_port(PORT) => Detect::More,
        looks => looks,
    }
}

/// A parser for one connection, or for a socket's datagrams.
pub(super) fn parser(_old: bool) -> Box<dyn Parser + Send> {
    Box::<Connection>::default()
}

#[derive(Debug, Default)]
enum Transport {
    #[default]
    Unknown,
    Datagrams,
    /// The client's direction, the server's.
    Stream([Half; 2]),
}

#[derive(Debug, Default)]
struct Connection {
    transport: Transport,
    lookups: Lookups,
    over: Option<Verdict>,
}

/// What is independent of how messages are carried.
#[derive(Debug, Default)]
struct Lookups {
    flight: Flight,
    /// A message was understood here: it is DNS.
    confirmed: bool,
    /// A message was none.
    odd: bool,
    /// Names and answers of the message at hand.
    text: Vec<u8>,
    answers: Vec<String>,
}

/// What came of a lookup.
struct Outcome<'a> {
    rcode: Option<u16>,
    answers: &'a [String],
    error: Option<ErrorKind>,
}

impl From<ErrorKind> for Outcome<'_> {
    fn from(error: ErrorKind) -> Self {
        Self {
            rcode: None,
            answers: &[],
            error: Some(error),
        }
    }
}

impl Lookups {
    fn take(&mut self, side: Side, message: Message<'_>, ts_ns: u64, sink: &mut dyn Sink) {
        let Message { bytes, start_ns } = message;
        let header = Header::of(bytes);
        match (side, header) {
            (Side::Request, Some(header)) if header.asks() => {
                self.asked(bytes, &header, (start_ns, ts_ns), sink);
            }
            (Side::Response, Some(header)) if header.answers() => {
                self.answered(bytes, &header, ts_ns, sink);
            }
            // UPDATE, NOTIFY and the like
            (_, Some(header)) if header.is_answer() == (side == Side::Response) => {}
            _ => self.odd = true,
        }
    }

    fn asked(&mut self, bytes: &[u8], header: &Header, span: (u64, u64), sink: &mut dyn Sink) {
        let known = match message::question(bytes, header.id, &mut self.text) {
            Ok(question) => {
                self.confirmed = true;
                self.flight.ask(&question, header.id, &self.text, span)
            }
            Err(Trouble::Cut) => false,
            Err(Trouble::Bad) => {
                self.odd = true;
                return;
            }
        };
        if !known || self.flight.crowded_out().is_some() {
            sink.abandoned(Which::Untold);
        }
    }

    fn answered(&mut self, bytes: &[u8], header: &Header, ts_ns: u64, sink: &mut dyn Sink) {
        let (asked, after) = if header.questions == 0 && header.rcode() != 0 {
            (self.flight.answered_by_id(header.id), HEADER)
        } else {
            let question = match message::question(bytes, header.id, &mut self.text) {
                Ok(question) if header.questions == 1 => question,
                Ok(_) | Err(Trouble::Cut) => return,
                Err(Trouble::Bad) => {
                    self.odd = true;
                    return;
                }
            };
            self.confirmed = true;
            let asked = self.flight.answered(&question, header.id, &self.text);
            (asked, question.after)
        };
        if let Some(asked) = asked {
            let rcode = message::answers(bytes, header, after, &mut self.answers);
            let outcome = Outcome {
                rcode,
                answers: &self.answers,
                error: None,
            };
            report(&asked, ts_ns, outcome, sink);
        }
    }

    /// Those of which no answer can be expected any more.
    fn give_up(&mut self, ts_ns: u64, sink: &mut dyn Sink) {
        while let Some(asked) = self.flight.given_up(ts_ns) {
            report(&asked, asked.timeout_ns(), ErrorKind::Timeout.into(), sink);
        }
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        while self.flight.oldest().is_some() {
            sink.abandoned(Which::Untold);
        }
    }
}

fn report(asked: &Asked, end_ns: u64, outcome: Outcome<'_>, sink: &mut dyn Sink) {
    sink.exchange(&Exchange {
        start_ns: asked.start_ns,
        end_ns,
        error: outcome.error,
        detail: Detail::Dns(Dns {
            question: &asked.name,
            question_type: asked.qtype,
            response_code: outcome.rcode,
            answers: outcome.answers,
            retries: asked.retries,
        }),
    });
}

impl Connection {
    fn stream_data(&mut self, side: Side, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) {
        let Transport::Stream(halves) = &mut self.transport else {
            return;
        };
        let (half, lookups) = (&mut halves[side as usize], &mut self.lookups);
        let mut left = bytes;
        if half.lost {
            let message = bytes.get(2..).unwrap_or_default();
            let begins = stream::prefix(bytes)
                .filter(|len| message.len() >= *len)
                .map_or(Detect::No, |len| message::detect(message, len));
            let expected = match side {
                Side::Request => Detect::Request,
                Side::Response => Detect::Response,
            };
            if begins != expected {
                return;
            }
            half.lost = false;
        }
        let mut take = |message: Message<'_>| {
            lookups.odd = false;
            lookups.take(side, message, ts_ns, sink);
            lookups.odd
        };
        while let Some(odd) = half.take(ts_ns, &mut left, &mut take) {
            if odd {
                half.lost = true;
                break;
            }
        }
        if half.lost && side == Side::Response {
            lookups.abandon_all(sink);
        }
    }

    fn data(&mut self, side: Side, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) {
        if matches!(self.transport, Transport::Unknown) {
            self.transport = match bytes.get(4..6) {
                Some([0, 1]) if bytes.len() >= HEADER => Transport::Datagrams,
                _ => Transport::Stream(Default::default()),
            };
        }
        if matches!(self.transport, Transport::Datagrams) {
            let start_ns = ts_ns;
            self.lookups
                .take(side, Message { bytes, start_ns }, ts_ns, sink);
        } else {
            self.stream_data(side, ts_ns, bytes, sink);
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, count: u64, sink: &mut dyn Sink) {
        let Transport::Stream(halves) = &mut self.transport else {
            return; // the rest of a datagram, or what was before our time
        };
        let (half, lookups) = (&mut halves[side as usize], &mut self.lookups);
        let known = half.gap(count, |message| lookups.take(side, message, ts_ns, sink));
        if !known && side == Side::Response {
            self.lookups.abandon_all(sink);
        }
    }

    fn finish_all(&mut self, ts_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        let is_datagrams = self.is_datagrams();
        while let Some(asked) = self.lookups.flight.oldest() {
            let error = match error {
                // its sockets close without a word before it ends
                ErrorKind::ProcessExit if is_datagrams && asked.may_be_over(ts_ns) => {
                    ErrorKind::Timeout
                }
                error => error,
            };
            let end_ns = match error {
                ErrorKind::Timeout => ts_ns.min(asked.timeout_ns()),
                _ => ts_ns,
            };
            report(&asked, end_ns.max(asked.start_ns), error.into(), sink);
        }
    }

    fn is_datagrams(&self) -> bool {
        matches!(self.transport, Transport::Datagrams)
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        self.lookups.give_up(ts_ns, sink);
        match input {
            Input::Data([]) | Input::Gap(0) => {}
            Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
            Input::Gap(count) => self.gap(side, ts_ns, count, sink),
        }
        if self.lookups.odd && !self.lookups.confirmed && !self.is_datagrams() {
            self.over = Some(Verdict::NotMine);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        self.lookups.give_up(ts_ns, sink);
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.lookups.abandon_all(sink);
                if let Transport::Stream(halves) = &mut self.transport {
                    *halves = Default::default(); // what comes next begins a message
                }
            }
            return Verdict::Continue;
        };
        let closed = matches!(end, End::Fin(_) | End::Closed);
        let error = if closed && self.is_datagrams() {
            ErrorKind::Timeout // whoever closes a socket that an answer may still come to has waited long enough
        } else {
            error
        };
        self.finish_all(ts_ns, error, sink);
        if !matches!(end, End::Fin(_)) {
            self.over = Some(Verdict::Ended);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.lookups.flight.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// When lookups began and ended, and how.
    #[derive(Default)]
    struct Ends(Vec<(u64, u64, Option<ErrorKind>)>);

    impl Sink for Ends {
        fn begin(&mut self, _: &[u8]) {}
        fn exchange(&mut self, exchange: &Exchange<'_>) {
            let (start, end) = (exchange.start_ns / SECOND, exchange.end_ns / SECOND);
            self.0.push((start, end, exchange.error));
        }
        fn abandoned(&mut self, _: Which<'_>) {}
    }

    fn query(id: u8) -> Vec<u8> {
        [&[0, id, 1, 0, 0, 1], &[0; 6][..], b"\x01a\0\0\x01\0\x01"].concat()
    }

    fn feed(connection: &mut Connection, second: u64, bytes: &[u8], ends: &mut Ends) {
        let input = Input::Data(bytes);
        connection.feed(Side::Request, second * SECOND, input, ends);
    }

    #[test]
    fn a_lookup_that_is_asked_again_goes_on() {
        let (mut connection, mut ends) = (Connection::default(), Ends::default());
        feed(&mut connection, 1, &query(1), &mut ends);
        feed(&mut connection, 20, &query(1), &mut ends);
        feed(&mut connection, 45, &query(2), &mut ends);
        assert_eq!(ends.0, []);
        feed(&mut connection, 51, &query(3), &mut ends);
        assert_eq!(ends.0, [(1, 25, Some(ErrorKind::Timeout))]);
    }

    #[test]
    fn who_waits_no_longer_before_it_ends_has_given_up() {
        let (mut connection, mut ends) = (Connection::default(), Ends::default());
        feed(&mut connection, 1, &query(1), &mut ends);
        feed(&mut connection, 2, &query(2), &mut ends);
        connection.end(5 * SECOND / 2, End::ProcessExit, &mut ends);
        let errors: Vec<_> = ends.0.iter().map(|end| end.2).collect();
        assert_eq!(
            errors,
            [ErrorKind::Timeout, ErrorKind::ProcessExit].map(Some)
        );
    }

    #[test]
    fn the_oldest_are_given_up_if_there_are_too_many() {
        let (mut connection, mut ends) = (Connection::default(), Ends::default());
        for round in 0..3 * flight::MAX_IN_FLIGHT {
            let mut message = query((round & 0xff) as u8);
            message[0] = (round >> 8) as u8;
            feed(&mut connection, 1, &message, &mut ends);
        }
        assert_eq!(connection.in_flight(), flight::MAX_IN_FLIGHT);
        connection.end(3 * SECOND, End::Closed, &mut ends);
        assert_eq!(ends.0.len(), flight::MAX_IN_FLIGHT);
        assert_eq!(ends.0[0], (1, 3, Some(ErrorKind::Timeout)));
    }
}
