//! Invariant: whatever the bytes, cuts, gaps and ends are, the parser does not panic, each request begun ends
//! exactly once, and memory and time stay bounded; without gaps, what is found does not depend on the cuts.
//!
//! Random, and the same each time: a failure names the seed of its round. tests/fuzz does this for as long as
//! one likes, with a fuzzer that learns.

mod common;

use std::time::{Duration, Instant};

use _native::exchange::{End, Exchange, Input, Parser, Side, Sink, Verdict, Which};
use _native::protocols::http2::Connection;
use common::random::{mutated, seeds, Random};
use common::{cut, run, time_of, Record, Tested, Timed};

const ROUNDS: u64 = 20_000;
/// 4,096 requests with a megabyte of fields, two tables of 64 KB with what each entry costs, and a header block of
/// 256 KB per direction: that, and the frame that it is in.
const MEMORY: usize = 4096 * 1024 + (1 << 20) + 2 * (512 << 10) + 4 * (512 << 10);
/// What a connection keeps while nothing happens.
const IDLE_MEMORY: usize = 64 << 10;

const WORDS: &[&[u8]] = &[
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84",
    b"\0\0\x03\x01\x04\0\0\0\x03\x83\x86\x84",
    b"\0\0\x08\x01\x05\0\0\0\x05\x82\x86\x44\x03/ab\xbe",
    b"\0\0\x01\x01\x04\0\0\0\x03\x82",
    b"\0\0\x02\x01\x01\0\0\0\x07\x82\x86",
    b"\0\0\x01\x09\x04\0\0\0\x07\x84",
    b"\0\0\x01\x01\x05\0\0\0\x01\x88",
    b"\0\0\x01\x01\x04\0\0\0\x03\x88",
    b"\0\0\x06\x01\x05\0\0\0\x05\x48\x03201\xbe",
    b"\0\0\x05\0\0\0\0\0\x03hello",
    b"\0\0\x05\0\x09\0\0\0\x03\x02lo\0\0",
    b"\0\0\0\0\x01\0\0\0\x01",
    b"\0\0\x05\0\0\0\0\0\x01\0\0\0\0\0",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x07\x05\x04\0\0\0\x01\0\0\0\x02\x82\x86\x84",
    b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x08",
    b"\x3f\xe1\x1f",
    b"\x40\x01a\x01b",
    b"\x5f\x10application/grpc",
    b"\0",
    b"\xff",
];

fn parse(old: bool, steps: &[Timed]) -> (Verdict, usize, Record) {
    let mut connection = Connection::begin(old);
    let mut record = Record::default();
    let mut verdict = Verdict::Continue;
    for step in steps {
        verdict = run(&mut connection, std::slice::from_ref(step), &mut record);
        assert!(connection.heap_bytes() <= MEMORY);
    }
    let in_flight = connection.in_flight();
    if verdict == Verdict::Continue {
        connection.end(time_of(steps.len()), End::Closed, &mut record);
    }
    assert_eq!((connection.in_flight(), record.in_flight()), (0, 0));
    (verdict, in_flight, record)
}

#[test]
fn holds_whatever_comes() {
    let seeds = seeds("http2", 2000);
    for round in 0..ROUNDS {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let gaps = round % 2 == 1;
        let steps = mutated(&seeds, WORDS, gaps, &mut random);
        let old = gaps && random.below(2) == 0;
        let whole = parse(old, &steps);
        let mut cuts = Random(round + 1);
        let pieces = parse(old, &cut(&steps, |_, _| 1 + cuts.below(40)));
        let bytes = parse(old, &cut(&steps, |_, _| 1));
        if !gaps {
            // which of the cut steps was the last one makes the time of the end
            let found = |(verdict, in_flight, record): (Verdict, usize, Record)| {
                let over = record.exchanges.len() - in_flight;
                let mut exchanges = record.exchanges;
                exchanges[over..]
                    .iter_mut()
                    .for_each(|seen| seen.end_ns = 0);
                (verdict, in_flight, exchanges, record.abandoned)
            };
            let whole = found(whole);
            assert_eq!(whole, found(pieces), "round {round}: {steps:?}");
            assert_eq!(whole, found(bytes), "round {round}: {steps:?}");
        }
    }
}

/// Says nothing, remembers how much it heard.
#[derive(Default)]
struct Count {
    begun: u64,
    ended: u64,
    abandoned: u64,
}

impl Sink for Count {
    fn begin(&mut self, _: &[u8]) {
        self.begun += 1;
    }
    fn exchange(&mut self, _: &Exchange<'_>) {
        self.ended += 1;
    }
    fn abandoned(&mut self, _: Which<'_>) {
        self.abandoned += 1;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// HEADERS, and as many frames of CONTINUATION as it takes.
fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let chunks = block.chunks(16_000);
    let last = chunks.len() - 1;
    chunks
        .enumerate()
        .flat_map(|(at, chunk)| {
            let end = if at == last { 4 } else { 0 };
            match at {
                0 => frame(1, flags | end, stream, chunk),
                _ => frame(9, end, stream, chunk),
            }
        })
        .collect()
}

/// A literal that is indexed, of a name that is not.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut literal = vec![0x40];
    for text in [name, value] {
        if text.len() < 127 {
            literal.push(text.len() as u8);
        } else {
            literal.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                literal.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            literal.push(rest as u8);
        }
        literal.extend_from_slice(text);
    }
    literal
}

struct Talk {
    connection: Connection,
    count: Count,
    now_ns: u64,
}

impl Talk {
    fn new() -> Self {
        let mut talk = Self {
            connection: Connection::new(),
            count: Count::default(),
            now_ns: 0,
        };
        talk.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        talk.server(b"\0\0\0\x04\0\0\0\0\0");
        talk
    }

    fn say(&mut self, side: Side, bytes: &[u8]) -> Verdict {
        self.now_ns += 1;
        self.connection
            .feed(side, self.now_ns, Input::Data(bytes), &mut self.count)
    }

    fn client(&mut self, bytes: &[u8]) {
        assert_eq!(self.say(Side::Request, bytes), Verdict::Continue);
        assert!(self.connection.heap_bytes() <= MEMORY);
    }

    fn server(&mut self, bytes: &[u8]) {
        assert_eq!(self.say(Side::Response, bytes), Verdict::Continue);
        assert!(self.connection.heap_bytes() <= MEMORY);
    }
}

/// A day of 12 requests a second on one connection, each with something new for the tables, some in flight over
/// others; one never ends.
#[test]
fn a_million_streams_leave_nothing() {
    let mut talk = Talk::new();
    talk.client(&headers(1, 1, b"\x82\x86\x84"));
    let mut heap = Vec::new();
    let mut best = [Duration::MAX; 2];
    for round in 0..250u32 {
        let began = Instant::now();
        for at in 0..1000 {
            let first = 3 + (round * 1000 + at) * 8;
            let path = format!("/{round}/{at}");
            let new = literal(b":path", path.as_bytes());
            for stream in (first..).step_by(2).take(4) {
                talk.client(&headers(1, stream, &[b"\x82\x86", &new[..]].concat()));
            }
            for stream in [first + 6, first, first + 2] {
                talk.server(&headers(0, stream, &[b"\x88", &new[..]].concat()));
                talk.server(&frame(0, 1, stream, b"body"));
            }
            talk.client(&frame(3, 0, first + 4, b"\0\0\0\x08"));
        }
        match round {
            1..10 => best[0] = best[0].min(began.elapsed()),
            240.. => best[1] = best[1].min(began.elapsed()),
            _ => {}
        }
        heap.push(talk.connection.heap_bytes());
    }
    assert_eq!((talk.count.begun, talk.count.ended), (1_000_001, 1_000_000));
    assert_eq!(talk.connection.in_flight(), 1);
    let (least, most) = (heap.iter().min().unwrap(), heap.iter().max().unwrap());
    assert!(most - least < 512, "{least} to {most} bytes");
    assert!(*most <= IDLE_MEMORY, "{most} bytes");
    assert!(best[1] < 3 * best[0], "{best:?} for 4,000 streams");
}

#[test]
fn thousands_of_streams_at_once_and_then_the_oldest_go() {
    let mut talk = Talk::new();
    for stream in (1..).step_by(2).take(4097) {
        talk.client(&headers(1, stream, b"\x82\x86\x84"));
    }
    assert_eq!((talk.count.begun, talk.count.abandoned), (4097, 1025));
    for stream in (1..).step_by(2).take(4097) {
        talk.server(&headers(1, stream, b"\x88"));
    }
    assert_eq!((talk.count.ended, talk.connection.in_flight()), (3072, 0));
    assert!(talk.connection.heap_bytes() <= IDLE_MEMORY);
}

#[test]
fn a_flood_of_heads_is_bounded() {
    let mut talk = Talk::new();
    let path = literal(b":path", &[b'x'; 30_000]);
    for stream in (1..).step_by(2).take(2000) {
        talk.client(&headers(1, stream, &[b"\x82\x86", &path[..]].concat()));
    }
    assert_eq!(talk.count.begun, 2000);
    assert!(talk.connection.in_flight() < 100);
    talk.connection
        .end(talk.now_ns, End::Closed, &mut talk.count);
    assert_eq!(talk.count.ended + talk.count.abandoned, 2000);
    assert!(talk.connection.heap_bytes() <= IDLE_MEMORY);
}

/// The next request is not kept waiting by the room that a long one took.
#[test]
fn a_long_header_block_leaves_nothing() {
    let mut talk = Talk::new();
    let cookie = literal(b"cookie", &[b'x'; 50_000]);
    let block = [b"\x82\x86\x84", &cookie.repeat(5)[..]].concat();
    talk.client(&headers(1, 1, &block));
    talk.server(&headers(1, 1, &[b"\x88", &cookie.repeat(5)[..]].concat()));
    assert_eq!(talk.count.ended, 1);
    let left = talk.connection.heap_bytes();
    assert!(left <= IDLE_MEMORY, "{left} bytes");
}

/// Blocks that are small on the wire and huge once decoded: each byte is a field of 60 KB.
#[test]
fn a_bomb_of_fields_does_nothing() {
    let long = [&b"1, "[..], &[b'0'; 60_000]].concat();
    let names: [&[u8]; 12] = [
        b":path",
        b":status",
        b"content-type",
        b"forwarded",
        b"grpc-status",
        b"grpc-timeout",
        b"host",
        b"traceparent",
        b"tracestate",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"anything",
    ];
    let began = Instant::now();
    for name in names {
        for value in [&long[..], &long[3..]] {
            // a table of 64 KB, the entry, and references to it
            let mut block = b"\x3f\xe1\xff\x03\x82\x86".to_vec();
            block.extend(literal(name, value));
            block.resize(100_000, 0xbe);
            let mut talk = Talk::new();
            talk.client(&headers(1, 1, &block));
            talk.server(&headers(1, 1, &block));
            assert_eq!(talk.count.ended, 1);
        }
    }
    let each = began.elapsed() / names.len() as u32 / 4;
    assert!(each < Duration::from_secs(1), "{each:?} for a block");
}

#[test]
fn an_endless_block_is_not_kept() {
    let mut talk = Talk::new();
    talk.client(&frame(1, 0, 1, b"\x82"));
    for _ in 0..10_000 {
        talk.client(&frame(9, 0, 1, &[0xbe; 1000]));
    }
    talk.client(&frame(9, 4, 1, b""));
    talk.server(&headers(1, 1, b"\x88"));
    assert_eq!(talk.count.ended, 1);
}

#[test]
fn a_connection_that_is_never_found_again() {
    let mut talk = Talk::new();
    talk.client(&headers(1, 1, b"\x82\x86\x84"));
    talk.server(&headers(1, 1, b"\x88"));
    talk.connection.end(talk.now_ns, End::Lost, &mut talk.count);
    for _ in 0..100_000 {
        talk.client(b"a body's middle, as it seems");
    }
    talk.client(&headers(1, 3, b"\x82\x86\x84"));
    talk.server(&headers(1, 3, b"\x88"));
    assert_eq!(talk.count.ended, 2);
}

#[test]
fn an_idle_connection_costs_little() {
    assert!(size_of::<Connection>() < 600, "{}", size_of::<Connection>());
    assert_eq!(Connection::new().heap_bytes(), 0);
    let mut talk = Talk::new();
    talk.client(&headers(1, 1, b"\x82\x86\x84"));
    talk.server(&headers(1, 1, b"\x88"));
    let left = talk.connection.heap_bytes();
    assert!(left <= 8 << 10, "{left} bytes");
}
