//! From an exchange to an encoded span in its process's queue, or to the reason why not.

use std::sync::Arc;

use super::calls::Said;
use super::connection::OriginCache;
use super::origin::forwarded_client;
use super::process::{Counts, Drop, Process};
use super::queue::{Pool, SpanQueue};
use super::records::SpanBatch;
use super::series::{Method, SeriesFields};
use super::table::Table;
use super::target::Target;
use super::Settings;
use crate::exchange::{Http, Role};
use crate::otlp::{self, CallOwn, Context, Own, Url, Value};
use crate::privacy::Policy;
use crate::redact::is_plain_path;
use crate::routes::RouteId;
use crate::sampling::{self, Budget, Ids, Sampler, FLAG_RANDOM, FLAG_SAMPLED};

/// The shortest span: with less room than this left in the queue there is no need to try.
const MIN_SPAN_BYTES: usize = 256;
/// Of a span, apart from what it shares with others, its target and its state: ids, times, keys, a client.
const MAX_REST_BYTES: usize = 1 << 10;

/// A call's span apart from what it shares with others: hardly more, but for statements of the longest kind.
const MAX_CALL_BYTES: usize = 4 << 10;

/// What a span has in common with others.
pub struct Shared<'a> {
    /// Number of the series; its template serves unless it is an overflow series.
    pub series: u32,
    pub fields: &'a SeriesFields,
    pub origin: Option<&'a OriginCache>,
    /// Whether the path is plain, where it is known.
    pub plain: Option<bool>,
}

pub struct Spans {
    pub enabled: bool,
    sampler: Sampler,
    ids: Ids,
    budget: Budget,
    max_queued_bytes: usize,
    queued_bytes: usize,
    /// Slot of the process whose turn it is to be taken from first.
    next_slot: usize,
    pool: Arc<Pool>,
    /// What spans may not say.
    pub policy: Option<Policy>,
}

impl Spans {
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            enabled: settings.spans,
            sampler: Sampler::new(&settings.sampler, settings.sampler_arg)?,
            ids: Ids::from_os()?,
            budget: Budget::new(settings.spans_per_second),
            max_queued_bytes: settings.span_queue_bytes,
            queued_bytes: 0,
            next_slot: 0,
            pool: Arc::default(),
            policy: None,
        })
    }

    /// From now on. Err: what is wrong, for people; then all stays as it was.
    pub fn sample(&mut self, sampler: &str, arg: f64, spans_per_second: u64) -> Result<(), String> {
        self.sampler = Sampler::new(sampler, arg)?;
        self.budget.set(spans_per_second);
        Ok(())
    }

    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// So many bytes that waited wait no more.
    pub fn forget(&mut self, bytes: usize) {
        self.queued_bytes -= bytes;
    }

    /// Whether to make a span. A parent is the caller's span for a server; for a client it is the span that
    /// the application itself put into its request, so that ours is its child in the same process.
    #[inline]
    pub fn decide<'a>(
        &mut self,
        traceparent: Option<&'a [u8]>,
        tracestate: Option<&'a [u8]>,
        role: Role,
        now_ns: u64,
    ) -> Result<Context<'a>, Drop> {
        if !self.enabled {
            return Err(Drop::Disabled);
        }
        let parent = traceparent.and_then(sampling::parse_traceparent);
        let trace_id = match &parent {
            Some(parent) => parent.trace_id,
            None => self.ids.trace_id(),
        };
        if !self.sampler.samples(&trace_id, parent.as_ref()) {
            return Err(Drop::Unsampled);
        }
        if self.queued_bytes + MIN_SPAN_BYTES > self.max_queued_bytes {
            return Err(Drop::QueueFull);
        }
        if !self.budget.spend(now_ns) {
            return Err(Drop::Budget);
        }
        let trace_state = match (&parent, tracestate) {
            (Some(_), Some(state)) => sampling::tracestate(state),
            _ => "",
        };
        Ok(Context {
            trace_id,
            span_id: self.ids.span_id(),
            parent_span_id: parent.map(|parent| parent.span_id),
            parent_is_remote: parent.is_some() && role == Role::Server,
            trace_flags: FLAG_SAMPLED | parent.map_or(0, |parent| parent.flags & FLAG_RANDOM),
            trace_state,
        })
    }

    /// False: the queue has no room for it. Kept out of the metrics' way.
    #[inline(never)]
    pub fn append(
        &mut self,
        process: &mut Process,
        shared: &Shared<'_>,
        http: &Http<'_>,
        target: &Target<'_>,
        (start_unix_ns, end_unix_ns): (u64, u64),
        context: Context<'_>,
    ) -> bool {
        let fields = shared.fields;
        let forwarded_client = match fields.role {
            Role::Server => http.forwarded_for.and_then(forwarded_client),
            Role::Client => None,
        };
        let connection = shared
            .origin
            .map_or(&[][..], |o| o.attributes(forwarded_client.is_none()));
        let own = Own {
            context,
            start_unix_ns,
            end_unix_ns,
            url: url(shared, http, target),
            forwarded_client,
            method_original: (fields.method == Method::OTHER).then_some(http.method),
            request_body_bytes: http.request_body_bytes,
            response_body_bytes: http.response_body_bytes,
        };
        let template = process
            .series
            .template(shared.series, fields, &process.router);
        // a byte that is not UTF-8 becomes three
        let longest = template.len()
            + connection.len()
            + 3 * http.target.len()
            + context.trace_state.len()
            + MAX_REST_BYTES;
        let write = |out: &mut Vec<u8>| otlp::append_span(out, [&template, connection], &own);
        let headers = if fields.is_rpc() {
            [&[][..]; 2]
        } else {
            [http.request_headers, http.response_headers]
        };
        let (queue, counts) = (&mut process.queue, &mut process.counts);
        self.enqueue(queue, counts, longest, headers, write)
    }

    /// The same for a call that is not HTTP's.
    #[inline(never)]
    pub fn append_call<'a>(
        &mut self,
        process: &mut Process,
        number: u32,
        said: &Said<'_>,
        connection: &[u8],
        own: &CallOwn<'_>,
        attributes: impl Iterator<Item = &'a (&'static str, Value<'a>)>,
    ) -> bool {
        let template = process.calls.template(number, said);
        let longest = template.len() + connection.len() + MAX_CALL_BYTES;
        let write =
            |out: &mut Vec<u8>| otlp::append_call(out, [&template, connection], own, attributes);
        let (queue, counts) = (&mut process.queue, &mut process.counts);
        self.enqueue(queue, counts, longest, [&[]; 2], write)
    }

    #[inline(always)]
    fn enqueue(
        &mut self,
        queue: &mut SpanQueue,
        counts: &mut Counts,
        longest: usize,
        headers: [&[u8]; 2],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let room = self.max_queued_bytes - self.queued_bytes;
        let policy = self.policy.as_ref();
        let added = queue.append(&self.pool, room, longest, |out| {
            let start = out.len();
            write(out);
            if let Some(policy) = policy {
                policy.lay_over(out, start, headers);
            }
        });
        if added == 0 {
            counts.drop(Drop::QueueFull);
            return false;
        }
        self.queued_bytes += added;
        counts.queued += 1;
        true
    }

    /// At most `max_bytes` of spans, but at least one; of a process whole pieces only, unless the first is too
    /// large: what is not cut need not be copied.
    pub fn take(&mut self, table: &mut Table, max_bytes: usize) -> Vec<SpanBatch> {
        let mut batches = Vec::new();
        let mut room = max_bytes;
        let first = std::mem::take(&mut self.next_slot);
        'all: for (slot, process) in table.iter_mut_from(first) {
            while !process.queue.is_empty() {
                let Some(spans) = process.queue.take(room, batches.is_empty()) else {
                    self.next_slot = slot + 1;
                    break 'all;
                };
                let count = spans.count();
                process.counts.queued -= count;
                process.counts.taken += count;
                self.queued_bytes -= spans.len();
                room = room.saturating_sub(spans.len());
                batches.push(SpanBatch {
                    process_key: process.key,
                    count,
                    spans,
                });
            }
        }
        batches
    }
}

#[inline]
fn url<'a>(shared: &Shared<'a>, http: &Http<'a>, target: &Target<'a>) -> Url<'a> {
    match shared.fields.role {
        _ if shared.fields.is_rpc() => Url::Rpc {
            method_original: match shared.fields.route {
                RouteId::UNSET => target.path.strip_prefix(b"/").unwrap_or(target.path),
                _ => b"",
            },
        },
        Role::Server if target.path.is_empty() => Url::None,
        Role::Server => Url::Parts {
            path: target.path,
            query: target.query,
            plain: shared.plain.unwrap_or_else(|| is_plain_path(target.path)),
        },
        Role::Client => {
            let whole = target.authority.is_some();
            Url::Full {
                origin: shared
                    .origin
                    .filter(|_| !whole)
                    .map_or("", |origin| &origin.url),
                target: if http.target == b"*" {
                    b""
                } else {
                    http.target
                },
                plain: target.path.len() == http.target.len() && is_plain_path(target.path),
            }
        }
    }
}
