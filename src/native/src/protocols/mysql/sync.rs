//! Whether what is said is understood, after something was not captured.

use super::command;
use super::packet::length;

/// In step, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sync {
    /// Both sides are followed packet by packet.
    #[default]
    In,
    /// The end of the only request in flight is missing: what the client says before it is answered belongs to it.
    LongRequest,
    /// Requests may be missing behind those in flight, which are answered still.
    Draining,
    /// The end of the answer to the only request in flight is missing.
    LongAnswer,
    /// What was in flight is counted elsewhere: the client's next piece is a command, whatever the server says before.
    Forgotten,
    /// Anything may be missing. `asked`: since then the client has said what looks like one command; `answered`: and
    /// what the server has said last looks like the end of an answer.
    Out { asked: bool, answered: bool },
}

/// The last bytes that a server has said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    bytes: [u8; Self::LEN],
    have: u8,
}

impl Tail {
    const LEN: usize = 11;

    pub(super) fn clear(&mut self) {
        self.have = 0;
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        let new = data.len().min(Self::LEN);
        self.bytes.copy_within(new.., 0);
        self.bytes[Self::LEN - new..].copy_from_slice(&data[data.len() - new..]);
        self.have = (usize::from(self.have) + new).min(Self::LEN) as u8;
    }

    /// These end a result's rows, and no other result follows: an EOF, or an OK in its place.
    pub(super) fn ends_rows(&self) -> bool {
        let all = &self.bytes[Self::LEN - usize::from(self.have)..];
        let status = match all {
            [7, 0, 0, _, 0xfe, 0, 0, low, high, _, _] | [.., 5, 0, 0, _, 0xfe, _, _, low, high] => {
                u16::from_le_bytes([*low, *high])
            }
            _ => return false,
        };
        status & super::answer::status::MORE_RESULTS_EXISTS == 0
    }
}

/// A piece that is one whole packet, an OK or an error, in answer to a command of one packet.
pub(super) fn is_plain_answer(piece: &[u8]) -> bool {
    let Some((header, payload)) = piece.split_first_chunk::<4>() else {
        return false;
    };
    let ok = payload.first() == Some(&0) && payload.len() >= 7;
    let error = payload.first() == Some(&0xff) && payload.len() >= 9;
    header[3] == 1 && length(*header) as usize == payload.len() && (ok || error)
}

/// A piece that begins with a command; `alone`: and has no other.
pub(super) fn is_command(piece: &[u8], alone: bool) -> bool {
    let Some((header, payload)) = piece.split_first_chunk::<4>() else {
        return false;
    };
    let known = payload.first().is_some_and(|c| command::name(*c).is_some());
    header[3] == 0 && known && (!alone || length(*header) as usize >= payload.len())
}
