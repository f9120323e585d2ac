//! The response side: finds responses and answers the oldest request in flight with them.

use super::body::{Body, Outcome as BodyOutcome};
use super::framing::Extent;
use super::head::{self, Method, Parsed, Response};
use super::pending::{work, Outcome};
use super::scan::{self, HeadScan, Scan};
use super::{skip_line_ends, Connection, ResponseSide};
use crate::exchange::{ErrorKind, Parser, Sink, Verdict};
use std::ops::ControlFlow;

impl Connection {
    #[inline(always)]
    pub(super) fn response_data(
        &mut self,
        ts_ns: u64,
        mut bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        if let ResponseSide::Body(Body::Lost(_)) = self.response {
            if self.matched && self.in_flight() > 1 && scan::starts_with_status_line(bytes) {
                self.finish_response(self.response_end_ns, None, sink);
                self.response = ResponseSide::Start;
            }
        }
        // Nearly always a piece is one whole message.
        if let ResponseSide::Start = self.response {
            match self.response_start(ts_ns, bytes, sink) {
                ControlFlow::Continue(rest) => bytes = rest,
                ControlFlow::Break(verdict) => return verdict,
            }
        }
        if bytes.is_empty() {
            Verdict::Continue
        } else {
            self.response_steps(ts_ns, bytes, sink)
        }
    }

    #[inline(never)]
    fn response_steps(&mut self, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        while !bytes.is_empty() {
            match self.response_step(ts_ns, bytes, sink) {
                ControlFlow::Continue(rest) => bytes = rest,
                ControlFlow::Break(verdict) => return verdict,
            }
        }
        Verdict::Continue
    }

    /// Takes a message's head, if it is whole; gives what is left.
    #[inline(always)]
    fn response_start<'a>(
        &mut self,
        ts_ns: u64,
        bytes: &'a [u8],
        sink: &mut dyn Sink,
    ) -> ControlFlow<Verdict, &'a [u8]> {
        let bytes = skip_line_ends(bytes);
        if bytes.is_empty() {
            return ControlFlow::Continue(bytes);
        }
        let work = self.work.as_ref();
        let known = work.and_then(|work| work.known_response.find(bytes));
        let (len, response) = match known {
            Some(known) => known,
            None => {
                let mut response = Response::NONE;
                match head::response(bytes, &mut response) {
                    Parsed::Whole(len) => {
                        if let Some(work) = &mut self.work {
                            work.known_response.keep(&bytes[..len], response);
                        }
                        (len, response)
                    }
                    Parsed::More => {
                        self.response = ResponseSide::Head {
                            scan: HeadScan::START,
                            guess: false,
                        };
                        return ControlFlow::Continue(bytes);
                    }
                    Parsed::Bad => {
                        return ControlFlow::Break(self.not_a_response(ts_ns, None, sink))
                    }
                }
            }
        };
        if let Some(work) = &mut self.work {
            work.keep_response(&bytes[..len]);
        }
        let rest = &bytes[len..];
        let used = self.answer(ts_ns, &response, rest.len(), sink)?;
        ControlFlow::Continue(&rest[used..])
    }

    /// Takes what belongs to the message under way, or to none; gives what is left.
    fn response_step<'a>(
        &mut self,
        ts_ns: u64,
        mut bytes: &'a [u8],
        sink: &mut dyn Sink,
    ) -> ControlFlow<Verdict, &'a [u8]> {
        match self.response {
            ResponseSide::Start => return self.response_start(ts_ns, bytes, sink),
            ResponseSide::Head { mut scan, guess } => {
                let work = work(&mut self.work);
                match scan.response(bytes, &mut work.response_head) {
                    Scan::More => {
                        self.response = ResponseSide::Head { scan, guess };
                        return ControlFlow::Break(Verdict::Continue);
                    }
                    Scan::End(used) => {
                        bytes = &bytes[used..];
                        let mut response = Response::NONE;
                        let parsed = head::response(&work.response_head, &mut response);
                        let mut held = std::mem::take(&mut work.response_head);
                        work.keep_response(&held);
                        held.clear();
                        work.response_head = held;
                        let Parsed::Whole(_) = parsed else {
                            return ControlFlow::Break(Verdict::NotMine);
                        };
                        let used = self.answer(ts_ns, &response, bytes.len(), sink)?;
                        bytes = &bytes[used..];
                    }
                    Scan::TooLong if scan.started() => {
                        self.give_up_response(sink);
                        return ControlFlow::Break(Verdict::Continue);
                    }
                    Scan::TooLong | Scan::Bad if guess => {
                        work.response_head.clear();
                        self.response = ResponseSide::Resync;
                        return ControlFlow::Break(Verdict::Continue);
                    }
                    Scan::TooLong | Scan::Bad => {
                        return ControlFlow::Break(self.not_a_response(ts_ns, None, sink))
                    }
                }
            }
            ResponseSide::Body(mut body) => {
                let step = body.data(bytes);
                bytes = &bytes[step.used as usize..];
                self.response_body_bytes = self.response_body_bytes.saturating_add(step.payload);
                self.response_end_ns = ts_ns;
                self.response = ResponseSide::Body(body);
                match step.outcome {
                    BodyOutcome::More => {}
                    BodyOutcome::Done => self.end_response(sink),
                    BodyOutcome::Bad => {
                        let status = Some(self.status).filter(|_| self.matched);
                        return ControlFlow::Break(self.not_a_response(ts_ns, status, sink));
                    }
                }
            }
            ResponseSide::Resync => {
                if !scan::is_status_prefix(bytes) {
                    return ControlFlow::Break(Verdict::Continue);
                }
                self.response = ResponseSide::Head {
                    scan: HeadScan::START,
                    guess: true,
                };
            }
            ResponseSide::Over => return ControlFlow::Break(Verdict::Continue),
        }
        ControlFlow::Continue(bytes)
    }

    pub(super) fn response_gap(
        &mut self,
        ts_ns: u64,
        mut count: u64,
        sink: &mut dyn Sink,
    ) -> Verdict {
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

    /// A response's head is whole, and so many bytes are there after it. Gives how many of them its body took.
    #[inline(always)]
    fn answer(
        &mut self,
        ts_ns: u64,
        &Response {
            status,
            framing,
            product,
        }: &Response,
        available: usize,
        sink: &mut dyn Sink,
    ) -> ControlFlow<Verdict, usize> {
        let method = self.work.as_ref().and_then(|work| work.front_method());
        self.response = ResponseSide::Start;
        if status < 200 && status != 101 {
            return ControlFlow::Continue(0);
        }
        self.matched = method.is_some();
        self.status = status;
        self.product = product;
        self.response_body_bytes = 0;
        self.response_end_ns = ts_ns;
        if status == 101 || method == Some(Method::Connect) && (200..300).contains(&status) {
            self.end_response(sink);
            return ControlFlow::Break(Verdict::Ended);
        }
        let extent = match (method, status) {
            (Some(Method::Head), _) | (_, 204 | 304) => Extent::None,
            _ => framing.of_response(),
        };
        let mut used = 0;
        match extent {
            // A body that is all there needs no state of its own.
            Extent::Some(Body::Length(length)) if length <= available as u64 => {
                self.response_body_bytes = length;
                used = length as usize;
            }
            Extent::Some(body) => {
                self.response = ResponseSide::Body(body);
                return ControlFlow::Continue(0);
            }
            Extent::None => {}
            Extent::Invalid => {
                return match self.not_a_response(ts_ns, Some(status), sink) {
                    Verdict::Continue => ControlFlow::Continue(0),
                    verdict => ControlFlow::Break(verdict),
                };
            }
        }
        self.end_response(sink);
        ControlFlow::Continue(used)
    }

    /// The response under way is whole.
    #[inline(always)]
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
                    product: None,
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
}
