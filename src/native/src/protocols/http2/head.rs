//! What is kept of header fields: RFC 9113, 8.3, and the fields that name a request, its parents and its kind.

use crate::exchange::{Http, Product};
use crate::protocols::{forwarded, headers};

/// Bytes of a request's fields that are kept together; what does not fit is left out, not cut.
const MAX_TEXT: usize = 32 << 10;

/// A value that is kept.
#[derive(Clone, Copy)]
enum Part {
    Method,
    Target,
    Authority,
    Host,
    UserAgent,
    ForwardedFor,
    ForwardedProto,
    Forwarded,
    Traceparent,
    Tracestate,
}

const PARTS: usize = 10;

/// No number of interest is longer, whatever zeros it begins with.
const MAX_DIGITS: usize = 8;

/// A request's fields.
#[derive(Debug, Default)]
pub(super) struct Request {
    text: Vec<u8>,
    /// Offset and length within `text`; an empty one is absent.
    parts: [(u16, u16); PARTS],
    /// Parts whose first field has come, one bit each.
    seen: u16,
    traceparents: u8,
    /// All fields as lines, if somebody wants them.
    headers: Vec<u8>,
    pub kind: Content,
    /// grpc-timeout.
    pub timeout_ns: Option<u64>,
    /// There was a pseudo-header field: it is no trailer.
    pub leads: bool,
    /// Some field was not known.
    pub unknown: bool,
}

/// What content-type says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    #[default]
    Unsaid,
    Grpc,
    Other,
}

impl Content {
    fn of(value: &[u8]) -> Self {
        // application/grpc, application/grpc+proto, ...; grpc-web is another protocol
        match value.strip_prefix(b"application/grpc") {
            Some([] | [b'+' | b';' | b' ', ..]) => Self::Grpc,
            _ => Self::Other,
        }
    }
}

impl Request {
    /// Takes over the memory of one that is finished.
    pub fn reusing(mut text: Vec<u8>) -> Self {
        text.clear();
        Self {
            text,
            ..Self::default()
        }
    }

    /// The same fields of HTTP/1.1.
    pub fn of_http1(http: &Http<'_>) -> Self {
        let fields: [(&[u8], Option<&[u8]>); 8] = [
            (b":method", Some(http.method)),
            (b":path", Some(http.target)),
            (b":authority", http.host),
            (b"user-agent", http.user_agent),
            (b"x-forwarded-for", http.forwarded_for),
            (b"x-forwarded-proto", http.forwarded_proto),
            (b"traceparent", http.traceparent),
            (b"tracestate", http.tracestate),
        ];
        let mut request = Self::default();
        for (name, value) in fields {
            if let Some(value) = value {
                request.field(name, value);
            }
        }
        request
    }

    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.headers.capacity()
    }

    /// Lines of all its fields, if somebody wants them.
    pub fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// A field of its header block.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.leads |= name.first() == Some(&b':');
        if headers::are_wanted() {
            headers::append(&mut self.headers, name, value);
        }
        match name {
            b":method" => self.keep(Part::Method, value),
            b":path" => self.keep(Part::Target, value),
            b":authority" => self.keep(Part::Authority, value),
            b"host" => self.keep(Part::Host, value),
            b"user-agent" => self.keep(Part::UserAgent, value),
            b"x-forwarded-for" => self.keep_first(Part::ForwardedFor, value),
            b"x-forwarded-proto" => self.keep_first(Part::ForwardedProto, value),
            b"forwarded" => self.keep(Part::Forwarded, value),
            b"traceparent" => {
                self.traceparents = self.traceparents.saturating_add(1);
                self.keep(Part::Traceparent, value);
            }
            b"tracestate" => self.join(Part::Tracestate, value),
            b"content-type" => self.kind = Content::of(value),
            b"grpc-timeout" => self.timeout_ns = timeout_ns(value),
            b"" => self.unknown = true,
            _ => {}
        }
    }

    /// The first one counts: the others are not even looked at, since a byte on the wire may be a long field.
    fn keep(&mut self, part: Part, value: &[u8]) {
        let at = self.text.len();
        if !self.is_seen(part) && at + value.len() <= MAX_TEXT {
            self.text.extend_from_slice(value);
            self.parts[part as usize] = (at as u16, value.len() as u16);
        }
        self.seen |= 1 << part as u16;
    }

    fn keep_first(&mut self, part: Part, list: &[u8]) {
        if !self.is_seen(part) {
            self.keep(part, forwarded::first_element(list));
        }
    }

    fn is_seen(&self, part: Part) -> bool {
        self.seen & 1 << part as u16 != 0
    }

    /// All count.
    fn join(&mut self, part: Part, value: &[u8]) {
        let (at, len) = self.parts[part as usize];
        if len == 0 {
            self.seen &= !(1 << part as u16);
            return self.keep(part, value);
        }
        let at = usize::from(at);
        let before = at..at + usize::from(len);
        if before.end == self.text.len() {
            // nothing has come after it
            if before.end + 1 + value.len() <= MAX_TEXT {
                self.text.push(b',');
                self.text.extend_from_slice(value);
                self.parts[part as usize].1 += 1 + value.len() as u16;
            }
            return;
        }
        let joined = self.text.len();
        if joined + before.len() + 1 + value.len() <= MAX_TEXT {
            self.text.extend_from_within(before);
            self.text.push(b',');
            self.text.extend_from_slice(value);
            self.parts[part as usize] = (joined as u16, (self.text.len() - joined) as u16);
        }
    }

    fn part(&self, part: Part) -> Option<&[u8]> {
        let (at, len) = self.parts[part as usize];
        let bytes = self.text.get(usize::from(at)..)?.get(..usize::from(len))?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// "" where it is not known.
    pub fn method(&self) -> &[u8] {
        self.part(Part::Method).unwrap_or_default()
    }

    /// "" where it is not known, and for CONNECT.
    pub fn target(&self) -> &[u8] {
        self.part(Part::Target).unwrap_or_default()
    }

    pub fn host(&self) -> Option<&[u8]> {
        self.part(Part::Authority).or(self.part(Part::Host))
    }

    pub fn user_agent(&self) -> Option<&[u8]> {
        self.part(Part::UserAgent)
    }

    pub fn forwarded_for(&self) -> Option<&[u8]> {
        self.part(Part::ForwardedFor).or(self.forwarded(b"for"))
    }

    pub fn forwarded_proto(&self) -> Option<&[u8]> {
        self.part(Part::ForwardedProto).or(self.forwarded(b"proto"))
    }

    fn forwarded(&self, name: &[u8]) -> Option<&[u8]> {
        let value = forwarded::parameter(self.part(Part::Forwarded)?, name);
        (!value.is_empty()).then_some(value)
    }

    pub fn traceparent(&self) -> Option<&[u8]> {
        self.part(Part::Traceparent)
            .filter(|_| self.traceparents == 1)
    }

    pub fn tracestate(&self) -> Option<&[u8]> {
        self.part(Part::Tracestate)
    }
}

/// A response's fields, or its trailers'.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Response {
    /// 0 where it is not known.
    pub status: u16,
    pub kind: Content,
    pub grpc_status: Option<u8>,
    pub product: Option<Product>,
    /// Some field was not known.
    pub unknown: bool,
}

impl Response {
    /// A field of its header block.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":status" => self.status = decimal(value).unwrap_or(0),
            b"content-type" => self.kind = Content::of(value),
            b"grpc-status" => self.grpc_status = Some(grpc_status(value)),
            b"" => self.unknown = true,
            [b'x', ..] => self.product = self.product.or(Product::of_header(name)),
            _ => {}
        }
    }
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    let digits = value.len() <= MAX_DIGITS && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

/// grpc-status; what is no number means UNKNOWN, as clients have it.
fn grpc_status(value: &[u8]) -> u8 {
    decimal(value).unwrap_or(super::grpc::UNKNOWN)
}

/// grpc-timeout: at most eight digits and a unit.
fn timeout_ns(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let factor = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    let count: u64 = decimal(digits)?;
    count.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (text, ns) in [
            ("1H", Some(3_600_000_000_000)),
            ("99999999m", Some(99_999_999_000_000)),
            ("200m", Some(200_000_000)),
            ("5u", Some(5_000)),
            ("m", None),
            ("1", None),
            ("-1S", None),
            ("123456789S", None),
            ("", None),
        ] {
            assert_eq!(timeout_ns(text.as_bytes()), ns, "{text}");
        }
    }

    #[test]
    fn content_types() {
        for (text, kind) in [
            ("application/grpc", Content::Grpc),
            ("application/grpc+proto", Content::Grpc),
            ("application/grpc;x=y", Content::Grpc),
            ("application/grpc-web", Content::Other),
            ("application/json", Content::Other),
        ] {
            assert_eq!(Content::of(text.as_bytes()), kind, "{text}");
        }
    }

    #[test]
    fn what_is_kept() {
        let mut request = Request::default();
        request.field(b"tracestate", b"a=1");
        request.field(b"x-forwarded-for", b"10.0.0.1, 10.0.0.2");
        request.field(b"tracestate", b"b=2");
        request.field(b"host", b"h");
        assert!(!request.leads);
        request.field(b":authority", b"a");
        request.field(b"forwarded", b"for=\"[::1]\";proto=https");
        request.field(b":path", &[b'x'; MAX_TEXT]);
        assert!(request.leads && !request.unknown);
        assert_eq!(request.tracestate(), Some(&b"a=1,b=2"[..]));
        assert_eq!(request.forwarded_for(), Some(&b"10.0.0.1"[..]));
        assert_eq!(request.forwarded_proto(), Some(&b"https"[..]));
        assert_eq!(request.host(), Some(&b"a"[..]));
        assert_eq!(request.target(), b"");
        request.field(b"traceparent", b"t");
        assert_eq!(request.traceparent(), Some(&b"t"[..]));
        request.field(b"traceparent", b"t");
        assert_eq!(request.traceparent(), None);
    }
}
