//! What an exchange costs from the ring's records to its series (`metrics`), its span (`spans`), exponential histograms
//! (`exponential`), or a budget that most are beyond (`budget`). For instruction counts:
//!
//! ```text
//! cargo build --release --example path_cost
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null …/examples/path_cost metrics 100000
//! ```
//!
//! Two runs with different numbers of exchanges (second argument), subtracted, leave out the start.

use std::net::Ipv4Addr;

use _native::aggregate::{Aggregator, Settings};
use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::Role;
use _native::processes::Process;
use _native::ring;
use _native::stream::Streams;
use _native::wire::{bytes_of, ev_segment, event_dir, event_kind};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 14:43:55 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\nhello world\n";
const CONNECTIONS: u64 = 8;

/// As in the ring.
fn record(conn: u64, dir: event_dir, ts_ns: u64, off: u64, other_off: u64, data: &[u8]) -> Vec<u8> {
    let mut head = ev_segment::default();
    head.h.kind = event_kind::EV_SEGMENT.0 as u8;
    head.h.dir = dir.0 as u8;
    head.h.tgid = 1000;
    head.h.conn = conn;
    head.h.ts_ns = ts_ns;
    head.off = off;
    head.other_off = other_off;
    head.cap = data.len() as u32;
    head.adv = data.len() as u32;
    [bytes_of(&head), data].concat()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let exchanges: u64 = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mode = args.first().map_or("metrics", String::as_str);
    let settings = Settings {
        spans: mode == "spans" || mode == "budget",
        exponential: mode == "exponential",
        // a hundred times as many come
        spans_per_second: if mode == "budget" { 1000 } else { 0 },
        ..Settings::default()
    };
    let aggregator = Aggregator::new(settings).expect("good settings");
    let mut streams = Streams::new(aggregator, false);
    streams
        .aggregator
        .set_clock_offset(1_700_000_000_000_000_000);
    let end = |port: u16| Endpoint {
        address: Address::V4(Ipv4Addr::LOCALHOST),
        port,
    };
    for conn in 0..CONNECTIONS {
        let info = ConnInfo::new(0, Role::Server, end(8080), end(40_000 + conn as u16));
        streams.open(conn, info, 1000, 1, false, Process::default);
    }
    let mut offsets = [(0, 0); CONNECTIONS as usize];
    let mut taken = 0;
    for i in 0..exchanges {
        let ask = format!(
            "GET /item/{} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
            i % 1000
        );
        let (conn, now) = (i % CONNECTIONS, i * 10_000);
        let (asked, answered) = &mut offsets[conn as usize];
        let request = record(
            conn,
            event_dir::DIR_RECV,
            now,
            *asked,
            *answered,
            ask.as_bytes(),
        );
        *asked += ask.len() as u64;
        let response = record(
            conn,
            event_dir::DIR_SEND,
            now + 5_000,
            *answered,
            *asked,
            ANSWER,
        );
        *answered += ANSWER.len() as u64;
        taken += measured(&mut streams, &request, &response, i);
    }
    println!(
        "{taken} bytes of spans, {:?}",
        streams.aggregator.counters()
    );
}

/// A name for `callgrind --toggle-collect=*measured*`.
#[inline(never)]
fn measured(streams: &mut Streams, request: &[u8], response: &[u8], i: u64) -> usize {
    assert!(ring::record(streams, request));
    assert!(ring::record(streams, response));
    if i % 4096 != 0 {
        return 0;
    }
    let batches = streams.aggregator.take_spans(usize::MAX);
    batches.iter().map(|batch| batch.spans.len()).sum()
}
