//! The spans that a series' points refer to: one for each bucket and interval at most, as in the reservoirs of
//! OpenTelemetry's SDK ("AlignedHistogramBucketExemplarReservoir").
//!
//! Of each bucket of durations the first exchange of an interval is taken, and for the sizes of bodies whatever comes with
//! it: so all but a few exchanges cost a look at one bit.

use super::records::BUCKETS;
use crate::otlp::Context;

/// OTEL_METRICS_EXEMPLAR_FILTER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExemplarFilter {
    /// None.
    AlwaysOff,
    /// Of exchanges whose span waits to be exported.
    #[default]
    TraceBased,
    /// Of any exchange; ids are those of its span, if there is one.
    AlwaysOn,
}

impl ExemplarFilter {
    /// By the specification's name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "always_off" => Self::AlwaysOff,
            "trace_based" => Self::TraceBased,
            "always_on" => Self::AlwaysOn,
            _ => return None,
        })
    }
}

/// `_native.Exemplar`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// What was recorded, in seconds or bytes.
    pub value: f64,
    /// When the exchange ended.
    pub time_unix_ns: u64,
    /// Trace and span id; None where no span was made.
    pub span: Option<([u8; 16], [u8; 8])>,
}

/// Those of one histogram, by bucket.
#[derive(Debug, Default)]
pub struct Reservoir(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    bucket: u8,
    /// Taken since the last reading.
    fresh: bool,
    exemplar: Exemplar,
}

impl Reservoir {
    fn offer(&mut self, bucket: usize, exemplar: Exemplar) {
        let kept = Kept {
            bucket: bucket as u8,
            fresh: true,
            exemplar,
        };
        match self.0.iter_mut().find(|old| old.bucket == kept.bucket) {
            None => self.0.push(kept),
            Some(old) if !old.fresh => *old = kept,
            Some(_) => {}
        }
    }

    fn read(&self, which: Reading) -> Vec<Exemplar> {
        let wanted = |kept: &&Kept| kept.fresh || which == Reading::Glance;
        let kept = self.0.iter().filter(wanted);
        kept.map(|kept| kept.exemplar).collect()
    }
}

/// How series are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// At the end of an interval: what is taken then is of the next one.
    Interval,
    /// In between, with the newest exemplar of each bucket, and without a trace.
    Glance,
}

/// Those of a series.
#[derive(Debug)]
pub struct Exemplars {
    /// Buckets of durations, by bit, that have theirs; or no exchange is wanted.
    closed: u16,
    filter: ExemplarFilter,
    kept: Option<Box<[Reservoir; 3]>>,
}

/// An exchange's part in each histogram: bucket and value of its duration, then of its bodies if they are recorded.
pub type Parts<'a> = &'a [(usize, f64)];

const NONE_OPEN: u16 = u16::MAX;
const _: () = assert!(BUCKETS <= u16::BITS as usize);

impl Exemplars {
    pub fn new(filter: ExemplarFilter) -> Self {
        let off = filter == ExemplarFilter::AlwaysOff;
        Self {
            closed: if off { NONE_OPEN } else { 0 },
            filter,
            kept: None,
        }
    }

    /// Whether an exchange whose duration is in this bucket is wanted.
    #[inline(always)]
    pub fn wants(&self, bucket: usize) -> bool {
        self.closed & (1 << bucket) == 0
    }

    /// If it is wanted.
    #[cold]
    pub fn take(&mut self, parts: Parts<'_>, end_unix_ns: u64, span: Option<&Context<'_>>) {
        let wanted = span.is_some() || self.filter == ExemplarFilter::AlwaysOn;
        let open = parts.first().is_some_and(|(bucket, _)| self.wants(*bucket));
        if !(wanted && open) {
            return;
        }
        let reservoirs = self.kept.get_or_insert_default();
        for (reservoir, (bucket, value)) in reservoirs.iter_mut().zip(parts) {
            let exemplar = Exemplar {
                value: *value,
                time_unix_ns: end_unix_ns,
                span: span.map(|span| (span.trace_id, span.span_id)),
            };
            reservoir.offer(*bucket, exemplar);
        }
        if let Some((bucket, _)) = parts.first() {
            self.closed |= 1 << bucket;
        }
    }

    /// By histogram: durations, requests' bodies, responses' bodies.
    pub fn read(&self, which: Reading) -> [Vec<Exemplar>; 3] {
        match &self.kept {
            None => Default::default(),
            Some(kept) => kept.each_ref().map(|reservoir| reservoir.read(which)),
        }
    }

    /// An interval is over.
    pub fn begin_interval(&mut self) {
        if self.filter != ExemplarFilter::AlwaysOff {
            self.closed = 0;
        }
        for kept in self.kept.iter_mut().flat_map(|kept| kept.iter_mut()) {
            kept.0.iter_mut().for_each(|one| one.fresh = false);
        }
    }
}
