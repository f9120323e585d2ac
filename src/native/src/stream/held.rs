//! Records of a connection that can't be passed on yet.

use super::connection::undecided;
use super::{Closed, Direction, Segment};
use crate::processes::Processes;
use crate::protocols::http1::{self, Detect};
use crate::protocols::http2;

/// What waits for something that was sent before it, or for the verdict on its process.
pub(super) enum Held {
    Bytes {
        dir: Direction,
        key: u64,
        tgid: u32,
        ts_ns: u64,
        off: u64,
        other_off: u64,
        adv: u64,
        data: Box<[u8]>,
        counted_elsewhere: bool,
    },
    Close {
        ts_ns: u64,
        how: Closed,
        exiting: bool,
    },
}

impl Held {
    pub(super) fn bytes(s: &Segment<'_>, key: u64) -> Self {
        Self::Bytes {
            dir: s.dir,
            key,
            tgid: s.tgid,
            ts_ns: s.ts_ns,
            off: s.off,
            other_off: s.other_off,
            adv: s.adv,
            data: s.data.into(),
            counted_elsewhere: s.counted_elsewhere,
        }
    }

    pub(super) fn is(&self, way: Direction) -> bool {
        matches!(self, Self::Bytes { dir, .. } if *dir == way)
    }

    /// Way, stream offset, and bytes that went the other way by then.
    pub(super) fn place(&self) -> (Direction, u64, u64) {
        match self {
            Self::Bytes {
                dir,
                off,
                other_off,
                ..
            } => (*dir, *off, *other_off),
            Self::Close { .. } => (Direction::Recv, 0, 0),
        }
    }

    /// What was before this one and has not come by now will not come.
    pub(super) fn settles(&self) -> bool {
        match self {
            Self::Bytes {
                counted_elsewhere, ..
            } => *counted_elsewhere,
            Self::Close { .. } => true,
        }
    }

    /// A client's bytes, or a server's.
    pub(super) fn looks_like(&self) -> Detect {
        let Self::Bytes { data, .. } = self else {
            return Detect::No;
        };
        match http2::detect(data) {
            http2::Detect::Request => Detect::Request,
            http2::Detect::Response => Detect::Response,
            _ => http1::detect(data),
        }
    }

    pub(super) fn ts_ns(&self) -> u64 {
        match self {
            Self::Bytes { ts_ns, .. } | Self::Close { ts_ns, .. } => *ts_ns,
        }
    }

    /// Waits for the verdict on its process.
    pub(super) fn undecided(&self, processes: &Processes) -> bool {
        matches!(self, Self::Bytes { key, .. } if undecided(processes, *key))
    }
}
