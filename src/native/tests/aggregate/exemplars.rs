//! Exemplars refer to spans that wait to be exported, one for each bucket and interval.

use _native::aggregate::{Aggregator, Exemplar, ExemplarFilter, HttpSeries};
use _native::exchange::{Db, DbSystem, Detail, Exchange, Http, Role};
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::world::*;

fn took(a: &mut Aggregator, http: Http<'_>, start_ns: u64, duration_ns: u64) {
    let exchange = Exchange {
        start_ns,
        end_ns: start_ns + duration_ns,
        error: None,
        detail: Detail::Http(http),
    };
    a.exchange(&mut conn(1, Role::Server), &exchange);
}

fn only(a: &mut Aggregator) -> HttpSeries {
    series(a).remove(0)
}

fn is_of(exemplar: &Exemplar, span: &Span) -> bool {
    exemplar
        .span
        .is_some_and(|(trace, id)| trace[..] == span.trace_id[..] && id[..] == span.span_id[..])
}

#[test]
fn each_bucket_has_one_an_interval_and_it_is_a_span_that_was_made() {
    let mut a = aggregator(|_| {});
    for i in 0..50 {
        took(&mut a, get("/"), 5_000_000_000 + i, 1_000_000);
        took(&mut a, get("/"), 6_000_000_000 + i, 2_000_000_000);
    }
    let spans = spans(&mut a);
    let read = only(&mut a);
    let exemplars = &read.duration.exemplars;
    assert_eq!(exemplars.len(), 2);
    for (exemplar, span) in exemplars.iter().zip(&spans) {
        assert!(is_of(exemplar, span), "the first of the interval");
        let ns = span.end_time_unix_nano - span.start_time_unix_nano;
        assert_eq!(exemplar.value, ns as f64 / 1e9);
        assert_eq!(exemplar.time_unix_ns, span.end_time_unix_nano);
    }
    assert_eq!(read.response_body.unwrap().exemplars.len(), 1, "all empty");
    assert!(only(&mut a).duration.exemplars.is_empty(), "nothing since");
    took(&mut a, get("/"), 7_000_000_000, 1_000_000);
    assert_eq!(only(&mut a).duration.exemplars.len(), 1);
}

#[test]
fn what_has_no_span_is_no_exemplar() {
    type Change = fn(&mut _native::aggregate::Settings);
    let without: [(&str, Change); 4] = [
        ("disabled", |s| s.spans = false),
        ("unsampled", |s| s.sampler = "always_off".into()),
        ("queue_full", |s| s.span_queue_bytes = 100),
        ("off", |s| s.exemplars = ExemplarFilter::AlwaysOff),
    ];
    for (why, change) in without {
        let mut a = aggregator(change);
        took(&mut a, get("/"), 5_000_000_000, 1_000_000);
        let read = only(&mut a);
        assert_eq!(read.duration.count, 1);
        assert!(read.duration.exemplars.is_empty(), "{why}");
        assert!(read.response_body.unwrap().exemplars.is_empty(), "{why}");
    }
}

#[test]
fn a_full_queue_gives_no_exemplar_and_the_next_span_does() {
    let mut a = aggregator(|s| s.span_queue_bytes = 700);
    let mut made = 0;
    for i in 0..10 {
        took(&mut a, get("/"), 5_000_000_000 + i, 1_000_000);
    }
    made += spans(&mut a).len();
    assert!(made < 10);
    let first = only(&mut a).duration.exemplars;
    assert_eq!(first.len(), 1);
    took(&mut a, get("/"), 8_000_000_000, 1_000_000);
    let spans = spans(&mut a);
    assert!(is_of(&only(&mut a).duration.exemplars[0], &spans[0]));
}

#[test]
fn with_all_wanted_those_without_a_span_have_no_ids() {
    let mut a = aggregator(|s| {
        s.spans = false;
        s.exemplars = ExemplarFilter::AlwaysOn;
    });
    took(&mut a, get("/"), 5_000_000_000, 1_000_000);
    let db = Exchange {
        start_ns: 1,
        end_ns: 3_000_001,
        error: None,
        detail: Detail::Db(Db::new(DbSystem::Redis)),
    };
    a.exchange(&mut conn(1, Role::Client), &db);
    let (http, calls) = a.read_series();
    let [one] = http[0].duration.exemplars[..] else {
        panic!("one")
    };
    assert_eq!((one.value, one.span), (0.001, None));
    assert_eq!(calls[0].duration.exemplars[0].value, 0.003);
}

#[test]
fn calls_have_exemplars() {
    let mut a = aggregator(|_| {});
    for _ in 0..3 {
        let detail = Detail::Db(Db::new(DbSystem::Redis));
        let call = Exchange {
            start_ns: 5,
            end_ns: 20_000_005,
            error: None,
            detail,
        };
        a.exchange(&mut conn(1, Role::Client), &call);
    }
    let spans = spans(&mut a);
    let (_, calls) = a.read_series();
    assert_eq!(calls[0].duration.exemplars.len(), 1);
    assert!(is_of(&calls[0].duration.exemplars[0], &spans[0]));
}

#[test]
fn a_glance_changes_nothing_and_has_the_newest() {
    let mut a = aggregator(|_| {});
    took(&mut a, get("/"), 5_000_000_000, 1_000_000);
    let glance = |a: &Aggregator| a.peek_series().0[0].duration.clone();
    assert_eq!(glance(&a), glance(&a));
    let read = only(&mut a).duration;
    assert_eq!(read, glance(&a), "still there for who looks in between");
    took(&mut a, get("/"), 6_000_000_000, 2_000_000_000);
    assert_eq!(glance(&a).exemplars.len(), 2);
    assert_eq!(only(&mut a).duration.exemplars.len(), 1);
    took(&mut a, get("/"), 7_000_000_000, 1_000_000);
    assert_ne!(glance(&a).exemplars[0], read.exemplars[0]);
}

#[test]
fn a_glance_has_ended_processes_until_they_are_told_of() {
    let mut a = aggregator(|s| s.spans = true);
    took(&mut a, get("/"), 5_000_000_000, 1_000_000);
    a.process_gone(1);
    assert_eq!(a.peek_series().0.len(), 1);
    assert_eq!(series(&mut a).len(), 1);
    assert_eq!(a.peek_series().0.len(), 1, "its span is here yet");
    assert!(a.take_exits().is_empty());
    spans(&mut a);
    assert_eq!(a.take_exits(), [1]);
    assert!(a.peek_series().0.is_empty());
    assert!(series(&mut a).is_empty());
}
