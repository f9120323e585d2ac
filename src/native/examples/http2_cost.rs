//! Does so many streams of one kind on one connection and nothing else, to be run under a tool that counts
//! instructions:
//!
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/http2_cost get 1000
//! ```
//!
//! The difference of two runs by the difference of their counts is the cost of one stream.

use std::time::Instant;

use _native::exchange::{Exchange, Input, Parser, Side, Sink, Which};
use _native::protocols::http2::Connection;

const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// A kind of stream: header blocks as they are after the first ones, which fill the tables.
struct Kind {
    first: [&'static [u8]; 2],
    request: &'static [u8],
    request_body: &'static [u8],
    response: &'static [u8],
    response_body: &'static [u8],
    /// Empty where DATA ends the response.
    trailers: &'static [u8],
}

/// nginx encodes all of its fields anew each time, and adds them to the table each time.
const NGINX: &[u8] = b"\x88\x76\x89\xaa\x63\x55\xe5\x80\xae\x21\x2e\x1f\x61\x96\xdd\x6d\x5f\x4a\x08\x4a\x69\x3f\x75\x04\
    \x01\x38\xa0\x01\x70\x42\xb8\xc8\x14\xc5\xa3\x7f\x5f\x87\x49\x7c\xa5\x89\xd3\x4d\x1f\x5c\x02\x31\
    \x32\x6c\x96\xdd\x6d\x5f\x4a\x08\x4a\x69\x3f\x75\x04\x01\x38\xa0\x01\x70\x42\xb8\x10\x29\x8b\x46\
    \xff\x00\x83\x2a\x47\x37\x8a\xfe\x5c\x8c\x02\x65\xb8\xc4\xb1\x3f\x9f\x00\x89\x19\x08\x5a\xd2\xb5\
    \x83\xaa\x62\xa3\x84\x8f\xd2\x4a\x8f";

/// As curl and Go's client ask nginx for "/".
const GET: Kind = Kind {
    first: [
        b"\x82\x86\x84\x41\x0e127.0.0.1:8080\x7a\x0bcurl/7.88.1",
        NGINX,
    ],
    request: b"\x82\x86\x84\xbf\xbe",
    request_body: b"",
    response: NGINX,
    response_body: b"hello world\n",
    trailers: b"",
};

/// A unary call with 20 bytes each way.
const GRPC: Kind = Kind {
    first: [
        b"\x83\x86\x44\x12/pkg.Service/Echo2\x41\x0e127.0.0.1:8080\x5f\x10application/grpc\x40\x02te\x08trailers\x7a\x0egrpc-go/1.70.0",
        b"\x88\x5f\x10application/grpc\x40\x0bgrpc-status\x010\x40\x0cgrpc-message\0",
    ],
    request: b"\x83\x86\xc2\xc1\xc0\xbf\xbe",
    request_body: b"\0\0\0\0\x0f012345678901234",
    response: b"\x88\xc0",
    response_body: b"\0\0\0\0\x0f012345678901234",
    trailers: b"\xbf\xbe",
};

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

fn append(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

impl Kind {
    fn ask(&self, to: &mut Vec<u8>, stream: u32, block: &[u8]) {
        to.clear();
        if self.request_body.is_empty() {
            return append(to, 1, 5, stream, block);
        }
        append(to, 1, 4, stream, block);
        append(to, 0, 1, stream, self.request_body);
    }

    fn answer(&self, to: &mut Vec<u8>, stream: u32, block: &[u8]) {
        to.clear();
        append(to, 1, 4, stream, block);
        if self.trailers.is_empty() {
            return append(to, 0, 1, stream, self.response_body);
        }
        append(to, 0, 0, stream, self.response_body);
        append(to, 1, 5, stream, self.trailers);
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let count: u32 = args
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let (kind, at_once) = match name.as_str() {
        "get" => (GET, 1),
        "grpc" => (GRPC, 1),
        "many" => (GET, 100),
        _ => {
            eprintln!("http2_cost get|grpc|many COUNT");
            std::process::exit(2);
        }
    };
    let mut connection = Connection::new();
    let mut sink = Count::default();
    let parser: &mut dyn Parser = &mut connection;
    parser.feed(Side::Request, 0, Input::Data(HELLO), &mut sink);
    parser.feed(Side::Response, 0, Input::Data(SETTINGS), &mut sink);
    let mut bytes = Vec::new();
    let [request, response] = kind.first;
    kind.ask(&mut bytes, 1, request);
    parser.feed(Side::Request, 0, Input::Data(&bytes), &mut sink);
    kind.answer(&mut bytes, 1, response);
    parser.feed(Side::Response, 0, Input::Data(&bytes), &mut sink);
    let began = Instant::now();
    for round in 0..count / at_once {
        let first = 3 + 2 * at_once * round;
        let streams = (first..).step_by(2).take(at_once as usize);
        for stream in streams.clone() {
            kind.ask(&mut bytes, stream, kind.request);
            let input = Input::Data(&bytes);
            parser.feed(Side::Request, u64::from(round), input, &mut sink);
        }
        for stream in streams {
            kind.answer(&mut bytes, stream, kind.response);
            let input = Input::Data(&bytes);
            parser.feed(Side::Response, u64::from(round), input, &mut sink);
        }
    }
    let took = began.elapsed();
    let done = sink.exchanges - 1;
    assert_eq!(done, u64::from(count / at_once * at_once));
    println!(
        "{done} streams, {} ns each, connection {} + {} bytes",
        took.as_nanos() as u64 / done.max(1),
        size_of::<Connection>(),
        connection.heap_bytes()
    );
}
