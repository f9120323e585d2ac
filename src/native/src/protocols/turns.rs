//! Whose answer is the next one? In protocols that answer in order and without names.
//!
//! Whoever has missed one answer attributes all that follow to the wrong command. After a loss, what is in flight is
//! given up, and so is all that follows until a burst begins with a command while nothing else can be in flight: the
//! client speaks after the server has, and it is not one that asks without waiting (or there was silence). From there
//! on answers count again; but until the next such moment, an answer too many, or one that its command can't have,
//! means to be lost again. A connection older than its capture begins like that.

use crate::exchange::Side;

/// A client that does not wait for answers is thought to wait for none after this time without a word.
const SILENCE_NS: u64 = 10_000_000;

/// How sure it is that the next answer is the oldest command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Sure,
    /// Until the next burst, unless something is wrong. `answered`: something was right.
    Found {
        answered: bool,
    },
    /// Not at all. `framed`: but where the next command begins is known.
    Lost {
        framed: bool,
    },
}

/// What is to be made of a piece of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Commands, of which nobody tells if all is lost.
    Commands,
    /// The first of a burst: all is forgotten, and what comes counts.
    Fresh,
    /// Nothing.
    Noise,
}

/// Who spoke when.
#[derive(Debug)]
pub(super) struct Turns {
    step: Step,
    /// What came last came from the server.
    heard: bool,
    last_ns: u64,
    /// The client has asked while it waited for an answer.
    overlapping: bool,
}

impl Turns {
    pub(super) fn new(old: bool) -> Self {
        Self {
            step: if old {
                Step::Lost { framed: false }
            } else {
                Step::Sure
            },
            heard: true,
            last_ns: 0,
            overlapping: false,
        }
    }

    #[inline(always)]
    pub(super) fn is_sure(&self) -> bool {
        self.step == Step::Sure
    }

    #[inline(always)]
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.step, Step::Lost { .. })
    }

    /// A piece of the request. `waiting`: commands are in flight. `between`: so far the last command is whole.
    /// `begins`: this may be where one begins.
    #[inline(always)]
    pub(super) fn request(
        &mut self,
        ts_ns: u64,
        waiting: bool,
        between: bool,
        begins: impl FnOnce() -> bool,
    ) -> Piece {
        self.overlapping |= self.heard && waiting;
        if self.step == Step::Sure {
            return Piece::Commands;
        }
        self.unsure(ts_ns, waiting, between, begins)
    }

    #[inline(never)]
    fn unsure(
        &mut self,
        ts_ns: u64,
        waiting: bool,
        between: bool,
        begins: impl FnOnce() -> bool,
    ) -> Piece {
        match self.step {
            Step::Found { answered: true } if !waiting => self.step = Step::Sure,
            Step::Lost { framed } => {
                let silent = ts_ns.saturating_sub(self.last_ns) >= SILENCE_NS;
                let alone = self.heard && (silent || !self.overlapping);
                if alone && (between || !framed) && begins() {
                    self.step = Step::Found { answered: false };
                    return Piece::Fresh;
                }
                return if framed {
                    Piece::Commands
                } else {
                    Piece::Noise
                };
            }
            _ => {}
        }
        Piece::Commands
    }

    /// An answer was right.
    #[inline(always)]
    pub(super) fn answered(&mut self) {
        if let Step::Found { answered } = &mut self.step {
            *answered = true;
        }
    }

    /// `framed`: the next command's beginning is known.
    pub(super) fn lose(&mut self, framed: bool) {
        self.step = Step::Lost {
            framed: framed && self.step != Step::Lost { framed: false },
        };
    }

    /// A piece is done with.
    #[inline(always)]
    pub(super) fn spoke(&mut self, side: Side, ts_ns: u64) {
        self.heard = side == Side::Response;
        self.last_ns = ts_ns;
    }

    /// Records were lost, and the next that comes begins a burst.
    pub(super) fn burst(&mut self) {
        self.heard = true;
    }
}
