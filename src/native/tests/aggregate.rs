//! Exchanges in, spans, series, lines and counts out: what a user of the core can rely on. Spans are decoded
//! with the official proto types.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use _native::aggregate::{Aggregator, HttpSeries, Settings};
use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::{Detail, ErrorKind, Exchange, Http, Role};
use _native::otlp::encode_traces;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

const OFFSET: i64 = 1_700_000_000_000_000_000;
const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn aggregator(change: impl FnOnce(&mut Settings)) -> Aggregator {
    let mut settings = Settings {
        spans_per_second: 0,
        ..Settings::default()
    };
    change(&mut settings);
    let mut aggregator = Aggregator::new(settings).unwrap();
    aggregator.set_clock_offset(OFFSET);
    aggregator
}

fn conn(process_key: u64, role: Role) -> ConnInfo {
    let end = |last, port| Endpoint {
        address: Address::V4(Ipv4Addr::new(10, 0, 0, last)),
        port,
    };
    let (local, remote) = match role {
        Role::Server => (end(1, 8080), end(2, 45678)),
        Role::Client => (end(2, 45678), end(1, 8080)),
    };
    ConnInfo::new(process_key, role, local, remote)
}

fn get(target: &str) -> Http<'_> {
    Http {
        method: b"GET",
        target: target.as_bytes(),
        minor_version: 1,
        status: Some(200),
        ..Http::default()
    }
}

fn send(aggregator: &mut Aggregator, conn: &mut ConnInfo, http: Http<'_>) {
    send_at(aggregator, conn, http, 5_000_000_000, None);
}

fn send_at(
    aggregator: &mut Aggregator,
    conn: &mut ConnInfo,
    http: Http<'_>,
    start_ns: u64,
    error: Option<ErrorKind>,
) {
    aggregator.begin(conn, http.method);
    let detail = Detail::Http(http);
    aggregator.exchange(
        conn,
        &Exchange {
            start_ns,
            end_ns: start_ns + 20_000_000,
            error,
            detail,
        },
    );
}

fn spans(aggregator: &mut Aggregator) -> Vec<Span> {
    let batches = aggregator.take_spans(usize::MAX);
    let resource = Resource::default().encode_to_vec();
    let pairs: Vec<_> = batches
        .iter()
        .map(|b| (&resource[..], &b.spans[..]))
        .collect();
    let request = encode_traces(&pairs, "scope", "1.2", "https://schema");
    let request = ExportTraceServiceRequest::decode(&request[..]).unwrap();
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|r| r.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|s| s.spans).collect();
    assert_eq!(
        spans.len() as u64,
        batches.iter().map(|b| b.count).sum::<u64>()
    );
    spans
}

/// Every attribute as text; one key never comes twice.
fn attributes(span: &Span) -> HashMap<String, String> {
    let mut out = HashMap::new();
    for pair in &span.attributes {
        let value = match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => format!("{number}"),
            other => panic!("{other:?}"),
        };
        assert!(
            out.insert(pair.key.clone(), value).is_none(),
            "{} twice",
            pair.key
        );
    }
    out
}

fn expect(span: &Span, expected: &[(&str, &str)]) {
    let mut actual: Vec<_> = attributes(span).into_iter().collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    actual.sort();
    expected.sort();
    assert_eq!(actual, expected);
}

fn count(aggregator: &Aggregator, name: &str) -> u64 {
    let counters = aggregator.counters();
    counters
        .iter()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("no {name}"))
        .1
}

fn balanced(aggregator: &Aggregator) {
    let dropped: u64 = aggregator
        .counters()
        .iter()
        .filter(|(name, _)| name.starts_with("spans.dropped."))
        .map(|(_, n)| n)
        .sum();
    let kept = count(aggregator, "spans.taken") + count(aggregator, "spans.queued");
    assert_eq!(count(aggregator, "requests.seen"), kept + dropped);
}

fn series(aggregator: &mut Aggregator) -> Vec<HttpSeries> {
    aggregator.read_http_series()
}

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
        minor_version: 0,
        status: Some(404),
        ..get("/nothing/here")
    };
    send(&mut a, &mut conn(7, Role::Server), http);
    let spans = spans(&mut a);
    let span = &spans[0];
    assert_eq!((&*span.name, span.flags), ("GET", 0x101));
    assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty());
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

#[test]
fn series_are_exact() {
    let mut a = aggregator(|s| s.spans = false);
    let mut server = conn(1, Role::Server);
    let mut client = conn(2, Role::Client);
    for i in 0..1000 {
        let path = format!("/users/{i}");
        let http = Http {
            response_body_bytes: 100,
            host: Some(b"a:1"),
            ..get(&path)
        };
        send(&mut a, &mut server, http);
        send(
            &mut a,
            &mut client,
            Http {
                host: Some(if i % 2 == 0 { b"a:1" } else { b"b:2" }),
                ..http
            },
        );
    }
    let mut series = series(&mut a);
    series.sort_by(|a, b| {
        (a.process_key, &a.server_address).cmp(&(b.process_key, &b.server_address))
    });
    let shown: Vec<_> = series
        .iter()
        .map(|s| {
            (
                s.role,
                s.method,
                &*s.route,
                &*s.server_address,
                s.server_port,
                s.duration.count,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Role::Server, "GET", "/users/{id}", "", 0, 1000),
            (Role::Client, "GET", "", "a", 1, 500),
            (Role::Client, "GET", "", "b", 2, 500),
        ]
    );
    let first = &series[0];
    assert_eq!(first.start_unix_ns, OFFSET as u64 + 5_000_000_000);
    assert!((first.duration.sum - 20.0).abs() < 1e-9);
    assert_eq!((first.duration.min, first.duration.max), (0.02, 0.02));
    assert_eq!(first.duration.buckets[2], 1000);
    assert_eq!(first.response_body.as_ref().unwrap().sum, 100_000.0);
    assert_eq!(first.request_body.as_ref().unwrap().buckets[0], 1000);
    assert_eq!(count(&a, "spans.dropped.disabled"), 2000);
    balanced(&a);
}

#[test]
fn cardinality_is_bounded_and_nothing_is_lost() {
    let mut a = aggregator(|s| {
        s.max_series = 10;
        s.server_address_on_server_metrics = true;
    });
    for role in [Role::Server, Role::Client] {
        let mut conn = conn(1, role);
        for i in 0..500 {
            let host = format!("host-{i}.example.org");
            send(
                &mut a,
                &mut conn,
                Http {
                    host: Some(host.as_bytes()),
                    ..get("/")
                },
            );
        }
    }
    let series = series(&mut a);
    assert_eq!(series.len(), 12);
    assert_eq!(series.iter().map(|s| s.duration.count).sum::<u64>(), 1000);
    let overflow: Vec<_> = series
        .iter()
        .filter(|s| s.overflow)
        .map(|s| (s.role, s.method))
        .collect();
    assert_eq!(overflow, [(Role::Server, ""), (Role::Client, "")]);
    let spans = spans(&mut a);
    assert_eq!(spans.len(), 1000);
    assert!(spans
        .iter()
        .all(|s| attributes(s)["http.request.method"] == "GET"));
}

#[test]
fn the_kernels_own_counts_enter_the_series() {
    let mut a = aggregator(|_| {});
    send(&mut a, &mut conn(1, Role::Server), get("/"));
    let mut buckets = [0; 15];
    buckets[1] = 6;
    a.overflow(1, Role::Server, 200, 6, 42_000_000, &buckets);
    a.overflow(1, Role::Server, 500, 6, 42_000_000, &buckets);
    let series = series(&mut a);
    assert_eq!(series.iter().map(|s| s.duration.count).sum::<u64>(), 13);
    let last = series.last().unwrap();
    assert_eq!(
        (last.method, last.status, &*last.error_type),
        ("_OTHER", 500, "500")
    );
    assert!(last.request_body.is_none());
    assert_eq!(count(&a, "spans.dropped.ring_full"), 12);
    balanced(&a);
}

#[test]
fn active_requests_rise_and_fall() {
    let mut a = aggregator(|_| {});
    let mut server = conn(1, Role::Server);
    let mut client = conn(1, Role::Client);
    let value = |a: &Aggregator| a.read_active().iter().map(|s| s.value).collect::<Vec<_>>();
    a.begin(&mut server, b"GET");
    a.begin(&mut server, b"GET");
    a.begin(&mut client, b"GET");
    assert_eq!(value(&a), [2]);
    a.abandoned(&mut server);
    assert_eq!(value(&a), [1]);
    let detail = Detail::Http(get("/"));
    a.exchange(
        &mut server,
        &Exchange {
            start_ns: 1,
            end_ns: 2,
            error: None,
            detail,
        },
    );
    assert_eq!(value(&a), [0]);
    a.begin(&mut server, b"GET");
    server.process_key = 2;
    a.begin(&mut server, b"POST");
    assert_eq!(
        value(&a),
        [0, 1],
        "a socket handed over takes its requests with it"
    );
    a.discard(2);
    a.abandoned(&mut server);
    assert_eq!(value(&a), [0], "no count below zero after a discard");
}

#[test]
fn samplers_decide_and_are_counted() {
    for (sampler, arg, none, yes, no) in [
        ("always_on", 1.0, 1, 1, 1),
        ("always_off", 1.0, 0, 0, 0),
        ("parentbased_always_on", 1.0, 1, 1, 0),
        ("parentbased_always_off", 1.0, 0, 1, 0),
        ("parentbased_traceidratio", 0.0, 0, 1, 0),
        ("traceidratio", 1.0, 1, 1, 1),
    ] {
        let mut a = aggregator(|s| {
            s.sampler = sampler.into();
            s.sampler_arg = arg;
        });
        let mut conn = conn(1, Role::Server);
        for (traceparent, expected) in [(None, none), (Some(PARENT), yes), (Some(UNSAMPLED), no)] {
            send(
                &mut a,
                &mut conn,
                Http {
                    traceparent,
                    ..get("/")
                },
            );
            let spans = spans(&mut a);
            assert_eq!(spans.len(), expected, "{sampler} {traceparent:?}");
            assert!(spans.iter().all(|s| s.flags & 1 == 1));
        }
        balanced(&a);
    }
    assert!(Aggregator::new(Settings {
        sampler: "x".into(),
        ..Settings::default()
    })
    .is_err());
}

#[test]
fn lines_for_people() {
    let mut a = aggregator(|s| {
        s.lines = true;
        s.line_queue = 2;
    });
    let mut conn = conn(1, Role::Server);
    for traceparent in [None, Some(UNSAMPLED), None] {
        send(
            &mut a,
            &mut conn,
            Http {
                traceparent,
                ..get("/users/1?token=x")
            },
        );
    }
    assert_eq!(count(&a, "lines.dropped"), 1);
    let lines = a.take_lines(10);
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&*lines[0].client, &*lines[0].server),
        ("10.0.0.2:45678", "10.0.0.1:8080")
    );
    assert_eq!(
        (&*lines[0].target, &*lines[0].route),
        ("/users/1?token=REDACTED", "/users/{id}")
    );
    assert_eq!((lines[0].status, lines[0].duration_ns), (200, 20_000_000));
    let spans = spans(&mut a);
    let hex: String = spans[0]
        .trace_id
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(lines[0].trace_id, hex);
    assert_eq!((&*lines[1].trace_id, &*lines[1].span_id), ("", ""));
}

#[test]
fn a_process_goes_when_all_is_handed_out() {
    let mut a = aggregator(|_| {});
    a.process_gone(99);
    assert_eq!(a.take_exits(), [99]);
    send(&mut a, &mut conn(1, Role::Server), get("/"));
    a.process_gone(1);
    assert!(a.take_exits().is_empty());
    assert_eq!(series(&mut a).len(), 1);
    assert!(series(&mut a).is_empty(), "never again");
    assert!(a.take_exits().is_empty());
    assert_eq!(a.take_spans(usize::MAX).len(), 1);
    assert_eq!(a.take_exits(), [1]);
    assert_eq!(count(&a, "requests.seen"), 1);
    assert_eq!(count(&a, "processes.held"), 0);
    balanced(&a);
}

#[test]
fn a_discarded_process_was_never_there() {
    let mut a = aggregator(|s| s.lines = true);
    let (mut one, mut two) = (conn(1, Role::Server), conn(2, Role::Server));
    for _ in 0..5 {
        send(&mut a, &mut one, get("/"));
        send(&mut a, &mut two, get("/"));
        send(
            &mut a,
            &mut one,
            Http {
                traceparent: Some(UNSAMPLED),
                ..get("/")
            },
        );
    }
    a.discard(1);
    assert_eq!(count(&a, "requests.seen"), 5);
    assert_eq!(count(&a, "spans.dropped.unsampled"), 0);
    assert_eq!((a.take_lines(100).len(), series(&mut a).len()), (5, 1));
    assert_eq!(spans(&mut a).len(), 5);
    balanced(&a);
    send(&mut a, &mut one, get("/"));
    assert_eq!(count(&a, "requests.seen"), 6, "it may be selected again");
}

#[test]
fn batches_are_as_large_as_asked_for() {
    let mut a = aggregator(|_| {});
    let mut conns: Vec<ConnInfo> = (1..4).map(|key| conn(key, Role::Server)).collect();
    for i in 0..3000 {
        send(&mut a, &mut conns[i % 3], get("/some/path"));
    }
    let one = a.take_spans(1);
    assert_eq!((one.len(), one[0].count), (1, 1));
    let mut total = 1;
    let mut served = std::collections::HashSet::new();
    for round in 0.. {
        let batches = a.take_spans(100_000);
        if batches.is_empty() {
            break;
        }
        if round < 3 {
            served.extend(batches.iter().map(|b| b.process_key));
        }
        assert!(batches.iter().map(|b| b.spans.len()).sum::<usize>() <= 100_000);
        total += batches.iter().map(|b| b.count).sum::<u64>();
    }
    assert_eq!(total, 3000);
    assert_eq!(served.len(), 3, "none waits for the others");
    assert!(!a.has_spans());
    balanced(&a);
}

#[test]
fn a_request_with_several_resources() {
    let mut a = aggregator(|_| {});
    for key in [1, 2] {
        send(&mut a, &mut conn(key, Role::Server), get("/"));
    }
    let batches = a.take_spans(usize::MAX);
    let spans: Vec<&[u8]> = batches.iter().map(|b| &b.spans[..]).collect();
    let resource = |dropped| {
        Resource {
            dropped_attributes_count: dropped,
            ..Resource::default()
        }
        .encode_to_vec()
    };
    let (one, two) = (resource(1), resource(2));
    let pairs = [
        (&one[..], spans[0]),
        (&one[..], spans[1]),
        (&two[..], spans[0]),
        (&two[..], &b""[..]),
    ];
    let request = encode_traces(&pairs, "otel-ebpf", "0.1", "https://s/1");
    let request = ExportTraceServiceRequest::decode(&request[..]).unwrap();
    let shown: Vec<_> = request
        .resource_spans
        .iter()
        .map(|r| {
            let scope = r.scope_spans[0].scope.as_ref().unwrap();
            assert_eq!((&*scope.name, &*scope.version), ("otel-ebpf", "0.1"));
            assert_eq!(
                (&*r.schema_url, &*r.scope_spans[0].schema_url),
                ("https://s/1", "https://s/1")
            );
            let dropped = r.resource.as_ref().unwrap().dropped_attributes_count;
            (dropped, r.scope_spans.len(), r.scope_spans[0].spans.len())
        })
        .collect();
    assert_eq!(shown, [(1, 1, 2), (2, 1, 1)]);
    assert!(encode_traces(&[], "a", "b", "c").is_empty());
}

/// requests.seen = spans.taken + spans.queued + Σ spans.dropped.*, whatever happens, at any moment; and the
/// histograms hold every exchange.
#[test]
fn the_accounts_always_balance() {
    for seed in 1..40u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = move |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut a = aggregator(|s| {
            s.spans = seed % 7 != 0;
            s.spans_per_second = [0, 50, 500][seed as usize % 3];
            s.span_queue_bytes = [0, 1000, 20_000, 16 << 20][seed as usize % 4];
            s.max_series = [1, 5, 2000][seed as usize % 3];
            s.lines = seed % 2 == 0;
        });
        let mut conns: Vec<ConnInfo> = (0..12)
            .map(|i| {
                conn(
                    i % 5,
                    if i % 2 == 0 {
                        Role::Server
                    } else {
                        Role::Client
                    },
                )
            })
            .collect();
        let mut expected: HashMap<u64, u64> = HashMap::new();
        for step in 0..3000u64 {
            let conn = &mut conns[next(12) as usize];
            match next(40) {
                0 => {
                    a.take_spans(next(50_000) as usize);
                }
                1 => {
                    a.discard(conn.process_key);
                    expected.remove(&conn.process_key);
                }
                2 => {
                    let n = next(100);
                    let mut buckets = [0; 15];
                    buckets[next(15) as usize] = n;
                    a.overflow(conn.process_key, conn.role, 200, n, n * 1_000_000, &buckets);
                    *expected.entry(conn.process_key).or_default() += n;
                }
                3 => {
                    a.take_lines(100);
                }
                _ => {
                    let path = format!("/p/{}", next(1000));
                    let http = Http {
                        status: Some(200 + 100 * next(4) as u16),
                        traceparent: [None, Some(PARENT), Some(UNSAMPLED)][next(3) as usize],
                        request_body_bytes: next(5000),
                        ..get(&path)
                    };
                    send_at(&mut a, conn, http, step * 1_000_000, None);
                    *expected.entry(conn.process_key).or_default() += 1;
                }
            }
            balanced(&a);
            assert!(count(&a, "spans.queued_bytes") <= 16 << 20);
        }
        let mut counted: HashMap<u64, u64> = HashMap::new();
        for s in series(&mut a) {
            *counted.entry(s.process_key).or_default() += s.duration.count;
            assert_eq!(s.duration.count, s.duration.buckets.iter().sum::<u64>());
        }
        expected.retain(|_, n| *n > 0);
        counted.retain(|_, n| *n > 0);
        assert_eq!(counted, expected);
        for key in 0..5 {
            a.process_gone(key);
        }
        series(&mut a);
        a.take_spans(usize::MAX);
        let mut exits = a.take_exits();
        exits.sort_unstable();
        assert_eq!(exits, [0, 1, 2, 3, 4]);
        assert_eq!(
            (count(&a, "processes.held"), count(&a, "spans.queued_bytes")),
            (0, 0)
        );
        balanced(&a);
    }
}
