//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Two machines, one per direction, and the queue of requests in flight between them. Requests enter the queue
//! when their head is whole; the response side answers the oldest.
//!
//! ```text
//! request side    Start ──head──► Body ──end──► Start        response side   Start ──head──► Body ──end──► Start
//!                   │  └─partial─► Head ─► (as whole)                          │  └─partial─► Head ─► (as whole)
//!                   ├──CONNECT───► Tunnel   waits for the answer               ├──1xx───────► Start (101: Ended)
//!                   ├──refused 100-continue─► Unsent: body or next head        ├──gap───────► Resync
//!                   ├──gap───────► Resync   next request line that is          └──FIN───────► Over
//!                   │                       provably not a body's
//!                   ├──not HTTP──► Dead     answers still count
//!                   └──FIN───────► Over
//! ```
//!
//! Rules:
//! - What is found depends on the bytes, never on how they were cut. Only after a gap do the borders of pieces
//!   mean something: messages are then looked for at the start of a piece.
//! - Better nothing than something wrong: after a gap that may have hidden a request, nothing counts as one
//!   until the other side has spoken with no request in flight.
//! - A connection that shows bytes which are not HTTP is given up. The requests before that keep their end.
//! - Start of an exchange: the piece with the request's first byte. End: the piece with the response's last.
//! - Nearly every piece is one whole message. `request_data` and `response_data` take these straight through and
//!   leave all else to one step of the machines after the other; heads are understood in one place, `head`.
//! - Memory: per connection `size_of::<Connection>()`; while busy, what `pending` bounds, plus two heads of
//!   `MAX_HEAD`.

mod body;
mod framing;
mod head;
mod known;
mod lines;
mod pending;
mod requests;
mod responses;
mod scan;
mod start_line;

use crate::exchange::{
    End, ErrorKind, Exchange, Input, Parser, Product, Side, Sink, Verdict, Which,
};
use body::Body;
use pending::{rest, Outcome, Work};
use scan::HeadScan;

pub use super::Detect;

/// Says what starts here; for connections whose beginning nobody saw. A request counts only if its method has the form
/// that all registered ones have (capitals and `-`), since these bytes may as well be in the middle of something.
pub fn detect(bytes: &[u8]) -> Detect {
    if bytes.starts_with(b"HTTP/1.") {
        return Detect::Response;
    }
    if scan::is_status_prefix(bytes) {
        return Detect::More;
    }
    match skip_line_ends(bytes) {
        [] => Detect::More,
        rest => match scan::detect_request(rest) {
            Detect::More if scan::is_cut_request_line(rest) => Detect::Request,
            other => other,
        },
    }
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Connection {
    work: Option<Box<Work>>,
    request: RequestSide,
    response: ResponseSide,
    /// Of the response under way: body bytes so far, when its last piece came, its status, who says so.
    response_body_bytes: u64,
    response_end_ns: u64,
    status: u16,
    product: Option<Product>,
    /// The response under way answers the oldest request in flight; else nobody saw its request.
    matched: bool,
    /// The body under way is that of the newest request in flight (else its request is already answered).
    receiving: bool,
    /// Some of that body was seen.
    body_begun: bool,
    /// Its request waits for 100 (Continue) before it sends the body.
    expects: bool,
    /// A request was understood here: it is HTTP.
    confirmed: bool,
    /// Something was lost here, so that bytes without a meaning prove nothing.
    lossy: bool,
    /// The response side spoke since the newest request.
    heard: bool,
    /// Pieces in which no request was found after a loss, before the first was.
    misses: u8,
    over: Option<Verdict>,
}

#[derive(Clone, Copy, Debug)]
enum RequestSide {
    /// Between messages.
    Start,
    /// In a head, whose bytes are in `Work::request_head`.
    Head {
        scan: HeadScan,
        otherwise: Otherwise,
    },
    /// In a body.
    Body(Body),
    /// After a final answer to `Expect: 100-continue`: the body may come or, as likely, the next request.
    Unsent(Body),
    /// After CONNECT: another protocol's bytes if the answer is 2xx (`used`: there were some).
    Tunnel { used: bool },
    /// A request may have been lost. `flip`: its answer had its time since.
    Resync { flip: bool },
    /// Not HTTP, or without an end that could be known.
    Dead,
    /// FIN.
    Over,
}

/// What bytes are that turn out to be no head.
#[derive(Clone, Copy, Debug)]
enum Otherwise {
    NotHttp,
    Noise,
    Body(Body),
}

#[derive(Clone, Copy, Debug)]
enum ResponseSide {
    /// Between messages.
    Start,
    /// In a head, whose bytes are in `Work::response_head`. `guess`: after a loss, so that it may be none.
    Head { scan: HeadScan, guess: bool },
    /// In a body.
    Body(Body),
    /// A response may have been lost.
    Resync,
    /// FIN.
    Over,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Connection {
    /// A connection of which nothing was seen yet.
    pub const fn new() -> Self {
        Self {
            work: None,
            request: RequestSide::Start,
            response: ResponseSide::Start,
            response_body_bytes: 0,
            response_end_ns: 0,
            status: 0,
            product: None,
            matched: false,
            receiving: false,
            body_begun: false,
            expects: false,
            confirmed: false,
            lossy: false,
            heard: false,
            misses: 0,
            over: None,
        }
    }

    /// Bytes on the heap: what a connection costs beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.heap_bytes())
    }

    /// Finishes the oldest request with the response under way.
    #[inline(always)]
    fn finish_response(&mut self, end_ns: u64, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        let outcome = Outcome {
            end_ns,
            status: Some(self.status),
            body_bytes: self.response_body_bytes,
            error,
            product: self.product,
        };
        self.finish(outcome, sink);
    }

    #[inline(always)]
    fn finish(&mut self, outcome: Outcome, sink: &mut dyn Sink) {
        let left = match self.work.as_mut() {
            Some(work) => work.finish(outcome, |exchange: &Exchange<'_>| sink.exchange(exchange)),
            None => 0,
        };
        self.matched = false;
        if left == 0 {
            self.receiving = false;
            if !matches!(self.request, RequestSide::Start) {
                self.all_answered();
            }
        }
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        while self.work.as_mut().is_some_and(|work| work.drop_front()) {
            sink.abandoned(Which::Oldest);
        }
        self.matched = false;
        self.all_answered();
    }

    /// No request is in flight: what the request side waited for will not come.
    #[inline(never)]
    fn all_answered(&mut self) {
        self.receiving = false;
        match &self.request {
            RequestSide::Tunnel { used: false } => self.request = RequestSide::Start,
            RequestSide::Tunnel { used: true } => self.request = RequestSide::Dead,
            RequestSide::Body(Body::Lost(_)) => self.request = RequestSide::Resync { flip: true },
            RequestSide::Body(body) if self.expects && !self.body_begun => {
                self.request = RequestSide::Unsent(*body);
            }
            _ => {}
        }
    }

    /// The connection, or its response side, is at its end: so is everything in flight.
    fn finish_all(&mut self, ts_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        if let (ResponseSide::Body(body), true) = (self.response, self.matched) {
            // No length was promised (or it could not be seen): a close in good order is the proper end, and
            // the kernel closes so for a process that exits.
            let proper = matches!(body, Body::UntilClose | Body::Lost(_))
                && matches!(error, ErrorKind::ConnectionClosed | ErrorKind::ProcessExit);
            if proper {
                self.finish_response(self.response_end_ns, None, sink);
            } else {
                self.finish_response(ts_ns, Some(error), sink);
            }
        }
        while self.in_flight() > 0 {
            self.finish(
                Outcome {
                    end_ns: ts_ns,
                    status: None,
                    body_bytes: 0,
                    error: Some(error),
                    product: None,
                },
                sink,
            );
        }
        self.response = ResponseSide::Over;
    }

    /// What is left to do after each input, whatever it was.
    #[inline]
    fn settle(&mut self, verdict: Verdict, sink: &mut dyn Sink) -> Verdict {
        if verdict == Verdict::Continue && !matches!(self.request, RequestSide::Dead) {
            rest(&mut self.work);
            return verdict;
        }
        self.settle_last(verdict, sink)
    }

    /// The same where the connection may be done with.
    #[cold]
    fn settle_last(&mut self, mut verdict: Verdict, sink: &mut dyn Sink) -> Verdict {
        if verdict == Verdict::Continue && self.in_flight() == 0 {
            verdict = Verdict::NotMine;
        }
        if verdict != Verdict::Continue {
            self.abandon_all(sink);
            self.over = Some(verdict);
            self.drop_heads();
        }
        rest(&mut self.work);
        verdict
    }

    fn drop_heads(&mut self) {
        if let Some(work) = self.work.as_mut() {
            work.request_head.clear();
            work.response_head.clear();
        }
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        if matches!(input, Input::Data([]) | Input::Gap(0)) {
            return Verdict::Continue;
        }
        if side == Side::Response {
            self.heard = true;
            if let RequestSide::Resync { flip } = &mut self.request {
                *flip |= self.work.as_ref().is_none_or(|work| work.len() == 0);
            }
        }
        let verdict = match (side, input) {
            (Side::Request, Input::Data(bytes)) => self.request_data(ts_ns, bytes, sink),
            (Side::Request, Input::Gap(count)) => self.request_gap(count, sink),
            (Side::Response, Input::Data(bytes)) => self.response_data(ts_ns, bytes, sink),
            (Side::Response, Input::Gap(count)) => self.response_gap(ts_ns, count, sink),
        };
        self.settle(verdict, sink)
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.abandon_all(sink);
                self.drop_heads();
                self.lossy = true;
                self.request = RequestSide::Resync { flip: true };
                self.response = ResponseSide::Resync;
            } else {
                if let Some(work) = self.work.as_mut() {
                    work.request_head.clear();
                }
                self.request = RequestSide::Over;
            }
            return self.settle(Verdict::Continue, sink);
        };
        self.finish_all(ts_ns, error, sink);
        match end {
            End::Fin(_) => self.settle(Verdict::Continue, sink),
            _ => self.settle(Verdict::Ended, sink),
        }
    }

    fn in_flight(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.len())
    }
}

#[inline(always)]
fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    #[cold]
    fn skip(mut bytes: &[u8]) -> &[u8] {
        while let [b'\r' | b'\n', rest @ ..] = bytes {
            bytes = rest;
        }
        bytes
    }
    match bytes {
        [b'\r' | b'\n', ..] => skip(bytes),
        _ => bytes,
    }
}
