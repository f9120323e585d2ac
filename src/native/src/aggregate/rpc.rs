//! What is gRPC's own in a call: its method's name and its status.
//!
//! Sources: OpenTelemetry's conventions for gRPC (semantic conventions 1.44, docs/rpc/grpc.md), gRPC's
//! doc/statuscodes.md and doc/PROTOCOL-HTTP2.md.

use std::borrow::Cow;
use std::sync::Arc;

use super::proves_path;
use crate::exchange::{Grpc, Http, Role};
use crate::routes::{RouteId, Router};

/// rpc.system.name, and the name of a span whose method is `OTHER`.
pub const SYSTEM: &str = "grpc";
/// rpc.method of what is no known method.
const OTHER: &str = "_OTHER";

/// Longest name of a method.
const MAX_NAME: usize = 256;

/// Names of the status codes, and whether each is an error of the server's too: a client's errors are all but OK.
const STATUS: [(&str, bool); 17] = [
    ("OK", false),
    ("CANCELLED", false),
    ("UNKNOWN", true),
    ("INVALID_ARGUMENT", false),
    ("DEADLINE_EXCEEDED", true),
    ("NOT_FOUND", false),
    ("ALREADY_EXISTS", false),
    ("PERMISSION_DENIED", false),
    ("RESOURCE_EXHAUSTED", false),
    ("FAILED_PRECONDITION", false),
    ("ABORTED", false),
    ("OUT_OF_RANGE", false),
    ("UNIMPLEMENTED", true),
    ("INTERNAL", true),
    ("UNAVAILABLE", true),
    ("DATA_LOSS", true),
    ("UNAUTHENTICATED", false),
];

const OK: u16 = 0;
/// Beyond all codes: it could not be known.
const NO_STATUS: u16 = u16::MAX;
const UNIMPLEMENTED: u8 = 12;

/// The status as series have it.
pub fn status(grpc: &Grpc) -> u16 {
    grpc.status.map_or(NO_STATUS, u16::from)
}

/// rpc.response.status_code: the code's name, its digits where it has none; "" where it could not be known.
pub fn status_code(status: u16) -> Cow<'static, str> {
    match STATUS.get(usize::from(status)) {
        Some((name, _)) => Cow::Borrowed(name),
        None if status == NO_STATUS => Cow::Borrowed(""),
        None => Cow::Owned(status.to_string()),
    }
}

/// A code without a name is an error on both sides, as it is read as UNKNOWN (doc/statuscodes.md).
pub fn is_error(role: Role, status: u16) -> bool {
    if status == NO_STATUS {
        return false;
    }
    match role {
        Role::Client => status != OK,
        Role::Server => STATUS
            .get(usize::from(status))
            .is_none_or(|(_, servers)| *servers),
    }
}

/// The method of a call to this path; UNSET is `OTHER`. A client's program knows what it asks for, a server is
/// asked for anything: its methods are those that it answered. Neither has a method that is not implemented.
#[inline(never)]
pub fn method(
    router: &mut Router,
    role: Role,
    path: &[u8],
    http: &Http<'_>,
    grpc: &Grpc,
) -> RouteId {
    let Some(name) = name_in(path) else {
        return RouteId::UNSET;
    };
    let answered = role == Role::Client || proves_path(http.status);
    router.literal(name, answered && grpc.status != Some(UNIMPLEMENTED))
}

/// rpc.method, of `SeriesFields::route`.
pub fn name(router: &Router, method: RouteId) -> Arc<str> {
    match method {
        RouteId::UNSET => OTHER.into(),
        known => router.name(known).clone(),
    }
}

/// "package.Service/Method" of "/package.Service/Method"; None where this is no such name.
fn name_in(path: &[u8]) -> Option<&str> {
    let name = path.strip_prefix(b"/").filter(|n| n.len() <= MAX_NAME)?;
    let slash = memchr::memrchr(b'/', name)?;
    let whole = slash > 0 && slash + 1 < name.len();
    let clean = name.iter().all(|b| b.is_ascii_graphic() && *b != b';');
    std::str::from_utf8(name).ok().filter(|_| whole && clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (path, expected) in [
            ("/shop.v1.Cart/Add", Some("shop.v1.Cart/Add")),
            ("/Echo/Say", Some("Echo/Say")),
            ("/a/b/C", Some("a/b/C")),
            ("/Echo", None),
            ("/Echo/", None),
            ("//Say", None),
            ("", None),
            ("*", None),
            ("/", None),
            ("shop/Add", None),
            ("/a/b c", None),
            ("/a;sid=1/b", None),
            ("/\u{e9}/b", None),
        ] {
            assert_eq!(name_in(path.as_bytes()), expected, "{path}");
        }
        let long = format!("/a/{}", "b".repeat(MAX_NAME - 2));
        assert!(name_in(long.as_bytes()).is_some());
        assert!(name_in(format!("{long}b").as_bytes()).is_none());
    }

    #[test]
    fn errors_are_the_conventions() {
        for status in 0..=17 {
            let servers = [2, 4, 12, 13, 14, 15, 17].contains(&status);
            assert_eq!(is_error(Role::Server, status), servers, "{status}");
            assert_eq!(is_error(Role::Client, status), status != 0, "{status}");
        }
        assert_eq!(status_code(4), "DEADLINE_EXCEEDED");
        assert_eq!(status_code(16), "UNAUTHENTICATED");
        assert_eq!(status_code(200), "200");
        let unknown = status(&Grpc::default());
        assert_eq!(status_code(unknown), "");
        assert!(!is_error(Role::Client, unknown));
    }
}
