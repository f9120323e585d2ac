//! What an exchange costs after pairing. For instruction counts:
//!
//! ```text
//! cargo build --release --no-default-features --example aggregate_cost
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null …/examples/aggregate_cost spans 1000 100000
//! ```
//!
//! Two runs with different numbers of exchanges (third argument), subtracted, leave out the start.

use std::net::Ipv4Addr;

use _native::aggregate::{Aggregator, Settings};
use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::{Detail, Exchange, Http, Role};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mode = args.first().map_or("spans", String::as_str);
    let number = |at: usize, default: u64| {
        args.get(at)
            .and_then(|arg| arg.parse().ok())
            .unwrap_or(default)
    };
    let (paths, exchanges) = (number(1, 1000), number(2, 100_000));
    let role = if mode.starts_with("client") {
        Role::Client
    } else {
        Role::Server
    };
    let settings = Settings {
        spans: !mode.ends_with("metrics"),
        spans_per_second: 0,
        ..Settings::default()
    };
    let mut aggregator = Aggregator::new(settings).expect("good settings");
    aggregator.set_clock_offset(1_700_000_000_000_000_000);
    let end = |last: u8, port: u16| Endpoint {
        address: Address::V4(Ipv4Addr::new(10, 0, 0, last)),
        port,
    };
    let mut conns: Vec<ConnInfo> = (0..16)
        .map(|i| ConnInfo::new(1, role, end(1, 8080), end(2, 40_000 + i)))
        .collect();
    let targets: Vec<String> = (0..paths).map(target).collect();
    let mut taken = 0;
    for i in 0..exchanges {
        let conn = &mut conns[(i % 16) as usize];
        let exchange = Exchange {
            start_ns: i * 10_000,
            end_ns: i * 10_000 + 100_000,
            error: None,
            detail: Detail::Http(Http {
                method: b"GET",
                target: targets[(i * 7919 % paths) as usize].as_bytes(),
                status: Some(200),
                host: Some(b"bench.example.org:8080"),
                user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64) bench/1.0"),
                response_body_bytes: 512,
                ..Http::default()
            }),
        };
        aggregator.begin(conn, b"GET");
        aggregator.exchange(conn, &exchange);
        if i % 4096 == 0 {
            taken += aggregator
                .take_spans(usize::MAX)
                .iter()
                .map(|batch| batch.spans.len())
                .sum::<usize>();
        }
    }
    println!("{taken} bytes of spans, {:?}", aggregator.counters());
}

/// Some with identifiers, some with words, some with queries.
fn target(i: u64) -> String {
    match i % 4 {
        0 => format!("/api/v1/users/{i}"),
        1 => format!("/api/v1/users/{i}/orders/{}", i * 31),
        2 => format!("/products/item-{i}?page={}&sort=name", i % 9),
        _ => format!("/static/img/picture{i}.png"),
    }
}
