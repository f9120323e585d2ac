//! Messages' headers.
//!
//! ```text
//! version 1 │ flags 1 │ stream 2 │ opcode 1 │ length 4 │ body          version: the highest bit is set in what servers say
//! ```

use crate::exchange::Side;

/// Bytes of a header.
pub(super) const HEADER: usize = 9;
/// The longest body (native_protocol_v5.spec, 2.5).
const MAX_BODY: u32 = 256 << 20;

/// Bits of `flags`.
pub(super) mod flag {
    pub const COMPRESSION: u8 = 0x01;
    pub const TRACING: u8 = 0x02;
    pub const CUSTOM_PAYLOAD: u8 = 0x04;
    pub const WARNING: u8 = 0x08;
}

/// Opcodes.
pub(super) mod opcode {
    pub const ERROR: u8 = 0x00;
    pub const STARTUP: u8 = 0x01;
    pub const READY: u8 = 0x02;
    pub const AUTHENTICATE: u8 = 0x03;
    pub const OPTIONS: u8 = 0x05;
    pub const SUPPORTED: u8 = 0x06;
    pub const QUERY: u8 = 0x07;
    pub const RESULT: u8 = 0x08;
    pub const PREPARE: u8 = 0x09;
    pub const EXECUTE: u8 = 0x0a;
    pub const REGISTER: u8 = 0x0b;
    pub const EVENT: u8 = 0x0c;
    pub const BATCH: u8 = 0x0d;
    pub const AUTH_CHALLENGE: u8 = 0x0e;
    pub const AUTH_RESPONSE: u8 = 0x0f;
    pub const AUTH_SUCCESS: u8 = 0x10;
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// 3 to 5.
    pub version: u8,
    pub flags: u8,
    pub stream: i16,
    pub opcode: u8,
    pub length: u32,
}

impl Header {
    /// `None`: nobody says that on this side.
    pub fn parse(side: Side, header: [u8; HEADER]) -> Option<Self> {
        let [version, flags, s0, s1, opcode, length @ ..] = header;
        let answers = version & 0x80 != 0;
        let found = Self {
            version: version & 0x7f,
            flags,
            stream: i16::from_be_bytes([s0, s1]),
            opcode,
            length: u32::from_be_bytes(length),
        };
        let asks = matches!(
            opcode,
            opcode::STARTUP
                | opcode::OPTIONS
                | opcode::QUERY
                | opcode::PREPARE
                | opcode::EXECUTE
                | opcode::REGISTER
                | opcode::BATCH
                | opcode::AUTH_RESPONSE
        );
        let fits = (3..=5).contains(&found.version)
            && flags < 0x20
            && found.length <= MAX_BODY
            && opcode <= opcode::AUTH_SUCCESS
            && opcode != 0x04
            && match side {
                Side::Request => !answers && asks && found.stream >= 0,
                // of no request is what tells of events
                Side::Response => {
                    answers && !asks && (found.stream >= 0 || opcode == opcode::EVENT)
                }
            };
        fits.then_some(found)
    }

    /// Whether a server may answer a request with this opcode by that.
    pub fn may_answer(self, asked: u8) -> bool {
        match self.opcode {
            opcode::ERROR => true,
            opcode::READY => matches!(asked, opcode::STARTUP | opcode::REGISTER),
            opcode::AUTHENTICATE => asked == opcode::STARTUP,
            opcode::SUPPORTED => asked == opcode::OPTIONS,
            opcode::RESULT => matches!(
                asked,
                opcode::QUERY | opcode::PREPARE | opcode::EXECUTE | opcode::BATCH
            ),
            opcode::AUTH_CHALLENGE | opcode::AUTH_SUCCESS => asked == opcode::AUTH_RESPONSE,
            _ => false,
        }
    }

    /// Bytes of the body that are worth reading.
    pub fn wanted(self) -> usize {
        match self.opcode {
            opcode::QUERY | opcode::PREPARE => 24 << 10,
            opcode::BATCH => 64 << 10,
            opcode::EXECUTE => 4 << 10,
            opcode::STARTUP => 4 << 10,
            // columns stand before the number of rows
            opcode::RESULT => 32 << 10,
            opcode::ERROR => 4 << 10, // warnings stand before the code
            _ => 0,
        }
    }
}
