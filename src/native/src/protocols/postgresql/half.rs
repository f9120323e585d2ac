//! One direction of a connection: from bytes and gaps to messages, whatever the pieces.

use super::message::{self, HEADER, MAX_LIKELY, REPLY, STARTUP};
use crate::exchange::Side;

/// Bytes of a buffer that is kept for the next message.
const MAX_SPARE: usize = 4 << 10;

/// Where in its stream of messages a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before a client's first message, which has no type.
    Startup,
    /// Before the byte that answers the wish for encryption.
    Reply,
    /// In a message's type and length.
    Header,
    /// In a message's payload.
    Payload,
    /// Nobody knows.
    Lost,
    /// Nothing more comes that anybody could understand.
    Shut,
}

/// A message that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub kind: u8,
    /// When its first byte came.
    pub start_ns: u64,
    /// Its bytes on the wire.
    pub bytes: u64,
}

/// What a direction comes upon next.
pub(super) enum Step<'a> {
    /// A message, and its payload.
    Whole(Message, &'a [u8]),
    /// A message that came in pieces. In `Half::kept` is the beginning of its payload, up to what was not captured
    /// or is not wanted.
    Kept(Message),
    /// Bytes that no endpoint would send.
    Illegal,
    /// Nothing more.
    Nothing,
}

/// A direction.
#[derive(Debug)]
pub(super) struct Half {
    side: Side,
    pub place: Place,
    header: [u8; HEADER],
    have: u8,
    /// Bytes of the payload that are yet to come.
    left: u32,
    message: Message,
    /// Some of the payload was not captured.
    cut: bool,
    wanted: usize,
    /// The beginning of the payload.
    pub kept: Vec<u8>,
    /// That messages begin where they seem to is not certain yet.
    pub cautious: bool,
}

impl Half {
    pub fn new(side: Side, place: Place) -> Self {
        Self {
            side,
            place,
            header: [0; HEADER],
            have: 0,
            left: 0,
            message: Message {
                kind: 0,
                start_ns: 0,
                bytes: 0,
            },
            cut: false,
            wanted: 0,
            kept: Vec::new(),
            cautious: false,
        }
    }

    /// The next byte is the first of what `place` says.
    pub fn restart(&mut self, place: Place) {
        self.place = place;
        self.have = 0;
        self.kept.clear();
    }

    fn is_legal(&self, kind: u8, length: u32) -> bool {
        message::is_legal(self.side, kind, length) && !(self.cautious && length > MAX_LIKELY)
    }

    /// Between two messages.
    pub fn at_border(&self) -> bool {
        self.place == Place::Header && self.have == 0
    }

    /// Takes a message off the front of `bytes`, or all of them.
    #[inline]
    pub fn next<'a>(&mut self, ts_ns: u64, bytes: &mut &'a [u8]) -> Step<'a> {
        if self.place == Place::Header && self.have == 0 {
            if let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
                let [kind, length @ ..] = *header;
                let length = u32::from_be_bytes(length);
                if !self.is_legal(kind, length) {
                    return Step::Illegal;
                }
                if let Some((payload, rest)) = rest.split_at_checked(length as usize - 4) {
                    *bytes = rest;
                    let message = Message {
                        kind,
                        start_ns: ts_ns,
                        bytes: u64::from(length) + 1,
                    };
                    return Step::Whole(message, payload);
                }
            }
        }
        self.next_in_pieces(ts_ns, bytes)
    }

    #[cold]
    fn next_in_pieces<'a>(&mut self, ts_ns: u64, bytes: &mut &'a [u8]) -> Step<'a> {
        loop {
            match self.place {
                Place::Lost | Place::Shut => *bytes = &[],
                Place::Payload if self.left == 0 => return self.over(),
                _ => {}
            }
            if bytes.is_empty() {
                return Step::Nothing;
            }
            match self.place {
                Place::Lost | Place::Shut => {}
                Place::Reply => return self.reply(ts_ns, bytes),
                Place::Startup | Place::Header => {
                    if !self.header(ts_ns, bytes) {
                        return Step::Illegal;
                    }
                }
                Place::Payload => {
                    let taken = bytes.len().min(self.left as usize);
                    let (found, rest) = bytes.split_at(taken);
                    *bytes = rest;
                    self.left -= taken as u32;
                    if !self.cut {
                        let room = self.wanted.saturating_sub(self.kept.len());
                        self.kept.extend_from_slice(&found[..taken.min(room)]);
                    }
                }
            }
        }
    }

    fn reply<'a>(&mut self, ts_ns: u64, bytes: &mut &'a [u8]) -> Step<'a> {
        let (reply, rest) = bytes.split_at(1);
        // servers from before encryption was thought of answer with ErrorResponse
        if reply == b"E" {
            self.restart(Place::Header);
            return self.next(ts_ns, bytes);
        }
        *bytes = rest;
        self.restart(Place::Header);
        let message = Message {
            kind: REPLY,
            start_ns: ts_ns,
            bytes: 1,
        };
        Step::Whole(message, reply)
    }

    /// Takes bytes of the header. False: there is no such message.
    fn header(&mut self, ts_ns: u64, bytes: &mut &[u8]) -> bool {
        if self.have == 0 {
            self.message.start_ns = ts_ns;
            if self.place == Place::Startup {
                (self.header[0], self.have) = (STARTUP, 1);
            }
        }
        let have = usize::from(self.have);
        let taken = (HEADER - have).min(bytes.len());
        let (found, rest) = bytes.split_at(taken);
        self.header[have..have + taken].copy_from_slice(found);
        *bytes = rest;
        self.have += taken as u8;
        if usize::from(self.have) < HEADER {
            return true;
        }
        self.have = 0;
        let [kind, length @ ..] = self.header;
        let length = u32::from_be_bytes(length);
        if !self.is_legal(kind, length) {
            return false;
        }
        self.place = Place::Payload;
        self.left = length - 4;
        self.message.kind = kind;
        self.message.bytes = u64::from(length) + u64::from(kind != STARTUP);
        self.cut = false;
        self.wanted = message::wanted(self.side, kind);
        self.kept.clear();
        true
    }

    fn over(&mut self) -> Step<'static> {
        self.place = Place::Header;
        Step::Kept(self.message)
    }

    /// Takes some of `gap`.
    pub fn gap(&mut self, gap: &mut u64) -> Step<'static> {
        match self.place {
            Place::Lost | Place::Shut => *gap = 0,
            Place::Payload => {
                let taken = (*gap).min(u64::from(self.left)) as u32;
                *gap -= u64::from(taken);
                self.left -= taken;
                self.cut |= taken > 0;
                if self.left == 0 {
                    return self.over();
                }
            }
            Place::Startup | Place::Reply | Place::Header if *gap > 0 => return Step::Illegal,
            Place::Startup | Place::Reply | Place::Header => {}
        }
        Step::Nothing
    }

    /// Gives back what was taken from `kept`.
    pub fn give_back(&mut self, kept: Vec<u8>) {
        if kept.capacity() <= MAX_SPARE {
            self.kept = kept;
        }
    }
}
