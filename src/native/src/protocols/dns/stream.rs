//! Messages on TCP (RFC 1035, 4.2.2), each behind its length in two bytes.

/// So much of a message is kept where it comes in pieces: all questions, and more answers than are told.
const MAX_KEPT: usize = 4096;
const PREFIX: usize = 2;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The message under way, or its beginning, behind its length.
    kept: Vec<u8>,
    /// Bytes of it that went by.
    passed: usize,
    start_ns: u64,
    /// Some of it was not captured: what is kept is all there is.
    cut: bool,
    /// Nobody knows where the next message begins.
    pub lost: bool,
}

/// A message, or its beginning, and when its first byte came.
pub(super) struct Message<'a> {
    pub bytes: &'a [u8],
    pub start_ns: u64,
}

/// How long the message is whose length stands here.
pub(super) fn prefix(bytes: &[u8]) -> Option<usize> {
    let pair = bytes.get(..PREFIX)?;
    Some(usize::from(u16::from_be_bytes(pair.try_into().ok()?)))
}

impl Half {
    /// Length and message, where the length is known.
    fn whole(&self) -> Option<usize> {
        Some(PREFIX + prefix(&self.kept)?)
    }

    /// Takes the next message off the front of `bytes` and gives what `each` says of it; or takes them all, if no
    /// message ends with them.
    pub(super) fn take<T>(
        &mut self,
        ts_ns: u64,
        bytes: &mut &[u8],
        mut each: impl FnMut(Message<'_>) -> T,
    ) -> Option<T> {
        if self.passed == 0 {
            self.start_ns = ts_ns;
            if let Some(message) = prefix(bytes).and_then(|len| bytes.get(PREFIX..PREFIX + len)) {
                let rest = bytes.get(PREFIX + message.len()..).unwrap_or_default();
                *bytes = rest;
                return Some(each(Message {
                    bytes: message,
                    start_ns: ts_ns,
                }));
            }
        }
        while !bytes.is_empty() {
            let left = match self.whole() {
                Some(whole) => whole - self.passed,
                None => PREFIX - self.kept.len(),
            };
            let (piece, rest) = bytes.split_at(left.min(bytes.len()));
            *bytes = rest;
            self.passed += piece.len();
            if !self.cut {
                let room = MAX_KEPT - self.kept.len();
                self.kept
                    .extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
            if let Some(found) = self.finish(&mut each) {
                return Some(found);
            }
        }
        None
    }

    /// Takes bytes that were not captured. `false`: nobody knows any longer where messages begin.
    pub(super) fn gap(&mut self, count: u64, each: impl FnOnce(Message<'_>)) -> bool {
        let left = self.whole().map_or(0, |whole| whole - self.passed);
        match usize::try_from(count).ok().filter(|count| *count <= left) {
            Some(count) => {
                self.cut = true;
                self.passed += count;
                self.finish(each);
            }
            None => {
                self.reset();
                self.lost = true;
            }
        }
        !self.lost
    }

    fn finish<T>(&mut self, each: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        self.whole().filter(|whole| self.passed >= *whole)?;
        let found = each(Message {
            bytes: self.kept.get(PREFIX..).unwrap_or_default(),
            start_ns: self.start_ns,
        });
        self.reset();
        Some(found)
    }

    fn reset(&mut self) {
        self.kept.clear();
        if self.kept.capacity() > MAX_KEPT / 4 {
            self.kept = Vec::new();
        }
        self.passed = 0;
        self.cut = false;
    }
}
