//! Who a request is forwarded for: X-Forwarded-* and Forwarded (RFC 7239), the same in every version of HTTP.

use memchr::memchr;

/// The first element of a comma-separated list.
pub(super) fn first_element(value: &[u8]) -> &[u8] {
    memchr(b',', value)
        .map_or(value, |comma| &value[..comma])
        .trim_ascii()
}

/// A parameter of the first element of a Forwarded header, without its quotes; "" where there is none.
#[cold]
pub(super) fn parameter<'a>(forwarded: &'a [u8], name: &[u8]) -> &'a [u8] {
    for pair in first_element(forwarded).split(|&byte| byte == b';') {
        let Some(equals) = memchr(b'=', pair) else {
            continue;
        };
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(name) {
            let value = pair[equals + 1..].trim_ascii();
            let unquoted = value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""));
            return unquoted.unwrap_or(value);
        }
    }
    b""
}
