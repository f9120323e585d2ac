//! Packets and the numbers in them.
//!
//! ```text
//!  0        3     4
//! | length | seq | payload ...          length: little-endian; 0xffffff: the payload goes on in the next packet
//! ```

/// A payload of this many bytes goes on in another packet.
const MAX_CHUNK: u32 = 0xff_ffff;

/// One message: a packet, or as many as its payload needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Of the first packet and of the last.
    pub seq: u8,
    pub last_seq: u8,
    /// Of the payload.
    pub len: u64,
    /// Of all, headers included.
    pub wire_bytes: u64,
    /// The payload's first bytes, as many as were asked for and captured.
    pub bytes: &'a [u8],
    /// When its first byte came.
    pub start_ns: u64,
}

impl Packet<'_> {
    /// All of its payload is there.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.len
    }

    /// Not even the first byte is there, so that nobody knows what it is.
    pub(super) fn is_unheard(&self) -> bool {
        self.bytes.is_empty() && self.len > 0
    }
}

/// What a gap did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It lies within a payload.
    Inside,
    /// It ends with a payload: `Packets::so_far` has the message.
    Whole,
    /// It hides where a packet begins. `goes_on`: that of a message that had begun.
    Border { goes_on: bool },
}

/// One direction's packets. Memory: what `keep` allows.
#[derive(Debug, Default)]
pub(super) struct Packets {
    header: [u8; 4],
    have: u8,
    /// The packet under way goes on with the payload of the one before.
    continued: bool,
    /// The rest of the payload is not kept: some of it was not captured.
    hole: bool,
    first_seq: u8,
    left: u32,
    len: u64,
    packets: u32,
    start_ns: u64,
    kept: Vec<u8>,
}

impl Packets {
    /// The next message that ends in `data`, whose bytes up to there are taken off. `keep`: bytes of a payload.
    #[inline]
    pub(super) fn next<'a, 'b: 'a>(
        &'a mut self,
        data: &mut &'b [u8],
        ts_ns: u64,
        keep: usize,
    ) -> Option<Packet<'a>> {
        if self.have == 0 && !self.continued {
            self.kept.clear();
            if let Some((packet, rest)) = whole(data, ts_ns, keep) {
                *data = rest;
                return Some(packet);
            }
        }
        self.slowly(data, ts_ns, keep)
    }

    fn slowly<'a, 'b: 'a>(
        &'a mut self,
        data: &mut &'b [u8],
        ts_ns: u64,
        keep: usize,
    ) -> Option<Packet<'a>> {
        loop {
            if self.have < 4 {
                if data.is_empty() {
                    return None;
                }
                if self.have == 0 && !self.continued {
                    self.start_ns = ts_ns;
                    (self.len, self.packets, self.hole) = (0, 0, false);
                }
                while self.have < 4 {
                    let (first, rest) = data.split_first()?;
                    self.header[usize::from(self.have)] = *first;
                    self.have += 1;
                    *data = rest;
                }
                self.left = length(self.header);
                self.packets = self.packets.saturating_add(1);
                if !self.continued {
                    self.first_seq = self.header[3];
                }
            }
            let (payload, rest) = data.split_at(data.len().min(self.left as usize));
            *data = rest;
            self.left -= payload.len() as u32;
            self.len += payload.len() as u64;
            if !self.hole {
                let room = keep.saturating_sub(self.kept.len()).min(payload.len());
                self.kept.extend_from_slice(&payload[..room]);
            }
            if self.left > 0 {
                return None;
            }
            if self.ends() {
                return Some(self.message());
            }
        }
    }

    /// The packet under way is over; so is the message, unless it goes on.
    fn ends(&mut self) -> bool {
        self.have = 0;
        self.continued = length(self.header) == MAX_CHUNK;
        !self.continued
    }

    fn message(&self) -> Packet<'_> {
        Packet {
            seq: self.first_seq,
            last_seq: self.header[3],
            len: self.len,
            wire_bytes: self.len + 4 * u64::from(self.packets),
            bytes: &self.kept,
            start_ns: self.start_ns,
        }
    }

    /// So many bytes were not captured.
    pub(super) fn skip(&mut self, count: u64) -> Passed {
        if self.have < 4 {
            let goes_on = self.continued;
            return Passed::Border { goes_on };
        }
        let Some(left) = u64::from(self.left).checked_sub(count) else {
            let goes_on = length(self.header) == MAX_CHUNK;
            return Passed::Border { goes_on };
        };
        self.hole = true;
        self.left = left as u32;
        self.len += count;
        if left == 0 && self.ends() {
            return Passed::Whole;
        }
        Passed::Inside
    }

    /// The message that ended, or that is under way: what there is of it.
    pub(super) fn so_far(&self) -> Packet<'_> {
        self.message()
    }

    /// Its header is whole.
    pub(super) fn has_header(&self) -> bool {
        self.have == 4 || self.continued
    }

    /// Bytes of the message under way, as far as it has come.
    pub(super) fn bytes_under_way(&self) -> u64 {
        let header = u64::from(self.have % 4);
        match (self.have, self.continued) {
            (0, false) => 0,
            (4, _) | (_, true) => self.len + 4 * u64::from(self.packets) + header,
            _ => header,
        }
    }

    /// The number of the packet under way.
    pub(super) fn number(&self) -> Option<u8> {
        (self.have == 4).then_some(self.header[3])
    }

    /// What comes next begins a message.
    pub(super) fn begin_anew(&mut self) {
        (self.have, self.continued) = (0, false);
        self.kept.clear();
        if self.kept.capacity() > 4096 {
            self.kept = Vec::new();
        }
    }

    /// Forgets what was kept so that nobody finds it in memory either.
    pub(super) fn wipe(&mut self) {
        self.kept.fill(0);
        self.kept.clear();
    }
}

/// The message that `data` begins with, if it is there as a whole, in one packet.
#[inline(always)]
fn whole<'a>(data: &'a [u8], start_ns: u64, keep: usize) -> Option<(Packet<'a>, &'a [u8])> {
    let (header, rest) = data.split_first_chunk::<4>()?;
    let len = length(*header);
    if len == MAX_CHUNK {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(len as usize)?;
    let packet = Packet {
        seq: header[3],
        last_seq: header[3],
        len: u64::from(len),
        wire_bytes: u64::from(len) + 4,
        bytes: &payload[..payload.len().min(keep)],
        start_ns,
    };
    Some((packet, rest))
}

/// The length that a header gives.
pub(super) fn length(header: [u8; 4]) -> u32 {
    u32::from_le_bytes([header[0], header[1], header[2], 0])
}

/// Reads what a payload consists of; `None` where it has less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// A number of one to nine bytes.
    pub(super) fn lenenc(&mut self) -> Option<u64> {
        let count = match self.u8()? {
            number @ ..=0xfa => return Some(u64::from(number)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            _ => return None,
        };
        let mut bytes = [0; 8];
        bytes[..count].copy_from_slice(self.take(count)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// Bytes behind their length.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.lenenc()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// Bytes up to a NUL, or to the end.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let len = memchr::memchr(0, self.0).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(len);
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement of 16 MB and a little, its last packet with `end` bytes.
    fn long(end: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xff, 0xff, 0, 3];
        bytes.resize(4 + MAX_CHUNK as usize, b'x');
        bytes.extend_from_slice(&[end as u8, 0, 0, 1]);
        bytes.resize(bytes.len() + end, b'y');
        bytes
    }

    #[test]
    fn a_payload_goes_on_in_the_next_packet() {
        for end in [0, 1, 200] {
            let long = long(end);
            for size in [long.len(), 1 << 20] {
                let (mut packets, mut found) = (Packets::default(), 0);
                for mut piece in long.chunks(size) {
                    while let Some(packet) = packets.next(&mut piece, 7, 100) {
                        assert_eq!((packet.seq, packet.last_seq), (0, 1));
                        assert_eq!(packet.len, u64::from(MAX_CHUNK) + end as u64);
                        assert_eq!(packet.wire_bytes, long.len() as u64);
                        assert_eq!((packet.bytes.len(), packet.bytes[0]), (100, 3));
                        found += 1;
                    }
                }
                assert_eq!(found, 1);
            }
        }
    }

    #[test]
    fn a_gap_may_hide_where_it_goes_on() {
        let long = long(5);
        let mut packets = Packets::default();
        assert!(packets.next(&mut &long[..1000], 7, 100).is_none());
        let inside = u64::from(MAX_CHUNK) + 4 - 1000;
        assert_eq!(packets.skip(inside), Passed::Inside);
        assert_eq!(packets.skip(9), Passed::Border { goes_on: true });
        assert_eq!(packets.so_far().bytes.len(), 100);
    }
}
