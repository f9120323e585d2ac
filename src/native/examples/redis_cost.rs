//! What Redis commands cost their parser, in instructions:
//!
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/redis_cost set 16 1000
//! ```
//!
//! The difference of two runs by the difference of their counts is the cost of so many commands, which is what a
//! pipeline holds; those of redis-benchmark with random keys.

use _native::exchange::{Exchange, Input, Parser, Side, Sink, Which};
use _native::protocols::redis::Connection;

const GET: [&[u8]; 2] = [
    b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000004711\r\n",
    b"$3\r\nxxx\r\n",
];
const SET: [&[u8]; 2] = [
    b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000004711\r\n$3\r\nxxx\r\n",
    b"+OK\r\n",
];
const LRANGE: [&[u8]; 2] = [
    b"*4\r\n$6\r\nLRANGE\r\n$6\r\nmylist\r\n$1\r\n0\r\n$2\r\n99\r\n",
    b"*0\r\n",
];

#[derive(Default)]
struct Count {
    exchanges: u64,
    bytes: u64,
}

impl Sink for Count {
    fn begin(&mut self, _method: &[u8]) {}
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.exchanges += 1;
        self.bytes += exchange.end_ns;
    }
    fn abandoned(&mut self, _: Which<'_>) {}
}

fn main() {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let mut number = |otherwise| {
        let number = args.next().and_then(|number| number.parse().ok());
        number.unwrap_or(otherwise)
    };
    let (pipeline, count) = (number(1), number(1000));
    let [request, response] = match kind.as_str() {
        "get" => GET.map(<[u8]>::to_vec),
        "set" => SET.map(<[u8]>::to_vec),
        "lrange" => [
            LRANGE[0].to_vec(),
            [&b"*100\r\n"[..], &b"$3\r\nxxx\r\n".repeat(100)].concat(),
        ],
        _ => {
            eprintln!("redis_cost get|set|lrange PIPELINE COUNT");
            std::process::exit(2);
        }
    };
    let (requests, responses) = (request.repeat(pipeline), response.repeat(pipeline));
    let mut connection = Connection::new(false);
    let mut sink = Count::default();
    let parser: &mut dyn Parser = &mut connection;
    let began = std::time::Instant::now();
    for ts_ns in 0..count as u64 {
        parser.feed(Side::Request, ts_ns, Input::Data(&requests), &mut sink);
        parser.feed(Side::Response, ts_ns, Input::Data(&responses), &mut sink);
    }
    let each = began.elapsed() / (count * pipeline) as u32;
    assert_eq!(sink.exchanges, (count * pipeline) as u64);
    println!(
        "{} commands, {each:?} each, connection {} bytes",
        count * pipeline,
        size_of::<Connection>(),
    );
}
