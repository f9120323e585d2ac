//! For how many a span stands: what users compute from spans is what metrics have counted.

use _native::aggregate::Aggregator;
use _native::conn::ConnInfo;
use _native::exchange::{Db, DbSystem, Detail, Exchange, Grpc, Http, HttpVersion, Role};
use _native::sampling::{Rule, Strategy, Threshold};
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::world::*;

const SECOND: u64 = 1_000_000_000;

/// `th` of a span; None: unknown.
fn threshold(span: &Span) -> Option<Threshold> {
    let of_ours = |member: &str| {
        let value = member.strip_prefix("ot=")?;
        value
            .split(';')
            .find_map(|pair| pair.strip_prefix("th:"))
            .map(str::to_owned)
    };
    let th = span.trace_state.split(',').find_map(of_ours)?;
    Some(Threshold::parse(&th).unwrap())
}

/// What spans stand for, as a backend computes it.
fn stands_for<'a>(spans: impl IntoIterator<Item = &'a Span>) -> f64 {
    let one = |span: &Span| 1.0 / threshold(span).expect("a known probability").probability();
    spans.into_iter().map(one).sum()
}

fn randomness(span: &Span) -> u64 {
    let low = span.trace_id[9..].iter();
    low.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn counted(a: &mut Aggregator) -> u64 {
    series(a).iter().map(|s| s.duration.count).sum()
}

fn send_lasting(
    a: &mut Aggregator,
    conn: &mut ConnInfo,
    http: Http<'_>,
    at_ns: u64,
    lasts_ns: u64,
) {
    a.begin(conn, http.method);
    let exchange = Exchange {
        start_ns: at_ns,
        end_ns: at_ns + lasts_ns,
        error: None,
        detail: Detail::Http(http),
    };
    a.exchange(conn, &exchange);
}

/// `rate` requests a second for so many seconds, from second `from`.
fn load(
    a: &mut Aggregator,
    conn: &mut ConnInfo,
    http: Http<'_>,
    rate: u64,
    from: u64,
    seconds: u64,
) -> Vec<Span> {
    let mut out = Vec::new();
    for i in 0..seconds * rate {
        send_lasting(
            a,
            conn,
            http,
            from * SECOND + i * (SECOND / rate),
            1_000_000,
        );
        if i % 1000 == 0 {
            out.extend(spans(a));
        }
    }
    out.extend(spans(a));
    out
}

fn share(whole: f64, part: f64) -> f64 {
    (part / whole - 1.0).abs()
}

#[test]
fn without_a_limit_each_stands_for_itself() {
    let mut a = aggregator(|_| {});
    let all = load(&mut a, &mut conn(1, Role::Server), get("/"), 500, 1, 1);
    assert_eq!(all.len(), 500);
    assert!(all.iter().all(|span| span.trace_state == "ot=th:0"));
}

#[test]
fn the_budget_bounds_spans_and_they_stand_for_all() {
    let mut a = aggregator(|s| s.spans_per_second = 200);
    let mut conn = conn(1, Role::Server);
    let first = load(&mut a, &mut conn, get("/"), 20_000, 1, 1);
    assert!((150..350).contains(&first.len()), "{}", first.len());
    let later = load(&mut a, &mut conn, get("/"), 20_000, 2, 9);
    assert!(
        share(9.0 * 200.0, later.len() as f64) < 0.05,
        "{}",
        later.len()
    );
    let all = || first.iter().chain(&later);
    assert!(all().all(|span| threshold(span).unwrap().keeps(randomness(span))));
    let exact = counted(&mut a) as f64;
    assert_eq!(exact, 200_000.0);
    assert!(
        share(exact, stands_for(all())) < 0.1,
        "{}",
        stands_for(all())
    );
    assert_eq!(count(&a, "spans.dropped.unsampled"), 0);
    balanced(&a);
    // it lets go as soon as there is less
    let quiet = load(&mut a, &mut conn, get("/"), 100, 20, 2);
    assert_eq!((quiet.len(), stands_for(&quiet)), (200, 200.0));
}

#[test]
fn a_ratio_is_consistent_with_what_the_specification_says() {
    let mut a = aggregator(|s| {
        s.sampler = "parentbased_traceidratio".into();
        s.sampler_arg = 0.25;
    });
    let some = load(&mut a, &mut conn(1, Role::Server), get("/"), 20_000, 1, 1);
    assert!(some
        .iter()
        .all(|span| span.trace_state == "ot=th:c" && randomness(span) >= 0xc0_0000_0000_0000));
    assert!(share(20_000.0, stands_for(&some)) < 0.05);
    assert_eq!(
        count(&a, "spans.dropped.unsampled"),
        20_000 - some.len() as u64
    );
}

/// Randomness c0b7ad6b716920, from the trace id or from `rv`.
#[test]
fn what_a_parent_says_is_inherited() {
    let low = b"00-0af7651916cd43dd84c0b7ad6b716920-b7ad6b7169203331-01";
    let other = b"00-0af7651916cd43dd8400000000000001-b7ad6b7169203331-01";
    for (traceparent, tracestate, expected) in [
        (low, "", ""),
        (low, "a=1", "a=1"),
        (low, "a=1,ot=th:c", "ot=th:c,a=1"),
        (low, "ot=th:0", "ot=th:0"),
        // says that it was sampled, and would not have been
        (low, "ot=th:d", ""),
        (low, "ot=th:nonsense,a=1", "a=1"),
        (
            other,
            "ot=rv:c0b7ad6b716920;th:c",
            "ot=th:c;rv:c0b7ad6b716920",
        ),
        (other, "ot=th:c", ""),
        (
            low,
            "ot=rv:00000000000001;th:8;p:1",
            "ot=rv:00000000000001;p:1",
        ),
    ] {
        let mut a = aggregator(|_| {});
        let http = Http {
            traceparent: Some(traceparent),
            tracestate: (!tracestate.is_empty()).then_some(tracestate.as_bytes()),
            ..get("/")
        };
        send(&mut a, &mut conn(1, Role::Server), http);
        assert_eq!(spans(&mut a)[0].trace_state, expected, "{tracestate}");
    }
}

/// Of a sampled trace whose probability is told, the budget leaves fewer, and they stand for all of the original.
#[test]
fn the_budget_goes_on_where_the_parent_left_off() {
    for (tracestate, known) in [("ot=th:8", true), ("", false)] {
        let mut a = aggregator(|s| s.spans_per_second = 100);
        let mut conn = conn(1, Role::Server);
        let mut all = Vec::new();
        let mut state = 7u64;
        for i in 0..40_000u64 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let randomness = state >> 8;
            if randomness < 1 << 55 {
                continue; // not sampled upstream
            }
            let traceparent = format!("00-{:018x}{randomness:014x}-b7ad6b7169203331-01", i + 1);
            let http = Http {
                traceparent: Some(traceparent.as_bytes()),
                tracestate: Some(tracestate.as_bytes()),
                ..get("/")
            };
            send_lasting(&mut a, &mut conn, http, SECOND + i * (SECOND / 4000), 1);
        }
        all.extend(spans(&mut a));
        assert!((900..1200).contains(&all.len()), "{}", all.len());
        if known {
            assert!(
                share(40_000.0, stands_for(&all)) < 0.15,
                "{}",
                stands_for(&all)
            );
        } else {
            assert!(all.iter().all(|span| threshold(span).is_none()));
        }
        balanced(&a);
    }
}

#[test]
fn errors_and_slow_ones_are_kept_and_stand_for_themselves() {
    for (sampler, arg) in [
        ("parentbased_always_on", 1.0),
        ("traceidratio", 0.001),
        ("traceidratio", 0.0),
    ] {
        let mut a = aggregator(|s| {
            s.spans_per_second = 400;
            s.keep_slower_than_ns = SECOND / 2;
            s.sampler = sampler.into();
            s.sampler_arg = arg;
        });
        let mut conn = conn(1, Role::Server);
        let mut got = Vec::new();
        for i in 0..40_000u64 {
            let (status, lasts) = match i % 1000 {
                0 => (503, 1000),
                500 => (200, SECOND / 2),
                _ => (200, 1000),
            };
            let http = Http {
                status: Some(status),
                ..get("/")
            };
            send_lasting(&mut a, &mut conn, http, SECOND + i * 100_000, lasts);
            if i % 1000 == 999 {
                got.extend(spans(&mut a));
            }
        }
        let slow = |span: &&Span| span.end_time_unix_nano - span.start_time_unix_nano >= SECOND / 2;
        let failed: Vec<_> = got.iter().filter(|span| span.status.is_some()).collect();
        let slow: Vec<_> = got.iter().filter(slow).collect();
        assert_eq!((failed.len(), slow.len()), (40, 40), "{sampler}");
        assert_eq!(stands_for(failed), 40.0);
        assert_eq!(stands_for(slow), 40.0);
        if arg > 0.0 {
            assert!(
                share(40_000.0, stands_for(&got)) < 0.4,
                "{}",
                stands_for(&got)
            );
        } else {
            assert_eq!(got.len(), 80);
        }
        balanced(&a);
    }
}

#[test]
fn a_storm_of_errors_takes_its_share_alone() {
    let mut a = aggregator(|s| s.spans_per_second = 400);
    let mut conn = conn(1, Role::Server);
    let mut got = Vec::new();
    for i in 0..200_000u64 {
        let http = Http {
            status: Some(if i % 2 == 0 { 500 } else { 200 }),
            ..get("/")
        };
        send_lasting(&mut a, &mut conn, http, SECOND + i * 50_000, 1000);
        if i % 1000 == 0 {
            got.extend(spans(&mut a));
        }
    }
    got.extend(spans(&mut a));
    assert!(got.len() < 10 * 400 + 300, "{}", got.len());
    let (failed, fine): (Vec<_>, Vec<_>) = got.iter().partition(|span| span.status.is_some());
    // of the rest of the budget both have their part: 100 and 150 a second, and 150
    assert!((2300..2900).contains(&failed.len()), "{}", failed.len());
    assert!((1300..1900).contains(&fine.len()), "{}", fine.len());
    assert!(share(100_000.0, stands_for(failed)) < 0.15);
    assert!(share(100_000.0, stands_for(fine)) < 0.15);
}

#[test]
fn an_unsampled_parent_and_always_off_are_no_also_to_errors() {
    for (sampler, traceparent) in [
        ("always_off", None),
        ("parentbased_always_on", Some(UNSAMPLED)),
    ] {
        let mut a = aggregator(|s| {
            s.sampler = sampler.into();
            s.keep_slower_than_ns = 1;
        });
        let http = Http {
            status: Some(500),
            traceparent,
            ..get("/")
        };
        send(&mut a, &mut conn(1, Role::Server), http);
        assert_eq!(count(&a, "spans.dropped.unsampled"), 1, "{sampler}");
    }
    let mut a = aggregator(|s| {
        s.sampler = "traceidratio".into();
        s.sampler_arg = 0.0;
        s.keep_errors = false;
    });
    send(
        &mut a,
        &mut conn(1, Role::Server),
        Http {
            status: Some(500),
            ..get("/")
        },
    );
    assert_eq!(count(&a, "spans.dropped.unsampled"), 1);
}

fn rule(service: &str, route: &str, probability: Option<f64>) -> Rule {
    Rule {
        service: service.into(),
        route: route.into(),
        probability,
    }
}

#[test]
fn rules_by_service_and_route() {
    let mut a = aggregator(|s| {
        s.sampling_rules = vec![
            rule("*", "/health*", None),
            rule("shop", "/users/*", Some(0.25)),
            rule("shop", "*", Some(1.0)),
            rule("cart", "*", Some(0.5)),
        ];
        s.sampler = "always_off".into();
    });
    for (key, service) in [(1, "shop"), (2, "cart"), (3, "other")] {
        a.set_service(key, service);
    }
    for (key, path, expected) in [
        (1, "/healthz", 0.0),
        (1, "/users/42", 0.25),
        (1, "/basket", 1.0),
        (2, "/basket", 0.5),
        (3, "/basket", 0.0),
        (4, "/basket", 0.0),
    ] {
        let got = load(&mut a, &mut conn(key, Role::Server), get(path), 4000, 1, 1);
        assert!(
            (got.len() as f64 - 4000.0 * expected).abs() < 200.0,
            "{key} {path}: {}",
            got.len()
        );
        assert!(got
            .iter()
            .all(|span| threshold(span) == Some(Threshold::of(expected))));
    }
    // the process turns out to be another's
    a.set_service(1, "cart");
    let got = load(
        &mut a,
        &mut conn(1, Role::Server),
        get("/users/42"),
        4000,
        1,
        1,
    );
    assert!((1800..2200).contains(&got.len()), "{}", got.len());
    balanced(&a);
}

/// What a route is of calls: rpc.method, a statement's or a command's name.
#[test]
fn rules_for_calls() {
    let mut a = aggregator(|s| {
        s.sampling_rules = vec![
            rule("*", "shop.v1.Cart/*", None),
            rule("*", "GE?", None),
            rule("*", "*", Some(1.0)),
        ];
    });
    let grpc = |target: &'static str| Http {
        method: b"POST",
        target: target.as_bytes(),
        version: HttpVersion::Http2,
        status: Some(200),
        grpc: Some(Grpc {
            status: Some(0),
            ..Grpc::default()
        }),
        ..Http::default()
    };
    let redis = |operation: &'static [u8]| Db {
        operation,
        ..Db::new(DbSystem::Redis)
    };
    let mut server = conn(1, Role::Server);
    let mut client = conn(1, Role::Client);
    for _ in 0..2 {
        for target in ["/shop.v1.Cart/Add", "/shop.v1.Pay/Add"] {
            send_call(&mut a, &mut server, grpc(target), None);
        }
        for operation in [&b"GET"[..], b"SET"] {
            let exchange = Exchange {
                start_ns: SECOND,
                end_ns: SECOND + 1,
                error: None,
                detail: Detail::Db(redis(operation)),
            };
            a.exchange(&mut client, &exchange);
        }
    }
    let mut names: Vec<_> = spans(&mut a).into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["SET", "SET", "shop.v1.Pay/Add", "shop.v1.Pay/Add"]);
    balanced(&a);
}

#[test]
fn a_rule_narrows_what_a_parent_sampled_and_never_widens_it() {
    let mut a = aggregator(|s| {
        s.sampling_rules = vec![rule("*", "/half", Some(0.5)), rule("*", "/off", None)]
    });
    let low = b"00-0af7651916cd43dd8440b7ad6b716920-b7ad6b7169203331-01";
    let high = b"00-0af7651916cd43dd84c0b7ad6b716920-b7ad6b7169203331-01";
    for (traceparent, path, tracestate, expected) in [
        (low, "/half", "ot=th:0", None),
        (high, "/half", "ot=th:0", Some("ot=th:8")),
        (high, "/half", "ot=th:c", Some("ot=th:c")),
        (high, "/half", "", Some("")),
        (high, "/off", "", None),
        (low, "/", "ot=th:0", Some("ot=th:0")),
    ] {
        let http = Http {
            traceparent: Some(traceparent),
            tracestate: Some(tracestate.as_bytes()),
            ..get(path)
        };
        send(&mut a, &mut conn(1, Role::Server), http);
        let got = spans(&mut a);
        assert_eq!(
            got.first().map(|span| &*span.trace_state),
            expected,
            "{path} {tracestate}"
        );
    }
    let http = Http {
        traceparent: Some(UNSAMPLED),
        ..get("/")
    };
    send(&mut a, &mut conn(1, Role::Server), http);
    assert!(spans(&mut a).is_empty());
}

#[test]
fn a_service_has_its_own_budget() {
    let mut a = aggregator(|s| {
        s.spans_per_second = 10_000;
        s.spans_per_second_per_service = 100;
    });
    for (key, service) in [(1, "loud"), (2, "loud"), (3, "quiet")] {
        a.set_service(key, service);
    }
    let mut conns = [1, 2, 3].map(|key| conn(key, Role::Server));
    let mut got = [0.0, 0.0, 0.0];
    let mut told = [0.0, 0.0, 0.0];
    for i in 0..40_000u64 {
        let which = if i % 100 == 0 { 2 } else { (i % 2) as usize };
        send_lasting(
            &mut a,
            &mut conns[which],
            get("/"),
            SECOND + i * 250_000,
            1000,
        );
        for span in spans(&mut a) {
            got[which] += 1.0;
            told[which] += stands_for([&span]);
        }
    }
    assert!((950.0..1100.0).contains(&(got[0] + got[1])), "{got:?}");
    assert_eq!((got[2], told[2]), (400.0, 400.0));
    assert!(share(39_600.0, told[0] + told[1]) < 0.15, "{told:?}");
}

#[test]
fn a_server_of_strategies_is_followed() {
    let mut a = aggregator(|s| {
        s.sampler = "parentbased_jaeger_remote".into();
        s.sampler_arg = 0.5;
    });
    a.set_service(1, "shop");
    let mut conn = conn(1, Role::Server);
    let until_then = load(&mut a, &mut conn, get("/a"), 1000, 1, 1);
    assert!((400..600).contains(&until_then.len()));
    let strategy = Strategy {
        probability: 0.0,
        per_second: 0.0,
        floor_per_second: 5.0,
        operations: vec![("GET /a".into(), 1.0)],
    };
    a.set_strategy("shop", &strategy);
    assert_eq!(load(&mut a, &mut conn, get("/a"), 1000, 2, 1).len(), 1000);
    let floor = load(&mut a, &mut conn, get("/b"), 1000, 3, 10);
    assert!((40..70).contains(&floor.len()), "{}", floor.len());
    let limit = Strategy {
        probability: 1.0,
        per_second: 20.0,
        floor_per_second: 0.0,
        operations: Vec::new(),
    };
    a.set_strategy("shop", &limit);
    let limited = load(&mut a, &mut conn, get("/a"), 1000, 20, 10);
    assert!((180..240).contains(&limited.len()), "{}", limited.len());
    assert!(share(10_000.0, stands_for(&limited)) < 0.3);
    let http = Http {
        traceparent: Some(PARENT),
        ..get("/a")
    };
    assert_eq!(
        load(&mut a, &mut conn, http, 1000, 40, 1).len(),
        1000,
        "a parent goes first"
    );
    balanced(&a);
}

#[test]
fn a_queue_that_fills_up_raises_the_threshold() {
    let mut a = aggregator(|s| s.span_queue_bytes = 1 << 20);
    let mut conn = conn(1, Role::Server);
    for i in 0..100_000u64 {
        send_lasting(&mut a, &mut conn, get("/"), SECOND + i, 1000);
    }
    assert!(count(&a, "spans.dropped.back_pressure") > 90_000);
    assert_eq!(count(&a, "spans.dropped.queue_full"), 0);
    let got = spans(&mut a);
    assert!(
        share(100_000.0, stands_for(&got)) < 0.4,
        "{}",
        stands_for(&got)
    );
    let after = load(&mut a, &mut conn, get("/"), 1000, 2, 1);
    assert_eq!(stands_for(&after), 1000.0, "it recovers at once");

    // the queue behind is told of
    for (fill, low, high) in [(0.75, 1000, 1000), (0.8, 30, 150), (1.0, 0, 5)] {
        a.set_fill(fill);
        let got = load(&mut a, &mut conn, get("/"), 1000, 4, 1).len();
        assert!((low..=high).contains(&got), "{fill}: {got}");
    }
    send_lasting(
        &mut a,
        &mut conn,
        Http {
            status: Some(500),
            ..get("/")
        },
        9 * SECOND,
        1,
    );
    assert_eq!(stands_for(&spans(&mut a)), 1.0, "errors go last");
    a.set_fill(0.0);
    assert_eq!(load(&mut a, &mut conn, get("/"), 1000, 10, 1).len(), 1000);
    balanced(&a);
}
