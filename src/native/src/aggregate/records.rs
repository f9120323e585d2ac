//! What is handed out: the plain structs behind `_native.pyi`, field by field.

use std::borrow::Cow;
use std::sync::Arc;

use super::calls::Owned;
use super::exemplars::Exemplar;
use super::exponential::ExponentialBuckets;
use super::queue::SpanBytes;
use crate::exchange::Role;
use crate::otlp::Context;

/// Upper bounds of a duration histogram's buckets, in seconds (HTTP semantic conventions).
pub const DURATION_BOUNDS_S: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Upper bounds of a body size histogram's buckets, in bytes: none, then powers of four from 64 B to 1 GiB (the
/// conventions recommend none). `Sizes::bucket` computes with them.
pub const SIZE_BOUNDS: [u64; 14] = [
    0,
    1 << 6,
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
    1 << 28,
    1 << 30,
];

/// Buckets of either histogram: one more than bounds.
pub const BUCKETS: usize = 15;

/// `_native.Histogram`.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Values recorded.
    pub count: u64,
    /// Their sum, in seconds or bytes.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Values by bucket, upper bounds inclusive.
    pub buckets: Vec<u64>,
    /// The same in exponential buckets, if asked for.
    pub exponential: Option<ExponentialBuckets>,
    /// One for each explicit bucket at most.
    pub exemplars: Vec<Exemplar>,
}

/// `_native.HttpSeries`. Of gRPC's, `method` to `status` and `protocol_version` are empty.
#[derive(Clone, Debug)]
pub struct HttpSeries {
    /// Whose.
    pub process_key: u64,
    /// http.server.* or http.client.*, rpc.server.* or rpc.client.*.
    pub role: Role,
    /// Start of the series' first exchange.
    pub start_unix_ns: u64,
    /// rpc.system.name; "" for HTTP.
    pub rpc_system: &'static str,
    /// rpc.method; "" for HTTP.
    pub rpc_method: Arc<str>,
    /// rpc.response.status_code; "" for HTTP.
    pub rpc_status: Cow<'static, str>,
    /// http.request.method; "" in the overflow series.
    pub method: &'static str,
    /// url.scheme.
    pub scheme: &'static str,
    /// http.route; "" where unset.
    pub route: Arc<str>,
    /// http.response.status_code; 0 where there was none.
    pub status: u16,
    /// error.type; "" on success.
    pub error_type: Arc<str>,
    /// network.protocol.version; "" where only BPF counted the exchange.
    pub protocol_version: &'static str,
    /// server.address; "" where unset.
    pub server_address: Arc<str>,
    /// server.port; 0 where unset.
    pub server_port: u16,
    /// The cardinality limit's series: otel.metric.overflow=true and nothing else.
    pub overflow: bool,
    /// Seconds.
    pub duration: Histogram,
    /// Bytes.
    pub request_body: Option<Histogram>,
    /// Bytes.
    pub response_body: Option<Histogram>,
}

/// `_native.CallSeries`: of databases, brokers and resolvers.
#[derive(Clone, Debug)]
pub struct CallSeries {
    /// Whose.
    pub process_key: u64,
    /// "db", "messaging", "dns" or "object_store".
    pub area: &'static str,
    /// Which end of the connection the process is.
    pub role: Role,
    /// db.system.name, messaging.system or "dns".
    pub system: &'static str,
    /// The name of the series' spans; "" in the overflow series.
    pub name: Arc<str>,
    /// error.type; "" on success.
    pub error_type: Arc<str>,
    /// Start of the series' first call.
    pub start_unix_ns: u64,
    /// Names of the conventions, and values; error.type is among them.
    pub attributes: Vec<(&'static str, Owned)>,
    /// The cardinality limit's series: otel.metric.overflow=true and nothing else.
    pub overflow: bool,
    /// Seconds, by the bounds of the area.
    pub duration: Histogram,
    /// Messages sent or consumed; 0 elsewhere.
    pub messages: u64,
}

/// `_native.ActiveSeries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSeries {
    /// Whose.
    pub process_key: u64,
    /// http.request.method.
    pub method: &'static str,
    /// url.scheme, of the connection.
    pub scheme: &'static str,
    /// Requests in flight.
    pub value: i64,
}

/// `_native.SpanBatch`.
#[derive(Debug)]
pub struct SpanBatch {
    /// Whose.
    pub process_key: u64,
    /// How many.
    pub count: u64,
    /// A run of encoded `ScopeSpans.spans` fields.
    pub spans: SpanBytes,
}

/// `_native.Line`.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose.
    pub process_key: u64,
    /// Which end of the connection the process is.
    pub role: Role,
    /// First byte of the request.
    pub start_unix_ns: u64,
    /// Until the last byte of the response.
    pub duration_ns: u64,
    /// db.system.name, messaging.system or "dns"; "" for HTTP and gRPC, and then so are the next three.
    pub system: &'static str,
    /// The span's name.
    pub summary: String,
    /// What was asked, free of values: a query, a destination, a host's name. Cut at 2,048 characters.
    pub query: String,
    /// How it was answered, in the system's words: db.response.status_code, say.
    pub code: String,
    /// "address:port", "[v6]:port" or "unix:path".
    pub client: Arc<str>,
    /// The same of the other end.
    pub server: Arc<str>,
    /// As sent.
    pub method: String,
    /// As sent, redacted, cut at 2,048 characters.
    pub target: String,
    /// http.route; "" where unset.
    pub route: Arc<str>,
    /// HTTP's; 0 where there was none.
    pub status: u16,
    /// rpc.method; "" for HTTP.
    pub rpc_method: Arc<str>,
    /// rpc.response.status_code; "" for HTTP.
    pub rpc_status: Cow<'static, str>,
    /// Messages that a gRPC client sent; None where not counted.
    pub request_messages: Option<u64>,
    /// Messages that a gRPC server sent; None where not counted.
    pub response_messages: Option<u64>,
    /// "" on success.
    pub error_type: Arc<str>,
    /// Transfer coding removed.
    pub request_body_bytes: u64,
    /// Transfer coding removed.
    pub response_body_bytes: u64,
    /// 32 hex digits; "" where no span was made.
    pub trace_id: String,
    /// 16 hex digits; "" where no span was made.
    pub span_id: String,
}

impl Line {
    /// Of nothing in particular, with the ids of its span.
    pub(super) fn without_call(context: Option<Context<'_>>) -> Self {
        let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let none = || Arc::from("");
        Self {
            process_key: 0,
            role: Role::Server,
            start_unix_ns: 0,
            duration_ns: 0,
            system: "",
            summary: String::new(),
            query: String::new(),
            code: String::new(),
            client: none(),
            server: none(),
            method: String::new(),
            target: String::new(),
            route: none(),
            status: 0,
            rpc_method: none(),
            rpc_status: "".into(),
            request_messages: None,
            response_messages: None,
            error_type: none(),
            request_body_bytes: 0,
            response_body_bytes: 0,
            trace_id: context.map(|c| hex(&c.trace_id)).unwrap_or_default(),
            span_id: context.map(|c| hex(&c.span_id)).unwrap_or_default(),
        }
    }
}
