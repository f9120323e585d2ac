//! Answers of the text protocol.

use super::commands::{Answers, Asked};
use super::text::{hash, keep};
use super::{number, Answering, Connection};
use crate::exchange::{Sink, Verdict};
use memchr::memchr;

/// What a line is to the command that it may be an answer of.
enum Line<'a> {
    /// The answer ends with it. "" is success.
    Last(&'a [u8]),
    /// So does the data behind it.
    LastData(u64),
    /// An item, with data.
    Item(u64),
    /// There will be more.
    More,
    /// From here on nothing is an answer.
    Stream,
    /// Not this command's.
    No,
}

impl Connection {
    pub(super) fn text_response(
        &mut self,
        ts_ns: u64,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        let mut rest = bytes;
        loop {
            match &mut self.answering {
                Answering::Data { left, last } => {
                    let used = (*left).min(rest.len() as u64);
                    *left -= used;
                    self.answer_bytes = self.answer_bytes.saturating_add(used);
                    rest = rest.get(used as usize..).unwrap_or_default();
                    if *left > 0 {
                        return Verdict::Continue;
                    }
                    let last = *last;
                    self.answering = Answering::Line { bytes: 0 };
                    if last {
                        self.answered(ts_ns, b"", false, sink);
                    }
                }
                Answering::Line { bytes: before } => {
                    if rest.is_empty() {
                        return Verdict::Continue;
                    }
                    let Some(end) = memchr(b'\n', rest) else {
                        *before += rest.len() as u64;
                        self.answer_bytes = self.answer_bytes.saturating_add(rest.len() as u64);
                        keep(&mut self.lines[1], rest);
                        return Verdict::Continue;
                    };
                    let cut = std::mem::take(before) > 0;
                    let (line, after) = (&rest[..end], &rest[end + 1..]);
                    rest = after;
                    self.answer_bytes = self.answer_bytes.saturating_add(end as u64 + 1);
                    let verdict = if cut {
                        let mut whole = std::mem::take(&mut self.lines[1]);
                        keep(&mut whole, line);
                        let verdict = self.answer(ts_ns, &whole, sink);
                        whole.clear();
                        self.lines[1] = whole;
                        verdict
                    } else {
                        self.answer(ts_ns, line, sink)
                    };
                    if verdict != Verdict::Continue || self.turns.is_lost() {
                        return verdict;
                    }
                }
                Answering::Binary(_) => return Verdict::Continue,
            }
        }
    }

    /// A line of the server's.
    fn answer(&mut self, ts_ns: u64, line: &[u8], sink: &mut dyn Sink) -> Verdict {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let code = first_word(line);
        loop {
            let Some(pending) = self.queue.front() else {
                return self.answer_of_nobody(sink);
            };
            let (asked, rows) = (&pending.of, self.rows);
            let found = what(asked, code, line);
            if asked.quiet && (matches!(found, Line::No) || !may_answer(asked, code, line)) {
                self.pass(ts_ns, sink);
                continue;
            }
            match found {
                Line::Last(status) => {
                    let failed = matches!(status, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR");
                    if code == b"HD" {
                        self.rows = 1;
                    }
                    self.answered(ts_ns, status, failed, sink);
                }
                Line::LastData(len) => {
                    self.rows = rows + 1;
                    self.answering = Answering::Data {
                        left: len.saturating_add(2),
                        last: true,
                    };
                }
                Line::Item(len) => {
                    self.rows = rows + 1;
                    self.answering = Answering::Data {
                        left: len.saturating_add(2),
                        last: false,
                    };
                }
                Line::More => {}
                Line::Stream => {
                    self.answered(ts_ns, b"", false, sink);
                    return Verdict::Ended;
                }
                Line::No => return self.unfit(sink),
            }
            return Verdict::Continue;
        }
    }

    /// Nothing is in flight.
    pub(super) fn answer_of_nobody(&mut self, sink: &mut dyn Sink) -> Verdict {
        self.answer_bytes = 0;
        if !self.turns.is_sure() {
            self.lose(true, sink)
        } else if self.certain {
            Verdict::Continue
        } else {
            Verdict::NotMine
        }
    }
}

/// The answer to a quiet command, and not to one behind it: not what it keeps to itself, and with its opaque.
fn may_answer(asked: &Asked, code: &[u8], line: &[u8]) -> bool {
    let silent: &[&[u8]] = match asked.command.name {
        "mg" => &[b"EN"],
        "md" => &[b"HD", b"NF"],
        _ => &[b"HD"],
    };
    let words = line.split(|byte| *byte == b' ').skip(1);
    let opaque = words.filter_map(|word| word.strip_prefix(b"O")).next();
    !silent.contains(&code) && (is_error(code) || opaque.map_or(0, hash) == asked.opaque)
}

fn is_error(code: &[u8]) -> bool {
    matches!(code, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR")
}

fn first_word(line: &[u8]) -> &[u8] {
    let end = memchr(b' ', line).unwrap_or(line.len());
    &line[..end]
}

fn what<'a>(asked: &Asked, code: &'a [u8], line: &[u8]) -> Line<'a> {
    if is_error(code) {
        return Line::Last(code);
    }
    let word = |at: usize| line.split(|byte| *byte == b' ').nth(at);
    match (asked.command.answers, code) {
        (Answers::Values, b"VALUE") => match word(3).and_then(number) {
            Some(len) => Line::Item(len),
            None => Line::No,
        },
        (Answers::Values | Answers::Lines, b"END")
        | (Answers::Stats, b"END" | b"RESET" | b"OK")
        | (Answers::Stored, b"STORED")
        | (Answers::Deleted, b"DELETED")
        | (Answers::Touched, b"TOUCHED")
        | (Answers::Version, b"VERSION")
        | (Answers::Ok | Answers::Lines, b"OK")
        | (Answers::MetaEnd, b"MN")
        | (Answers::MetaDebug, b"ME" | b"EN")
        | (Answers::Lines, b"EN")
        | (Answers::Meta, b"HD" | b"EN") => Line::Last(b""),
        (Answers::Stored, b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND")
        | (Answers::Number | Answers::Deleted | Answers::Touched, b"NOT_FOUND")
        | (Answers::Meta, b"NF" | b"NS" | b"EX")
        | (
            Answers::Ok | Answers::Lines,
            b"BUSY" | b"BADCLASS" | b"NOSPARE" | b"NOTFULL" | b"UNSAFE" | b"SAME",
        ) => Line::Last(code),
        (Answers::Number, digits)
            if digits.iter().all(u8::is_ascii_digit) && !digits.is_empty() =>
        {
            Line::Last(b"")
        }
        (Answers::Meta, b"VA") => match word(1).and_then(number) {
            Some(len) => Line::LastData(len),
            None => Line::No,
        },
        (Answers::Stats, b"STAT") => Line::More,
        (Answers::Lines, code) if code.starts_with(b"key=") || code == b"mg" => Line::More,
        (Answers::Watch, b"OK") => Line::Stream,
        _ => Line::No,
    }
}
