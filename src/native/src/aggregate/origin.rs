//! server.address and server.port: from what the client asked for, else from the socket.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::conn::{Address, ConnInfo, Endpoint};

/// Longest host that DNS allows, with a little to spare.
const MAX_HOST_BYTES: usize = 260;

/// How a server was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// gRPC, with or without TLS.
    Grpc,
    /// By no URL: databases, brokers, resolvers.
    None,
}

impl Scheme {
    /// The port that an authority without one means. gRPC's means none (0): it need not be what was connected to.
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Grpc | Self::None => 0,
        }
    }
}

/// A server's name and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host name in lower case, IP address without brackets, or unix socket path.
    pub address: Box<str>,
    /// 0 where there is none.
    pub port: u16,
}

impl Origin {
    /// What was asked for, else the socket. gRPC has nothing to say to a unix socket but "localhost": there it is the
    /// path that tells servers apart.
    pub fn of(conn: &ConnInfo, authority: &[u8], scheme: Scheme) -> Self {
        let socket = || Self::of_socket(conn, conn.server());
        if scheme == Scheme::Grpc && conn.remote.address == Address::Unix {
            let socket = socket();
            if !socket.address.is_empty() {
                return socket;
            }
        }
        Self::of_authority(authority, scheme).unwrap_or_else(socket)
    }

    /// From a Host header or an authority, `[userinfo@]host[:port]`; None where it is none (RFC 3986, 3.2).
    pub fn of_authority(authority: &[u8], scheme: Scheme) -> Option<Self> {
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
            [] | [b':'] => scheme.default_port(),
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

    fn of_socket(conn: &ConnInfo, end: Endpoint) -> Self {
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
        use Scheme::{Grpc, Http, Https};
        for (text, scheme, expected) in [
            ("example.org", Http, Some(("example.org", 80))),
            ("Example.ORG", Https, Some(("example.org", 443))),
            ("example.org:8080", Https, Some(("example.org", 8080))),
            ("example.org:", Http, Some(("example.org", 80))),
            ("shop", Grpc, Some(("shop", 0))),
            ("shop:50051", Grpc, Some(("shop", 50051))),
            ("u:p@h:1", Http, Some(("h", 1))),
            ("[::1]:9", Http, Some(("::1", 9))),
            ("[fe80::1]", Https, Some(("fe80::1", 443))),
            (" h ", Http, Some(("h", 80))),
            ("", Http, None),
            (":80", Http, None),
            ("h:99999", Http, None),
            ("h:x", Http, None),
            ("::1", Http, None),
            ("[::1", Http, None),
            ("[::1]x", Http, None),
            ("[x]", Http, None),
            ("a b", Http, None),
            ("a/b", Http, None),
            ("a\u{e9}", Http, None),
        ] {
            let origin = Origin::of_authority(text.as_bytes(), scheme);
            assert_eq!(
                origin.as_ref().map(|o| (&*o.address, o.port)),
                expected,
                "{text}"
            );
        }
        assert!(Origin::of_authority(&[b'a'; 300], Http).is_none());
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
