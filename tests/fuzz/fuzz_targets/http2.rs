//! Invariant: whatever the bytes, cuts, gaps and ends are, the parser does not panic, each request begun ends
//! exactly once, memory stays bounded, and without gaps what is found does not depend on the cuts.
//!
//! The input's first bit says whether the connection is older than its capture; the others of that byte, which side
//! has sent what a connection begins with. Then comes a script (script.rs).
#![no_main]

mod script;

use _native::exchange::{Detail, End, Exchange, Input, Parser, Side, Sink, Verdict, Which};
use _native::protocols::http2::Connection;
use libfuzzer_sys::fuzz_target;
use script::{script, Step};

const MEMORY: usize = 8 << 20;

#[derive(Default, PartialEq, Debug)]
struct Record {
    /// Methods of the requests that were begun.
    in_flight: Vec<Vec<u8>>,
    log: Vec<String>,
}

impl Record {
    fn ends(&mut self, method: &[u8]) {
        let at = self.in_flight.iter().position(|begun| begun == method);
        self.in_flight
            .swap_remove(at.expect("a request that was begun"));
    }
}

impl Sink for Record {
    fn begin(&mut self, method: &[u8]) {
        self.in_flight.push(method.to_vec());
    }
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        let Exchange {
            start_ns,
            end_ns,
            error,
            detail,
        } = exchange;
        assert!(start_ns <= end_ns);
        if let Detail::Http(http) = detail {
            if http.grpc.is_none() {
                self.ends(http.method);
            }
            self.log
                .push(format!("{start_ns} {end_ns} {error:?} {http:?}"));
        }
    }
    fn abandoned(&mut self, which: Which<'_>) {
        match which {
            Which::Oldest => panic!("there is no order among streams"),
            Which::Method(method) => self.ends(method),
            Which::Untold => {}
        }
    }
}

fn run(begin: u8, steps: &[Step<'_>], size: usize) -> (Verdict, Record) {
    let mut connection = if begin & 1 != 0 {
        Connection::old()
    } else {
        Connection::new()
    };
    let mut record = Record::default();
    let mut verdict = Verdict::Continue;
    if begin & 2 != 0 {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        verdict = connection.feed(Side::Request, 0, Input::Data(preface), &mut record);
    }
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
        assert!(record.in_flight.len() <= connection.in_flight());
        assert!(connection.heap_bytes() <= MEMORY);
    }
    let end_ns = steps.len() as u64 + 1;
    connection.end(end_ns, End::Closed, &mut record);
    assert_eq!((connection.in_flight(), record.in_flight.len()), (0, 0));
    (verdict, record)
}

fuzz_target!(|input: &[u8]| {
    let Some((&begin, input)) = input.split_first() else {
        return;
    };
    let steps = script(input);
    let lossy = begin & 1 != 0
        || steps
            .iter()
            .any(|step| matches!(step, Step::Gap(..) | Step::End(End::Lost)));
    let whole = run(begin, &steps, usize::MAX);
    for size in [1, 7] {
        let pieces = run(begin, &steps, size);
        assert!(lossy || whole == pieces, "{whole:?} {pieces:?}");
    }
});
