//! Who asks and who answers.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use _native::capture_mode::Found;

use crate::machine::*;

#[test]
fn who_hears_a_request_first_is_the_server() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, get("/a"));
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server GET /a 200"]);
}

#[test]
fn who_speaks_first_is_the_client() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.send(conn, get("/a"));
    m.recv(conn, OK);
    assert_eq!(m.seen(), ["client GET /a 200"]);
    let line = {
        m.send(conn, get("/b"));
        m.recv(conn, OK);
        m.lines().remove(0)
    };
    assert_eq!(
        (&*line.client, &*line.server),
        ("10.0.0.1:8080", "10.0.0.2:8081"),
        "whatever the ports look like"
    );
}

#[test]
fn an_odd_method_counts_on_a_new_connection() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, "brew /pot HTTP/1.1\r\n\r\n");
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server brew /pot 200"]);
}

#[test]
fn an_old_connection_is_understood_from_its_next_request() {
    for (first, second, role) in [(Recv, Send, "server"), (Send, Recv, "client")] {
        for kind in [Kind::OldTcp, Kind::Unix] {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            for target in ["/a", "/b"] {
                let request = m.happens(conn, first, get(target).as_bytes());
                m.deliver(&request);
                let answer = m.happens(conn, second, OK.as_bytes());
                m.deliver(&answer);
            }
            assert_eq!(
                m.seen(),
                [format!("{role} GET /a 200"), format!("{role} GET /b 200")]
            );
        }
    }
}

#[test]
fn an_old_connection_is_understood_from_a_response() {
    for (first, second, role) in [(Recv, Send, "client"), (Send, Recv, "server")] {
        let mut m = Machine::new();
        let conn = m.open(1, Kind::OldTcp);
        let answer = m.happens(conn, first, OK.as_bytes());
        m.deliver(&answer);
        assert!(m.seen().is_empty(), "nobody saw what was asked");
        let request = m.happens(conn, second, b"lower /a HTTP/1.1\r\n\r\n");
        m.deliver(&request);
        let answer = m.happens(conn, first, OK.as_bytes());
        m.deliver(&answer);
        assert_eq!(m.seen(), [format!("{role} lower /a 200")]);
    }
}

#[test]
fn an_old_connection_may_be_in_the_middle_of_a_body() {
    let mut m = Machine::new();
    let up = m.open(1, Kind::OldTcp);
    m.recv(up, vec![b'x'; 3000]);
    m.recv(up, "GET /not-a-request HTTP/1.1\r\n\r\n");
    m.send(up, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    m.recv(up, get("/after-upload"));
    m.send(up, OK);
    assert_eq!(m.seen(), ["server GET /after-upload 200"]);

    let down = m.open(1, Kind::OldTcp);
    m.send(down, vec![b'x'; 3000]);
    m.send(down, "HTTP/1.1 200 OK\r\n\r\n");
    m.recv(down, get("/after-download"));
    m.send(down, OK);
    assert_eq!(m.seen(), ["server GET /after-download 200"]);
}

#[test]
fn an_old_connections_request_may_come_in_pieces() {
    let mut m = Machine::new();
    let conn = m.open(1, Kind::OldTcp);
    for piece in get("/in/pieces").as_bytes().chunks(1) {
        m.recv(conn, piece);
    }
    m.send(conn, OK);
    let line = m.lines().remove(0);
    assert_eq!(brief(&line), "server GET /in/pieces 200");
    assert_eq!(
        line.duration_ns,
        get("/in/pieces").len() as u64 * MS,
        "from its first byte"
    );
}

#[test]
fn a_hole_in_an_old_connections_first_line_is_not_passed_over() {
    let mut m = Machine::new();
    let conn = m.open(1, Kind::OldTcp);
    m.recv(conn, "GET /a");
    m.unseen(conn, Recv, 100);
    m.recv(conn, "/z HTTP/1.1\r\n\r\n");
    m.send(conn, OK);
    assert!(m.seen().is_empty());
    m.recv(conn, get("/next"));
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server GET /next 200"]);
}

/// Bursts of bytes that look like nothing, alternating.
fn noise(m: &mut Machine, conn: u64, bursts: usize) {
    for burst in 0..bursts {
        for piece in ["\x16\x03\x01 hello", "more of it", "GET / HTTP/1.1\r\n\r\n"] {
            if burst % 2 == 0 {
                m.send(conn, piece);
            } else {
                m.recv(conn, piece);
            }
        }
    }
}

#[test]
fn sixteen_bursts_may_look_like_nothing() {
    let mut m = Machine::new();
    let patient = m.open(1, Kind::OldTcp);
    noise(&mut m, patient, 16);
    m.send(patient, get("/a"));
    m.recv(patient, OK);
    assert_eq!(m.seen(), ["client GET /a 200"]);

    let other = m.open(1, Kind::OldTcp);
    noise(&mut m, other, 17);
    assert_eq!(m.streams.take_found(), [(other, Found::Stranger)]);
    assert_eq!((m.streams.counters.strangers, m.counted()), (1, 1));
    let before = m.streams.counters.orphans;
    m.recv(other, get("/a"));
    m.send(other, OK);
    assert_eq!(m.streams.counters.orphans, before + 2);
    assert!(m.seen().is_empty(), "it is left alone for good");
}

#[test]
fn a_new_connection_that_starts_with_something_else_is_left_alone() {
    for first in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 mail.example ESMTP\r\n",
        "\x16\x03\x01",
    ] {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        m.recv(conn, first);
        m.send(conn, "whatever");
        m.recv(conn, get("/a"));
        m.send(conn, OK);
        let found = m.streams.take_found();
        assert_eq!(found, [(conn, Found::Stranger)], "{first:?}");
        assert_eq!((m.counted(), m.streams.open_connections()), (0, 0));
    }
}

#[test]
fn after_an_upgrade_the_connection_is_anothers() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, get("/chat"));
    m.send(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    m.recv(conn, get("/inside-a-frame"));
    assert_eq!(m.seen(), ["server GET /chat 101"]);
    assert_eq!(m.streams.take_found(), [(conn, Found::Stranger)]);
}

#[test]
fn random_bytes_never_make_a_request() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut m = Machine::new();
    for round in 0..2000 {
        let kind = [Kind::Tcp, Kind::OldTcp, Kind::Unix][round % 3];
        let conn = m.open(1, kind);
        // half of them only bytes that a request could have too
        let text = round % 2 == 0;
        for _ in 0..rng.random_range(1..60) {
            let data: Vec<u8> = (0..rng.random_range(1..200))
                .map(|_| {
                    if text {
                        b"GETPOS /:HTP.1\r\n"[rng.random_range(0..16)]
                    } else {
                        rng.random()
                    }
                })
                .collect();
            if rng.random_bool(0.1) {
                m.unseen(conn, [Recv, Send][rng.random_range(0..2)], 100);
            }
            if rng.random() {
                m.recv(conn, data);
            } else {
                m.send(conn, data);
            }
        }
        m.passes(200);
        m.close(conn);
    }
    assert_eq!((m.seen(), m.counted()), (Vec::new(), 0));
    assert_eq!(m.streams.open_connections(), 0);
}
