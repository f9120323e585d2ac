//! The compressed protocol: packets, in a stream of frames that may be compressed each.
//!
//! ```text
//!  0        3     4              7
//! | length | seq | length before | zlib stream, or the packets as they are where the length before is 0
//! ```
//!
//! What is found in a frame is passed on as if it had come that way; what can't be, as a gap of known size. A frame
//! is inflated when it is whole, so that no connection keeps an inflater; of what it inflates to no more than `MAX_OUT`
//! is. Memory: `MAX_IN` per direction, while a frame is under way.

use super::packet::{length, Reader};
use crate::exchange::Input;
use flate2::{Decompress, FlushDecompress, Status};
use std::cell::RefCell;

/// Bytes of a compressed frame that are looked at. Both ends write frames of 16 KB or so, but for long statements.
const MAX_IN: usize = 64 << 10;
/// Bytes of what a frame was before that are looked at: a frame of 64 KB could be 64 MB of zeros.
const MAX_OUT: usize = 256 << 10;
/// Bytes of the inflater's output at a time.
const CHUNK: usize = 16 << 10;
const HEADER: usize = 7;
/// Nobody knows how much is missing.
const ENDLESS: u64 = 1 << 40;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    have: u8,
    left: u32,
    kept: Vec<u8>,
    /// The rest of the frame is not looked at.
    hole: bool,
    /// Where a frame begins is not known.
    lost: bool,
    /// What counts of a client's frame is when it began, of a server's when it was over.
    client: bool,
    start_ns: u64,
}

/// Both.
#[derive(Debug)]
pub(super) struct Compression {
    pub client: Frames,
    pub server: Frames,
}

impl Default for Compression {
    fn default() -> Self {
        let client = Frames {
            client: true,
            ..Frames::default()
        };
        Self {
            client,
            server: Frames::default(),
        }
    }
}

struct Inflater {
    inflate: Decompress,
    out: Vec<u8>,
}

thread_local! {
    static INFLATER: RefCell<Inflater> = RefCell::new(Inflater {
        inflate: Decompress::new(true),
        out: Vec::new(),
    });
}

impl Frames {
    /// Takes a piece of the stream, and gives what is in it to `inner`, with the time that counts. `burst`: the other
    /// side spoke before it.
    pub(super) fn feed(
        &mut self,
        ts_ns: u64,
        burst: bool,
        input: Input<'_>,
        inner: &mut dyn FnMut(u64, Input<'_>),
    ) {
        match input {
            Input::Data(data) => self.data(ts_ns, burst, data, inner),
            Input::Gap(count) => self.gap(ts_ns, count, inner),
        }
    }

    fn data(
        &mut self,
        ts_ns: u64,
        burst: bool,
        mut data: &[u8],
        inner: &mut dyn FnMut(u64, Input<'_>),
    ) {
        if self.lost {
            if !burst {
                return;
            }
            // whoever speaks first after the other begins a frame
            *self = Self {
                client: self.client,
                ..Self::default()
            };
        }
        loop {
            while usize::from(self.have) < HEADER {
                let Some((first, rest)) = data.split_first() else {
                    return;
                };
                if self.have == 0 {
                    self.start_ns = ts_ns;
                }
                self.header[usize::from(self.have)] = *first;
                self.have += 1;
                data = rest;
                self.left = length([self.header[0], self.header[1], self.header[2], 0]);
            }
            let (payload, rest) = data.split_at(data.len().min(self.left as usize));
            data = rest;
            self.left -= payload.len() as u32;
            if self.before() == 0 {
                if !payload.is_empty() {
                    inner(self.time(ts_ns), Input::Data(payload));
                }
            } else if !self.hole {
                let room = MAX_IN - self.kept.len().min(MAX_IN);
                self.kept
                    .extend_from_slice(&payload[..payload.len().min(room)]);
                self.hole = payload.len() > room;
            }
            if self.left > 0 {
                return;
            }
            self.ends(ts_ns, inner);
        }
    }

    fn gap(&mut self, ts_ns: u64, count: u64, inner: &mut dyn FnMut(u64, Input<'_>)) {
        if self.lost {
            return;
        }
        let whole = usize::from(self.have) == HEADER;
        match u64::from(self.left).checked_sub(count).filter(|_| whole) {
            None => {
                self.lost = true;
                self.kept = Vec::new();
                inner(ts_ns, Input::Gap(ENDLESS));
            }
            Some(left) => {
                self.left = left as u32;
                self.hole = true;
                if self.before() == 0 {
                    inner(ts_ns, Input::Gap(count));
                }
                if left == 0 {
                    self.ends(ts_ns, inner);
                }
            }
        }
    }

    fn time(&self, ts_ns: u64) -> u64 {
        if self.client {
            self.start_ns
        } else {
            ts_ns
        }
    }

    /// Bytes that the frame had before it was compressed; 0 where it was not.
    fn before(&self) -> u32 {
        length([self.header[4], self.header[5], self.header[6], 0])
    }

    fn ends(&mut self, ts_ns: u64, inner: &mut dyn FnMut(u64, Input<'_>)) {
        self.have = 0;
        self.hole = false;
        let before = self.before() as usize;
        if before == 0 {
            return;
        }
        let ts_ns = self.time(ts_ns);
        let kept = std::mem::take(&mut self.kept);
        let done = inflate(&kept, before.min(MAX_OUT), |part| {
            inner(ts_ns, Input::Data(part))
        });
        if done < before {
            inner(ts_ns, Input::Gap((before - done) as u64));
        }
        if kept.capacity() <= CHUNK {
            self.kept = kept;
            self.kept.clear();
        }
    }
}

/// Gives what `compressed` inflates to, `most` bytes at most; returns how many there were.
fn inflate(mut compressed: &[u8], most: usize, mut give: impl FnMut(&[u8])) -> usize {
    INFLATER.with(|inflater| {
        let Ok(mut inflater) = inflater.try_borrow_mut() else {
            return 0;
        };
        let Inflater { inflate, out } = &mut *inflater;
        inflate.reset(true);
        out.resize(CHUNK, 0);
        let mut done = 0;
        while done < most {
            let (in_before, out_before) = (inflate.total_in(), inflate.total_out());
            let room = CHUNK.min(most - done);
            let status = inflate.decompress(compressed, &mut out[..room], FlushDecompress::None);
            let made = (inflate.total_out() - out_before) as usize;
            let used = (inflate.total_in() - in_before) as usize;
            done += made;
            if made > 0 {
                give(&out[..made]);
            }
            compressed = compressed.get(used..).unwrap_or_default();
            if !matches!(status, Ok(Status::Ok)) || (made == 0 && used == 0) {
                break;
            }
        }
        done
    })
}

/// Is this the first frame of a client's burst, with a command in it? For connections that are older than their capture.
pub(super) fn is_first_command(frame: &[u8], is_command: impl Fn(&[u8]) -> bool) -> bool {
    let mut r = Reader(frame);
    let mut read = || {
        let header: [u8; 4] = r.take(4)?.try_into().ok()?;
        let before = r.take(3)?;
        let before = length([before[0], before[1], before[2], 0]) as usize;
        let len = length(header) as usize;
        // who asks may have read it as a packet, which ends three bytes earlier
        let fits = r.0.len() <= len && (before == 0 || r.0.len() + 3 >= len);
        (header[3] == 0 && len >= 5 && fits).then_some((len, before))
    };
    let Some((len, before)) = read() else {
        return false;
    };
    let mut packets = Vec::new();
    if before == 0 {
        packets.extend_from_slice(&r.0[..r.0.len().min(1024)]);
    } else {
        inflate(r.0, before.min(1024), |part| {
            packets.extend_from_slice(part)
        });
    }
    let whole = if before == 0 { len } else { before };
    match packets.split_first_chunk::<4>() {
        Some((header, payload)) => {
            header[3] == 0 && length(*header) as usize + 4 <= whole && is_command(payload)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    #[test]
    fn a_frame_of_zeros_is_not_inflated_to_its_end() {
        const BEFORE: usize = 0xff_ffff;
        let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; BEFORE]).unwrap();
        let stream = encoder.finish().unwrap();
        assert!(stream.len() < MAX_IN);
        let mut frame = (stream.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(&(BEFORE as u32).to_le_bytes()[..3]);
        frame.extend_from_slice(&stream);
        for size in [frame.len(), 1000, 1] {
            let (mut frames, mut inflated, mut missing) = (Frames::default(), 0, 0);
            for piece in frame.chunks(size) {
                frames.feed(7, false, Input::Data(piece), &mut |_, input| match input {
                    Input::Data(data) => inflated += data.len(),
                    Input::Gap(count) => missing += count as usize,
                });
            }
            assert_eq!((inflated, missing), (MAX_OUT, BEFORE - MAX_OUT));
            assert!(frames.kept.capacity() <= MAX_IN);
        }
    }
}
