//! What is kept, dropped, handed out and forgotten; and that it adds up.

use std::collections::HashMap;

use _native::aggregate::{Aggregator, Settings};
use _native::conn::ConnInfo;
use _native::exchange::{Http, Role};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::world::*;

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
