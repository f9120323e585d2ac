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
//! - Memory: per connection `size_of::<Connection>()`; while busy, what `pending` bounds, plus two heads of
//!   `MAX_HEAD`.

mod body;
mod head;
mod lines;
mod pending;

use crate::exchange::{End, ErrorKind, Exchange, Input, Parser, Side, Sink, Verdict};
use body::{Body, Outcome as BodyOutcome};
use head::{Extent, Framing, HeadScan, Method, Parsed, Request, Scan};
use pending::{rest, work, Outcome, Work};

/// What bytes at the start of a burst look like. A request counts only if its method has the form that all
/// registered ones have (capitals and `-`), since these bytes may as well be in the middle of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// A request: token, target and `HTTP/1.x`.
    Request,
    /// A response: `HTTP/1.`.
    Response,
    /// Neither is excluded yet.
    More,
    /// Neither.
    No,
}

/// Says what starts here; for connections whose beginning nobody saw.
pub fn detect(bytes: &[u8]) -> Detect {
    if bytes.starts_with(b"HTTP/1.") {
        return Detect::Response;
    }
    match skip_line_ends(bytes) {
        [] => Detect::More,
        rest => match head::detect_request(rest) {
            Detect::More if head::is_cut_request_line(rest) => Detect::Request,
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
    /// Of the response under way: body bytes so far, when its last piece came, its status.
    response_body_bytes: u64,
    response_end_ns: u64,
    status: u16,
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

    // ---- request side ----

    fn request_data(&mut self, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        while !bytes.is_empty() {
            match self.request {
                RequestSide::Start => {
                    // RFC 9112, 2.2: empty lines before a request line are ignored.
                    bytes = skip_line_ends(bytes);
                    if bytes.is_empty() {
                        break;
                    }
                    match head::request(bytes) {
                        Parsed::Whole(len, request, framing) => {
                            let (head, rest) = bytes.split_at(len);
                            bytes = rest;
                            if !self.begin(ts_ns, head, request, framing, sink) {
                                return Verdict::NotMine;
                            }
                        }
                        Parsed::More => self.collect_request(ts_ns, Otherwise::NotHttp),
                        Parsed::Bad => return self.not_a_request(),
                    }
                }
                RequestSide::Head {
                    mut scan,
                    otherwise,
                } => {
                    let work = work(&mut self.work);
                    let before = work.request_head.len();
                    match scan.request(bytes, &mut work.request_head) {
                        Scan::More => {
                            self.request = RequestSide::Head { scan, otherwise };
                            return Verdict::Continue;
                        }
                        Scan::End(used) => {
                            bytes = &bytes[used..];
                            if !self.begin_collected(sink) {
                                return Verdict::NotMine;
                            }
                        }
                        Scan::TooLong if scan.started() => {
                            self.give_up_request(sink);
                            return Verdict::Continue;
                        }
                        Scan::TooLong | Scan::Bad => match otherwise {
                            Otherwise::NotHttp => return self.not_a_request(),
                            Otherwise::Noise => {
                                work.request_head.clear();
                                self.request = RequestSide::Resync { flip: true };
                                return self.missed();
                            }
                            Otherwise::Body(body) => {
                                let mut held = std::mem::take(&mut work.request_head);
                                held.truncate(before);
                                self.request = RequestSide::Body(body);
                                let verdict = self.request_data(ts_ns, &held, sink);
                                if verdict != Verdict::Continue {
                                    return verdict;
                                }
                            }
                        },
                    }
                }
                RequestSide::Body(mut body) => {
                    let step = body.data(bytes);
                    bytes = &bytes[step.used as usize..];
                    self.request = RequestSide::Body(body);
                    self.body_begun = true;
                    self.add_request_body(step.payload);
                    match step.outcome {
                        BodyOutcome::More => {}
                        BodyOutcome::Done => self.request = RequestSide::Start,
                        BodyOutcome::Bad => return self.not_a_request(),
                    }
                }
                RequestSide::Unsent(body) => match head::detect_request(bytes) {
                    Detect::Request | Detect::More => {
                        self.collect_request(ts_ns, Otherwise::Body(body))
                    }
                    _ => self.request = RequestSide::Body(body),
                },
                RequestSide::Tunnel { .. } => {
                    self.request = RequestSide::Tunnel { used: true };
                    return Verdict::Continue;
                }
                RequestSide::Resync { flip } => {
                    let idle = match self.in_flight() {
                        0 => true,
                        // A request ends a response whose framing was lost.
                        1 => {
                            self.matched
                                && matches!(self.response, ResponseSide::Body(Body::Lost(_)))
                        }
                        _ => false,
                    };
                    if !flip || !idle {
                        return Verdict::Continue;
                    }
                    bytes = skip_line_ends(bytes);
                    match head::detect_request(bytes) {
                        Detect::Request | Detect::More => {
                            self.collect_request(ts_ns, Otherwise::Noise)
                        }
                        _ => return self.missed(),
                    }
                }
                RequestSide::Dead | RequestSide::Over => break,
            }
        }
        Verdict::Continue
    }

    fn request_gap(&mut self, mut count: u64, sink: &mut dyn Sink) -> Verdict {
        while count > 0 {
            match self.request {
                RequestSide::Body(mut body) => {
                    let step = body.gap(count);
                    count -= step.used;
                    self.body_begun = true;
                    self.add_request_body(step.payload);
                    self.request = match step.outcome {
                        BodyOutcome::Done => RequestSide::Start,
                        _ => RequestSide::Body(body),
                    };
                }
                RequestSide::Unsent(body) => self.request = RequestSide::Body(body),
                RequestSide::Tunnel { .. } => {
                    self.request = RequestSide::Tunnel { used: true };
                    break;
                }
                RequestSide::Start | RequestSide::Head { .. } => {
                    self.give_up_request(sink);
                    break;
                }
                RequestSide::Resync { .. } => {
                    self.request = RequestSide::Resync { flip: false };
                    break;
                }
                RequestSide::Dead | RequestSide::Over => break,
            }
        }
        Verdict::Continue
    }

    fn collect_request(&mut self, ts_ns: u64, otherwise: Otherwise) {
        work(&mut self.work).request_start_ns = ts_ns;
        let scan = match otherwise {
            Otherwise::NotHttp => HeadScan::START,
            Otherwise::Noise | Otherwise::Body(_) => HeadScan::GUESS,
        };
        self.request = RequestSide::Head { scan, otherwise };
    }

    fn begin_collected(&mut self, sink: &mut dyn Sink) -> bool {
        let work = work(&mut self.work);
        let start_ns = work.request_start_ns;
        let mut head = std::mem::take(&mut work.request_head);
        let room = match head::request(&head) {
            Parsed::Whole(_, request, framing) => {
                self.begin(start_ns, &head, request, framing, sink)
            }
            Parsed::More | Parsed::Bad => false,
        };
        head.clear();
        pending::work(&mut self.work).request_head = head;
        room
    }

    /// A request's head is whole. False: there are too many in flight.
    #[inline]
    fn begin(
        &mut self,
        start_ns: u64,
        head: &[u8],
        request: Request,
        framing: Framing,
        sink: &mut dyn Sink,
    ) -> bool {
        self.end_lost_response(sink);
        if !work(&mut self.work).push(start_ns, head, request) {
            return false;
        }
        sink.begin(request.method.of(head).unwrap_or_default());
        self.confirmed = true;
        self.heard = false;
        self.body_begun = false;
        self.expects = request.expects;
        self.receiving = false;
        self.request = match (request.kind, framing.of_request()) {
            (Method::Connect, _) => RequestSide::Tunnel { used: false },
            (_, Extent::None) => RequestSide::Start,
            (_, Extent::Some(body)) => {
                self.receiving = true;
                RequestSide::Body(body)
            }
            (_, Extent::Invalid) => RequestSide::Dead,
        };
        true
    }

    /// A new request shows that a response whose end could not be seen has ended.
    #[inline]
    fn end_lost_response(&mut self, sink: &mut dyn Sink) {
        match self.response {
            ResponseSide::Body(Body::Lost(_)) => {
                if self.matched {
                    self.finish_response(self.response_end_ns, None, sink);
                }
                self.response = ResponseSide::Resync;
            }
            // Its start was never found: what is in flight was answered unseen.
            ResponseSide::Resync if self.heard => self.abandon_all(sink),
            _ => {}
        }
    }

    #[inline]
    fn add_request_body(&mut self, payload: u64) {
        if self.receiving {
            if let Some(pending) = self.work.as_mut().and_then(|work| work.back_mut()) {
                pending.body_bytes = pending.body_bytes.saturating_add(payload);
            }
        }
    }

    fn not_a_request(&mut self) -> Verdict {
        self.request = RequestSide::Dead;
        if self.in_flight() == 0 {
            Verdict::NotMine
        } else {
            Verdict::Continue
        }
    }

    /// A request passes that can't be understood whole: too long, or with a gap in its head.
    #[cold]
    fn give_up_request(&mut self, sink: &mut dyn Sink) {
        let idle = self.in_flight() == 0;
        if let (RequestSide::Head { .. }, Some(work)) = (self.request, self.work.as_mut()) {
            let head = std::mem::take(&mut work.request_head);
            // Seen, so it must be accounted for; behind others it can't be, and ends with them.
            if let (true, Some(method)) = (idle, head::started_method(&head)) {
                sink.begin(method);
                sink.abandoned();
            }
        }
        self.lossy = true;
        self.request = RequestSide::Resync { flip: false };
    }

    /// Bytes after a loss in which no request starts.
    fn missed(&mut self) -> Verdict {
        self.misses = self.misses.saturating_add(1);
        if self.misses == u8::MAX && !self.confirmed {
            Verdict::NotMine
        } else {
            Verdict::Continue
        }
    }

    // ---- response side ----

    fn response_data(&mut self, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        if let ResponseSide::Body(Body::Lost(_)) = self.response {
            if self.matched && self.in_flight() > 1 && head::starts_with_status_line(bytes) {
                self.finish_response(self.response_end_ns, None, sink);
                self.response = ResponseSide::Start;
            }
        }
        while !bytes.is_empty() {
            match self.response {
                ResponseSide::Start => {
                    bytes = skip_line_ends(bytes);
                    if bytes.is_empty() {
                        break;
                    }
                    match head::response(bytes) {
                        Parsed::Whole(len, status, framing) => {
                            bytes = &bytes[len..];
                            let verdict = self.answer(ts_ns, status, framing, sink);
                            if verdict != Verdict::Continue {
                                return verdict;
                            }
                        }
                        Parsed::More => {
                            self.response = ResponseSide::Head {
                                scan: HeadScan::START,
                                guess: false,
                            };
                        }
                        Parsed::Bad => return self.not_a_response(ts_ns, None, sink),
                    }
                }
                ResponseSide::Head { mut scan, guess } => {
                    let work = work(&mut self.work);
                    match scan.response(bytes, &mut work.response_head) {
                        Scan::More => {
                            self.response = ResponseSide::Head { scan, guess };
                            return Verdict::Continue;
                        }
                        Scan::End(used) => {
                            bytes = &bytes[used..];
                            let parsed = head::response(&work.response_head);
                            work.response_head.clear();
                            let Parsed::Whole(_, status, framing) = parsed else {
                                return Verdict::NotMine;
                            };
                            let verdict = self.answer(ts_ns, status, framing, sink);
                            if verdict != Verdict::Continue {
                                return verdict;
                            }
                        }
                        Scan::TooLong if scan.started() => {
                            self.give_up_response(sink);
                            return Verdict::Continue;
                        }
                        Scan::TooLong | Scan::Bad if guess => {
                            work.response_head.clear();
                            self.response = ResponseSide::Resync;
                            return Verdict::Continue;
                        }
                        Scan::TooLong | Scan::Bad => return self.not_a_response(ts_ns, None, sink),
                    }
                }
                ResponseSide::Body(mut body) => {
                    let step = body.data(bytes);
                    bytes = &bytes[step.used as usize..];
                    self.response_body_bytes =
                        self.response_body_bytes.saturating_add(step.payload);
                    self.response_end_ns = ts_ns;
                    self.response = ResponseSide::Body(body);
                    match step.outcome {
                        BodyOutcome::More => {}
                        BodyOutcome::Done => self.end_response(sink),
                        BodyOutcome::Bad => {
                            let status = Some(self.status).filter(|_| self.matched);
                            return self.not_a_response(ts_ns, status, sink);
                        }
                    }
                }
                ResponseSide::Resync => {
                    if !head::is_status_prefix(bytes) {
                        break;
                    }
                    self.response = ResponseSide::Head {
                        scan: HeadScan::START,
                        guess: true,
                    };
                }
                ResponseSide::Over => break,
            }
        }
        Verdict::Continue
    }

    fn response_gap(&mut self, ts_ns: u64, mut count: u64, sink: &mut dyn Sink) -> Verdict {
        while count > 0 {
            match self.response {
                ResponseSide::Body(mut body) => {
                    let step = body.gap(count);
                    count -= step.used;
                    self.response_body_bytes =
                        self.response_body_bytes.saturating_add(step.payload);
                    self.response_end_ns = ts_ns;
                    self.response = ResponseSide::Body(body);
                    if step.outcome == BodyOutcome::Done {
                        self.end_response(sink);
                    }
                }
                ResponseSide::Start | ResponseSide::Head { .. } => {
                    self.give_up_response(sink);
                    break;
                }
                ResponseSide::Resync | ResponseSide::Over => break,
            }
        }
        Verdict::Continue
    }

    /// A response's head is whole.
    #[inline]
    fn answer(
        &mut self,
        ts_ns: u64,
        status: u16,
        framing: Framing,
        sink: &mut dyn Sink,
    ) -> Verdict {
        let method = self.work.as_ref().and_then(|work| work.front_method());
        self.response = ResponseSide::Start;
        if (100..200).contains(&status) && status != 101 {
            return Verdict::Continue;
        }
        self.matched = method.is_some();
        self.status = status;
        self.response_body_bytes = 0;
        self.response_end_ns = ts_ns;
        if status == 101 || method == Some(Method::Connect) && (200..300).contains(&status) {
            self.end_response(sink);
            return Verdict::Ended;
        }
        let extent = match (method, status) {
            (Some(Method::Head), _) | (_, 204 | 304) => Extent::None,
            _ => framing.of_response(),
        };
        match extent {
            Extent::None => self.end_response(sink),
            Extent::Some(body) => self.response = ResponseSide::Body(body),
            Extent::Invalid => return self.not_a_response(ts_ns, Some(status), sink),
        }
        Verdict::Continue
    }

    /// The response under way is whole.
    #[inline]
    fn end_response(&mut self, sink: &mut dyn Sink) {
        self.response = ResponseSide::Start;
        if self.matched {
            self.finish_response(self.response_end_ns, None, sink);
        }
    }

    #[cold]
    fn not_a_response(&mut self, ts_ns: u64, status: Option<u16>, sink: &mut dyn Sink) -> Verdict {
        if self.in_flight() == 0 && self.lossy && self.confirmed {
            self.response = ResponseSide::Resync;
            return Verdict::Continue;
        }
        if self.in_flight() > 0 && (status.is_none() || self.matched) {
            let body_bytes = if status.is_some() {
                self.response_body_bytes
            } else {
                0
            };
            self.finish(
                Outcome {
                    end_ns: ts_ns,
                    status,
                    body_bytes,
                    error: Some(ErrorKind::InvalidResponse),
                },
                sink,
            );
        }
        Verdict::NotMine
    }

    /// A response's head can't be understood whole. Which requests it and what else was lost with it answered
    /// is anybody's guess.
    #[cold]
    fn give_up_response(&mut self, sink: &mut dyn Sink) {
        if let Some(work) = self.work.as_mut() {
            work.response_head = Vec::new();
        }
        self.lossy = true;
        self.response = ResponseSide::Resync;
        self.abandon_all(sink);
    }

    // ---- the queue ----

    /// Finishes the oldest request with the response under way.
    #[inline]
    fn finish_response(&mut self, end_ns: u64, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        let status = Some(self.status);
        self.finish(
            Outcome {
                end_ns,
                status,
                body_bytes: self.response_body_bytes,
                error,
            },
            sink,
        );
    }

    #[inline]
    fn finish(&mut self, outcome: Outcome, sink: &mut dyn Sink) {
        if let Some(work) = self.work.as_mut() {
            work.finish(outcome, |exchange: &Exchange<'_>| sink.exchange(exchange));
        }
        self.matched = false;
        if self.in_flight() == 0 {
            self.all_answered();
        }
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        while self.work.as_mut().is_some_and(|work| work.drop_front()) {
            sink.abandoned();
        }
        self.matched = false;
        self.all_answered();
    }

    /// No request is in flight: what the request side waited for will not come.
    #[inline]
    fn all_answered(&mut self) {
        self.receiving = false;
        self.request = match self.request {
            RequestSide::Start => return,
            RequestSide::Tunnel { used: false } => RequestSide::Start,
            RequestSide::Tunnel { used: true } => RequestSide::Dead,
            RequestSide::Body(Body::Lost(_)) => RequestSide::Resync { flip: true },
            RequestSide::Body(body) if self.expects && !self.body_begun => {
                RequestSide::Unsent(body)
            }
            other => other,
        };
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
                },
                sink,
            );
        }
        self.response = ResponseSide::Over;
    }

    /// What is left to do after each input, whatever it was.
    #[inline]
    fn settle(&mut self, verdict: Verdict, sink: &mut dyn Sink) -> Verdict {
        let verdict = match (verdict, self.request) {
            (Verdict::Continue, RequestSide::Dead) if self.in_flight() == 0 => Verdict::NotMine,
            _ => verdict,
        };
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
            if let (RequestSide::Resync { flip }, 0) =
                (&mut self.request, self.work.as_ref().map_or(0, |w| w.len()))
            {
                *flip = true;
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
        const ETIMEDOUT: i32 = 110;
        if let Some(verdict) = self.over {
            return verdict;
        }
        let error = match end {
            End::Fin(Side::Request) => {
                if let Some(work) = self.work.as_mut() {
                    work.request_head.clear();
                }
                self.request = RequestSide::Over;
                return self.settle(Verdict::Continue, sink);
            }
            End::Lost => {
                self.abandon_all(sink);
                self.drop_heads();
                self.lossy = true;
                self.request = RequestSide::Resync { flip: true };
                self.response = ResponseSide::Resync;
                return self.settle(Verdict::Continue, sink);
            }
            End::Fin(Side::Response) | End::Closed => ErrorKind::ConnectionClosed,
            End::Broken(ETIMEDOUT) => ErrorKind::Timeout,
            End::Broken(_) => ErrorKind::ConnectionReset,
            End::ProcessExit => ErrorKind::ProcessExit,
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

#[inline]
fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    &bytes[start.unwrap_or(bytes.len())..]
}
