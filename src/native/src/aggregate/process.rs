//! All that is kept of one process. Everything in it is bounded: series, addresses, routes; the spans that
//! wait are bounded for all processes together.

use super::calls::CallStore;
use super::decide::Decisions;
use super::exemplars::Reading;
use super::queue::SpanQueue;
use super::records::{ActiveSeries, CallSeries, HttpSeries};
use super::series::{Method, Recording};
use super::store::SeriesStore;
use crate::routes::Router;

/// Why an exchange seen became no span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    Unsampled = 0,
    Budget = 1,
    QueueFull = 2,
    RingFull = 3,
    Disabled = 4,
    /// Its end was among what was lost, and is not in any metric either.
    Lost = 5,
    /// The queue was filling up.
    BackPressure = 6,
}

/// seen = taken + queued + Σ dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub seen: u64,
    pub taken: u64,
    pub queued: u64,
    pub dropped: [u64; 7],
    pub abandoned: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.taken += other.taken;
        self.queued += other.queued;
        self.abandoned += other.abandoned;
        for (mine, more) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += more;
        }
    }

    pub fn drop(&mut self, why: Drop) {
        self.dropped[why as usize] += 1;
    }
}

/// What bounds what is kept of a process, and how it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_routes: usize,
    pub max_series: usize,
    pub recording: Recording,
}

pub struct Process {
    pub key: u64,
    /// Never the same for two; not 0.
    pub incarnation: u32,
    pub router: Router,
    pub series: SeriesStore,
    pub calls: CallStore,
    pub queue: SpanQueue,
    pub counts: Counts,
    /// What decides on its exchanges.
    pub sampling: Decisions,
    pub gone: bool,
    /// The last reading of an ended process's series took place.
    pub read_to_the_end: bool,
    active: [i64; 2 * Method::COUNT],
    /// One bit for each of `active` that was ever in use.
    active_used: u32,
}

impl Process {
    pub fn new(key: u64, incarnation: u32, limits: &Limits) -> Self {
        Self {
            key,
            incarnation,
            router: Router::new(limits.max_routes),
            series: SeriesStore::new(limits.max_series, limits.recording),
            calls: CallStore::new(limits.max_series, limits.recording),
            queue: SpanQueue::default(),
            counts: Counts::default(),
            sampling: Decisions::default(),
            gone: false,
            read_to_the_end: false,
            active: [0; 2 * Method::COUNT],
            active_used: 0,
        }
    }

    /// `place`: `2 * method + https`.
    #[inline]
    pub fn activate(&mut self, place: u8) {
        self.active[place as usize] += 1;
        self.active_used |= 1 << place;
    }

    /// What `activate` did is over.
    #[inline]
    pub fn deactivate(&mut self, place: u8) {
        self.active[place as usize] -= 1;
    }

    /// Series, as they are now.
    pub fn read(&self, which: Reading, http: &mut Vec<HttpSeries>, calls: &mut Vec<CallSeries>) {
        self.series.read(self.key, &self.router, which, http);
        self.calls.read(self.key, which, calls);
    }

    pub fn read_active(&self, out: &mut Vec<ActiveSeries>) {
        for (place, value) in self.active.iter().enumerate() {
            if self.active_used & 1 << place != 0 {
                out.push(ActiveSeries {
                    process_key: self.key,
                    method: Method::from_index(place / 2).as_str(),
                    scheme: if place % 2 == 1 { "https" } else { "http" },
                    value: *value,
                });
            }
        }
    }
}
