//! Packets, as each direction has them.
//!
//! ```text
//!  | kind, flags | remaining length: 1 to 4 bytes of 7 bits each, the lowest first | so many bytes |
//! ```
//!
//! What follows is kept as far as it is told from: of a message its topic and properties, of others the beginning.

use crate::exchange::Side;

/// Kinds of packets: a packet's first four bits.
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// Bytes kept of a packet. Topics and properties are shorter as a rule.
const MAX_KEPT: usize = 8 << 10;
/// Longest fixed header.
const MAX_HEADER: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: u8,
    pub flags: u8,
    /// Bytes behind it.
    pub remaining: u32,
}

impl Header {
    /// Of a message: how surely it is to arrive.
    pub fn qos(self) -> u8 {
        self.flags >> 1 & 3
    }

    /// Whether this side may send it.
    fn is_legal(self, side: Side) -> bool {
        let flags = match self.kind {
            kind::PUBLISH => self.qos() != 3,
            kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => self.flags == 2,
            _ => self.flags == 0,
        };
        let length = match self.kind {
            kind::PINGREQ | kind::PINGRESP => self.remaining == 0,
            kind::DISCONNECT | kind::AUTH => true,
            kind::CONNECT => self.remaining >= 10,
            _ => self.remaining >= 2,
        };
        let said = match self.kind {
            kind::CONNECT | kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PINGREQ => {
                side == Side::Request
            }
            kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => {
                side == Side::Response
            }
            0 => false,
            _ => true,
        };
        flags && length && said
    }
}

/// The number and how many bytes it takes: `Some(None)` where more are needed, `None` where it is none.
pub fn variable(bytes: &[u8]) -> Option<Option<(u32, usize)>> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(4) {
        number |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(Some((number, at + 1)));
        }
    }
    (bytes.len() < 4).then_some(None)
}

/// The header that these bytes begin with, as this side may send it, and how long it is: as `variable` has it.
pub fn header(side: Side, bytes: &[u8]) -> Option<Option<(Header, usize)>> {
    let Some((first, rest)) = bytes.split_first() else {
        return Some(None);
    };
    let Some((remaining, length)) = variable(rest)? else {
        return Some(None);
    };
    let header = Header {
        kind: first >> 4,
        flags: first & 15,
        remaining,
    };
    header.is_legal(side).then_some(Some((header, length + 1)))
}

/// A packet that has come to its end.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub header: Header,
    /// What is behind its header up to `MAX_KEPT` bytes, or to where something is missing.
    pub kept: &'a [u8],
    /// Something is missing in what would have been kept.
    pub holed: bool,
    /// The piece with its first byte.
    pub start_ns: u64,
}

/// What comes next in a direction.
#[derive(Debug)]
pub enum Step<'a> {
    /// All has been taken.
    Nothing,
    /// No packet of this side's begins here.
    Illegal,
    Packet(Packet<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    /// So many bytes are left.
    Payload(Header, u32),
    /// Nobody knows where packets begin.
    Lost,
}

/// One direction.
#[derive(Debug)]
pub struct Half {
    side: Side,
    place: Place,
    /// Of a header, or of what is behind it.
    kept: Vec<u8>,
    holed: bool,
    /// What is kept is of a packet that is over.
    over: bool,
    /// Bytes are missing right before what comes: that may begin anywhere.
    after_gap: bool,
    start_ns: u64,
}

impl Half {
    pub fn new(side: Side, old: bool) -> Self {
        Self {
            side,
            place: if old { Place::Lost } else { Place::Header },
            kept: Vec::new(),
            holed: false,
            over: false,
            after_gap: false,
            start_ns: 0,
        }
    }

    pub fn is_lost(&self) -> bool {
        self.place == Place::Lost
    }

    pub fn lose(&mut self) {
        self.begin();
        self.place = Place::Lost;
    }

    /// Goes on with this piece if it is of packets of this side.
    pub fn find(&mut self, bytes: &[u8]) -> bool {
        let found =
            !std::mem::take(&mut self.after_gap) && super::words::are_packets(self.side, bytes);
        if found {
            self.begin();
        }
        found
    }

    fn begin(&mut self) {
        self.place = Place::Header;
        self.holed = false;
        self.over = false;
        self.kept.clear();
        self.kept.shrink_to(256);
    }

    /// Takes what belongs to the next packet off `bytes`.
    pub fn data<'s, 'b: 's>(&'s mut self, ts_ns: u64, bytes: &mut &'b [u8]) -> Step<'s> {
        self.after_gap = false;
        if self.over {
            self.begin();
        }
        if self.place == Place::Header && self.kept.is_empty() {
            self.start_ns = ts_ns;
            match header(self.side, bytes) {
                None => return Step::Illegal,
                Some(Some((header, at))) => {
                    let end = at + usize::try_from(header.remaining).unwrap_or(usize::MAX - at);
                    if let Some(payload) = bytes.get(at..end) {
                        *bytes = &bytes[end..];
                        return Step::Packet(Packet {
                            header,
                            kept: &payload[..payload.len().min(MAX_KEPT)],
                            holed: false,
                            start_ns: ts_ns,
                        });
                    }
                }
                Some(None) => {}
            }
        }
        while let Some((first, rest)) = bytes.split_first() {
            match self.place {
                Place::Lost => return Step::Nothing,
                Place::Header => {
                    if self.kept.is_empty() {
                        self.start_ns = ts_ns;
                    }
                    self.kept.push(*first);
                    *bytes = rest;
                    match header(self.side, &self.kept) {
                        None => return Step::Illegal,
                        Some(None) if self.kept.len() > MAX_HEADER => return Step::Illegal,
                        Some(None) => {}
                        Some(Some((header, _))) => {
                            self.kept.clear();
                            self.place = Place::Payload(header, header.remaining);
                            if header.remaining == 0 {
                                return self.finish(header);
                            }
                        }
                    }
                }
                Place::Payload(header, left) => {
                    let more = bytes.len().min(left as usize);
                    let (more, rest) = bytes.split_at(more);
                    *bytes = rest;
                    if !self.holed {
                        let room = MAX_KEPT - self.kept.len().min(MAX_KEPT);
                        self.kept.extend_from_slice(&more[..more.len().min(room)]);
                    }
                    let left = left - more.len() as u32;
                    self.place = Place::Payload(header, left);
                    if left == 0 {
                        return self.finish(header);
                    }
                }
            }
        }
        Step::Nothing
    }

    fn finish(&mut self, header: Header) -> Step<'_> {
        self.over = true;
        Step::Packet(Packet {
            header,
            kept: &self.kept,
            holed: self.holed,
            start_ns: self.start_ns,
        })
    }

    /// Takes missing bytes, up to the end of a packet.
    pub fn gap(&mut self, gap: &mut u64) -> Step<'_> {
        self.after_gap = true;
        if self.over {
            self.begin();
        }
        match self.place {
            _ if *gap == 0 => Step::Nothing,
            Place::Lost => {
                *gap = 0;
                Step::Nothing
            }
            Place::Payload(header, left) => {
                let taken = u64::from(left).min(*gap);
                *gap -= taken;
                self.holed = true;
                let left = left - taken as u32;
                self.place = Place::Payload(header, left);
                if left == 0 {
                    self.finish(header)
                } else {
                    Step::Nothing
                }
            }
            Place::Header => Step::Illegal,
        }
    }
}
