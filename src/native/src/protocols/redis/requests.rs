//! The request side: finds commands and puts them into the queue.

use super::building::{number, Silence};
use super::commands::Kind;
use super::detect;
use super::replies::{self, line_end};
use super::{told, Asked, Connection};
use crate::exchange::{Detail, Exchange, Sink, Verdict, Which};
use crate::protocols::few::Few;
use crate::protocols::turns::Piece;
use crate::protocols::Detect;

/// Inline commands are kept up to this length.
const MAX_INLINE: usize = 2048;
/// A line that announces an array or a string is shorter than this.
const MAX_LINE: usize = 32;

/// Where the request side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Between commands, or in the line that announces an array.
    Between,
    /// In the line that announces an argument.
    Announced,
    /// In an argument; so many bytes of it and of its line's end are to come.
    Argument(u64),
    /// In an inline command of which so many bytes came already.
    Inline(u64),
    /// What came is no command: the server says so and closes.
    Dead,
    /// FIN.
    Over,
}

impl Connection {
    #[inline(always)]
    pub(super) fn request_data(
        &mut self,
        ts_ns: u64,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        let between = self.asking == Asking::Between && self.line.is_empty();
        let begins = || matches!(detect::array(bytes), Detect::Request | Detect::More);
        let waiting = !self.queue.is_empty();
        match self.turns.request(ts_ns, waiting, between, begins) {
            Piece::Commands => {}
            Piece::Fresh => self.reply.reset(),
            Piece::Noise => return Verdict::Continue,
        }
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let used = match self.asking {
                Asking::Argument(left) => self.argument(left, rest),
                Asking::Between if self.line.is_empty() && first != b'*' => {
                    self.building.start_ns = ts_ns;
                    self.asking = Asking::Inline(0);
                    continue;
                }
                Asking::Between | Asking::Announced => match self.announcement(ts_ns, rest) {
                    Some(used) => used,
                    None => return self.no_command(sink),
                },
                Asking::Inline(before) => match self.inline(before, rest, sink) {
                    Ok(used) => used,
                    Err(verdict) => return verdict,
                },
                Asking::Dead | Asking::Over => break,
            };
            rest = rest.get(used..).unwrap_or_default();
            if self.asking == Asking::Announced && self.building.left() == 0 {
                self.asking = Asking::Between;
                let verdict = self.command(ts_ns, true, sink);
                if verdict != Verdict::Continue {
                    return verdict;
                }
            }
        }
        Verdict::Continue
    }

    /// A line that says how many arguments or bytes follow; `None` if it doesn't.
    #[inline(always)]
    fn announcement(&mut self, ts_ns: u64, rest: &[u8]) -> Option<usize> {
        let announced = self.asking == Asking::Announced;
        if !announced && self.line.is_empty() {
            self.building.begin(ts_ns);
        }
        if self.line.is_empty() {
            if let Some((number, used)) = replies::announced(rest) {
                self.building.bytes += used as u64;
                let kind = rest.first().copied().unwrap_or_default();
                return self.begins(announced, kind, number).then_some(used);
            }
        }
        let Some(end) = line_end(rest) else {
            self.line.add(rest);
            self.building.bytes += rest.len() as u64;
            return (self.line.get().len() < MAX_LINE).then_some(rest.len());
        };
        let used = end + 1;
        self.building.bytes += used as u64;
        if !self.line.is_empty() {
            self.line.add(&rest[..end]);
            let line = std::mem::replace(&mut self.line, Few::EMPTY);
            return self.announced(announced, line.get()).then_some(used);
        }
        self.announced(announced, &rest[..end]).then_some(used)
    }

    #[cold]
    fn announced(&mut self, argument: bool, line: &[u8]) -> bool {
        match line {
            [kind, digits @ .., b'\r'] => match number(digits) {
                Some(number) => self.begins(argument, *kind, number),
                None => !argument && line == b"*-1\r", // Redis ignores it
            },
            _ => false,
        }
    }

    /// An argument of so many bytes, or a command of so many arguments.
    #[inline(always)]
    fn begins(&mut self, argument: bool, kind: u8, number: u64) -> bool {
        if argument && kind == b'$' {
            self.building.open(number, &mut self.queue);
            self.asking = Asking::Argument(number.saturating_add(2));
            return true;
        }
        if number > 0 && kind == b'*' {
            self.building.expect(number);
            self.asking = Asking::Announced;
        }
        kind == b'*' && !argument
    }

    #[inline(always)]
    fn argument(&mut self, left: u64, rest: &[u8]) -> usize {
        let used = left.min(rest.len() as u64) as usize;
        let content = left.saturating_sub(2).min(used as u64) as usize;
        self.building.piece(&rest[..content], &mut self.queue);
        self.building.bytes += used as u64;
        self.argument_left(left - used as u64);
        used
    }

    #[inline(always)]
    fn argument_left(&mut self, left: u64) {
        if left == 0 {
            self.building.close(&mut self.queue);
            self.asking = Asking::Announced;
        } else {
            self.asking = Asking::Argument(left);
        }
    }

    #[cold]
    fn inline(&mut self, before: u64, rest: &[u8], sink: &mut dyn Sink) -> Result<usize, Verdict> {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            let room = MAX_INLINE.saturating_sub(self.inline.len());
            self.inline.extend_from_slice(&rest[..rest.len().min(room)]);
            self.asking = Asking::Inline(before + rest.len() as u64);
            return Ok(rest.len());
        };
        self.asking = Asking::Between;
        let mut line = std::mem::take(&mut self.inline);
        let room = MAX_INLINE.saturating_sub(line.len());
        line.extend_from_slice(&rest[..end.min(room)]);
        let count = words(&line).count() as u64;
        if count == 0 {
            return Ok(end + 1); // Redis ignores it
        }
        let start_ns = self.building.start_ns;
        self.building.begin(start_ns);
        self.building.expect(count);
        self.building.bytes = before + end as u64 + 1;
        for word in words(&line) {
            self.building.open(word.len() as u64, &mut self.queue);
            self.building.piece(word, &mut self.queue);
            if !self.building.close(&mut self.queue) && !self.certain {
                return Err(Verdict::NotMine);
            }
        }
        line.clear();
        self.inline = line;
        match self.command(start_ns, false, sink) {
            Verdict::Continue => Ok(end + 1),
            verdict => Err(verdict),
        }
    }

    /// A command is whole.
    #[inline(always)]
    fn command(&mut self, end_ns: u64, array: bool, sink: &mut dyn Sink) -> Verdict {
        let command = self.building.command;
        if self.turns.is_lost() {
            self.queue.cut(0);
            sink.abandoned(Which::Untold);
            return Verdict::Continue;
        }
        self.certain |= array && !command.name.is_empty();
        if command.kind == Kind::Plain && self.silence == Silence::On {
            return self.enqueue(sink);
        }
        self.command_of_kind(end_ns, command.kind, sink)
    }

    #[inline(always)]
    fn enqueue(&mut self, sink: &mut dyn Sink) -> Verdict {
        let building = &self.building;
        let (start_ns, bytes) = (building.start_ns, building.bytes);
        let (command, operation) = (building.command, building.operation);
        let asked = Asked { command, more: 0 };
        if !self.queue.push(start_ns, bytes, asked, operation) {
            sink.abandoned(Which::Untold);
            self.lose(true, sink);
        }
        Verdict::Continue
    }

    /// One that changes what follows, or that has no answer.
    #[inline(never)]
    fn command_of_kind(&mut self, end_ns: u64, kind: Kind, sink: &mut dyn Sink) -> Verdict {
        let argument = self.queue.text().rsplit(|byte| *byte == b' ').next();
        let argument = argument.unwrap_or_default();
        let more = match kind {
            Kind::Sync => return Verdict::Ended,
            Kind::Replconf if argument.eq_ignore_ascii_case(b"ACK") => return Verdict::NotMine,
            Kind::Select => {
                let index = number(argument).and_then(|index| u32::try_from(index).ok());
                Some(index.unwrap_or(u32::MAX))
            }
            Kind::Subscribe | Kind::Unsubscribe => {
                Some(u32::try_from(self.building.arguments()).unwrap_or(u32::MAX))
            }
            _ => None,
        };
        let asked = self.building.silence;
        let verdict = self.enqueue(sink);
        if let (Some(pending), Some(more)) = (self.queue.back(), more) {
            pending.of.more = more;
        }
        let silent = match (asked, self.silence) {
            (Some(Silence::On), _) => {
                self.silence = Silence::On;
                false
            }
            (Some(Silence::Skip), Silence::On) => {
                self.silence = Silence::Skip;
                true
            }
            (Some(Silence::Off), _) => {
                self.silence = Silence::Off;
                true
            }
            (_, Silence::Skip) => {
                self.silence = Silence::On;
                true
            }
            (_, now) => now == Silence::Off,
        };
        if silent {
            self.finish_unanswered(end_ns, sink);
        }
        verdict
    }

    /// The newest command will have no answer.
    fn finish_unanswered(&mut self, end_ns: u64, sink: &mut dyn Sink) {
        let Some((pending, operation, text)) = self.queue.newest() else {
            return;
        };
        if pending.of.command.kind == Kind::Select {
            self.namespace.clear(); // nobody will know whether it succeeded
        }
        let namespace = if self.queue.len() == 1 {
            self.namespace.get()
        } else {
            b""
        };
        if self.certain {
            sink.exchange(&Exchange {
                start_ns: pending.start_ns,
                end_ns,
                error: None,
                detail: Detail::Db(told(pending, operation, text, namespace)),
            });
        } else {
            sink.abandoned(Which::Untold);
        }
        self.queue.pop_newest();
    }

    /// What came begins no command.
    #[cold]
    fn no_command(&mut self, sink: &mut dyn Sink) -> Verdict {
        if !self.turns.is_sure() {
            self.lose(false, sink);
            return Verdict::Continue;
        }
        self.queue.cut(0);
        self.asking = Asking::Dead;
        if self.certain {
            Verdict::Continue
        } else {
            Verdict::NotMine
        }
    }

    pub(super) fn request_gap(&mut self, ts_ns: u64, count: u64, sink: &mut dyn Sink) -> Verdict {
        match self.asking {
            Asking::Argument(left) if count <= left => {
                self.building.bytes = self.building.bytes.saturating_add(count);
                // of the line's end there is nothing to know
                if left <= 2 || self.building.hole(&mut self.queue) {
                    self.argument_left(left - count);
                    if self.asking == Asking::Announced && self.building.left() == 0 {
                        self.asking = Asking::Between;
                        return self.command(ts_ns, true, sink);
                    }
                    return Verdict::Continue;
                }
            }
            Asking::Dead | Asking::Over => return Verdict::Continue,
            _ => {}
        }
        self.lose(false, sink);
        Verdict::Continue
    }
}

/// The arguments of an inline command. What is in quotes is one; what is escaped in it stays as it is.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let (&first, inside) = rest.split_first()?;
        let mut escaped = false;
        let word = if matches!(first, b'"' | b'\'') {
            let end = inside.iter().position(|&byte| {
                let ends = byte == first && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            let end = end.unwrap_or(inside.len());
            rest = inside.get(end + 1..).unwrap_or_default();
            &inside[..end]
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace);
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            word
        };
        Some(word)
    })
}
