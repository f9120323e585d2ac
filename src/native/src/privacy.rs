//! What an operator wants kept back beyond what `redact` and `sql` keep back by themselves: attributes by name,
//! values of query parameters by theirs.
//!
//! A policy is laid over a span once it is encoded, before anybody else sees it, so that whatever comes behind
//! (queue, disk, any exporter) never had it. Without one a span pays for a branch. It copies each span once, and its
//! memory is its lists'.

use std::borrow::Cow;

use crate::aggregate::Line;
use crate::otlp::append_bytes;
use crate::protocols::headers;
use crate::redact::{self, REDACTED};

/// `*` stands for any characters, `?` for one. Compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(Vec<u8>);

impl Glob {
    fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into_bytes())
    }

    /// `text` is lower case. Time is at most the product of both lengths.
    fn matches(&self, text: &[u8]) -> bool {
        let glob = &self.0;
        let (mut at, mut in_glob) = (0, 0);
        // The last star, and where what it stands for ends as far as is known.
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match glob.get(in_glob) {
                Some(b'*') => {
                    star = Some((in_glob, at));
                    in_glob += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[at] => {
                    in_glob += 1;
                    at += 1;
                }
                _ => {
                    let Some((place, end)) = star else {
                        return false;
                    };
                    star = Some((place, end + 1));
                    in_glob = place + 1;
                    at = end + 1;
                }
            }
        }
        glob[in_glob..].iter().all(|byte| *byte == b'*')
    }
}

/// Names that a list holds for; None: no such list.
fn globs(list: &[String]) -> Option<Vec<Glob>> {
    (!list.is_empty()).then(|| list.iter().map(|one| Glob::new(one)).collect())
}

fn any(globs: &Option<Vec<Glob>>, text: &[u8]) -> bool {
    globs
        .as_ref()
        .is_some_and(|globs| globs.iter().any(|glob| glob.matches(text)))
}

/// Lists of globs as the operator has them; an empty one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "python", derive(pyo3::FromPyObject))]
pub struct Lists {
    /// Attributes that no span has.
    pub drop_attributes: Vec<String>,
    /// If there are any: the only attributes that spans have.
    pub keep_attributes: Vec<String>,
    /// Query parameters whose values are REDACTED.
    pub redact_parameters: Vec<String>,
    /// If there are any: the only query parameters whose values, and that without one, are not REDACTED.
    pub keep_parameters: Vec<String>,
    /// Header fields of requests that become attributes.
    pub request_headers: Vec<String>,
    /// The same of responses.
    pub response_headers: Vec<String>,
    /// Those of them that are known to hold secrets, and are said all the same.
    pub clear_headers: Vec<String>,
}

/// Longest attribute's name, or parameter's, that is compared; a longer one counts as in no list.
const MAX_NAME: usize = 256;

/// Attributes that one message's header fields can become at most.
const MAX_HEADERS: usize = 64;
/// Longest value of a header field; what is beyond is cut.
const MAX_HEADER_VALUE: usize = 1 << 10;
const HEADER_PREFIXES: [&str; 2] = ["http.request.header.", "http.response.header."];

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Query {
    AsIs,
    Without,
    Redacted,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    drop: Option<Vec<Glob>>,
    keep: Option<Vec<Glob>>,
    redact: Option<Vec<Glob>>,
    keep_parameters: Option<Vec<Glob>>,
    /// Of requests and of responses.
    headers: [Option<Vec<Glob>>; 2],
    clear_headers: Option<Vec<Glob>>,
    query: Query,
    has_statements: bool,
}

impl Policy {
    /// None: the lists ask for nothing.
    pub fn new(lists: &Lists) -> Option<Self> {
        if *lists == Lists::default() {
            return None;
        }
        let mut policy = Self {
            drop: globs(&lists.drop_attributes),
            keep: globs(&lists.keep_attributes),
            redact: globs(&lists.redact_parameters),
            keep_parameters: globs(&lists.keep_parameters),
            headers: [
                globs(&lists.request_headers),
                globs(&lists.response_headers),
            ],
            clear_headers: globs(&lists.clear_headers),
            query: Query::AsIs,
            has_statements: true,
        };
        policy.has_statements = policy.has(b"db.query.text");
        policy.query = if !policy.has(b"url.query") {
            // In url.full it would be the same secret.
            Query::Without
        } else if policy.redact.is_some() || policy.keep_parameters.is_some() {
            Query::Redacted
        } else {
            Query::AsIs
        };
        Some(policy)
    }

    /// Whether header fields become attributes.
    pub fn captures(&self) -> bool {
        self.headers.iter().any(Option::is_some)
    }

    /// Whether spans have this attribute.
    fn has(&self, name: &[u8]) -> bool {
        !any(&self.drop, name) && (self.keep.is_none() || any(&self.keep, name))
    }

    /// Lays the policy over the one `ScopeSpans.spans` field that `out` has from `start` on. `headers`: lines of its
    /// request's and its response's header fields, for which it may have room.
    pub fn lay_over(&self, out: &mut Vec<u8>, start: usize, headers: [&[u8]; 2]) {
        let Some(span) = Field::first(&out[start..]) else {
            return;
        };
        let mut kept = Vec::with_capacity(span.value.len());
        let mut rest = span.value;
        while let Some(field) = Field::first(rest) {
            rest = &rest[field.whole.len()..];
            if field.number == ATTRIBUTES {
                self.attribute(&field, &mut kept);
            } else {
                kept.extend_from_slice(field.whole);
            }
        }
        for (place, prefix) in HEADER_PREFIXES.iter().enumerate() {
            if let Some(wanted) = &self.headers[place] {
                self.header_attributes(prefix, wanted, headers[place], &mut kept);
            }
        }
        out.truncate(start);
        append_bytes(out, SPANS, &kept);
    }

    /// One attribute for each name, with all its values.
    fn header_attributes(&self, prefix: &str, wanted: &[Glob], lines: &[u8], kept: &mut Vec<u8>) {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, value) in headers::fields(lines) {
            let Ok(name) = String::from_utf8(name.to_ascii_lowercase()) else {
                continue; // no token
            };
            let attribute = format!("{prefix}{name}");
            if !wanted.iter().any(|glob| glob.matches(name.as_bytes()))
                || !self.has(attribute.as_bytes())
            {
                continue;
            }
            let value = self.header_value(&name, value);
            let mut one = Vec::with_capacity(value.len() + 4);
            append_bytes(&mut one, STRING_VALUE as u8, &value);
            let at = found.iter().position(|(known, _)| *known == attribute);
            let at = match at {
                Some(at) => at,
                None if found.len() == MAX_HEADERS => return,
                None => {
                    found.push((attribute, Vec::new()));
                    found.len() - 1
                }
            };
            append_bytes(&mut found[at].1, ARRAY_VALUES, &one);
        }
        for (attribute, values) in found {
            pair(kept, attribute.as_bytes(), ARRAY_VALUE, &values);
        }
    }

    fn header_value(&self, name: &str, value: &[u8]) -> Vec<u8> {
        if redact::is_secret_header(name) && !any(&self.clear_headers, name.as_bytes()) {
            return REDACTED.into();
        }
        let value = &value[..value.len().min(MAX_HEADER_VALUE)];
        // A URL in it has the same secrets as elsewhere.
        let clean = redact::target(value);
        let clean = self.url(&clean);
        String::from_utf8_lossy(&clean).into_owned().into_bytes()
    }

    fn attribute(&self, field: &Field<'_>, kept: &mut Vec<u8>) {
        let Some(key) = Field::first(field.value).filter(|key| key.number == KEY) else {
            return;
        };
        let mut room = [0; MAX_NAME];
        if !self.has(lower(key.value, &mut room)) {
            return;
        }
        let is_query = key.value == b"url.query";
        if self.query != Query::AsIs && (is_query || key.value == b"url.full") {
            let value = Field::first(&field.value[key.whole.len()..])
                .and_then(|any| Field::first(any.value))
                .filter(|text| text.number == STRING_VALUE);
            if let Some(text) = value {
                let changed = if is_query {
                    self.query(text.value)
                } else {
                    self.url(text.value)
                };
                return pair(kept, key.value, STRING_VALUE as u8, &changed);
            }
        }
        kept.extend_from_slice(field.whole);
    }

    /// A URL, or a request's target, with its query as it may be seen.
    fn url<'a>(&self, url: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(mark) = memchr::memchr(b'?', url) else {
            return Cow::Borrowed(url);
        };
        match self.query {
            Query::AsIs => Cow::Borrowed(url),
            Query::Without => Cow::Borrowed(&url[..mark]),
            Query::Redacted => {
                let mut out = url[..=mark].to_vec();
                out.extend_from_slice(&self.query(&url[mark + 1..]));
                Cow::Owned(out)
            }
        }
    }

    fn query<'a>(&self, query: &'a [u8]) -> Cow<'a, [u8]> {
        if self.query != Query::Redacted {
            return Cow::Borrowed(query);
        }
        let mut out = Vec::with_capacity(query.len());
        for piece in query.split_inclusive(|byte| matches!(byte, b'&' | b';')) {
            let (pair, end) = match piece.split_last() {
                Some((end @ (b'&' | b';'), pair)) => (pair, std::slice::from_ref(end)),
                _ => (piece, &b""[..]),
            };
            self.pair(pair, &mut out);
            out.extend_from_slice(end);
        }
        Cow::Owned(out)
    }

    fn pair(&self, pair: &[u8], out: &mut Vec<u8>) {
        let equals = memchr::memchr(b'=', pair);
        let key = &pair[..equals.unwrap_or(pair.len())];
        let mut room = [0; MAX_NAME];
        let name = decoded(key, &mut room);
        let kept = self.keep_parameters.is_none() || any(&self.keep_parameters, name);
        let hidden = !kept || any(&self.redact, name);
        match equals {
            Some(at) if hidden => {
                out.extend_from_slice(&pair[..=at]);
                out.extend_from_slice(REDACTED.as_bytes());
            }
            // A word alone is a value as likely as a name.
            None if !kept && !key.is_empty() => out.extend_from_slice(REDACTED.as_bytes()),
            _ => out.extend_from_slice(pair),
        }
    }

    /// The same for what people read.
    pub fn lay_over_line(&self, line: &mut Line) {
        if self.query != Query::AsIs {
            line.target = String::from_utf8_lossy(&self.url(line.target.as_bytes())).into_owned();
        }
        if !self.has_statements {
            line.query.clear();
        }
    }
}

/// Fields' numbers: ScopeSpans.spans, Span.attributes, KeyValue.key and .value, AnyValue.string_value and
/// .array_value, ArrayValue.values.
const SPANS: u8 = 2;
const ATTRIBUTES: u64 = 9;
const KEY: u64 = 1;
const VALUE: u8 = 2;
const STRING_VALUE: u64 = 1;
const ARRAY_VALUE: u8 = 5;
const ARRAY_VALUES: u8 = 1;

/// A field of a protobuf message, with its value if that is length-delimited.
struct Field<'a> {
    number: u64,
    whole: &'a [u8],
    value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The first one of `bytes`; None at the end, and for what is none.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (tag, mut end) = varint(bytes)?;
        let mut start = end;
        match tag & 7 {
            0 => end += varint(&bytes[end..])?.1,
            1 => end += 8,
            2 => {
                let (len, bytes_of_len) = varint(&bytes[end..])?;
                start = end + bytes_of_len;
                end = start.checked_add(usize::try_from(len).ok()?)?;
            }
            5 => end += 4,
            _ => return None,
        }
        Some(Self {
            number: tag >> 3,
            whole: bytes.get(..end)?,
            value: bytes.get(start..end)?,
        })
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// Appends an attribute. `field`: of AnyValue.
fn pair(out: &mut Vec<u8>, key: &[u8], field: u8, value: &[u8]) {
    let mut text = Vec::with_capacity(value.len() + 8);
    append_bytes(&mut text, field, value);
    let mut pair = Vec::with_capacity(key.len() + text.len() + 16);
    append_bytes(&mut pair, KEY as u8, key);
    append_bytes(&mut pair, VALUE, &text);
    append_bytes(out, ATTRIBUTES as u8, &pair);
}

fn lower<'a>(name: &[u8], room: &'a mut [u8; MAX_NAME]) -> &'a [u8] {
    let len = if name.len() > MAX_NAME { 0 } else { name.len() };
    room[..len].copy_from_slice(&name[..len]);
    room[..len].make_ascii_lowercase();
    &room[..len]
}

/// A parameter's name without percent-encoding and case.
fn decoded<'a>(key: &[u8], room: &'a mut [u8; MAX_NAME]) -> &'a [u8] {
    let (mut at, mut len) = (0, 0);
    while at < key.len() {
        if len == MAX_NAME {
            return &[];
        }
        let digit = |place: usize| (*key.get(place)? as char).to_digit(16);
        let escaped = (key[at] == b'%')
            .then(|| Some(digit(at + 1)? << 4 | digit(at + 2)?))
            .flatten();
        at += if escaped.is_some() { 3 } else { 1 };
        room[len] = escaped.map_or_else(|| key[at - 1], |byte| byte as u8);
        room[len].make_ascii_lowercase();
        len += 1;
    }
    &room[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(change: impl FnOnce(&mut Lists)) -> Lists {
        let mut lists = Lists::default();
        change(&mut lists);
        lists
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn policy(change: impl FnOnce(&mut Lists)) -> Policy {
        Policy::new(&lists(change)).unwrap()
    }

    #[test]
    fn globs_match_as_people_expect() {
        for (glob, text, is) in [
            ("url.query", "url.query", true),
            ("url.query", "url.query2", false),
            ("url.*", "url.path", true),
            ("*.text", "db.query.text", true),
            ("*", "", true),
            ("", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*aab", "aaaaab", true),
            ("URL.*", "url.path", true),
        ] {
            assert_eq!(
                Glob::new(glob).matches(text.as_bytes()),
                is,
                "{glob} {text}"
            );
        }
    }

    #[test]
    fn queries_by_lists_of_parameters() {
        let redact = policy(|l| l.redact_parameters = names(&["email", "user_*"]));
        let keep = policy(|l| l.keep_parameters = names(&["page"]));
        for (policy, query, expected) in [
            (&redact, "email=a@b&page=1", "email=REDACTED&page=1"),
            (&redact, "USER_name=x;b", "USER_name=REDACTED;b"),
            (&redact, "%65mail=x&", "%65mail=REDACTED&"),
            (&redact, "%6=x&e%", "%6=x&e%"),
            (&redact, "", ""),
            (&keep, "page=1&q=x&", "page=1&q=REDACTED&"),
            (&keep, "s3cret", "REDACTED"),
            (&keep, "&&=x", "&&=REDACTED"),
            (&keep, "page", "page"),
        ] {
            assert_eq!(
                policy.query(query.as_bytes()),
                expected.as_bytes(),
                "{query}"
            );
        }
        assert_eq!(&*keep.url(b"/a?q=x"), b"/a?q=REDACTED");
        assert_eq!(&*keep.url(b"/a"), b"/a");
        let without = policy(|l| l.drop_attributes = names(&["url.query"]));
        assert_eq!(&*without.url(b"http://h/a?q=x#f"), b"http://h/a");
    }

    #[test]
    fn a_name_beyond_all_lists_is_in_none() {
        let long = "x".repeat(MAX_NAME + 1);
        let keep = policy(|l| l.keep_parameters = names(&["x*"]));
        let query = format!("{long}=1");
        assert_eq!(
            keep.query(query.as_bytes()),
            format!("{long}=REDACTED").as_bytes()
        );
    }

    #[test]
    fn no_lists_are_no_policy() {
        assert_eq!(Policy::new(&Lists::default()), None);
    }

    #[test]
    fn bytes_that_are_no_span_stay() {
        let policy = policy(|l| l.drop_attributes = names(&["*"]));
        for bytes in [&b""[..], b"\x12", b"\x12\xff", b"\x12\x7f\x4a", b"\x17"] {
            let mut out = bytes.to_vec();
            policy.lay_over(&mut out, 0, [&[]; 2]);
            assert_eq!(out, bytes);
        }
    }
}
