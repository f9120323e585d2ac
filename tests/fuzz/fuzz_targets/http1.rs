//! Invariant: whatever the bytes, cuts, gaps and ends are, the parser does not panic, each request begun ends
//! exactly once, and without gaps what is found does not depend on the cuts.
//!
//! The input is a script (script.rs).
#![no_main]

mod script;

use _native::exchange::{Detail, End, Exchange, Input, Parser, Sink, Verdict, Which};
use _native::protocols::http1::Connection;
use libfuzzer_sys::fuzz_target;
use script::{script, Step};

#[derive(Default, PartialEq, Debug)]
struct Record {
    begun: usize,
    ended: usize,
    log: Vec<String>,
}

impl Sink for Record {
    fn begin(&mut self, _method: &[u8]) {
        self.begun += 1;
    }
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.ended += 1;
        let Exchange {
            start_ns,
            end_ns,
            error,
            detail,
        } = exchange;
        assert!(start_ns <= end_ns);
        if let Detail::Http(http) = detail {
            self.log
                .push(format!("{start_ns} {end_ns} {error:?} {http:?}"));
        }
    }
    fn abandoned(&mut self, _: Which<'_>) {
        self.ended += 1;
    }
}

fn run(steps: &[Step<'_>], size: usize) -> (Verdict, Record) {
    let mut connection = Connection::new();
    let mut record = Record::default();
    let mut verdict = Verdict::Continue;
    for (step, ts_ns) in steps.iter().zip(1..) {
        match *step {
            Step::Data(side, bytes) => {
                for piece in bytes.chunks(size) {
                    verdict = connection.feed(side, ts_ns, Input::Data(piece), &mut record);
                }
            }
            Step::Gap(side, count) => {
                verdict = connection.feed(side, ts_ns, Input::Gap(count), &mut record)
            }
            Step::End(end) => verdict = connection.end(ts_ns, end, &mut record),
        }
        assert_eq!(record.begun, record.ended + connection.in_flight());
    }
    (verdict, record)
}

fuzz_target!(|input: &[u8]| {
    let steps = script(input);
    let lossy = steps
        .iter()
        .any(|step| matches!(step, Step::Gap(..) | Step::End(End::Lost)));
    let whole = run(&steps, usize::MAX);
    for size in [1, 7] {
        let pieces = run(&steps, size);
        assert!(lossy || whole == pieces, "{whole:?} {pieces:?}");
    }
});
