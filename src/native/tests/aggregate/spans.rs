//! Every field of a span.

use std::net::{Ipv4Addr, Ipv6Addr};

use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::{ErrorKind, Http, HttpVersion, Role};
use prost::Message;

use crate::world::*;

#[test]
fn a_server_span_in_full() {
    let mut a = aggregator(|_| {});
    let http = Http {
        host: Some(b"Shop.example.org"),
        user_agent: Some(b"curl/8"),
        forwarded_for: Some(b"203.0.113.9"),
        forwarded_proto: Some(b"HTTPS"),
        traceparent: Some(PARENT),
        tracestate: Some(b"a=1,b=2"),
        request_body_bytes: 300,
        response_body_bytes: 70_000,
        status: Some(503),
        method: b"PUT",
        ..get("/users/42?page=1&token=abc")
    };
    send(&mut a, &mut conn(7, Role::Server), http);
    let spans = spans(&mut a);
    let span = &spans[0];
    assert_eq!(span.name, "PUT /users/{id}");
    assert_eq!(span.kind, 2);
    assert_eq!(span.trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(
        span.parent_span_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert!(span.span_id.len() == 8 && span.span_id != span.parent_span_id);
    assert_eq!(span.trace_state, "a=1,b=2");
    assert_eq!(span.flags, 0x301);
    assert_eq!(span.start_time_unix_nano, OFFSET as u64 + 5_000_000_000);
    assert_eq!(span.end_time_unix_nano, OFFSET as u64 + 5_020_000_000);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    expect(
        span,
        &[
            ("http.request.method", "PUT"),
            ("url.scheme", "https"),
            ("url.path", "/users/42"),
            ("url.query", "page=1&token=REDACTED"),
            ("http.route", "/users/{id}"),
            ("http.response.status_code", "503"),
            ("error.type", "503"),
            ("network.protocol.version", "1.1"),
            ("server.address", "shop.example.org"),
            ("server.port", "443"),
            ("client.address", "203.0.113.9"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "45678"),
            ("user_agent.original", "curl/8"),
            ("http.request.body.size", "300"),
            ("http.response.body.size", "70000"),
        ],
    );
}

#[test]
fn a_plain_server_span() {
    let mut a = aggregator(|_| {});
    let http = Http {
        version: HttpVersion::Http10,
        status: Some(404),
        ..get("/nothing/here")
    };
    send(&mut a, &mut conn(7, Role::Server), http);
    let spans = spans(&mut a);
    let span = &spans[0];
    assert_eq!((&*span.name, span.flags), ("GET", 0x103));
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.trace_state, "ot=th:0");
    assert!(span.status.is_none(), "a server's 4xx is no error");
    expect(
        span,
        &[
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("url.path", "/nothing/here"),
            ("http.response.status_code", "404"),
            ("network.protocol.version", "1.0"),
            ("server.address", "10.0.0.1"),
            ("server.port", "8080"),
            ("client.address", "10.0.0.2"),
            ("client.port", "45678"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "45678"),
            ("http.request.body.size", "0"),
            ("http.response.body.size", "0"),
        ],
    );
}

#[test]
fn a_client_span_is_the_child_of_the_applications() {
    let mut a = aggregator(|_| {});
    let http = Http {
        host: Some(b"user:secret@api.example.org:8443"),
        traceparent: Some(PARENT),
        status: Some(404),
        forwarded_for: Some(b"1.2.3.4"),
        ..get("/v1/pay?api_key=abc")
    };
    let mut conn = conn(7, Role::Client);
    conn.encrypted = true;
    send(&mut a, &mut conn, http);
    let spans = spans(&mut a);
    let span = &spans[0];
    assert_eq!((&*span.name, span.kind, span.flags), ("GET", 3, 0x101));
    assert_eq!(span.parent_span_id[0], 0xb7);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    expect(
        span,
        &[
            ("http.request.method", "GET"),
            ("url.scheme", "https"),
            (
                "url.full",
                "https://REDACTED:REDACTED@api.example.org:8443/v1/pay?api_key=REDACTED",
            ),
            ("http.response.status_code", "404"),
            ("error.type", "404"),
            ("network.protocol.version", "1.1"),
            ("server.address", "api.example.org"),
            ("server.port", "8443"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "8080"),
            ("http.request.body.size", "0"),
            ("http.response.body.size", "0"),
        ],
    );
}

#[test]
fn unusual_targets_and_methods() {
    let mut a = aggregator(|_| {});
    let mut server = conn(1, Role::Server);
    let mut client = conn(2, Role::Client);
    for (role, method, target, name, key, value) in [
        ("s", "OPTIONS", "*", "OPTIONS", "url.path", "*"),
        ("s", "GET", "http://h:81/a?b", "GET /a", "server.port", "81"),
        ("s", "GET", "http://h:81", "GET /", "url.path", "/"),
        ("s", "CONNECT", "db:5432", "CONNECT", "server.address", "db"),
        (
            "s",
            "PROPFIND",
            "/a",
            "HTTP /a",
            "http.request.method_original",
            "PROPFIND",
        ),
        ("s", "get", "/a", "HTTP /a", "http.request.method", "_OTHER"),
        (
            "c",
            "GET",
            "http://u:p@h/a",
            "GET",
            "url.full",
            "http://REDACTED:REDACTED@h/a",
        ),
        (
            "c",
            "GET",
            "/a",
            "GET",
            "url.full",
            "http://10.0.0.1:8080/a",
        ),
        (
            "c",
            "OPTIONS",
            "*",
            "OPTIONS",
            "url.full",
            "http://10.0.0.1:8080",
        ),
        ("c", "CONNECT", "db:5432", "CONNECT", "url.full", "db:5432"),
    ] {
        let conn = if role == "s" {
            &mut server
        } else {
            &mut client
        };
        send(
            &mut a,
            conn,
            Http {
                method: method.as_bytes(),
                ..get(target)
            },
        );
        let spans = spans(&mut a);
        assert_eq!(spans[0].name, name);
        assert_eq!(attributes(&spans[0])[key], value);
    }
}

#[test]
fn addresses_of_all_families() {
    let mut a = aggregator(|_| {});
    let v6 = |last| Address::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    let mapped = Address::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
    for (address, path, url, peer) in [
        (v6(1), None, "http://[2001:db8::1]:80/", "2001:db8::1"),
        (mapped, None, "http://192.0.2.1:80/", "192.0.2.1"),
        (
            Address::Unix,
            Some("/run/x.sock"),
            "http://localhost/",
            "/run/x.sock",
        ),
    ] {
        let port = if path.is_some() { 0 } else { 80 };
        let local = Endpoint { address, port: 0 };
        let mut conn = ConnInfo::new(1, Role::Client, local, Endpoint { address, port });
        conn.unix_path = path.map(Into::into);
        send(&mut a, &mut conn, get("/"));
        let spans = spans(&mut a);
        let attributes = attributes(&spans[0]);
        assert_eq!(attributes["url.full"], url);
        assert_eq!(attributes["network.peer.address"], peer);
        assert_eq!(attributes["server.address"], peer);
    }
}

#[test]
fn what_changes_on_a_connection_is_seen() {
    let mut a = aggregator(|_| {});
    let mut conn = conn(1, Role::Server);
    for (host, agent) in [("a", "x"), ("b", "x"), ("b", "y"), ("a", ""), ("a", "y")] {
        let http = Http {
            host: Some(host.as_bytes()),
            user_agent: (!agent.is_empty()).then_some(agent.as_bytes()),
            ..get("/")
        };
        send(&mut a, &mut conn, http);
        let spans = spans(&mut a);
        let attributes = attributes(&spans[0]);
        assert_eq!(attributes["server.address"], host);
        assert_eq!(
            attributes.get("user_agent.original").map_or("", |v| v),
            agent
        );
    }
}

#[test]
fn hostile_bytes_are_valid_and_bounded() {
    let mut a = aggregator(|_| {});
    let long = vec![0xe9u8; 100_000];
    let mut target = b"/".to_vec();
    target.extend_from_slice(&long);
    target.extend_from_slice(b"?");
    target.extend_from_slice(&long);
    for role in [Role::Server, Role::Client] {
        let http = Http {
            method: &long,
            target: &target,
            host: Some(&long),
            user_agent: Some(&long),
            forwarded_for: Some(&long),
            traceparent: Some(&long),
            tracestate: Some(&long),
            ..get("")
        };
        send(&mut a, &mut conn(1, role), http);
    }
    let spans = spans(&mut a);
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.encoded_len() < 250_000));
    let path = "/".to_owned() + &"a".repeat(9000);
    send(&mut a, &mut conn(1, Role::Server), get(&path));
    let spans = self::spans(&mut a);
    assert_eq!(
        attributes(&spans[0])["url.path"],
        path,
        "8 KB are kept whole"
    );
}

#[test]
fn errors_without_a_status() {
    let mut a = aggregator(|_| {});
    let mut conn = conn(1, Role::Server);
    let reset = Some(ErrorKind::ConnectionReset);
    send_at(
        &mut a,
        &mut conn,
        Http {
            status: None,
            ..get("/a")
        },
        1,
        reset,
    );
    send_at(&mut a, &mut conn, get("/a"), 1, reset);
    send_at(
        &mut a,
        &mut conn,
        Http {
            status: Some(500),
            ..get("/a")
        },
        1,
        reset,
    );
    let spans = spans(&mut a);
    let errors: Vec<String> = spans
        .iter()
        .map(|s| attributes(s)["error.type"].clone())
        .collect();
    assert_eq!(errors, ["connection_reset", "connection_reset", "500"]);
    assert!(!attributes(&spans[0]).contains_key("http.response.status_code"));
    let series = series(&mut a);
    let shown: Vec<_> = series
        .iter()
        .map(|s| (s.status, &*s.error_type, &*s.route))
        .collect();
    assert_eq!(
        shown,
        [
            (0, "connection_reset", ""),
            (200, "connection_reset", "/a"),
            (500, "500", "/a")
        ]
    );
}
