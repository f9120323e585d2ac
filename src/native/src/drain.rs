//! The thread that empties the ring, and what it shares with Python's threads.

use crate::exchange::Role;
use crate::loader::{Failure, FailureKind, Maps, Programs};
use crate::ring;
use crate::stream::{Streams, WITHIN_TLS};
use crate::wire::{self, counter, overflow_key, overflow_value, stranger};
use libbpf_rs::{MapCore, MapFlags, RingBuffer, RingBufferBuilder};
use rustc_hash::{FxHashMap, FxHashSet};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The ring is looked at so often even if nobody rings: programs wake the reader only when it fills up.
const INTERVAL_MS: i32 = 100;
/// The two clocks run at one rate; only a step of the wall clock moves them apart. Less is the reading's jitter,
/// and following it would put requests of one connection out of order.
const CLOCK_STEP_NS: u64 = 1_000_000;
/// Records taken under one lock: about a millisecond's work.
const RECORDS_AT_A_TIME: usize = 1024;
/// After processes have ended, what they left behind is looked for so often at most: it means to look at all.
const SWEEP: Duration = Duration::from_secs(5);
const _: () = assert!(WITHIN_TLS == 1 << stranger::STRANGER_TLS_BIT.0);

/// Between the drain thread and Python's.
pub struct Shared {
    streams: Mutex<Streams>,
    /// In the kernel until `close`.
    pub programs: Mutex<Option<Programs>>,
    /// Handles of the programs' maps.
    pub maps: Maps,
    /// Records that were not what the contract says.
    pub malformed: AtomicU64,
    stop: AtomicBool,
    bell: OwnedFd,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    rounds: u64,
    /// There are processes, or TLS users, to take.
    fresh: bool,
}

impl Shared {
    /// Nothing drained yet.
    pub fn new(streams: Streams, programs: Programs) -> Result<Self, Failure> {
        let maps = programs.maps()?;
        // SAFETY: no memory is handed over.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(os_failure("eventfd"));
        }
        Ok(Self {
            streams: Mutex::new(streams),
            programs: Mutex::new(Some(programs)),
            maps,
            malformed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            // SAFETY: just made, and nobody else's.
            bell: unsafe { OwnedFd::from_raw_fd(fd) },
            progress: Mutex::new(Progress::default()),
            changed: Condvar::new(),
        })
    }

    /// A panic elsewhere leaves counters, not invariants, half-way: go on.
    pub fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the drain thread.
    pub fn ring_the_bell(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. A full counter (EAGAIN) rings as well.
        unsafe { libc::write(self.bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Asks the drain thread to end after one more round.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring_the_bell();
    }

    /// Blocks until there are processes to take, or the time is over: false.
    pub fn wait(&self, timeout: Duration) -> bool {
        let guard = self.progress();
        let (mut guard, _) = self
            .changed
            .wait_timeout_while(guard, timeout, |p| !p.fresh)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut guard.fresh)
    }

    /// How often the drain thread has gone round.
    pub fn rounds(&self) -> u64 {
        self.progress().rounds
    }

    /// Blocks until a round that began after this call is over; a few seconds at most.
    pub fn flush(&self) {
        let guard = self.progress();
        let target = guard.rounds + 2; // the one under way may have passed what we want
        self.ring_the_bell();
        let until = Instant::now() + Duration::from_secs(5);
        let mut guard = guard;
        while guard.rounds < target && Instant::now() < until && !self.stop.load(Ordering::Acquire)
        {
            guard = self
                .changed
                .wait_timeout(guard, Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            self.ring_the_bell();
        }
    }
}

fn os_failure(what: &str) -> Failure {
    Failure::new(
        FailureKind::Load,
        format!("{what}: {}", std::io::Error::last_os_error()),
    )
}

/// CLOCK_REALTIME minus CLOCK_BOOTTIME, and CLOCK_BOOTTIME.
fn clocks() -> (i64, u64) {
    let read = |id| {
        let mut t = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a valid place to write to.
        unsafe { libc::clock_gettime(id, &mut t) };
        t.tv_sec * 1_000_000_000 + t.tv_nsec
    };
    let boot = read(libc::CLOCK_BOOTTIME);
    (read(libc::CLOCK_REALTIME) - boot, boot as u64)
}

/// Empties the ring until told to stop. Runs on a thread of its own.
pub struct Drain {
    shared: Arc<Shared>,
    ring: RingBuffer<'static>,
    epoll: OwnedFd,
    /// Where the ring's callback puts records: what `round` has locked, null outside of it.
    into: Arc<AtomicPtr<Streams>>,
    overflow_seen: FxHashMap<Vec<u8>, overflow_value>,
    /// Some of it belongs to processes without a verdict.
    overflow_waits: bool,
    overflow_total: u64,
    clock_offset: i64,
    swept: Instant,
}

impl Drain {
    /// Maps the ring.
    pub fn new(shared: Arc<Shared>) -> Result<Self, Failure> {
        let into = Arc::new(AtomicPtr::<Streams>::new(std::ptr::null_mut()));
        let (target, books) = (Arc::clone(&into), Arc::clone(&shared));
        let ring_map = Arc::clone(&shared);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&ring_map.maps.ring, move |bytes| {
                // libbpf calls this: a panic would end the process. The bytes are an attacker's, so what ought not to
                // happen costs a record, not the agent.
                let taken = catch_unwind(AssertUnwindSafe(|| {
                    // SAFETY: null, or what `take` has locked for as long as it calls the ring, which is all that
                    // calls this.
                    let streams = unsafe { target.load(Ordering::Relaxed).as_mut() };
                    streams.is_some_and(|streams| ring::record(streams, bytes))
                }));
                if !taken.unwrap_or(false) {
                    books.malformed.fetch_add(1, Ordering::Relaxed);
                }
                0
            })
            .map_err(|e| Failure::new(FailureKind::Load, format!("mapping the ring: {e:#}")))?;
        let ring = builder
            .build()
            .map_err(|e| Failure::new(FailureKind::Load, format!("mapping the ring: {e:#}")))?;
        // SAFETY: no memory is handed over.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(os_failure("epoll_create1"));
        }
        // SAFETY: just made, and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        // Edge-triggered: an unread record must not keep the thread awake, only a wake-up or the interval.
        for fd in [
            shared.maps.ring.as_fd().as_raw_fd(),
            shared.bell.as_raw_fd(),
        ] {
            let mut event = libc::epoll_event {
                events: (libc::EPOLLIN | libc::EPOLLET) as u32,
                u64: fd as u64,
            };
            // SAFETY: a valid event and two open descriptors.
            if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) }
                < 0
            {
                return Err(os_failure("epoll_ctl"));
            }
        }
        let (offset, _) = clocks();
        shared.streams().aggregator.set_clock_offset(offset);
        Ok(Self {
            shared,
            ring,
            epoll,
            into,
            overflow_seen: FxHashMap::default(),
            overflow_waits: false,
            overflow_total: 0,
            clock_offset: offset,
            swept: Instant::now(),
        })
    }

    /// Until `Shared::stop`.
    pub fn run(mut self) {
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            let timeout = if stopping { 0 } else { INTERVAL_MS };
            // SAFETY: room for one event. Interrupted or not, a round follows.
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &mut event, 1, timeout) };
            self.round();
            if stopping {
                return;
            }
        }
    }

    fn round(&mut self) {
        self.take_records();

        let (offset, now_ns) = clocks();
        if offset.abs_diff(self.clock_offset) > CLOCK_STEP_NS {
            self.clock_offset = offset;
        }
        let offset = self.clock_offset;
        let mut ended = FxHashSet::default();
        let (found, forgot, fresh) = {
            let shared = Arc::clone(&self.shared);
            let mut streams = shared.streams();
            streams.aggregator.set_clock_offset(offset);
            self.read_overflow(&mut streams);
            streams.tick(now_ns);
            if self.swept.elapsed() >= SWEEP {
                self.swept = Instant::now();
                ended = streams.take_ended();
            }
            (
                streams.take_found(),
                streams.take_forgot(),
                streams.has_news(),
            )
        };
        for (conn, what) in found {
            self.shared.maps.tell(conn, what);
        }
        if !ended.is_empty() {
            self.shared.maps.forget_tls_of(&ended);
        }
        if forgot {
            let mut programs = self
                .shared
                .programs
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(programs) = programs.as_mut() {
                programs.bump_announcements();
            }
        }
        let mut progress = self.shared.progress();
        progress.rounds += 1;
        progress.fresh |= fresh;
        drop(progress);
        self.shared.changed.notify_all();
    }

    /// Empties the ring.
    fn take_records(&self) {
        loop {
            let mut streams = self.shared.streams();
            self.into.store(&mut *streams, Ordering::Relaxed);
            // an error here is the callback's, and ours returns none
            let taken = self.ring.consume_raw_n(RECORDS_AT_A_TIME);
            self.into.store(std::ptr::null_mut(), Ordering::Relaxed);
            if (taken.max(0) as usize) < RECORDS_AT_A_TIME {
                return;
            }
        }
    }

    /// What the ring had no room for since the last round, from the per-CPU overflow map.
    fn read_overflow(&mut self, streams: &mut Streams) {
        let total = self.shared.maps.counter(counter::COUNT_LOST_EXCHANGE.0);
        if total == self.overflow_total && !self.overflow_waits {
            return;
        }
        self.overflow_total = total;
        self.overflow_waits = false;
        let map = &self.shared.maps.overflow;
        for raw in map.keys() {
            let (Some(key), Ok(Some(per_cpu))) = (
                wire::read::<overflow_key>(&raw),
                map.lookup_percpu(&raw, MapFlags::ANY),
            ) else {
                continue;
            };
            let mut sum = overflow_value::default();
            for v in per_cpu
                .iter()
                .filter_map(|v| wire::read::<overflow_value>(v))
            {
                sum.count += v.count;
                sum.sum_ns += v.sum_ns;
                for (to, from) in sum.buckets.iter_mut().zip(v.buckets) {
                    *to += from;
                }
            }
            let new = sum.count > self.overflow_seen.get(&raw).map_or(0, |seen| seen.count);
            if !new {
                continue;
            }
            let process = streams.processes.with_late_traffic(key.tgid);
            if streams.awaits_verdict(process) {
                self.overflow_waits = true;
                continue;
            }
            let seen = self.overflow_seen.insert(raw, sum).unwrap_or_default();
            if !streams.allows(process, key.server_port) {
                continue;
            }
            let mut buckets = [0; 15];
            for (i, b) in buckets.iter_mut().enumerate() {
                *b = sum.buckets[i].saturating_sub(seen.buckets[i]);
            }
            let role = if key.server != 0 {
                Role::Server
            } else {
                Role::Client
            };
            streams.aggregator.overflow(
                process,
                role,
                key.status,
                sum.count - seen.count,
                sum.sum_ns.saturating_sub(seen.sum_ns),
                &buckets,
            );
        }
    }
}
