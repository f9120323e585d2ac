//! Every captured case: whole, byte by byte, cut in two everywhere, with more behind it, cut short everywhere
//! and with a gap everywhere.

mod common;

use _native::exchange::{End, Side, Verdict};
use _native::protocols::{http1, http2};
use common::{cases, cut, run, Case, Record, Seen, Step, Tested, Timed};

#[test]
fn http1() {
    for case in cases("http1") {
        check::<http1::Connection>(&case, truncated, gap);
    }
}

#[test]
fn http2() {
    for case in cases("http2") {
        check::<http2::Connection>(&case, streams_truncated, streams_gap);
    }
}

/// Long cases are cut at this many places at most.
const PLACES: usize = 300;

/// Says what is wrong with what was found in a part of a case, with `whole` found in all of it.
type PartOf<T> = fn(case: &Case, whole: &Record, part: &Record, how: T, context: &str);

fn check<P: Tested>(case: &Case, truncated: PartOf<End>, gap: PartOf<()>) {
    let whole = expect::<P>(case, &case.steps, "whole");
    trailing::<P>(case);
    if !case.borders {
        expect::<P>(case, &cut(&case.steps, |_, _| 1), "byte by byte");
    }
    for (step, at) in case.places(PLACES) {
        if !case.borders {
            let how = format!("cut in two, step {step} at {at}");
            expect::<P>(case, &case.cut_in_two(step, at), &how);
        }
        for end in [End::Closed, End::Lost, End::Broken(104)] {
            let part = record_of::<P>(case, &case.cut_short(step, at, end));
            let context = format!(
                "'{}' cut short in step {step} at {at} by {end:?}",
                case.name
            );
            truncated(case, &whole, &part, end, &context);
        }
        for lost in [1, 7, usize::MAX] {
            let part = record_of::<P>(case, &case.with_gap(step, at, lost));
            let context = format!(
                "'{}' with {lost} bytes lost in step {step} at {at}",
                case.name
            );
            gap(case, &whole, &part, (), &context);
        }
    }
}

fn expect<P: Tested>(case: &Case, steps: &[Timed], how: &str) -> Record {
    let mut parser = P::begin(case.old);
    let mut record = Record::default();
    let verdict = run(&mut parser, steps, &mut record);
    let context = format!("case '{}' {how}", case.name);
    for (expected, seen) in case.expect.iter().zip(&record.exchanges) {
        expected.check(seen, &context);
    }
    assert_eq!(
        record.exchanges.len(),
        case.expect.len(),
        "exchanges, {context}"
    );
    assert_eq!(verdict, case.verdict, "verdict, {context}");
    assert_eq!(parser.in_flight(), case.in_flight, "in flight, {context}");
    assert_eq!(record.abandoned, case.abandoned, "abandoned, {context}");
    record
}

/// What comes behind a case must be what would have come without it.
fn trailing<P: Tested>(case: &Case) {
    if case.has_end() {
        return;
    }
    let mut steps = case.steps.clone();
    for (side, bytes) in [Side::Request, Side::Response].into_iter().zip(P::TRAILING) {
        steps.push((steps.len(), Step::Data(side, bytes.to_vec())));
    }
    let mut record = Record::default();
    let verdict = run(&mut P::begin(case.old), &steps, &mut record);
    assert_eq!(verdict, case.verdict, "'{}' with trailing data", case.name);
    let goes_on = verdict == Verdict::Continue && case.in_flight == 0;
    let expected = case.expect.len() + usize::from(goes_on);
    if goes_on || verdict != Verdict::Continue {
        assert_eq!(
            record.exchanges.len(),
            expected,
            "'{}' with trailing data",
            case.name
        );
    }
    if goes_on {
        assert_eq!(
            record.exchanges[expected - 1].target,
            b"/trailing",
            "'{}' with trailing data",
            case.name
        );
    }
}

fn record_of<P: Tested>(case: &Case, steps: &[Timed]) -> Record {
    let mut record = Record::default();
    let mut parser = P::begin(case.old);
    run(&mut parser, steps, &mut record);
    assert_eq!((parser.in_flight(), record.in_flight()), (0, 0));
    record
}

/// A connection that ends early has a part of the exchanges, and none of its own invention.
fn truncated(_: &Case, whole: &Record, part: &Record, _: End, context: &str) {
    for (i, seen) in part.exchanges.iter().enumerate() {
        let same = |full: &Seen| (&full.method, &full.target) == (&seen.method, &seen.target);
        // Without its answer, or before the loss that hid it, a request may end in an error of its own.
        let unanswered = seen.error.is_some() && whole.begun > whole.exchanges.len();
        match whole.exchanges.get(i) {
            Some(full) if same(full) => {
                assert!(
                    seen.status.is_none() || seen.status == full.status,
                    "{context}"
                );
            }
            _ => assert!(unanswered, "{context}"),
        }
    }
}

/// Bytes that nobody captured may hide exchanges, and never make new ones.
fn gap(_: &Case, whole: &Record, part: &Record, (): (), context: &str) {
    for seen in &part.exchanges {
        let known = whole
            .exchanges
            .iter()
            .any(|full| (&full.method, &full.target) == (&seen.method, &seen.target));
        assert!(
            known || whole.begun > whole.exchanges.len(),
            "{context} invents {seen:?}"
        );
    }
}

/// A connection that ends early has the exchanges that were over by then, and then, in an error, those that were
/// begun.
fn streams_truncated(case: &Case, whole: &Record, part: &Record, end: End, context: &str) {
    let both = part.exchanges.iter().zip(&whole.exchanges);
    let over = both.take_while(|(seen, full)| seen == full).count();
    for seen in &part.exchanges[over..] {
        let error = match end {
            End::Closed => "connection_closed",
            End::Broken(_) => "connection_reset",
            _ => panic!("{context} invents {seen:?}"),
        };
        assert_eq!(seen.error, Some(error), "{context}");
    }
    streams_gap(case, whole, part, (), context);
}

/// Bytes that nobody captured may hide exchanges and fields of them, and never make new ones.
fn streams_gap(case: &Case, whole: &Record, part: &Record, (): (), context: &str) {
    let unanswered = case.in_flight > 0 || case.abandoned > 0;
    for seen in &part.exchanges {
        let known = |full: &Seen| is_part_of(seen, full);
        assert!(
            unanswered || whole.exchanges.iter().any(known),
            "{context} invents {seen:?}"
        );
    }
}

/// What is known of an exchange is what is true of it.
fn is_part_of(seen: &Seen, full: &Seen) -> bool {
    fn part<T: PartialEq>(seen: Option<T>, full: Option<T>) -> bool {
        seen.is_none() || seen == full
    }
    fn text(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }
    let fields = |seen: &Seen| {
        [
            text(&seen.method).map(<[u8]>::to_vec),
            text(&seen.target).map(<[u8]>::to_vec),
            seen.host.clone(),
            seen.user_agent.clone(),
            seen.forwarded_for.clone(),
            seen.forwarded_proto.clone(),
            seen.traceparent.clone(),
            seen.tracestate.clone(),
        ]
    };
    // padding counts where its length was not captured
    let bodies = seen.request_body_bytes <= full.request_body_bytes + 256
        && seen.response_body_bytes <= full.response_body_bytes + 256;
    let calls = match (seen.grpc, full.grpc) {
        (None, _) => true,
        (Some(_), None) => false,
        _ if seen.error.is_some() => true,
        (Some(seen), Some(full)) => {
            part(seen.status, full.status)
                && part(seen.request_messages, full.request_messages)
                && part(seen.response_messages, full.response_messages)
        }
    };
    let same = |(seen, full)| part(seen, full);
    fields(seen).into_iter().zip(fields(full)).all(same)
        && part(seen.status, full.status)
        && bodies
        && calls
}
