//! Invariant: whatever the bytes, cuts, gaps and ends are, the parser does not panic, each request begun ends
//! exactly once, and memory stays bounded; without gaps, what is found does not depend on the cuts, and never on
//! what other connections said before.
//!
//! Random, and the same each time: a failure names the seed of its round. tests/fuzz does this for as long as
//! one likes, with a fuzzer that learns.

mod common;

use _native::exchange::{End, Parser, Side, Verdict};
use _native::protocols::http1::Connection;
use common::random::{mutated, seeds, Random};
use common::{cut, run, time_of, Record, Step, Timed};

const ROUNDS: u64 = 30_000;
/// Two heads, the text of what is in flight, and the queue itself.
const MEMORY: usize = 4 * 64 * 1024 + 2 * 1024 * 1024 + 1024 * 256;

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"Content-Length: 5\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"tracestate: a=b\r\n",
    b"ffffffffffffffff\r\n",
    b"\x00",
    b"\xff",
];

fn parse(steps: &[Timed]) -> (Verdict, usize, Record) {
    let mut connection = Connection::new();
    let mut record = Record::default();
    let mut verdict = Verdict::Continue;
    for step in steps {
        verdict = run(&mut connection, std::slice::from_ref(step), &mut record);
        assert!(connection.heap_bytes() <= MEMORY);
    }
    (verdict, connection.in_flight(), record)
}

#[test]
fn holds_whatever_comes() {
    let seeds = seeds("http1", 4000);
    for round in 0..ROUNDS {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let gaps = round % 2 == 1;
        let steps = mutated(&seeds, WORDS, gaps, &mut random);
        let whole = parse(&steps);
        let mut cuts = Random(round + 1);
        let pieces = parse(&cut(&steps, |_, _| 1 + cuts.below(40)));
        let bytes = parse(&cut(&steps, |_, _| 1));
        // A thread of its own has heard no head before that it could know again.
        let alone = std::thread::scope(|scope| scope.spawn(|| parse(&steps)).join());
        assert_eq!(whole, alone.expect("no panic"), "round {round}: {steps:?}");
        if !gaps {
            assert_eq!(whole, pieces, "round {round}: {steps:?}");
            assert_eq!(whole, bytes, "round {round}: {steps:?}");
        }
        let mut connection = Connection::new();
        let mut record = Record::default();
        if run(&mut connection, &steps, &mut record) == Verdict::Continue {
            connection.end(time_of(steps.len()), End::Closed, &mut record);
        }
        assert_eq!(connection.in_flight(), 0, "round {round}");
        assert_eq!(
            connection.heap_bytes(),
            0,
            "round {round}: memory after the end"
        );
    }
}

#[test]
fn an_idle_connection_costs_next_to_nothing() {
    assert!(size_of::<Connection>() < 200);
    let mut connections: Vec<Connection> = (0..1000).map(|_| Connection::new()).collect();
    let steps = [
        (
            0,
            Step::Data(Side::Request, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ),
        (
            1,
            Step::Data(
                Side::Response,
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            ),
        ),
    ];
    for connection in &mut connections {
        let mut record = Record::default();
        for step in cut(&steps, |_, _| 5) {
            run(connection, &[step], &mut record);
        }
        assert_eq!(connection.heap_bytes(), 0);
    }
}

#[test]
fn a_flood_of_heads_is_bounded() {
    let head = [
        b"GET /".as_slice(),
        &b"x".repeat(8000),
        b" HTTP/1.1\r\n\r\n",
    ]
    .concat();
    let mut connection = Connection::new();
    let mut record = Record::default();
    let steps = [(0, Step::Data(Side::Request, head))];
    while run(&mut connection, &steps, &mut record) == Verdict::Continue {
        assert!(connection.heap_bytes() <= MEMORY);
    }
    assert!(record.begun < 1024);
    assert_eq!(record.abandoned, record.begun);
}
