//! gRPC over HTTP/2: messages within DATA, and what status a call has that was not told one.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, and next to it http-grpc-status-mapping.md.

use crate::exchange::ErrorKind;

/// Status codes.
pub(super) const CANCELLED: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;
pub(super) const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// Bytes before each message: compressed or not, and its length.
const PREFIX: usize = 5;

/// Counts the messages of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; PREFIX],
    have: u8,
    /// Of the message under way.
    left: u32,
    count: u64,
    lost: bool,
}

impl Messages {
    /// Bytes of DATA.
    pub fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            let skipped = bytes.len().min(self.left as usize);
            self.left -= skipped as u32;
            bytes = &bytes[skipped..];
            let have = usize::from(self.have);
            let taken = bytes.len().min(PREFIX - have);
            self.prefix[have..have + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.have += taken as u8;
            if usize::from(self.have) == PREFIX {
                let [flag, length @ ..] = self.prefix;
                self.lost = flag > 1;
                self.left = u32::from_be_bytes(length);
                self.count += 1;
                self.have = 0;
            }
        }
    }

    /// So many bytes of DATA that nobody captured.
    pub fn gap(&mut self, bytes: u64) {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes <= self.left => self.left -= bytes,
            _ => self.lost = true,
        }
    }

    /// There were messages, and nothing else.
    pub fn are_all(&self) -> bool {
        self.count > 0 && !self.lost && (self.left, self.have) == (0, 0)
    }

    /// Perhaps some went by that nobody can count.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// `None`: some may not have been counted.
    pub fn count(&self) -> Option<u64> {
        (!self.lost).then_some(self.count)
    }
}

/// What clients make of a status of HTTP with nothing of gRPC.
pub(super) fn of_http(status: u16) -> u8 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// What clients make of a stream, or of a connection, that was broken off.
pub(super) fn of_error(error: ErrorKind) -> u8 {
    match error {
        ErrorKind::Cancel | ErrorKind::ProcessExit => CANCELLED,
        ErrorKind::RefusedStream
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionClosed
        | ErrorKind::Timeout => UNAVAILABLE,
        ErrorKind::EnhanceYourCalm => RESOURCE_EXHAUSTED,
        ErrorKind::InadequateSecurity => PERMISSION_DENIED,
        _ => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_however_they_are_cut() {
        let bytes = b"\0\0\0\0\x03abc\x01\0\0\0\0\0\0\0\x01\0"; // the third one is 256 bytes long
        for cut in 1..bytes.len() {
            let mut messages = Messages::default();
            for piece in bytes.chunks(cut) {
                messages.data(piece);
            }
            assert_eq!((messages.count(), messages.left), (Some(3), 256));
            messages.gap(255);
            messages.data(b"x\0");
            assert_eq!(messages.count(), Some(3));
            messages.gap(1);
            assert_eq!(messages.count(), None);
        }
        let mut messages = Messages::default();
        messages.data(b"HTTP/1.1 is none");
        assert_eq!(messages.count(), None);
    }
}
