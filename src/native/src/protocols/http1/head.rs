//! Heads: from a request line or status line to the empty line (RFC 9112, sections 2 to 5).
//!
//! A head is parsed in place and in one pass when it is whole in one piece. When it is not, `HeadScan` collects
//! it, looks at each byte once, and the same pass runs over the collected bytes: what is found never depends
//! on how the bytes were cut.
//!
//! A header's name is recognised by the first byte of its line, its length and then eight bytes at a time;
//! lines that nobody asked for cost a look at their first byte.

use super::framing::Framing;
use super::lines::LineEnds;
use memchr::memchr;

/// The longest head that is understood, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The longest method. Registered ones have at most 17 characters.
pub(super) const MAX_METHOD: usize = 256;

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
    pub minor_version: u8,
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
        minor_version: 0,
        kind: Method::Other,
        expects: false,
    };
}

/// What came of looking at bytes where a head starts.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// The whole head, in so many bytes.
    Whole(usize, T),
    /// It may become one.
    More,
    /// It can't.
    Bad,
}

pub(super) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut i = 0;
        while i < others.len() {
            table[others[i] as usize] = true;
            i += 1;
        }
        table
    };
    TOKEN[byte as usize]
}

/// Parses a request's head at the start of `bytes` into `request`, which is `Request::NONE` before.
#[inline(always)]
pub(super) fn request(bytes: &[u8], request: &mut Request) -> Parsed<Framing> {
    let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
    let mut ends = LineEnds::new(bytes);
    let Some(end) = ends.next() else {
        return Parsed::More;
    };
    if !bytes
        .get(..end)
        .is_some_and(|line| request_line(line, request))
    {
        return Parsed::Bad;
    }
    let mut framing = Framing::NONE;
    let mut forwarded = Span::ABSENT;
    let mut traceparents = 0_u32;
    let length = header_lines(bytes, ends, end, &OF_REQUEST, |line, at| {
        let value = |name_len| value_span(line, at, name_len);
        match line[0] | 0x20 {
            b'h' if is_named(line, b"host") => first_only(&mut request.host, value(4)),
            b'u' if is_named(line, b"user-agent") => first_only(&mut request.user_agent, value(10)),
            b'c' if is_named(line, b"content-length") => framing.add_length(value(14).of(bytes)),
            b't' if is_named(line, b"transfer-encoding") => framing.add_coding(value(17).of(bytes)),
            b't' if is_named(line, b"traceparent") => {
                traceparents += 1;
                first_only(&mut request.traceparent, value(11));
            }
            b't' if is_named(line, b"tracestate") => {
                request.tracestates = request.tracestates.saturating_add(1);
                first_only(&mut request.tracestate, value(10));
            }
            b'x' if is_named(line, b"x-forwarded-for") => {
                first_only(&mut request.forwarded_for, first_element(bytes, value(15)));
            }
            b'x' if is_named(line, b"x-forwarded-proto") => {
                first_only(
                    &mut request.forwarded_proto,
                    first_element(bytes, value(17)),
                );
            }
            b'f' if is_named(line, b"forwarded") => first_only(&mut forwarded, value(9)),
            b'e' if is_named(line, b"expect") => {
                let value = value(6).of(bytes).unwrap_or_default();
                request.expects |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    });
    let Some(length) = length else {
        return Parsed::More;
    };
    if traceparents > 1 {
        request.traceparent = Span::ABSENT;
    }
    if !forwarded.is_absent() {
        first_only(
            &mut request.forwarded_for,
            forwarded_parameter(bytes, forwarded, b"for"),
        );
        first_only(
            &mut request.forwarded_proto,
            forwarded_parameter(bytes, forwarded, b"proto"),
        );
    }
    Parsed::Whole(length, framing)
}

#[inline]
fn first_only(span: &mut Span, value: Span) {
    if span.is_absent() {
        *span = value;
    }
}

/// Parses a response's head at the start of `bytes`; gives its status code.
#[inline(always)]
pub(super) fn response(bytes: &[u8]) -> Parsed<(u16, Framing)> {
    let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
    let mut ends = LineEnds::new(bytes);
    let Some(end) = ends.next() else {
        return Parsed::More;
    };
    let Some(status) = status_line(&bytes[..end]) else {
        return Parsed::Bad;
    };
    let mut framing = Framing::NONE;
    let length = header_lines(bytes, ends, end, &OF_RESPONSE, |line, at| {
        match line[0] | 0x20 {
            b'c' if is_named(line, b"content-length") => {
                framing.add_length(value_span(line, at, 14).of(bytes))
            }
            b't' if is_named(line, b"transfer-encoding") => {
                framing.add_coding(value_span(line, at, 17).of(bytes))
            }
            _ => {}
        }
    });
    match length {
        Some(length) => Parsed::Whole(length, (status, framing)),
        None => Parsed::More,
    }
}

/// All values of a repeated tracestate, joined as RFC 9110, 5.3 has it, appended to `text`.
#[cold]
pub(super) fn join_tracestates(head: &[u8], text: &mut Vec<u8>) {
    let mut ends = LineEnds::new(head);
    let Some(end) = ends.next() else { return };
    let mut first = true;
    header_lines(head, ends, end, &OF_TRACESTATE, |line, at| {
        if is_named(line, b"tracestate") {
            if !first {
                text.push(b',');
            }
            first = false;
            text.extend_from_slice(value_span(line, at, 10).of(head).unwrap_or_default());
        }
    });
}

/// What the first byte of a line says about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A header that nobody asked for.
    Other,
    /// A header that may be one of those.
    Wanted,
    /// A continuation of the line before (obs-fold).
    Fold,
    /// An empty line, perhaps: the head's end.
    End,
}

/// The classes, for headers that start with one of `wanted` (lower case).
const fn classes(wanted: &[u8]) -> [Class; 256] {
    let mut table = [Class::Other; 256];
    let mut i = 0;
    while i < wanted.len() {
        table[wanted[i] as usize] = Class::Wanted;
        table[wanted[i].to_ascii_uppercase() as usize] = Class::Wanted;
        i += 1;
    }
    table[b' ' as usize] = Class::Fold;
    table[b'\t' as usize] = Class::Fold;
    table[b'\r' as usize] = Class::End;
    table[b'\n' as usize] = Class::End;
    table
}

static OF_REQUEST: [Class; 256] = classes(b"huctxfe");
static OF_RESPONSE: [Class; 256] = classes(b"ct");
static OF_TRACESTATE: [Class; 256] = classes(b"t");

/// Calls `header(line, offset)` for each wanted line, with what is folded into it, and gives the head's length,
/// `None` while the empty line is not there. `end` is where the start line ends.
#[inline(always)]
fn header_lines(
    bytes: &[u8],
    mut ends: LineEnds<'_>,
    mut end: usize,
    classes: &[Class; 256],
    mut header: impl FnMut(&[u8], usize),
) -> Option<usize> {
    // The start of a wanted line, 0 for none: its end is where the next line is no continuation.
    let mut wanted = 0;
    loop {
        let next = *bytes.get(end + 1)?;
        let class = classes[usize::from(next)];
        if wanted != 0 && class != Class::Fold {
            if let Some(line) = bytes.get(wanted..end) {
                header(line, wanted);
            }
            wanted = 0;
        }
        if class == Class::Wanted {
            wanted = end + 1;
        } else if class == Class::End {
            if next == b'\n' {
                return Some(end + 2);
            }
            if *bytes.get(end + 2)? == b'\n' {
                return Some(end + 3);
            }
        }
        end = ends.next()?;
    }
}

/// Whether a header line has this name (lower case, letters and '-'), with its colon after it.
#[inline(always)]
fn is_named<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
    if line.len() <= N || !same_name(line, name) {
        return false;
    }
    // RFC 9112, 5.1 wants no space before the colon. Who sends one means the header all the same.
    let rest = &line[N..];
    rest[0] == b':' || rest.trim_ascii_start().first() == Some(&b':')
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

/// Where the value of a header line stands, the line being at `at` in the head.
#[inline]
fn value_span(line: &[u8], at: usize, name_len: usize) -> Span {
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
        start += 1;
    }
    while let [rest @ .., space] = value {
        if !is_space(*space) {
            break;
        }
        value = rest;
    }
    Span::new(at + start, value.len())
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The first element of a comma-separated list.
fn first_element(head: &[u8], span: Span) -> Span {
    let value = span.of(head).unwrap_or_default();
    let element = memchr(b',', value)
        .map_or(value, |comma| &value[..comma])
        .trim_ascii();
    sub_span(head, element)
}

/// A parameter of the first element of a Forwarded header (RFC 7239), without its quotes.
#[cold]
fn forwarded_parameter(head: &[u8], span: Span, name: &[u8]) -> Span {
    let element = first_element(head, span).of(head).unwrap_or_default();
    for pair in element.split(|&byte| byte == b';') {
        let Some(equals) = memchr(b'=', pair) else {
            continue;
        };
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(name) {
            let value = pair[equals + 1..].trim_ascii();
            let unquoted = value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""));
            return sub_span(head, unquoted.unwrap_or(value));
        }
    }
    Span::ABSENT
}

/// `part` is a slice of `head`; an empty one counts as absent.
fn sub_span(head: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::ABSENT;
    }
    Span::new(
        (part.as_ptr() as usize).saturating_sub(head.as_ptr() as usize),
        part.len(),
    )
}

/// `method SP target SP HTTP/1.x`, without its LF. Spaces within the target are let through: they are what a
/// 400 is often about, and the version at the end is evidence enough.
#[inline(always)]
pub(super) fn request_line(line: &[u8], request: &mut Request) -> bool {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [rest @ .., b' '] = line {
        line = rest;
    }
    let Some((rest, &[space, version @ .., minor])) = line.split_last_chunk::<9>() else {
        return false;
    };
    if space != b' ' || version != *b"HTTP/1." || !minor.is_ascii_digit() {
        return false;
    }
    let method_len = rest.iter().take_while(|&&byte| is_token(byte)).count();
    let (method, rest) = rest.split_at(method_len);
    let [b' ', target @ ..] = rest else {
        return false;
    };
    let mut at = method_len + 1;
    let mut target = target;
    while let [b' ', rest @ ..] = target {
        target = rest;
        at += 1;
    }
    while let [rest @ .., b' '] = target {
        target = rest;
    }
    // A fold without an early way out, so that it is vectorised.
    let controls = target
        .iter()
        .fold(false, |bad, &byte| bad | is_control(byte));
    if method.is_empty() || method_len > MAX_METHOD || target.is_empty() || controls {
        return false;
    }
    request.method = Span::new(0, method_len);
    request.target = Span::new(at, target.len());
    request.minor_version = u8::from(minor != b'0');
    request.kind = match method {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    true
}

#[inline]
pub(super) fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`, without its LF.
#[inline]
pub(super) fn status_line(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0'..=b'9', b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = rest
    else {
        return None;
    };
    if !matches!(rest, [] | [b' ' | b'\r', ..]) {
        return None;
    }
    let digit = |byte: u8| u16::from(byte - b'0');
    Some(digit(*a) * 100 + digit(*b) * 10 + digit(*c))
}
