//! What both sides say, once it is packets.

mod client;
mod losses;
mod server;

use super::answer::Answer;
use super::pending::Queue;
use super::statements::Statements;
use super::sync::{Sync, Tail};
use super::MAX_COMMAND;
use crate::exchange::DbSystem;

/// Bytes of a database's name: 64 characters.
const MAX_DATABASE: usize = 256;

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server is to greet.
    Silent,
    /// Something was said before.
    Old,
    /// The client is to log in.
    Greeted,
    /// The server is to accept it.
    Login,
    /// The client asks.
    Commands,
}

/// A connection's state, but for its framing.
#[derive(Debug)]
pub(super) struct Talk {
    pub phase: Phase,
    pub sync: Sync,
    system: DbSystem,
    /// Of both ends; `None` where the login was not seen.
    capabilities: Option<u64>,
    /// As the answers to come have it; `switched`: since the login.
    database: Vec<u8>,
    switched: bool,
    /// What the answer under way makes of it: set by one of its results, or in a way that was not understood.
    moved: Option<Vec<u8>>,
    /// It is this protocol for sure.
    proven: bool,
    /// Something was not captured, so that what makes no sense proves nothing.
    lossy: bool,
    /// The answer under way has begun, and has had more than one result.
    begun: bool,
    several: bool,
    /// The server's next packet has this number, where that is known.
    next_seq: Option<u8>,
    /// The packet with this number, if it is an EOF, belongs to the answer before.
    late_eof: Option<u8>,
    /// The client sends a file.
    infile: bool,
    /// The client's next piece begins a message, whatever was before it.
    client_anew: bool,
    compresses: bool,
    /// Packets within compressed frames have numbers of which nothing follows.
    unnumbered: bool,
    wipe: bool,
    frames: Option<Vec<u8>>,
    start_ns: u64,
    /// When the server spoke last, and its last bytes, while out of step.
    heard_ns: u64,
    tail: Tail,
    answer_bytes: u64,
    answer: Answer,
    queue: Queue,
    statements: Statements,
}

impl Talk {
    pub(super) fn new(old: bool) -> Self {
        Self {
            phase: if old { Phase::Old } else { Phase::Silent },
            sync: Sync::In,
            system: DbSystem::Mysql,
            capabilities: None,
            database: Vec::new(),
            switched: false,
            moved: None,
            proven: false,
            lossy: false,
            begun: false,
            several: false,
            next_seq: None,
            late_eof: None,
            infile: false,
            client_anew: false,
            compresses: false,
            unnumbered: false,
            wipe: false,
            frames: None,
            start_ns: 0,
            heard_ns: 0,
            tail: Tail::default(),
            answer_bytes: 0,
            answer: Answer::default(),
            queue: Queue::default(),
            statements: Statements::default(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// No command is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Commands && self.queue.is_empty()
    }

    /// The client is sending a file's contents.
    pub(super) fn sends_file(&self) -> bool {
        self.infile
    }

    /// Bytes to be kept of the client's next packet: none of what may be a password's proof.
    pub(super) fn keep(&self) -> usize {
        match self.phase {
            Phase::Login => 0,
            _ if self.infile => 0,
            _ => MAX_COMMAND,
        }
    }

    /// What was kept of the client's packet is to be wiped.
    pub(super) fn wipes(&mut self) -> bool {
        std::mem::take(&mut self.wipe)
    }

    pub(super) fn client_begins_anew(&mut self) -> bool {
        std::mem::take(&mut self.client_anew)
    }

    /// From here on there are compressed frames.
    pub(super) fn begins_compression(&mut self) -> bool {
        std::mem::take(&mut self.compresses)
    }

    /// What looked like a packet was the start of a compressed frame, which goes on with `data`.
    pub(super) fn goes_on_in_frames(&mut self, data: &[u8]) -> bool {
        let Some(frames) = &mut self.frames else {
            return false;
        };
        frames.extend_from_slice(data);
        true
    }

    /// That frame, as far as it has come.
    pub(super) fn takes_frames(&mut self) -> Option<Vec<u8>> {
        self.frames.take()
    }
}
