//! What is kept is bounded, whatever the others on the network do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use _native::exchange::Role;
use _native::stream::Closed;

use crate::machine::*;

/// Counts the bytes that each thread holds: each test is one.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn add(bytes: isize) {
    // a thread that ends may free after its locals are gone
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: hands everything on to the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> isize {
    HELD.with(Cell::get)
}

const CONNECTIONS: usize = 100_000;
const IDLE_MS: u64 = 300_000;

#[test]
fn an_idle_connection_costs_less_than_a_kilobyte() {
    let mut m = Machine::new();
    let before = held();
    for _ in 0..10_000 {
        let conn = m.tcp(1);
        m.exchange(conn, Role::Server, "/a");
        m.lines();
    }
    let each = (held() - before) / 10_000;
    assert!(each < 1024, "{each} bytes");
}

#[test]
fn connections_and_processes_that_are_gone_leave_nothing() {
    let mut m = Machine::with_rules();
    let round = |m: &mut Machine, tgid| {
        m.exec(tgid);
        for kind in [Kind::Tcp, Kind::OldTcp, Kind::Unix] {
            let conn = m.open(tgid, kind);
            m.exchange(conn, Role::Server, "/a");
            m.recv(conn, get("/pending"));
        }
        let key = m.fresh()[0];
        m.streams.set_verdict(key, watched());
        m.streams.exit(tgid, m.now_ns);
        for conn in 0..3 {
            let last = m.streams.counters.connections - conn;
            m.close(last);
        }
        m.passes(4000);
        m.counted();
        m.lines();
        m.streams.aggregator.take_exits();
    };
    round(&mut m, 1);
    let before = held();
    for tgid in 2..1000 {
        round(&mut m, tgid);
    }
    let left = held() - before;
    // what the test itself remembers of its connections is 40 bytes each
    assert!(left < 3 * 1000 * 64, "{left} bytes");
    assert_eq!(m.streams.open_connections(), 0);
}

#[test]
fn a_first_line_that_never_ends_is_not_kept() {
    let mut m = Machine::new();
    let conn = m.open(1, Kind::OldTcp);
    let before = held();
    for _ in 0..10_000 {
        m.recv(conn, [b'A'; 1000]);
        assert!(held() - before < 64 << 10);
    }
}

#[test]
fn a_process_without_a_verdict_does_not_fill_the_memory() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    let before = held();
    m.recv(conn, "POST / HTTP/1.1\r\nContent-Length: 40960000\r\n\r\n");
    for _ in 0..10_000 {
        m.recv(conn, [b'x'; 4096]);
        assert!(held() - before < 2 << 20);
    }
    m.send(conn, OK);
    m.verdict(watched());
    let lines = m.lines();
    assert_eq!(lines[0].request_body_bytes, 40_960_000);
}

/// A proxy with more live connections than are kept: they all count, and opening one stays cheap.
#[test]
fn live_connections_are_never_forgotten() {
    let mut m = Machine::new();
    let conns: Vec<u64> = (0..CONNECTIONS + 20_000).map(|_| m.tcp(1)).collect();
    assert_eq!(m.streams.open_connections(), conns.len());
    m.exchange(conns[0], Role::Server, "/a");
    assert_eq!(m.seen(), ["server GET /a 200"]);
}

#[test]
fn idle_connections_are_forgotten_and_understood_again_when_they_wake() {
    let mut m = Machine::new();
    let conns: Vec<u64> = (0..CONNECTIONS).map(|_| m.tcp(1)).collect();
    for &conn in &conns[..3] {
        m.exchange(conn, Role::Server, "/a");
    }
    m.recv(conns[0], get("/slow"));
    m.passes(IDLE_MS);
    m.exchange(conns[1], Role::Server, "/awake");
    assert!(!m.streams.take_forgot());
    m.tcp(1);
    assert!(m.streams.take_forgot());
    assert_eq!(m.streams.open_connections(), 3, "busy, awake, new");
    assert_eq!(m.streams.counters.forgotten, CONNECTIONS as u64 - 2);
    m.seen();

    // the kernel side announces them all anew, each before its next record
    for &conn in &conns[..3] {
        m.announce(conn, Kind::OldTcp);
    }
    m.send(conns[0], OK);
    m.exchange(conns[1], Role::Server, "/kept");
    m.exchange(conns[2], Role::Server, "/forgotten");
    let expected = [
        "server GET /slow 200",
        "server GET /kept 200",
        "server GET /forgotten 200",
    ];
    assert_eq!(m.seen(), expected);
    assert_eq!(m.streams.open_connections(), 4);
    for &conn in &conns {
        m.ends(conn, Closed::Gone(0));
    }
    assert_eq!(m.streams.open_connections(), 1);
}
