//! Frames, as each direction has them.
//!
//! ```text
//!  0      1         3             7                  7+size     8+size
//!  | type | channel |    size     |     payload        |  0xCE  |
//! ```
//!
//! Payloads of methods and content headers are kept until they are whole, bodies never.

use crate::exchange::Side;

use super::method;

pub const PREFACE: &[u8] = b"AMQP\x00\x00\x09\x01";
pub const HEADER: usize = 7;
const END: u8 = 0xce;
/// Bytes kept of a payload. Those of methods are shorter, but for tables that nobody looks at.
const MAX_KEPT: usize = 16 << 10;
/// Brokers allow frames of 128 KB unless somebody asks for more.
const MAX_SIZE: u32 = 256 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Method,
    ContentHeader,
    Body,
    Heartbeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub channel: u16,
    pub size: u32,
}

/// `None`: no frame begins so.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let [kind, c0, c1, s0, s1, s2, s3] = *bytes.first_chunk()?;
    let kind = match kind {
        1 => Kind::Method,
        2 => Kind::ContentHeader,
        3 => Kind::Body,
        8 => Kind::Heartbeat,
        _ => return None,
    };
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    let smallest = match kind {
        Kind::Method => 4,
        Kind::ContentHeader => 14,
        Kind::Body | Kind::Heartbeat => 0,
    };
    let fits = (smallest..=MAX_SIZE).contains(&size) && (kind != Kind::Heartbeat || size == 0);
    fits.then_some(Header {
        kind,
        channel: u16::from_be_bytes([c0, c1]),
        size,
    })
}

/// The frame that these bytes begin with, if all of it is there.
pub fn whole(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = header(bytes)?;
    let end = HEADER.checked_add(usize::try_from(header.size).ok()?)?;
    let payload = bytes.get(HEADER..end)?;
    let (last, rest) = bytes.get(end..)?.split_first()?;
    (*last == END).then_some((header, payload, rest))
}

/// A frame that has come to its end.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub header: Header,
    /// Its payload up to `MAX_KEPT` bytes, or to where something is missing; nothing of a body.
    pub payload: &'a [u8],
    /// Something is missing in its payload.
    pub holed: bool,
    /// The piece with its first byte.
    pub start_ns: u64,
}

/// What comes next in a direction.
#[derive(Debug)]
pub enum Step<'a> {
    /// All has been taken.
    Nothing,
    /// No frame begins here.
    Illegal,
    /// The same, but it was only assumed that one does.
    Unproven,
    Frame(Frame<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes of the client's first words have come.
    Preface(usize),
    Header,
    /// So many bytes are left, the end octet included.
    Payload(Header, u64),
    /// Nobody knows where frames begin.
    Lost,
}

/// Bodies that come in several frames: all but the last are as long as the first.
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    channel: u16,
    /// Bytes of the body that are yet to come.
    left: u64,
    first: u32,
}

/// One direction.
#[derive(Debug)]
pub struct Half {
    place: Place,
    /// Of a header, or of a payload.
    kept: Vec<u8>,
    /// `kept` is of a frame that is over.
    over: bool,
    holed: bool,
    start_ns: u64,
    content: Content,
    /// Where this frame begins was not seen, but is known from those before it: its end must prove that.
    assumed: bool,
}

impl Half {
    pub fn new(side: Side, old: bool) -> Self {
        Self {
            place: match (side, old) {
                (_, true) => Place::Lost,
                (Side::Request, false) => Place::Preface(0),
                (Side::Response, false) => Place::Header,
            },
            kept: Vec::new(),
            over: false,
            holed: false,
            start_ns: 0,
            content: Content::default(),
            assumed: false,
        }
    }

    pub fn is_lost(&self) -> bool {
        self.place == Place::Lost
    }

    pub fn lose(&mut self) {
        self.begin(Place::Lost);
        self.content = Content::default();
        self.assumed = false;
    }

    /// Goes on where this piece begins with a frame that only this side sends.
    pub fn find(&mut self, side: Side, bytes: &[u8]) -> bool {
        let (place, found) = if side == Side::Request && bytes.starts_with(PREFACE) {
            (Place::Preface(0), true)
        } else {
            let is_one = whole(bytes).is_some_and(|(header, payload, _)| {
                header.kind == Kind::Method && method::is_of(side, payload)
            });
            (Place::Header, is_one)
        };
        if found {
            self.begin(place);
        }
        found
    }

    fn begin(&mut self, place: Place) {
        self.place = place;
        self.holed = false;
        self.over = false;
        self.kept.clear();
        if self.kept.capacity() > MAX_KEPT / 4 {
            self.kept = Vec::new();
        }
    }

    /// Takes what belongs to the next frame off `bytes`.
    pub fn data<'s, 'b: 's>(&'s mut self, ts_ns: u64, bytes: &mut &'b [u8]) -> Step<'s> {
        if self.over {
            self.begin(Place::Header);
        }
        if self.place == Place::Header && self.kept.is_empty() {
            self.start_ns = ts_ns;
            if let Some((header, payload, rest)) = whole(bytes) {
                *bytes = rest;
                self.assumed = false;
                self.note(header, payload);
                return Step::Frame(Frame {
                    header,
                    payload,
                    holed: false,
                    start_ns: ts_ns,
                });
            }
        }
        while let Some(first) = bytes.first() {
            match self.place {
                Place::Lost => return Step::Nothing,
                Place::Preface(at) => {
                    if PREFACE.get(at) != Some(first) {
                        return Step::Illegal;
                    }
                    *bytes = &bytes[1..];
                    let whole = at + 1 == PREFACE.len();
                    self.place = if whole {
                        Place::Header
                    } else {
                        Place::Preface(at + 1)
                    };
                    if whole {
                        return self.data(ts_ns, bytes);
                    }
                }
                Place::Header => {
                    if self.kept.is_empty() {
                        self.start_ns = ts_ns;
                    }
                    let more = bytes.len().min(HEADER - self.kept.len());
                    self.keep(bytes, more);
                    if self.kept.len() < HEADER {
                        return Step::Nothing;
                    }
                    let Some(header) = header(&self.kept) else {
                        return self.illegal();
                    };
                    self.kept.clear();
                    self.place = Place::Payload(header, u64::from(header.size) + 1);
                }
                Place::Payload(header, left) => {
                    let payload = usize::try_from(left - 1).unwrap_or(usize::MAX);
                    let more = bytes.len().min(payload);
                    if header.kind == Kind::Body || self.holed {
                        *bytes = &bytes[more..];
                    } else {
                        let kept = more.min(MAX_KEPT.saturating_sub(self.kept.len()));
                        self.kept.extend_from_slice(&bytes[..kept]);
                        *bytes = &bytes[more..];
                    }
                    let left = left - more as u64;
                    self.place = Place::Payload(header, left);
                    if let (1, Some((last, rest))) = (left, bytes.split_first()) {
                        *bytes = rest;
                        if *last != END {
                            return self.illegal();
                        }
                        self.assumed = false;
                        return self.finish(header);
                    }
                }
            }
        }
        Step::Nothing
    }

    fn illegal(&self) -> Step<'static> {
        if self.assumed {
            Step::Unproven
        } else {
            Step::Illegal
        }
    }

    fn keep(&mut self, bytes: &mut &[u8], count: usize) {
        let (kept, rest) = bytes.split_at(count);
        self.kept.extend_from_slice(kept);
        *bytes = rest;
    }

    fn finish(&mut self, header: Header) -> Step<'_> {
        let payload = std::mem::take(&mut self.kept);
        self.note(header, &payload);
        self.kept = payload;
        self.over = true;
        Step::Frame(Frame {
            header,
            payload: &self.kept,
            holed: self.holed,
            start_ns: self.start_ns,
        })
    }

    /// What the frame says about those that follow it.
    fn note(&mut self, header: Header, payload: &[u8]) {
        match header.kind {
            Kind::ContentHeader => {
                self.content = Content {
                    channel: header.channel,
                    left: body_size(payload).unwrap_or(0),
                    first: 0,
                };
            }
            Kind::Body if header.channel == self.content.channel => {
                let content = &mut self.content;
                content.left = content.left.saturating_sub(header.size.into());
                content.first = content.first.max(header.size);
            }
            _ => {}
        }
    }

    /// Takes missing bytes, up to the end of a frame.
    pub fn gap(&mut self, ts_ns: u64, gap: &mut u64) -> Step<'_> {
        if self.over {
            self.begin(Place::Header);
        }
        while *gap > 0 {
            match self.place {
                Place::Lost => return Step::Nothing,
                Place::Payload(header, left) => {
                    let taken = left.min(*gap);
                    *gap -= taken;
                    self.holed |= left > 1 && header.kind != Kind::Body;
                    self.place = Place::Payload(header, left - taken);
                    if taken == left {
                        return self.finish(header);
                    }
                }
                Place::Header if self.kept.is_empty() && self.content.first > 0 => {
                    let Some(left) = gap
                        .checked_sub(HEADER as u64)
                        .filter(|_| self.content.left > 0)
                    else {
                        return Step::Illegal;
                    };
                    let size = u64::from(self.content.first).min(self.content.left) as u32;
                    let header = Header {
                        kind: Kind::Body,
                        channel: self.content.channel,
                        size,
                    };
                    *gap = left;
                    self.start_ns = ts_ns;
                    self.assumed = true;
                    self.place = Place::Payload(header, u64::from(size) + 1);
                }
                Place::Preface(_) | Place::Header => return Step::Illegal,
            }
        }
        Step::Nothing
    }
}

/// What a content header says of the body's length.
pub fn body_size(payload: &[u8]) -> Option<u64> {
    payload
        .get(4..)?
        .first_chunk()
        .copied()
        .map(u64::from_be_bytes)
}
