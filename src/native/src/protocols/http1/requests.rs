//! The request side: finds requests and puts them into the queue.

use super::body::{Body, Outcome as BodyOutcome};
use super::framing::{Extent, Framing};
use super::head::{self, Method, Parsed, Request};
use super::pending::{self, work};
use super::scan::{self, HeadScan, Scan};
use super::{skip_line_ends, Connection, Detect, Otherwise, RequestSide, ResponseSide};
use crate::exchange::{Parser, Sink, Verdict, Which};
use std::ops::ControlFlow;

impl Connection {
    #[inline(always)]
    pub(super) fn request_data(
        &mut self,
        ts_ns: u64,
        mut bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        loop {
            if let RequestSide::Start = self.request {
                match self.request_start(ts_ns, bytes, sink) {
                    ControlFlow::Continue(rest) => bytes = rest,
                    ControlFlow::Break(verdict) => return verdict,
                }
            }
            if bytes.is_empty() {
                return Verdict::Continue;
            }
            match self.request_step(ts_ns, bytes, sink) {
                ControlFlow::Continue(rest) => bytes = rest,
                ControlFlow::Break(verdict) => return verdict,
            }
        }
    }

    /// Takes a message's head, if it is whole; gives what is left.
    #[inline(always)]
    fn request_start<'a>(
        &mut self,
        ts_ns: u64,
        bytes: &'a [u8],
        sink: &mut dyn Sink,
    ) -> ControlFlow<Verdict, &'a [u8]> {
        // RFC 9112, 2.2: empty lines before a request line are ignored.
        let bytes = skip_line_ends(bytes);
        if bytes.is_empty() {
            return ControlFlow::Continue(bytes);
        }
        let (mut request, mut framing) = (Request::NONE, Framing::NONE);
        let known = &mut work(&mut self.work).known_headers;
        match head::request(bytes, known, &mut request, &mut framing) {
            Parsed::Whole(len) => {
                let (head, rest) = bytes.split_at(len);
                if self.begin(ts_ns, head, &mut request, &framing, sink) {
                    ControlFlow::Continue(rest)
                } else {
                    ControlFlow::Break(Verdict::NotMine)
                }
            }
            Parsed::More => {
                self.collect_request(ts_ns, Otherwise::NotHttp);
                ControlFlow::Continue(bytes)
            }
            Parsed::Bad => ControlFlow::Break(self.not_a_request()),
        }
    }

    /// Takes what belongs to the message under way, or to none; gives what is left.
    fn request_step<'a>(
        &mut self,
        ts_ns: u64,
        mut bytes: &'a [u8],
        sink: &mut dyn Sink,
    ) -> ControlFlow<Verdict, &'a [u8]> {
        match self.request {
            RequestSide::Start => {}
            RequestSide::Head {
                mut scan,
                otherwise,
            } => {
                let work = work(&mut self.work);
                let before = work.request_head.len();
                match scan.request(bytes, &mut work.request_head) {
                    Scan::More => {
                        self.request = RequestSide::Head { scan, otherwise };
                        return ControlFlow::Break(Verdict::Continue);
                    }
                    Scan::End(used) => {
                        bytes = &bytes[used..];
                        if !self.begin_collected(sink) {
                            return ControlFlow::Break(Verdict::NotMine);
                        }
                    }
                    Scan::TooLong if scan.started() => {
                        self.give_up_request(sink);
                        return ControlFlow::Break(Verdict::Continue);
                    }
                    Scan::TooLong | Scan::Bad => match otherwise {
                        Otherwise::NotHttp => return ControlFlow::Break(self.not_a_request()),
                        Otherwise::Noise => {
                            work.request_head.clear();
                            self.request = RequestSide::Resync { flip: true };
                            return ControlFlow::Break(self.missed());
                        }
                        Otherwise::Body(body) => {
                            let mut held = std::mem::take(&mut work.request_head);
                            held.truncate(before);
                            self.request = RequestSide::Body(body);
                            let verdict = self.request_data(ts_ns, &held, sink);
                            if verdict != Verdict::Continue {
                                return ControlFlow::Break(verdict);
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
                    BodyOutcome::Bad => return ControlFlow::Break(self.not_a_request()),
                }
            }
            RequestSide::Unsent(body) => match scan::detect_request(bytes) {
                Detect::Request | Detect::More => {
                    self.collect_request(ts_ns, Otherwise::Body(body))
                }
                _ => self.request = RequestSide::Body(body),
            },
            RequestSide::Tunnel { .. } => {
                self.request = RequestSide::Tunnel { used: true };
                return ControlFlow::Break(Verdict::Continue);
            }
            RequestSide::Resync { flip } => {
                let idle = match self.in_flight() {
                    0 => true,
                    // A request ends a response whose framing was lost.
                    1 => self.matched && matches!(self.response, ResponseSide::Body(Body::Lost(_))),
                    _ => false,
                };
                if !flip || !idle {
                    return ControlFlow::Break(Verdict::Continue);
                }
                bytes = skip_line_ends(bytes);
                match scan::detect_request(bytes) {
                    Detect::Request | Detect::More => self.collect_request(ts_ns, Otherwise::Noise),
                    _ => return ControlFlow::Break(self.missed()),
                }
            }
            RequestSide::Dead | RequestSide::Over => return ControlFlow::Break(Verdict::Continue),
        }
        ControlFlow::Continue(bytes)
    }

    pub(super) fn request_gap(&mut self, mut count: u64, sink: &mut dyn Sink) -> Verdict {
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
        let (mut request, mut framing) = (Request::NONE, Framing::NONE);
        let known = &mut work.known_headers;
        let room = match head::request(&head, known, &mut request, &mut framing) {
            Parsed::Whole(_) => self.begin(start_ns, &head, &mut request, &framing, sink),
            Parsed::More | Parsed::Bad => false,
        };
        head.clear();
        pending::work(&mut self.work).request_head = head;
        room
    }

    /// A request's head is whole. False: there are too many in flight.
    #[inline(always)]
    fn begin(
        &mut self,
        start_ns: u64,
        head: &[u8],
        request: &mut Request,
        framing: &Framing,
        sink: &mut dyn Sink,
    ) -> bool {
        if !matches!(self.response, ResponseSide::Start) {
            self.end_lost_response(sink);
        }
        let method = request.method;
        if !work(&mut self.work).push(start_ns, head, request) {
            return false;
        }
        sink.begin(method.of(head).unwrap_or_default());
        self.confirmed = true;
        self.heard = false;
        self.body_begun = false;
        self.expects = request.expects;
        self.receiving = false;
        match (request.kind, framing.of_request()) {
            (Method::Head | Method::Other, Extent::None) => self.request = RequestSide::Start,
            (kind, extent) => self.expect_body(kind, extent),
        }
        true
    }

    /// After the head of a request comes something else than the next request.
    #[inline(never)]
    fn expect_body(&mut self, kind: Method, extent: Extent) {
        self.request = match (kind, extent) {
            (Method::Connect, _) => RequestSide::Tunnel { used: false },
            (_, Extent::None) => RequestSide::Start,
            (_, Extent::Some(body)) => {
                self.receiving = true;
                RequestSide::Body(body)
            }
            (_, Extent::Invalid) => RequestSide::Dead,
        };
    }

    /// A new request shows that a response whose end could not be seen has ended.
    #[cold]
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
            if let (true, Some(method)) = (idle, scan::started_method(&head)) {
                sink.begin(method);
                sink.abandoned(Which::Oldest);
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
}
