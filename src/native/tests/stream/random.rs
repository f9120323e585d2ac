//! Invariant: what is found in a conversation does not depend on how it is cut, on how the two ways interleave,
//! nor on how late each way's records are written. A failure names the seed of its round.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use _native::stream::{Closed, Direction};

use crate::machine::*;

const ROUNDS: u64 = 1000;

/// What one side says before the other goes on; `opaque` bytes at its end need not be captured.
struct Turn {
    asks: bool,
    bytes: Vec<u8>,
    opaque: usize,
}

fn turn(asks: bool, head: &str, opaque: usize) -> Turn {
    let mut bytes = head.as_bytes().to_vec();
    bytes.resize(bytes.len() + opaque, b'#');
    Turn {
        asks,
        bytes,
        opaque,
    }
}

fn conversation() -> Vec<Turn> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nHTTP/\r\nc;x=\"y\"\r\n1.1 200 OK\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let pipelined = format!("{}HEAD /head HTTP/1.1\r\n\r\n{}", get("/p/1"), get("/p/2"));
    let answers = format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n{OK}");
    vec![
        turn(true, &get("/a"), 0),
        turn(false, OK, 0),
        turn(
            true,
            "POST /up HTTP/1.1\r\nContent-Length: 3000\r\n\r\n",
            3000,
        ),
        turn(false, "HTTP/1.1 204 No Content\r\n\r\n", 0),
        turn(true, &get("/chunked"), 0),
        turn(false, chunked, 0),
        turn(true, &pipelined, 0),
        turn(false, &answers, 0),
        turn(
            true,
            "PUT /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            0,
        ),
        turn(false, "HTTP/1.1 100 Continue\r\n\r\n", 0),
        turn(true, "GET / HTT", 0),
        turn(
            false,
            "HTTP/1.1 202 Accepted\r\nContent-Length: 2000\r\n\r\n",
            2000,
        ),
        turn(true, &get("/last"), 0),
        turn(false, "HTTP/1.1 200 OK\r\n\r\nuntil the end", 500),
    ]
}

/// Method, target, status, sizes.
fn expected(role: &str) -> Vec<String> {
    [
        "GET /a 200 0 2",
        "POST /up 204 3000 0",
        "GET /chunked 200 0 17",
        "GET /p/1 200 0 2",
        "HEAD /head 200 0 0",
        "GET /p/2 200 0 2",
        "PUT /c 202 9 2000",
        "GET /last 200 0 513",
    ]
    .map(|line| format!("{role} {line}"))
    .into()
}

/// A piece of a turn.
struct Piece {
    turn: usize,
    bytes: Vec<u8>,
    captured: usize,
}

/// One thread for each way: it moves a piece, and only then, perhaps much later, writes its record.
struct Thread {
    dir: Direction,
    pieces: Vec<Piece>,
    next: usize,
    unwritten: Option<Record>,
}

fn cut(rng: &mut SmallRng, turns: &[Turn], asks: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, turn) in turns.iter().enumerate().filter(|(_, t)| t.asks == asks) {
        let largest = *[1, 7, 50, 5000].choose(rng).expect("a size");
        let mut at = 0;
        while at < turn.bytes.len() {
            let len = rng.random_range(1..=largest).min(turn.bytes.len() - at);
            let bytes = turn.bytes[at..at + len].to_vec();
            let head = turn.bytes.len() - turn.opaque;
            let needed = head.saturating_sub(at).min(len);
            let captured = rng.random_range(needed..=len);
            pieces.push(Piece {
                turn: number,
                bytes,
                captured,
            });
            at += len;
        }
    }
    pieces
}

fn round(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let turns = conversation();
    let server: bool = rng.random();
    let (ask, answer) = if server { (Recv, Send) } else { (Send, Recv) };
    let kind = [Kind::Tcp, Kind::Unix][usize::from(rng.random_bool(0.2))];
    // how often a record is written at once; a unix socket's other way is not known, so nothing can be late there
    let prompt = if kind == Kind::Unix {
        1.0
    } else {
        *[0.05, 0.3, 0.9, 1.0].choose(&mut rng).expect("one")
    };
    let mut m = Machine::new();
    let conn = m.open(1, kind);
    let mut threads = [(ask, true), (answer, false)].map(|(dir, asks)| Thread {
        dir,
        pieces: cut(&mut rng, &turns, asks),
        next: 0,
        unwritten: None,
    });
    while threads
        .iter()
        .any(|t| t.next < t.pieces.len() || t.unwritten.is_some())
    {
        let i = rng.random_range(0..2);
        let others_turn = {
            let other = &threads[1 - i];
            other.pieces.get(other.next).map_or(usize::MAX, |p| p.turn)
        };
        let thread = &mut threads[i];
        if let Some(record) = &thread.unwritten {
            let moved = [0, 1].map(|dir| m.offset(conn, dir));
            let mut record = record.clone();
            if kind == Kind::Tcp {
                record.other_off = moved[1 - record.dir as usize];
            }
            m.deliver(&record);
            thread.unwritten = None;
        } else if let Some(piece) = thread.pieces.get(thread.next) {
            if piece.turn > others_turn {
                continue; // it is the other's turn
            }
            let mut record = m.happens(conn, thread.dir, &piece.bytes);
            record.data.truncate(piece.captured);
            thread.next += 1;
            if rng.random_bool(prompt) {
                m.deliver(&record);
            } else {
                thread.unwritten = Some(record);
            }
        }
    }
    m.ends(conn, Closed::Fin(answer));
    m.ends(conn, Closed::Gone(0));
    let role = if server { "server" } else { "client" };
    let seen: Vec<_> = m
        .lines()
        .iter()
        .map(|l| {
            let words = brief(l);
            format!("{words} {} {}", l.request_body_bytes, l.response_body_bytes)
        })
        .collect();
    assert_eq!(seen, expected(role), "seed {seed}, {prompt}");
    assert_eq!(m.counted(), seen.len() as u64, "seed {seed}");
    assert_eq!(m.streams.counters.out_of_order, 0, "seed {seed}");
}

#[test]
fn cuts_and_delays_change_nothing() {
    for seed in 0..ROUNDS {
        round(seed);
    }
}
