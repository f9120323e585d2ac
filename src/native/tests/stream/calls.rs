//! Protocols that are not HTTP: how they are found on a connection, and what a wrong guess costs.

use _native::capture_mode::Found;
use _native::exchange::Role;
use _native::stream::WITHIN_TLS;

use crate::machine::*;

const COMMAND: &str = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
const VALUE: &str = "$1\r\nv\r\n";
/// What a NATS server says first.
const INFO: &str =
    "INFO {\"server_id\":\"a\",\"version\":\"2.9.10\",\"proto\":1,\"max_payload\":1048576}\r\n";

/// Role, system, span's name of what was seen since the last call.
fn called(m: &mut Machine) -> Vec<String> {
    let lines = m.lines();
    let words = lines.iter().map(|line| {
        let role = if line.role == Role::Client {
            "client"
        } else {
            "server"
        };
        format!("{role} {} {}", line.system, line.summary)
    });
    words.collect()
}

#[test]
fn a_command_is_its_clients_and_its_servers() {
    for (asks, answers, role) in [(Send, Recv, "client"), (Recv, Send, "server")] {
        for kind in [Kind::Tcp, Kind::Unix, Kind::OldTcp] {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            for _ in 0..2 {
                let asked = m.happens(conn, asks, COMMAND.as_bytes());
                m.deliver(&asked);
                let answered = m.happens(conn, answers, VALUE.as_bytes());
                m.deliver(&answered);
            }
            assert_eq!(called(&mut m), vec![format!("{role} redis GET"); 2]);
            assert_eq!(m.streams.take_found(), [(conn, Found::Plain)]);
        }
    }
}

#[test]
fn a_server_may_speak_first() {
    for (server, client, role) in [(Recv, Send, "client"), (Send, Recv, "server")] {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        for (dir, text) in [
            (server, INFO),
            (
                client,
                "CONNECT {\"verbose\":false}\r\nPUB orders 2\r\nhi\r\n",
            ),
        ] {
            let said = m.happens(conn, dir, text.as_bytes());
            m.deliver(&said);
        }
        assert_eq!(called(&mut m), [format!("{role} nats publish orders")]);
    }
}

#[test]
fn a_beginning_may_come_in_pieces() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    let began_ns = m.now_ns + MS;
    for byte in COMMAND.bytes() {
        m.send(conn, [byte]);
    }
    m.recv(conn, VALUE);
    let line = m.lines().remove(0);
    assert_eq!(line.summary, "GET");
    assert_eq!(line.duration_ns, m.now_ns - began_ns, "from the first byte");
}

#[test]
fn http_comes_first() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    for byte in get("/a").bytes() {
        m.recv(conn, [byte]);
    }
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server GET /a 200"]);
    assert!(
        m.streams.take_found().is_empty(),
        "the kernel side knows HTTP"
    );
}

#[test]
fn a_method_may_be_a_command_of_another_protocol() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, "get /a HTTP/1.1\r\nHost: a\r\n\r\n");
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server get /a 200"]);
}

#[test]
fn what_nobody_knows_is_left_alone() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, [0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3]);
    m.send(conn, [0xfe; 16]);
    m.recv(conn, COMMAND);
    assert!(called(&mut m).is_empty());
    assert_eq!(m.streams.take_found(), [(conn, Found::Stranger)]);
}

/// These bytes begin like a command and are none.
#[test]
fn a_wrong_guess_is_withdrawn() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.send(conn, "get k\r\n");
    m.recv(conn, "what?\r\n");
    assert!(called(&mut m).is_empty());
    assert_eq!(m.count("requests.seen"), 0);
    // and what it is after all is found where a burst of it begins
    for _ in 0..2 {
        m.send(conn, COMMAND);
        m.recv(conn, VALUE);
    }
    assert!(called(&mut m).contains(&"client redis GET".to_owned()));
}

#[test]
fn but_not_for_ever() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    for _ in 0..50 {
        m.send(conn, "get k\r\n");
        m.recv(conn, "what?\r\n");
    }
    let found = m.streams.take_found();
    assert_eq!(found.last(), Some(&(conn, Found::Stranger)));
    assert_eq!(m.count("requests.seen"), 0);
}

#[test]
fn a_process_that_is_not_watched_calls_nobody() {
    let mut m = Machine::with_rules();
    let conn = m.tcp(1);
    m.send(conn, COMMAND);
    m.recv(conn, VALUE);
    m.verdict(_native::processes::Verdict::Excluded);
    assert!(called(&mut m).is_empty());
    assert_eq!(m.count("requests.seen"), 0);
}

#[test]
fn an_ended_process_answers_nothing() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, COMMAND);
    m.send(conn, VALUE);
    m.recv(conn, COMMAND);
    m.exit(1);
    let lines = m.lines();
    let errors: Vec<_> = lines.iter().map(|line| &*line.error_type).collect();
    assert_eq!(errors, ["", "process_exit"]);
}

#[test]
fn within_tls_the_kernel_side_is_told_of_what_is_within() {
    assert_eq!(WITHIN_TLS, 1 << 63);
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.encrypt(conn);
    for _ in 0..2 {
        m.send(conn, COMMAND);
        m.recv(conn, VALUE);
    }
    assert_eq!(called(&mut m).len(), 2);
    assert_eq!(m.streams.take_found(), [(conn | WITHIN_TLS, Found::Plain)]);
}
