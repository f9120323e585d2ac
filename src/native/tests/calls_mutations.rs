//! Invariant, for every protocol of the table: whatever the bytes, cuts, gaps and ends are, its parser does not panic,
//! its memory stays bounded, nothing is in flight after the end, and without gaps what is found on a connection whose
//! beginning was seen does not depend on the cuts.
//!
//! Random, and the same each time: a failure names the seed of its round. tests/fuzz does this for as long as one
//! likes, with a fuzzer that learns.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use _native::exchange::{End, Exchange, Input, Parser, Side, Sink, Verdict, Which};
use _native::protocols::{Protocol, PROTOCOLS};
use common::random::{mutated, seeds, Random};
use common::{cases, cut, run_any, time_of, Record, Step, Timed};

/// Of each protocol.
const ROUNDS: u64 = 1_000;
/// What a connection may hold, whatever it is told.
const MEMORY: usize = 4 << 20;

/// Knows what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does it all; the count has no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_add(layout.size())));
        // SAFETY: handed on as it came.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: handed on as it came.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that are of many protocols.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\0",
    b"\xff",
    b"\0\0\0\x04",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"*2147483647\r\n",
    b"$-1\r\n",
    b"Q\0\0\0\x0dSELECT 1\0",
    b"Z\0\0\0\x05I",
];

/// Forgets all.
struct Nobody;

impl Sink for Nobody {
    fn begin(&mut self, _: &[u8]) {}
    fn exchange(&mut self, _: &Exchange<'_>) {}
    fn abandoned(&mut self, _: Which<'_>) {}
}

fn feed(parser: &mut dyn Parser, (index, step): &Timed) -> Verdict {
    let ts_ns = time_of(*index);
    match step {
        Step::Data(side, bytes) => parser.feed(*side, ts_ns, Input::Data(bytes), &mut Nobody),
        Step::Gap(side, count) => parser.feed(*side, ts_ns, Input::Gap(*count), &mut Nobody),
        Step::End(end) => parser.end(ts_ns, *end, &mut Nobody),
    }
}

fn parse(protocol: &Protocol, steps: &[Timed]) -> (Verdict, usize, Record) {
    let (mut parser, mut record) = ((protocol.parser)(false), Record::default());
    let verdict = run_any(&mut *parser, false, steps, &mut record);
    (verdict, parser.in_flight(), record)
}

#[test]
fn holds_whatever_comes() {
    for protocol in PROTOCOLS {
        let borders = cases(protocol.name).iter().any(|case| case.borders);
        let seeds = seeds(protocol.name, 4000);
        for round in 0..ROUNDS {
            let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let gaps = round % 2 == 1;
            let steps = mutated(&seeds, WORDS, gaps, &mut random);
            let context = format!("{}, round {round}: {steps:?}", protocol.name);
            let mut cuts = Random(round + 1);
            let pieces = cut(&steps, |_, _| 1 + cuts.below(40));
            if !gaps && !borders {
                let whole = parse(protocol, &steps);
                assert_eq!(whole, parse(protocol, &pieces), "{context}");
                assert_eq!(whole, parse(protocol, &cut(&steps, |_, _| 1)), "{context}");
            }
            for old in [false, true] {
                let before = HELD.get();
                let mut parser = (protocol.parser)(old);
                let goes_on = pieces.iter().all(|step| {
                    let verdict = feed(&mut *parser, step);
                    let held = HELD.get().wrapping_sub(before);
                    assert!(held <= MEMORY, "{held} bytes, {context}");
                    verdict == Verdict::Continue
                });
                if goes_on {
                    feed(&mut *parser, &(steps.len(), Step::End(End::Closed)));
                }
                assert_eq!(parser.in_flight(), 0, "{context}");
            }
        }
    }
}

/// A client that asks and asks, with nobody who answers; and a server that talks to nobody.
#[test]
fn a_flood_is_bounded() {
    for protocol in PROTOCOLS {
        for case in cases(protocol.name) {
            for flooding in [Side::Request, Side::Response] {
                let is_it =
                    |(_, step): &&Timed| matches!(step, Step::Data(side, _) if *side == flooding);
                let flood: Vec<Timed> = case.steps.iter().filter(is_it).cloned().collect();
                let bytes: usize = flood
                    .iter()
                    .map(|(_, step)| match step {
                        Step::Data(_, bytes) => bytes.len(),
                        _ => 0,
                    })
                    .sum();
                let before = HELD.get();
                let mut parser = (protocol.parser)(case.old);
                'flood: for _ in 0..(3 << 20) / (bytes + 1024) {
                    for step in &flood {
                        let verdict = feed(&mut *parser, step);
                        let held = HELD.get().wrapping_sub(before);
                        assert!(
                            held <= MEMORY,
                            "{} '{}' of {flooding:?} holds {held} bytes",
                            protocol.name,
                            case.name
                        );
                        if verdict != Verdict::Continue {
                            break 'flood;
                        }
                    }
                }
            }
        }
    }
}
