//! Commands of the text protocol: a line each, and data behind some of them.

use super::commands::{find, Asked, Keys};
use super::{number, Asking, Connection, MAX_LINE, MAX_TEXT, MORE};
use crate::exchange::{Sink, Verdict};
use memchr::memchr;

/// Longer keys are refused, and what follows is then a line.
const MAX_KEY: usize = 250;
/// Longer words are no command's name.
const MAX_NAME: usize = 32;

impl Connection {
    pub(super) fn text_request(
        &mut self,
        ts_ns: u64,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        let mut rest = bytes;
        loop {
            match &mut self.asking {
                Asking::Data { left, .. } => {
                    let used = (*left).min(rest.len() as u64);
                    *left -= used;
                    self.bytes = self.bytes.saturating_add(used);
                    rest = rest.get(used as usize..).unwrap_or_default();
                    if *left > 0 {
                        return Verdict::Continue;
                    }
                    let asking = std::mem::replace(&mut self.asking, Asking::Line { bytes: 0 });
                    if let Asking::Data {
                        noreply,
                        asked,
                        operation,
                        ..
                    } = asking
                    {
                        let verdict = self.enqueue(ts_ns, asked, operation, noreply, sink);
                        if verdict != Verdict::Continue {
                            return verdict;
                        }
                    }
                }
                Asking::Line { bytes: before } => {
                    if rest.is_empty() {
                        return Verdict::Continue;
                    }
                    let before = *before;
                    if before == 0 {
                        self.start_ns = ts_ns;
                    }
                    let Some(end) = memchr(b'\n', rest) else {
                        keep(&mut self.lines[0], rest);
                        self.asking = Asking::Line {
                            bytes: before + rest.len() as u64,
                        };
                        return Verdict::Continue;
                    };
                    let (line, after) = (&rest[..end], &rest[end + 1..]);
                    rest = after;
                    self.bytes = before + end as u64 + 1;
                    self.asking = Asking::Line { bytes: 0 };
                    let verdict = if before == 0 {
                        self.command(ts_ns, line, sink)
                    } else {
                        let mut whole = std::mem::take(&mut self.lines[0]);
                        keep(&mut whole, line);
                        let verdict = self.command(ts_ns, &whole, sink);
                        whole.clear();
                        self.lines[0] = whole;
                        verdict
                    };
                    if verdict != Verdict::Continue {
                        return verdict;
                    }
                }
                _ => return Verdict::Continue,
            }
        }
    }

    /// A line of the client's.
    fn command(&mut self, ts_ns: u64, line: &[u8], sink: &mut dyn Sink) -> Verdict {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut words = line
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let Some(name) = words.next() else {
            return self.enqueue_unknown(ts_ns, sink);
        };
        let command = find(name);
        if command.name.is_empty() {
            let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            if name.len() > MAX_NAME || !name.iter().all(of_name) {
                return self.enqueue_unknown(ts_ns, sink);
            }
        }
        self.queue.write(name);
        let (mut asked, mut noreply) = (
            Asked {
                command,
                opaque: 0,
                opcode: 0,
                quiet: false,
            },
            false,
        );
        let meta = name.len() == 2;
        let mut data = None;
        // values in a row are told as one
        let mut told = false;
        let mut fits = true;
        for (at, word) in (1..).zip(words) {
            let key = match command.keys {
                Keys::None => false,
                Keys::First => at == 1,
                Keys::All => true,
                Keys::AllButFirst => at > 1,
            };
            if key {
                fits &= word.len() <= MAX_KEY;
                self.tell(word);
                told = false;
                continue;
            }
            if !told {
                self.tell(b"?");
                told = true;
            }
            if command.data_at > 0 && at == usize::from(command.data_at) {
                data = number(word);
            }
            noreply = word == b"noreply";
            if meta {
                asked.quiet |= word == b"q";
                if let [b'O', opaque @ ..] = word {
                    asked.opaque = hash(opaque);
                }
            }
        }
        let operation = name.len() as u8;
        match data.filter(|_| fits) {
            Some(len) => {
                self.asking = Asking::Data {
                    left: len.saturating_add(2),
                    noreply,
                    asked,
                    operation,
                };
                Verdict::Continue
            }
            None => self.enqueue(ts_ns, asked, operation, noreply, sink),
        }
    }

    /// A line that is no command: the server will say so.
    fn enqueue_unknown(&mut self, ts_ns: u64, sink: &mut dyn Sink) -> Verdict {
        if !self.certain {
            return Verdict::NotMine;
        }
        let asked = Asked {
            command: find(b""),
            opaque: 0,
            opcode: 0,
            quiet: false,
        };
        self.enqueue(ts_ns, asked, 0, false, sink)
    }

    /// Adds a word to the text of the command under way.
    pub(super) fn tell(&mut self, word: &[u8]) {
        let len = self.queue.text().len();
        if self.queue.text().ends_with(MORE) {
            return;
        }
        if len + 1 + word.len() + MORE.len() > MAX_TEXT {
            self.queue.write(MORE);
            return;
        }
        self.queue.write(b" ");
        self.queue.write(word);
    }
}

/// Keeps what there is room for.
pub(super) fn keep(line: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_LINE.saturating_sub(line.len());
    line.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Never 0, which is that of none.
pub(super) fn hash(opaque: &[u8]) -> u32 {
    let start = 0x811c_9dc5u32;
    let hashed = opaque.iter().fold(start, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hashed | 1
}
