//! The response side: gives each answer to the oldest command, and to nobody what is no answer.

use super::commands::{Command, Kind, AGGREGATE, ANY, BULK, INTEGER, SIMPLE};
use super::replies::Step as Taken;
use super::{Connection, Outcome};
use crate::exchange::{Sink, Verdict};

impl Connection {
    #[inline(always)]
    pub(super) fn response_data(
        &mut self,
        ts_ns: u64,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        if self.turns.is_lost() {
            return Verdict::Continue;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.reply.take(rest) {
                Taken::More => break,
                Taken::Done(used) => {
                    rest = rest.get(used..).unwrap_or_default();
                    let verdict = self.answer(ts_ns, sink);
                    if verdict != Verdict::Continue {
                        return verdict;
                    }
                    if self.turns.is_lost() {
                        break;
                    }
                }
                Taken::Bad => return self.no_answer(sink),
            }
        }
        Verdict::Continue
    }

    pub(super) fn response_gap(&mut self, ts_ns: u64, count: u64, sink: &mut dyn Sink) -> Verdict {
        if self.turns.is_lost() {
            return Verdict::Continue;
        }
        match self.reply.gap(count) {
            Taken::More => Verdict::Continue,
            Taken::Done(_) => self.answer(ts_ns, sink),
            Taken::Bad => {
                self.lose(true, sink);
                Verdict::Continue
            }
        }
    }

    /// An answer is whole, or something that looks like one.
    #[inline(always)]
    fn answer(&mut self, ts_ns: u64, sink: &mut dyn Sink) -> Verdict {
        let Some(pending) = self.queue.front() else {
            return self.answer_of_nobody(sink);
        };
        let command = pending.of.command;
        let plain = command.kind == Kind::Plain
            && self.turns.is_sure()
            && self.certain
            && !(self.subscriber || self.monitor || self.queued.is_some())
            && self.reply.kind != b'>';
        if plain {
            let bytes = self.reply.bytes;
            let outcome = Outcome {
                end_ns: ts_ns,
                bytes,
                error: None,
            };
            self.finish(outcome, sink);
            return Verdict::Continue;
        }
        self.answer_of_kind(ts_ns, command, sink)
    }

    /// Where it takes more to say what it is.
    #[inline(never)]
    fn answer_of_kind(
        &mut self,
        ts_ns: u64,
        command: &'static Command,
        sink: &mut dyn Sink,
    ) -> Verdict {
        let kind = command.kind;
        let confirmed = matches!(kind, Kind::Subscribe | Kind::Unsubscribe);
        // of what may be asked by a subscriber, whom nobody has seen subscribe
        let unseen = !self.turns.is_sure() && command.name == "PING";
        let may_be_push = self.subscriber || confirmed || unseen;
        let array = self.reply.kind == b'*';
        if self.reply.kind == b'>' || (array && may_be_push && is_push(self.reply.word())) {
            self.pushed(ts_ns, sink);
            return Verdict::Continue;
        }
        if self.is_noise() {
            return Verdict::Continue;
        }
        if array && self.reply.word() == b"REPLCONF" {
            return Verdict::NotMine;
        }
        let queued = self.reply.word() == b"QUEUED" && self.reply.kind == b'+';
        let fits = queued || fits(self.reply.kind) & command.answers != 0;
        if !fits && !self.certain {
            return Verdict::NotMine;
        }
        self.certain = true;
        if !fits && !self.turns.is_sure() {
            self.lose(true, sink);
            return Verdict::Continue;
        }
        self.turns.answered();
        let bytes = std::mem::take(&mut self.confirmed_bytes).saturating_add(self.reply.bytes);
        let more = self.queue.front().map_or(0, |pending| pending.of.more);
        let outcome = Outcome {
            end_ns: ts_ns,
            bytes,
            error: None,
        };
        self.finish(outcome, sink);
        self.answered(kind, more, queued);
        Verdict::Continue
    }

    /// What an answer changes.
    fn answered(&mut self, kind: Kind, more: u32, queued: bool) {
        let good = self.reply.code().is_empty();
        match (kind, &mut self.queued) {
            (_, Some(count)) if queued => {
                *count = count.saturating_add(1);
                if kind == Kind::Select {
                    self.queued_select = Some(more);
                }
            }
            (Kind::Multi, transaction) if good && transaction.is_none() => *transaction = Some(0),
            (Kind::Exec, _) => {
                let selected = self.queued_select.take();
                if let (b'*', Some(index)) = (self.reply.kind, selected) {
                    self.select(index);
                }
                self.queued = None;
            }
            (Kind::Discard, _) if good => {
                self.queued = None;
                self.queued_select = None;
            }
            (Kind::Select, None) if good => self.select(more),
            (Kind::Monitor, None) if good => self.monitor = true,
            (Kind::Reset, _) if good => {
                self.queued = None;
                self.queued_select = None;
                self.monitor = false;
                self.subscriber = false;
                self.subscribed = [0; 3];
                self.select(0);
            }
            _ => {}
        }
    }

    fn select(&mut self, index: u32) {
        self.namespace.clear();
        if index != u32::MAX {
            self.namespace.add(index.to_string().as_bytes());
        }
    }

    /// Nothing is in flight: a push, or the answer to what nobody saw.
    #[cold]
    fn answer_of_nobody(&mut self, sink: &mut dyn Sink) -> Verdict {
        if self.is_noise() {
            return Verdict::Continue;
        }
        let word = self.reply.word();
        match self.reply.kind {
            b'>' => self.pushed(0, sink),
            b'*' if word == b"REPLCONF" => return Verdict::NotMine,
            b'*' if self.subscriber && is_push(word) => self.pushed(0, sink),
            b'*' if matches!(word, b"message" | b"pmessage" | b"smessage") => {
                self.subscriber = true;
            }
            _ if !self.turns.is_sure() => self.lose(true, sink),
            _ if !self.certain => return Verdict::NotMine,
            // CLIENT REPLY did not succeed, and there are more answers than commands from there on
            _ if self.silence != super::Silence::On => {
                self.silence = super::Silence::On;
                self.lose(true, sink);
            }
            _ => {}
        }
        Verdict::Continue
    }

    /// A line of MONITOR: "1339518083.107412 [0 127.0.0.1:60866] ...". Where one is, more will come.
    fn is_noise(&mut self) -> bool {
        let word = self.reply.word();
        let number = word.split(|byte| *byte == b' ').next().unwrap_or_default();
        let of_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let noise = self.reply.kind == b'+'
            && number.len() >= 16
            && number.iter().all(of_number)
            && word
                .get(number.len()..)
                .is_some_and(|rest| rest.starts_with(b" ["));
        self.monitor |= noise;
        noise
    }

    /// A message, or a confirmation of what was asked for.
    fn pushed(&mut self, ts_ns: u64, sink: &mut dyn Sink) {
        let mut word = [0; 16];
        let Some(word) = word.get_mut(..self.reply.word().len()) else {
            return;
        };
        word.copy_from_slice(self.reply.word());
        word.make_ascii_uppercase();
        let total = self.reply.integer.and_then(|n| u64::try_from(n).ok());
        let [channels, patterns, shards] = &mut self.subscribed;
        let total = total.unwrap_or_default();
        let before = match &*word {
            b"SUBSCRIBE" | b"UNSUBSCRIBE" => {
                std::mem::replace(channels, total.saturating_sub(*patterns))
            }
            b"PSUBSCRIBE" | b"PUNSUBSCRIBE" => {
                std::mem::replace(patterns, total.saturating_sub(*channels))
            }
            b"SSUBSCRIBE" | b"SUNSUBSCRIBE" => std::mem::replace(shards, total),
            _ => return,
        };
        if self.reply.kind == b'*' {
            self.subscriber = self.subscribed != [0; 3];
        }
        let Some(pending) = self.queue.front() else {
            return;
        };
        if pending.of.command.name.as_bytes() != word {
            return;
        }
        if pending.of.more == 0 {
            // UNSUBSCRIBE from all: as many as there are, and one if there are none
            pending.of.more = u32::try_from(before.max(1)).unwrap_or(u32::MAX);
        }
        pending.of.more -= 1;
        self.certain = true;
        self.confirmed_bytes = self.confirmed_bytes.saturating_add(self.reply.bytes);
        if pending.of.more == 0 {
            let outcome = Outcome {
                end_ns: ts_ns,
                bytes: std::mem::take(&mut self.confirmed_bytes),
                error: None,
            };
            self.finish(outcome, sink);
        }
    }

    /// What came is no answer.
    #[cold]
    fn no_answer(&mut self, sink: &mut dyn Sink) -> Verdict {
        if self.turns.is_sure() {
            return Verdict::NotMine;
        }
        self.lose(true, sink);
        Verdict::Continue
    }
}

fn is_push(word: &[u8]) -> bool {
    matches!(word, b"message" | b"pmessage" | b"smessage") || word.ends_with(b"subscribe")
}

/// The kinds that an answer of this type is of.
fn fits(kind: u8) -> u8 {
    match kind {
        b'+' => SIMPLE,
        b':' => INTEGER,
        b'$' | b'=' | b',' | b'(' | b'#' => BULK,
        b'*' | b'%' | b'~' => AGGREGATE,
        _ => ANY, // errors and null
    }
}
