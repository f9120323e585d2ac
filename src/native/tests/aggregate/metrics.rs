//! Series: exact, bounded.

use _native::aggregate::Aggregator;
use _native::exchange::{Detail, Exchange, Http, Role, Which};

use crate::world::*;

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
    a.abandoned(&mut server, Which::Oldest);
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
    a.abandoned(&mut server, Which::Oldest);
    assert_eq!(value(&a), [0], "no count below zero after a discard");
}
