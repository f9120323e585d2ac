//! What the client says: its login, its commands.

use super::{Phase, Talk, MAX_DATABASE};
use crate::exchange::{DbSystem, Sink, Verdict};
use crate::protocols::mysql::command::{self, com};
use crate::protocols::mysql::compressed;
use crate::protocols::mysql::login::{capability, hello, Hello};
use crate::protocols::mysql::packet::Packet;

impl Talk {
    /// A message of the client's.
    #[inline]
    pub(in super::super) fn client_packet(
        &mut self,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> Verdict {
        match self.phase {
            Phase::Commands => self.command(packet, sink),
            Phase::Silent => Verdict::NotMine,
            Phase::Greeted if packet.seq == 1 => self.hello(packet),
            Phase::Greeted => Verdict::NotMine,
            Phase::Old => self.first_of_old(packet, sink),
            Phase::Login => Verdict::Continue,
        }
    }

    pub(super) fn hello(&mut self, packet: &Packet<'_>) -> Verdict {
        self.wipe = true;
        match hello(packet.bytes) {
            Some(Hello::Tls) => Verdict::Ended,
            Some(Hello::Login {
                capabilities,
                database,
            }) => {
                if self.phase == Phase::Old {
                    self.start_ns = packet.start_ns;
                    let extended = capabilities >> 32 != 0;
                    if extended && capabilities & capability::CLIENT_MYSQL == 0 {
                        self.system = DbSystem::Mariadb; // which alone is told of more
                    }
                }
                self.agree(capabilities);
                self.enter(if packet.is_whole() { database } else { b"" });
                self.phase = Phase::Login;
                Verdict::Continue
            }
            None => Verdict::NotMine,
        }
    }

    /// Both ends have what the client says now and, if that was heard, the server before.
    pub(super) fn agree(&mut self, client: u64) {
        let server = self.capabilities;
        let both = client & server.unwrap_or(u64::MAX);
        let has = |flag: u64| both & flag != 0;
        self.capabilities = Some(both);
        self.answer.eof = match (has(capability::DEPRECATE_EOF), server) {
            (false, _) => Some(true),
            (true, Some(_)) => Some(false),
            (true, None) => None,
        };
        self.answer.tracks_session = has(capability::SESSION_TRACK);
        self.answer.optional_metadata =
            self.system == DbSystem::Mysql && has(capability::OPTIONAL_RESULTSET_METADATA);
    }

    /// Whether both ends speak of query attributes, where that is known.
    pub(super) fn attributes(&self) -> Option<bool> {
        self.capabilities
            .map(|both| both & capability::QUERY_ATTRIBUTES != 0 && self.system == DbSystem::Mysql)
    }

    pub(super) fn enter(&mut self, database: &[u8]) {
        self.database.clear();
        if database.len() <= MAX_DATABASE {
            self.database.extend_from_slice(database);
        }
    }

    pub(super) fn first_of_old(&mut self, packet: &Packet<'_>, sink: &mut dyn Sink) -> Verdict {
        if packet.seq == 0 && command::is_surely(packet.bytes) {
            self.phase = Phase::Commands;
            return self.command(packet, sink);
        }
        if matches!(packet.seq, 1 | 2) {
            return self.hello(packet);
        }
        let mut frame = (packet.len as u32).to_le_bytes();
        frame[3] = packet.seq;
        let frame = [&frame, packet.bytes].concat();
        // three bytes of it are behind what looks like a packet, and may be the end of a statement's first word
        if !self.unnumbered && packet.is_whole() && compressed::is_first_command(&frame, |_| true) {
            self.frames = Some(frame);
            self.unnumbered = true;
            return Verdict::Continue;
        }
        Verdict::NotMine
    }

    pub(super) fn command(&mut self, packet: &Packet<'_>, sink: &mut dyn Sink) -> Verdict {
        if self.infile {
            if let Some(asked) = self.queue.front_mut() {
                asked.request_bytes += packet.wire_bytes;
            }
            self.infile = packet.len > 0;
            return Verdict::Continue;
        }
        if packet.seq != 0 {
            // a part of a login as another user; or what was to be of a file, whose load failed meanwhile
            return Verdict::Continue;
        }
        let Some(&code) = packet.bytes.first() else {
            return self.nonsense(sink);
        };
        if command::name(code).is_none() {
            return self.nonsense(sink);
        }
        if command::is_replication(code) {
            return Verdict::Ended;
        }
        if command::is_answered(code) {
            self.wipe |= code == com::CHANGE_USER;
            if code == com::STMT_BULK_EXECUTE {
                self.system = DbSystem::Mariadb;
            }
            let attributes = self.attributes();
            let has_room = self.queue.push(packet, &mut self.statements, attributes);
            return if has_room {
                Verdict::Continue
            } else {
                Verdict::Ended
            };
        }
        match code {
            com::STMT_SEND_LONG_DATA => self.queue.long_data(packet.wire_bytes),
            com::STMT_CLOSE => {
                if let Some(id) = packet.bytes.get(1..5).and_then(|id| id.first_chunk()) {
                    self.statements.remove(u32::from_le_bytes(*id));
                }
            }
            _ => {}
        }
        Verdict::Continue
    }
}
