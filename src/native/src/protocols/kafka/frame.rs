//! The bytes of one frame, whatever the pieces they come in.
//!
//! ```text
//!           | size (4) | ..................... size bytes ..................... |
//! at hand                        held │ skip ──►            floor         left = 0
//! ```

/// The longest of what is read at once: a batch's header behind its magic.
const LONGEST: usize = 44;
/// The longest text that is kept. Topics' names are up to 249 bytes long.
pub(super) const LONGEST_TEXT: usize = 512;
/// Bytes of a buffer that stays with its connection.
const SPARE: usize = 64;

/// Why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// What is at hand is over.
    More,
    /// No such thing can stand here.
    Bad,
}

/// What came of reading.
pub(super) type Step<T> = Result<T, Stop>;

/// Where one is in a frame. What was begun and not whole is read again with the next piece, by the same method.
#[derive(Debug)]
pub(super) struct Frame {
    /// Bytes that are yet to be taken.
    left: u64,
    /// `left` where the thing at hand ends: nothing in it may go further.
    pub floor: u64,
    /// Bytes to be dropped first.
    skip: u64,
    held: [u8; LONGEST],
    have: u8,
    /// The beginning of a text that was cut.
    text: Vec<u8>,
}

impl Frame {
    pub const fn new() -> Self {
        Self {
            left: 0,
            floor: 0,
            skip: 0,
            held: [0; LONGEST],
            have: 0,
            text: Vec::new(),
        }
    }

    /// So many bytes come now.
    pub fn begin(&mut self, size: u64) {
        (self.left, self.floor, self.skip) = (size, 0, 0);
        self.forget();
    }

    /// Bytes that are yet to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Nothing was begun.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.text.is_empty()
    }

    /// Drops what was begun.
    fn forget(&mut self) {
        self.have = 0;
        if self.text.capacity() > SPARE {
            self.text = Vec::new();
        }
        self.text.clear();
    }

    fn room(&self) -> u64 {
        self.left.saturating_sub(self.floor)
    }

    /// Goes on behind the next `count` bytes.
    pub fn skip(&mut self, count: u64) -> Step<()> {
        if count > self.room() {
            return Err(Stop::Bad);
        }
        self.skip = count;
        Ok(())
    }

    /// Goes on where `left` is this.
    pub fn skip_to(&mut self, left: u64) {
        self.forget();
        self.skip = self.left.saturating_sub(left);
    }

    /// Drops what is to be skipped.
    pub fn skipped(&mut self, bytes: &mut &[u8]) -> Step<()> {
        if self.skip == 0 {
            return Ok(());
        }
        let taken = self.skip.min(bytes.len() as u64);
        *bytes = &bytes[taken as usize..];
        self.skip -= taken;
        self.left -= taken;
        if self.skip == 0 {
            Ok(())
        } else {
            Err(Stop::More)
        }
    }

    /// Bytes that nobody captured: those that were to be skipped don't matter. Gives how many there are besides.
    pub fn gap(&mut self, count: u64) -> u64 {
        let taken = self.skip.min(count);
        self.skip -= taken;
        self.left -= taken;
        count - taken
    }

    /// The next `N` bytes.
    pub fn fixed<const N: usize>(&mut self, bytes: &mut &[u8]) -> Step<[u8; N]> {
        let have = usize::from(self.have);
        let missing = N.saturating_sub(have);
        if missing as u64 > self.room() {
            return Err(Stop::Bad);
        }
        if let (0, Some((found, rest))) = (have, bytes.split_first_chunk::<N>()) {
            *bytes = rest;
            self.left -= N as u64;
            return Ok(*found);
        }
        let (found, rest) = bytes.split_at(missing.min(bytes.len()));
        self.held[have..have + found.len()].copy_from_slice(found);
        *bytes = rest;
        self.left -= found.len() as u64;
        self.have += found.len() as u8;
        if found.len() < missing {
            return Err(Stop::More);
        }
        self.have = 0;
        self.held.first_chunk().copied().ok_or(Stop::Bad)
    }

    /// A signed number of 1, 2, 4 or 8 bytes.
    pub fn int(&mut self, width: u8, bytes: &mut &[u8]) -> Step<i64> {
        Ok(match width {
            1 => i64::from(i8::from_be_bytes(self.fixed(bytes)?)),
            2 => i64::from(i16::from_be_bytes(self.fixed(bytes)?)),
            4 => i64::from(i32::from_be_bytes(self.fixed(bytes)?)),
            _ => i64::from_be_bytes(self.fixed(bytes)?),
        })
    }

    /// An unsigned number, seven bits to a byte, the lowest first.
    pub fn varint(&mut self, bytes: &mut &[u8]) -> Step<u64> {
        loop {
            if self.room() == 0 {
                return Err(Stop::Bad);
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                return Err(Stop::More);
            };
            *bytes = rest;
            self.left -= 1;
            if self.have == 0 && byte < 0x80 {
                return Ok(u64::from(byte));
            }
            let at = usize::from(self.have);
            if at >= 10 {
                return Err(Stop::Bad);
            }
            self.held[at] = byte;
            self.have += 1;
            if byte < 0x80 {
                self.have = 0;
                let bits = |number: u64, byte: &u8| number << 7 | u64::from(byte & 0x7f);
                return Ok(self.held[..=at].iter().rev().fold(0, bits));
            }
        }
    }

    /// A signed number: 0, -1, 1, -2 ... as varints 0, 1, 2, 3 ...
    pub fn zigzag(&mut self, bytes: &mut &[u8]) -> Step<i64> {
        let number = self.varint(bytes)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A text of `size` bytes, which are LONGEST_TEXT at most, and what becomes of it.
    pub fn text<T>(
        &mut self,
        size: usize,
        bytes: &mut &[u8],
        act: impl FnOnce(&[u8]) -> T,
    ) -> Step<T> {
        let missing = size.saturating_sub(self.text.len());
        if missing as u64 > self.room() {
            return Err(Stop::Bad);
        }
        let (found, rest) = bytes.split_at(missing.min(bytes.len()));
        *bytes = rest;
        self.left -= found.len() as u64;
        if self.text.is_empty() && found.len() == size {
            return Ok(act(found));
        }
        self.text.extend_from_slice(found);
        if found.len() < missing {
            return Err(Stop::More);
        }
        let done = act(&self.text);
        self.forget();
        Ok(done)
    }
}
