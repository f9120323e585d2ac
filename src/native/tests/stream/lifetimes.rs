//! Processes and connections come to their ends.

use _native::exchange::Role;
use _native::processes::Verdict;
use _native::stream::Closed;

use crate::machine::*;

/// Key and words of what was seen.
fn by_process(m: &mut Machine) -> Vec<(u64, String)> {
    m.lines()
        .iter()
        .map(|l| (l.process_key, brief(l)))
        .collect()
}

#[test]
fn another_program_is_another_process() {
    let mut m = Machine::new();
    m.exec(1);
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/a");
    m.exec(1);
    m.exchange(conn, Role::Server, "/b");
    let keys = m.fresh();
    assert_eq!(keys.len(), 2);
    let expected = [
        (keys[0], "server GET /a 200".into()),
        (keys[1], "server GET /b 200".into()),
    ];
    assert_eq!(by_process(&mut m), expected);
    m.passes(4000);
    m.counted();
    assert_eq!(m.streams.aggregator.take_exits(), [keys[0]]);
}

#[test]
fn a_number_used_again_is_another_process() {
    let mut m = Machine::new();
    for round in 0..3 {
        let conn = m.tcp(7);
        m.exchange(conn, Role::Server, "/a");
        let key = m.fresh()[0];
        if round == 1 {
            m.streams.set_verdict(key, Verdict::Excluded);
        }
        m.exit(7);
    }
    let keys: Vec<u64> = by_process(&mut m).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 2, "the second one was excluded");
    assert_ne!(keys[0], keys[1]);
    m.passes(4000);
    assert_eq!(m.counted(), 2);
    assert_eq!(m.streams.aggregator.take_exits().len(), 3);
}

#[test]
fn a_socket_handed_over_is_its_new_owners() {
    let mut m = Machine::new();
    let (parent, child) = (1, 2);
    let conn = m.tcp(parent);
    m.exchange(conn, Role::Server, "/parent");
    m.hand_over(conn, child);
    m.exchange(conn, Role::Server, "/child");
    m.streams.exit(parent, m.now_ns);
    m.passes(4000);
    m.exchange(conn, Role::Server, "/orphan");
    let keys = m.fresh();
    let owners: Vec<u64> = by_process(&mut m).iter().map(|l| l.0).collect();
    assert_eq!(owners, [keys[0], keys[1], keys[1]]);
}

#[test]
fn a_server_that_dies_over_a_request_is_to_blame() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let mut m = Machine::new();
        let conn = m.open(1, kind);
        m.recv(conn, get("/fatal"));
        m.exit(1);
        assert_eq!(m.seen(), ["server GET /fatal 0 process_exit"]);
        assert_eq!(m.streams.open_connections(), 0);
    }
}

#[test]
fn a_server_that_dies_over_its_answer_is_to_blame() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let mut m = Machine::new();
        let conn = m.open(1, kind);
        m.recv(conn, get("/fatal"));
        m.send(
            conn,
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all",
        );
        m.exit(1);
        assert_eq!(m.seen(), ["server GET /fatal 200 process_exit"]);
    }
}

#[test]
fn an_answer_until_close_is_whole_when_the_server_ends_after_it() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let mut m = Machine::new();
        let conn = m.open(1, kind);
        m.recv(conn, "GET /cgi HTTP/1.0\r\n\r\n");
        m.send(conn, "HTTP/1.0 200 OK\r\n\r\nall of it");
        m.exit(1);
        let line = m.lines().remove(0);
        assert_eq!(brief(&line), "server GET /cgi 200");
        assert_eq!((line.response_body_bytes, line.duration_ns), (9, MS));
    }
}

#[test]
fn a_client_that_dies_waiting_says_so() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.send(conn, get("/slow"));
    m.exit(1);
    assert_eq!(m.seen(), ["client GET /slow 0 process_exit"]);
}

#[test]
fn how_a_connection_ends_is_why_a_request_has_no_answer() {
    for (end, error) in [
        (Closed::Fin(Recv), "connection_closed"),
        (Closed::Gone(0), "connection_closed"),
        (Closed::Gone(104), "connection_reset"),
        (Closed::Reset(32), "connection_reset"),
        (Closed::Reset(110), "timeout"),
    ] {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        m.send(conn, get("/a"));
        m.ends(conn, end);
        m.ends(conn, Closed::Gone(0));
        assert_eq!(m.seen(), [format!("client GET /a 0 {error}")], "{end:?}");
        assert_eq!(m.streams.open_connections(), 0);
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, get("/half-closed"));
    m.ends(conn, Closed::Fin(Recv));
    m.send(conn, OK);
    m.close(conn);
    assert_eq!(m.seen(), ["server GET /half-closed 200"]);
}

#[test]
fn unix_sockets_end_with_their_process_and_no_others_do() {
    let mut m = Machine::new();
    let (ours, theirs, tcp) = (m.open(1, Kind::Unix), m.open(2, Kind::Unix), m.tcp(1));
    for conn in [ours, theirs, tcp] {
        m.exchange(conn, Role::Server, "/a");
    }
    m.streams.exit(1, m.now_ns);
    assert_eq!(m.streams.open_connections(), 2);
    m.close(tcp);
    m.exchange(theirs, Role::Server, "/b");
    assert_eq!(m.seen().len(), 4);
    assert_eq!(m.streams.open_connections(), 1);
}

/// UDP sockets are forgotten once they are silent, and may come again.
#[test]
fn a_udp_socket_ends_when_nothing_is_heard_of_it() {
    let mut m = Machine::new();
    let conn = m.open(1, Kind::Udp);
    let tcp = m.tcp(2);
    m.passes(9_000);
    assert_eq!(m.streams.open_connections(), 2);
    m.passes(2_000);
    assert_eq!(m.streams.open_connections(), 1);
    assert!(!m.streams.take_forgot(), "the kernel side knows by itself");
    m.announce(conn, Kind::Udp);
    m.exchange(tcp, Role::Server, "/a");
    m.passes(11_000);
    assert_eq!(m.streams.open_connections(), 1);
}

#[test]
fn programs_without_traffic_are_nobodys_business() {
    let mut m = Machine::new();
    for tgid in 1..100 {
        m.exec(tgid);
        m.exec(tgid);
        m.streams.exit(tgid, m.now_ns);
    }
    m.passes(4000);
    assert!(m.fresh().is_empty());
    assert!(m.streams.aggregator.take_exits().is_empty());
}

#[test]
fn a_processs_last_requests_count_before_it_is_gone() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/a");
    let keys = m.fresh();
    m.streams.exit(1, m.now_ns);
    m.passes(2900);
    assert!(m.streams.aggregator.take_exits().is_empty());
    m.passes(200);
    assert_eq!(m.counted(), 1, "once more");
    assert_eq!(m.streams.aggregator.take_exits(), keys);
    assert_eq!(m.counted(), 0, "never again");
}

#[test]
fn an_excluded_process_says_nothing_after_its_end() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, get("/a"));
    m.verdict(Verdict::Excluded);
    // somebody else has the socket open still
    m.streams.exit(1, m.now_ns);
    m.passes(4000);
    m.close(conn);
    assert_eq!((m.seen(), m.counted()), (Vec::new(), 0));
}

/// Its child may answer yet, but nobody can tell whose request that was.
#[test]
fn a_request_that_outlives_its_process_is_given_up_and_counted() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, get("/a"));
    m.streams.exit(1, m.now_ns);
    m.passes(4000);
    assert_eq!((m.count("requests.abandoned"), m.counted()), (1, 0));
    let gone = m.streams.aggregator.take_exits();
    assert_eq!(gone, m.fresh());
    m.hand_over(conn, 2);
    m.send(conn, OK);
    m.exchange(conn, Role::Server, "/b");
    m.close(conn);
    let child = m.fresh()[0];
    assert_eq!(by_process(&mut m), [(child, "server GET /b 200".into())]);
}
