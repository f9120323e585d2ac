//! Header fields as a message had them, for who asked for some of them: nobody, as a rule, and then nothing is kept.
//!
//! What is kept are lines, `name: value CR LF`, as HTTP/1 has them; HTTP/2's fields are written so. The memory of one
//! message's is bounded by `MOST`: what does not fit is left out.

use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of one message's header fields that are kept at most.
pub const MOST: usize = 8 << 10;

/// All parsers of this process keep them: who asks is one operator, and a parser knows nobody.
static WANTED: AtomicBool = AtomicBool::new(false);

/// From now on header fields are kept, or are not.
pub fn want(wanted: bool) {
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Whether header fields are to be kept.
#[inline(always)]
pub fn are_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// The lines behind a head's first.
pub fn of_head(head: &[u8]) -> &[u8] {
    let first = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    &head[first..]
}

/// Writes a field as a line. One that would be more than a line is none.
pub fn append(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let len = name.len() + value.len() + 4;
    let is_line = memchr::memchr2(b'\r', b'\n', value).is_none() && is_name(name);
    if is_line && lines.len() + len <= MOST {
        lines.reserve(len);
        lines.extend_from_slice(name);
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value);
        lines.extend_from_slice(b"\r\n");
    }
}

/// Names and values of lines; lines that are no header's are passed over.
pub fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        is_name(name).then_some((name, value))
    })
}

/// RFC 9110, 5.1: a token.
fn is_name(name: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &[u8]) -> Vec<(&[u8], &[u8])> {
        fields(lines).collect()
    }

    #[test]
    fn lines_are_names_and_values() {
        let head = b"GET http://h:80/ HTTP/1.1\r\nA: 1\r\nb:2 \r\n folded: x\r\n: y\r\nno colon\r\nC:\r\n\r\n";
        let expected: [(&[u8], &[u8]); 3] = [(b"A", b"1"), (b"b", b"2"), (b"C", b"")];
        assert_eq!(all(of_head(head)), expected);
        assert_eq!(all(of_head(b"GET / HTTP/1.1")), []);
    }

    #[test]
    fn a_field_is_one_line_or_none() {
        let mut lines = Vec::new();
        append(&mut lines, b"a", b"1\r\nauthorization: x");
        append(&mut lines, b":path", b"/");
        append(&mut lines, b"", b"/");
        append(&mut lines, b"b", &[b'x'; MOST]);
        assert!(lines.is_empty());
        append(&mut lines, b"b", b"2: 3");
        assert_eq!(all(&lines), [(&b"b"[..], &b"2: 3"[..])]);
    }
}
