//! Exponential histograms against tests/metrics/exponential.yaml, which OpenTelemetry's SDK made; start times.

use _native::aggregate::{Aggregator, ExponentialBuckets, Histogram};
use _native::exchange::{Db, DbSystem, Detail, Exchange, Http, Role};
use serde::Deserialize;

use crate::world::*;

#[derive(Deserialize)]
struct Case {
    name: String,
    durations_ns: Vec<u64>,
    scale: u32,
    zero_count: u64,
    offset: i32,
    counts: Vec<u64>,
}

fn took(a: &mut Aggregator, role: Role, detail: Detail<'_>, duration_ns: u64) {
    let exchange = Exchange {
        start_ns: 0,
        end_ns: duration_ns,
        error: None,
        detail,
    };
    a.exchange(&mut conn(1, role), &exchange);
}

fn buckets(histogram: &Histogram) -> &ExponentialBuckets {
    histogram.exponential.as_ref().expect("asked for")
}

#[test]
fn buckets_are_those_of_the_sdk() {
    let cases: Vec<Case> =
        serde_norway::from_str(include_str!("../../../../tests/metrics/exponential.yaml")).unwrap();
    assert!(cases.len() > 5);
    for case in cases {
        let mut a = aggregator(|s| s.exponential = true);
        for ns in &case.durations_ns {
            took(&mut a, Role::Server, Detail::Http(get("/")), *ns);
            took(
                &mut a,
                Role::Client,
                Detail::Db(Db::new(DbSystem::Redis)),
                *ns,
            );
        }
        let expected = ExponentialBuckets {
            scale: case.scale,
            zero_count: case.zero_count,
            offset: case.offset,
            counts: case.counts,
        };
        let (http, calls) = a.read_series();
        assert_eq!(buckets(&http[0].duration), &expected, "{}", case.name);
        assert_eq!(buckets(&calls[0].duration), &expected, "{}", case.name);
        let explicit: u64 = http[0].duration.buckets.iter().sum();
        assert_eq!(explicit, http[0].duration.count);
    }
}

#[test]
fn bodies_are_kept_in_exponential_buckets_too() {
    let mut a = aggregator(|s| s.exponential = true);
    for response_body_bytes in [0, 1024, 1024, 1025] {
        let http = Http {
            response_body_bytes,
            ..get("/")
        };
        send(&mut a, &mut conn(1, Role::Server), http);
    }
    let series = series(&mut a).remove(0);
    let (request, response) = (series.request_body.unwrap(), series.response_body.unwrap());
    assert_eq!(buckets(&request).zero_count, 4);
    let response = buckets(&response);
    assert_eq!((response.zero_count, response.counts[0]), (1, 2));
    assert_eq!(response.counts.iter().sum::<u64>(), 3);
}

#[test]
fn nobody_pays_for_what_was_not_asked_for() {
    let mut a = aggregator(|_| {});
    send(&mut a, &mut conn(1, Role::Server), get("/"));
    assert!(series(&mut a)[0].duration.exponential.is_none());
}

#[test]
fn what_the_kernel_counted_is_in_exponential_buckets_within_its_explicit_ones() {
    let mut a = aggregator(|s| s.exponential = true);
    let mut counts = [0; 15];
    (counts[0], counts[1], counts[14]) = (2, 3, 1);
    a.overflow(1, Role::Server, 200, 6, 60_000_000_000, &counts);
    let series = series(&mut a).remove(0);
    let read = buckets(&series.duration);
    let base = f64::from(-(read.scale as i32)).exp2().exp2();
    let count_up_to = |bound: f64| -> u64 {
        let within = |at: usize| base.powi(read.offset + at as i32 + 1) <= bound * 1.05;
        let kept = read.counts.iter().enumerate();
        kept.filter(|(at, _)| within(*at)).map(|(_, n)| n).sum()
    };
    let counted = [count_up_to(0.005), count_up_to(0.01), count_up_to(1e6)];
    assert_eq!(counted, [2, 5, 6]);
}

#[test]
fn one_exchange_that_the_kernel_counted_is_where_it_belongs() {
    let mut a = aggregator(|s| s.exponential = true);
    let mut counts = [0; 15];
    counts[3] = 1;
    a.overflow(1, Role::Server, 200, 1, 31_250_000, &counts);
    let series = series(&mut a).remove(0);
    let read = buckets(&series.duration);
    assert_eq!((read.scale, read.offset), (20, (-5 << 20) - 1), "2^-5 s");
}

#[test]
fn a_series_start_stays_whatever_the_clock_does() {
    let mut a = aggregator(|_| {});
    let started = OFFSET as u64 + 5_000_000_000;
    let starts = |a: &mut Aggregator| -> Vec<u64> {
        let (http, calls) = a.read_series();
        let starts = http.iter().map(|s| s.start_unix_ns);
        starts
            .chain(calls.iter().map(|s| s.start_unix_ns))
            .collect()
    };
    send(&mut a, &mut conn(1, Role::Server), get("/"));
    let detail = Detail::Db(Db::new(DbSystem::Redis));
    let call = Exchange {
        start_ns: 5_000_000_000,
        end_ns: 6_000_000_000,
        error: None,
        detail,
    };
    a.exchange(&mut conn(1, Role::Client), &call);
    assert_eq!(starts(&mut a), [started, started]);
    a.set_clock_offset(OFFSET + 3_600_000_000_000);
    send(&mut a, &mut conn(1, Role::Server), get("/"));
    assert_eq!(starts(&mut a), [started, started]);
}
