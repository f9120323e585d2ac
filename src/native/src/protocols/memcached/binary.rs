//! The binary protocol, which memcached has deprecated and clients still speak.
//!
//! ```text
//!  0 magic (0x80 asks, 0x81 answers)  1 opcode  2 key length  4 extras length  5 0
//!  6 status (of an answer)  8 body length  12 opaque  16 CAS  24 extras | key | value
//! ```

use super::commands::{of_opcode, Answers, Asked, UNKNOWN};
use super::{Answering, Asking, Connection, Few};
use crate::exchange::{Sink, Verdict};

/// The first byte of what a client says.
pub(super) const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
const HEADER: usize = 24;
/// Longer keys are none.
const MAX_KEY: usize = 250;

/// A packet that comes in pieces. The value is counted, not kept.
#[derive(Debug)]
pub(super) struct Packet {
    head: Few<HEADER>,
    key: Few<MAX_KEY>,
    extras_left: u64,
    key_left: u64,
    left: u64,
}

/// What stands in a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    magic: u8,
    opcode: u8,
    key: u16,
    extras: u8,
    status: u16,
    body: u32,
    opaque: u32,
}

impl Header {
    /// `None` where it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let header = Self {
            magic: head[0],
            opcode: head[1],
            key: u16::from_be_bytes([head[2], head[3]]),
            extras: head[4],
            status: u16::from_be_bytes([head[6], head[7]]),
            body: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            opaque: u32::from_be_bytes([head[12], head[13], head[14], head[15]]),
        };
        let before_value = u32::from(header.key) + u32::from(header.extras);
        let fine =
            head[5] == 0 && usize::from(header.key) <= MAX_KEY && before_value <= header.body;
        fine.then_some(header)
    }

    /// A client may begin with it.
    pub(super) fn asks(self) -> bool {
        self.magic == REQUEST && self.status == 0 && of_opcode(self.opcode).is_some()
    }

    fn whole(self) -> u64 {
        HEADER as u64 + u64::from(self.body)
    }
}

impl Packet {
    pub(super) const fn new() -> Self {
        Self {
            head: Few::EMPTY,
            key: Few::EMPTY,
            extras_left: 0,
            key_left: 0,
            left: 0,
        }
    }

    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty()
    }

    /// Takes bytes; `None` where they are none of this protocol, else how many, and the header once all is there.
    fn take(&mut self, magic: u8, bytes: &[u8]) -> Option<(usize, Option<Header>)> {
        let mut used = 0;
        let have = self.head.get().len();
        if have < HEADER {
            used = bytes.len().min(HEADER - have);
            self.head.add(&bytes[..used]);
            if self.head.get().first().is_some_and(|first| *first != magic) {
                return None;
            }
            if have + used < HEADER {
                return Some((used, None));
            }
            let header = Header::read(self.head.get())?;
            self.key.clear();
            self.extras_left = header.extras.into();
            self.key_left = header.key.into();
            self.left = header.body.into();
        }
        let rest = &bytes[used..];
        let taken = self.left.min(rest.len() as u64);
        let before = self.extras_left.min(taken);
        let key = self.key_left.min(taken - before);
        self.key
            .add(&rest[before as usize..(before + key) as usize]);
        self.extras_left -= before;
        self.key_left -= key;
        self.left -= taken;
        used += taken as usize;
        if self.left > 0 {
            return Some((used, None));
        }
        let header = Header::read(self.head.get())?;
        self.head.clear();
        Some((used, Some(header)))
    }

    /// Bytes of the value that are to come, and nothing else.
    pub(super) fn left_of_value(&self) -> u64 {
        if self.head.get().len() == HEADER && self.extras_left + self.key_left == 0 {
            self.left
        } else {
            0
        }
    }

    /// So many bytes of it went by unseen.
    pub(super) fn skip(&mut self, count: u64) {
        self.left = self.left.saturating_sub(count);
    }
}

impl Connection {
    pub(super) fn binary_request(
        &mut self,
        ts_ns: u64,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        let mut rest = bytes;
        loop {
            let Asking::Binary(packet) = &mut self.asking else {
                return Verdict::Continue;
            };
            if packet.is_between() {
                if rest.is_empty() {
                    return Verdict::Continue;
                }
                self.start_ns = ts_ns;
            }
            let Some((used, header)) = packet.take(REQUEST, rest) else {
                return self.no_packet(sink);
            };
            rest = &rest[used..];
            let Some(header) = header else {
                return Verdict::Continue;
            };
            let (command, quiet) = of_opcode(header.opcode).unwrap_or((&UNKNOWN, false));
            let key = packet.key;
            self.queue.write(command.name.as_bytes());
            if header.key > 0 {
                self.tell(key.get());
            }
            if header.body > u32::from(header.key) {
                self.tell(b"?");
            }
            self.bytes = header.whole();
            let asked = Asked {
                command,
                opaque: header.opaque,
                opcode: header.opcode,
                quiet,
            };
            let operation = command.name.len() as u8;
            let verdict = self.enqueue(ts_ns, asked, operation, false, sink);
            if verdict != Verdict::Continue || matches!(self.asking, Asking::Start) {
                return verdict;
            }
        }
    }

    pub(super) fn binary_response(
        &mut self,
        ts_ns: u64,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Verdict {
        let mut rest = bytes;
        loop {
            let Answering::Binary(packet) = &mut self.answering else {
                return Verdict::Continue;
            };
            if packet.is_between() && rest.is_empty() {
                return Verdict::Continue;
            }
            let Some((used, header)) = packet.take(RESPONSE, rest) else {
                return self.unfit(sink);
            };
            rest = &rest[used..];
            let Some(header) = header else {
                return Verdict::Continue;
            };
            let key = packet.key;
            let verdict = self.packet(ts_ns, header, key.get(), sink);
            if verdict != Verdict::Continue || self.turns.is_lost() {
                return verdict;
            }
        }
    }

    /// An answer is whole.
    fn packet(&mut self, ts_ns: u64, header: Header, key: &[u8], sink: &mut dyn Sink) -> Verdict {
        loop {
            let Some((pending, name, text)) = self.queue.oldest() else {
                return self.answer_of_nobody(sink);
            };
            let asked = &pending.of;
            let asked_for = text.get(name.len() + 1..).unwrap_or_default();
            let same = asked.opcode == header.opcode && asked.opaque == header.opaque;
            // several may be asked for with the same opaque; of statistics the key is their name
            let stats = asked.command.answers == Answers::Stats;
            let of_key = key.is_empty() || stats || asked_for.starts_with(key);
            if !(same && of_key) {
                if !asked.quiet {
                    return self.unfit(sink);
                }
                self.pass(ts_ns, sink);
                continue;
            }
            self.answer_bytes = self.answer_bytes.saturating_add(header.whole());
            if stats && header.status == 0 && header.key > 0 {
                return Verdict::Continue; // one of many, and the last has no name
            }
            let finds = super::finds(asked.command);
            self.rows = u64::from(header.status == 0);
            let number = header.status.to_string();
            let (status, failed): (&[u8], bool) = match header.status {
                0 | 0x21 => (b"", false), // the latter wants authentication to go on
                1 if finds => (b"", false),
                1 => (b"NOT_FOUND", false),
                2 => (b"EXISTS", false),
                5 => (b"NOT_STORED", false),
                _ => (number.as_bytes(), true),
            };
            self.answered(ts_ns, status, failed, sink);
            return Verdict::Continue;
        }
    }

    /// What came is no packet.
    #[cold]
    fn no_packet(&mut self, sink: &mut dyn Sink) -> Verdict {
        if self.certain {
            self.lose(false, sink)
        } else {
            Verdict::NotMine
        }
    }
}
