//! server.address and server.port: from what the client asked for, else from the socket.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::conn::{Address, ConnInfo, Endpoint};

/// Longest host that DNS allows, with a little to spare.
const MAX_HOST_BYTES: usize = 260;

/// A server's name and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host name in lower case, IP address without brackets, or unix socket path.
    pub address: Box<str>,
    /// 0 where there is none.
    pub port: u16,
}

impl Origin {
    /// From a Host header or an authority, `[userinfo@]host[:port]`; None where it is none (RFC 3986, 3.2).
    pub fn of_authority(authority: &[u8], https: bool) -> Option<Self> {
        let at = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
        let authority = authority[at..].trim_ascii();
        if authority.len() > MAX_HOST_BYTES {
            return None;
        }
        let (host, port) = match authority.strip_prefix(b"[") {
            Some(rest) => {
                let end = memchr::memchr(b']', rest)?;
                if !rest[..end]
                    .iter()
                    .all(|b| b.is_ascii_hexdigit() || b":.%".contains(b))
                {
                    return None;
                }
                (&rest[..end], &rest[end + 1..])
            }
            None => {
                let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
                let host = &authority[..end];
                if !host
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(b))
                {
                    return None;
                }
                (host, &authority[end..])
            }
        };
        let port = match port {
            [] | [b':'] => {
                if https {
                    443
                } else {
                    80
                }
            }
            [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(digits).ok()?.parse().ok()?
            }
            _ => return None,
        };
        let host = std::str::from_utf8(host)
            .ok()
            .filter(|host| !host.is_empty())?;
        Some(Self {
            address: host.to_ascii_lowercase().into(),
            port,
        })
    }

    /// From the socket.
    pub fn of_socket(conn: &ConnInfo, end: Endpoint) -> Self {
        Self {
            address: text(conn, end.address).into(),
            port: end.port,
        }
    }
}

/// An address as its attribute wants it; "" where unknown.
pub fn text(conn: &ConnInfo, address: Address) -> Cow<'_, str> {
    match address {
        Address::Unknown => Cow::Borrowed(""),
        Address::V4(v4) => Cow::Owned(v4.to_string()),
        Address::V6(v6) => Cow::Owned(match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => v6.to_string(),
        }),
        Address::Unix => Cow::Borrowed(conn.unix_path.as_deref().unwrap_or("")),
    }
}

/// An end as people read it: "address:port", "[v6]:port", "unix:path".
pub fn for_people(conn: &ConnInfo, end: Endpoint) -> String {
    let mut out = match end.address {
        Address::Unix => return format!("unix:{}", text(conn, end.address)),
        Address::V6(v6) if v6.to_ipv4_mapped().is_none() => format!("[{v6}]"),
        other => text(conn, other).into_owned(),
    };
    if end.port != 0 {
        let _ = write!(out, ":{}", end.port);
    }
    out
}

/// The client's address from a Forwarded or X-Forwarded-For element, without quotes, brackets and port; None
/// where it is obviously none.
pub fn forwarded_client(element: &[u8]) -> Option<&str> {
    let element = element.trim_ascii();
    let element = element
        .strip_prefix(b"\"")
        .and_then(|e| e.strip_suffix(b"\""))
        .unwrap_or(element);
    let host = match element.strip_prefix(b"[") {
        Some(rest) => &rest[..memchr::memchr(b']', rest)?],
        None => match memchr::memchr(b':', element) {
            // Two colons: IPv6 without brackets.
            Some(colon) if memchr::memchr(b':', &element[colon + 1..]).is_none() => {
                &element[..colon]
            }
            _ => element,
        },
    };
    let fits = !host.is_empty()
        && host.len() <= MAX_HOST_BYTES
        && host
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b".:-_%".contains(b));
    std::str::from_utf8(host).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for (text, https, expected) in [
            ("example.org", false, Some(("example.org", 80))),
            ("Example.ORG", true, Some(("example.org", 443))),
            ("example.org:8080", true, Some(("example.org", 8080))),
            ("example.org:", false, Some(("example.org", 80))),
            ("u:p@h:1", false, Some(("h", 1))),
            ("[::1]:9", false, Some(("::1", 9))),
            ("[fe80::1]", true, Some(("fe80::1", 443))),
            (" h ", false, Some(("h", 80))),
            ("", false, None),
            (":80", false, None),
            ("h:99999", false, None),
            ("h:x", false, None),
            ("::1", false, None),
            ("[::1", false, None),
            ("[::1]x", false, None),
            ("[x]", false, None),
            ("a b", false, None),
            ("a/b", false, None),
            ("a\u{e9}", false, None),
        ] {
            let origin = Origin::of_authority(text.as_bytes(), https);
            assert_eq!(
                origin.as_ref().map(|o| (&*o.address, o.port)),
                expected,
                "{text}"
            );
        }
        assert!(Origin::of_authority(&[b'a'; 300], false).is_none());
    }

    #[test]
    fn forwarded() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.1:99", Some("10.0.0.1")),
            ("\"[2001:db8::1]:99\"", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("unknown", Some("unknown")),
            ("_hidden", Some("_hidden")),
            ("<script>", None),
            ("", None),
            ("[", None),
        ] {
            assert_eq!(forwarded_client(text.as_bytes()), expected, "{text}");
        }
    }
}
