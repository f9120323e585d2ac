//! gRPC calls as spans and series. Names and rules: OpenTelemetry's conventions for gRPC, 1.44.

use std::collections::HashSet;

use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::{ErrorKind, Grpc, Http, HttpVersion, Role};

use crate::world::*;

fn call(target: &str, status: u8) -> Http<'_> {
    Http {
        method: b"POST",
        target: target.as_bytes(),
        version: HttpVersion::Http2,
        status: Some(200),
        host: Some(b"shop.example.org:50051"),
        grpc: Some(Grpc {
            status: Some(status),
            ..Grpc::default()
        }),
        ..Http::default()
    }
}

#[test]
fn http2_is_http_with_another_version() {
    let mut a = aggregator(|_| {});
    let http = Http {
        version: HttpVersion::Http2,
        host: Some(b"shop.example.org"),
        ..get("/users/42")
    };
    send(&mut a, &mut conn(7, Role::Server), http);
    let spans = spans(&mut a);
    assert_eq!(spans[0].name, "GET /users/{id}");
    let attributes = attributes(&spans[0]);
    assert_eq!(attributes["network.protocol.version"], "2");
    assert_eq!(attributes["server.port"], "80");
    let series = series(&mut a);
    assert_eq!(
        (series[0].protocol_version, series[0].rpc_system),
        ("2", "")
    );
}

#[test]
fn a_server_span_in_full() {
    let mut a = aggregator(|_| {});
    let http = Http {
        user_agent: Some(b"grpc-go/1.75"),
        forwarded_for: Some(b"203.0.113.9"),
        traceparent: Some(PARENT),
        request_body_bytes: 300,
        ..call("/shop.v1.Cart/Add?x=1", 13)
    };
    send_call(&mut a, &mut conn(7, Role::Server), http, None);
    let spans = spans(&mut a);
    let span = &spans[0];
    assert_eq!((&*span.name, span.kind), ("shop.v1.Cart/Add", 2));
    assert_eq!(span.parent_span_id[0], 0xb7);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    expect(
        span,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.method", "shop.v1.Cart/Add"),
            ("rpc.response.status_code", "INTERNAL"),
            ("error.type", "INTERNAL"),
            ("server.address", "shop.example.org"),
            ("server.port", "50051"),
            ("client.address", "203.0.113.9"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "45678"),
            ("user_agent.original", "grpc-go/1.75"),
        ],
    );
}

#[test]
fn a_client_span_in_full() {
    let mut a = aggregator(|_| {});
    let mut conn = conn(7, Role::Client);
    conn.encrypted = true;
    let http = Http {
        host: Some(b"shop.example.org"),
        ..call("/shop.v1.Cart/Add", 5)
    };
    send_call(&mut a, &mut conn, http, None);
    let spans = spans(&mut a);
    let span = &spans[0];
    assert_eq!((&*span.name, span.kind), ("shop.v1.Cart/Add", 3));
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    expect(
        span,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.method", "shop.v1.Cart/Add"),
            ("rpc.response.status_code", "NOT_FOUND"),
            ("error.type", "NOT_FOUND"),
            ("server.address", "shop.example.org"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "8080"),
        ],
    );
}

#[test]
fn over_a_unix_socket_the_server_is_its_path() {
    let mut a = aggregator(|_| {});
    let end = Endpoint {
        address: Address::Unix,
        port: 0,
    };
    for (path, address) in [
        (Some("/run/containerd.sock"), "/run/containerd.sock"),
        (None, "localhost"),
    ] {
        let mut conn = ConnInfo::new(7, Role::Client, end, end);
        conn.unix_path = path.map(Into::into);
        let http = Http {
            host: Some(b"localhost"),
            ..call("/a.B/C", 0)
        };
        send_call(&mut a, &mut conn, http, None);
        let spans = spans(&mut a);
        let attributes = attributes(&spans[0]);
        assert_eq!(attributes["server.address"], address);
        assert!(!attributes.contains_key("server.port"));
    }
}

#[test]
fn what_is_an_error_depends_on_the_side() {
    let mut a = aggregator(|_| {});
    for (role, status, error) in [
        (Role::Server, 0, false),
        (Role::Server, 1, false),
        (Role::Server, 5, false),
        (Role::Server, 4, true),
        (Role::Server, 99, true),
        (Role::Client, 0, false),
        (Role::Client, 1, true),
        (Role::Client, 5, true),
    ] {
        send_call(&mut a, &mut conn(7, role), call("/a.B/C", status), None);
        let spans = spans(&mut a);
        let attributes = attributes(&spans[0]);
        let code = attributes.get("rpc.response.status_code");
        assert_eq!(spans[0].status.is_some(), error, "{role:?} {status}");
        assert_eq!(attributes.get("error.type"), code.filter(|_| error));
    }
    let codes: HashSet<_> = series(&mut a)
        .iter()
        .map(|s| s.rpc_status.clone())
        .collect();
    assert!(codes.contains("DEADLINE_EXCEEDED") && codes.contains("99"));
}

#[test]
fn series_say_how_calls_end_and_not_why_their_streams_did() {
    let mut a = aggregator(|s| s.spans = false);
    let mut server = conn(1, Role::Server);
    for error in [
        None,
        Some(ErrorKind::ConnectionReset),
        Some(ErrorKind::RefusedStream),
    ] {
        for method in [&b"POST"[..], b"PUT"] {
            let http = Http {
                method,
                response_body_bytes: 10,
                ..call("/a.B/C", 14)
            };
            send_call(&mut a, &mut server, http, error);
        }
    }
    let series = series(&mut a);
    assert_eq!(series.len(), 1);
    let one = &series[0];
    assert_eq!(
        (
            one.rpc_system,
            &*one.rpc_method,
            &*one.rpc_status,
            &*one.error_type
        ),
        ("grpc", "a.B/C", "UNAVAILABLE", "UNAVAILABLE")
    );
    assert_eq!(
        (
            one.method,
            one.scheme,
            &*one.route,
            one.status,
            one.protocol_version
        ),
        ("", "", "", 0, "")
    );
    assert_eq!(one.duration.count, 6);
    assert_eq!(one.response_body.as_ref().unwrap().sum, 60.0);
    assert!(a.read_active().is_empty());
    balanced(&a);
}

#[test]
fn calls_and_requests_on_one_connection_stay_apart() {
    let mut a = aggregator(|s| s.server_address_on_server_metrics = true);
    let mut server = conn(1, Role::Server);
    for _ in 0..3 {
        send_call(&mut a, &mut server, call("/a.B/C", 0), None);
        let http = Http {
            version: HttpVersion::Http2,
            host: Some(b"shop.example.org"),
            ..get("/a.B/C")
        };
        send(&mut a, &mut server, http);
    }
    let shown: Vec<_> = series(&mut a)
        .iter()
        .map(|s| {
            (
                s.rpc_method.to_string(),
                s.route.to_string(),
                s.server_port,
                s.duration.count,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("a.B/C".into(), String::new(), 50051, 3),
            (String::new(), "/a.B/C".into(), 80, 3),
        ]
    );
}

#[test]
fn a_method_is_one_that_was_answered() {
    let mut a = aggregator(|_| {});
    let mut server = conn(1, Role::Server);
    let mut client = conn(2, Role::Client);
    let unanswered = |target| Http {
        status: None,
        ..call(target, 1)
    };
    for (role, http, name, original) in [
        ("s", call("/a.B/Evil", 12), "grpc", Some("a.B/Evil")),
        ("s", unanswered("/a.B/C"), "grpc", Some("a.B/C")),
        ("s", call("/a.B/C", 1), "a.B/C", None),
        ("s", unanswered("/a.B/C"), "a.B/C", None),
        ("s", call("/a.B/C", 12), "a.B/C", None),
        ("s", call("", 0), "grpc", None),
        ("s", call("/nothing", 0), "grpc", Some("nothing")),
        (
            "s",
            call("/a/b;sid=7?q=secret", 0),
            "grpc",
            Some("a/b;sid=REDACTED"),
        ),
        ("c", call("/a.B/Evil", 12), "grpc", Some("a.B/Evil")),
        ("c", unanswered("/a.B/C"), "a.B/C", None),
    ] {
        let conn = if role == "s" {
            &mut server
        } else {
            &mut client
        };
        send_call(&mut a, conn, http, None);
        let spans = spans(&mut a);
        let attributes = attributes(&spans[0]);
        assert_eq!(spans[0].name, name);
        let method = if name == "grpc" { "_OTHER" } else { name };
        assert_eq!(attributes["rpc.method"], method);
        assert_eq!(
            attributes.get("rpc.method_original").map(String::as_str),
            original
        );
    }
}

#[test]
fn methods_are_bounded_with_the_routes() {
    let mut a = aggregator(|s| s.max_routes_per_service = 10);
    let mut server = conn(1, Role::Server);
    for i in 0..500 {
        send_call(&mut a, &mut server, call(&format!("/a.B/M{i}"), 0), None);
    }
    let series = series(&mut a);
    assert_eq!(series.len(), 10);
    let other = series.iter().find(|s| &*s.rpc_method == "_OTHER").unwrap();
    assert_eq!(other.duration.count, 491);
    assert_eq!(count(&a, "routes.held"), 9);
    let spans = spans(&mut a);
    let originals = spans
        .iter()
        .filter(|s| attributes(s).contains_key("rpc.method_original"));
    assert_eq!(originals.count(), 491);
}

#[test]
fn methods_need_no_inference() {
    let mut a = aggregator(|s| s.infer_routes = false);
    send_call(&mut a, &mut conn(1, Role::Server), call("/a.B/C", 0), None);
    assert_eq!(&*series(&mut a)[0].rpc_method, "a.B/C");
}

#[test]
fn the_overflow_of_calls_is_not_that_of_requests() {
    let mut a = aggregator(|s| s.max_series = 2);
    let mut server = conn(1, Role::Server);
    for i in 0..5 {
        send_call(&mut a, &mut server, call(&format!("/a.B/M{i}"), 0), None);
        send(&mut a, &mut server, get(&format!("/r{}", "x".repeat(i))));
    }
    let overflow: Vec<_> = series(&mut a)
        .iter()
        .filter(|s| s.overflow)
        .map(|s| (s.rpc_system, s.rpc_method.to_string(), s.duration.count))
        .collect();
    assert_eq!(
        overflow,
        [("", String::new(), 4), ("grpc", String::new(), 4)]
    );
    assert_eq!(spans(&mut a).len(), 10);
}

#[test]
fn lines_say_what_http_and_grpc_say() {
    let mut a = aggregator(|s| s.lines = true);
    let http = Http {
        grpc: Some(Grpc {
            status: Some(5),
            request_messages: Some(1),
            response_messages: None,
        }),
        ..call("/a.B/C", 0)
    };
    send_call(&mut a, &mut conn(1, Role::Server), http, None);
    send(&mut a, &mut conn(1, Role::Server), get("/"));
    let lines = a.take_lines(10);
    let line = &lines[0];
    assert_eq!(
        (&*line.method, &*line.target, &*line.route, line.status),
        ("POST", "/a.B/C", "", 200)
    );
    assert_eq!(
        (&*line.rpc_method, &*line.rpc_status, &*line.error_type),
        ("a.B/C", "NOT_FOUND", "")
    );
    assert_eq!(
        (line.request_messages, line.response_messages),
        (Some(1), None)
    );
    assert_eq!((&*lines[1].rpc_method, &*lines[1].rpc_status), ("", ""));
}
