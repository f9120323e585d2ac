//! Finished exchanges become metrics, spans and lines; bounded in memory, with every drop counted.
//!
//! An exchange's way: connection → process → target → route, or gRPC's method → series (a key of two words),
//! where it is recorded; then sampler, queue and budget say whether it becomes a span too. What repeats is
//! remembered where it repeats: on the connection (origin, encoded addresses, last series), in the path cache
//! (route), in the series (encoded constant attributes).

mod calling;
mod calls;
mod connection;
mod db;
mod decide;
mod dns;
mod exemplars;
mod exponential;
mod lines;
mod messaging;
mod origin;
mod process;
mod products;
mod queue;
mod records;
mod rpc;
mod series;
mod settings;
mod spans;
mod store;
mod table;
mod target;

use std::collections::VecDeque;

pub use calls::{db_bounds_s, Owned};
pub use connection::ConnCache;
pub use exemplars::{Exemplar, ExemplarFilter};
pub use exponential::ExponentialBuckets;
pub use queue::SpanBytes;
pub use records::{
    ActiveSeries, CallSeries, Histogram, HttpSeries, Line, SpanBatch, DURATION_BOUNDS_S,
    SIZE_BOUNDS,
};
pub use settings::{Live, Settings};

use crate::conn::ConnInfo;
use crate::exchange::{Detail, Exchange, Http, Role, Which};
use crate::otlp::Context;
use crate::privacy::{Lists, Policy};
use crate::protocols::headers;
use crate::routes::{PathCache, RouteId, Routed};
use crate::sampling::Strategy;
use crate::sql::Statements;
use connection::OriginCache;
use decide::{Decisions, Told};
use exemplars::Reading;
use lines::line;
use origin::Scheme;
use process::{Counts, Drop, Limits, Process};
use series::{Method, Protocol, Recording, Series, SeriesFields};
use spans::{Shared, Spans};
use store::{span_name, SeriesStore};
use table::Table;
use target::Target;

/// Longest authority that can name a server; it is remembered with the connection.
const MAX_AUTHORITY: usize = 512;

/// All that outlives a single exchange. One thread writes, others take: the owner wraps it in a lock.
///
/// `process_gone` comes after the end of the process's connections: what comes later counts as a new process.
pub struct Aggregator {
    settings: Settings,
    boot_to_unix_ns: i64,
    /// CLOCK_BOOTTIME of the latest exchange.
    last_end_ns: u64,
    table: Table,
    paths: PathCache,
    spans: Spans,
    lines: VecDeque<Line>,
    lines_dropped: u64,
    exits: Vec<u64>,
    statements: Statements,
    /// Room to make keys of calls' series in.
    call_key: Vec<u8>,
}

impl Aggregator {
    /// Err: what is wrong with the settings, for people.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let limits = Limits {
            max_routes: settings.max_routes_per_service,
            max_series: settings.max_series,
            recording: Recording {
                exponential: settings.exponential,
                exemplars: settings.exemplars,
            },
        };
        Ok(Self {
            table: Table::new(limits),
            spans: Spans::new(&settings)?,
            settings,
            boot_to_unix_ns: 0,
            last_end_ns: 0,
            paths: PathCache::default(),
            lines: VecDeque::new(),
            lines_dropped: 0,
            exits: Vec::new(),
            statements: Statements::new(),
            call_key: Vec::new(),
        })
    }

    /// Takes other settings over while it works. Err: what is wrong, for people; then all stays as it was.
    pub fn reconfigure(&mut self, live: &Live) -> Result<(), String> {
        let Live {
            sampler,
            sampler_arg,
            spans_per_second,
            infer_routes,
            privacy,
        } = live;
        self.spans
            .sample(sampler, *sampler_arg, *spans_per_second)?;
        self.settings.infer_routes = *infer_routes;
        self.keep_back(privacy);
        Ok(())
    }

    /// What spans and lines may not say from now on.
    pub fn keep_back(&mut self, privacy: &Lists) {
        self.spans.policy = Policy::new(privacy);
        let captures = self.spans.policy.as_ref().is_some_and(Policy::captures);
        headers::want(captures && self.spans.enabled);
    }

    /// CLOCK_BOOTTIME + `boot_to_unix_ns` = nanoseconds since 1970. To be set before the first exchange.
    pub fn set_clock_offset(&mut self, boot_to_unix_ns: i64) {
        self.boot_to_unix_ns = boot_to_unix_ns;
    }

    /// A request is in flight.
    pub fn begin(&mut self, conn: &mut ConnInfo, method: &[u8]) {
        let process = self.table.bind(conn);
        let place = 2 * Method::of(method).index() as u8 + u8::from(conn.encrypted);
        conn.cache.in_flight.push_back(place);
        if conn.role == Role::Server {
            process.activate(place);
        }
    }

    /// A request in flight on this connection will not be finished here.
    pub fn abandoned(&mut self, conn: &mut ConnInfo, which: Which<'_>) {
        let process = self.table.bind(conn);
        process.counts.abandoned += 1;
        if which != Which::Oldest {
            // HTTP/1's are in the overflow map; nobody else knows of these
            process.counts.seen += 1;
            process.counts.drop(Drop::Lost);
        }
        land(process, conn, which);
    }

    /// A request in flight is finished: see `Sink::exchange`.
    pub fn exchange(&mut self, conn: &mut ConnInfo, exchange: &Exchange<'_>) {
        let Detail::Http(http) = &exchange.detail else {
            return self.call(conn, exchange);
        };
        let process = self.table.bind(conn);
        let protocol = Protocol::of(http);
        let which = match protocol {
            Protocol::Grpc => Which::Untold,
            Protocol::Http2 => Which::Method(http.method),
            _ => Which::Oldest,
        };
        let method = land(process, conn, which).unwrap_or_else(|| Method::of(http.method));
        let target = Target::of(method, http.target);
        let scheme = match protocol {
            Protocol::Grpc => Scheme::Grpc,
            _ if is_https(conn, http, &target) => Scheme::Https,
            _ => Scheme::Http,
        };
        let server_metrics_address = self.settings.server_address_on_server_metrics;
        let address_counts = conn.role == Role::Client || server_metrics_address;
        if self.spans.enabled || address_counts {
            let authority = target.authority.or(http.host).unwrap_or(b"");
            let authority = if authority.len() > MAX_AUTHORITY {
                b""
            } else {
                authority
            };
            if conn
                .cache
                .origin
                .as_ref()
                .is_none_or(|known| !known.is_of(authority, scheme))
            {
                conn.cache.origin = Some(OriginCache::new(conn, authority, scheme));
            }
        }
        if let (true, Some(known)) = (self.spans.enabled, &mut conn.cache.origin) {
            known.set_user_agent(http.user_agent.unwrap_or(b""));
        }
        let address = match &mut conn.cache.origin {
            Some(known) if address_counts => *known
                .address
                .get_or_insert_with(|| process.series.address_of(&known.origin)),
            _ => 0,
        };
        let infer_routes = self.settings.infer_routes && conn.role == Role::Server;
        let Routed { route, plain } = if infer_routes && protocol != Protocol::Grpc {
            let learn = proves_path(http.status);
            self.paths
                .route(process.incarnation, &mut process.router, target.path, learn)
        } else {
            Routed {
                route: RouteId::UNSET,
                plain: None,
            }
        };

        let fields = match &http.grpc {
            None => SeriesFields {
                role: conn.role,
                protocol,
                method,
                https: scheme == Scheme::Https,
                route,
                address,
                status: http.status.unwrap_or(0),
                error: exchange.error,
            },
            Some(grpc) => SeriesFields {
                role: conn.role,
                protocol,
                // Always a POST (gRPC's doc/PROTOCOL-HTTP2.md), whatever a client sends.
                method: Method::POST,
                https: false,
                route: rpc::method(&mut process.router, conn.role, target.path, http, grpc),
                address,
                status: rpc::status(grpc),
                // How its stream ended is in the status too.
                error: None,
            },
        };
        let start_unix_ns = exchange
            .start_ns
            .saturating_add_signed(self.boot_to_unix_ns);
        let key = fields.key();
        if conn.cache.series.0 != key {
            conn.cache.series = (key, process.series.number_of(key, &fields, start_unix_ns));
        }
        let number = conn.cache.series.1;
        self.last_end_ns = self.last_end_ns.max(exchange.end_ns);
        let duration_ns = exchange.end_ns.saturating_sub(exchange.start_ns);
        if let Some(series) = process.series.get(number) {
            series.record(
                duration_ns,
                http.request_body_bytes,
                http.response_body_bytes,
            );
        }

        if let (Some(product), Role::Client) = (http.product, conn.role) {
            return self.on_top(conn, exchange, http, &target, product);
        }
        process.counts.seen += 1;
        let decided = self.spans.decide(
            process,
            [http.traceparent, http.tracestate],
            &fields,
            SeriesStore::is_one(number).then_some(number.into()),
            (exchange.end_ns, duration_ns),
        );
        let context = match decided {
            Err(why) => {
                process.counts.drop(why);
                if self.settings.exemplars == ExemplarFilter::AlwaysOn {
                    let times = (duration_ns, start_unix_ns.saturating_add(duration_ns));
                    exemplify(process.series.get(number), http, times, None);
                }
                None
            }
            Ok(context) => {
                let shared = Shared {
                    series: number,
                    fields: &fields,
                    origin: conn.cache.origin.as_ref(),
                    plain,
                };
                let times = (start_unix_ns, start_unix_ns.saturating_add(duration_ns));
                let made = self
                    .spans
                    .append(process, &shared, http, &target, times, context);
                let series = process.series.get(number);
                if series.as_ref().is_some_and(|s| s.wants(duration_ns)) {
                    let span = made.then_some(&context);
                    exemplify(series, http, (duration_ns, times.1), span);
                }
                made.then_some(context)
            }
        };
        if self.settings.lines {
            if self.lines.len() >= self.settings.line_queue {
                self.lines_dropped += 1;
                return;
            }
            let mut line = line(
                conn,
                http,
                &fields,
                &process.router,
                start_unix_ns,
                duration_ns,
                context,
            );
            if let Some(policy) = &self.spans.policy {
                policy.lay_over_line(&mut line);
            }
            self.lines.push_back(line);
        }
    }

    /// Exchanges that BPF counted because the ring was full: `buckets` by DURATION_BOUNDS_S, `status` 0 where
    /// there was none. They enter the series of an unknown method ("_OTHER"), which has no route, version or
    /// body sizes: the counts by status stay exact.
    pub fn overflow(
        &mut self,
        process_key: u64,
        role: Role,
        status: u16,
        count: u64,
        sum_ns: u64,
        buckets: &[u64; 15],
    ) {
        let process = self.table.process(process_key);
        let fields = SeriesFields {
            role,
            protocol: Protocol::Http,
            method: Method::OTHER,
            https: false,
            route: RouteId::UNSET,
            address: 0,
            status,
            error: None,
        };
        let start_unix_ns = self.last_end_ns.saturating_add_signed(self.boot_to_unix_ns);
        let number = process
            .series
            .number_of(fields.key(), &fields, start_unix_ns);
        if let Some(series) = process.series.get(number) {
            series.merge(count, sum_ns, buckets);
        }
        process.counts.seen += count;
        process.counts.dropped[Drop::RingFull as usize] += count;
    }

    /// The process ended, and so did all its connections before this call.
    pub fn process_gone(&mut self, process_key: u64) {
        match self.table.find(process_key) {
            Some(process) => {
                process.gone = true;
                process.read_to_the_end = process.series.len() + process.calls.len() == 0;
                self.reap();
            }
            None => self.exits.push(process_key),
        }
    }

    /// The process turned out not to be selected: all that is held of it vanishes, uncounted.
    pub fn discard(&mut self, process_key: u64) {
        let Some(process) = self.table.remove(process_key) else {
            return;
        };
        self.spans.forget(process.queue.bytes());
        self.lines.retain(|line| line.process_key != process_key);
        let taken = process.counts.taken;
        self.table.past.add(&Counts {
            seen: taken,
            taken,
            ..Counts::default()
        });
        if process.gone {
            self.exits.push(process_key);
        }
    }

    /// There are spans to take.
    pub fn has_spans(&self) -> bool {
        self.spans.queued_bytes() > 0
    }

    /// Spans, oldest first within a process; at most `max_bytes` unless a single span is larger. No process is
    /// kept waiting by the others for ever.
    pub fn take_spans(&mut self, max_bytes: usize) -> Vec<SpanBatch> {
        let batches = self.spans.take(&mut self.table, max_bytes);
        self.reap();
        batches
    }

    /// Lines in order, at most `limit`.
    pub fn take_lines(&mut self, limit: usize) -> Vec<Line> {
        self.lines.drain(..limit.min(self.lines.len())).collect()
    }

    /// All series, cumulative, at the end of an interval; those of ended processes for the last time.
    pub fn read_series(&mut self) -> (Vec<HttpSeries>, Vec<CallSeries>) {
        let (mut out, mut calls) = (Vec::new(), Vec::new());
        for process in self
            .table
            .iter_mut()
            .filter(|process| !process.read_to_the_end)
        {
            process.read(Reading::Interval, &mut out, &mut calls);
            process.series.begin_interval();
            process.calls.begin_interval();
            process.read_to_the_end = process.gone;
        }
        self.reap();
        (out, calls)
    }

    /// The same in between, for whoever asks: it changes nothing, and those of ended processes are there until
    /// `take_exits` tells of them.
    pub fn peek_series(&self) -> (Vec<HttpSeries>, Vec<CallSeries>) {
        let (mut out, mut calls) = (Vec::new(), Vec::new());
        for process in self.table.iter() {
            process.read(Reading::Glance, &mut out, &mut calls);
        }
        (out, calls)
    }

    /// http.server.active_requests.
    pub fn read_active(&self) -> Vec<ActiveSeries> {
        let mut out = Vec::new();
        for process in self.table.iter().filter(|process| !process.gone) {
            process.read_active(&mut out);
        }
        out
    }

    /// What waits to be taken, without asking anybody else: spans, their bytes; and lines dropped so far.
    pub fn backlog(&self) -> (u64, u64, u64) {
        let queued = self.table.iter().map(|process| process.counts.queued).sum();
        (queued, self.spans.queued_bytes() as u64, self.lines_dropped)
    }

    /// Exact accounting, by name: requests.seen = spans.taken + spans.queued + Σ spans.dropped.*
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counts = self.table.past;
        let mut series = 0;
        let mut routes = 0;
        for process in self.table.iter() {
            counts.add(&process.counts);
            series += (process.series.len() + process.calls.len()) as u64;
            routes += process.router.len() as u64 - 1;
        }
        let dropped = |why: Drop| counts.dropped[why as usize];
        vec![
            ("requests.seen", counts.seen),
            ("requests.abandoned", counts.abandoned),
            ("spans.taken", counts.taken),
            ("spans.queued", counts.queued),
            ("spans.queued_bytes", self.spans.queued_bytes() as u64),
            ("spans.dropped.unsampled", dropped(Drop::Unsampled)),
            ("spans.dropped.budget", dropped(Drop::Budget)),
            ("spans.dropped.back_pressure", dropped(Drop::BackPressure)),
            ("spans.dropped.queue_full", dropped(Drop::QueueFull)),
            ("spans.dropped.ring_full", dropped(Drop::RingFull)),
            ("spans.dropped.disabled", dropped(Drop::Disabled)),
            ("spans.dropped.lost", dropped(Drop::Lost)),
            ("lines.dropped", self.lines_dropped),
            ("processes.held", self.table.iter().count() as u64),
            ("series.held", series),
            ("routes.held", routes),
        ]
    }

    /// Ended processes of which nothing is left here.
    pub fn take_exits(&mut self) -> Vec<u64> {
        for process_key in &self.exits {
            self.spans.sampling.forget(*process_key);
        }
        std::mem::take(&mut self.exits)
    }

    /// A process is of this service.
    pub fn set_service(&mut self, process_key: u64, service: &str) {
        self.spans.sampling.name(process_key, service);
        if let Some(process) = self.table.get_mut(process_key) {
            process.sampling = Decisions::default();
        }
    }

    /// What a sampling server says of a service, for the samplers that ask one.
    pub fn set_strategy(&mut self, service: &str, strategy: &Strategy) {
        self.spans.sampling.follow(service, strategy);
    }

    /// How full the queue behind this one is, 0 to 1.
    pub fn set_fill(&mut self, fill: f64) {
        self.spans.set_fill(fill);
    }

    fn reap(&mut self) {
        self.table.reap(&mut self.exits);
    }
}

/// What was counted in a series may become the exemplar of its buckets; `span`: the one made of it.
#[cold]
fn exemplify(
    series: Option<&mut Series>,
    http: &Http<'_>,
    (duration_ns, end_unix_ns): (u64, u64),
    span: Option<&Context<'_>>,
) {
    if let Some(series) = series {
        let bodies = [http.request_body_bytes, http.response_body_bytes];
        series.exemplify(duration_ns, bodies, end_unix_ns, span);
    }
}

impl Told for SeriesFields {
    fn role(&self) -> Role {
        self.role
    }

    fn is_error(&self) -> bool {
        self.error.is_some() || self.is_error_status()
    }

    fn route(&self, process: &Process) -> String {
        match process.router.name(self.route) {
            unset if unset.is_empty() => span_name(self, &process.router),
            route => String::from(&**route),
        }
    }

    fn operation(&self, process: &Process) -> String {
        span_name(self, &process.router)
    }
}

/// A request in flight is so no more. Gives its method.
#[inline(always)]
fn land(process: &mut Process, conn: &mut ConnInfo, which: Which<'_>) -> Option<Method> {
    let place = match which {
        Which::Oldest => conn.cache.in_flight.pop_front()?,
        Which::Untold => return None,
        Which::Method(method) => take_one(&mut conn.cache.in_flight, Method::of(method))?,
    };
    if conn.role == Role::Server {
        process.deactivate(place);
    }
    Some(Method::from_index(usize::from(place / 2)))
}

#[inline(never)]
fn take_one(in_flight: &mut VecDeque<u8>, method: Method) -> Option<u8> {
    let is_it = |place: &u8| usize::from(place / 2) == method.index();
    in_flight.swap_remove_front(in_flight.iter().position(is_it)?)
}

/// url.scheme: what the client used where a proxy tells, else what the connection uses.
#[inline]
fn is_https(conn: &ConnInfo, http: &Http<'_>, target: &Target<'_>) -> bool {
    if let (Role::Server, Some(proto)) = (conn.role, http.forwarded_proto) {
        for (name, https) in [("https", true), ("http", false)] {
            if proto.eq_ignore_ascii_case(name.as_bytes()) {
                return https;
            }
        }
    }
    target.https.unwrap_or(conn.encrypted)
}

/// The answer proves that there is something at this path; a scanner's requests do not get one.
#[inline]
fn proves_path(status: Option<u16>) -> bool {
    !matches!(
        status,
        None | Some(400 | 404 | 405 | 410 | 414 | 421 | 431 | 501)
    )
}
