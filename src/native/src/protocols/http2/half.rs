//! One direction of a connection: from bytes and gaps to frames, whatever the pieces.

use super::frame::{self, flag, kind, Frame, HEADER, PREFACE};
use super::hpack::Decoder;

/// The longest header block that is understood, in bytes. Servers refuse far shorter ones.
const MAX_BLOCK: usize = 256 << 10;
/// Bytes of a buffer that is kept for the next block.
const MAX_SPARE: usize = 4 << 10;
/// Of the frames with nothing behind their first bytes that matters: RST_STREAM, and GOAWAY with its debug data.
const MAX_SMALL: usize = 8;

/// Where in its stream of frames a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// So many bytes into the client's preface.
    Preface(u8),
    /// In a frame's header.
    Header,
    /// In a frame's payload.
    Payload,
    /// Nobody knows: frames are looked for at the start of a piece.
    Lost,
}

/// What a direction comes upon next.
pub(super) enum Step<'a> {
    /// A piece of a body.
    Body(Frame, &'a [u8]),
    /// A piece of a body that nobody captured.
    BodyGap(Frame, u64),
    /// A frame is over. Its payload is in `Half::payload`, as far as it was captured and kept.
    End(Frame),
    /// Bytes that no endpoint would send, or a gap in what has to be known.
    Illegal,
    /// Nothing more.
    Nothing,
}

/// A direction.
#[derive(Debug)]
pub(super) struct Half {
    pub place: Place,
    decoder: Decoder,
    header: [u8; HEADER],
    have: u8,
    frame: Frame,
    /// Bytes of the payload that are yet to come.
    left: u32,
    /// What was collected of the payload: its beginning.
    payload: Vec<u8>,
    /// Some of the payload was not captured, or was too long to be kept.
    cut: bool,
    /// Of DATA: the length of its padding is in the first byte, which is yet to come.
    pad_due: bool,
    /// Of DATA: bytes of the body that are yet to come.
    body_left: u32,
    /// When the first byte of the frame at hand came.
    frame_ns: u64,
    /// The header block at hand, which may go on in CONTINUATION.
    block: Option<Block>,
    block_bytes: Vec<u8>,
    block_cut: bool,
    /// Everything was seen from the beginning: frames are where they are thought to be.
    pub sure: bool,
    /// A frame was seen.
    pub begun: bool,
}

/// A header block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Its first frame.
    pub frame: Frame,
    /// When the first byte of that came.
    pub start_ns: u64,
    /// The stream whose fields these are: of PUSH_PROMISE the promised one.
    pub stream: u32,
}

impl Half {
    pub const fn new(place: Place) -> Self {
        Self {
            place,
            decoder: Decoder::new(),
            header: [0; HEADER],
            have: 0,
            frame: Frame::NONE,
            left: 0,
            payload: Vec::new(),
            cut: false,
            pad_due: false,
            body_left: 0,
            frame_ns: 0,
            block: None,
            block_bytes: Vec::new(),
            block_cut: false,
            sure: true,
            begun: false,
        }
    }

    /// From here on nobody knows where frames begin, and what a header block means.
    pub fn lose(&mut self) {
        self.place = Place::Lost;
        self.sure = false;
        self.decoder.forget();
        self.have = 0;
        self.block = None;
        self.block_bytes = Vec::new();
        self.payload = Vec::new();
    }

    /// At the start of a piece, while nobody knows where frames begin: do they here?
    pub fn find(&mut self, bytes: &[u8]) -> bool {
        if frame::are_likely(bytes) {
            self.place = Place::Header;
        }
        self.place != Place::Lost
    }

    /// Takes some of `bytes` off their front.
    pub fn data<'a>(&mut self, ts_ns: u64, bytes: &mut &'a [u8]) -> Step<'a> {
        loop {
            match self.place {
                Place::Lost => {
                    *bytes = &[];
                    return Step::Nothing;
                }
                Place::Preface(at) => {
                    let wanted = &PREFACE[usize::from(at)..];
                    let taken = wanted.len().min(bytes.len());
                    let (found, rest) = bytes.split_at(taken);
                    if found != &wanted[..taken] {
                        return Step::Illegal;
                    }
                    *bytes = rest;
                    if taken < wanted.len() {
                        self.place = Place::Preface(at + taken as u8);
                        return Step::Nothing;
                    }
                    self.place = Place::Header;
                }
                Place::Header => {
                    if bytes.is_empty() {
                        return Step::Nothing;
                    }
                    if self.have == 0 {
                        self.frame_ns = ts_ns;
                    }
                    let have = usize::from(self.have);
                    let taken = (HEADER - have).min(bytes.len());
                    let (found, rest) = bytes.split_at(taken);
                    self.header[have..have + taken].copy_from_slice(found);
                    *bytes = rest;
                    self.have += taken as u8;
                    if usize::from(self.have) < HEADER {
                        return Step::Nothing;
                    }
                    self.have = 0;
                    let frame = Frame::parse(&self.header);
                    if !self.may_follow(frame) {
                        return Step::Illegal;
                    }
                    self.begin(frame);
                }
                Place::Payload if self.left == 0 => {
                    self.place = Place::Header;
                    return Step::End(self.frame);
                }
                Place::Payload if bytes.is_empty() => return Step::Nothing,
                Place::Payload if self.frame.kind == kind::DATA => return self.body(bytes),
                Place::Payload => self.collect(bytes),
            }
        }
    }

    /// Takes some of `gap`.
    pub fn gap(&mut self, gap: &mut u64) -> Step<'static> {
        if self.place == Place::Payload && self.left == 0 {
            self.place = Place::Header;
            return Step::End(self.frame);
        }
        if *gap == 0 {
            return Step::Nothing;
        }
        if self.place != Place::Payload {
            return Step::Illegal;
        }
        let taken = (*gap).min(u64::from(self.left)) as u32;
        *gap -= u64::from(taken);
        self.left -= taken;
        if self.frame.kind != kind::DATA {
            self.cut = true;
            return if self.left == 0 {
                self.place = Place::Header;
                Step::End(self.frame)
            } else {
                Step::Nothing
            };
        }
        let body = taken.min(self.body_left);
        self.body_left -= body;
        self.pad_due = false;
        Step::BodyGap(self.frame, u64::from(body))
    }

    /// SETTINGS come first, and nothing may come between the frames of a header block.
    fn may_follow(&self, frame: Frame) -> bool {
        let goes_on = frame.kind == kind::CONTINUATION;
        let is_first = self.sure && !self.begun;
        frame.is_legal()
            && (!is_first || frame.kind == kind::SETTINGS)
            && match self.block {
                Some(block) => goes_on && block.frame.stream == frame.stream,
                None => !goes_on,
            }
    }

    fn begin(&mut self, frame: Frame) {
        self.place = Place::Payload;
        self.begun = true;
        self.frame = frame;
        self.left = frame.length;
        self.payload.clear();
        self.cut = false;
        self.pad_due = frame.kind == kind::DATA && frame.has(flag::PADDED);
        self.body_left = frame.length;
    }

    fn body<'a>(&mut self, bytes: &mut &'a [u8]) -> Step<'a> {
        if let (true, Some((&padding, rest))) = (self.pad_due, bytes.split_first()) {
            self.pad_due = false;
            *bytes = rest;
            self.left -= 1;
            self.body_left = self.left.saturating_sub(u32::from(padding));
        }
        let taken = bytes.len().min(self.left as usize);
        let (found, rest) = bytes.split_at(taken);
        *bytes = rest;
        self.left -= taken as u32;
        let body = taken.min(self.body_left as usize);
        self.body_left -= body as u32;
        Step::Body(self.frame, &found[..body])
    }

    fn collect(&mut self, bytes: &mut &[u8]) {
        let taken = bytes.len().min(self.left as usize);
        let (found, rest) = bytes.split_at(taken);
        *bytes = rest;
        self.left -= taken as u32;
        let most = match self.frame.kind {
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => MAX_BLOCK,
            kind::RST_STREAM | kind::GOAWAY => MAX_SMALL,
            _ => 0,
        };
        let kept = if self.cut {
            0 // what is kept is the payload's beginning
        } else {
            found.len().min(most - self.payload.len())
        };
        self.payload.extend_from_slice(&found[..kept]);
        self.cut |= kept < found.len();
    }

    /// The beginning of the payload of the frame that is over, as far as it was kept.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// A header block begins, or goes on, with the frame that is over. Gives the block if that is its end.
    pub fn add_to_block(&mut self, frame: Frame) -> Option<Block> {
        let block = *self.block.get_or_insert_with(|| {
            self.block_bytes.clear();
            self.block_cut = false;
            Block {
                frame,
                start_ns: self.frame_ns,
                stream: frame::promised(frame, &self.payload).unwrap_or(frame.stream),
            }
        });
        match frame::fragment(frame, &self.payload) {
            Some(bytes) if !self.cut && self.block_bytes.len() + bytes.len() <= MAX_BLOCK => {
                self.block_bytes.extend_from_slice(bytes);
            }
            _ => self.block_cut = true,
        }
        if !frame.has(flag::END_HEADERS) {
            return None;
        }
        self.block = None;
        Some(block)
    }

    /// Decodes the block that is over. False: not all of it.
    pub fn decode(&mut self, field: impl FnMut(&[u8], &[u8])) -> bool {
        let whole = !self.block_cut && self.decoder.block(&self.block_bytes, field).is_ok();
        if self.block_cut {
            self.decoder.forget();
        }
        for buffer in [&mut self.block_bytes, &mut self.payload] {
            if buffer.capacity() > MAX_SPARE {
                *buffer = Vec::new();
            }
        }
        whole
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.payload.capacity() + self.block_bytes.capacity() + self.decoder.heap_bytes()
    }
}
