//! Heads: from a request line or status line to the empty line (RFC 9112, sections 2 to 5).
//!
//! A head is parsed in place and in one pass when it is whole in one piece. When it is not, `HeadScan` collects
//! it, looks at each byte once, and the same pass runs over the collected bytes: what is found never depends
//! on how the bytes were cut.
//!
//! A header's name is recognised by the first byte of its line, its length and then eight bytes at a time;
//! lines that nobody asked for cost a look at their first byte.

use super::body::Body;
use super::lines::LineEnds;
use super::Detect;
use memchr::memchr;

/// The longest head that is understood, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The longest method. Registered ones have at most 17 characters.
const MAX_METHOD: usize = 256;

/// A range of a head's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    at: u32,
    len: u32,
}

impl Span {
    pub(super) const ABSENT: Self = Self {
        at: u32::MAX,
        len: 0,
    };

    /// Heads have at most `MAX_HEAD` bytes, so that offsets fit.
    #[inline]
    pub(super) fn new(at: usize, len: usize) -> Self {
        Self {
            at: at as u32,
            len: len as u32,
        }
    }

    #[inline]
    pub(super) fn is_absent(self) -> bool {
        self.at == u32::MAX
    }

    /// The bytes, `None` for an absent one.
    #[inline]
    pub(super) fn of(self, head: &[u8]) -> Option<&[u8]> {
        head.get(self.at as usize..)?.get(..self.len as usize)
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
    pub tracestates: u32,
    pub minor_version: u8,
    pub kind: Method,
    /// Expect: 100-continue, that is: the body may stay away.
    pub expects: bool,
}

/// What the header fields say about the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    length: Length,
    coding: Coding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Absent,
    Is(u64),
    /// Not a number, or two that differ.
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Absent,
    /// `chunked` is the last one.
    Chunked,
    /// There is one, and chunked is not the last.
    Other,
}

/// How long a body is, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    None,
    Some(Body),
    /// RFC 9112, 6.3: an unrecoverable error.
    Invalid,
}

/// What came of looking at bytes where a head starts.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// The whole head, in so many bytes.
    Whole(usize, T, Framing),
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

/// Parses a request's head at the start of `bytes`.
#[inline]
pub(super) fn request(bytes: &[u8]) -> Parsed<Request> {
    let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
    let mut ends = LineEnds::new(bytes);
    let Some(end) = ends.next() else {
        return Parsed::More;
    };
    let Some(mut request) = request_line(&bytes[..end]) else {
        return Parsed::Bad;
    };
    let mut framing = Framing::NONE;
    let mut traceparents = 0_u32;
    let mut forwarded = Span::ABSENT;
    let first_only = |span: &mut Span, value: Span| {
        if span.is_absent() {
            *span = value;
        }
    };
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
                request.tracestates += 1;
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
    Parsed::Whole(length, request, framing)
}

/// Parses a response's head at the start of `bytes`; gives its status code.
#[inline]
pub(super) fn response(bytes: &[u8]) -> Parsed<u16> {
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
        Some(length) => Parsed::Whole(length, status, framing),
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
        let class = classes[next as usize];
        if wanted != 0 && class != Class::Fold {
            if let Some(line) = bytes.get(wanted..end) {
                header(line, wanted);
            }
            wanted = 0;
        }
        match class {
            Class::Other | Class::Fold => {}
            Class::Wanted => wanted = end + 1,
            Class::End if next == b'\n' => return Some(end + 2),
            Class::End if *bytes.get(end + 2)? == b'\n' => return Some(end + 3),
            Class::End => {}
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

/// Compares without case, eight bytes at a time. Setting bit 5 turns no other byte of a line into a letter
/// than its capital, and into '-' only a CR, which makes no name.
#[inline(always)]
fn same_name<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let word = |bytes: &[u8], at: usize| {
        bytes[at..]
            .first_chunk()
            .map(|chunk| u64::from_le_bytes(*chunk))
    };
    if N < 8 {
        return line[..N].eq_ignore_ascii_case(name);
    }
    let same = |at: usize| word(line, at).map(|word| word | CASE) == word(name, at);
    let mut at = 0;
    while at + 8 < N {
        if !same(at) {
            return false;
        }
        at += 8;
    }
    same(N - 8)
}

/// Where the value of a header line stands, the line being at `at` in the head.
#[inline]
fn value_span(line: &[u8], at: usize, name_len: usize) -> Span {
    let mut start = name_len;
    let mut end = line.len();
    if line.get(start) != Some(&b':') {
        start = memchr(b':', line).unwrap_or(start);
    }
    start += 1;
    while start < end && is_space(line[start]) {
        start += 1;
    }
    while end > start && is_space(line[end - 1]) {
        end -= 1;
    }
    Span::new(at + start, end - start)
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
#[inline]
fn request_line(line: &[u8]) -> Option<Request> {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [rest @ .., b' '] = line {
        line = rest;
    }
    let (rest, &[space, version @ .., minor]) = line.split_last_chunk::<9>()?;
    if space != b' ' || version != *b"HTTP/1." || !minor.is_ascii_digit() {
        return None;
    }
    let minor_version = u8::from(minor != b'0');
    let method_len = rest.iter().position(|&byte| !is_token(byte))?;
    if !(1..=MAX_METHOD).contains(&method_len) || rest[method_len] != b' ' {
        return None;
    }
    let mut start = method_len + 1;
    let mut end = rest.len();
    while start < end && rest[start] == b' ' {
        start += 1;
    }
    while end > start && rest[end - 1] == b' ' {
        end -= 1;
    }
    let target = &rest[start..end];
    // A fold without an early way out, so that it is vectorised.
    if target.is_empty()
        || target
            .iter()
            .fold(false, |bad, &byte| bad | is_control(byte))
    {
        return None;
    }
    let kind = match &rest[..method_len] {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    Some(Request {
        method: Span::new(0, method_len),
        target: Span::new(start, target.len()),
        host: Span::ABSENT,
        user_agent: Span::ABSENT,
        forwarded_for: Span::ABSENT,
        forwarded_proto: Span::ABSENT,
        traceparent: Span::ABSENT,
        tracestate: Span::ABSENT,
        tracestates: 0,
        minor_version,
        kind,
        expects: false,
    })
}

#[inline]
fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`, without its LF.
#[inline]
fn status_line(line: &[u8]) -> Option<u16> {
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

impl Framing {
    const NONE: Self = Self {
        length: Length::Absent,
        coding: Coding::Absent,
    };

    /// RFC 9110, 8.6: a list of equal numbers counts as that number.
    #[inline]
    fn add_length(&mut self, value: Option<&[u8]>) {
        let value = value.unwrap_or_default();
        match (self.length, decimal(value)) {
            (Length::Absent, Some(length)) => self.length = Length::Is(length),
            _ => self.add_lengths(value),
        }
    }

    #[cold]
    fn add_lengths(&mut self, value: &[u8]) {
        for part in value.split(|&byte| byte == b',') {
            let length = decimal(part.trim_ascii()).map_or(Length::Invalid, Length::Is);
            self.length = match self.length {
                Length::Absent => length,
                same if same == length => same,
                _ => Length::Invalid,
            };
        }
    }

    /// Only the last coding of the last header decides. `identity` was one once and means none.
    #[cold]
    fn add_coding(&mut self, value: Option<&[u8]>) {
        let last = value
            .unwrap_or_default()
            .rsplit(|&byte| byte == b',')
            .next();
        let last = last.unwrap_or_default().trim_ascii();
        if last.eq_ignore_ascii_case(b"chunked") {
            self.coding = Coding::Chunked;
        } else if !last.eq_ignore_ascii_case(b"identity") {
            self.coding = Coding::Other;
        }
    }

    /// Of a request (RFC 9112, 6.3): no length means no body, a coding that isn't chunked has no end.
    #[inline]
    pub(super) fn of_request(self) -> Extent {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Extent::Some(Body::CHUNKED),
            (Coding::Other, _) | (_, Length::Invalid) => Extent::Invalid,
            (_, Length::Absent | Length::Is(0)) => Extent::None,
            (_, Length::Is(length)) => Extent::Some(Body::Length(length)),
        }
    }

    /// Of a response whose method and status allow a body: without a length it goes on until the close.
    #[inline]
    pub(super) fn of_response(self) -> Extent {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Extent::Some(Body::CHUNKED),
            (Coding::Other, _) | (_, Length::Absent) => Extent::Some(Body::UntilClose),
            (_, Length::Invalid) => Extent::Invalid,
            (_, Length::Is(0)) => Extent::None,
            (_, Length::Is(length)) => Extent::Some(Body::Length(length)),
        }
    }
}

#[inline]
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

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
    let Some(request) = request_line(line) else {
        return false;
    };
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
    request_line(&head[..end])?.method.of(head)
}
