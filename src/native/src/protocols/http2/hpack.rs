//! HPACK (RFC 7541) by nghttp2: one decoder per direction of a connection.
//!
//! Where the connection is older than its capture, or a header block was lost, the other end's table has entries
//! that nobody here knows. The decoder then starts with a table full of fields without a name: an index counts
//! from the newest entry, so that what is added from then on is found where the sender means it to be, and what
//! was there before is found to be unknown. An unknown entry takes the least room an entry can take, so that none
//! is evicted here that the sender still has. What is known is never evicted later than by the sender either, or
//! if it is, no index points at it.

use libnghttp2_sys as ffi;
use std::ptr::{self, NonNull};

/// Dynamic tables may grow as large as their sender says, and as this: it bounds memory.
const MAX_TABLE: usize = 64 << 10;
/// A table's size before anybody has said anything.
const USUAL_TABLE: usize = 4096;
/// Sizes of tables that nobody saw being set are guessed up to this one.
const MAX_GUESS: usize = 16 << 10;
/// Bytes of nghttp2's decoder with an empty table.
const INFLATER: usize = 2048;
/// What an entry takes, for RFC 7541, besides its name and value.
const ENTRY: usize = 32;

/// The blocks of one direction, one after the other.
#[derive(Debug)]
pub(super) struct Decoder {
    inflater: Option<Inflater>,
    /// Size of a table of which nothing is known; 0: all is known.
    guess: usize,
}

/// The bytes are not what a sender would send who has the table that is thought to be his.
#[derive(Debug)]
pub(super) struct Broken;

impl Decoder {
    /// At the beginning of a connection.
    pub const fn new() -> Self {
        Self {
            inflater: None,
            guess: 0,
        }
    }

    /// Some blocks went by unseen.
    pub fn forget(&mut self) {
        self.inflater = None;
        self.guess = self.guess.max(USUAL_TABLE);
    }

    /// Decodes a whole block. Names are "" where they are not known, with values that mean nothing. After an error
    /// the fields so far are right, and what went before is forgotten.
    pub fn block(&mut self, block: &[u8], field: impl FnMut(&[u8], &[u8])) -> Result<(), Broken> {
        if self.inflater.is_none() {
            self.inflater = Some(Inflater::new(self.guess)?);
        }
        let result = match &mut self.inflater {
            Some(inflater) => inflater.block(block, field),
            None => Err(Broken),
        };
        if result.is_err() {
            // perhaps an entry of a table that is larger than was guessed
            self.inflater = None;
            self.guess = match self.guess {
                0 => USUAL_TABLE,
                guess => (2 * guess).min(MAX_GUESS),
            };
        }
        result
    }

    /// Bytes on the heap at most.
    pub fn heap_bytes(&self) -> usize {
        self.inflater.as_ref().map_or(0, |inflater| {
            // what an entry costs besides its text is five times what it is said to cost
            INFLATER + 5 * inflater.table_bytes()
        })
    }
}

/// nghttp2's.
#[derive(Debug)]
struct Inflater(NonNull<ffi::nghttp2_hd_inflater>);

// SAFETY: it has no ties to a thread.
unsafe impl Send for Inflater {}

impl Inflater {
    /// With unknown entries in `unknown` bytes of its table.
    fn new(unknown: usize) -> Result<Self, Broken> {
        let mut raw = ptr::null_mut();
        // SAFETY: a place for a pointer.
        let failed = unsafe { ffi::nghttp2_hd_inflate_new(&mut raw) } != 0;
        let mut inflater = Self(NonNull::new(raw).filter(|_| !failed).ok_or(Broken)?);
        // SAFETY: alive, and not within a block. Senders say in their blocks which size they use.
        unsafe { ffi::nghttp2_hd_inflate_change_table_size(inflater.0.as_ptr(), MAX_TABLE) };
        if unknown > 0 {
            let mut block = Vec::with_capacity(8 + 3 * unknown / ENTRY);
            append_table_size(&mut block, unknown);
            for _ in 0..unknown / ENTRY {
                block.extend_from_slice(&[0x40, 0, 0]); // indexed, with an empty name and value
            }
            inflater.block(&block, |_, _| {})?;
        }
        Ok(inflater)
    }

    /// Bytes of the table, as RFC 7541 counts them.
    fn table_bytes(&self) -> usize {
        // SAFETY: alive.
        unsafe { ffi::nghttp2_hd_inflate_get_dynamic_table_size(self.0.as_ptr()) }
    }

    fn block(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        loop {
            let mut pair = ffi::nghttp2_nv {
                name: ptr::null_mut(),
                value: ptr::null_mut(),
                namelen: 0,
                valuelen: 0,
                flags: 0,
            };
            let mut flags = 0;
            // SAFETY: alive; `block` is readable as far as it says; the whole rest is given, so it is final.
            let taken = unsafe {
                ffi::nghttp2_hd_inflate_hd2(
                    self.0.as_ptr(),
                    &mut pair,
                    &mut flags,
                    block.as_ptr(),
                    block.len(),
                    1,
                )
            };
            block = usize::try_from(taken)
                .ok()
                .and_then(|taken| block.get(taken..))
                .ok_or(Broken)?;
            let has = |flag: ffi::nghttp2_hd_inflate_flag| flags & flag as i32 != 0;
            if has(ffi::NGHTTP2_HD_INFLATE_EMIT) {
                // SAFETY: valid until the next call, unless they are empty.
                unsafe {
                    field(
                        slice(pair.name, pair.namelen),
                        slice(pair.value, pair.valuelen),
                    )
                };
            }
            if has(ffi::NGHTTP2_HD_INFLATE_FINAL) {
                // SAFETY: alive.
                unsafe { ffi::nghttp2_hd_inflate_end_headers(self.0.as_ptr()) };
                return Ok(());
            }
            if !has(ffi::NGHTTP2_HD_INFLATE_EMIT) && block.is_empty() {
                return Err(Broken);
            }
        }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: alive until here.
        unsafe { ffi::nghttp2_hd_inflate_del(self.0.as_ptr()) };
    }
}

/// # Safety
/// Either empty, or so many bytes are readable for as long as the slice is used.
unsafe fn slice<'a>(at: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(at, len) }
}

/// Dynamic Table Size Update (RFC 7541, 6.3); `size` is at least 31.
fn append_table_size(block: &mut Vec<u8>, size: usize) {
    block.push(0x3f);
    let mut rest = size - 31;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Broken> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut found = Vec::new();
        decoder.block(block, |name, value| found.push((text(name), text(value))))?;
        Ok(found)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn rfc_7541_c_4() {
        let mut decoder = Decoder::new();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let mut expected = vec![
            pair(":method", "GET"),
            pair(":scheme", "http"),
            pair(":path", "/"),
            pair(":authority", "www.example.com"),
        ];
        assert_eq!(fields(&mut decoder, first).unwrap(), expected);
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        expected.push(pair("cache-control", "no-cache"));
        assert_eq!(fields(&mut decoder, second).unwrap(), expected);
    }

    #[test]
    fn what_is_added_to_an_unknown_table_is_known() {
        let mut decoder = Decoder::new();
        decoder.forget();
        // two old entries, then a new one
        let block = b"\x82\xbe\xbf\x44\x02/a";
        let expected = [
            pair(":method", "GET"),
            pair("", ""),
            pair("", ""),
            pair(":path", "/a"),
        ];
        assert_eq!(fields(&mut decoder, block).unwrap(), expected);
        // the new one stands first now, the old ones behind it
        let expected = [pair(":path", "/a"), pair("", ""), pair("", "")];
        assert_eq!(fields(&mut decoder, b"\xbe\xbf\xc0").unwrap(), expected);
    }

    #[test]
    fn unknown_entries_last_as_long_as_the_sender_can_have_them() {
        let mut decoder = Decoder::new();
        decoder.forget();
        // 100 bytes are added, so that the sender has 3996 left: 124 entries at most
        let added = [&b"\x40\x04name\x40"[..], &[b'v'; 64]].concat();
        assert_eq!(fields(&mut decoder, &added).unwrap().len(), 1);
        let index = |index: u8| [0xff, index - 127];
        assert_eq!(
            fields(&mut decoder, &index(61 + 125)).unwrap(),
            [pair("", "")]
        );
    }

    #[test]
    fn a_table_larger_than_guessed_is_guessed_anew() {
        let mut decoder = Decoder::new();
        decoder.forget();
        let far = [0xff, 0x80 | (300 - 127) as u8, 1]; // entry 239
        assert!(fields(&mut decoder, &far).is_err());
        assert_eq!(fields(&mut decoder, &far).unwrap(), [pair("", "")]);
    }

    #[test]
    fn a_sender_may_use_a_larger_table() {
        let mut decoder = Decoder::new();
        let mut block = Vec::new();
        append_table_size(&mut block, 1 << 16);
        block.extend_from_slice(b"\x40\x01a\x7f\xc9\x1e"); // 4,040 bytes
        block.extend(std::iter::repeat_n(b'x', 4040));
        block.extend_from_slice(b"\x40\x01b\x01y");
        assert_eq!(fields(&mut decoder, &block).unwrap().len(), 2);
        let again = fields(&mut decoder, b"\xbe\xbf").unwrap();
        assert_eq!((&again[0], again[1].1.len()), (&pair("b", "y"), 4040));
        append_table_size(&mut block, 1 << 20);
        assert!(fields(&mut decoder, &block).is_err());
    }

    #[test]
    fn no_bytes_break_it() {
        let mut seed = 1u64;
        let mut decoder = Decoder::new();
        for round in 0..20_000 {
            let block: Vec<u8> = (0..round % 64)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect();
            let _ = decoder.block(&block, |_, _| {});
        }
    }
}
