//! What the kernel side is told of a connection: what it speaks, as far as that decides which of its bytes are worth
//! passing on. Protocols say it of themselves; nothing here knows about maps or BPF.

use crate::exchange::Role;

/// What a connection was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No protocol of ours: nothing more of it is wanted.
    Stranger,
    /// HTTP/2, found in its middle: what begins with the preface the kernel side finds by itself.
    Http2,
    /// As `Capture::Plain`.
    Plain,
    /// As `Capture::Framed`, where the observed process is this.
    Framed(Framing, Role),
}

/// What is passed on of a protocol that is not HTTP. As long as nothing is said, the kernel side looks for heads and
/// bodies of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Each operation on the socket, whole up to 256 KB; of a larger one its first 4 KB and its last bytes.
    Plain,
    /// The headers of all frames and the beginnings of their payloads.
    Framed(Framing),
}

impl Capture {
    /// As it is said of a connection.
    pub fn found(self, role: Role) -> Found {
        match self {
            Self::Plain => Found::Plain,
            Self::Framed(framing) => Found::Framed(framing, role),
        }
    }
}

/// Frames that begin with a header, always of the same size, that says how long the payload behind it is.
///
/// Up to 512 bytes of payload are passed on in any case. On a connection that is found to be of such frames, the first
/// is the one at the beginning of the next operation that looks like it; before, and after records were lost, parsers
/// get what capture makes of the bytes as bytes: their beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Bytes of a header.
    pub header: u8,
    /// Where the length stands in it.
    pub length_at: u8,
    /// In how many bytes.
    pub length_bytes: u8,
    /// Least significant byte first.
    pub little_endian: bool,
    /// A header begins with an ASCII letter, or with a digit where there is no payload, which tells beginnings from
    /// what is within a frame.
    pub lettered: bool,
    /// What is to be added to the length for the payload's: -4 where a length of four bytes includes itself, and
    /// nothing else of the header.
    pub bias: i32,
    /// Bytes of a request's payload that are wanted.
    pub want_request: u32,
    /// Bytes of a response's payload that are wanted.
    pub want_response: u32,
}

impl Framing {
    /// The same, unless it can't be told to the kernel side. For constants: what is wrong does not compile.
    pub const fn checked(self) -> Self {
        assert!(self.header <= 16, "headers have 16 bytes at most");
        assert!(
            self.length_bytes >= 1 && self.length_bytes <= 4,
            "a length has one to four bytes"
        );
        assert!(
            self.length_at as u16 + self.length_bytes as u16 <= self.header as u16,
            "the length stands in the header"
        );
        self
    }

    /// Bytes of each payload that are wanted: of what the observed process receives, and of what it sends.
    pub fn wants(&self, role: Role) -> [u32; 2] {
        match role {
            Role::Server => [self.want_request, self.want_response],
            Role::Client => [self.want_response, self.want_request],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRESQL: Framing = Framing {
        header: 5,
        length_at: 1,
        length_bytes: 4,
        little_endian: false,
        lettered: true,
        bias: -4,
        want_request: 4096,
        want_response: 256,
    }
    .checked();

    #[test]
    fn a_server_receives_what_a_client_sends() {
        assert_eq!(POSTGRESQL.wants(Role::Server), [4096, 256]);
        assert_eq!(POSTGRESQL.wants(Role::Client), [256, 4096]);
    }

    #[test]
    #[should_panic(expected = "the length stands in the header")]
    fn a_length_behind_the_header_is_none() {
        let _ = Framing {
            header: 4,
            ..POSTGRESQL
        }
        .checked();
    }
}
