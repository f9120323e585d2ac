//! Heads heard before, to know them again.
//!
//! A busy server says the same head many times, and its clients the same headers: what differs in nothing, a
//! response's date included, is found by comparing bytes, which costs a tenth of parsing them.

use super::framing::Framing;
use super::head::{Request, Response, Span};

/// Longer ones are not kept.
const MAX_KNOWN: usize = 512;

/// The last response's head, and what was found in it.
#[derive(Debug)]
pub(super) struct KnownResponse {
    head: Vec<u8>,
    response: Response,
}

impl Default for KnownResponse {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            response: Response::NONE,
        }
    }
}

impl KnownResponse {
    /// Its length and what it says if `bytes` begin with it. What follows a whole head has no part in it.
    #[inline(always)]
    pub(super) fn find(&self, bytes: &[u8]) -> Option<(usize, Response)> {
        let len = self.head.len();
        (len > 0 && bytes.get(..len)? == self.head).then_some((len, self.response))
    }

    /// Instead of what was known before.
    #[inline(always)]
    pub(super) fn keep(&mut self, head: &[u8], response: Response) {
        if head.len() <= MAX_KNOWN {
            self.head.clear();
            self.head.extend_from_slice(head);
            self.response = response;
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.head.capacity()
    }
}

/// The last request's header lines, with the empty one, and what was found in them. Not of a request that a proxy or
/// a tracer wrote into: no two of these are the same.
#[derive(Debug)]
pub(super) struct KnownHeaders {
    lines: Vec<u8>,
    host: Span,
    user_agent: Span,
    expects: bool,
    framing: Framing,
}

impl Default for KnownHeaders {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            host: Span::ABSENT,
            user_agent: Span::ABSENT,
            expects: false,
            framing: Framing::NONE,
        }
    }
}

impl KnownHeaders {
    /// If these are the header lines at `at` of a head: fills in what they say, and gives the head's length.
    #[inline(always)]
    pub(super) fn find(
        &self,
        head: &[u8],
        at: usize,
        request: &mut Request,
        framing: &mut Framing,
    ) -> Option<usize> {
        let len = at + self.lines.len();
        if len == at || head.get(at..len)? != self.lines {
            return None;
        }
        request.host = self.host.moved(0, at);
        request.user_agent = self.user_agent.moved(0, at);
        request.expects = self.expects;
        *framing = self.framing;
        Some(len)
    }

    /// Instead of what was known before: the lines from `at` to the end of `head`.
    #[inline(always)]
    pub(super) fn keep(&mut self, head: &[u8], at: usize, request: &Request, framing: &Framing) {
        if let (Some(lines @ [_, ..]), true) = (head.get(at..), request.is_plain()) {
            if lines.len() <= MAX_KNOWN {
                self.lines.clear();
                self.lines.extend_from_slice(lines);
                self.host = request.host.moved(at, 0);
                self.user_agent = request.user_agent.moved(at, 0);
                self.expects = request.expects;
                self.framing = *framing;
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.lines.capacity()
    }
}
