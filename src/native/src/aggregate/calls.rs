//! The series of calls that are not HTTP's: databases, brokers, resolvers.
//!
//! What is said of a call by metric and span alike stands in slots, a fixed order for each area (db.rs, messaging.rs,
//! dns.rs). The slots' values are the series' key; their names are looked at when a series is made, and never again.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::exemplars::{Exemplars, Reading};
use super::exponential::Exponential;
use super::records::CallSeries;
use super::series::{bucket_of, each_mut, seconds, Durations, Recording};
use crate::exchange::Role;
use crate::otlp::{Context, Kind, Template, Value};

/// Longest text of a slot, in bytes.
const MAX_TEXT: usize = 256;
/// Slots of an area, server.address, server.port and error.type among them.
const SLOTS: usize = 12;

/// Which of the conventions' families of metrics it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Db = 0,
    Messaging = 1,
    Dns = 2,
    ObjectStore = 3,
}

impl Area {
    const COUNT: usize = 4;

    /// As in src/otel_ebpf/protocols/registry.py.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Messaging => "messaging",
            Self::Dns => "dns",
            Self::ObjectStore => "object_store",
        }
    }

    /// Upper bounds of the buckets of durations, in nanoseconds.
    fn bounds(self) -> &'static [u64] {
        match self {
            Self::Db => &DB_BOUNDS_NS,
            Self::Messaging | Self::Dns | Self::ObjectStore => &super::series::BOUNDS_NS,
        }
    }
}

/// Of db.client.operation.duration, in milliseconds.
const DB_BOUNDS_MS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000];
const DB_BOUNDS_NS: [u64; 9] = {
    let mut bounds = DB_BOUNDS_MS;
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] *= 1_000_000;
        i += 1;
    }
    bounds
};

/// Bounds of db.client.operation.duration's buckets, in seconds.
pub fn db_bounds_s() -> [f64; 9] {
    DB_BOUNDS_MS.map(|ms| ms as f64 / 1e3)
}

/// Names and values: those that metric and span share, or those of the span alone.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    slots: [(&'static str, Value<'a>); SLOTS],
    used: usize,
}

impl<'a> Slots<'a> {
    pub fn new() -> Self {
        Self {
            slots: [("", Value::Absent); SLOTS],
            used: 0,
        }
    }

    /// All calls of an area put the same names in the same order; what there is no value of is put as "".
    pub fn text(&mut self, name: &'static str, text: &'a [u8]) -> &mut Self {
        self.put(name, Value::Text(&text[..text.len().min(MAX_TEXT)]))
    }

    pub fn int(&mut self, name: &'static str, number: Option<u64>) -> &mut Self {
        self.put(name, number.map_or(Value::Absent, Value::Int))
    }

    pub fn put(&mut self, name: &'static str, value: Value<'a>) -> &mut Self {
        debug_assert!(self.used < SLOTS, "{name} has no slot");
        if let Some(slot) = self.slots.get_mut(self.used) {
            *slot = (name, value);
            self.used += 1;
        }
        self
    }

    /// Those that have a value.
    pub fn present(&self) -> impl Iterator<Item = &(&'static str, Value<'a>)> {
        self.slots[..self.used]
            .iter()
            .filter(|(_, value)| !value.is_absent())
    }

    fn write_key(&self, out: &mut Vec<u8>) {
        for (_, value) in &self.slots[..self.used] {
            match value {
                Value::Text(text) => {
                    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
                    out.extend_from_slice(text);
                }
                Value::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
                Value::Absent => out.extend_from_slice(&u64::MAX.to_le_bytes()),
                Value::Texts(_) => {} // a span's own
            }
        }
    }
}

/// What is said of a call.
#[derive(Debug)]
pub struct Said<'a> {
    pub area: Area,
    pub role: Role,
    pub kind: Kind,
    /// db.system.name, messaging.system, "dns".
    pub system: &'static str,
    /// Span.name, from most to least telling: the first that is not empty, with what it is done to behind it.
    pub name: [&'a [u8]; 2],
    pub slots: Slots<'a>,
    /// error.type; "" on success.
    pub error_type: &'a [u8],
    /// Messages sent or consumed.
    pub messages: u64,
}

impl Said<'_> {
    /// Span.name.
    pub fn span_name(&self) -> String {
        let [first, second] = self.name.map(String::from_utf8_lossy);
        let separator = if first.is_empty() || second.is_empty() {
            ""
        } else {
            " "
        };
        let name = format!("{first}{separator}{second}");
        if name.is_empty() {
            self.system.into()
        } else {
            name
        }
    }

    #[cold]
    fn template(&self) -> Vec<u8> {
        // of the server all spans of a connection speak already
        let shared: Vec<_> = self
            .slots
            .present()
            .filter(|(name, _)| !name.starts_with("server."))
            .copied()
            .collect();
        Template {
            name: &self.span_name(),
            kind: self.kind,
            call: crate::otlp::Call::Other { shared: &shared },
            error_type: &String::from_utf8_lossy(self.error_type),
        }
        .encode()
    }
}

#[derive(Debug)]
struct Series {
    area: Area,
    role: Role,
    system: &'static str,
    name: Arc<str>,
    error_type: Arc<str>,
    start_unix_ns: u64,
    /// None: the overflow series.
    attributes: Option<Vec<(&'static str, Owned)>>,
    durations: Durations,
    exponential: Option<Box<Exponential>>,
    exemplars: Exemplars,
    messages: u64,
    template: Box<[u8]>,
}

/// An attribute's value that outlives its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    /// Text.
    Text(Arc<str>),
    /// A number.
    Int(u64),
}

impl Series {
    fn new(said: &Said<'_>, start_unix_ns: u64, overflow: bool, recording: Recording) -> Self {
        let owned = |value: &Value<'_>| match value {
            Value::Text(text) => Owned::Text(String::from_utf8_lossy(text).into()),
            Value::Int(number) => Owned::Int(*number),
            Value::Absent | Value::Texts(_) => Owned::Int(0),
        };
        let attributes = || {
            let slots = said.slots.present();
            let mut all: Vec<_> = slots.map(|(name, value)| (*name, owned(value))).collect();
            if !said.error_type.is_empty() {
                all.push(("error.type", owned(&Value::Text(said.error_type))));
            }
            all
        };
        Self {
            area: said.area,
            role: said.role,
            system: said.system,
            name: if overflow {
                "".into()
            } else {
                said.span_name().into()
            },
            error_type: if overflow {
                "".into()
            } else {
                String::from_utf8_lossy(said.error_type).into()
            },
            start_unix_ns,
            attributes: (!overflow).then(attributes),
            durations: Durations::new(),
            exponential: recording.exponential.then(|| Box::new(Exponential::new())),
            exemplars: Exemplars::new(recording.exemplars),
            messages: 0,
            template: Box::default(),
        }
    }
}

/// Numbers of the overflow series, from here on.
const OVERFLOW: u32 = u32::MAX - 2 * Area::COUNT as u32;

/// Of one process: at most `max_series`, and for each area and role an overflow series.
#[derive(Debug)]
pub struct CallStore {
    max_series: usize,
    recording: Recording,
    series: Vec<Series>,
    index: FxHashMap<Box<[u8]>, u32>,
    overflow: [Option<Box<Series>>; 2 * Area::COUNT],
}

impl CallStore {
    pub fn new(max_series: usize, recording: Recording) -> Self {
        Self {
            max_series,
            recording,
            series: Vec::new(),
            index: FxHashMap::default(),
            overflow: Default::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.series.len() + self.overflow.iter().flatten().count()
    }

    /// Counts a call. Gives its series' number. `key` is room to work in.
    pub fn record(
        &mut self,
        said: &Said<'_>,
        key: &mut Vec<u8>,
        start_unix_ns: u64,
        duration_ns: u64,
    ) -> u32 {
        key.clear();
        key.extend_from_slice(&[said.area as u8, said.role as u8, said.kind as u8]);
        said.slots.write_key(key);
        key.extend_from_slice(said.error_type);
        let number = match self.index.get(&**key) {
            Some(number) => *number,
            None => self.add(said, key, start_unix_ns),
        };
        let bounds = said.area.bounds();
        if let Some(series) = self.get(number) {
            series.durations.record_within(bounds, duration_ns);
            series.messages += said.messages;
            if let Some(exponential) = &mut series.exponential {
                exponential.record(seconds(duration_ns), 1);
            }
        }
        number
    }

    /// A call that was counted may become its bucket's exemplar.
    #[inline]
    pub fn exemplify(
        &mut self,
        number: u32,
        duration_ns: u64,
        end_unix_ns: u64,
        span: Option<&Context<'_>>,
    ) {
        let Some(series) = self.get(number) else {
            return;
        };
        let bucket = bucket_of(series.area.bounds(), duration_ns);
        if series.exemplars.wants(bucket) {
            let parts = [(bucket, seconds(duration_ns))];
            series.exemplars.take(&parts, end_unix_ns, span);
        }
    }

    #[cold]
    fn add(&mut self, said: &Said<'_>, key: &[u8], start_unix_ns: u64) -> u32 {
        let fresh = |overflow| Series::new(said, start_unix_ns, overflow, self.recording);
        if self.series.len() < self.max_series {
            let number = self.series.len() as u32;
            self.series.push(fresh(false));
            self.index.insert(key.into(), number);
            return number;
        }
        let place = 2 * said.area as usize + usize::from(said.role == Role::Client);
        self.overflow[place].get_or_insert_with(|| Box::new(fresh(true)));
        OVERFLOW + place as u32
    }

    fn get(&mut self, number: u32) -> Option<&mut Series> {
        match number.checked_sub(OVERFLOW) {
            Some(place) => self.overflow.get_mut(place as usize)?.as_deref_mut(),
            None => self.series.get_mut(number as usize),
        }
    }

    /// Whether a number is one series' own, and no overflow series'.
    pub fn is_one(number: u32) -> bool {
        number < OVERFLOW
    }

    /// What the call's span shares with all of its series, encoded. Those of the overflow series share little.
    pub fn template(&mut self, number: u32, said: &Said<'_>) -> Cow<'_, [u8]> {
        match self.series.get_mut(number as usize) {
            Some(series) => {
                if series.template.is_empty() {
                    series.template = said.template().into();
                }
                Cow::Borrowed(&series.template)
            }
            None => Cow::Owned(said.template()),
        }
    }

    /// An interval is over.
    pub fn begin_interval(&mut self) {
        for series in each_mut(&mut self.series, &mut self.overflow) {
            series.exemplars.begin_interval();
        }
    }

    pub fn read(&self, process_key: u64, which: Reading, out: &mut Vec<CallSeries>) {
        let overflow = self.overflow.iter().flatten().map(|series| &**series);
        out.extend(self.series.iter().chain(overflow).map(|series| {
            let mut duration = series.durations.read();
            duration.buckets.truncate(series.area.bounds().len() + 1);
            [duration.exemplars, ..] = series.exemplars.read(which);
            duration.exponential = series.exponential.as_deref().map(Exponential::read);
            CallSeries {
                process_key,
                area: series.area.as_str(),
                role: series.role,
                system: series.system,
                name: series.name.clone(),
                error_type: series.error_type.clone(),
                start_unix_ns: series.start_unix_ns,
                overflow: series.attributes.is_none(),
                attributes: series.attributes.clone().unwrap_or_default(),
                duration,
                messages: series.messages,
            }
        }));
    }
}
