//! Heads: from a request line or status line (`start_line`) to the empty line (RFC 9112, 2 to 5).
//!
//! A head is parsed in place and in one pass when it is whole in one piece. When it is not, `HeadScan` collects
//! it, looks at each byte once, and the same pass runs over the collected bytes: what is found never depends
//! on how the bytes were cut.
//!
//! A header's name is recognised by the first byte of its line and then eight bytes at a time; lines that nobody
//! asked for cost a look at their first byte. Values that look like nearly all do (`: value CR LF`) are taken as
//! they stand, others go through `value`, which would find the same in the former.

use super::framing::Framing;
use super::known::KnownHeaders;
use super::lines::{first_block, LineStarts, BLOCK};
use super::start_line::{request_line, status_line};
use crate::exchange::{HttpVersion, Product};
use crate::protocols::forwarded;
use memchr::memchr;

/// The longest head that is understood, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// A range of a head's bytes. Offsets within `MAX_HEAD` bytes fit, and what is small is cheap to carry around.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    at: u16,
    len: u16,
}

impl Span {
    /// No value starts at a head's last byte.
    pub(super) const ABSENT: Self = Self {
        at: u16::MAX,
        len: 0,
    };

    #[inline]
    pub(super) fn new(at: usize, len: usize) -> Self {
        debug_assert!(at + len <= MAX_HEAD);
        Self {
            at: at as u16,
            len: len as u16,
        }
    }

    /// The same where what stood at `from` stands at `to`; the absent one stays absent.
    #[inline]
    pub(super) fn moved(self, from: usize, to: usize) -> Self {
        if self.is_absent() {
            return self;
        }
        Self::new(usize::from(self.at) - from + to, usize::from(self.len))
    }

    #[inline]
    pub(super) fn is_absent(self) -> bool {
        self.at == u16::MAX
    }

    /// The bytes, `None` for an absent one, which lies beyond any text that is kept.
    #[inline]
    pub(super) fn of(self, head: &[u8]) -> Option<&[u8]> {
        let at = usize::from(self.at);
        head.get(at..at + usize::from(self.len))
    }
}

/// Methods that change how a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

/// What is kept of a request's head: where in the head's bytes it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub method: Span,
    pub target: Span,
    pub host: Span,
    pub user_agent: Span,
    pub forwarded_for: Span,
    pub forwarded_proto: Span,
    pub traceparent: Span,
    /// The first one; `tracestates` says whether there are more.
    pub tracestate: Span,
    pub tracestates: u16,
    pub version: HttpVersion,
    pub kind: Method,
    /// Expect: 100-continue, that is: the body may stay away.
    pub expects: bool,
}

impl Request {
    pub(super) const NONE: Self = Self {
        method: Span::ABSENT,
        target: Span::ABSENT,
        host: Span::ABSENT,
        user_agent: Span::ABSENT,
        forwarded_for: Span::ABSENT,
        forwarded_proto: Span::ABSENT,
        traceparent: Span::ABSENT,
        tracestate: Span::ABSENT,
        tracestates: 0,
        version: HttpVersion::Http10,
        kind: Method::Other,
        expects: false,
    };

    /// No proxy or tracer put its headers into it.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        let at = self.forwarded_for.at
            & self.forwarded_proto.at
            & self.traceparent.at
            & self.tracestate.at;
        at == Span::ABSENT.at
    }
}

/// What a response's head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    pub status: u16,
    pub framing: Framing,
    pub product: Option<Product>,
}

impl Response {
    pub(super) const NONE: Self = Self {
        status: 0,
        framing: Framing::NONE,
        product: None,
    };
}

/// What came of looking at bytes where a head starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parsed {
    /// The whole head, in so many bytes.
    Whole(usize),
    /// It may become one.
    More,
    /// It can't.
    Bad,
}

/// Parses a request's head at the start of `bytes` into `request` and `framing`, which are `NONE` before and mean
/// something only if the head is whole.
#[inline(never)]
pub(super) fn request(
    bytes: &[u8],
    known: &mut KnownHeaders,
    request: &mut Request,
    framing: &mut Framing,
) -> Parsed {
    let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
    let mut short = None;
    let mut lines = HeaderLines::new(bytes, first_block(bytes, &mut short), &OF_REQUEST);
    let Some((headers, _)) = lines.starts.peek() else {
        return Parsed::More;
    };
    if !bytes
        .get(..headers - 1)
        .is_some_and(|line| request_line(line, request))
    {
        return Parsed::Bad;
    }
    if let Some(length) = known.find(bytes, headers, request, framing) {
        return Parsed::Whole(length);
    }
    let mut forwarded_line = Span::ABSENT;
    let mut traceparents = 0_u32;
    while let Some((at, first)) = lines.next() {
        match first | 0x20 {
            b'h' if lines.is(at, b"host") => first_only(&mut request.host, lines.value_span(at, 4)),
            b'u' if lines.is(at, b"user-agent") => {
                first_only(&mut request.user_agent, lines.value_span(at, 10));
            }
            b'c' if lines.is(at, b"content-length") => match lines.number(at, 14) {
                Some(length) if framing.set_length(length) => {}
                _ => framing.add_length(lines.value(at, 14)),
            },
            b't' if lines.is(at, b"transfer-encoding") => {
                framing.add_coding(lines.value(at, 17));
            }
            b't' if lines.is(at, b"traceparent") => {
                traceparents += 1;
                first_only(&mut request.traceparent, lines.value_span(at, 11));
            }
            b't' if lines.is(at, b"tracestate") => {
                request.tracestates = request.tracestates.saturating_add(1);
                first_only(&mut request.tracestate, lines.value_span(at, 10));
            }
            b'x' if lines.is(at, b"x-forwarded-for") => {
                let element = forwarded::first_element(lines.value(at, 15));
                first_only(&mut request.forwarded_for, sub_span(bytes, element));
            }
            b'x' if lines.is(at, b"x-forwarded-proto") => {
                let element = forwarded::first_element(lines.value(at, 17));
                first_only(&mut request.forwarded_proto, sub_span(bytes, element));
            }
            b'f' if lines.is(at, b"forwarded") => {
                first_only(&mut forwarded_line, lines.value_span(at, 9))
            }
            b'e' if lines.is(at, b"expect") => {
                let value = lines.value(at, 6);
                request.expects |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    }
    let Some(length) = lines.length else {
        return Parsed::More;
    };
    if traceparents > 1 {
        request.traceparent = Span::ABSENT;
    }
    if let Some(line) = forwarded_line.of(bytes) {
        let parameter = |name| sub_span(bytes, forwarded::parameter(line, name));
        first_only(&mut request.forwarded_for, parameter(b"for"));
        first_only(&mut request.forwarded_proto, parameter(b"proto"));
    }
    known.keep(&bytes[..length], headers, request, framing);
    Parsed::Whole(length)
}

#[inline]
fn first_only(span: &mut Span, value: Span) {
    if span.is_absent() {
        *span = value;
    }
}

/// Parses a response's head at the start of `bytes` into `response`, which is `NONE` before; as above.
#[inline(never)]
pub(super) fn response(bytes: &[u8], response: &mut Response) -> Parsed {
    let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
    let mut short = None;
    let mut lines = HeaderLines::new(bytes, first_block(bytes, &mut short), &OF_RESPONSE);
    let Some((end, _)) = lines.starts.peek() else {
        return Parsed::More;
    };
    match bytes.get(..end - 1).and_then(status_line) {
        Some(code) => response.status = code,
        None => return Parsed::Bad,
    }
    let framing = &mut response.framing;
    while let Some((at, first)) = lines.next() {
        match first | 0x20 {
            b'c' if lines.is(at, b"content-length") => match lines.number(at, 14) {
                Some(length) if framing.set_length(length) => {}
                _ => framing.add_length(lines.value(at, 14)),
            },
            b't' if lines.is(at, b"transfer-encoding") => framing.add_coding(lines.value(at, 17)),
            b'x' => {
                response.product = response.product.or_else(|| product(&bytes[at..]));
            }
            _ => {}
        }
    }
    lines.length.map_or(Parsed::More, Parsed::Whole)
}

/// Longest name of a header that tells of a product.
const LONGEST_NAME: usize = 24;

/// What the header line at the start of `bytes` says of the server.
#[cold]
fn product(bytes: &[u8]) -> Option<Product> {
    let name = bytes.get(..memchr(b':', bytes.get(..=LONGEST_NAME)?)?)?;
    let mut lower = [0; LONGEST_NAME];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Product::of_header(lower)
}

/// All values of a repeated tracestate, joined as RFC 9110, 5.3 has it, appended to `text`.
#[cold]
pub(super) fn join_tracestates(head: &[u8], text: &mut Vec<u8>) {
    let mut short = None;
    let mut lines = HeaderLines::new(head, first_block(head, &mut short), &OF_TRACESTATE);
    let mut first = true;
    while let Some((at, _)) = lines.next() {
        if lines.is(at, b"tracestate") {
            if !first {
                text.push(b',');
            }
            first = false;
            text.extend_from_slice(lines.value(at, 10));
        }
    }
}

/// Whether to stop at a line, by its first byte: it may be a wanted header (those start with one of `wanted`,
/// lower case) or the empty line.
const fn stops(wanted: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut i = 0;
    while i < wanted.len() {
        table[wanted[i] as usize] = true;
        table[wanted[i].to_ascii_uppercase() as usize] = true;
        i += 1;
    }
    table[b'\r' as usize] = true;
    table[b'\n' as usize] = true;
    table
}

static OF_REQUEST: [bool; 256] = stops(b"huctxfe");
static OF_RESPONSE: [bool; 256] = stops(b"ctx");
static OF_TRACESTATE: [bool; 256] = stops(b"t");

/// Iterates over the starts of a head's header lines, of those that may be wanted, and their first bytes.
struct HeaderLines<'a> {
    starts: LineStarts<'a>,
    stops: &'static [bool; 256],
    /// The head's length, once its empty line was there.
    length: Option<usize>,
}

impl Iterator for HeaderLines<'_> {
    type Item = (usize, u8);

    /// Ends at the empty line, or where the bytes do.
    #[inline(always)]
    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let (at, first) = self.starts.next()?;
            if !self.stops[usize::from(first)] {
                continue;
            }
            if first > b'\r' {
                return Some((at, first));
            }
            let line_feed = at + usize::from(first == b'\r');
            if *self.starts.bytes().get(line_feed)? == b'\n' {
                self.length = Some(line_feed + 1);
                return None;
            }
        }
    }
}

impl<'a> HeaderLines<'a> {
    /// Of the head in `bytes`, whose first block is `block`.
    #[inline(always)]
    fn new(bytes: &'a [u8], block: &'a [u8; BLOCK], stops: &'static [bool; 256]) -> Self {
        Self {
            starts: LineStarts::new(bytes, block),
            stops,
            length: None,
        }
    }

    /// Whether the line at `at`, given last, has this name (lower case, letters and '-'), with its colon after it.
    #[inline(always)]
    fn is<const N: usize>(&self, at: usize, name: &[u8; N]) -> bool {
        match self.starts.bytes().get(at..) {
            Some(line) if line.len() > N && same_name(line, name) => {
                line[N] == b':' || is_spaced(folded_line(self.starts, at), N)
            }
            _ => false,
        }
    }

    /// The value of the line at `at`, given last. What it is while the next line has not begun does not matter:
    /// the head is not whole then.
    #[inline(always)]
    fn value(&mut self, at: usize, name_len: usize) -> &'a [u8] {
        if let Some((next, first)) = self.starts.peek() {
            let rest = self.starts.bytes().get(at + name_len..next - 1);
            // Nearly all look like this one.
            if let Some([b':', b' ', value @ .., b'\r']) = rest {
                let bare = |byte: Option<&u8>| byte.is_some_and(|&byte| byte > b' ');
                if bare(value.first()) && bare(value.last()) && !is_fold(first) {
                    return value;
                }
            }
        }
        value(folded_line(self.starts, at), name_len)
    }

    /// That value as a number, if it is one that looks like nearly all.
    #[inline(always)]
    fn number(&self, at: usize, name_len: usize) -> Option<u64> {
        let [b':', b' ', value @ ..] = self.starts.bytes().get(at + name_len..)? else {
            return None;
        };
        let (mut number, mut len) = (0_u64, 0);
        while let Some(digit @ b'0'..=b'9') = value.get(len) {
            number = number
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0'));
            len += 1;
        }
        match value.get(len..)? {
            // So many digits can't overflow.
            [b'\r', b'\n', next, ..] if matches!(len, 1..=19) && !is_fold(*next) => Some(number),
            _ => None,
        }
    }

    /// Where that value stands in the head.
    #[inline(always)]
    fn value_span(&mut self, at: usize, name_len: usize) -> Span {
        let value = self.value(at, name_len);
        Span::new(offset(self.starts.bytes(), value), value.len())
    }
}

/// RFC 9112, 5.1 wants no space before the colon. Who sends one means the header all the same.
#[cold]
fn is_spaced(line: &[u8], name_len: usize) -> bool {
    let rest = line.get(name_len..).unwrap_or_default();
    rest.trim_ascii_start().first() == Some(&b':')
}

/// The line at `at` before the next of `starts`, with what is folded into it, without its last LF.
#[cold]
fn folded_line(mut starts: LineStarts<'_>, at: usize) -> &[u8] {
    let bytes = starts.bytes();
    let next = starts.find(|&(_, first)| !is_fold(first));
    let end = next.map_or(bytes.len(), |(next, _)| next - 1);
    bytes.get(at..end).unwrap_or_default()
}

/// Whether a line that starts so continues the one before (obs-fold).
#[inline(always)]
fn is_fold(first: u8) -> bool {
    matches!(first, b' ' | b'\t')
}

/// Where `part` begins within `whole`, of which it is a slice.
#[inline(always)]
fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// Compares names of four bytes and more without case, eight bytes at a time. Setting bit 5 turns no other byte of a line into a letter
/// than its capital, and into '-' only a CR, which makes no name.
#[inline(always)]
fn same_name<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
    let eight = |bytes: &[u8], at: usize| -> Option<u64> {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word) | 0x2020_2020_2020_2020)
    };
    let four = |bytes: &[u8], at: usize| -> Option<u32> {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word) | 0x2020_2020)
    };
    if N < 8 {
        return four(line, 0) == four(name, 0) && four(line, N - 4) == four(name, N - 4);
    }
    let mut at = 0;
    while at + 8 < N {
        if eight(line, at) != eight(name, at) {
            return false;
        }
        at += 8;
    }
    eight(line, N - 8) == eight(name, N - 8)
}

/// The value of a header line.
#[inline(never)]
fn value(line: &[u8], name_len: usize) -> &[u8] {
    let mut start = name_len + 1;
    if line.get(name_len) != Some(&b':') {
        start += memchr(b':', line).map_or(0, |colon| colon.saturating_sub(name_len));
    }
    let mut value = line.get(start..).unwrap_or_default();
    while let [space, rest @ ..] = value {
        if !is_space(*space) {
            break;
        }
        value = rest;
    }
    while let [rest @ .., space] = value {
        if !is_space(*space) {
            break;
        }
        value = rest;
    }
    value
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `part` is a slice of `head`; an empty one counts as absent.
#[inline]
pub(super) fn sub_span(head: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::ABSENT;
    }
    Span::new(offset(head, part), part.len())
}

#[cfg(test)]
mod tests {
    use super::super::framing::Extent;
    use super::*;

    fn extent(length: &str) -> Extent {
        let head = format!("POST / HTTP/1.1\r\nContent-Length{length}\r\n\r\n");
        let (mut request, mut framing) = (Request::NONE, Framing::NONE);
        let mut known = KnownHeaders::default();
        let parsed = super::request(head.as_bytes(), &mut known, &mut request, &mut framing);
        assert!(matches!(parsed, Parsed::Whole(len) if len == head.len()));
        framing.of_request()
    }

    #[test]
    fn a_length_counts_however_it_is_written() {
        let plain = extent(": 12");
        assert!(matches!(plain, Extent::Some(_)));
        for length in [":12", ":  12\t", ": 0012", " : 12", ":\r\n 12", ": 12, 12"] {
            assert_eq!(extent(length), plain, "{length:?}");
        }
        let repeated = ": 12\r\ncontent-length: 12";
        assert_eq!(extent(repeated), plain);
    }

    #[test]
    fn a_length_that_is_no_number_is_invalid() {
        let lengths = [
            ": ",
            ": x",
            ": 1x",
            ": -1",
            ": 12\r\n 3",
            ": 12\r\ncontent-length: 13",
            ": 18446744073709551616",
            ": 100000000000000000000000",
        ];
        for length in lengths {
            assert_eq!(extent(length), Extent::Invalid, "{length:?}");
        }
        let most = extent(": 18446744073709551615");
        assert!(matches!(most, Extent::Some(_)));
    }
}
