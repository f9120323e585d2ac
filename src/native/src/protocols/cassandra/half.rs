//! One direction of a connection: from bytes and gaps to messages, by segments or without.

use super::message::{Header, HEADER};
use super::segment::{Segment, COMPRESSED, MAX_PAYLOAD, PLAIN, TRAILER};
use crate::exchange::Side;

/// Bytes of a buffer that stays with its connection.
const SPARE: usize = 4 << 10;

/// Where in its stream of messages a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody knows.
    Lost,
    Header,
    Body,
}

/// What a direction comes upon next.
pub(super) enum Step<'a> {
    /// What is at hand is over.
    More,
    /// A message is whole. Its body's beginning is there, or in `Messages::body`.
    Message(Header, Option<&'a [u8]>),
    /// No message's header.
    Bad,
}

/// Messages, one after the other.
#[derive(Debug)]
pub(super) struct Messages {
    pub place: Place,
    header: [u8; HEADER],
    have: u8,
    head: Option<Header>,
    left: u32,
    /// The body's beginning, where it came in pieces.
    pub body: Vec<u8>,
    /// Nothing more of the body is wanted, or can be had.
    cut: bool,
    /// When the first byte of the message at hand came.
    pub start_ns: u64,
}

impl Messages {
    const fn new(place: Place) -> Self {
        Self {
            place,
            header: [0; HEADER],
            have: 0,
            head: None,
            left: 0,
            body: Vec::new(),
            cut: false,
            start_ns: 0,
        }
    }

    /// A message begins with the next byte.
    pub fn begin(&mut self) {
        (self.place, self.have, self.left) = (Place::Header, 0, 0);
        self.clear();
    }

    fn clear(&mut self) {
        if self.body.capacity() > SPARE {
            self.body = Vec::new();
        }
        self.body.clear();
        self.cut = false;
    }

    /// The message at hand, whose header is known.
    pub fn at_hand(&self) -> Option<Header> {
        self.head.filter(|_| self.place == Place::Body)
    }

    /// Between two messages.
    pub fn is_between(&self) -> bool {
        self.place == Place::Header && self.have == 0
    }

    pub fn lose(&mut self) {
        self.begin();
        self.place = Place::Lost;
    }

    /// Takes some of `bytes` off their front. `ts_ns`: when the first of them came.
    pub fn step<'a>(&mut self, side: Side, ts_ns: u64, bytes: &mut &'a [u8]) -> Step<'a> {
        if self.place == Place::Lost {
            *bytes = &[];
            return Step::More;
        }
        if self.place == Place::Header {
            if bytes.is_empty() {
                return Step::More;
            }
            if self.have == 0 {
                self.start_ns = ts_ns;
            }
            let have = usize::from(self.have);
            let (found, rest) = bytes.split_at((HEADER - have).min(bytes.len()));
            self.header[have..have + found.len()].copy_from_slice(found);
            self.have += found.len() as u8;
            *bytes = rest;
            if usize::from(self.have) < HEADER {
                return Step::More;
            }
            let Some(head) = Header::parse(side, self.header) else {
                return Step::Bad;
            };
            (self.head, self.left) = (Some(head), head.length);
            self.place = Place::Body;
            self.clear();
            if let Some((body, rest)) = bytes.split_at_checked(head.length as usize) {
                *bytes = rest;
                self.place = Place::Header;
                self.have = 0;
                return Step::Message(head, Some(body));
            }
        }
        let (found, rest) = bytes.split_at((self.left as usize).min(bytes.len()));
        *bytes = rest;
        self.left -= found.len() as u32;
        if let (false, Some(head)) = (self.cut, self.head) {
            let room = head.wanted() - self.body.len();
            let kept = found.len().min(room);
            self.body.extend_from_slice(&found[..kept]);
            self.cut = kept < found.len();
        }
        self.end()
    }

    fn end<'a>(&mut self) -> Step<'a> {
        match self.head {
            Some(head) if self.left == 0 && self.place == Place::Body => {
                self.place = Place::Header;
                self.have = 0;
                Step::Message(head, None)
            }
            _ => Step::More,
        }
    }

    /// So many bytes were not captured. `Bad`: nobody knows where the next message begins.
    fn gap(&mut self, count: u64) -> Step<'static> {
        match (self.place, u32::try_from(count)) {
            (Place::Lost, _) => Step::More,
            (Place::Body, Ok(count)) if count <= self.left => {
                self.left -= count;
                self.cut = true;
                self.end()
            }
            _ => Step::Bad,
        }
    }
}

/// What a direction of version 5 comes upon next.
pub(super) enum Part<'a> {
    /// What is at hand is over.
    More,
    /// A segment begins.
    Begin(Segment),
    /// Bytes of messages.
    Bytes(&'a [u8]),
    /// Compressed ones, in `Segments::packed`: all of it, or the beginning.
    Packed { holds: u32, whole: bool },
    /// No segment's header.
    Bad,
}

/// Segments, one after the other.
#[derive(Debug)]
pub(super) struct Segments {
    compressed: bool,
    pub lost: bool,
    header: [u8; COMPRESSED],
    have: u8,
    at: Option<Segment>,
    /// Bytes of the payload that are yet to come,
    left: u32,
    /// of what is behind it.
    trailer: u32,
    pub packed: Vec<u8>,
    packed_cut: bool,
    /// When the first byte of the segment at hand came.
    pub start_ns: u64,
    /// The last one's size, where it was plain and had a piece of a message.
    like: Option<u32>,
}

impl Segments {
    pub fn new(compressed: bool, lost: bool) -> Self {
        Self {
            compressed,
            lost,
            header: [0; COMPRESSED],
            have: 0,
            at: None,
            left: 0,
            trailer: 0,
            packed: Vec::new(),
            packed_cut: false,
            start_ns: 0,
            like: None,
        }
    }

    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Takes some of `bytes` off their front.
    pub fn step<'a>(&mut self, ts_ns: u64, bytes: &mut &'a [u8]) -> Part<'a> {
        loop {
            if self.lost {
                *bytes = &[];
                return Part::More;
            }
            if let Some(segment) = self.at {
                if self.left > 0 {
                    let (found, rest) = bytes.split_at((self.left as usize).min(bytes.len()));
                    if found.is_empty() {
                        return Part::More;
                    }
                    *bytes = rest;
                    self.left -= found.len() as u32;
                    let Some(holds) = segment.holds else {
                        return Part::Bytes(found);
                    };
                    if !self.packed_cut {
                        self.packed.extend_from_slice(found);
                    }
                    if self.left == 0 {
                        return self.unpack(holds);
                    }
                    continue;
                }
                let taken = (self.trailer as usize).min(bytes.len());
                *bytes = &bytes[taken..];
                self.trailer -= taken as u32;
                if self.trailer > 0 {
                    return Part::More;
                }
                self.at = None;
                continue;
            }
            if bytes.is_empty() {
                return Part::More;
            }
            if self.have == 0 {
                self.start_ns = ts_ns;
            }
            let (have, size) = (usize::from(self.have), self.header_size());
            let (found, rest) = bytes.split_at((size - have).min(bytes.len()));
            self.header[have..have + found.len()].copy_from_slice(found);
            self.have += found.len() as u8;
            *bytes = rest;
            if usize::from(self.have) < size {
                return Part::More;
            }
            self.have = 0;
            let Some(segment) = Segment::parse(&self.header, self.compressed) else {
                return Part::Bad;
            };
            (self.at, self.left, self.trailer) = (Some(segment), segment.size, TRAILER);
            self.packed.clear();
            self.packed_cut = false;
            self.like = Some(segment.size)
                .filter(|_| segment.holds.is_none() && !segment.self_contained && !self.compressed);
            return Part::Begin(segment);
        }
    }

    fn header_size(&self) -> usize {
        if self.compressed {
            COMPRESSED
        } else {
            PLAIN
        }
    }

    fn unpack<'a>(&self, holds: u32) -> Part<'a> {
        Part::Packed {
            holds: holds.min(MAX_PAYLOAD as u32),
            whole: !self.packed_cut,
        }
    }

    /// The payload that was compressed is not needed any more.
    pub fn keep(&mut self, packed: Vec<u8>) {
        if packed.capacity() <= SPARE {
            self.packed = packed;
        }
    }

    pub fn lose(&mut self) {
        *self = Self::new(self.compressed, true);
    }

    /// A header that was not captured: of a message that goes on in segments all are as long as the one before, but for
    /// the last. The next header's checksum proves it right. `left`: bytes of the message.
    fn guess(&mut self, left: u32, count: &mut u64) -> Gap {
        match (self.like, count.checked_sub(PLAIN as u64)) {
            (Some(size), Some(rest)) if self.have == 0 && left > 0 => {
                *count = rest;
                let segment = Segment {
                    size: size.min(left),
                    holds: None,
                    self_contained: false,
                };
                (self.at, self.left, self.trailer) = (Some(segment), segment.size, TRAILER);
                Gap::Within
            }
            _ => Gap::Over,
        }
    }
}

/// A direction.
#[derive(Debug)]
pub(super) struct Half {
    pub messages: Messages,
    pub segments: Option<Segments>,
}

/// What becomes of a gap.
pub(super) enum Gap {
    /// Nothing else.
    Within,
    /// A message is over.
    Message(Header),
    /// What was compressed is over: see `Part::Packed`.
    Packed { holds: u32 },
    /// Nobody knows where the next message begins until the next segment,
    OverMessage,
    /// or at all.
    Over,
}

impl Half {
    pub fn new(lost: bool) -> Self {
        Self {
            messages: Messages::new(if lost { Place::Lost } else { Place::Header }),
            segments: None,
        }
    }

    pub fn is_lost(&self) -> bool {
        match &self.segments {
            Some(segments) => segments.lost,
            None => self.messages.place == Place::Lost,
        }
    }

    pub fn lose(&mut self) {
        self.messages.lose();
        if let Some(segments) = &mut self.segments {
            segments.lose();
        }
    }

    /// So many bytes were not captured. Takes some of them.
    pub fn gap(&mut self, count: &mut u64) -> Gap {
        if self.is_lost() {
            *count = 0;
            return Gap::Within;
        }
        let Some(segments) = &mut self.segments else {
            return self.message_gap(std::mem::take(count));
        };
        let Some(segment) = segments.at else {
            return segments.guess(self.messages.left, count);
        };
        let payload = (*count).min(segments.left.into());
        *count -= payload;
        if payload == 0 {
            let trailer = (*count).min(segments.trailer.into());
            *count -= trailer;
            segments.trailer -= trailer as u32;
            if segments.trailer == 0 {
                segments.at = None;
            }
            return Gap::Within;
        }
        segments.left -= payload as u32;
        let Some(holds) = segment.holds else {
            return match self.message_gap(payload) {
                Gap::Over => Gap::OverMessage,
                other => other,
            };
        };
        segments.packed_cut = true;
        if segments.left > 0 {
            return Gap::Within;
        }
        Gap::Packed {
            holds: holds.min(MAX_PAYLOAD as u32),
        }
    }

    /// So many bytes of messages were not captured.
    pub fn message_gap(&mut self, count: u64) -> Gap {
        match self.messages.gap(count) {
            Step::More => Gap::Within,
            Step::Message(header, _) => Gap::Message(header),
            Step::Bad => Gap::Over,
        }
    }
}
