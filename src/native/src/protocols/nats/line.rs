//! Control lines, and the payloads behind some of them.
//!
//! ```text
//! PUB <subject> [reply] <bytes>␍␊payload␍␊          HPUB <subject> [reply] <header bytes> <all bytes>␍␊...
//! MSG <subject> <sid> [reply] <bytes>␍␊payload␍␊    HMSG <subject> <sid> [reply] <header bytes> <all bytes>␍␊...
//! SUB <subject> [queue group] <sid>␍␊               UNSUB <sid> [max messages]␍␊
//! INFO {...}␍␊  CONNECT {...}␍␊  PING␍␊  PONG␍␊  +OK␍␊  -ERR '...'␍␊
//! ```

use crate::exchange::Side;

/// Bytes of a line; servers allow 4,096 unless told otherwise. Of a longer one only JSON is believed.
pub const MAX_LINE: usize = 8192;
/// Bytes kept of a payload: of its headers, and of what follows them.
const MAX_HEADERS: usize = 4096;
const MAX_TEXT: usize = 160;
/// Servers allow 1 MB unless told otherwise, and 64 MB at most.
const MAX_PAYLOAD: u64 = 1 << 30;

/// A message as its line announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    pub subject: &'a [u8],
    /// "" where there is none.
    pub reply: &'a [u8],
    /// The subscription that it is for; "" where it is published.
    pub sid: &'a [u8],
    pub header_bytes: u64,
    /// Headers and payload.
    pub bytes: u64,
}

impl Announced<'_> {
    /// How much of it is worth keeping.
    pub fn kept(&self) -> usize {
        let headers = usize::try_from(self.header_bytes).unwrap_or(usize::MAX);
        let all = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        all.min(headers.min(MAX_HEADERS) + MAX_TEXT)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Publish(Announced<'a>),
    Message(Announced<'a>),
    Subscribe {
        subject: &'a [u8],
        group: &'a [u8],
        sid: &'a [u8],
    },
    Unsubscribe {
        sid: &'a [u8],
        max: Option<u64>,
    },
    Connect(&'a [u8]),
    Info,
    Ping,
    Pong,
    Ok,
    Error,
}

/// The line without its end, as this side may say it.
pub fn line(side: Side, text: &[u8]) -> Option<Line<'_>> {
    let mut words = text
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let verb = words.next()?;
    let rest = || text.get(verb.len()..).unwrap_or_default().trim_ascii();
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    let mut arguments: [&[u8]; 5] = [b""; 5];
    let mut count = 0;
    if side == Side::Response && is(b"INFO") {
        return rest().starts_with(b"{").then_some(Line::Info);
    }
    if side == Side::Response && is(b"-ERR") {
        return Some(Line::Error);
    }
    if side == Side::Request && is(b"CONNECT") {
        return rest().starts_with(b"{").then_some(Line::Connect(rest()));
    }
    for word in words {
        *arguments.get_mut(count)? = word;
        count += 1;
    }
    let arguments = &arguments[..count];
    let found = match side {
        Side::Request if is(b"PUB") => Line::Publish(announced(b"", false, arguments)?),
        Side::Request if is(b"HPUB") => Line::Publish(announced(b"", true, arguments)?),
        Side::Response if is(b"MSG") || is(b"HMSG") => {
            let [subject, sid, rest @ ..] = arguments else {
                return None;
            };
            let mut others: [&[u8]; 4] = [subject, b"", b"", b""];
            others.get_mut(1..=rest.len())?.copy_from_slice(rest);
            let others = others.get(..=rest.len())?;
            Line::Message(announced(sid, is(b"HMSG"), others)?)
        }
        Side::Request if is(b"SUB") => match *arguments {
            [subject, sid] => Line::Subscribe {
                subject,
                group: b"",
                sid,
            },
            [subject, group, sid] => Line::Subscribe {
                subject,
                group,
                sid,
            },
            _ => return None,
        },
        Side::Request if is(b"UNSUB") => match *arguments {
            [sid] => Line::Unsubscribe { sid, max: None },
            [sid, max] => Line::Unsubscribe {
                sid,
                max: Some(number(max)?),
            },
            _ => return None,
        },
        _ if !arguments.is_empty() => return None,
        _ if is(b"PING") => Line::Ping,
        _ if is(b"PONG") => Line::Pong,
        Side::Response if is(b"+OK") => Line::Ok,
        _ => return None,
    };
    Some(found)
}

fn announced<'a>(sid: &'a [u8], headers: bool, words: &[&'a [u8]]) -> Option<Announced<'a>> {
    let (words, bytes) = words.split_last().map(|(last, words)| (words, *last))?;
    let (words, header_bytes) = match (headers, words.split_last()) {
        (true, Some((last, words))) => (words, number(last)?),
        (true, None) => return None,
        (false, _) => (words, 0),
    };
    let bytes = number(bytes)?;
    let (subject, reply): (&[u8], &[u8]) = match *words {
        [subject] => (subject, b""),
        [subject, reply] => (subject, reply),
        _ => return None,
    };
    (header_bytes <= bytes && bytes <= MAX_PAYLOAD).then_some(Announced {
        subject,
        reply,
        sid,
        header_bytes,
        bytes,
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// What comes next in a direction.
#[derive(Debug)]
pub enum Step<'a> {
    /// All has been taken.
    Nothing,
    /// Not what this side may say.
    Illegal,
    /// A line, and the beginning of the payload behind it.
    Line(Line<'a>, &'a [u8], u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Line,
    /// The rest of a line that is too long to be kept.
    LongLine,
    /// So many bytes are left, the line's end behind them included.
    Payload(u64),
    /// Nobody knows where lines begin.
    Lost,
}

/// One direction.
#[derive(Debug)]
pub struct Half {
    side: Side,
    place: Place,
    line: Vec<u8>,
    payload: Vec<u8>,
    /// Something of the payload is missing: the rest is not kept.
    holed: bool,
    /// What is kept is of a line that is over.
    over: bool,
    /// Bytes are missing right before what comes: that may begin anywhere.
    after_gap: bool,
    start_ns: u64,
}

impl Half {
    pub fn new(side: Side, old: bool) -> Self {
        Self {
            side,
            place: if old { Place::Lost } else { Place::Line },
            line: Vec::new(),
            payload: Vec::new(),
            holed: false,
            over: false,
            after_gap: false,
            start_ns: 0,
        }
    }

    pub fn is_lost(&self) -> bool {
        self.place == Place::Lost
    }

    pub fn lose(&mut self) {
        self.begin();
        self.place = Place::Lost;
    }

    /// Goes on where this piece begins with a line of this side. Right behind a gap it must be one that can't be the end
    /// of another: HPUB's is a PUB.
    pub fn find(&mut self, bytes: &[u8]) -> bool {
        let found = if std::mem::take(&mut self.after_gap) {
            match at_once(self.side, bytes) {
                Some(Ok((Line::Publish(announced) | Line::Message(announced), payload, _))) => {
                    announced.header_bytes > 0 || !payload.starts_with(b"NATS/1.0")
                }
                _ => false,
            }
        } else {
            whole_line(bytes).is_some_and(|(text, _)| line(self.side, text).is_some())
        };
        if found {
            self.begin();
        }
        found
    }

    fn begin(&mut self) {
        self.place = Place::Line;
        self.holed = false;
        self.over = false;
        for kept in [&mut self.line, &mut self.payload] {
            kept.clear();
            kept.shrink_to(MAX_TEXT * 4);
        }
    }

    /// Takes a line, and what belongs to it, off `bytes`.
    pub fn data<'s, 'b: 's>(&'s mut self, ts_ns: u64, bytes: &mut &'b [u8]) -> Step<'s> {
        self.after_gap = false;
        if self.over {
            self.begin();
        }
        if self.place == Place::Line && self.line.is_empty() {
            self.start_ns = ts_ns;
            match at_once(self.side, bytes) {
                Some(Ok((line, payload, rest))) => {
                    *bytes = rest;
                    return Step::Line(line, payload, ts_ns);
                }
                Some(Err(())) => return Step::Illegal,
                None => {}
            }
        }
        while !bytes.is_empty() {
            match self.place {
                Place::Lost => return Step::Nothing,
                Place::Line | Place::LongLine => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (more, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
                    *bytes = rest;
                    let room = MAX_LINE - self.line.len().min(MAX_LINE);
                    self.line.extend_from_slice(&more[..more.len().min(room)]);
                    if more.len() > room {
                        self.place = Place::LongLine;
                    }
                    if end.is_some() {
                        match self.line_is_whole() {
                            None => return Step::Illegal,
                            Some(true) => return self.step(),
                            Some(false) => {}
                        }
                    }
                }
                Place::Payload(left) => {
                    let more = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (more, rest) = bytes.split_at(more);
                    *bytes = rest;
                    self.keep(more);
                    let left = left - more.len() as u64;
                    self.place = Place::Payload(left);
                    if left == 0 {
                        return self.payload_is_whole(more);
                    }
                }
            }
        }
        Step::Nothing
    }

    /// Whether that is all; `None`: it is no line.
    fn line_is_whole(&mut self) -> Option<bool> {
        let text = self.line.trim_ascii_end();
        let announced = match line(self.side, text)? {
            Line::Publish(announced) | Line::Message(announced) => announced,
            Line::Connect(_) | Line::Info | Line::Error => return Some(true),
            _ if self.place == Place::LongLine => return None,
            _ => return Some(true),
        };
        if self.place == Place::LongLine {
            return None;
        }
        self.place = Place::Payload(announced.bytes + 2);
        Some(false)
    }

    fn keep(&mut self, more: &[u8]) {
        if self.holed {
            return;
        }
        let room = match line(self.side, self.line.trim_ascii_end()) {
            Some(Line::Publish(announced) | Line::Message(announced)) => announced.kept(),
            _ => 0,
        };
        let room = room - self.payload.len().min(room);
        self.payload
            .extend_from_slice(&more[..more.len().min(room)]);
    }

    fn payload_is_whole(&mut self, last: &[u8]) -> Step<'_> {
        if last.last() == Some(&b'\n') && last.iter().nth_back(1).is_none_or(|byte| *byte == b'\r')
        {
            self.step()
        } else {
            Step::Illegal
        }
    }

    fn step(&mut self) -> Step<'_> {
        self.over = true;
        match line(self.side, self.line.trim_ascii_end()) {
            Some(line) => Step::Line(line, &self.payload, self.start_ns),
            None => Step::Illegal,
        }
    }

    /// Takes missing bytes, up to the end of a message.
    pub fn gap(&mut self, gap: &mut u64) -> Step<'_> {
        self.after_gap = true;
        if self.over {
            self.begin();
        }
        match self.place {
            _ if *gap == 0 => Step::Nothing,
            Place::Lost => {
                *gap = 0;
                Step::Nothing
            }
            Place::Payload(left) => {
                let taken = left.min(*gap);
                *gap -= taken;
                self.holed = true;
                self.place = Place::Payload(left - taken);
                if taken == left {
                    self.step()
                } else {
                    Step::Nothing
                }
            }
            Place::Line | Place::LongLine => Step::Illegal,
        }
    }
}

/// The first line without its end, and what is behind it.
pub fn whole_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let most = bytes.len().min(MAX_LINE);
    let end = bytes[..most].iter().position(|byte| *byte == b'\n')?;
    Some((bytes[..end].trim_ascii_end(), &bytes[end + 1..]))
}

type Whole<'b> = (Line<'b>, &'b [u8], &'b [u8]);

/// A line, its payload's beginning, and what is behind them, where all of it is there.
fn at_once(side: Side, bytes: &[u8]) -> Option<Result<Whole<'_>, ()>> {
    let (text, rest) = whole_line(bytes)?;
    let Some(line) = line(side, text) else {
        return Some(Err(()));
    };
    let (Line::Publish(announced) | Line::Message(announced)) = line else {
        return Some(Ok((line, b"", rest)));
    };
    let size = usize::try_from(announced.bytes).ok()?;
    let ends_well = rest.get(size..size.checked_add(2)?)? == b"\r\n";
    if !ends_well {
        return Some(Err(()));
    }
    Some(Ok((line, &rest[..announced.kept()], &rest[size + 2..])))
}
