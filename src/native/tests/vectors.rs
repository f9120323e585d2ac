//! Every captured case: whole, byte by byte, cut in two everywhere, with more behind it, cut short everywhere
//! and with a gap everywhere.

mod common;

use _native::exchange::{End, Parser, Side, Verdict};
use _native::protocols::http1;
use common::{cases, cut, run, Case, Record, Seen, Step, Timed};

#[test]
fn http1() {
    for case in cases("http1") {
        check(&case, http1::Connection::new);
    }
}

/// Long cases are cut at this many places at most.
const PLACES: usize = 300;

fn check<P: Parser>(case: &Case, parser: impl Fn() -> P) {
    let whole = expect(case, &parser, &case.steps, "whole");
    expect(case, &parser, &cut(&case.steps, |_, _| 1), "byte by byte");
    for (step, at) in places(case) {
        let split = cut(&case.steps, |index, from| {
            if (index, from) == (step, 0) {
                at
            } else {
                usize::MAX
            }
        });
        expect(
            case,
            &parser,
            &split,
            &format!("cut in two, step {step} at {at}"),
        );
    }
    trailing(case, &parser);
    for (step, at) in places(case) {
        for end in [End::Closed, End::Lost, End::Broken(104)] {
            truncated(case, &whole, &parser, step, at, end);
        }
        for lost in [1, 7, usize::MAX] {
            gap(case, &whole, &parser, step, at, lost);
        }
    }
}

fn expect<P: Parser>(case: &Case, parser: impl Fn() -> P, steps: &[Timed], how: &str) -> Record {
    let mut parser = parser();
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

/// Positions within the case's data, as (step, offset): between two bytes of one piece.
fn places(case: &Case) -> Vec<(usize, usize)> {
    let all: Vec<_> = case
        .steps
        .iter()
        .filter_map(|(index, step)| match step {
            Step::Data(_, bytes) => Some((1..bytes.len()).map(|at| (*index, at))),
            _ => None,
        })
        .flatten()
        .collect();
    let stride = all.len() / PLACES + 1;
    all.into_iter().step_by(stride).collect()
}

/// What comes behind a case must be what would have come without it.
fn trailing<P: Parser>(case: &Case, parser: impl Fn() -> P) {
    let mut steps = case.steps.clone();
    steps.push((
        steps.len(),
        Step::Data(Side::Request, b"GET /trailing HTTP/1.1\r\n\r\n".to_vec()),
    ));
    steps.push((
        steps.len(),
        Step::Data(Side::Response, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    ));
    let mut record = Record::default();
    let verdict = run(&mut parser(), &steps, &mut record);
    assert_eq!(verdict, case.verdict, "'{}' with trailing data", case.name);
    let goes_on = verdict == Verdict::Continue && case.in_flight == 0 && !case.has_end();
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

/// A connection that ends early has a part of the exchanges, and none of its own invention.
fn truncated<P: Parser>(
    case: &Case,
    whole: &Record,
    parser: impl Fn() -> P,
    step: usize,
    at: usize,
    end: End,
) {
    let mut steps = case.steps[..=step].to_vec();
    if let Step::Data(_, bytes) = &mut steps[step].1 {
        bytes.truncate(at);
    }
    steps.push((step + 1, Step::End(end)));
    let mut record = Record::default();
    let mut parser = parser();
    run(&mut parser, &steps, &mut record);
    assert_eq!(parser.in_flight(), 0);
    let context = format!(
        "'{}' cut short in step {step} at {at} by {end:?}",
        case.name
    );
    for (i, seen) in record.exchanges.iter().enumerate() {
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
fn gap<P: Parser>(
    case: &Case,
    whole: &Record,
    parser: impl Fn() -> P,
    step: usize,
    at: usize,
    lost: usize,
) {
    let mut steps = Vec::new();
    for (index, original) in &case.steps {
        match original {
            Step::Data(side, bytes) if *index == step => {
                let resume = at.saturating_add(lost).min(bytes.len());
                steps.push((step, Step::Data(*side, bytes[..at].to_vec())));
                steps.push((step, Step::Gap(*side, (resume - at) as u64)));
                steps.push((step, Step::Data(*side, bytes[resume..].to_vec())));
            }
            _ => steps.push((*index, original.clone())),
        }
    }
    steps.push((steps.len(), Step::End(End::Closed)));
    let mut record = Record::default();
    let mut parser = parser();
    run(&mut parser, &steps, &mut record);
    assert_eq!(parser.in_flight(), 0);
    for seen in &record.exchanges {
        let known = whole
            .exchanges
            .iter()
            .any(|full| (&full.method, &full.target) == (&seen.method, &seen.target));
        let context = format!(
            "'{}' with {lost} bytes lost in step {step} at {at}",
            case.name
        );
        assert!(
            known || whole.begun > whole.exchanges.len(),
            "{context} invents {seen:?}"
        );
    }
}

impl Case {
    fn has_end(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, step)| matches!(step, Step::End(end) if *end != End::Lost))
    }
}
