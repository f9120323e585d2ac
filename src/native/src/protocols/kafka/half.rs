//! One direction of a connection: from bytes and gaps to frames, whatever the pieces.

use super::call::{Call, Hand, Known};
use super::frame::{Frame, Stop};
use super::pending::Pending;
use super::walk::{Done, Walk};
use crate::exchange::Side;

/// Where in its stream of frames a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody knows: a frame is looked for at the start of a piece.
    Lost,
    /// In a frame's size.
    Size,
    /// In the part of its header that has always the same size.
    Head,
    /// In what is read.
    Body,
    /// In what is not.
    Rest,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// What is at hand is over.
    More,
    /// Go on.
    Next,
    /// So many bytes follow.
    Size(u32),
    /// A header's: of a response, half of it.
    Head([u8; 8]),
    /// All of the frame has gone by.
    End,
    /// It is not what it should be.
    Bad,
}

/// What becomes of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// It is within the frame.
    Within,
    /// It hides where the next frame begins.
    Over,
    /// Nobody knew where one is.
    Nowhere,
}

/// A direction.
#[derive(Debug)]
pub(super) struct Half {
    pub place: Place,
    frame: Frame,
    pub walk: Walk,
    pub hand: Hand,
    /// When the first byte of the frame at hand came.
    pub start_ns: u64,
    /// Of the frame at hand some fields were not captured,
    pub lost: bool,
    /// some records.
    thin: bool,
    /// Records of it were all there, to the byte.
    filled: bool,
    /// Frames are where they are thought to be by looks.
    pub tentative: bool,
}

impl Half {
    pub fn new(place: Place) -> Self {
        let mut half = Self {
            place,
            frame: Frame::new(),
            walk: Walk::new(),
            hand: Hand::default(),
            start_ns: 0,
            lost: false,
            thin: false,
            filled: false,
            tentative: place == Place::Lost,
        };
        half.frame.begin(4);
        half
    }

    /// A frame begins here, by its looks.
    pub fn find(&mut self) {
        self.begin();
        self.tentative = true;
    }

    fn begin(&mut self) {
        self.place = Place::Size;
        (self.lost, self.thin, self.filled) = (false, false, false);
        self.frame.begin(4);
    }

    pub fn lose(&mut self) {
        self.place = Place::Lost;
        self.frame.begin(0);
    }

    pub fn size(&mut self, ts_ns: u64, bytes: &mut &[u8]) -> Read {
        if self.frame.left() == 4 {
            self.start_ns = ts_ns;
        }
        match self.frame.fixed(bytes) {
            Ok(size) => {
                let size = u32::from_be_bytes(size);
                self.frame.begin(u64::from(size));
                self.place = Place::Head;
                Read::Size(size)
            }
            Err(Stop::More) => Read::More,
            Err(Stop::Bad) => Read::Bad,
        }
    }

    pub fn head(&mut self, side: Side, bytes: &mut &[u8]) -> Read {
        let head = match side {
            Side::Request => self.frame.fixed(bytes),
            Side::Response => self
                .frame
                .fixed::<4>(bytes)
                .map(|[a, b, c, d]| [a, b, c, d, 0, 0, 0, 0]),
        };
        match head {
            Ok(head) => {
                self.place = Place::Body;
                Read::Head(head)
            }
            Err(Stop::More) => Read::More,
            Err(Stop::Bad) => Read::Bad,
        }
    }

    /// Goes through what is in the frame. `sure`: it is Kafka's; otherwise it has to fill the frame.
    pub fn body(
        &mut self,
        bytes: &mut &[u8],
        pending: &mut Pending,
        known: &mut Known,
        answers: bool,
        sure: bool,
    ) -> Read {
        let mut call = Call {
            pending,
            known,
            hand: &mut self.hand,
            answers,
        };
        let done = self.walk.run(&mut self.frame, bytes, &mut call);
        let may_be = sure || !self.hand.illegal;
        match done {
            _ if !may_be => return Read::Bad,
            Err(Stop::More) => return Read::More,
            Ok(Done::Whole) => {
                self.filled = self.frame.left() == 0;
                if !self.filled && !sure {
                    return Read::Bad;
                }
            }
            Ok(Done::Rest) => {}
            Err(Stop::Bad) if sure => self.lost = true,
            Err(Stop::Bad) => return Read::Bad,
        }
        self.skip_rest();
        Read::Next
    }

    /// What was read can't be anything else.
    pub fn is_proof(&self) -> bool {
        self.filled && self.hand.batches > 0
    }

    /// Nothing more of the frame matters.
    pub fn skip_rest(&mut self) {
        self.place = Place::Rest;
        self.frame.skip_to(0);
    }

    pub fn rest(&mut self, bytes: &mut &[u8]) -> Read {
        match self.frame.skipped(bytes) {
            Ok(()) => Read::End,
            Err(_) => Read::More,
        }
    }

    /// The frame is over. True: all of it was understood.
    pub fn end(&mut self) -> bool {
        let whole = !self.lost && !self.thin;
        self.begin();
        self.tentative = false;
        whole
    }

    /// Some bytes were not captured.
    pub fn gap(&mut self, count: u64) -> Gap {
        match self.place {
            Place::Lost => return Gap::Nowhere,
            Place::Size | Place::Head => return Gap::Over,
            Place::Body | Place::Rest => {}
        }
        let behind = self.frame.gap(count);
        if behind == 0 {
            return Gap::Within;
        }
        if self.place == Place::Body {
            if let Some(hides) = self.walk.gap(behind, &mut self.frame) {
                self.thin |= hides;
                self.hand.gap();
                self.frame.gap(behind);
                return Gap::Within;
            }
        }
        self.lost |= self.place == Place::Body;
        let over = behind > self.frame.left();
        self.skip_rest();
        self.frame.gap(behind);
        if over {
            Gap::Over
        } else {
            Gap::Within
        }
    }
}
