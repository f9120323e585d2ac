//! HTTP/2: who begins it, how it is found in the middle of a connection, and what is not taken for it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use _native::capture_mode::Found;
use _native::exchange::Role;
use _native::stream::Closed;

use crate::machine::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// GET of a path that is not indexed, and the end of the stream.
fn asks(stream: u32, path: &str) -> Vec<u8> {
    let block = [b"\x82\x86\x04", &[path.len() as u8][..], path.as_bytes()];
    frame(1, 5, stream, &block.concat())
}

/// 200 with a body.
fn answers(stream: u32) -> Vec<u8> {
    [frame(1, 4, stream, b"\x88"), frame(0, 1, stream, b"ok")].concat()
}

fn hello() -> Vec<u8> {
    [PREFACE, SETTINGS].concat()
}

/// What the server says goes the other way.
fn ways(role: Role) -> (_native::stream::Direction, _native::stream::Direction) {
    match role {
        Role::Server => (Recv, Send),
        Role::Client => (Send, Recv),
    }
}

fn says(m: &mut Machine, conn: u64, dir: _native::stream::Direction, data: impl AsRef<[u8]>) {
    let record = m.happens(conn, dir, data.as_ref());
    m.deliver(&record);
}

fn assert_nothing_active(m: &Machine) {
    let active = m.streams.aggregator.read_active();
    assert!(active.iter().all(|a| a.value == 0), "{active:?}");
}

const KINDS: [Kind; 3] = [Kind::Tcp, Kind::OldTcp, Kind::Unix];
const ROLES: [(Role, &str); 2] = [(Role::Server, "server"), (Role::Client, "client")];

#[test]
fn a_connection_that_begins_with_the_preface() {
    for kind in KINDS {
        for (role, name) in ROLES {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            let (there, back) = ways(role);
            says(&mut m, conn, there, [hello(), asks(1, "/a")].concat());
            says(&mut m, conn, back, [SETTINGS, &answers(1)].concat());
            says(&mut m, conn, there, asks(3, "/b"));
            says(&mut m, conn, back, answers(3));
            let expected = ["/a", "/b"].map(|path| format!("{name} GET {path} 200"));
            assert_eq!(m.seen(), expected);
            assert_nothing_active(&m);
            // the kernel side finds new ones itself
            let told = m.streams.take_found();
            assert_eq!(told.len(), usize::from(kind != Kind::Tcp));
        }
    }
}

#[test]
fn a_server_need_not_wait_for_the_preface() {
    for kind in KINDS {
        for (role, name) in ROLES {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            let (there, back) = ways(role);
            says(&mut m, conn, back, SETTINGS);
            says(&mut m, conn, there, [hello(), asks(1, "/a")].concat());
            says(&mut m, conn, back, answers(1));
            assert_eq!(m.seen(), [format!("{name} GET /a 200")]);
        }
    }
}

#[test]
fn the_preface_may_come_in_pieces() {
    for kind in KINDS {
        for size in [1, 5, 24, 30] {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            for piece in [hello(), asks(1, "/a")].concat().chunks(size) {
                m.recv(conn, piece);
            }
            m.send(conn, [SETTINGS, &answers(1)].concat());
            m.recv(conn, asks(3, "/b"));
            m.send(conn, answers(3));
            let expected = ["server GET /a 200", "server GET /b 200"];
            assert_eq!(m.seen(), expected, "{size} bytes each");
        }
    }
}

#[test]
fn a_server_may_speak_while_the_preface_comes() {
    for at in 1..PREFACE.len() {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        m.recv(conn, &PREFACE[..at]);
        m.send(conn, SETTINGS);
        m.recv(conn, [&PREFACE[at..], SETTINGS, &asks(1, "/a")].concat());
        m.send(conn, answers(1));
        assert_eq!(m.seen(), ["server GET /a 200"], "after {at} bytes");
    }
}

/// A lone "P" begins POST, PUT and PATCH as well as it begins the preface.
#[test]
fn a_post_byte_by_byte_is_still_http1() {
    for kind in KINDS {
        for method in ["POST", "PUT", "PATCH", "PRI"] {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            let request = format!("{method} /p HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
            let bytes = request.len() as u64;
            for piece in request.as_bytes().chunks(1) {
                m.recv(conn, piece);
            }
            m.send(conn, OK);
            let lines = m.lines();
            assert_eq!(lines.len(), 1, "{method}");
            assert_eq!(brief(&lines[0]), format!("server {method} /p 200"));
            assert_eq!(lines[0].duration_ns, bytes * MS, "from its first byte");
        }
    }
}

#[test]
fn an_old_connection_is_found_by_a_request() {
    for (role, name) in ROLES {
        for kind in [Kind::OldTcp, Kind::Unix] {
            let mut m = Machine::new();
            let conn = m.open(1, kind);
            let (there, back) = ways(role);
            // frames of either side say nothing about who asks
            says(&mut m, conn, back, frame(8, 0, 0, &[0, 0, 1, 0]));
            says(&mut m, conn, there, frame(6, 0, 0, b"12345678"));
            says(&mut m, conn, there, asks(11, "/a"));
            says(&mut m, conn, back, answers(9));
            says(&mut m, conn, back, answers(11));
            assert_eq!(m.seen(), [format!("{name} GET /a 200")]);
            assert_eq!(m.streams.take_found(), [(conn, Found::Http2)]);
            assert_nothing_active(&m);
        }
    }
}

#[test]
fn an_old_connection_is_found_by_a_response() {
    for (role, name) in ROLES {
        let mut m = Machine::new();
        let conn = m.open(1, Kind::OldTcp);
        let (there, back) = ways(role);
        says(&mut m, conn, back, answers(9));
        assert!(m.seen().is_empty(), "nobody saw what was asked");
        says(&mut m, conn, there, asks(11, "/a"));
        says(&mut m, conn, back, answers(11));
        assert_eq!(m.seen(), [format!("{name} GET /a 200")]);
    }
}

#[test]
fn an_old_connection_may_be_in_the_middle_of_a_frame() {
    let mut m = Machine::new();
    let conn = m.open(1, Kind::OldTcp);
    m.recv(conn, vec![b'x'; 3000]);
    m.recv(conn, asks(5, "/not-found-yet"));
    m.send(conn, frame(8, 0, 5, &[0, 0, 1, 0]));
    m.recv(conn, asks(7, "/a"));
    m.send(conn, answers(7));
    assert_eq!(m.seen(), ["server GET /a 200"]);
}

#[test]
fn streams_may_end_in_any_order_and_none_stays_active() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, hello());
    let post = frame(1, 5, 5, b"\x83\x86\x84");
    m.recv(
        conn,
        [asks(1, "/1"), asks(3, "/3"), post, asks(7, "/7")].concat(),
    );
    let active: i64 = m
        .streams
        .aggregator
        .read_active()
        .iter()
        .map(|a| a.value)
        .sum();
    assert_eq!(active, 4);
    m.send(conn, [SETTINGS, &answers(5), &answers(7)].concat());
    m.recv(conn, frame(3, 0, 3, &[0, 0, 0, 8]));
    m.send(conn, answers(1));
    let expected = [
        "server POST / 200",
        "server GET /7 200",
        "server GET /3 0 CANCEL",
        "server GET /1 200",
    ];
    assert_eq!(m.seen(), expected);
    assert_nothing_active(&m);
}

#[test]
fn a_connection_that_ends_says_why_its_streams_did() {
    for (how, error) in [
        (Closed::Fin(Send), "connection_closed"),
        (Closed::Reset(104), "connection_reset"),
        (Closed::Reset(110), "timeout"),
        (Closed::Gone(0), "connection_closed"),
    ] {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        m.recv(conn, [hello(), asks(1, "/1"), asks(3, "/3")].concat());
        m.ends(conn, how);
        let expected = ["/1", "/3"].map(|path| format!("server GET {path} 0 {error}"));
        assert_eq!(m.seen(), expected);
        assert_nothing_active(&m);
    }
}

/// One thread sends, another receives.
#[test]
fn an_answer_told_before_its_question_waits_for_it() {
    for (role, name) in ROLES {
        let (there, back) = ways(role);
        let mut m = Machine::new();
        let conn = m.tcp(1);
        says(&mut m, conn, there, hello());
        says(&mut m, conn, back, SETTINGS);
        for (stream, path) in [(1, "/a"), (3, "/b")] {
            let question = m.happens(conn, there, &asks(stream, path));
            let answer = m.happens(conn, back, &answers(stream));
            m.deliver(&answer);
            assert!(m.seen().is_empty());
            m.deliver(&question);
            assert_eq!(m.seen(), [format!("{name} GET {path} 200")]);
        }
        assert_eq!(m.streams.counters.out_of_order, 0);
    }
}

/// Both speak at once: neither's first record has seen the other's.
#[test]
fn it_does_not_matter_who_is_told_first() {
    for server_first in [false, true] {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        let mut ours = m.happens(conn, Recv, &[hello(), asks(1, "/a")].concat());
        let mut theirs = m.happens(conn, Send, SETTINGS);
        (ours.other_off, theirs.other_off) = (0, 0);
        if server_first {
            m.deliver(&theirs);
            m.deliver(&ours);
        } else {
            m.deliver(&ours);
            m.deliver(&theirs);
        }
        m.send(conn, answers(1));
        assert_eq!(m.seen(), ["server GET /a 200"]);
    }
}

/// Each thread's hook ran after both operations, so that each record waits for the other.
#[test]
fn two_threads_that_wait_for_each_other_are_told_in_order() {
    for (role, name) in ROLES {
        let (there, back) = ways(role);
        let mut m = Machine::new();
        let conn = m.tcp(1);
        let mut question = m.happens(conn, there, &[hello(), asks(1, "/a")].concat());
        let answer = m.happens(conn, back, &[SETTINGS, &answers(1)].concat());
        question.other_off += answer.adv;
        m.deliver(&answer);
        m.deliver(&question);
        assert_eq!(m.seen(), [format!("{name} GET /a 200")]);
        assert_nothing_active(&m);
    }
}

/// The ring was full: what comes then is as of an old connection, and the lost one is counted elsewhere.
#[test]
fn it_is_still_http2_after_a_loss() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, [hello(), asks(1, "/lost")].concat());
    m.unseen(conn, Send, 2000);
    let mut next = m.happens(conn, Recv, &[b'x'; 100]);
    next.counted_elsewhere = true;
    m.deliver(&next);
    for _ in 0..100 {
        m.recv(conn, [b'x'; 100]); // an upload
    }
    m.recv(conn, asks(3, "/next"));
    m.send(conn, answers(3));
    assert_eq!(m.seen(), ["server GET /next 200"]);
    assert_eq!((m.counted(), m.count("requests.abandoned")), (1, 1));
    assert_nothing_active(&m);
}

#[test]
fn a_body_of_which_the_middle_was_not_captured() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    let head = frame(1, 4, 1, b"\x83\x86\x84");
    let data = frame(0, 1, 1, &[b'x'; 10_000]);
    let mut upload = m.happens(conn, Recv, &[hello(), head, data].concat());
    upload.data.truncate(500);
    m.deliver(&upload);
    m.send(conn, [SETTINGS, &answers(1)].concat());
    m.recv(conn, asks(3, "/next"));
    m.send(conn, answers(3));
    let lines = m.lines();
    assert_eq!(lines[0].request_body_bytes, 10_000);
    assert_eq!(brief(&lines[1]), "server GET /next 200");
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    let others: [&[u8]; 7] = [
        b"\x4a\0\0\0\x0a8.0.36\0\x0b\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15", // MySQL's greeting
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcdefghijklmnopqrstuvwxyz", // TLS ClientHello
        b"\0\0\0\x08\x04\xd2\x16\x2f", // PostgreSQL, SSLRequest
        b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0", // PostgreSQL, startup
        b"\0\0\0\x20\0\x12\0\x04\0\0\0\x01\0\x07console\0\0\0\0\0\0\0\0", // Kafka, ApiVersions
        b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0eclient", // MQTT
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for first in others {
        for kind in KINDS {
            for (there, back) in [(Recv, Send), (Send, Recv)] {
                let mut m = Machine::new();
                let conn = m.open(1, kind);
                for _ in 0..20 {
                    says(&mut m, conn, there, first);
                    says(&mut m, conn, back, first);
                }
                let found = m.streams.take_found();
                assert!(!found.contains(&(conn, Found::Http2)), "{first:?}");
                assert_eq!((m.counted(), m.seen().len()), (0, 0));
            }
        }
    }
}

#[test]
fn http1_is_not_taken_for_it() {
    for kind in KINDS {
        let mut m = Machine::new();
        let conn = m.open(1, kind);
        m.exchange(conn, Role::Server, "/a");
        m.recv(conn, "POST / HTTP/1.1\r\nContent-Length: 32\r\n\r\n");
        // a body with frames in it
        m.recv(conn, [asks(1, "/no"), asks(3, "/no")].concat());
        m.send(conn, OK);
        m.exchange(conn, Role::Server, "/b");
        assert_eq!(m.seen().len(), 3);
        assert!(m.streams.take_found().is_empty());
    }
}

#[test]
fn random_bytes_never_make_a_stream() {
    let mut rng = SmallRng::seed_from_u64(2);
    let mut m = Machine::new();
    for round in 0..3000 {
        let conn = m.open(1, KINDS[round % 3]);
        // half of them with the bytes that frames are made of
        let tame = round % 2 == 0;
        for _ in 0..rng.random_range(1..40) {
            let data: Vec<u8> = (0..rng.random_range(1..120))
                .map(|_| match rng.random_range(0..10) {
                    0..4 if tame => 0,
                    4..8 if tame => rng.random_range(0..10),
                    _ => rng.random(),
                })
                .collect();
            if rng.random() {
                m.recv(conn, data);
            } else {
                m.send(conn, data);
            }
        }
        m.close(conn);
    }
    // a header block of random bytes may say ":method", in frames that happen to be some
    let seen = m.seen();
    assert!(seen.len() < 3, "{seen:?}");
    assert_nothing_active(&m);
}
