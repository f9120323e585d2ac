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
use super::known::{KnownHeaders, KnownResponse};
use crate::exchange::{Detail, ErrorKind, Exchange, Http, Product};
use crate::protocols::headers;
use std::cell::{Cell, RefCell};
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
    /// Its text is the whole head.
    is_whole: bool,
    start_ns: u64,
    request: Request,
    pub body_bytes: u64,
}

/// First in, first out. Nearly always there is only one, which has its fixed place.
#[derive(Debug, Default)]
struct Queue {
    first: Option<Pending>,
    /// Empty while there is no first.
    others: VecDeque<Pending>,
}

impl Queue {
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    #[inline(always)]
    fn push(&mut self, pending: impl FnOnce() -> Pending) {
        if self.first.is_none() {
            self.first = Some(pending());
        } else {
            self.others.push_back(pending());
        }
    }

    /// Drops the first one.
    #[inline(always)]
    fn pop(&mut self) {
        self.first = None;
        if !self.others.is_empty() {
            self.first = self.others.pop_front();
        }
    }

    fn last_mut(&mut self) -> Option<&mut Pending> {
        self.others.back_mut().or(self.first.as_mut())
    }
}

/// The part of a connection that exists while it is busy.
#[derive(Debug, Default)]
pub(super) struct Work {
    queue: Queue,
    text: Vec<u8>,
    /// Bytes of text that were cut off at its front.
    gone: usize,
    /// A request's head that came in pieces, and when its first byte did.
    pub request_head: Vec<u8>,
    pub request_start_ns: u64,
    /// A response's head that came in pieces.
    pub response_head: Vec<u8>,
    /// Header lines of the response under way, if somebody wants them.
    response_headers: Vec<u8>,
    /// These stay with the box, whose next connection is likely to hear the same.
    pub known_headers: KnownHeaders,
    pub known_response: KnownResponse,
}

impl Work {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that this holds, itself included.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.queue.others.capacity() * size_of::<Pending>()
            + self.text.capacity()
            + self.request_head.capacity()
            + self.response_head.capacity()
            + self.response_headers.capacity()
            + self.known_headers.heap_bytes()
            + self.known_response.heap_bytes()
    }

    /// The oldest request's method, as far as framing is concerned.
    #[inline]
    pub(super) fn front_method(&self) -> Option<Method> {
        self.queue
            .first
            .as_ref()
            .map(|pending| pending.request.kind)
    }

    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut Pending> {
        self.queue.last_mut()
    }

    /// A response's head is whole.
    #[inline(always)]
    pub(super) fn keep_response(&mut self, head: &[u8]) {
        if headers::are_wanted() {
            self.response_headers.clear();
            if head.len() <= headers::MOST {
                self.response_headers
                    .extend_from_slice(headers::of_head(head));
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.request_head.is_empty() && self.response_head.is_empty()
    }

    /// Puts a request at the queue's end; false when there is no room for it.
    #[inline(always)]
    pub(super) fn push(&mut self, start_ns: u64, head: &[u8], request: &mut Request) -> bool {
        if self.queue.len() >= MAX_PENDING || self.text.len() + head.len() > MAX_TEXT {
            return false;
        }
        let start = self.text.len();
        let whole = if headers::are_wanted() {
            headers::MOST
        } else {
            COPY_WHOLE
        };
        let is_whole = head.len() <= whole && request.tracestates < 2;
        if is_whole {
            self.text.extend_from_slice(head);
        } else {
            self.copy_parts(head, request);
        }
        let (at, len) = (self.gone + start, self.text.len() - start);
        self.queue.push(|| Pending {
            at,
            len,
            is_whole,
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
            // In the longest heads an absent one would be found to be empty.
            if let Some(bytes) = part.of(head).filter(|_| !part.is_absent()) {
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

    /// Takes the oldest request off the queue and shows it, with its end, to `report`. Gives how many are left.
    #[inline(always)]
    pub(super) fn finish(&mut self, outcome: Outcome, report: impl FnOnce(&Exchange<'_>)) -> usize {
        let Some(pending) = self.queue.first.as_ref() else {
            return 0;
        };
        let start = pending.at - self.gone;
        let text = self
            .text
            .get(start..start + pending.len)
            .unwrap_or_default();
        let request = &pending.request;
        let mut plain = Http {
            method: request.method.of(text).unwrap_or_default(),
            target: request.target.of(text).unwrap_or_default(),
            version: request.version,
            status: outcome.status,
            host: request.host.of(text),
            user_agent: request.user_agent.of(text),
            request_body_bytes: pending.body_bytes,
            response_body_bytes: outcome.body_bytes,
            product: outcome.product,
            ..Http::default()
        };
        if headers::are_wanted() {
            if pending.is_whole {
                plain.request_headers = headers::of_head(text);
            }
            if outcome.status.is_some() {
                plain.response_headers = &self.response_headers;
            }
        }
        let exchange = |http| Exchange {
            start_ns: pending.start_ns,
            end_ns: outcome.end_ns,
            error: outcome.error,
            detail: Detail::Http(http),
        };
        if request.is_plain() {
            report(&exchange(plain));
        } else {
            report(&exchange(Http {
                forwarded_for: request.forwarded_for.of(text),
                forwarded_proto: request.forwarded_proto.of(text),
                traceparent: request.traceparent.of(text),
                tracestate: request.tracestate.of(text),
                ..plain
            }));
        }
        self.queue.pop();
        self.forget_text();
        self.queue.len()
    }

    /// Forgets the oldest request; false if there is none.
    pub(super) fn drop_front(&mut self) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        self.queue.pop();
        self.forget_text();
        true
    }

    #[inline(always)]
    fn forget_text(&mut self) {
        if self.queue.is_empty() {
            self.text.clear();
            self.gone = 0;
        } else {
            self.forget_front();
        }
    }

    fn forget_front(&mut self) {
        let Some(first) = &self.queue.first else {
            return;
        };
        // Moving less than half of the buffer each time keeps this linear.
        if (first.at - self.gone) * 2 > self.text.len().max(COPY_WHOLE * 2) {
            self.text.drain(..first.at - self.gone);
            self.gone = first.at;
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
    pub product: Option<Product>,
}

/// Works that no connection has. The last one to come back is nearly always the next to go.
struct Pool {
    last: Cell<Option<Box<Work>>>,
    #[allow(clippy::vec_box)] // what is lent is the box
    others: RefCell<Vec<Box<Work>>>,
}

thread_local! {
    static SPARE: Pool = const {
        Pool {
            last: Cell::new(None),
            others: RefCell::new(Vec::new()),
        }
    };
}

impl Pool {
    #[inline(always)]
    fn lend(&self) -> Box<Work> {
        self.last.take().unwrap_or_else(|| self.lend_other())
    }

    #[cold]
    fn lend_other(&self) -> Box<Work> {
        let other = self.others.try_borrow_mut().ok();
        other.and_then(|mut pool| pool.pop()).unwrap_or_default()
    }

    #[inline(always)]
    fn take_back(&self, work: Box<Work>) {
        if let Some(before) = self.last.replace(Some(work)) {
            self.keep(before);
        }
    }

    #[cold]
    fn keep(&self, work: Box<Work>) {
        if let Ok(mut others) = self.others.try_borrow_mut() {
            if others.len() + 1 < POOL {
                others.push(work);
            }
        }
    }
}

/// The connection's work, borrowed from the pool at first use.
#[inline(always)]
pub(super) fn work(slot: &mut Option<Box<Work>>) -> &mut Work {
    match slot {
        Some(work) => work,
        None => slot.insert(SPARE.try_with(Pool::lend).unwrap_or_default()),
    }
}

/// Gives it back when there is nothing in it.
#[inline(always)]
pub(super) fn rest(slot: &mut Option<Box<Work>>) {
    if let Some(work) = slot.take_if(|work| work.is_idle()) {
        let heads = work
            .request_head
            .capacity()
            .max(work.response_head.capacity());
        // A thread that ends has no pool any more: then the box is simply freed.
        if work.text.capacity().max(heads) <= KEEP
            && work.queue.others.capacity() <= MAX_PENDING / 8
        {
            let _ = SPARE.try_with(|pool| pool.take_back(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::framing::Framing;
    use super::super::head::{Parsed, MAX_HEAD};
    use super::*;

    #[test]
    fn a_header_is_absent_from_the_longest_head_too() {
        let start = "GET / HTTP/1.1\r\nCookie: ";
        let filler = "x".repeat(MAX_HEAD - start.len() - 4);
        let head = format!("{start}{filler}\r\n\r\n");
        let (mut request, mut framing) = (Request::NONE, Framing::NONE);
        let mut known = KnownHeaders::default();
        let parsed = head::request(head.as_bytes(), &mut known, &mut request, &mut framing);
        assert!(matches!(parsed, Parsed::Whole(MAX_HEAD)));
        let mut work = Work::default();
        assert!(work.push(0, head.as_bytes(), &mut request));
        let outcome = Outcome {
            end_ns: 1,
            status: None,
            body_bytes: 0,
            error: None,
            product: None,
        };
        let left = work.finish(outcome, |exchange| {
            let Detail::Http(http) = &exchange.detail else {
                panic!("not HTTP's");
            };
            assert_eq!(http.target, b"/");
            assert_eq!((http.host, http.user_agent), (None, None));
            assert_eq!((http.forwarded_for, http.traceparent), (None, None));
        });
        assert_eq!(left, 0);
    }
}
