//! The outer framing of version 5 (native_protocol_v5.spec, 2): segments, whose header is proven by a checksum.
//!
//! ```text
//! plain        payload's size 17 bits │ self-contained 1 │ 0 6                            │ CRC24 3 bytes │ payload │ CRC32
//! compressed   payload's size 17 bits │ size of what it holds 17 │ self-contained 1 │ 0 5  │ CRC24 3 bytes │ payload │ CRC32
//! ```
//!
//! All of it little-endian. A size of 0 of what it holds: it was not compressed. A segment that is self-contained holds
//! whole messages, others a piece of one.

/// Of a header: what the sender's STARTUP chose decides.
pub(super) const PLAIN: usize = 6;
pub(super) const COMPRESSED: usize = 8;
/// Behind each payload.
pub(super) const TRAILER: u32 = 4;
/// The longest payload.
pub(super) const MAX_PAYLOAD: usize = (1 << 17) - 1;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Bytes of the payload as they are on the wire.
    pub size: u32,
    /// Bytes that it holds, where it is compressed.
    pub holds: Option<u32>,
    pub self_contained: bool,
}

impl Segment {
    /// `None`: it is no header.
    pub fn parse(header: &[u8], compressed: bool) -> Option<Self> {
        let length = if compressed { COMPRESSED } else { PLAIN };
        let (said, sum) = header.get(..length)?.split_at(length - 3);
        let bits = |bytes: &[u8]| {
            let bytes = bytes.iter().rev();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        if u64::from(crc24(said)) != bits(sum) {
            return None;
        }
        let said = bits(said);
        let size = (said & 0x1_ffff) as u32;
        let said = said >> 17;
        if !compressed {
            return Some(Self {
                size,
                holds: None,
                self_contained: said & 1 == 1,
            });
        }
        let holds = (said & 0x1_ffff) as u32;
        Some(Self {
            size,
            holds: (holds > 0).then_some(holds),
            self_contained: said >> 17 & 1 == 1,
        })
    }
}

/// The specification's: polynomial 0x1974F0B, from 0x875060 on.
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x87_5060, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let next = crc << 1;
            if next & 0x100_0000 == 0 {
                next
            } else {
                next ^ 0x197_4f0b
            }
        })
    })
}
