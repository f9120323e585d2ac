//! Protobuf by hand, as far as a span needs it.

use super::lossy;

/// Tag of Span.attributes: field 9, length-delimited.
const ATTRIBUTES: u8 = 9 << 3 | 2;
/// Tags of KeyValue.key, KeyValue.value, AnyValue.string_value, AnyValue.int_value.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING_VALUE: u8 = 1 << 3 | 2;
const INT_VALUE: u8 = 3 << 3;

/// Longest varint.
const MAX_VARINT: usize = 10;

/// Bytes of a varint.
#[inline]
pub fn varint_len(value: u64) -> usize {
    // Seven bits to a byte, rounded up.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[inline]
pub fn append_varint(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0; MAX_VARINT];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.extend_from_slice(&bytes[..=len]);
}

/// Appends a length-delimited field.
pub fn append_bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    append_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Begins a message whose length is not known yet: most need two bytes for it.
#[inline]
pub fn begin_message(out: &mut Vec<u8>, field: u8) -> usize {
    out.extend_from_slice(&[field << 3 | 2, 0, 0]);
    out.len()
}

/// Ends what began at `start`.
#[inline]
pub fn end_message(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if (0x80..0x4000).contains(&len) {
        out[start - 2] = len as u8 | 0x80;
        out[start - 1] = (len >> 7) as u8;
    } else {
        end_unusual_message(out, start, len);
    }
}

#[cold]
fn end_unusual_message(out: &mut Vec<u8>, start: usize, len: usize) {
    let mut length = Vec::with_capacity(MAX_VARINT);
    append_varint(&mut length, len as u64);
    out.splice(start - 2..start, length);
}

/// Appends an attribute of a Span with a string value, made UTF-8 where it is not.
#[inline]
pub fn append_string(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    append_string_of(out, key, [&lossy(value), b""]);
}

/// The same, of a value in two parts that are UTF-8 already.
#[inline]
pub fn append_string_of(out: &mut Vec<u8>, key: &str, parts: [&[u8]; 2]) {
    let mut head = Head::new();
    head.string(key, parts[0].len() + parts[1].len());
    out.extend_from_slice(head.bytes());
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
}

/// Appends an attribute of a Span with an integer value.
pub fn append_int(out: &mut Vec<u8>, key: &str, value: u64) {
    let mut head = Head::new();
    head.int(key, value);
    out.extend_from_slice(head.bytes());
}

/// The bytes before an attribute's value, its lengths left 0:
/// `ATTRIBUTES len KEY key_len key… VALUE len value_tag`, and 0 up to N.
const fn prefix<const N: usize>(key: &str, value_tag: u8) -> [u8; N] {
    let mut out = [0; N];
    out[0] = ATTRIBUTES;
    out[2] = KEY;
    out[3] = key.len() as u8;
    let mut i = 0;
    while i < key.len() {
        out[4 + i] = key.as_bytes()[i];
        i += 1;
    }
    out[4 + i] = VALUE;
    out[6 + i] = value_tag;
    out
}

const BODY_SIZE_REQUEST: [u8; 29] = prefix("http.request.body.size", INT_VALUE);
const BODY_SIZE_RESPONSE: [u8; 30] = prefix("http.response.body.size", INT_VALUE);
/// A request without a body, and what begins the response's: by far the most have none.
const BODY_SIZE_NONE_AND_RESPONSE: [u8; 60] = {
    let mut out = [0; 60];
    let mut i = 0;
    while i < 60 {
        out[i] = match i {
            1 => 28,
            27 => 2,
            0..29 => BODY_SIZE_REQUEST[i],
            29 => 0,
            _ => BODY_SIZE_RESPONSE[i - 30],
        };
        i += 1;
    }
    out
};
const URL_PATH: [u8; 16] = prefix("url.path", STRING_VALUE);

/// Small fields, put together on the stack. There is room for a span's fixed fields and three attributes'
/// keys of MAX_KEY bytes.
pub struct Head {
    bytes: [u8; 256],
    len: usize,
}

/// Longest key.
const MAX_KEY: usize = 48;

impl Head {
    #[inline]
    pub fn new() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    pub fn fixed<const N: usize>(&mut self, fields: &[u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(fields);
        self.len += N;
    }

    /// http.request.body.size and http.response.body.size.
    #[inline]
    pub fn body_sizes(&mut self, request: u64, response: u64) {
        if request == 0 {
            let value_len = 1 + varint_len(response);
            let mut both = BODY_SIZE_NONE_AND_RESPONSE;
            both[31] = (27 + value_len) as u8;
            both[58] = value_len as u8;
            self.fixed(&both);
            self.varint(response);
        } else {
            self.prefixed_int(BODY_SIZE_REQUEST, request);
            self.prefixed_int(BODY_SIZE_RESPONSE, response);
        }
    }

    /// url.path, of `len` bytes, which are to follow.
    #[inline]
    pub fn url_path(&mut self, len: usize) {
        let mut prefix = URL_PATH;
        let key_len = prefix.len() - 8;
        if len < 0x80 - 16 {
            prefix[1] = (key_len + 6 + len) as u8;
            prefix[key_len + 5] = (2 + len) as u8;
            prefix[key_len + 7] = len as u8;
            self.fixed(&prefix);
        } else {
            self.string("url.path", len);
        }
    }

    #[inline]
    fn prefixed_int<const N: usize>(&mut self, mut prefix: [u8; N], value: u64) {
        let value_len = 1 + varint_len(value);
        prefix[1] = (N - 3 + value_len) as u8;
        prefix[N - 2] = value_len as u8;
        self.fixed(&prefix);
        self.varint(value);
    }

    /// An attribute with an integer value.
    pub fn int(&mut self, key: &str, value: u64) {
        let value_len = 1 + varint_len(value);
        self.fixed(&[ATTRIBUTES, (2 + key.len() + 2 + value_len) as u8]);
        self.key(key);
        self.fixed(&[VALUE, value_len as u8, INT_VALUE]);
        self.varint(value);
    }

    /// An attribute with a string value of `len` bytes, which are to follow.
    pub fn string(&mut self, key: &str, len: usize) {
        let value_len = 1 + varint_len(len as u64) + len;
        let pair_len = 2 + key.len() + 1 + varint_len(value_len as u64) + value_len;
        self.fixed(&[ATTRIBUTES]);
        self.varint(pair_len as u64);
        self.key(key);
        self.fixed(&[VALUE]);
        self.varint(value_len as u64);
        self.fixed(&[STRING_VALUE]);
        self.varint(len as u64);
    }

    fn key(&mut self, key: &str) {
        debug_assert!(key.len() <= MAX_KEY);
        self.fixed(&[KEY, key.len() as u8]);
        self.bytes[self.len..self.len + key.len()].copy_from_slice(key.as_bytes());
        self.len += key.len();
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.fixed(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.fixed(&[value as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_as_long_as_they_are() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, (1u64 << shift) + 1] {
                let mut out = Vec::new();
                append_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(
                    prost::decode_length_delimiter(&out[..]).ok(),
                    usize::try_from(value).ok()
                );
            }
        }
    }

    #[test]
    fn sizes_of_bodies_in_one_piece_as_in_two() {
        for response in [0, 1, 127, 128, 70_000, u64::MAX] {
            let (mut whole, mut parts) = (Head::new(), Head::new());
            whole.body_sizes(0, response);
            parts.int("http.request.body.size", 0);
            parts.int("http.response.body.size", response);
            assert_eq!(whole.bytes(), parts.bytes(), "{response}");
        }
    }

    #[test]
    fn messages_of_any_length() {
        for len in [0, 1, 127, 128, 16383, 16384, 3_000_000] {
            let mut out = b"before".to_vec();
            let start = begin_message(&mut out, 2);
            out.resize(out.len() + len, b'x');
            end_message(&mut out, start);
            assert_eq!(out[..7], *b"before\x12");
            let field = &out[7..];
            assert_eq!(prost::decode_length_delimiter(field).unwrap(), len);
            assert_eq!(field.len(), len + varint_len(len as u64));
        }
    }
}
