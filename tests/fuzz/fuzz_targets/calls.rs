//! Invariant: whatever the bytes, cuts, gaps and ends are, no parser of the table of protocols panics, and nothing is in
//! flight after the end; without gaps what is found on a connection whose beginning was seen does not depend on the
//! cuts, unless pieces are datagrams.
//!
//! The first byte of the input chooses the protocol and whether the connection is older than its capture; the rest is a
//! script (script.rs).
#![no_main]

mod script;

use _native::exchange::{End, Exchange, Input, Sink, Verdict, Which};
use _native::protocols::{Protocol, PROTOCOLS};
use libfuzzer_sys::fuzz_target;
use script::{script, Step};

#[derive(Default, PartialEq, Debug)]
struct Record(Vec<String>);

impl Sink for Record {
    fn begin(&mut self, _method: &[u8]) {
        panic!("only HTTP tells of beginnings");
    }
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        assert!(exchange.start_ns <= exchange.end_ns);
        self.0.push(format!("{exchange:?}"));
    }
    fn abandoned(&mut self, which: Which<'_>) {
        assert_eq!(which, Which::Untold);
        self.0.push("abandoned".into());
    }
}

fn run(protocol: &Protocol, old: bool, steps: &[Step<'_>], size: usize) -> (Verdict, Record) {
    let mut parser = (protocol.parser)(old);
    let mut record = Record::default();
    let mut verdict = Verdict::Continue;
    for (step, ts_ns) in steps.iter().zip(1..) {
        match *step {
            Step::Data(side, bytes) => {
                for piece in bytes.chunks(size) {
                    verdict = parser.feed(side, ts_ns, Input::Data(piece), &mut record);
                }
            }
            Step::Gap(side, count) => {
                verdict = parser.feed(side, ts_ns, Input::Gap(count), &mut record)
            }
            Step::End(end) => verdict = parser.end(ts_ns, end, &mut record),
        }
    }
    let whole = (verdict, record);
    parser.end(steps.len() as u64 + 1, End::Closed, &mut Record::default());
    assert_eq!(parser.in_flight(), 0);
    whole
}

fuzz_target!(|input: &[u8]| {
    let [choice, rest @ ..] = input else { return };
    let Some(protocol) = PROTOCOLS.get(usize::from(choice >> 1) % PROTOCOLS.len().max(1)) else {
        return;
    };
    let old = choice & 1 == 1;
    let steps = script(rest);
    let lossy = steps
        .iter()
        .any(|step| matches!(step, Step::Gap(..) | Step::End(End::Lost)));
    let whole = run(protocol, old, &steps, usize::MAX);
    for size in [1, 7] {
        let pieces = run(protocol, old, &steps, size);
        let free = lossy || old || protocol.name == "dns";
        assert!(free || whole == pieces, "{whole:?} {pieces:?}");
    }
});
