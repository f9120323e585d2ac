//! Start lines (RFC 9112, 3 and 4), whole and without their LF.

use super::head::{sub_span, Method, Request, Span};
use crate::exchange::HttpVersion;
use crate::words;

/// The longest method. Registered ones have at most 17 characters.
pub(super) const MAX_METHOD: usize = 256;

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

/// `method SP target SP HTTP/1.x`, without its LF. Spaces within the target are let through: they are what a
/// 400 is often about, and the version at the end is evidence enough.
#[inline(always)]
pub(super) fn request_line(line: &[u8], request: &mut Request) -> bool {
    let line = match line {
        [rest @ .., b'\r'] if !rest.ends_with(b" ") => rest,
        _ => trimmed_line(line),
    };
    let Some((rest, [version @ .., minor])) = line.split_last_chunk::<9>() else {
        return false;
    };
    if version != b" HTTP/1." || !minor.is_ascii_digit() {
        return false;
    }
    // Most are; any other is looked at byte by byte.
    let mut method_len = if rest.starts_with(b"GET ") { 3 } else { 0 };
    while rest.get(method_len).is_some_and(|&byte| is_token(byte)) {
        method_len += 1;
    }
    let (method, rest) = rest.split_at(method_len);
    let [b' ', target @ ..] = rest else {
        return false;
    };
    let mut target = target;
    if let [b' ', ..] | [.., b' '] = target {
        target = trimmed_target(target);
    }
    if method.is_empty() || method_len > MAX_METHOD || target.is_empty() || has_control(target) {
        return false;
    }
    request.method = Span::new(0, method_len);
    request.target = sub_span(line, target);
    request.version = if *minor == b'0' {
        HttpVersion::Http10
    } else {
        HttpVersion::Http11
    };
    request.kind = match method {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    true
}

/// Without CR and trailing spaces.
#[cold]
fn trimmed_line(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [rest @ .., b' '] = line {
        line = rest;
    }
    line
}

#[cold]
fn trimmed_target(mut target: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = target {
        target = rest;
    }
    target
}

#[inline(always)]
fn has_control(bytes: &[u8]) -> bool {
    // Without an early way out, so that it is vectorised.
    let any = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(false, |bad, &byte| bad | is_control(byte))
    };
    if let Some(last) = bytes.last_chunk::<16>() {
        return bytes.chunks_exact(16).any(any) || any(last);
    }
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => eight_have_control(first) | eight_have_control(last),
        _ => bytes.iter().any(|&byte| is_control(byte)),
    }
}

#[inline(always)]
fn eight_have_control(bytes: &[u8; 8]) -> bool {
    let word = u64::from_ne_bytes(*bytes);
    words::any_below(word, 0x20) | words::any_is(word, 0x7f)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_found_wherever_they_stand() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'x'; len];
                    bytes[at] = byte;
                    let is_one = byte < 0x20 || byte == 0x7f;
                    assert_eq!(has_control(&bytes), is_one, "{byte} at {at} of {len}");
                }
            }
        }
    }
}
