//! Does so many exchanges of one kind and nothing else, to be run under a tool that counts instructions:
//!
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/http1_cost wrk 1000
//! ```
//!
//! The difference of two runs by the difference of their counts is the cost of one exchange.

use _native::exchange::{Exchange, Input, Parser, Side, Sink, Which};
use _native::protocols::http1::Connection;

const WRK: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 14:43:55 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 12\r\nLast-Modified: Sat, 21 Nov 2026 14:43:53 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6b01ae29-c\"\r\nAccept-Ranges: bytes\r\n\r\nhello world\n";
const BROWSER: &[u8] = b"GET /shop/articles/4711?utm_source=newsletter&page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
    Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
    AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,\
    application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nReferer: https://www.example.com/shop/articles\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de-DE,de;q=0.9,en;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; consent=1\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";

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
    let count = args
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let request = match kind.as_str() {
        "wrk" | "halves" => WRK,
        "browser" => BROWSER,
        _ => {
            eprintln!("http1_cost wrk|browser|halves COUNT");
            std::process::exit(2);
        }
    };
    let cut = if kind == "halves" {
        request.len() / 2
    } else {
        request.len()
    };
    let (first, second) = request.split_at(cut);
    let mut connection = Connection::new();
    let mut sink = Count::default();
    let parser: &mut dyn Parser = &mut connection;
    for ts_ns in 0..count {
        parser.feed(Side::Request, ts_ns, Input::Data(first), &mut sink);
        parser.feed(Side::Request, ts_ns, Input::Data(second), &mut sink);
        parser.feed(Side::Response, ts_ns, Input::Data(NGINX), &mut sink);
    }
    assert_eq!(sink.exchanges, count);
    println!(
        "{} exchanges, request {} bytes, connection {} + {} bytes",
        count,
        request.len(),
        size_of::<Connection>(),
        connection.heap_bytes()
    );
}
