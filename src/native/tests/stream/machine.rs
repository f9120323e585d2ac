//! A machine with processes and connections on it, and how to look at what was seen of them.

use std::net::Ipv4Addr;

use _native::aggregate::{Aggregator, Line, Settings};
use _native::conn::{Address, ConnInfo, Endpoint};
use _native::exchange::Role;
use _native::processes::{Process, Verdict};
use _native::stream::{Closed, Direction, Segment, Streams};

pub use Direction::{Recv, Send};

/// A millisecond: what every operation takes.
pub const MS: u64 = 1_000_000;
/// The port of the end that would serve.
pub const PORT: u16 = 8080;

pub struct Machine {
    pub streams: Streams,
    pub now_ns: u64,
    conns: Vec<Conn>,
}

/// A connection as the kernel knows it.
struct Conn {
    tgid: u32,
    off: [u64; 2],
    tcp: bool,
}

/// What the kernel side has to say of one operation.
#[derive(Clone, Debug)]
pub struct Record {
    pub conn: u64,
    pub dir: Direction,
    pub tgid: u32,
    pub ts_ns: u64,
    pub off: u64,
    pub other_off: u64,
    pub adv: u64,
    pub data: Vec<u8>,
    pub counted_elsewhere: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Tcp,
    /// Had traffic before it was first seen.
    OldTcp,
    Udp,
    Unix,
}

impl Machine {
    /// Everything on it is counted at once.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// What a process does is held until it is known whether it is watched.
    pub fn with_rules() -> Self {
        Self::with(true)
    }

    fn with(await_verdict: bool) -> Self {
        let settings = Settings {
            spans: false,
            lines: true,
            line_queue: 100_000,
            ..Settings::default()
        };
        let aggregator = Aggregator::new(settings).expect("good settings");
        Self {
            streams: Streams::new(aggregator, await_verdict),
            now_ns: 1_000_000 * MS,
            conns: Vec::new(),
        }
    }

    /// A connection is seen for the first time. The ends' ports say nothing about who asks.
    pub fn open(&mut self, tgid: u32, kind: Kind) -> u64 {
        let off = if kind == Kind::OldTcp {
            [5000, 7000]
        } else {
            [0, 0]
        };
        self.conns.push(Conn {
            tgid,
            off,
            tcp: matches!(kind, Kind::Tcp | Kind::OldTcp),
        });
        let id = self.conns.len() as u64;
        self.announce(id, kind);
        id
    }

    /// As the kernel side does before a connection's first record, and again after user space forgot some.
    pub fn announce(&mut self, id: u64, kind: Kind) {
        let tgid = self.conns[id as usize - 1].tgid;
        let end = |address, port| Endpoint { address, port };
        let mut info = if kind == Kind::Unix {
            let mut info = ConnInfo::new(
                0,
                Role::Server,
                end(Address::Unix, 0),
                end(Address::Unix, 0),
            );
            info.unix_path = Some("/run/app.sock".into());
            info
        } else {
            let local = Address::V4(Ipv4Addr::new(10, 0, 0, 1));
            let remote = Address::V4(Ipv4Addr::new(10, 0, 0, 2));
            ConnInfo::new(0, Role::Server, end(local, PORT), end(remote, PORT + 1))
        };
        info.datagram = kind == Kind::Udp;
        // a unix socket's age is never known
        let old = kind != Kind::Tcp;
        self.streams
            .open(id, info, tgid, self.now_ns, old, Process::default);
    }

    pub fn tcp(&mut self, tgid: u32) -> u64 {
        self.open(tgid, Kind::Tcp)
    }

    /// TLS begins on it: what follows is what is within.
    pub fn encrypt(&mut self, id: u64) {
        let tgid = self.conns[id as usize - 1].tgid;
        let end = |last, port| Endpoint {
            address: Address::V4(Ipv4Addr::new(10, 0, 0, last)),
            port,
        };
        let mut info = ConnInfo::new(0, Role::Server, end(1, PORT), end(2, PORT + 1));
        info.encrypted = true;
        self.streams
            .open(id, info, tgid, self.now_ns, true, Process::default);
    }

    /// Bytes go one way; their record is the caller's to deliver.
    pub fn happens(&mut self, conn: u64, dir: Direction, data: &[u8]) -> Record {
        self.now_ns += MS;
        let known = &mut self.conns[conn as usize - 1];
        let off = known.off[dir as usize];
        known.off[dir as usize] += data.len() as u64;
        let other = known.off[1 - dir as usize];
        Record {
            conn,
            dir,
            tgid: known.tgid,
            ts_ns: self.now_ns,
            off,
            other_off: if known.tcp { other } else { 0 },
            adv: data.len() as u64,
            data: data.to_vec(),
            counted_elsewhere: false,
        }
    }

    pub fn deliver(&mut self, r: &Record) {
        self.streams.segment(&Segment {
            conn: r.conn,
            dir: r.dir,
            tgid: r.tgid,
            ts_ns: r.ts_ns,
            off: r.off,
            other_off: r.other_off,
            adv: r.adv,
            data: &r.data,
            counted_elsewhere: r.counted_elsewhere,
        });
    }

    pub fn recv(&mut self, conn: u64, data: impl AsRef<[u8]>) {
        let record = self.happens(conn, Recv, data.as_ref());
        self.deliver(&record);
    }

    pub fn send(&mut self, conn: u64, data: impl AsRef<[u8]>) {
        let record = self.happens(conn, Send, data.as_ref());
        self.deliver(&record);
    }

    /// Bytes that have gone one way.
    pub fn offset(&self, conn: u64, dir: usize) -> u64 {
        self.conns[conn as usize - 1].off[dir]
    }

    /// Bytes that no hook sees.
    pub fn unseen(&mut self, conn: u64, dir: Direction, count: u64) {
        self.conns[conn as usize - 1].off[dir as usize] += count;
    }

    /// A whole exchange, answered with 200 by whoever did not ask.
    pub fn exchange(&mut self, conn: u64, role: Role, target: &str) {
        match role {
            Role::Server => {
                self.recv(conn, get(target));
                self.send(conn, OK);
            }
            Role::Client => {
                self.send(conn, get(target));
                self.recv(conn, OK);
            }
        }
    }

    /// From now on another process has the socket.
    pub fn hand_over(&mut self, conn: u64, tgid: u32) {
        self.conns[conn as usize - 1].tgid = tgid;
    }

    /// Time goes by and is looked at.
    pub fn passes(&mut self, ms: u64) {
        self.now_ns += ms * MS;
        self.streams.tick(self.now_ns);
    }

    pub fn ends(&mut self, conn: u64, how: Closed) {
        self.now_ns += MS;
        self.streams.close(conn, self.now_ns, how, false);
    }

    /// In good order, by the local process.
    pub fn close(&mut self, conn: u64) {
        self.ends(conn, Closed::Fin(Send));
        self.ends(conn, Closed::Gone(0));
    }

    pub fn exec(&mut self, tgid: u32) {
        let mut process = Process::default();
        process.tgid = tgid;
        self.streams.exec(process, self.now_ns);
    }

    /// The process ends; the kernel closes its TCP connections.
    pub fn exit(&mut self, tgid: u32) {
        self.streams.exit(tgid, self.now_ns);
        for id in 1..=self.conns.len() as u64 {
            let known = &self.conns[id as usize - 1];
            if known.tcp && known.tgid == tgid {
                self.close(id);
            }
        }
    }

    /// Processes that want a verdict: their keys, in the order of their first traffic.
    pub fn fresh(&mut self) -> Vec<u64> {
        self.streams
            .processes
            .take_fresh()
            .iter()
            .map(|p| p.key)
            .collect()
    }

    /// Of the only process that wants one.
    pub fn verdict(&mut self, verdict: Verdict) {
        let fresh = self.fresh();
        assert_eq!(fresh.len(), 1, "one process wants a verdict");
        self.streams.set_verdict(fresh[0], verdict);
    }

    pub fn lines(&mut self) -> Vec<Line> {
        self.streams.aggregator.take_lines(usize::MAX)
    }

    /// What was seen since the last call: role, method, target, status, and the error if there was one.
    pub fn seen(&mut self) -> Vec<String> {
        self.lines().iter().map(brief).collect()
    }

    /// Exchanges in metrics.
    pub fn counted(&mut self) -> u64 {
        let series = self.streams.aggregator.read_series().0;
        series.iter().map(|s| s.duration.count).sum()
    }

    pub fn count(&self, name: &str) -> u64 {
        let counters = self.streams.aggregator.counters();
        counters.iter().find(|c| c.0 == name).expect("a counter").1
    }
}

pub fn brief(line: &Line) -> String {
    let role = match line.role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let words = format!("{role} {} {} {}", line.method, line.target, line.status);
    match &*line.error_type {
        "" => words,
        error => format!("{words} {error}"),
    }
}

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n")
}

pub fn watched() -> Verdict {
    Verdict::Selected {
        include: None,
        exclude: Vec::new(),
    }
}
