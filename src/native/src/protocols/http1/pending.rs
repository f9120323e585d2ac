//! Requests in flight: what outlives the piece that a request came in.
//!
//! ```text
//! text   | gone |  head of the oldest  | next head | ... |      one buffer per busy connection
//!               ^ Pending.at             ^
//! ```
//!
//! A connection has this only while a message is under way. Idle ones give it back to a small pool of the
//! thread, so that 100,000 of them cost nothing here and a busy one does not allocate per request.

use super::head::{self, Method, Request, Span};
use crate::exchange::{Detail, ErrorKind, Exchange, Http};
use std::cell::RefCell;
use std::collections::VecDeque;

/// More requests than this in flight on one connection are not pipelining but noise.
pub(super) const MAX_PENDING: usize = 1024;
/// What their heads may hold together, in bytes.
const MAX_TEXT: usize = 1024 * 1024;
/// Heads up to this size are copied whole, which is cheaper than picking what is kept.
const COPY_WHOLE: usize = 2048;
/// The pool's size: how many connections of a thread are busy at once without allocating.
const POOL: usize = 64;
/// Buffers that grew past this are not kept.
const KEEP: usize = 16 * 1024;

/// A request whose head is whole and whose response is not.
#[derive(Debug)]
pub(super) struct Pending {
    /// Where its head begins, counted from the first byte that ever stood in `text`.
    at: usize,
    /// How long its text is.
    len: usize,
    start_ns: u64,
    request: Request,
    pub body_bytes: u64,
}

/// The part of a connection that exists while it is busy.
#[derive(Debug, Default)]
pub(super) struct Work {
    queue: VecDeque<Pending>,
    text: Vec<u8>,
    /// Bytes of text that were cut off at its front.
    gone: usize,
    /// A request's head that came in pieces, and when its first byte did.
    pub request_head: Vec<u8>,
    pub request_start_ns: u64,
    /// A response's head that came in pieces.
    pub response_head: Vec<u8>,
}

impl Work {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that this holds, itself included.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.queue.capacity() * size_of::<Pending>()
            + self.text.capacity()
            + self.request_head.capacity()
            + self.response_head.capacity()
    }

    /// The oldest request's method, as far as framing is concerned.
    #[inline]
    pub(super) fn front_method(&self) -> Option<Method> {
        self.queue.front().map(|pending| pending.request.kind)
    }

    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut Pending> {
        self.queue.back_mut()
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.request_head.is_empty() && self.response_head.is_empty()
    }

    /// Puts a request at the queue's end; false when there is no room for it.
    #[inline]
    pub(super) fn push(&mut self, start_ns: u64, head: &[u8], request: &mut Request) -> bool {
        if self.queue.len() >= MAX_PENDING || self.text.len() + head.len() > MAX_TEXT {
            return false;
        }
        let start = self.text.len();
        if head.len() <= COPY_WHOLE && request.tracestates < 2 {
            self.text.extend_from_slice(head);
        } else {
            self.copy_parts(head, request);
        }
        self.queue.push_back(Pending {
            at: self.gone + start,
            len: self.text.len() - start,
            start_ns,
            request: *request,
            body_bytes: 0,
        });
        true
    }

    /// Copies only what is kept of a head: never more than the head, so that offsets fit.
    #[cold]
    fn copy_parts(&mut self, head: &[u8], request: &mut Request) {
        let start = self.text.len();
        let parts = [
            &mut request.method,
            &mut request.target,
            &mut request.host,
            &mut request.user_agent,
            &mut request.forwarded_for,
            &mut request.forwarded_proto,
            &mut request.traceparent,
        ];
        for part in parts {
            if let Some(bytes) = part.of(head) {
                *part = Span::new(self.text.len() - start, bytes.len());
                self.text.extend_from_slice(bytes);
            }
        }
        if request.tracestates > 0 {
            let at = self.text.len();
            head::join_tracestates(head, &mut self.text);
            request.tracestate = Span::new(at - start, self.text.len() - at);
        }
    }

    /// Takes the oldest request off the queue and shows it, with its end, to `report`.
    #[inline]
    pub(super) fn finish(&mut self, outcome: Outcome, report: impl FnOnce(&Exchange<'_>)) {
        let Some(pending) = self.queue.front() else {
            return;
        };
        let start = pending.at - self.gone;
        let text = self
            .text
            .get(start..start + pending.len)
            .unwrap_or_default();
        let request = &pending.request;
        report(&Exchange {
            start_ns: pending.start_ns,
            end_ns: outcome.end_ns,
            error: outcome.error,
            detail: Detail::Http(Http {
                method: request.method.of(text).unwrap_or_default(),
                target: request.target.of(text).unwrap_or_default(),
                minor_version: request.minor_version,
                status: outcome.status,
                host: request.host.of(text),
                user_agent: request.user_agent.of(text),
                forwarded_for: request.forwarded_for.of(text),
                forwarded_proto: request.forwarded_proto.of(text),
                traceparent: request.traceparent.of(text),
                tracestate: request.tracestate.of(text),
                request_body_bytes: pending.body_bytes,
                response_body_bytes: outcome.body_bytes,
            }),
        });
        self.queue.pop_front();
        self.forget_text();
    }

    /// Forgets the oldest request; false if there is none.
    pub(super) fn drop_front(&mut self) -> bool {
        let dropped = self.queue.pop_front().is_some();
        self.forget_text();
        dropped
    }

    #[inline]
    fn forget_text(&mut self) {
        match self.queue.front() {
            None => {
                self.text.clear();
                self.gone = 0;
            }
            // Moving less than half of the buffer each time keeps this linear.
            Some(front) if (front.at - self.gone) * 2 > self.text.len().max(COPY_WHOLE * 2) => {
                self.text.drain(..front.at - self.gone);
                self.gone = front.at;
            }
            Some(_) => {}
        }
    }
}

/// How the oldest request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub end_ns: u64,
    pub status: Option<u16>,
    pub body_bytes: u64,
    pub error: Option<ErrorKind>,
}

thread_local! {
    #[allow(clippy::vec_box)] // what is lent is the box
    static SPARE: RefCell<Vec<Box<Work>>> = const { RefCell::new(Vec::new()) };
}

/// The connection's work, borrowed from the pool at first use.
#[inline]
pub(super) fn work(slot: &mut Option<Box<Work>>) -> &mut Work {
    slot.get_or_insert_with(|| {
        let spare =
            SPARE.try_with(|pool| pool.try_borrow_mut().ok().and_then(|mut pool| pool.pop()));
        spare.ok().flatten().unwrap_or_default()
    })
}

/// Gives it back when there is nothing in it.
#[inline]
pub(super) fn rest(slot: &mut Option<Box<Work>>) {
    if let Some(work) = slot.take_if(|work| work.is_idle()) {
        if work
            .text
            .capacity()
            .max(work.request_head.capacity())
            .max(work.response_head.capacity())
            > KEEP
            || work.queue.capacity() > MAX_PENDING / 8
        {
            return;
        }
        // A thread that ends has no pool any more: then the box is simply freed.
        let _ = SPARE.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                if pool.len() < POOL {
                    pool.push(work);
                }
            }
        });
    }
}
