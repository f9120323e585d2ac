//! Goes through a message along its schema, one value after the other, and tells a `Call` of those that matter.

use super::call::Call;
use super::frame::{Frame, Step, Stop, LONGEST_TEXT};
use super::records::Records;
use super::schema::{Field, Kind, Mark};

/// How deep structures stand in each other: a request, its topics, their partitions, ranges of these.
const DEPTH: usize = 4;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// The client's name, which stands in the header of a request.
    Client,
    /// A field of the structure at hand, or its end.
    Field,
    /// A text's bytes.
    Text(Mark, u16),
    /// So many tagged fields.
    Tags(u64),
    /// The size of one of them, behind which so many come.
    TagSize(u64),
    /// Record batches.
    Records,
}

/// A structure at hand.
#[derive(Clone, Copy, Debug)]
struct Level {
    fields: &'static [Field],
    at: u8,
    /// So many like it come behind it.
    more: u32,
    mark: Mark,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// With its last field.
    Whole,
    /// With something that nobody here needs.
    Rest,
}

/// Where one is in a message.
#[derive(Debug)]
pub(super) struct Walk {
    now: Now,
    version: i16,
    flexible: bool,
    /// The tagged fields that come next are the header's.
    header: bool,
    depth: u8,
    levels: [Level; DEPTH],
    records: Records,
}

impl Walk {
    pub const fn new() -> Self {
        let none = Level {
            fields: &[],
            at: 0,
            more: 0,
            mark: Mark::None,
        };
        Self {
            now: Now::Field,
            version: 0,
            flexible: false,
            header: false,
            depth: 0,
            levels: [none; DEPTH],
            records: Records::new(),
        }
    }

    fn begin(&mut self, fields: &'static [Field], version: i16, flexible: bool) {
        (self.version, self.flexible, self.depth) = (version, flexible, 0);
        let level = &mut self.levels[0];
        (level.fields, level.at, level.more) = (fields, 0, 0);
    }

    /// A request's client, and what `fields` say.
    pub fn begin_request(&mut self, fields: &'static [Field], version: i16, flexible: bool) {
        self.begin(fields, version, flexible);
        (self.now, self.header) = (Now::Client, flexible);
    }

    /// A response; `header`: which begins with tagged fields.
    pub fn begin_response(
        &mut self,
        fields: &'static [Field],
        version: i16,
        flexible: bool,
        header: bool,
    ) {
        self.begin(fields, version, flexible);
        (self.now, self.header) = (Now::Field, header);
    }

    /// Some bytes at hand were not captured. Says whether they hide batches; `None`: they hide something else.
    pub fn gap(&mut self, count: u64, frame: &mut Frame) -> Option<bool> {
        if self.now == Now::Records {
            self.records.gap(count, frame)
        } else {
            None
        }
    }

    pub fn run(&mut self, frame: &mut Frame, bytes: &mut &[u8], call: &mut Call<'_>) -> Step<Done> {
        loop {
            frame.skipped(bytes)?;
            match self.now {
                Now::Client => {
                    let size = frame.int(2, bytes)?;
                    self.text(Mark::Client, size, frame, call)?;
                }
                Now::Field if self.header => {
                    self.now = Now::Tags(frame.varint(bytes)?);
                }
                Now::Field => {
                    if let Some(done) = self.field(frame, bytes, call)? {
                        return Ok(done);
                    }
                }
                Now::Text(mark, size) => {
                    frame.text(usize::from(size), bytes, |text| call.text(mark, text))?;
                    self.now = Now::Field;
                }
                Now::Tags(0) => {
                    self.now = Now::Field;
                    if !std::mem::take(&mut self.header) && self.end(call) {
                        return Ok(Done::Whole);
                    }
                }
                Now::Tags(count) => {
                    let tag = frame.varint(bytes)?;
                    if self.depth == 0 && !self.header {
                        call.tag(tag);
                    }
                    self.now = Now::TagSize(count - 1);
                }
                Now::TagSize(count) => {
                    let size = frame.varint(bytes)?;
                    frame.skip(size)?;
                    self.now = Now::Tags(count);
                }
                Now::Records => {
                    self.records.run(frame, bytes, call)?;
                    self.now = Now::Field;
                }
            }
        }
    }

    /// The next field of the structure at hand, or its end.
    fn field(
        &mut self,
        frame: &mut Frame,
        bytes: &mut &[u8],
        call: &mut Call<'_>,
    ) -> Step<Option<Done>> {
        let level = &mut self.levels[usize::from(self.depth)];
        let Some(field) = level.fields.get(usize::from(level.at)) else {
            if self.flexible {
                self.now = Now::Tags(frame.varint(bytes)?);
                return Ok(None);
            }
            return Ok(self.end(call).then_some(Done::Whole));
        };
        if self.version < field.since || self.version > field.until {
            level.at += 1;
            return Ok(None);
        }
        match field.kind {
            Kind::Int(width) => {
                let value = frame.int(width, bytes)?;
                call.int(field.mark, value);
            }
            Kind::Uuid => {
                let id = frame.fixed(bytes)?;
                call.id(field.mark, u128::from_be_bytes(id));
            }
            Kind::Text => {
                let size = self.size(2, frame, bytes)?;
                self.levels[usize::from(self.depth)].at += 1;
                self.text(field.mark, size, frame, call)?;
                return Ok(None);
            }
            Kind::Ints(width) => {
                let count = self.size(4, frame, bytes)?;
                frame.skip((count.max(0) as u64).saturating_mul(u64::from(width)))?;
            }
            Kind::Records => {
                let size = self.size(4, frame, bytes)?.max(0) as u64;
                if size > frame.left() {
                    return Err(Stop::Bad);
                }
                self.records.begin(frame.left() - size);
                call.records(size);
                self.now = Now::Records;
            }
            Kind::One(fields) => return self.enter(fields, 1, field.mark, call),
            Kind::Many(fields) => {
                let count = self.size(4, frame, bytes)?;
                if count > 0 {
                    // each takes a byte at least
                    let count = u32::try_from(count).ok();
                    let count = count.filter(|count| u64::from(*count) <= frame.left());
                    return self.enter(fields, count.ok_or(Stop::Bad)?, field.mark, call);
                }
            }
            Kind::Rest => return Ok(Some(Done::Rest)),
        }
        self.levels[usize::from(self.depth)].at += 1;
        Ok(None)
    }

    /// How long something is; -1 of what is null.
    fn size(&self, width: u8, frame: &mut Frame, bytes: &mut &[u8]) -> Step<i64> {
        if !self.flexible {
            return frame.int(width, bytes);
        }
        let size = frame.varint(bytes)?;
        u32::try_from(size).map_or(Err(Stop::Bad), |size| Ok(i64::from(size) - 1))
    }

    /// A text of `size` bytes follows.
    fn text(&mut self, mark: Mark, size: i64, frame: &mut Frame, call: &mut Call<'_>) -> Step<()> {
        self.now = Now::Field;
        let size = size.max(0) as u64;
        if mark == Mark::None || size > LONGEST_TEXT as u64 {
            return frame.skip(size);
        }
        if size == 0 {
            call.text(mark, b"");
        } else if size > frame.left() {
            return Err(Stop::Bad);
        } else {
            self.now = Now::Text(mark, size as u16);
        }
        Ok(())
    }

    fn enter(
        &mut self,
        fields: &'static [Field],
        count: u32,
        mark: Mark,
        call: &mut Call<'_>,
    ) -> Step<Option<Done>> {
        let depth = usize::from(self.depth) + 1;
        let level = self.levels.get_mut(depth).ok_or(Stop::Bad)?;
        *level = Level {
            fields,
            at: 0,
            more: count - 1,
            mark,
        };
        self.depth += 1;
        call.begin(mark);
        Ok(None)
    }

    /// The structure at hand is over. True: it was the message.
    fn end(&mut self, call: &mut Call<'_>) -> bool {
        let Some(depth) = self.depth.checked_sub(1) else {
            return true;
        };
        let level = &mut self.levels[usize::from(self.depth)];
        call.end(level.mark);
        if level.more > 0 {
            level.more -= 1;
            level.at = 0;
            call.begin(level.mark);
        } else {
            self.depth = depth;
            self.levels[usize::from(depth)].at += 1;
        }
        false
    }
}
