//! Heads that come in pieces, and places where one may start or not.

use super::head::{Request, MAX_HEAD};
use super::start_line::{is_control, is_token, request_line, status_line, MAX_METHOD};
use super::Detect;
use memchr::memchr;

/// Collects a head that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadScan {
    /// Bytes of the line under way.
    line_len: u32,
    /// Its last byte.
    last: u8,
    /// The start line is whole (and right).
    started: bool,
    /// The method's token is over.
    method_over: bool,
    /// Where a request may start but need not, only a plausible one counts: a text's words are tokens too.
    strict: bool,
}

/// What a piece did to a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// All was taken.
    More,
    /// The head is whole with so many bytes of the piece.
    End(usize),
    /// It is longer than `MAX_HEAD`.
    TooLong,
    /// It never was a head.
    Bad,
}

impl HeadScan {
    /// Where a head must start.
    pub(super) const START: Self = Self {
        line_len: 0,
        last: 0,
        started: false,
        method_over: false,
        strict: false,
    };

    /// Where a head may start.
    pub(super) const GUESS: Self = Self {
        strict: true,
        ..Self::START
    };

    /// Whether the start line is whole: from here on it is a message for sure.
    pub(super) fn started(self) -> bool {
        self.started
    }

    /// Appends a piece of a request's head to `head`.
    pub(super) fn request(&mut self, bytes: &[u8], head: &mut Vec<u8>) -> Scan {
        let Self {
            mut method_over,
            strict,
            ..
        } = *self;
        let consistent = |head: &[u8], piece: &[u8]| {
            piece.iter().enumerate().all(|(i, &byte)| {
                let method_len = head.len() - piece.len() + i;
                if method_over {
                    !is_control(byte) || byte == b'\r'
                } else if byte == b' ' {
                    method_over = true;
                    method_len > 0
                } else {
                    method_len < MAX_METHOD && is_method(byte, strict)
                }
            })
        };
        let scan = self.collect(bytes, head, consistent, |line| {
            is_request_line(line, strict)
        });
        self.method_over = method_over;
        scan
    }

    /// Appends a piece of a response's head to `head`.
    pub(super) fn response(&mut self, bytes: &[u8], head: &mut Vec<u8>) -> Scan {
        self.collect(
            bytes,
            head,
            |head, _| is_status_prefix(head),
            |line| status_line(line).is_some(),
        )
    }

    /// `consistent(head, piece)`: the start line so far may become one. `piece` is the end of `head`.
    fn collect(
        &mut self,
        bytes: &[u8],
        head: &mut Vec<u8>,
        mut consistent: impl FnMut(&[u8], &[u8]) -> bool,
        whole: impl Fn(&[u8]) -> bool,
    ) -> Scan {
        let mut at = 0;
        while at < bytes.len() {
            let end = memchr(b'\n', &bytes[at..]).map(|i| at + i);
            let piece = &bytes[at..end.unwrap_or(bytes.len())];
            if head.len() + piece.len() + usize::from(end.is_some()) > MAX_HEAD {
                return Scan::TooLong;
            }
            head.extend_from_slice(piece);
            if !self.started {
                let right = if end.is_some() {
                    whole(head)
                } else {
                    consistent(head, piece)
                };
                if !right {
                    return Scan::Bad;
                }
            }
            if let Some(&last) = piece.last() {
                self.last = last;
                self.line_len += piece.len() as u32;
            }
            let Some(end) = end else { return Scan::More };
            head.push(b'\n');
            at = end + 1;
            if self.line_len == 0 || self.line_len == 1 && self.last == b'\r' {
                return Scan::End(at);
            }
            self.started = true;
            self.line_len = 0;
        }
        Scan::More
    }
}

/// Whether a response's bytes so far agree with `HTTP/1.`.
pub(super) fn is_status_prefix(bytes: &[u8]) -> bool {
    let prefix = b"HTTP/1.";
    let len = bytes.len().min(prefix.len());
    bytes[..len] == prefix[..len]
}

/// Whether `bytes` start with a whole status line.
pub(super) fn starts_with_status_line(bytes: &[u8]) -> bool {
    memchr(b'\n', bytes).is_some_and(|end| status_line(&bytes[..end]).is_some())
}

/// Says whether a request starts here; `Request` only for a whole and plausible request line.
pub(super) fn detect_request(bytes: &[u8]) -> Detect {
    let window = &bytes[..bytes.len().min(MAX_HEAD)];
    if let Some(end) = memchr(b'\n', window) {
        return if is_request_line(&window[..end], true) {
            Detect::Request
        } else {
            Detect::No
        };
    }
    let mut scan = HeadScan::GUESS;
    match scan.request(window, &mut Vec::new()) {
        Scan::More if bytes.len() <= MAX_HEAD => Detect::More,
        _ => Detect::No,
    }
}

fn is_method(byte: u8, strict: bool) -> bool {
    if strict {
        byte.is_ascii_uppercase() || byte == b'-'
    } else {
        is_token(byte)
    }
}

fn is_request_line(line: &[u8], strict: bool) -> bool {
    let mut request = Request::NONE;
    if !request_line(line, &mut request) {
        return false;
    }
    let method = request.method.of(line).unwrap_or_default();
    !strict || method.iter().all(|&byte| is_method(byte, true))
}

/// Whether a request line is there but for its line end.
pub(super) fn is_cut_request_line(bytes: &[u8]) -> bool {
    is_request_line(bytes, true)
}

/// The method of a head whose request line is whole.
pub(super) fn started_method(head: &[u8]) -> Option<&[u8]> {
    let end = memchr(b'\n', head)?;
    let mut request = Request::NONE;
    request_line(&head[..end], &mut request);
    request.method.of(head)
}

#[cfg(test)]
mod tests {
    use super::super::detect;
    use super::*;

    #[test]
    fn a_burst_is_a_request_only_on_good_evidence() {
        let line = b"\r\nPOST /a b?c HTTP/1.1\r\n";
        assert_eq!(detect(line), Detect::Request);
        assert_eq!(detect(&line[..line.len() - 2]), Detect::Request);
        for len in 0..line.len() - 2 {
            assert_eq!(detect(&line[..len]), Detect::More, "{len}");
        }
        assert_eq!(detect(b"OPTIONS * HTTP/1.0\n"), Detect::Request);
        let others: [&[u8]; 8] = [
            b"\x16\x03\x01",
            b"GET /\r\n",
            b"GET / HTTP/2.0\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
            b" GET / HTTP/1.1\r\n",
            b"words of a text HTTP/1.1\r\n",
            b"{\"json\": 1}",
            b"GET /\0",
        ];
        for other in others {
            assert_eq!(detect(other), Detect::No, "{other:?}");
        }
    }

    #[test]
    fn a_burst_is_a_response_by_its_first_bytes() {
        assert_eq!(detect(b"HTTP/1.1 200 OK\r\n"), Detect::Response);
        assert_eq!(detect(b"HTTP/1."), Detect::Response);
        assert_eq!(detect(b"HTTP/2 200\r\n"), Detect::No);
    }

    #[test]
    fn a_prefix_of_a_response_is_not_given_up() {
        for len in 0..7 {
            assert_eq!(
                detect(&b"HTTP/1.1 200 OK\r\n"[..len]),
                Detect::More,
                "{len}"
            );
        }
    }
}
