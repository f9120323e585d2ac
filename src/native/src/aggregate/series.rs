//! A series: what its points have in common, packed into two words, and its histograms.

use std::borrow::Cow;

use super::exemplars::{ExemplarFilter, Exemplars, Reading};
use super::exponential::Exponential;
use super::records::{Histogram, BUCKETS, DURATION_BOUNDS_S, SIZE_BOUNDS};
use super::rpc;
use crate::exchange::{ErrorKind, Http, HttpVersion, Role};
use crate::otlp::Context;
use crate::routes::RouteId;

/// Values of http.request.method; a `Method` is an index.
const METHODS: [&str; 11] = [
    "_OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY",
    "TRACE",
];

/// A known method, or one of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(u8);

impl Method {
    pub const COUNT: usize = METHODS.len();
    pub const OTHER: Self = Self(0);
    pub const POST: Self = Self(7);

    /// Methods are case-sensitive (RFC 9110, 9.1).
    #[inline]
    pub fn of(token: &[u8]) -> Self {
        Self(match token {
            b"GET" => 3,
            b"POST" => 7,
            b"PUT" => 8,
            b"DELETE" => 2,
            b"HEAD" => 4,
            b"OPTIONS" => 5,
            b"PATCH" => 6,
            b"CONNECT" => 1,
            b"QUERY" => 9,
            b"TRACE" => 10,
            _ => 0,
        })
    }

    pub fn from_index(index: usize) -> Self {
        Self(index as u8)
    }

    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// http.request.method.
    pub fn as_str(self) -> &'static str {
        METHODS[self.index()]
    }

    /// What stands for the method in a span's name.
    pub fn in_name(self) -> &'static str {
        if self == Self::OTHER {
            "HTTP"
        } else {
            self.as_str()
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http10 = 0,
    Http11 = 1,
    Http2 = 2,
    /// BPF counts without looking at the version.
    Http = 3,
    /// gRPC, on HTTP/2.
    Grpc = 4,
}

impl Protocol {
    #[inline]
    pub fn of(http: &Http<'_>) -> Self {
        match (&http.grpc, http.version) {
            (None, HttpVersion::Http10) => Self::Http10,
            (None, HttpVersion::Http11) => Self::Http11,
            (None, HttpVersion::Http2) => Self::Http2,
            (Some(_), _) => Self::Grpc,
        }
    }
}

/// All that the exchanges of one series (within a process) have in common. `address` is the process's own
/// number of (server.address, server.port), 0 for none. Of gRPC's, `route` is the method and `status` gRPC's code.
#[derive(Clone, Copy, Debug)]
pub struct SeriesFields {
    pub role: Role,
    pub method: Method,
    pub https: bool,
    pub protocol: Protocol,
    pub route: RouteId,
    pub address: u32,
    pub status: u16,
    pub error: Option<ErrorKind>,
}

/// `SeriesFields`, packed: cheap to hash and to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeriesKey(u64, u64);

impl SeriesFields {
    pub fn is_rpc(&self) -> bool {
        self.protocol == Protocol::Grpc
    }

    #[inline]
    pub fn key(&self) -> SeriesKey {
        let small = u64::from(self.status)
            | u64::from(self.method.0) << 16
            | (self.protocol as u64) << 24
            | u64::from(self.https) << 32
            | u64::from(self.role == Role::Client) << 33
            | self.error.map_or(0, |e| e as u64 + 1) << 34
            // So that no key is the default's.
            | 1 << 40;
        SeriesKey(
            u64::from(self.route.0) | u64::from(self.address) << 32,
            small,
        )
    }

    /// url.scheme.
    pub fn scheme(&self) -> &'static str {
        if self.https {
            "https"
        } else {
            "http"
        }
    }

    /// network.protocol.version; "" where unknown, and of gRPC, which is always on HTTP/2.
    pub fn protocol_version(&self) -> &'static str {
        match self.protocol {
            Protocol::Http10 => "1.0",
            Protocol::Http11 => "1.1",
            Protocol::Http2 => "2",
            Protocol::Http | Protocol::Grpc => "",
        }
    }

    /// The status alone makes it an error: HTTP's 5xx, for the client 4xx as well.
    pub fn is_error_status(&self) -> bool {
        if self.is_rpc() {
            return rpc::is_error(self.role, self.status);
        }
        self.status >= if self.role == Role::Client { 400 } else { 500 }
    }

    /// The status as text: gRPC's has a name.
    pub fn status_text(&self) -> Cow<'static, str> {
        if self.is_rpc() {
            rpc::status_code(self.status)
        } else {
            self.status.to_string().into()
        }
    }

    /// error.type; "" on success.
    pub fn error_type(&self) -> String {
        if self.is_error_status() {
            self.status_text().into_owned()
        } else {
            self.error.map_or("", ErrorKind::as_str).to_owned()
        }
    }
}

pub const BOUNDS_NS: [u64; 14] = {
    let mut bounds = [0; 14];
    let mut i = 0;
    while i < 14 {
        // Microseconds first: the product with 1e9 is not exact for all of them.
        bounds[i] = (DURATION_BOUNDS_S[i] * 1e6 + 0.5) as u64 * 1000;
        i += 1;
    }
    bounds
};

/// Cumulative histogram of durations.
#[derive(Clone, Debug)]
pub struct Durations {
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
    buckets: [u64; BUCKETS],
}

impl Durations {
    pub const fn new() -> Self {
        Self {
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            buckets: [0; BUCKETS],
        }
    }

    #[inline]
    fn record(&mut self, ns: u64) {
        self.record_within(&BOUNDS_NS, ns);
    }

    /// `bounds`: always the same ones, `BUCKETS` - 1 at most.
    #[inline(always)]
    pub fn record_within(&mut self, bounds: &[u64], ns: u64) {
        let bucket = bucket_of(bounds, ns);
        self.buckets[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        // rarely so, and then a branch costs less than storing what is there already
        if ns < self.min_ns {
            self.min_ns = ns;
        }
        if ns > self.max_ns {
            self.max_ns = ns;
        }
    }

    /// Counts, sum and buckets are exact; the extremes are as far as the buckets tell.
    pub fn merge(&mut self, count: u64, sum_ns: u64, buckets: &[u64; BUCKETS]) {
        let (Some(low), Some(high)) = (
            buckets.iter().position(|n| *n > 0),
            buckets.iter().rposition(|n| *n > 0),
        ) else {
            return;
        };
        let mean = sum_ns / count.max(1);
        let floor = if low == 0 { 0 } else { BOUNDS_NS[low - 1] };
        let ceiling = BOUNDS_NS.get(high).map_or(mean, |bound| *bound);
        self.min_ns = self.min_ns.min(if count == 1 { mean } else { floor });
        self.max_ns = self
            .max_ns
            .max(if count == 1 { mean } else { ceiling.max(mean) });
        for (mine, more) in self.buckets.iter_mut().zip(buckets) {
            *mine += more;
        }
        self.sum_ns = self.sum_ns.saturating_add(sum_ns);
    }

    pub fn read(&self) -> Histogram {
        let count = self.buckets.iter().sum();
        Histogram {
            count,
            sum: seconds(self.sum_ns),
            min: if count == 0 {
                0.0
            } else {
                seconds(self.min_ns)
            },
            max: seconds(self.max_ns),
            buckets: self.buckets.to_vec(),
            exponential: None,
            exemplars: Vec::new(),
        }
    }
}

/// The first i with `ns <= bounds[i]`, else the last bucket.
#[inline(always)]
pub fn bucket_of(bounds: &[u64], ns: u64) -> usize {
    let found = bounds.iter().position(|bound| ns <= *bound);
    found.unwrap_or(bounds.len())
}

/// All series of a store, those that overflow included.
pub fn each_mut<'a, S>(
    series: &'a mut [S],
    overflow: &'a mut [Option<Box<S>>],
) -> impl Iterator<Item = &'a mut S> {
    let overflow = overflow.iter_mut().flatten().map(|one| &mut **one);
    series.iter_mut().chain(overflow)
}

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Cumulative histogram of body sizes. Most series never see a body one way: those keep a single number.
#[derive(Clone, Debug)]
pub struct Sizes {
    empty: u64,
    rest: Option<Box<SizesWithBody>>,
}

#[derive(Clone, Debug)]
struct SizesWithBody {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    buckets: [u64; BUCKETS],
}

impl Sizes {
    const fn new() -> Self {
        Self {
            empty: 0,
            rest: None,
        }
    }

    #[inline]
    fn record(&mut self, bytes: u64) {
        if bytes == 0 {
            self.empty += 1;
            return;
        }
        let rest = self.rest.get_or_insert_with(|| {
            Box::new(SizesWithBody {
                count: 0,
                sum: 0,
                min: u64::MAX,
                max: 0,
                buckets: [0; BUCKETS],
            })
        });
        rest.buckets[Self::bucket(bytes)] += 1;
        rest.count += 1;
        rest.sum = rest.sum.saturating_add(bytes);
        rest.min = rest.min.min(bytes);
        rest.max = rest.max.max(bytes);
    }

    /// The first i with `bytes <= SIZE_BOUNDS[i]`.
    #[inline]
    fn bucket(bytes: u64) -> usize {
        if bytes == 0 {
            return 0;
        }
        let log2_up = 64 - (bytes - 1).leading_zeros() as usize;
        (1 + (log2_up.max(6) - 5) / 2).min(SIZE_BOUNDS.len())
    }

    pub fn read(&self) -> Option<Histogram> {
        let Some(rest) = &self.rest else {
            let mut buckets = vec![0; BUCKETS];
            buckets[0] = self.empty;
            return (self.empty > 0).then_some(Histogram {
                count: self.empty,
                sum: 0.0,
                min: 0.0,
                max: 0.0,
                buckets,
                exponential: None,
                exemplars: Vec::new(),
            });
        };
        let mut buckets = rest.buckets.to_vec();
        buckets[0] += self.empty;
        Some(Histogram {
            count: rest.count + self.empty,
            sum: rest.sum as f64,
            min: if self.empty > 0 { 0.0 } else { rest.min as f64 },
            max: rest.max as f64,
            buckets,
            exponential: None,
            exemplars: Vec::new(),
        })
    }
}

/// How histograms are recorded, besides in explicit buckets.
#[derive(Clone, Copy, Debug)]
pub struct Recording {
    /// In exponential buckets too.
    pub exponential: bool,
    pub exemplars: ExemplarFilter,
}

/// A series' histograms once more, in exponential buckets.
#[derive(Debug)]
struct Exponentials {
    duration: Exponential,
    request_body: Exponential,
    response_body: Exponential,
}

/// One series of a process.
#[derive(Debug)]
pub struct Series {
    pub fields: SeriesFields,
    /// Of the first exchange. Fixed by then: the clock may be set, and a start that moves looks like a new series.
    pub start_unix_ns: u64,
    durations: Durations,
    request_body: Sizes,
    response_body: Sizes,
    exponential: Option<Box<Exponentials>>,
    pub exemplars: Exemplars,
    /// What its spans have in common, encoded; empty until the first.
    pub template: Box<[u8]>,
}

impl Series {
    pub fn new(fields: SeriesFields, start_unix_ns: u64, recording: Recording) -> Self {
        let exponentials = || {
            Box::new(Exponentials {
                duration: Exponential::new(),
                request_body: Exponential::new(),
                response_body: Exponential::new(),
            })
        };
        Self {
            fields,
            start_unix_ns,
            durations: Durations::new(),
            request_body: Sizes::new(),
            response_body: Sizes::new(),
            exponential: recording.exponential.then(exponentials),
            exemplars: Exemplars::new(recording.exemplars),
            template: Box::default(),
        }
    }

    #[inline]
    pub fn record(&mut self, duration_ns: u64, request_bytes: u64, response_bytes: u64) {
        self.durations.record(duration_ns);
        self.request_body.record(request_bytes);
        self.response_body.record(response_bytes);
        if let Some(exponential) = &mut self.exponential {
            exponential.record(duration_ns, request_bytes, response_bytes);
        }
    }

    /// Whether an exchange that took so long is wanted as an exemplar.
    #[inline(always)]
    pub fn wants(&self, duration_ns: u64) -> bool {
        self.exemplars.wants(bucket_of(&BOUNDS_NS, duration_ns))
    }

    /// An exchange that was recorded becomes its buckets' exemplar.
    #[cold]
    pub fn exemplify(
        &mut self,
        duration_ns: u64,
        bodies: [u64; 2],
        end_unix_ns: u64,
        span: Option<&Context<'_>>,
    ) {
        let duration = (bucket_of(&BOUNDS_NS, duration_ns), seconds(duration_ns));
        let [request, response] = bodies.map(|bytes| (Sizes::bucket(bytes), bytes as f64));
        self.exemplars
            .take(&[duration, request, response], end_unix_ns, span);
    }

    /// What BPF counted: by `DURATION_BOUNDS_S`, without bodies.
    pub fn merge(&mut self, count: u64, sum_ns: u64, buckets: &[u64; BUCKETS]) {
        self.durations.merge(count, sum_ns, buckets);
        if let Some(exponential) = &mut self.exponential {
            let mean_ns = sum_ns / count.max(1);
            for (bucket, times) in buckets.iter().enumerate() {
                let ns = if count == 1 {
                    mean_ns
                } else {
                    typical_ns(bucket, mean_ns)
                };
                exponential.duration.record(seconds(ns), *times);
            }
        }
    }

    /// Of durations; of requests' bodies, and of responses'.
    pub fn read(&self, which: Reading) -> (Histogram, [Option<Histogram>; 2]) {
        let all = self.exponential.as_deref();
        let [of_durations, of_requests, of_responses] = self.exemplars.read(which);
        let body = |sizes: &Sizes, exponential: Option<&Exponential>, exemplars| {
            sizes.read().map(|histogram| Histogram {
                exponential: exponential.map(Exponential::read),
                exemplars,
                ..histogram
            })
        };
        let duration = Histogram {
            exponential: all.map(|all| all.duration.read()),
            exemplars: of_durations,
            ..self.durations.read()
        };
        let request = all.map(|all| &all.request_body);
        let response = all.map(|all| &all.response_body);
        let bodies = [
            body(&self.request_body, request, of_requests),
            body(&self.response_body, response, of_responses),
        ];
        (duration, bodies)
    }
}

impl Exponentials {
    #[inline(never)]
    fn record(&mut self, duration_ns: u64, request_bytes: u64, response_bytes: u64) {
        self.duration.record(seconds(duration_ns), 1);
        self.request_body.record(request_bytes as f64, 1);
        self.response_body.record(response_bytes as f64, 1);
    }
}

/// A duration for those of an explicit bucket of which nothing else is known.
fn typical_ns(bucket: usize, mean_ns: u64) -> u64 {
    match (bucket.checked_sub(1), BOUNDS_NS.get(bucket)) {
        (None, _) => BOUNDS_NS[0] / 2,
        (Some(below), Some(bound)) => (BOUNDS_NS[below] + bound) / 2,
        (Some(below), None) => BOUNDS_NS[below].max(mean_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_their_names() {
        for (i, name) in METHODS.iter().enumerate() {
            assert_eq!(Method::of(name.as_bytes()).index(), i);
        }
        assert_eq!(Method::of(b"get"), Method::OTHER);
        assert_eq!(Method::of(b"PROPFIND").in_name(), "HTTP");
    }

    #[test]
    fn bounds_are_inclusive() {
        for (i, bound) in SIZE_BOUNDS.iter().enumerate().skip(1) {
            assert_eq!(Sizes::bucket(*bound), i);
            assert_eq!(Sizes::bucket(bound + 1), i + 1);
        }
        assert_eq!((Sizes::bucket(1), Sizes::bucket(u64::MAX)), (1, 14));
        for (i, bound) in DURATION_BOUNDS_S.iter().enumerate() {
            assert_eq!(BOUNDS_NS[i] as f64 / 1e9, *bound);
            let mut durations = Durations::new();
            durations.record(BOUNDS_NS[i]);
            durations.record(BOUNDS_NS[i] + 1);
            assert_eq!((durations.buckets[i], durations.buckets[i + 1]), (1, 1));
        }
    }

    #[test]
    fn sizes_with_and_without_bodies() {
        let mut sizes = Sizes::new();
        assert!(sizes.read().is_none());
        sizes.record(0);
        assert_eq!(sizes.read().unwrap().buckets[0], 1);
        sizes.record(100);
        let read = sizes.read().unwrap();
        assert_eq!(
            (read.count, read.sum, read.min, read.max),
            (2, 100.0, 0.0, 100.0)
        );
        assert_eq!((read.buckets[0], read.buckets[2]), (1, 1));
    }

    #[test]
    fn merged_counts_are_exact() {
        let mut durations = Durations::new();
        durations.record(20_000_000);
        let mut buckets = [0; BUCKETS];
        buckets[3] = 2;
        buckets[14] = 1;
        durations.merge(3, 12_000_000_000, &buckets);
        let read = durations.read();
        assert_eq!((read.count, read.sum), (4, 12.02));
        assert_eq!((read.min, read.max), (0.02, 4.0));
        assert_eq!(
            (read.buckets[2], read.buckets[3], read.buckets[14]),
            (1, 2, 1)
        );
        durations.merge(0, 0, &[0; BUCKETS]);
        assert_eq!(durations.read().count, 4);
    }
}
