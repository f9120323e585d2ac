//! Frames (RFC 9113, 4 and 6): their headers, and what a stream of them looks like from its middle.

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// What a client sends first (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest payload that an endpoint has to accept before it says otherwise, which few ever do.
const USUAL_PAYLOAD: u32 = 1 << 14;

/// Frame types.
pub(super) mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags.
pub(super) mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of payload.
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    /// The bit that is reserved, and 0.
    reserved: bool,
}

impl Frame {
    /// Before the first one.
    pub const NONE: Self = Self {
        length: 0,
        kind: 0,
        flags: 0,
        stream: 0,
        reserved: false,
    };

    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let [l0, l1, l2, kind, flags, stream @ ..] = *bytes;
        let stream = u32::from_be_bytes(stream);
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: stream & !(1 << 31),
            reserved: stream >> 31 != 0,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What breaks these rules is a connection error, so that no endpoint would have read on.
    pub fn is_legal(&self) -> bool {
        let length = self.length;
        let (on_stream, size) = match self.kind {
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => (true, true),
            kind::PRIORITY => (true, true), // another length than 5 is the stream's error alone
            kind::RST_STREAM => (true, length == 4),
            kind::SETTINGS if self.has(flag::ACK) => (false, length == 0),
            kind::SETTINGS => (false, length % 6 == 0),
            kind::PING => (false, length == 8),
            kind::GOAWAY => (false, length >= 8),
            kind::WINDOW_UPDATE => return length == 4,
            _ => return true, // extensions are ignored
        };
        size && on_stream == (self.stream != 0)
    }

    /// As `is_legal`, with what senders do though they need not: for bytes that may be no frame at all.
    pub fn is_likely(&self) -> bool {
        let flags = match self.kind {
            kind::DATA => flag::END_STREAM | flag::PADDED,
            kind::HEADERS => flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            kind::SETTINGS | kind::PING => flag::ACK,
            kind::PUSH_PROMISE => flag::END_HEADERS | flag::PADDED,
            kind::CONTINUATION => flag::END_HEADERS,
            _ => 0,
        };
        self.kind <= kind::CONTINUATION
            && !self.reserved
            && self.flags & !flags == 0
            && (self.kind != kind::PRIORITY || self.length == 5)
            && self.length <= USUAL_PAYLOAD
            && self.is_legal()
    }
}

/// The frames at the start of `bytes`, each with as much of its payload as is there; until something is no frame.
pub(super) fn likely(mut bytes: &[u8]) -> impl Iterator<Item = (Frame, &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let frame = Frame::parse(header);
        if !frame.is_likely() {
            bytes = &[];
            return None;
        }
        let (payload, after) = rest.split_at(rest.len().min(frame.length as usize));
        bytes = after;
        Some((frame, payload))
    })
}

/// Nothing but frames starts here, as far as can be seen.
pub(super) fn are_likely(bytes: &[u8]) -> bool {
    let mut seen = 0;
    for (_, payload) in likely(bytes) {
        seen += HEADER + payload.len();
    }
    // what is left may be a header that is cut
    seen > 0 && bytes.len() - seen < HEADER
}

/// The stream that PUSH_PROMISE announces.
pub(super) fn promised(frame: Frame, payload: &[u8]) -> Option<u32> {
    if frame.kind != kind::PUSH_PROMISE {
        return None;
    }
    let rest = &payload[usize::from(frame.has(flag::PADDED)).min(payload.len())..];
    Some(u32::from_be_bytes(*rest.first_chunk()?) & !(1 << 31))
}

/// The part of a payload between priority and padding. `None`: there is more padding than payload.
pub(super) fn fragment(frame: Frame, payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if frame.has(flag::PADDED) {
        let (first, after) = rest.split_first()?;
        (padding, rest) = (usize::from(*first), after);
    }
    let skipped = match frame.kind {
        kind::HEADERS if frame.has(flag::PRIORITY) => 5,
        kind::PUSH_PROMISE => 4,
        _ => 0,
    };
    let rest = rest.get(skipped..)?;
    rest.get(..rest.len().checked_sub(padding)?)
}
