//! Finished exchanges become metrics, spans and lines; bounded in memory, with every drop counted.

use std::sync::Arc;

use crate::conn::ConnInfo;
use crate::exchange::{Exchange, Role};

/// What the user may choose; mirrors `Session.__init__`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Make spans.
    pub spans: bool,
    /// Spans made per second at most, one second's worth in a burst; 0: no limit.
    pub spans_per_second: u64,
    /// Encoded spans that wait for `take_spans` at most, in bytes.
    pub span_queue_bytes: usize,
    /// Make lines.
    pub lines: bool,
    /// Lines that wait for `take_lines` at most.
    pub line_queue: usize,
    /// Infer `http.route`.
    pub infer_routes: bool,
    /// Distinct routes of one process, `/**` included.
    pub max_routes_per_service: usize,
    /// Series of one process, the overflow series not included.
    pub max_series: usize,
    /// OTEL_TRACES_SAMPLER's names.
    pub sampler: String,
    /// OTEL_TRACES_SAMPLER_ARG: the ratio, 0 to 1.
    pub sampler_arg: f64,
    /// Put server.address and server.port on server metrics too (opt-in in the conventions).
    pub server_address_on_server_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spans: true,
            spans_per_second: 1000,
            span_queue_bytes: 16 << 20,
            lines: false,
            line_queue: 4096,
            infer_routes: true,
            max_routes_per_service: 200,
            max_series: 2000,
            sampler: "parentbased_always_on".into(),
            sampler_arg: 1.0,
            server_address_on_server_metrics: false,
        }
    }
}

/// Upper bounds of `Histogram::buckets` for durations, in seconds (HTTP semantic conventions).
pub const DURATION_BOUNDS_S: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Upper bounds of `Histogram::buckets` for body sizes, in bytes.
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
    /// Count by bucket: one more than there are bounds.
    pub buckets: [u64; 15],
}

/// `_native.HttpSeries`.
#[derive(Clone, Debug)]
pub struct HttpSeries {
    pub process_key: u64,
    pub role: Role,
    pub start_unix_ns: u64,
    pub method: &'static str,
    pub scheme: &'static str,
    pub route: Arc<str>,
    pub status: u16,
    pub error_type: Arc<str>,
    pub protocol_version: &'static str,
    pub server_address: Arc<str>,
    pub server_port: u16,
    pub overflow: bool,
    pub duration: Histogram,
    pub request_body: Option<Histogram>,
    pub response_body: Option<Histogram>,
}

/// `_native.ActiveSeries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSeries {
    pub process_key: u64,
    pub method: &'static str,
    pub scheme: &'static str,
    pub value: i64,
}

/// `_native.SpanBatch`.
#[derive(Clone, Debug)]
pub struct SpanBatch {
    pub process_key: u64,
    pub count: u64,
    pub spans: Vec<u8>,
}

/// `_native.Line`.
#[derive(Clone, Debug)]
pub struct Line {
    pub process_key: u64,
    pub role: Role,
    pub start_unix_ns: u64,
    pub duration_ns: u64,
    pub client: Arc<str>,
    pub server: Arc<str>,
    pub method: String,
    pub target: String,
    pub route: Arc<str>,
    pub status: u16,
    pub error_type: Arc<str>,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
    pub trace_id: String,
    pub span_id: String,
}

/// The aggregate's notes on a connection.
#[derive(Debug, Default)]
pub struct ConnCache {}

/// All that outlives a single exchange. One thread writes, others take: the owner wraps it in a lock.
pub struct Aggregator {}

impl Aggregator {
    /// Err: what is wrong with the settings, for people.
    pub fn new(_settings: Settings) -> Result<Self, String> {
        Ok(Self {})
    }

    /// CLOCK_BOOTTIME + `boot_to_unix_ns` = nanoseconds since 1970. To be set before the first exchange.
    pub fn set_clock_offset(&mut self, _boot_to_unix_ns: i64) {}

    /// A request is in flight.
    pub fn begin(&mut self, _conn: &mut ConnInfo, _method: &[u8]) {}

    /// The oldest request in flight on this connection will not be finished here.
    pub fn abandoned(&mut self, _conn: &mut ConnInfo) {}

    /// The oldest request in flight is finished.
    pub fn exchange(&mut self, _conn: &mut ConnInfo, _exchange: &Exchange<'_>) {}

    /// Exchanges that BPF counted because the ring was full: `buckets` by DURATION_BOUNDS_S, `status` 0 where
    /// there was none.
    pub fn overflow(
        &mut self,
        _process_key: u64,
        _role: Role,
        _status: u16,
        _count: u64,
        _sum_ns: u64,
        _buckets: &[u64; 15],
    ) {
    }

    /// The process ended, and so did all its connections before this call.
    pub fn process_gone(&mut self, _process_key: u64) {}

    /// The process turned out not to be selected: all that is held of it vanishes, uncounted.
    pub fn discard(&mut self, _process_key: u64) {}

    /// There are spans to take.
    pub fn has_spans(&self) -> bool {
        false
    }

    /// Spans, oldest first within a process; at most `max_bytes` unless a single span is larger.
    pub fn take_spans(&mut self, _max_bytes: usize) -> Vec<SpanBatch> {
        Vec::new()
    }

    /// Lines in order, at most `limit`.
    pub fn take_lines(&mut self, _limit: usize) -> Vec<Line> {
        Vec::new()
    }

    /// All series, cumulative; those of ended processes for the last time.
    pub fn read_http_series(&mut self) -> Vec<HttpSeries> {
        Vec::new()
    }

    /// http.server.active_requests.
    pub fn read_active(&self) -> Vec<ActiveSeries> {
        Vec::new()
    }

    /// Exact accounting, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Ended processes of which nothing is left here.
    pub fn take_exits(&mut self) -> Vec<u64> {
        Vec::new()
    }
}
