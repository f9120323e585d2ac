//! What a process does while nobody has said yet whether it is watched.

use _native::exchange::Role;
use _native::processes::Verdict;
use _native::stream::Closed;

use crate::machine::*;

fn ports(include: Option<(u16, u16)>, exclude: Option<(u16, u16)>) -> Verdict {
    Verdict::Selected {
        include: include.map(|range| vec![range]),
        exclude: exclude.into_iter().collect(),
    }
}

/// Nothing anywhere says that there was something.
fn assert_nothing(m: &mut Machine) {
    assert_eq!((m.seen(), m.counted()), (Vec::new(), 0));
    assert_eq!(m.count("requests.seen"), 0);
    assert_eq!(m.count("requests.abandoned"), 0);
    let active = m.streams.aggregator.read_active();
    assert!(active.iter().all(|a| a.value == 0), "{active:?}");
}

#[test]
fn without_rules_everything_counts_at_once() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/a");
    assert_eq!(m.counted(), 1);
    m.verdict(Verdict::Excluded);
    m.exchange(conn, Role::Server, "/b");
    assert_nothing(&mut m);
}

#[test]
fn with_rules_all_waits_for_the_verdict_and_keeps_its_times() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    for target in ["/a", "/b"] {
        m.exchange(conn, Role::Server, target);
        m.passes(500);
    }
    assert_nothing(&mut m);
    m.verdict(watched());
    m.exchange(conn, Role::Server, "/c");
    let lines = m.lines();
    let briefs: Vec<_> = lines.iter().map(brief).collect();
    let expected = [
        "server GET /a 200",
        "server GET /b 200",
        "server GET /c 200",
    ];
    assert_eq!(briefs, expected);
    assert!(lines.iter().all(|l| l.duration_ns == MS));
    assert_eq!(lines[1].start_unix_ns - lines[0].start_unix_ns, 502 * MS);
}

#[test]
fn a_verdict_may_be_about_ports() {
    for (verdict, role, seen) in [
        (ports(Some((PORT, PORT)), None), Role::Server, 1),
        (ports(Some((PORT, PORT)), None), Role::Client, 0),
        (ports(Some((1, 80)), None), Role::Server, 0),
        (ports(None, Some((8000, 8100))), Role::Server, 0),
        (ports(None, Some((PORT, PORT))), Role::Client, 1),
        (
            ports(Some((8000, 9000)), Some((PORT, PORT))),
            Role::Server,
            0,
        ),
        (
            ports(Some((8000, 9000)), Some((PORT, PORT))),
            Role::Client,
            1,
        ),
    ] {
        let mut m = Machine::with_rules();
        let conn = m.tcp(1);
        m.exchange(conn, role, "/held");
        m.verdict(verdict.clone());
        m.exchange(conn, role, "/later");
        assert_eq!(m.seen().len(), 2 * seen, "{verdict:?} {role:?}");
        assert_eq!(m.counted(), 2 * seen as u64);
        assert_eq!(m.count("requests.seen"), 2 * seen as u64);
    }
}

#[test]
fn an_excluded_process_leaves_nothing() {
    let mut m = Machine::with_rules();
    let conns: Vec<u64> = (0..3).map(|_| m.tcp(1)).collect();
    for &conn in &conns {
        m.exchange(conn, Role::Server, "/a");
        m.recv(conn, get("/pending"));
    }
    m.close(conns[0]);
    m.verdict(Verdict::Excluded);
    m.send(conns[1], OK);
    m.passes(3000);
    m.close(conns[1]);
    m.exit(1);
    m.passes(5000);
    assert_nothing(&mut m);
    assert_eq!(m.streams.open_connections(), 0);
}

#[test]
fn others_do_not_wait_with_it() {
    let mut m = Machine::with_rules();
    let (one, two) = (m.tcp(1), m.tcp(2));
    m.exchange(one, Role::Server, "/one");
    m.exchange(two, Role::Client, "/two");
    let keys = m.fresh();
    m.streams.set_verdict(keys[1], watched());
    assert_eq!(m.seen(), ["client GET /two 200"]);
    m.streams.set_verdict(keys[0], watched());
    assert_eq!(m.seen(), ["server GET /one 200"]);
}

#[test]
fn a_verdict_that_nobody_gives_is_taken_as_watched_after_two_seconds() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/a");
    m.passes(1900);
    assert_nothing(&mut m);
    m.passes(200);
    assert_eq!(m.seen(), ["server GET /a 200"]);
    m.verdict(Verdict::Excluded);
    assert_nothing(&mut m);
}

#[test]
fn a_connection_closed_meanwhile_is_told_to_its_end() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/whole");
    m.recv(conn, get("/until-close"));
    m.send(conn, "HTTP/1.0 200 OK\r\n\r\nall of it");
    m.close(conn);
    assert_eq!(m.streams.open_connections(), 1);
    m.verdict(watched());
    let lines = m.lines();
    let briefs: Vec<_> = lines.iter().map(brief).collect();
    assert_eq!(
        briefs,
        ["server GET /whole 200", "server GET /until-close 200"]
    );
    assert_eq!(lines[1].response_body_bytes, 9);
    assert_eq!(m.streams.open_connections(), 0);
}

/// Short-lived programs are gone before anybody has looked at them.
#[test]
fn a_process_that_ended_meanwhile_is_told_to_its_end() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let mut m = Machine::with_rules();
        let conn = m.open(1, kind);
        m.exchange(conn, Role::Client, "/whole");
        m.send(conn, get("/pending"));
        m.exit(1);
        let keys = m.fresh();
        m.streams.set_verdict(keys[0], watched());
        let lines = m.lines();
        let briefs: Vec<_> = lines.iter().map(brief).collect();
        let expected = [
            "client GET /whole 200",
            "client GET /pending 0 process_exit",
        ];
        assert_eq!(briefs, expected);
        assert!(lines.iter().all(|l| l.process_key == keys[0]));
        assert!(m.fresh().is_empty(), "no process appears after its end");
        assert_eq!(m.streams.open_connections(), 0);
        m.passes(4000);
        m.counted();
        assert_eq!(m.streams.aggregator.take_exits(), keys);
    }
}

#[test]
fn a_process_that_ended_meanwhile_can_be_excluded_still() {
    for wait in [0, 2500] {
        let mut m = Machine::with_rules();
        let conn = m.tcp(1);
        m.exchange(conn, Role::Client, "/whole");
        m.exit(1);
        m.passes(wait);
        m.verdict(Verdict::Excluded);
        assert_nothing(&mut m);
        m.passes(4000);
        assert_nothing(&mut m);
        assert!(m.fresh().is_empty());
    }
}

/// What was done before the exec is the first program's, whenever the verdict comes.
#[test]
fn each_program_of_a_process_has_its_own_verdict() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Client, "/before");
    m.exec(1);
    m.exchange(conn, Role::Client, "/after");
    let keys = m.fresh();
    assert_eq!(keys.len(), 2);
    m.streams.set_verdict(keys[1], Verdict::Excluded);
    assert_nothing(&mut m);
    m.streams.set_verdict(keys[0], watched());
    assert_eq!(m.seen(), ["client GET /before 200"]);
}

#[test]
fn an_old_connection_may_be_held_too() {
    let mut m = Machine::with_rules();
    let conn = m.open(1, Kind::OldTcp);
    let mut question = m.happens(conn, Recv, get("/a").as_bytes());
    let answer = m.happens(conn, Send, OK.as_bytes());
    question.other_off += answer.adv; // told late
    m.deliver(&answer);
    m.deliver(&question);
    m.exchange(conn, Role::Server, "/b");
    m.verdict(watched());
    assert_eq!(m.seen(), ["server GET /a 200", "server GET /b 200"]);
    assert_eq!(m.streams.counters.out_of_order, 0);
}

#[test]
fn an_end_before_the_processs_is_not_its_fault() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    m.send(conn, get("/a"));
    m.ends(conn, Closed::Fin(Recv));
    m.exit(1);
    m.verdict(watched());
    assert_eq!(m.seen(), ["client GET /a 0 connection_closed"]);
}
