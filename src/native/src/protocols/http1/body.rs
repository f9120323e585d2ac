//! Where an HTTP/1 body ends (RFC 9112, section 6) and how many bytes of it are payload.
//!
//! ```text
//! Length      |<-- so many bytes -->|
//! Chunked     size [ext] LF | data | LF   size [ext] LF | data | LF   ...   0 [ext] LF  [trailer LF]*  LF
//! UntilClose  |<-- until the sender is done -->
//! Lost        chunked, but a gap covered a size line: look for the last chunk, else somebody else decides
//! ```
//!
//! LF stands for CRLF; a bare LF is accepted everywhere, as most servers do.

use memchr::memchr;

/// A body under way. Zero bytes of a known length are no body: `Length(0)` is never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked(Chunk),
    /// Whatever comes until the sender closes (responses only).
    UntilClose,
    /// Chunked after a gap that hid a chunk's size.
    Lost(Tail),
}

/// Place within the chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In a size's hexadecimal digits; `any` once there was one.
    Size { size: u64, any: bool },
    /// Between the size and its line's end.
    Extension { size: u64 },
    /// In the data.
    Data { left: u64 },
    /// After the data, before its line end (`cr`: in the middle of it).
    DataEnd { cr: bool },
    /// At the start of a trailer line.
    Trailer,
    /// A trailer line starts with CR.
    TrailerCr,
    /// In a trailer line.
    TrailerLine,
}

/// Progress of the search for `LF 0 LF [trailer LF]* LF` when the framing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing of it.
    Any,
    /// A CR.
    Cr,
    /// A line starts here, or may: the first byte after a gap.
    Line,
    /// Zeros at the start of a line.
    Zeros,
    /// CR after the zeros.
    ZerosCr,
    /// After the last chunk's line, or after a trailer line.
    Trailer,
    /// CR there.
    TrailerCr,
    /// In a trailer's name.
    Name,
    /// In a trailer's value.
    Value,
}

/// How a step through the body went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All was taken, the body goes on.
    More,
    /// The body ended; what was not taken belongs to the next message.
    Done,
    /// This is not the chunked coding.
    Bad,
}

/// What one piece did to a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Bytes of the piece that belong to this message.
    pub used: u64,
    /// Those of them that are payload.
    pub payload: u64,
    pub outcome: Outcome,
}

impl Body {
    pub(super) const CHUNKED: Self = Self::Chunked(Chunk::START);

    /// Takes captured bytes.
    #[inline]
    pub(super) fn data(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Length(left) => skip(left, bytes.len() as u64),
            Self::Chunked(chunk) => chunk.data(bytes),
            Self::UntilClose => all(bytes.len() as u64),
            Self::Lost(tail) => tail.data(bytes),
        }
    }

    /// Takes bytes that went by unseen.
    pub(super) fn gap(&mut self, count: u64) -> Step {
        match self {
            Self::Length(left) => skip(left, count),
            Self::UntilClose => all(count),
            Self::Chunked(Chunk::Data { left }) if count <= *left => {
                let step = skip(left, count);
                if step.outcome == Outcome::Done {
                    *self = Self::Chunked(Chunk::DataEnd { cr: false });
                }
                Step {
                    outcome: Outcome::More,
                    ..step
                }
            }
            Self::Chunked(_) | Self::Lost(_) => {
                *self = Self::Lost(Tail::Line);
                all(count)
            }
        }
    }
}

fn all(count: u64) -> Step {
    Step {
        used: count,
        payload: count,
        outcome: Outcome::More,
    }
}

fn skip(left: &mut u64, count: u64) -> Step {
    let used = count.min(*left);
    *left -= used;
    let outcome = if *left == 0 {
        Outcome::Done
    } else {
        Outcome::More
    };
    Step {
        used,
        payload: used,
        outcome,
    }
}

impl Chunk {
    const START: Self = Self::Size {
        size: 0,
        any: false,
    };

    fn data(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        let mut payload = 0;
        let outcome = loop {
            let Some(&byte) = bytes.get(at) else {
                break Outcome::More;
            };
            *self = match (*self, byte) {
                (Self::Data { mut left }, _) => {
                    let step = skip(&mut left, (bytes.len() - at) as u64);
                    payload += step.payload;
                    at += step.used as usize;
                    *self = if left == 0 {
                        Self::DataEnd { cr: false }
                    } else {
                        Self::Data { left }
                    };
                    continue;
                }
                (Self::Extension { size }, _) => match memchr(b'\n', &bytes[at..]) {
                    Some(end) => {
                        at += end;
                        Self::after_size(size)
                    }
                    None => {
                        at = bytes.len();
                        break Outcome::More;
                    }
                },
                (Self::TrailerLine, _) => match memchr(b'\n', &bytes[at..]) {
                    Some(end) => {
                        at += end;
                        Self::Trailer
                    }
                    None => {
                        at = bytes.len();
                        break Outcome::More;
                    }
                },
                (Self::Size { size, any: true }, b'\n') => Self::after_size(size),
                (Self::Size { size, any: true }, b'\r' | b';' | b' ' | b'\t') => {
                    Self::Extension { size }
                }
                (Self::Size { size, .. }, digit) => {
                    match (hex(digit), size.checked_mul(16)) {
                        (Some(value), Some(size)) => Self::Size {
                            size: size | value,
                            any: true,
                        },
                        // A size that no counter holds is as wrong as one that is not a number.
                        _ => break Outcome::Bad,
                    }
                }
                (Self::DataEnd { cr: false }, b'\r') => Self::DataEnd { cr: true },
                (Self::DataEnd { .. }, b'\n') => Self::START,
                (Self::DataEnd { .. }, _) => break Outcome::Bad,
                (Self::Trailer | Self::TrailerCr, b'\n') => {
                    at += 1;
                    break Outcome::Done;
                }
                (Self::Trailer, b'\r') => Self::TrailerCr,
                (Self::Trailer | Self::TrailerCr, _) => Self::TrailerLine,
            };
            at += 1;
        };
        Step {
            used: at as u64,
            payload,
            outcome,
        }
    }

    fn after_size(size: u64) -> Self {
        match size {
            0 => Self::Trailer,
            left => Self::Data { left },
        }
    }
}

fn hex(digit: u8) -> Option<u64> {
    (digit as char).to_digit(16).map(u64::from)
}

impl Tail {
    fn data(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        let mut outcome = Outcome::More;
        while let Some(&byte) = bytes.get(at) {
            if *self == Self::Any && byte != b'\r' {
                match memchr(b'\r', &bytes[at..]) {
                    Some(skipped) => at += skipped,
                    None => {
                        at = bytes.len();
                        break;
                    }
                }
                continue;
            }
            at += 1;
            if *self == Self::TrailerCr && byte == b'\n' {
                *self = Self::Line;
                let rest = &bytes[at..];
                // The same bytes may stand in a text; there, more of the text follows in the same write.
                if rest.is_empty() || rest.starts_with(b"HTTP/1.") {
                    outcome = Outcome::Done;
                    break;
                }
                continue;
            }
            *self = self.next(byte);
        }
        Step {
            used: at as u64,
            payload: at as u64,
            outcome,
        }
    }

    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Cr, b'\n') => Self::Line,
            (Self::Line | Self::Zeros, b'0') => Self::Zeros,
            (Self::Zeros, b'\r') => Self::ZerosCr,
            (Self::ZerosCr, b'\n') => Self::Trailer,
            (Self::Trailer, b'\r') => Self::TrailerCr,
            (Self::Trailer | Self::Name, byte) if super::start_line::is_token(byte) => Self::Name,
            (Self::Name, b':') => Self::Value,
            (Self::Value, b'\n') => Self::Trailer,
            (Self::Value, _) => Self::Value,
            (_, b'\r') => Self::Cr,
            _ => Self::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces of every size and gives (used, payload, outcome), which must not depend on it.
    fn run(wire: &[u8]) -> (u64, u64, Outcome) {
        let mut results = (1..=wire.len()).map(|size| {
            let mut body = Body::CHUNKED;
            let (mut used, mut payload) = (0, 0);
            for piece in wire.chunks(size) {
                let step = body.data(piece);
                used += step.used;
                payload += step.payload;
                if step.outcome != Outcome::More {
                    return (used, payload, step.outcome);
                }
            }
            (used, payload, Outcome::More)
        });
        let first = results.next().expect("a wire that is not empty");
        assert!(results.all(|other| other == first));
        first
    }

    #[test]
    fn chunked_ends_after_the_trailers() {
        assert_eq!(run(b"5\r\nhello\r\n0\r\n\r\nrest"), (15, 5, Outcome::Done));
        assert_eq!(
            run(b"5;a=\"b\"\r\nhello\r\n00\r\nX: y\r\n\r\n"),
            (28, 5, Outcome::Done)
        );
        assert_eq!(run(b"5 \nhello\n0\n\n"), (12, 5, Outcome::Done));
    }

    #[test]
    fn what_is_not_chunked_is_said_to_be_so() {
        assert_eq!(run(b"\r\n").2, Outcome::Bad);
        assert_eq!(run(b"5\r\nhello!").2, Outcome::Bad);
        assert_eq!(run(b"10000000000000000\r\n").2, Outcome::Bad);
        assert_eq!(run(b"ffffffffffffffff\r\n").2, Outcome::More);
    }

    #[test]
    fn a_gap_in_a_chunk_is_exact_and_one_over_its_framing_is_not() {
        let mut body = Body::CHUNKED;
        body.data(b"a\r\n12");
        assert_eq!(body.gap(8).payload, 8);
        assert_eq!(body.data(b"\r\n0\r\n\r\n").outcome, Outcome::Done);

        let mut body = Body::CHUNKED;
        body.data(b"a\r\n12");
        body.gap(9);
        assert_eq!(body, Body::Lost(Tail::Line));
        assert_eq!(
            body.data(b"x\r\n0\r\nmore of a text").outcome,
            Outcome::More
        );
        assert_eq!(body.data(b"x\r\n0\r\nA: b\r\n\r\n").outcome, Outcome::Done);
    }

    #[test]
    fn a_last_chunk_in_a_write_of_its_own_is_found_after_a_gap() {
        let mut body = Body::Lost(Tail::Line);
        assert_eq!(body.data(b"0\r\n\r\n").outcome, Outcome::Done);
    }
}
