//! Header fields that an operator asked for become attributes; those that hold secrets say so and no more. A test of
//! its own: whether they are kept is the whole process's affair.

#[path = "aggregate/world.rs"]
#[allow(dead_code)]
mod world;

use _native::aggregate::{Aggregator, Live, Settings};
use _native::conn::ConnInfo;
use _native::exchange::{Exchange, Input, Parser, Role, Side, Sink, Which};
use _native::privacy::Lists;
use _native::protocols::http1::Connection;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use world::{aggregator, conn, spans};

struct Into<'a>(&'a mut Aggregator, &'a mut ConnInfo);

impl Sink for Into<'_> {
    fn begin(&mut self, method: &[u8]) {
        self.0.begin(self.1, method);
    }
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.0.exchange(self.1, exchange);
    }
    fn abandoned(&mut self, which: Which<'_>) {
        self.0.abandoned(self.1, which);
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with(change: impl FnOnce(&mut Lists)) -> Aggregator {
    let mut aggregator = aggregator(|_| ());
    let settings = Settings::default();
    let mut privacy = Lists::default();
    change(&mut privacy);
    aggregator
        .reconfigure(&Live {
            sampler: settings.sampler,
            sampler_arg: settings.sampler_arg,
            spans_per_second: 0,
            infer_routes: true,
            privacy,
        })
        .unwrap();
    aggregator
}

/// What a server's span says of an exchange that comes in pieces of `size` bytes.
fn exchange(aggregator: &mut Aggregator, request: &[u8], response: &[u8], size: usize) -> Span {
    let (mut http, mut conn) = (Connection::default(), conn(1, Role::Server));
    for (side, bytes) in [(Side::Request, request), (Side::Response, response)] {
        for piece in bytes.chunks(size) {
            let mut sink = Into(aggregator, &mut conn);
            http.feed(side, 5_000_000_000, Input::Data(piece), &mut sink);
        }
    }
    let mut all = spans(aggregator);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Values of the attributes that header fields became.
fn headers(span: &Span) -> Vec<(String, Vec<String>)> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    let mut found: Vec<_> = span
        .attributes
        .iter()
        .filter(|pair| pair.key.contains(".header."))
        .map(|pair| match pair.value.clone().unwrap().value {
            Some(Value::ArrayValue(array)) => {
                let values = array.values.into_iter().map(|each| text(each.value));
                (pair.key.clone(), values.collect())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort();
    found
}

const REQUEST: &[u8] = b"GET /a?x=1 HTTP/1.1\r\nHost: shop\r\nAccept: text/html\r\nX-Tenant: a\r\nx-tenant:b\r\n\
    Authorization: Bearer canary\r\nCookie: id=canary\r\nX-Api-Key: canary\r\nProxy-Authorization: canary\r\n\
    Referer: http://u:canary@h/p?token=canary&q=1\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Cache: HIT\r\nSet-Cookie: id=canary\r\n\
    Location: /next?sig=canary\r\n\r\nhi";

fn said(pairs: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    pairs
        .iter()
        .map(|(key, values)| ((*key).to_owned(), names(values)))
        .collect()
}

/// One test, as all of it is about one switch.
#[test]
fn header_fields_by_the_operators_lists() {
    let all = |lists: &mut Lists| {
        lists.request_headers = names(&["*"]);
        lists.response_headers = names(&["*"]);
    };
    let everything = said(&[
        ("http.request.header.accept", &["text/html"]),
        ("http.request.header.authorization", &["REDACTED"]),
        ("http.request.header.cookie", &["REDACTED"]),
        ("http.request.header.host", &["shop"]),
        ("http.request.header.proxy-authorization", &["REDACTED"]),
        (
            "http.request.header.referer",
            &["http://REDACTED:REDACTED@h/p?token=REDACTED&q=1"],
        ),
        ("http.request.header.x-api-key", &["REDACTED"]),
        ("http.request.header.x-tenant", &["a", "b"]),
        ("http.response.header.content-length", &["2"]),
        ("http.response.header.location", &["/next?sig=REDACTED"]),
        ("http.response.header.set-cookie", &["REDACTED"]),
        ("http.response.header.x-cache", &["HIT"]),
    ]);
    for size in [1, 7, 4096] {
        let span = exchange(&mut with(all), REQUEST, RESPONSE, size);
        assert_eq!(headers(&span), everything, "pieces of {size}");
        assert!(span.attributes.iter().any(|pair| pair.key == "url.path"));
    }

    let mut some = with(|lists| {
        lists.request_headers = names(&["X-*", "authorization"]);
        lists.clear_headers = names(&["x-api-key"]);
    });
    let expected = said(&[
        ("http.request.header.authorization", &["REDACTED"]),
        ("http.request.header.x-api-key", &["canary"]),
        ("http.request.header.x-tenant", &["a", "b"]),
    ]);
    for _ in 0..2 {
        // the second time on a head that is known
        let span = exchange(&mut some, REQUEST, RESPONSE, 4096);
        assert_eq!(headers(&span), expected);
    }

    let mut dropped = with(|lists| {
        all(lists);
        lists.drop_attributes = names(&["http.*.header.*"]);
    });
    let span = exchange(&mut dropped, REQUEST, RESPONSE, 4096);
    assert_eq!(headers(&span), []);

    // Without an answer there are no header fields of one, not even an earlier one's.
    let mut with_all = with(all);
    let (mut http, mut conn) = (Connection::default(), conn(1, Role::Server));
    for (side, bytes) in [
        (Side::Request, REQUEST),
        (Side::Response, RESPONSE),
        (Side::Request, REQUEST),
    ] {
        let mut sink = Into(&mut with_all, &mut conn);
        http.feed(side, 5_000_000_000, Input::Data(bytes), &mut sink);
    }
    let end = _native::exchange::End::Closed;
    http.end(6_000_000_000, end, &mut Into(&mut with_all, &mut conn));
    let last = spans(&mut with_all).remove(1);
    assert_eq!(headers(&last), everything[..8]);

    // Longer heads than are kept have none, and are understood all the same.
    let long = [
        &REQUEST[..REQUEST.len() - 2],
        b"X-Long: ",
        &[b'x'; 9000],
        b"\r\n\r\n",
    ]
    .concat();
    let span = exchange(&mut with(all), &long, RESPONSE, 4096);
    assert_eq!(headers(&span), everything[8..]);

    // Nobody asks: nobody has them.
    let span = exchange(&mut with(|_| ()), REQUEST, RESPONSE, 4096);
    assert_eq!(headers(&span), []);
}
