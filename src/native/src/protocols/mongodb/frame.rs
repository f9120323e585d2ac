//! Messages of the wire protocol, and how each is cut out of its direction.
//!
//! ```text
//! length(4, all of it) requestID(4) responseTo(4) opCode(4) ...       little-endian
//! ```

use super::bson::i32_at;

pub(super) const HEADER: usize = 16;
/// maxMessageSizeBytes, and what a server allows on top of it for its own use.
const MAX_MESSAGE: usize = 48_000_000 + 16 * 1024;
/// So much of a message is kept where it comes in pieces: commands without their documents, errors in full.
pub(super) const MAX_KEPT: usize = 16 * 1024;

pub(super) mod op {
    pub const REPLY: i32 = 1;
    pub const UPDATE: i32 = 2001;
    pub const INSERT: i32 = 2002;
    pub const QUERY: i32 = 2004;
    pub const GET_MORE: i32 = 2005;
    pub const DELETE: i32 = 2006;
    pub const KILL_CURSORS: i32 = 2007;
    pub const COMPRESSED: i32 = 2012;
    pub const MSG: i32 = 2013;
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub len: usize,
    pub id: i32,
    /// 0 in what nobody asked for: requests.
    pub answers: i32,
    pub op: i32,
}

impl Header {
    /// `None` if there is too little of it, or it is none.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let len = usize::try_from(i32_at(bytes, 0)?).ok()?;
        let op = i32_at(bytes, 12)?;
        let known = matches!(
            op,
            op::REPLY
                | op::UPDATE
                | op::INSERT
                | op::QUERY
                | op::GET_MORE
                | op::DELETE
                | op::KILL_CURSORS
                | op::COMPRESSED
                | op::MSG
        );
        (known && (HEADER..=MAX_MESSAGE).contains(&len)).then_some(Self {
            len,
            id: i32_at(bytes, 4)?,
            answers: i32_at(bytes, 8)?,
            op,
        })
    }
}

/// A message or its beginning.
pub(super) struct Message<'a> {
    pub header: Header,
    /// Behind the header.
    pub body: &'a [u8],
    /// All of it is there.
    pub whole: bool,
    /// When its first byte came.
    pub start_ns: u64,
}

impl Header {
    /// Whether the first bytes of one are like this.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        let len = i32_at(bytes, 0).map_or(Some(HEADER), |len| usize::try_from(len).ok());
        len.is_some_and(|len| (HEADER..=MAX_MESSAGE).contains(&len))
    }
}

impl<'a> Message<'a> {
    fn new(header: Header, kept: &'a [u8], start_ns: u64) -> Self {
        Self {
            header,
            body: kept.get(HEADER..).unwrap_or_default(),
            whole: kept.len() == header.len,
            start_ns,
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The message under way, or its beginning.
    kept: Vec<u8>,
    /// Its header, once that is whole.
    header: Option<Header>,
    /// Bytes of it that went by.
    passed: usize,
    start_ns: u64,
    /// Some of it was not captured: what is kept is all there is.
    cut: bool,
    /// Nobody knows where the next message begins.
    pub lost: bool,
}

impl Half {
    /// Takes the next message off the front of `bytes` and gives what `each` says of it. `None`: no message ends with
    /// them, or (then it is lost) what begins there is none.
    #[inline]
    pub(super) fn take<T>(
        &mut self,
        ts_ns: u64,
        bytes: &mut &[u8],
        mut each: impl FnMut(Message<'_>) -> T,
    ) -> Option<T> {
        if self.passed == 0 {
            self.start_ns = ts_ns;
            if let Some(header) = Header::of(bytes) {
                if let Some((message, rest)) = bytes.split_at_checked(header.len) {
                    *bytes = rest;
                    // what is found does not depend on how it was cut
                    let kept = message.get(..MAX_KEPT).unwrap_or(message);
                    return Some(each(Message::new(header, kept, ts_ns)));
                }
            }
        }
        while !bytes.is_empty() {
            let left = match self.header {
                Some(header) => header.len - self.passed,
                None => HEADER - self.kept.len(),
            };
            let (piece, rest) = bytes.split_at(left.min(bytes.len()));
            *bytes = rest;
            self.passed += piece.len();
            if !self.cut {
                let room = MAX_KEPT - self.kept.len();
                self.kept
                    .extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
            if self.header.is_none() && self.passed == HEADER {
                self.header = Header::of(&self.kept);
                if self.header.is_none() {
                    self.lose();
                    return None;
                }
            }
            if let Some(found) = self.finish(&mut each) {
                return Some(found);
            }
        }
        None
    }

    /// Takes bytes that were not captured. Within a message they do no harm.
    pub(super) fn gap<T>(&mut self, count: u64, each: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        let left = self.header.map_or(0, |header| header.len - self.passed);
        match usize::try_from(count).ok().filter(|count| *count <= left) {
            Some(count) => {
                self.cut = true;
                self.passed += count;
                self.finish(each)
            }
            None => {
                self.lose();
                None
            }
        }
    }

    fn finish<T>(&mut self, each: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        let header = self.header.filter(|header| self.passed >= header.len)?;
        let found = each(Message::new(header, &self.kept, self.start_ns));
        self.reset();
        Some(found)
    }

    fn lose(&mut self) {
        self.reset();
        self.lost = true;
    }

    /// The next byte begins a message.
    pub(super) fn reset(&mut self) {
        self.kept.clear();
        if self.kept.capacity() > MAX_KEPT / 4 {
            self.kept = Vec::new();
        }
        self.header = None;
        self.passed = 0;
        self.cut = false;
        self.lost = false;
    }
}
