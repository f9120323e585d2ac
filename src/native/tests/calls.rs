//! Every captured case of every protocol that is not HTTP: whole, byte by byte, cut in two everywhere, with more
//! behind it, cut short everywhere and with a gap everywhere; and nobody takes another's bytes for its own.
//!
//! The cases are tests/protocols/NAME.yaml, in the format that http1.yaml explains, with a call's fields under `call`
//! (common/calls.rs names them). The case named "trailing" is appended to all others, but those with `trailing: false`.

mod common;

use _native::exchange::{End, Parser, Verdict};
use _native::protocols::{Detect, Opening, Protocol, PROTOCOLS};
use common::{calls, cases, cut, run_any, Case, Record, Step, Timed};

/// Long cases are cut at this many places at most.
const PLACES: usize = 300;

#[test]
fn every_case_of_every_protocol() {
    for protocol in PROTOCOLS {
        let cases = cases(protocol.name);
        assert!(!cases.is_empty(), "{} has cases", protocol.name);
        for case in &cases {
            check(protocol, case, &cases);
        }
    }
}

fn check(protocol: &Protocol, case: &Case, all: &[Case]) {
    let name = format!("{} '{}'", protocol.name, case.name);
    let whole = expect(protocol, case, &case.steps, &format!("{name} whole"));
    trailing(protocol, case, all, &name);
    if !case.borders {
        let bytes = cut(&case.steps, |_, _| 1);
        expect(protocol, case, &bytes, &format!("{name} byte by byte"));
    }
    for (step, at) in case.places(PLACES) {
        if !case.borders {
            let how = format!("{name} cut in two, step {step} at {at}");
            expect(protocol, case, &case.cut_in_two(step, at), &how);
        }
        for end in [End::Closed, End::Lost, End::Broken(104)] {
            let part = record_of(protocol, case, &case.cut_short(step, at, end));
            let context = format!("{name} cut short in step {step} at {at} by {end:?}");
            invents_nothing(case, &whole, &part, &context);
        }
        for lost in [1, 7, usize::MAX] {
            let part = record_of(protocol, case, &case.with_gap(step, at, lost));
            let context = format!("{name} with {lost} bytes lost in step {step} at {at}");
            invents_nothing(case, &whole, &part, &context);
        }
    }
}

fn expect(protocol: &Protocol, case: &Case, steps: &[Timed], context: &str) -> Record {
    let (mut parser, mut record) = ((protocol.parser)(case.old), Record::default());
    let verdict = run(&mut *parser, steps, &mut record);
    for (expected, seen) in case.expect.iter().zip(&record.exchanges) {
        expected.check(seen, context);
    }
    let found = record.exchanges.len();
    assert_eq!(
        found,
        case.expect.len(),
        "calls, {context}: {:?}",
        record.exchanges
    );
    assert_eq!(verdict, case.verdict, "verdict, {context}");
    assert_eq!(parser.in_flight(), case.in_flight, "in flight, {context}");
    assert_eq!(record.abandoned, case.abandoned, "abandoned, {context}");
    record
}

fn run(parser: &mut dyn Parser, steps: &[Timed], record: &mut Record) -> Verdict {
    run_any(parser, false, steps, record)
}

fn record_of(protocol: &Protocol, case: &Case, steps: &[Timed]) -> Record {
    let (mut parser, mut record) = ((protocol.parser)(case.old), Record::default());
    run(&mut *parser, steps, &mut record);
    assert_eq!(parser.in_flight(), 0, "{} '{}'", protocol.name, case.name);
    record
}

/// What comes behind a case must be what would have come without it.
fn trailing(protocol: &Protocol, case: &Case, all: &[Case], name: &str) {
    if case.has_end() || !case.trailing || case.name == "trailing" {
        return;
    }
    let more = all.iter().find(|case| case.name == "trailing");
    let more = more.unwrap_or_else(|| panic!("{} has a case named 'trailing'", protocol.name));
    let first = case.steps.len();
    let later = more.steps.iter();
    let steps: Vec<Timed> = case
        .steps
        .iter()
        .cloned()
        .chain(later.map(|(index, step)| (first + index, step.clone())))
        .collect();
    let (mut parser, mut record) = ((protocol.parser)(case.old), Record::default());
    run(&mut *parser, &steps, &mut record);
    let found = record.exchanges.split_off(case.expect.len());
    let whole = record_of(protocol, more, &more.steps);
    let facts = |record: &[common::Seen]| -> Vec<calls::Facts> {
        record.iter().map(|seen| seen.call.clone()).collect()
    };
    let (found, expected) = (facts(&found), facts(&whole.exchanges));
    assert_eq!(
        found.len(),
        expected.len(),
        "{name} with trailing data: {found:?}"
    );
    for (found, expected) in found.iter().zip(&expected) {
        // what the case has said before is known of what follows it too
        assert!(
            calls::is_part_of(expected, found),
            "{name} with trailing data: {found:?} is not {expected:?}"
        );
    }
}

/// A connection that ends early, or of which something was lost, has a part of the calls and none of its own.
fn invents_nothing(case: &Case, whole: &Record, part: &Record, context: &str) {
    let unanswered = case.in_flight > 0 || case.abandoned > 0;
    for seen in &part.exchanges {
        let is_of = |full: &common::Seen| calls::is_part_of(&seen.call, &full.call);
        assert!(
            unanswered || whole.exchanges.iter().any(is_of),
            "{context} invents {seen:?}"
        );
    }
}

/// The first piece of a case is recognised as its protocol's, and as nobody else's.
#[test]
fn nobody_takes_what_is_not_its_own() {
    for protocol in PROTOCOLS {
        for case in cases(protocol.name) {
            let Some((_, Step::Data(side, bytes))) = case.steps.first() else {
                continue;
            };
            let opening = Opening {
                bytes,
                from_port: 0,
                to_port: 0,
                first: !case.old,
                datagram: false,
            };
            for other in PROTOCOLS.iter().filter(|p| p.name != protocol.name) {
                let found = (other.detect)(&opening);
                assert!(
                    matches!(found, Detect::No | Detect::More),
                    "{} takes '{}' of {} ({side:?}) for its own",
                    other.name,
                    case.name,
                    protocol.name
                );
            }
        }
    }
}
