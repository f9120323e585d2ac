//! The notations of CQL's protocol (native_protocol_v5.spec, 3) in the beginning of a message's body. `None`: it is
//! over, or no such thing stands there.

/// How deep types stand in each other; nobody nests them deeper.
const MAX_DEPTH: u8 = 16;

/// What is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a>(pub &'a [u8]);

impl<'a> Body<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(found)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// [short]
    pub fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// [int]
    pub fn int(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// [string] and [short bytes]
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let size = self.short()?;
        self.bytes(size.into())
    }

    /// [long string]: what there is of it, and whether that is all.
    pub fn long_string(&mut self) -> Option<(&'a [u8], bool)> {
        let size = usize::try_from(self.int()?).ok()?;
        if let Some(text) = self.bytes(size) {
            return Some((text, true));
        }
        Some((std::mem::take(&mut self.0), false))
    }

    /// [bytes] and [value]: null and "not set" are empty.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let size = self.int()?;
        self.bytes(usize::try_from(size).unwrap_or(0))
    }

    /// [bytes map], one entry after the other.
    pub fn map(&mut self, mut each: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
        for _ in 0..self.short()? {
            let key = self.string()?;
            each(key, self.value()?);
        }
        Some(())
    }

    /// [string list]
    pub fn skip_strings(&mut self) -> Option<()> {
        for _ in 0..self.short()? {
            self.string()?;
        }
        Some(())
    }

    /// [option], where that is a type (4.2.5.2).
    pub fn skip_type(&mut self) -> Option<()> {
        self.skip_type_within(MAX_DEPTH)
    }

    fn skip_type_within(&mut self, depth: u8) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.short()? {
            0x00 => drop(self.string()?),
            0x20 | 0x22 => self.skip_type_within(depth)?,
            0x21 => {
                self.skip_type_within(depth)?;
                self.skip_type_within(depth)?;
            }
            0x30 => {
                self.string()?;
                self.string()?;
                for _ in 0..self.short()? {
                    self.string()?;
                    self.skip_type_within(depth)?;
                }
            }
            0x31 => {
                for _ in 0..self.short()? {
                    self.skip_type_within(depth)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}
