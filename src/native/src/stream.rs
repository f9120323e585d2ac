//! From segments of sockets to sides of exchanges: keeps the connections, decides who asks and who answers on
//! each, feeds the parsers in stream order with the holes in place, and passes what they find to the aggregate.
//!
//! Nothing here knows where the segments come from: ring.rs decodes them, tests make their own.

use crate::aggregate::Aggregator;
use crate::capture_mode::Found;
use crate::conn::ConnInfo;
use crate::exchange::Verdict as Protocol;
use crate::processes::{Process, Processes, Verdict};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;

mod connection;
mod decide;
mod held;

use connection::{allowed, undecided, within, Conn, Into};
use held::Held;

/// Connections kept; beyond it idle ones are forgotten (and announced anew by the kernel side when they wake).
const MAX_CONNECTIONS: usize = 100_000;
/// Idle for so long, a connection may be forgotten.
const IDLE_NS: u64 = 300_000_000_000;
/// Idle ones are looked for so often at most: it means to look at all.
const FORGET_NS: u64 = 10_000_000_000;

/// UDP sockets close without a word: silent for so long, they are forgotten. The kernel side announces those anew that
/// were silent for half of it.
const SILENCE_NS: u64 = 10_000_000_000;

/// A process's sockets are closed just after its end is told; its last exchanges are waited for so long.
const GRACE_NS: u64 = 3_000_000_000;

/// Segments held at a time, and for how long: what comes later than that was seen by no hook.
const MAX_HELD: usize = 256;
const HELD_NS: u64 = 100_000_000;
/// New programs that are kept for whoever asks; beyond, they are met when they have traffic.
const MAX_EXECS: usize = 1024;
/// A verdict that is not given within this time is taken as "watched".
const VERDICT_NS: u64 = 2_000_000_000;

/// With this in its id a stranger is what is within a connection's TLS, and not what was spoken before it.
pub const WITHIN_TLS: u64 = 1 << 63;

/// Which way bytes went, seen from the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the process.
    Recv = 0,
    /// Out of it.
    Send = 1,
}

impl Direction {
    fn other(self) -> Self {
        match self {
            Self::Recv => Self::Send,
            Self::Send => Self::Recv,
        }
    }
}

/// One record of bytes that went one way.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Connection.
    pub conn: u64,
    /// Way.
    pub dir: Direction,
    /// Process that did it.
    pub tgid: u32,
    /// CLOCK_BOOTTIME.
    pub ts_ns: u64,
    /// Stream offset of the first byte.
    pub off: u64,
    /// Bytes that have gone the other way by then, whether their record has come or not; 0 where not known.
    pub other_off: u64,
    /// Bytes this record speaks for, at least those in `data`.
    pub adv: u64,
    /// Captured bytes.
    pub data: &'a [u8],
    /// Records were lost before this one, and what was pending is in the overflow map.
    pub counted_elsewhere: bool,
}

/// How a connection ended, as the kernel side tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// One direction is over.
    Fin(Direction),
    /// An operation failed for good.
    Reset(i32),
    /// The socket is closed; errno, or 0.
    Gone(i32),
}

/// What went by, by kind; exact.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamCounters {
    /// Connections announced.
    pub connections: u64,
    /// Connections that speak no protocol of ours.
    pub strangers: u64,
    /// Segments of connections that are not kept (strangers, forgotten).
    pub orphans: u64,
    /// Idle connections forgotten because there were too many.
    pub forgotten: u64,
    /// Segments whose offsets run backwards.
    pub out_of_order: u64,
}

/// All connections and processes of a session.
pub struct Streams {
    /// Where exchanges go.
    pub aggregator: Aggregator,
    /// Who does the talking.
    pub processes: Processes,
    /// Exact counts.
    pub counters: StreamCounters,
    conns: FxHashMap<u64, Conn>,
    /// Hold what a process does until there is a verdict.
    await_verdict: bool,
    /// What the kernel side is to be told of.
    found: Vec<(u64, Found)>,
    /// Connections with held segments.
    holding: Vec<u64>,
    forgot: bool,
    /// UDP sockets, and when it is to be seen whether they are silent.
    datagrams: VecDeque<(u64, u64)>,
    /// Processes with a socket on which TLS began.
    tls_users: FxHashSet<u64>,
    /// Keep `execs`.
    pub tell_execs: bool,
    execs: Vec<u32>,
    /// tgids that ended since `take_ended`, and have not come back.
    gone: FxHashSet<u32>,
    /// When idle connections may be looked for again.
    forget_ns: u64,
    /// Ended processes whose connections may still have something to say, by time of death.
    dying: VecDeque<(u64, u64)>,
}

impl Streams {
    /// No connections yet. `await_verdict`: what a process does is held until Python has said whether it is
    /// watched (by ports, say), instead of being counted meanwhile.
    pub fn new(aggregator: Aggregator, await_verdict: bool) -> Self {
        Self {
            await_verdict,
            aggregator,
            processes: Processes::default(),
            counters: StreamCounters::default(),
            conns: FxHashMap::default(),
            found: Vec::new(),
            holding: Vec::new(),
            forgot: false,
            datagrams: VecDeque::new(),
            tls_users: FxHashSet::default(),
            tell_execs: false,
            execs: Vec::new(),
            gone: FxHashSet::default(),
            forget_ns: 0,
            dying: VecDeque::new(),
        }
    }

    /// A connection is seen for the first time. `info.process_key` and `info.role` are set here; `old`: it may
    /// have had traffic before.
    pub fn open(
        &mut self,
        id: u64,
        mut info: ConnInfo,
        tgid: u32,
        ts_ns: u64,
        old: bool,
        describe: impl FnOnce() -> Process,
    ) {
        self.gone.remove(&tgid);
        let key = self.processes.with_traffic(tgid, describe);
        if let Some(known) = self.conns.get(&id) {
            if known.info.encrypted == info.encrypted {
                return; // all are announced anew when some were forgotten
            }
            // it changed to TLS: what is inside begins anew
            self.forget_pending(id, ts_ns);
        }
        info.process_key = key;
        if info.encrypted {
            self.tls_users.insert(key);
        }
        self.counters.connections += 1;
        if self.conns.len() >= MAX_CONNECTIONS && ts_ns >= self.forget_ns {
            self.forget_ns = ts_ns + FORGET_NS;
            self.forget_idle(ts_ns);
        }
        if info.datagram {
            self.datagrams.push_back((ts_ns + SILENCE_NS, id));
        }
        let conn = Conn::new(info, tgid, self.processes.epoch, ts_ns, old);
        self.conns.insert(id, conn);
    }

    /// Bytes went one way.
    pub fn segment(&mut self, s: &Segment<'_>) {
        let Some(conn) = self.conns.get_mut(&s.conn) else {
            self.counters.orphans += 1;
            return;
        };
        if conn.tgid != s.tgid || (conn.epoch != self.processes.epoch && !conn.exiting) {
            conn.tgid = s.tgid;
            conn.key = self.processes.with_traffic(s.tgid, Process::default);
            conn.epoch = self.processes.epoch;
            conn.exiting = false;
        }
        let key = conn.key;
        // Where one thread sends and another receives, the answer's record may come before the question's.
        let ready = conn.held.is_empty()
            && (s.counted_elsewhere || conn.missing(s.dir, s.other_off) == 0)
            && (!self.await_verdict || conn.is_judged(&self.processes));
        if ready {
            let into = Into {
                aggregator: &mut self.aggregator,
                processes: &self.processes,
                counters: &mut self.counters,
                found: &mut self.found,
            };
            if conn.pass_on(s, key, into) != Protocol::Continue {
                self.leave_alone(s.conn);
            }
            return;
        }
        if conn.held.len() >= MAX_HELD {
            self.release(s.conn, true);
        }
        self.hold(s.conn, Held::bytes(s, key));
    }

    /// Lets something wait, if there is something to wait for.
    fn hold(&mut self, id: u64, what: Held) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if !conn.listed {
            conn.listed = true;
            self.holding.push(id);
        }
        conn.held.push_back(what);
        self.release(id, false);
    }

    /// Passes on what was held, as far as what it waits for has come; with `all`, what it waits for is taken as
    /// never coming: bytes that no hook sees, a verdict that nobody gives.
    fn release(&mut self, id: u64, all: bool) {
        while let Some(conn) = self.conns.get_mut(&id) {
            let patient = self.await_verdict && !all;
            let waits =
                |held: Option<&Held>| patient && held.is_some_and(|h| h.undecided(&self.processes));
            if waits(conn.held.front()) {
                return;
            }
            let Some((next, missing)) = conn.next_held(all) else {
                return;
            };
            if waits(conn.held.get(next)) {
                return;
            }
            match conn.held.remove(next) {
                None => return,
                Some(Held::Close {
                    ts_ns,
                    how,
                    exiting,
                }) => self.close_now(id, ts_ns, how, exiting),
                Some(Held::Bytes {
                    dir,
                    key,
                    tgid,
                    ts_ns,
                    off,
                    other_off,
                    adv,
                    data,
                    counted_elsewhere,
                }) => {
                    let s = Segment {
                        conn: id,
                        dir,
                        tgid,
                        ts_ns,
                        off,
                        other_off,
                        adv,
                        data: &data,
                        counted_elsewhere,
                    };
                    if missing > 0 {
                        let hole = Segment {
                            dir: dir.other(),
                            off: conn.off[dir.other() as usize],
                            other_off: 0,
                            adv: missing,
                            data: &[],
                            ..s
                        };
                        self.pass_on(&hole, key);
                    }
                    self.pass_on(&s, key);
                }
            }
        }
    }

    fn pass_on(&mut self, s: &Segment<'_>, key: u64) {
        let Some(conn) = self.conns.get_mut(&s.conn) else {
            return;
        };
        let into = Into {
            aggregator: &mut self.aggregator,
            processes: &self.processes,
            counters: &mut self.counters,
            found: &mut self.found,
        };
        if conn.pass_on(s, key, into) != Protocol::Continue {
            self.leave_alone(s.conn);
        }
    }

    /// One side, or all of the connection, is over.
    /// `counted_elsewhere`: as in `Segment`.
    pub fn close(&mut self, id: u64, ts_ns: u64, how: Closed, counted_elsewhere: bool) {
        if counted_elsewhere {
            self.release(id, true);
            self.forget_pending(id, ts_ns);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            let waits = |h: &Held| h.undecided(&self.processes);
            if self.await_verdict && conn.held.iter().any(waits) {
                let exiting = conn.exiting;
                self.hold(
                    id,
                    Held::Close {
                        ts_ns,
                        how,
                        exiting,
                    },
                );
                return;
            }
        }
        let exiting = self.conns.get(&id).is_some_and(|c| c.exiting);
        self.release(id, true);
        self.close_now(id, ts_ns, how, exiting);
    }

    fn forget_pending(&mut self, id: u64, ts_ns: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.forget_pending(ts_ns, &mut self.aggregator);
        }
    }

    /// `exiting`: the process had ended by then.
    fn close_now(&mut self, id: u64, ts_ns: u64, how: Closed, exiting: bool) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.close(ts_ns, how, exiting, &mut self.aggregator);
        if matches!(how, Closed::Gone(_)) {
            self.conns.remove(&id);
        }
    }

    /// A process became another program.
    pub fn exec(&mut self, process: Process, ts_ns: u64) {
        if self.tell_execs && self.execs.len() < MAX_EXECS {
            self.execs.push(process.tgid);
        }
        self.gone.remove(&process.tgid);
        if let Some(before) = self.processes.exec(process) {
            self.ended(before, ts_ns);
        }
    }

    /// False: the process never had traffic, so that nobody knows of it.
    fn ended(&mut self, key: u64, ts_ns: u64) -> bool {
        let known = self.processes.get(key).is_some_and(|p| p.reported);
        if known {
            self.dying.push_back((ts_ns, key));
        } else {
            self.processes.forget(key);
        }
        known
    }

    /// A process ended. What its TCP connections had in flight is settled when they close, a moment later;
    /// unix sockets close without a word.
    pub fn exit(&mut self, tgid: u32, ts_ns: u64) {
        self.gone.insert(tgid);
        let Some(key) = self.processes.exit(tgid) else {
            return;
        };
        if !self.ended(key, ts_ns) {
            return;
        }
        let mut over = Vec::new();
        for (&id, conn) in &mut self.conns {
            if conn.tgid == tgid {
                conn.exiting = true;
                if !conn.tcp {
                    over.push(id);
                }
            }
        }
        for id in over {
            self.close(id, ts_ns, Closed::Fin(Direction::Send), false);
            self.close(id, ts_ns, Closed::Gone(0), false);
        }
    }

    /// To be called a few times a second with CLOCK_BOOTTIME.
    pub fn tick(&mut self, now_ns: u64) {
        for id in std::mem::take(&mut self.holding) {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            conn.listed = false;
            let Some(held) = conn.held.front() else {
                continue;
            };
            let waits = self.await_verdict && held.undecided(&self.processes);
            let patience = if waits { VERDICT_NS } else { HELD_NS };
            if now_ns.saturating_sub(held.ts_ns()) < patience {
                conn.listed = true;
                self.holding.push(id);
            } else {
                self.release(id, true);
            }
        }
        self.forget_silent(now_ns);
        let due = |&(ts_ns, _): &(u64, u64)| now_ns.saturating_sub(ts_ns) >= GRACE_NS;
        let count = self.dying.iter().take_while(|d| due(d)).count();
        let gone: FxHashSet<u64> = self.dying.drain(..count).map(|(_, key)| key).collect();
        if !gone.is_empty() {
            self.disown(&gone, now_ns);
        }
        for key in gone {
            self.processes.forget(key);
            self.aggregator.process_gone(key);
        }
    }

    /// Of UDP sockets that nothing was heard of any longer, what was asked got no answer.
    fn forget_silent(&mut self, now_ns: u64) {
        while self.datagrams.front().is_some_and(|due| due.0 <= now_ns) {
            let Some((_, id)) = self.datagrams.pop_front() else {
                return;
            };
            let Some(conn) = self.conns.get(&id) else {
                continue;
            };
            let due_ns = conn.last_ns + SILENCE_NS;
            if due_ns > now_ns {
                self.datagrams.push_back((due_ns, id));
            } else {
                self.close(id, now_ns, Closed::Gone(crate::exchange::ETIMEDOUT), false);
            }
        }
    }

    /// Processes are about to be forgotten: their connections that are still open are somebody else's.
    fn disown(&mut self, gone: &FxHashSet<u64>, now_ns: u64) {
        let theirs: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| gone.contains(&c.info.process_key))
            .map(|(&id, _)| id)
            .collect();
        for id in theirs {
            self.forget_pending(id, now_ns);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.allowed = false;
            }
        }
    }

    /// Python's decision about a process.
    pub fn set_verdict(&mut self, key: u64, verdict: Verdict) {
        if verdict == Verdict::Excluded {
            self.aggregator.discard(key);
        }
        if self.processes.set_verdict(key, verdict) {
            for conn in self
                .conns
                .values_mut()
                .filter(|c| c.info.process_key == key)
            {
                conn.allowed = allowed(&self.processes, &conn.info);
            }
        }
        let of_key = |h: &Held| matches!(h, Held::Bytes { key: k, .. } if *k == key);
        let waiting = |id: &u64| {
            let conn = self.conns.get(id);
            conn.is_some_and(|c| c.held.front().is_some_and(of_key))
        };
        let ids: Vec<u64> = self.holding.iter().copied().filter(waiting).collect();
        for id in ids {
            self.release(id, false);
        }
    }

    /// What the process did is to be held back until there is a verdict.
    pub fn awaits_verdict(&self, key: u64) -> bool {
        self.await_verdict && undecided(&self.processes, key)
    }

    /// May an exchange with this server port be counted for the process?
    pub fn allows(&self, key: u64, server_port: u16) -> bool {
        self.processes
            .get(key)
            .is_none_or(|p| p.verdict.allows(server_port))
    }

    /// Tgids of processes that have ended since the last call, and that nobody has been given again.
    pub fn take_ended(&mut self) -> FxHashSet<u32> {
        std::mem::take(&mut self.gone)
    }

    /// What was found out about connections since the last call, for the kernel side. `WITHIN_TLS`: it is meant of
    /// what is within the connection's TLS.
    pub fn take_found(&mut self) -> Vec<(u64, Found)> {
        std::mem::take(&mut self.found)
    }

    /// Processes with a socket on which TLS began since the last call.
    pub fn take_tls_users(&mut self) -> Vec<u64> {
        self.tls_users.drain().collect()
    }

    /// tgids that became other programs since the last call, as many as were kept.
    pub fn take_execs(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.execs)
    }

    /// Is there a process to be described, or one whose TLS library is to be found?
    pub fn has_news(&self) -> bool {
        self.processes.has_fresh() || !self.tls_users.is_empty() || !self.execs.is_empty()
    }

    /// Were live connections forgotten since the last call?
    pub fn take_forgot(&mut self) -> bool {
        std::mem::take(&mut self.forgot)
    }

    /// Connections kept now.
    pub fn open_connections(&self) -> usize {
        self.conns.len()
    }

    fn leave_alone(&mut self, id: u64) {
        if let Some(conn) = self.conns.remove(&id) {
            self.found.push((within(&conn.info, id), Found::Stranger));
        }
        self.counters.strangers += 1;
    }

    fn forget_idle(&mut self, now_ns: u64) {
        let before = self.conns.len();
        self.conns
            .retain(|_, c| now_ns.saturating_sub(c.last_ns) < IDLE_NS || c.in_flight() > 0);
        self.counters.forgotten += (before - self.conns.len()) as u64;
        self.forgot |= before != self.conns.len();
    }
}
