//! Records that come late, never, or after others were lost.

use _native::exchange::Role;
use _native::stream::Closed;

use crate::machine::*;

const POST: &str = "POST /p HTTP/1.1\r\nContent-Length: 5000\r\n\r\n";

/// One thread sends, another receives: the answer's record may be written before the question's.
#[test]
fn an_answer_told_before_its_question_waits_for_it() {
    for (ask, answer, role) in [(Send, Recv, "client"), (Recv, Send, "server")] {
        let mut m = Machine::new();
        let conn = m.tcp(1);
        for target in ["/first", "/second", "/third"] {
            let question = m.happens(conn, ask, get(target).as_bytes());
            let answer = m.happens(conn, answer, OK.as_bytes());
            m.deliver(&answer);
            assert!(m.seen().is_empty());
            m.deliver(&question);
            assert_eq!(m.seen(), [format!("{role} GET {target} 200")]);
        }
        assert_eq!(m.streams.counters.out_of_order, 0);
    }
}

#[test]
fn what_waits_is_released_in_order() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    let pipelined = format!("{}{}", get("/a"), get("/b"));
    let question = m.happens(conn, Send, pipelined.as_bytes());
    let answers: Vec<_> = [&OK[..20], &OK[20..], OK]
        .map(|piece| m.happens(conn, Recv, piece.as_bytes()))
        .into();
    for answer in &answers {
        m.deliver(answer);
    }
    m.passes(50);
    assert!(m.seen().is_empty());
    m.deliver(&question);
    assert_eq!(m.seen(), ["client GET /a 200", "client GET /b 200"]);
}

/// Each waits for the other, as each was told late: requests cannot follow their answers.
#[test]
fn two_threads_that_wait_for_each_other_are_not_held_up() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Client, "/zero");
    let mut b = m.happens(conn, Recv, b"");
    let mut a = m.happens(conn, Send, get("/a").as_bytes());
    let answer_a = OK.as_bytes();
    b.data = answer_a.to_vec();
    b.adv = b.data.len() as u64;
    m.unseen(conn, Recv, b.adv);
    a.other_off += b.adv;
    let c = m.happens(conn, Send, get("/c").as_bytes());
    b.other_off = c.off + c.adv;
    for record in [&a, &b, &c] {
        m.deliver(record);
    }
    m.recv(conn, OK);
    let expected = [
        "client GET /zero 200",
        "client GET /a 200",
        "client GET /c 200",
    ];
    assert_eq!(m.seen(), expected);
    assert_eq!(m.streams.counters.out_of_order, 0);
}

/// Splice out of a socket passes no hook.
#[test]
fn bytes_that_no_hook_sees_are_given_up_after_a_tenth_of_a_second() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, POST);
    m.unseen(conn, Recv, 5000);
    m.send(conn, OK);
    m.passes(90);
    assert!(m.seen().is_empty());
    m.passes(20);
    let line = m.lines().remove(0);
    assert_eq!(brief(&line), "server POST /p 200");
    assert_eq!(
        (line.request_body_bytes, line.response_body_bytes),
        (5000, 2)
    );
    m.exchange(conn, Role::Server, "/next");
    assert_eq!(m.seen(), ["server GET /next 200"]);
}

#[test]
fn a_hole_before_the_next_record_of_the_same_way_is_a_bodys_part() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, POST);
    m.unseen(conn, Recv, 4000);
    m.recv(conn, vec![b'x'; 1000]);
    m.send(conn, OK);
    assert_eq!(m.lines()[0].request_body_bytes, 5000);
}

#[test]
fn a_request_that_no_hook_sees_makes_nothing_and_hides_nothing() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/before");
    m.unseen(conn, Recv, 100);
    m.send(conn, OK);
    m.passes(150);
    m.exchange(conn, Role::Server, "/after");
    assert_eq!(
        m.seen(),
        ["server GET /before 200", "server GET /after 200"]
    );
}

#[test]
fn a_close_does_not_wait_for_what_never_comes() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, POST);
    m.unseen(conn, Recv, 5000);
    m.send(conn, OK);
    m.close(conn);
    assert_eq!(m.seen(), ["server POST /p 200"]);
    assert_eq!(m.streams.open_connections(), 0);
}

#[test]
fn more_than_can_be_held_is_passed_on() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, POST);
    m.unseen(conn, Recv, 5000);
    m.send(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..1000 {
        m.send(conn, "x");
    }
    m.exchange(conn, Role::Server, "/next");
    assert_eq!(m.seen(), ["server POST /p 200", "server GET /next 200"]);
}

#[test]
fn what_comes_twice_or_too_late_is_counted_and_passed_over() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    let question = m.happens(conn, Recv, get("/a").as_bytes());
    m.deliver(&question);
    m.deliver(&question);
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server GET /a 200"]);
    assert_eq!(m.streams.counters.out_of_order, 1);
    m.exchange(conn, Role::Server, "/b");
    assert_eq!(m.seen(), ["server GET /b 200"]);
}

/// The ring was full, the kernel side counted /lost itself and says so with its next record.
#[test]
fn what_was_counted_elsewhere_is_not_counted_here() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.recv(conn, get("/lost"));
    m.unseen(conn, Send, 2000);
    let mut next = m.happens(conn, Recv, get("/next").as_bytes());
    next.counted_elsewhere = true;
    m.deliver(&next);
    m.send(conn, OK);
    assert_eq!(m.seen(), ["server GET /next 200"]);
    assert_eq!((m.counted(), m.count("requests.abandoned")), (1, 1));
    let active = m.streams.aggregator.read_active();
    assert!(active.iter().all(|a| a.value == 0), "{active:?}");
}

#[test]
fn what_was_counted_elsewhere_is_not_counted_at_a_close() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/seen");
    m.recv(conn, get("/lost"));
    m.unseen(conn, Send, 2000);
    m.streams.close(conn, m.now_ns, Closed::Fin(Send), true);
    m.ends(conn, Closed::Gone(0));
    assert_eq!(m.seen(), ["server GET /seen 200"]);
    assert_eq!((m.counted(), m.count("requests.abandoned")), (1, 1));
    assert_eq!(m.streams.open_connections(), 0);
}

#[test]
fn records_lost_with_others_held_do_no_harm() {
    let mut m = Machine::new();
    let conn = m.tcp(1);
    m.exchange(conn, Role::Server, "/a");
    m.unseen(conn, Recv, 100);
    m.send(conn, OK);
    let mut next = m.happens(conn, Recv, get("/b").as_bytes());
    next.counted_elsewhere = true;
    m.deliver(&next);
    m.send(conn, OK);
    m.passes(150);
    m.exchange(conn, Role::Server, "/c");
    let seen = m.seen();
    assert_eq!(seen.first().map(String::as_str), Some("server GET /a 200"));
    assert_eq!(seen.last().map(String::as_str), Some("server GET /c 200"));
    assert_eq!(seen.len(), 3, "{seen:?}");
}
