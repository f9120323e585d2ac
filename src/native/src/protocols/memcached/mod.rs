//! memcached: its text protocol with the meta commands, and its binary one, as somebody who listens hears them.
//!
//! # Theory of operation
//!
//! A connection speaks one of the two, which its first byte tells. Either way commands enter a queue when they are
//! whole (a line, and the data behind it), and answers, which come in order, belong to the oldest; so pipelines need
//! no care.
//!
//! - What is asked not to be answered (`noreply`) ends as it is sent.
//! - What is answered only sometimes (the meta commands' `q`, the binary protocol's quiet opcodes) ends when something
//!   that was asked later has its answer, which says so by its opaque, its key, or by being one that the quiet command
//!   can't have.
//! - db.operation.name is the command as the text protocol has it, in the binary protocol too. Keys are told, and of
//!   all that is behind them that there is something: "set key ?".
//! - What was not found, not stored or exists already is a status, and no failure: that is what caches are for. How
//!   many items were found stands in db.response.returned_rows. ERROR, CLIENT_ERROR, SERVER_ERROR, and any other
//!   status of the binary protocol (by number) are failures.
//!
//! Nothing is told before an answer has come that the command can have, as lines like these are of other protocols too.
//! Getting lost: see `turns`.
//!
//! Memory: per connection `size_of::<Connection>()`, a line of `MAX_LINE`, and while commands are in flight what
//! `queue` bounds.

mod answers;
mod binary;
mod commands;
mod detect;
mod text;

pub use detect::detect;

use super::few::Few;
use super::queue::{self, Pending};
use super::turns::Turns;
use crate::exchange::{
    Db, DbSystem, Detail, End, ErrorKind, Exchange, Input, Parser, Query, Side, Sink, Verdict,
    Which,
};
use commands::{Answers, Asked, Command};

type Queue = queue::Queue<Asked>;

/// Lines are kept up to this length.
const MAX_LINE: usize = 2048;
/// Longest text of a command, in bytes.
const MAX_TEXT: usize = 1024;
/// What stands for the rest of one that is longer.
const MORE: &[u8] = b" ...";

/// The parser of one connection.
#[derive(Debug)]
pub struct Connection {
    queue: Queue,
    /// The request side of the text protocol or of the binary one.
    asking: Asking,
    answering: Answering,
    /// Lines that were cut, of the request and of the response.
    lines: [Vec<u8>; 2],
    /// The command under way: its first byte's time, its bytes.
    start_ns: u64,
    bytes: u64,
    /// Of the answer under way.
    answer_bytes: u64,
    rows: u64,
    turns: Turns,
    /// It is memcached.
    certain: bool,
    over: Option<Verdict>,
}

/// Where the request side is.
#[derive(Debug)]
enum Asking {
    /// Nothing has come yet: text or binary.
    Start,
    /// In a line.
    Line {
        bytes: u64,
    },
    /// In the data behind one; so many bytes of it and of its line's end are to come.
    Data {
        left: u64,
        noreply: bool,
        asked: Asked,
        operation: u8,
    },
    Binary(Box<binary::Packet>),
    /// FIN.
    Over,
}

/// Where the response side is.
#[derive(Debug)]
enum Answering {
    Line {
        bytes: u64,
    },
    /// In data; `last`: the answer ends with it.
    Data {
        left: u64,
        last: bool,
    },
    Binary(Box<binary::Packet>),
}

impl Connection {
    /// A connection of which nothing was seen yet. `old`: it may have had traffic before.
    pub fn new(old: bool) -> Self {
        Self {
            queue: Queue::default(),
            asking: Asking::Start,
            answering: Answering::Line { bytes: 0 },
            lines: [Vec::new(), Vec::new()],
            start_ns: 0,
            bytes: 0,
            answer_bytes: 0,
            rows: 0,
            turns: Turns::new(old),
            certain: false,
            over: None,
        }
    }

    /// Nobody knows any longer which command an answer is for. `framed`: the next command's beginning is known.
    #[cold]
    fn lose(&mut self, framed: bool, sink: &mut dyn Sink) -> Verdict {
        self.abandon_all(sink);
        self.turns.lose(framed);
        if !framed {
            self.queue.cut(0);
            self.lines[0].clear();
            self.asking = Asking::Start;
        }
        Verdict::Continue
    }

    /// A burst begins: nothing that was before it matters.
    fn refresh(&mut self) {
        self.lines[1].clear();
        self.answering = match self.asking {
            Asking::Binary(_) => Answering::Binary(Box::new(binary::Packet::new())),
            _ => Answering::Line { bytes: 0 },
        };
        self.answer_bytes = 0;
        self.rows = 0;
    }

    fn abandon_all(&mut self, sink: &mut dyn Sink) {
        while self.queue.pop() {
            sink.abandoned(Which::Untold);
        }
        self.refresh();
    }

    /// An answer is not one that its command can have.
    #[cold]
    fn unfit(&mut self, sink: &mut dyn Sink) -> Verdict {
        if self.certain {
            self.lose(true, sink)
        } else {
            Verdict::NotMine
        }
    }

    /// A command is whole.
    fn enqueue(
        &mut self,
        end_ns: u64,
        asked: Asked,
        operation: u8,
        noreply: bool,
        sink: &mut dyn Sink,
    ) -> Verdict {
        let closes = asked.command.answers == Answers::Close && asked.opcode == 0;
        if self.turns.is_lost() {
            self.queue.cut(0);
            sink.abandoned(Which::Untold);
        } else if !self.queue.push(self.start_ns, self.bytes, asked, operation) {
            sink.abandoned(Which::Untold);
            return self.lose(true, sink);
        } else if noreply || closes {
            let told = self.queue.newest().map(|(pending, name, text)| {
                exchange(pending, name, text, &Outcome::silent(pending, end_ns))
            });
            match told {
                Some(told) if self.certain || noreply => sink.exchange(&told),
                _ => sink.abandoned(Which::Untold),
            }
            self.queue.pop_newest();
        }
        Verdict::Continue
    }

    /// Tells the end of the oldest command.
    fn finish(&mut self, outcome: &Outcome<'_>, sink: &mut dyn Sink) {
        if let Some((pending, name, text)) = self.queue.oldest() {
            sink.exchange(&exchange(pending, name, text, outcome));
        }
        self.queue.pop();
    }

    /// The oldest command is answered.
    fn answered(&mut self, end_ns: u64, status: &[u8], failed: bool, sink: &mut dyn Sink) {
        self.certain = true;
        self.turns.answered();
        let outcome = Outcome {
            end_ns,
            status,
            failed,
            rows: std::mem::take(&mut self.rows),
            bytes: std::mem::take(&mut self.answer_bytes),
            error: None,
        };
        self.finish(&outcome, sink);
    }

    /// The oldest command will have no answer, as one that was asked later has one.
    fn pass(&mut self, end_ns: u64, sink: &mut dyn Sink) {
        if let Some((pending, name, text)) = self.queue.oldest() {
            let outcome = Outcome::silent(pending, end_ns);
            sink.exchange(&exchange(pending, name, text, &outcome));
        }
        self.queue.pop();
    }

    #[cold]
    fn give_up(&mut self, verdict: Verdict, sink: &mut dyn Sink) -> Verdict {
        // of a guess that was wrong nobody hears
        if self.certain || verdict != Verdict::NotMine {
            self.abandon_all(sink);
        }
        self.queue = Queue::default();
        self.lines = [Vec::new(), Vec::new()];
        self.over = Some(verdict);
        verdict
    }

    fn request_data(&mut self, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        let between = match &self.asking {
            Asking::Start | Asking::Line { bytes: 0 } => true,
            Asking::Binary(packet) => packet.is_between(),
            _ => false,
        };
        let waiting = !self.queue.is_empty();
        let begins = || detect::begins(bytes);
        match self.turns.request(ts_ns, waiting, between, begins) {
            super::turns::Piece::Commands => {}
            super::turns::Piece::Fresh => self.refresh(),
            super::turns::Piece::Noise => return Verdict::Continue,
        }
        if let (Asking::Start, Some(first)) = (&self.asking, bytes.first()) {
            if *first == binary::REQUEST {
                self.asking = Asking::Binary(Box::new(binary::Packet::new()));
                self.answering = Answering::Binary(Box::new(binary::Packet::new()));
            } else {
                self.asking = Asking::Line { bytes: 0 };
            }
        }
        match self.asking {
            Asking::Binary(_) => self.binary_request(ts_ns, bytes, sink),
            _ => self.text_request(ts_ns, bytes, sink),
        }
    }

    fn request_gap(&mut self, ts_ns: u64, count: u64, sink: &mut dyn Sink) -> Verdict {
        match &mut self.asking {
            Asking::Data { left, .. } if *left >= count => {
                *left -= count;
                self.bytes = self.bytes.saturating_add(count);
                self.text_request(ts_ns, b"", sink)
            }
            Asking::Binary(packet) if packet.left_of_value() >= count => {
                packet.skip(count);
                self.bytes = self.bytes.saturating_add(count);
                self.binary_request(ts_ns, b"", sink)
            }
            Asking::Over => Verdict::Continue,
            _ => self.lose(false, sink),
        }
    }

    fn response_data(&mut self, ts_ns: u64, bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        if self.turns.is_lost() {
            return Verdict::Continue;
        }
        match self.answering {
            Answering::Binary(_) => self.binary_response(ts_ns, bytes, sink),
            _ => self.text_response(ts_ns, bytes, sink),
        }
    }

    fn response_gap(&mut self, ts_ns: u64, count: u64, sink: &mut dyn Sink) -> Verdict {
        if self.turns.is_lost() {
            return Verdict::Continue;
        }
        match &mut self.answering {
            Answering::Data { left, .. } if *left >= count => {
                *left -= count;
                self.answer_bytes = self.answer_bytes.saturating_add(count);
                self.text_response(ts_ns, b"", sink)
            }
            Answering::Binary(packet) if packet.left_of_value() >= count => {
                packet.skip(count);
                self.binary_response(ts_ns, b"", sink)
            }
            _ => self.lose(true, sink),
        }
    }

    fn finish_all(&mut self, end_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        if !self.certain {
            self.abandon_all(sink);
        }
        while let Some(pending) = self.queue.front() {
            // who quits need not wait for the answer
            let proper = pending.of.command.answers == Answers::Close
                && matches!(error, ErrorKind::ConnectionClosed | ErrorKind::ProcessExit);
            let outcome = Outcome {
                end_ns,
                status: b"",
                failed: false,
                rows: 0,
                bytes: 0,
                error: (!proper).then_some(error),
            };
            self.finish(&outcome, sink);
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
struct Outcome<'a> {
    end_ns: u64,
    status: &'a [u8],
    failed: bool,
    /// Items that were found.
    rows: u64,
    bytes: u64,
    error: Option<ErrorKind>,
}

impl Outcome<'_> {
    /// Of a command that has no answer.
    fn silent(pending: &Pending<Asked>, end_ns: u64) -> Self {
        Self {
            end_ns: end_ns.max(pending.start_ns),
            status: b"",
            failed: false,
            rows: 0,
            bytes: 0,
            error: None,
        }
    }
}

fn exchange<'a>(
    pending: &Pending<Asked>,
    operation: &'a [u8],
    text: &'a [u8],
    outcome: &Outcome<'a>,
) -> Exchange<'a> {
    let finds = finds(pending.of.command) && !outcome.failed && outcome.error.is_none();
    Exchange {
        start_ns: pending.start_ns,
        end_ns: outcome.end_ns,
        error: outcome.error,
        detail: Detail::Db(Db {
            operation,
            query: if text.is_empty() {
                Query::None
            } else {
                Query::Command(text)
            },
            status: outcome.status,
            failed: outcome.failed,
            returned_rows: finds.then_some(outcome.rows),
            request_bytes: pending.bytes,
            response_bytes: outcome.bytes,
            ..Db::new(DbSystem::Memcached)
        }),
    }
}

/// Whether it looks for items.
fn finds(command: &Command) -> bool {
    command.answers == Answers::Values || command.name == "mg"
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        if matches!(input, Input::Data([]) | Input::Gap(0)) {
            return Verdict::Continue;
        }
        let verdict = match (side, input) {
            (Side::Request, Input::Data(bytes)) => self.request_data(ts_ns, bytes, sink),
            (Side::Request, Input::Gap(count)) => self.request_gap(ts_ns, count, sink),
            (Side::Response, Input::Data(bytes)) => self.response_data(ts_ns, bytes, sink),
            (Side::Response, Input::Gap(count)) => self.response_gap(ts_ns, count, sink),
        };
        self.turns.spoke(side, ts_ns);
        if verdict == Verdict::Continue {
            verdict
        } else {
            self.give_up(verdict, sink)
        }
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        if let Some(verdict) = self.over {
            return verdict;
        }
        let Some(error) = end.error() else {
            if end == End::Lost {
                self.turns.burst();
                return self.lose(false, sink);
            }
            self.queue.cut(0);
            self.asking = Asking::Over;
            return Verdict::Continue;
        };
        self.finish_all(ts_ns, error, sink);
        match end {
            End::Fin(_) => Verdict::Continue,
            _ => self.give_up(Verdict::Ended, sink),
        }
    }

    fn in_flight(&self) -> usize {
        self.queue.len()
    }
}

/// A number without a sign.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}
