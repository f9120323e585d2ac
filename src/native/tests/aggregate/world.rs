//! A small world to send requests in, and how to look at what comes of them.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use _native::aggregate::{Aggregator, HttpSeries, Settings};
use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::{Detail, ErrorKind, Exchange, Http, Role};
use _native::otlp::{self, Part};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

pub const OFFSET: i64 = 1_700_000_000_000_000_000;
pub const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub const UNSAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

pub fn aggregator(change: impl FnOnce(&mut Settings)) -> Aggregator {
    let mut settings = Settings {
        spans_per_second: 0,
        ..Settings::default()
    };
    change(&mut settings);
    let mut aggregator = Aggregator::new(settings).unwrap();
    aggregator.set_clock_offset(OFFSET);
    aggregator
}

pub fn conn(process_key: u64, role: Role) -> ConnInfo {
    let end = |last, port| Endpoint {
        address: Address::V4(Ipv4Addr::new(10, 0, 0, last)),
        port,
    };
    let (local, remote) = match role {
        Role::Server => (end(1, 8080), end(2, 45678)),
        Role::Client => (end(2, 45678), end(1, 8080)),
    };
    ConnInfo::new(process_key, role, local, remote)
}

pub fn get(target: &str) -> Http<'_> {
    Http {
        method: b"GET",
        target: target.as_bytes(),
        status: Some(200),
        ..Http::default()
    }
}

pub fn send(aggregator: &mut Aggregator, conn: &mut ConnInfo, http: Http<'_>) {
    send_at(aggregator, conn, http, 5_000_000_000, None);
}

pub fn send_at(
    aggregator: &mut Aggregator,
    conn: &mut ConnInfo,
    http: Http<'_>,
    start_ns: u64,
    error: Option<ErrorKind>,
) {
    aggregator.begin(conn, http.method);
    exchange(aggregator, conn, http, start_ns, error);
}

/// A gRPC call, of which the aggregate hears at its end alone.
pub fn send_call(
    aggregator: &mut Aggregator,
    conn: &mut ConnInfo,
    http: Http<'_>,
    error: Option<ErrorKind>,
) {
    exchange(aggregator, conn, http, 5_000_000_000, error);
}

fn exchange(
    aggregator: &mut Aggregator,
    conn: &mut ConnInfo,
    http: Http<'_>,
    start_ns: u64,
    error: Option<ErrorKind>,
) {
    let detail = Detail::Http(http);
    aggregator.exchange(
        conn,
        &Exchange {
            start_ns,
            end_ns: start_ns + 20_000_000,
            error,
            detail,
        },
    );
}

/// An export request whole, as a backend gets it.
pub fn encode_traces(
    batches: &[(&[u8], &[u8])],
    scope_name: &str,
    scope_version: &str,
    schema_url: &str,
) -> Vec<u8> {
    otlp::encode_traces(batches, scope_name, scope_version, schema_url)
        .into_iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => bytes,
            Part::Run(place) => batches[place].1.to_vec(),
        })
        .collect()
}

pub fn spans(aggregator: &mut Aggregator) -> Vec<Span> {
    let batches = aggregator.take_spans(usize::MAX);
    let resource = Resource::default().encode_to_vec();
    let pairs: Vec<_> = batches
        .iter()
        .map(|b| (&resource[..], &b.spans[..]))
        .collect();
    let request = encode_traces(&pairs, "scope", "1.2", "https://schema");
    let request = ExportTraceServiceRequest::decode(&request[..]).unwrap();
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|r| r.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|s| s.spans).collect();
    assert_eq!(
        spans.len() as u64,
        batches.iter().map(|b| b.count).sum::<u64>()
    );
    spans
}

/// Every attribute as text; one key never comes twice.
pub fn attributes(span: &Span) -> HashMap<String, String> {
    let mut out = HashMap::new();
    for pair in &span.attributes {
        let value = match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => format!("{number}"),
            other => panic!("{other:?}"),
        };
        assert!(
            out.insert(pair.key.clone(), value).is_none(),
            "{} twice",
            pair.key
        );
    }
    out
}

pub fn expect(span: &Span, expected: &[(&str, &str)]) {
    let mut actual: Vec<_> = attributes(span).into_iter().collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    actual.sort();
    expected.sort();
    assert_eq!(actual, expected);
}

pub fn count(aggregator: &Aggregator, name: &str) -> u64 {
    let counters = aggregator.counters();
    counters
        .iter()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("no {name}"))
        .1
}

pub fn balanced(aggregator: &Aggregator) {
    let dropped: u64 = aggregator
        .counters()
        .iter()
        .filter(|(name, _)| name.starts_with("spans.dropped."))
        .map(|(_, n)| n)
        .sum();
    let kept = count(aggregator, "spans.taken") + count(aggregator, "spans.queued");
    assert_eq!(count(aggregator, "requests.seen"), kept + dropped);
}

pub fn series(aggregator: &mut Aggregator) -> Vec<HttpSeries> {
    aggregator.read_series().0
}
