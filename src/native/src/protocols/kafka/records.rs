//! Record batches: how many messages, from which offset on, and the contexts that they carry.
//!
//! ```text
//! batch, magic 2   base offset 8 │ length 4 │ leader epoch 4 │ magic 1 ║ crc 4 │ attributes 2 │ last offset delta 4 │
//!                  first and last timestamp 8+8 │ producer 8+2 │ sequence 4 │ count 4 ║ records, perhaps compressed
//! record           length v │ attributes 1 │ timestamp v │ offset v │ key v+ │ value v+ │ headers v (key v+ value v+)*
//! message, 0 and 1 offset 8 │ length 4 │ crc 4 │ magic 1 ║ ...
//! ```
//!
//! `length` counts from behind itself, v is a zigzag varint, v+ one with so many bytes. Compressed records stay
//! closed: their batch's header has their number. A message of magic 0 or 1 that holds compressed ones counts as one.

use super::call::Call;
use super::frame::{Frame, Step, Stop, LONGEST_TEXT};

/// Of a batch, up to its magic, counted by `length`.
const COUNTED: u64 = 5;
/// Of a batch of magic 2, behind its magic.
const HEAD: usize = 44;
/// Bits of its attributes.
const COMPRESSION: u8 = 0x07;
const CONTROL: u8 = 0x20;

/// What is said of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub first_offset: i64,
    pub last_offset: i64,
    /// As many messages as its header says.
    pub messages: u64,
    /// It ends a transaction, and has no messages.
    pub control: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Batch,
    /// The rest of a batch's header.
    Head,
    Record,
    Attributes,
    Timestamp,
    Offset,
    Key,
    Value,
    Headers,
    Header,
    HeaderKey(u16),
    HeaderSize(Option<Field>),
    HeaderValue(Field, u16),
}

/// A header of a record that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Traceparent,
    Tracestate,
}

impl Field {
    fn named(key: &[u8]) -> Option<Self> {
        match key {
            b"traceparent" => Some(Self::Traceparent),
            b"tracestate" => Some(Self::Tracestate),
            _ => None,
        }
    }
}

/// Where one is in records. Ends are what `Frame::left` is there.
#[derive(Debug)]
pub(super) struct Records {
    now: Now,
    end: u64,
    batch_end: u64,
    record_end: u64,
    first_offset: i64,
    headers: u32,
}

impl Records {
    pub const fn new() -> Self {
        Self {
            now: Now::Batch,
            end: 0,
            batch_end: 0,
            record_end: 0,
            first_offset: 0,
            headers: 0,
        }
    }

    /// `end`: what `Frame::left` is behind them.
    pub fn begin(&mut self, end: u64) {
        (self.now, self.end) = (Now::Batch, end);
    }

    /// Some bytes at hand were not captured: goes on behind them where a batch begins, or behind all. Says whether there
    /// may be batches that nobody saw. `None`: nothing here begins behind them.
    pub fn gap(&mut self, count: u64, frame: &mut Frame) -> Option<bool> {
        let left = frame.left().checked_sub(count)?;
        let in_batch = !matches!(self.now, Now::Batch | Now::Head);
        let next = if in_batch && left >= self.batch_end {
            self.batch_end
        } else {
            self.end
        };
        if left < next {
            return None;
        }
        let hides = !in_batch || next < self.batch_end;
        self.now = Now::Batch;
        frame.skip_to(next);
        Some(hides)
    }

    pub fn run(&mut self, frame: &mut Frame, bytes: &mut &[u8], call: &mut Call<'_>) -> Step<()> {
        loop {
            frame.skipped(bytes)?;
            if self.now == Now::Batch && frame.is_between() && frame.left() <= self.end {
                frame.floor = 0;
                return Ok(());
            }
            match self.step(frame, bytes, call) {
                Ok(()) => {}
                Err(Stop::More) => return Err(Stop::More),
                Err(Stop::Bad) => {
                    // a batch that was cut off where the answer had no more room, or no batch
                    let within = !matches!(self.now, Now::Batch | Now::Head);
                    frame.skip_to(if within { self.batch_end } else { self.end });
                    self.now = Now::Batch;
                }
            }
        }
    }

    fn step(&mut self, frame: &mut Frame, bytes: &mut &[u8], call: &mut Call<'_>) -> Step<()> {
        frame.floor = match self.now {
            Now::Batch => self.end,
            Now::Head | Now::Record => self.batch_end,
            _ => self.record_end,
        };
        match self.now {
            Now::Batch => {
                let head: [u8; 17] = frame.fixed(bytes)?;
                let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3, _, _, _, _, magic] = head;
                self.first_offset = i64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
                let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
                let behind = length.checked_sub(COUNTED).ok_or(Stop::Bad)?;
                let end = frame.left().checked_sub(behind).ok_or(Stop::Bad)?;
                if end < self.end || magic > 2 {
                    return Err(Stop::Bad);
                }
                self.batch_end = end;
                if magic == 2 {
                    self.now = Now::Head;
                } else {
                    call.batch(Batch {
                        first_offset: self.first_offset,
                        last_offset: self.first_offset,
                        messages: 1,
                        control: false,
                    });
                    frame.skip_to(end);
                }
            }
            Now::Head => self.head(frame.fixed(bytes)?, frame, call),
            Now::Record => {
                let size = frame.zigzag(bytes)?;
                let size = u64::try_from(size).map_err(|_| Stop::Bad)?;
                let end = frame.left().checked_sub(size).ok_or(Stop::Bad)?;
                if end < self.batch_end {
                    return Err(Stop::Bad);
                }
                self.record_end = end;
                self.now = Now::Attributes;
                call.begin_record();
            }
            Now::Attributes => {
                frame.int(1, bytes)?;
                self.now = Now::Timestamp;
            }
            Now::Timestamp => {
                frame.zigzag(bytes)?;
                self.now = Now::Offset;
            }
            Now::Offset => {
                let delta = frame.zigzag(bytes)?;
                call.record_offset(self.first_offset.saturating_add(delta));
                self.now = Now::Key;
            }
            Now::Key => {
                let size = frame.zigzag(bytes)?.max(0) as u64;
                frame.skip(size)?;
                self.now = Now::Value;
            }
            Now::Value => {
                let size = frame.zigzag(bytes)?.max(0) as u64;
                frame.skip(size)?;
                call.record_value(size);
                self.now = Now::Headers;
            }
            Now::Headers => {
                let count = frame.zigzag(bytes)?;
                self.headers = u32::try_from(count).map_err(|_| Stop::Bad)?;
                self.now = Now::Header;
            }
            Now::Header if self.headers == 0 => {
                call.end_record();
                frame.skip_to(self.record_end);
                self.next_record(self.record_end, frame, call);
            }
            Now::Header => {
                let size = frame.zigzag(bytes)?.max(0) as u64;
                self.headers -= 1;
                self.now = Now::HeaderSize(None);
                if size == 10 || size == 11 {
                    self.now = Now::HeaderKey(size as u16);
                } else {
                    frame.skip(size)?;
                }
            }
            Now::HeaderKey(size) => {
                let field = frame.text(usize::from(size), bytes, Field::named)?;
                self.now = Now::HeaderSize(field);
            }
            Now::HeaderSize(field) => {
                let size = frame.zigzag(bytes)?.max(0) as u64;
                self.now = Now::Header;
                match field {
                    Some(field) if size <= LONGEST_TEXT as u64 => {
                        self.now = Now::HeaderValue(field, size as u16);
                    }
                    _ => frame.skip(size)?,
                }
            }
            Now::HeaderValue(field, size) => {
                let keep = |value: &[u8]| call.record_header(field, value);
                frame.text(usize::from(size), bytes, keep)?;
                self.now = Now::Header;
            }
        }
        Ok(())
    }

    /// The rest of a batch's header is whole.
    fn head(&mut self, head: [u8; HEAD], frame: &mut Frame, call: &mut Call<'_>) {
        let [_, _, _, _, _, attributes, d0, d1, d2, d3, .., c0, c1, c2, c3] = head;
        let delta = i32::from_be_bytes([d0, d1, d2, d3]).max(0);
        let count = i32::from_be_bytes([c0, c1, c2, c3]).max(0);
        call.batch(Batch {
            first_offset: self.first_offset,
            last_offset: self.first_offset.saturating_add(i64::from(delta)),
            messages: count as u64,
            control: attributes & CONTROL != 0,
        });
        if attributes & (COMPRESSION | CONTROL) == 0 {
            self.next_record(frame.left(), frame, call);
        } else {
            frame.skip_to(self.batch_end);
            self.now = Now::Batch;
        }
    }

    /// A record begins where `Frame::left` is this, if there is one more and anybody cares.
    fn next_record(&mut self, left: u64, frame: &mut Frame, call: &mut Call<'_>) {
        self.now = Now::Record;
        if left <= self.batch_end || !call.wants_records() {
            frame.skip_to(self.batch_end);
            self.now = Now::Batch;
        }
    }
}
