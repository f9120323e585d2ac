//! MQTT 3.1, 3.1.1 and 5, as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of packets (`packet`); `words` tells what is in them. Messages go both ways, each with
//! what its quality of service asks for:
//!
//! ```text
//!                      client ──► server: send          server ──► client: process
//! 0, at most once      over when it is sent             over when it is there
//! 1, at least once     PUBACK                           PUBACK
//! 2, exactly once      PUBREC, PUBREL, PUBCOMP          PUBREC
//! ```
//!
//! Rules:
//! - What is found depends on the bytes, never on how they were cut. Only while a direction is lost do the borders of
//!   pieces mean something: it goes on with a piece that is of packets from its first byte to its last.
//! - An alias stands for a topic that was heard, or for none.
//! - Where CONNECT was not seen it is not known which version it is, and with it where a message's properties end:
//!   neither they nor the payload's length are told, until a packet comes that only one version has.
//! - A gap within a payload is harmless. Where one may have taken an acknowledgement, what waits for it is abandoned.
//! - A connection older than the agent is recognised by SUBSCRIBE, or on MQTT's own ports.
//! - Memory: a packet's beginning per direction (8 KB), each way 256 aliases and 4,096 messages that wait, 512 KB of
//!   what they say about themselves. Of more messages than that the oldest are given up.

mod packet;
mod words;

use rustc_hash::FxHashMap;

use super::message::{Message, Operation, Spare, Word};
use super::{Detect, Opening};
use crate::exchange::{
    End, ErrorKind, Input, MessagingSystem, OperationType, Parser, Side, Sink, Verdict, Which,
};
use packet::{kind, Half, Packet, Step};
use words::{Fields, Version};

const PUBLISH: Operation = Operation(MessagingSystem::Mqtt, OperationType::Send, "publish");
const PROCESS: Operation = Operation(MessagingSystem::Mqtt, OperationType::Process, "process");

/// Messages of one direction that wait, and bytes of what they say about themselves.
const MAX_WAITING: usize = 4096;
const MAX_TEXTS: usize = 512 << 10;
/// Topics of one direction that have an alias, and bytes of one.
const MAX_ALIASES: usize = 256;
const MAX_TOPIC: usize = 512;
/// Without and within TLS.
const PORTS: [u16; 2] = [1883, 8883];
/// How CONNECT goes on behind its header.
const NAMES: [&[u8]; 3] = [b"\0\x04MQTT\x04", b"\0\x04MQTT\x05", b"\0\x06MQIsdp\x03"];

/// Says what starts here.
pub fn detect(opening: &Opening<'_>) -> Detect {
    let bytes = opening.bytes;
    if let Some((0x10, rest)) = bytes.split_first() {
        let name = match packet::variable(rest) {
            Some(Some((_, length))) => &rest[length..],
            Some(None) => return Detect::More,
            None => return Detect::No,
        };
        if NAMES.iter().any(|known| name.starts_with(known)) {
            return Detect::Request;
        }
        let begins = NAMES.iter().any(|known| known.starts_with(name));
        return if begins { Detect::More } else { Detect::No };
    }
    let is_port = |port| PORTS.contains(&port);
    let subscribes = matches!(packet::header(Side::Request, bytes), Some(Some((header, _))) if header.kind == kind::SUBSCRIBE);
    let is_publish = bytes
        .first()
        .is_some_and(|first| first >> 4 == kind::PUBLISH);
    if opening.first || !(subscribes || is_publish) {
        return Detect::No;
    }
    if (subscribes || is_port(opening.to_port)) && words::are_packets(Side::Request, bytes) {
        return Detect::Request;
    }
    if is_port(opening.from_port) && words::are_packets(Side::Response, bytes) {
        return Detect::Response;
    }
    Detect::No
}

/// A parser for one connection.
pub fn parser(old: bool) -> Box<dyn Parser + Send> {
    Box::new(Connection::new(old))
}

/// A message without its acknowledgement.
#[derive(Debug)]
struct Waiting {
    message: Message,
    qos: u8,
}

/// The messages of one direction.
#[derive(Debug, Default)]
struct Messages {
    /// By packet identifier.
    waiting: FxHashMap<u16, Waiting>,
    texts: usize,
    aliases: FxHashMap<u16, Box<[u8]>>,
}

impl Messages {
    fn take(&mut self, id: u16) -> Option<Waiting> {
        let taken = self.waiting.remove(&id)?;
        self.texts -= taken.message.heap_bytes();
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = FxHashMap::default();
        }
        Some(taken)
    }

    /// The oldest first.
    fn in_order(&self) -> Vec<u16> {
        let mut ids: Vec<(u64, u16)> = self
            .waiting
            .iter()
            .map(|(id, waiting)| (waiting.message.start_ns, *id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }
}

/// The parser of one connection.
#[derive(Debug)]
struct Connection {
    /// By `Side`.
    halves: [Half; 2],
    state: State,
    over: Option<Verdict>,
}

#[derive(Debug, Default)]
struct State {
    version: Version,
    client_id: Vec<u8>,
    spare: Spare,
    /// By the `Side` that sends them.
    messages: [Messages; 2],
}

impl Connection {
    fn new(old: bool) -> Self {
        Self {
            halves: [
                Half::new(Side::Request, old),
                Half::new(Side::Response, old),
            ],
            state: State::default(),
            over: None,
        }
    }

    fn data(&mut self, side: Side, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        let half = &mut self.halves[side as usize];
        if half.is_lost() && !half.find(bytes) {
            self.state.lose(side, sink);
            return Verdict::Continue;
        }
        loop {
            match self.halves[side as usize].data(ts_ns, &mut bytes) {
                Step::Nothing => return Verdict::Continue,
                Step::Illegal => return self.give_up(sink),
                Step::Packet(packet) => {
                    if self.state.packet(side, packet, ts_ns, sink).is_err() {
                        return self.give_up(sink);
                    }
                }
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, mut gap: u64, sink: &mut dyn Sink) -> Verdict {
        while gap > 0 {
            match self.halves[side as usize].gap(&mut gap) {
                Step::Nothing => {}
                Step::Illegal => {
                    self.halves[side as usize].lose();
                    self.state.lose(side, sink);
                    return Verdict::Continue;
                }
                Step::Packet(packet) => {
                    if self.state.packet(side, packet, ts_ns, sink).is_err() {
                        return self.give_up(sink);
                    }
                }
            }
        }
        Verdict::Continue
    }

    fn give_up(&mut self, sink: &mut dyn Sink) -> Verdict {
        self.state.lose(Side::Request, sink);
        self.state.lose(Side::Response, sink);
        self.over = Some(Verdict::NotMine);
        Verdict::NotMine
    }
}

/// Not what MQTT is.
#[derive(Debug)]
struct NotMqtt;

impl State {
    fn packet(
        &mut self,
        side: Side,
        packet: Packet<'_>,
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), NotMqtt> {
        let Packet {
            header,
            kept,
            holed,
            ..
        } = packet;
        match header.kind {
            kind::CONNECT if holed => {}
            kind::CONNECT => {
                let connect = words::connect(kept).ok_or(NotMqtt)?;
                self.version = connect.version;
                self.client_id.clear();
                let fits = connect.client_id.len() <= MAX_TOPIC;
                self.client_id
                    .extend_from_slice(if fits { connect.client_id } else { b"" });
            }
            kind::CONNACK if self.version == Version::Five && self.client_id.is_empty() => {
                let _ = self.assigned(kept);
            }
            kind::SUBSCRIBE if self.version == Version::Unknown && !holed => {
                self.version = words::version_of(kept).unwrap_or_default();
            }
            kind::PUBLISH => self.publish(side, packet, ts_ns, sink),
            kind::PUBACK | kind::PUBREC | kind::PUBCOMP => {
                let mut fields = Fields(kept);
                if let Some(id) = fields.short() {
                    let code = fields.octet();
                    if self.version == Version::Unknown && header.remaining > 2 {
                        self.version = Version::Five;
                    }
                    let failure = words::failure(code.unwrap_or_default());
                    let known = code.is_some() || header.remaining == 2;
                    self.acknowledged(side, header.kind, id, failure, known, ts_ns, sink);
                } else {
                    self.lose_waiting(other(side), sink); // it may have been any one's
                }
            }
            kind::DISCONNECT if side == Side::Response && !holed => {
                let failure = words::failure(kept.first().copied().unwrap_or_default());
                let error = failure.is_empty().then_some(ErrorKind::ConnectionClosed);
                self.end(ts_ns, failure, error, sink);
            }
            _ => {}
        }
        Ok(())
    }

    /// The server names a client that has no name.
    fn assigned(&mut self, kept: &[u8]) -> Option<()> {
        let mut fields = Fields(kept);
        fields.short()?;
        let mut properties = fields.properties()?;
        while let Some((id, value, _)) = properties.property() {
            if id == 0x12 && value.len() <= MAX_TOPIC {
                self.client_id.extend_from_slice(value);
                return Some(());
            }
        }
        None
    }

    fn publish(&mut self, side: Side, packet: Packet<'_>, ts_ns: u64, sink: &mut dyn Sink) {
        let header = packet.header;
        let mut message = self.spare.message(packet.start_ns);
        message.whole_ns = ts_ns;
        let Some(publish) = words::publish(header, packet.kept, self.version, &mut message) else {
            // its topic and its number are not known
            self.spare.take_back(message);
            return sink.abandoned(Which::Untold);
        };
        message.body_bytes = publish
            .before
            .and_then(|before| (header.remaining as usize).checked_sub(before))
            .map(|bytes| bytes as u64);
        let messages = &mut self.messages[side as usize];
        let topic = match (publish.topic, publish.alias) {
            (b"", Some(alias)) => messages.aliases.get(&alias).map(|topic| &**topic),
            (topic, Some(alias)) => {
                let known = messages.aliases.contains_key(&alias);
                if known || messages.aliases.len() < MAX_ALIASES {
                    let topic = &topic[..topic.len().min(MAX_TOPIC)];
                    messages.aliases.insert(alias, topic.into());
                }
                Some(topic)
            }
            (topic, None) => Some(topic),
        };
        message.put(Word::Destination, &[topic.unwrap_or_default()]);
        if header.qos() == 0 {
            message.report(operation(side), &self.client_id, ts_ns, None, sink);
            return self.spare.take_back(message);
        }
        if let Some(before) = messages.take(publish.packet_id) {
            // said once more, or a number whose acknowledgement was lost
            let again = header.flags & 8 != 0
                && before.message.get(Word::Destination) == message.get(Word::Destination);
            let (stays, goes) = if again {
                (before.message, message)
            } else {
                sink.abandoned(Which::Untold);
                (message, before.message)
            };
            self.spare.take_back(goes);
            message = stays;
        }
        self.make_room(side, sink);
        let messages = &mut self.messages[side as usize];
        messages.texts += message.heap_bytes();
        let qos = header.qos();
        messages
            .waiting
            .insert(publish.packet_id, Waiting { message, qos });
    }

    /// Where too many wait, the oldest are given up: a quarter, so that who keeps it full does not have them put in
    /// order each time.
    fn make_room(&mut self, side: Side, sink: &mut dyn Sink) {
        let messages = &mut self.messages[side as usize];
        if messages.waiting.len() < MAX_WAITING && messages.texts < MAX_TEXTS {
            return;
        }
        let ids = messages.in_order();
        for id in &ids[..=ids.len() / 4] {
            if let Some(waiting) = messages.take(*id) {
                sink.abandoned(Which::Untold);
                self.spare.take_back(waiting.message);
            }
        }
    }

    /// This side has a message of the other's, and says so. `known`: how that went.
    #[allow(clippy::too_many_arguments)]
    fn acknowledged(
        &mut self,
        side: Side,
        kind: u8,
        id: u16,
        failure: &str,
        known: bool,
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) {
        let by = other(side);
        let messages = &mut self.messages[by as usize];
        let Some(waiting) = messages.waiting.get(&id) else {
            return;
        };
        let is_end = match (kind, waiting.qos) {
            (kind::PUBACK, 1) | (kind::PUBCOMP, 2) => true,
            (kind::PUBREC, 2) => by == Side::Response || !failure.is_empty(),
            _ => false,
        };
        if !is_end {
            return;
        }
        let Some(Waiting { mut message, .. }) = messages.take(id) else {
            return;
        };
        if known {
            message.put(Word::Failure, &[failure.as_bytes()]);
            message.report(operation(by), &self.client_id, ts_ns, None, sink);
        } else {
            sink.abandoned(Which::Untold);
        }
        self.spare.take_back(message);
    }

    /// All that waits is over.
    fn end(&mut self, ts_ns: u64, failure: &str, error: Option<ErrorKind>, sink: &mut dyn Sink) {
        for side in [Side::Request, Side::Response] {
            for id in self.messages[side as usize].in_order() {
                if let Some(Waiting { mut message, .. }) = self.messages[side as usize].take(id) {
                    message.put(Word::Failure, &[failure.as_bytes()]);
                    message.report(operation(side), &self.client_id, ts_ns, error, sink);
                    self.spare.take_back(message);
                }
            }
        }
    }

    /// Some of what this side said is not known: acknowledgements, or what its aliases stand for.
    fn lose(&mut self, side: Side, sink: &mut dyn Sink) {
        self.lose_waiting(other(side), sink);
        self.messages[side as usize].aliases.clear();
    }

    /// Messages of this side may have been acknowledged.
    fn lose_waiting(&mut self, side: Side, sink: &mut dyn Sink) {
        let messages = &mut self.messages[side as usize];
        for (_, waiting) in messages.waiting.drain() {
            sink.abandoned(Which::Untold);
            self.spare.take_back(waiting.message);
        }
        messages.texts = 0;
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Request => Side::Response,
        Side::Response => Side::Request,
    }
}

/// What it is to the client.
fn operation(by: Side) -> Operation {
    match by {
        Side::Request => PUBLISH,
        Side::Response => PROCESS,
    }
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(over) = self.over {
            return over;
        }
        match input {
            Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
            Input::Gap(bytes) => self.gap(side, ts_ns, bytes, sink),
        }
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        let error = match end {
            End::Lost => {
                self.halves.iter_mut().for_each(Half::lose);
                self.state.lose(Side::Request, sink);
                self.state.lose(Side::Response, sink);
                None
            }
            _ => end.error(),
        };
        if error.is_some() {
            self.state.end(ts_ns, "", error, sink);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.state.messages.iter().map(|m| m.waiting.len()).sum()
    }
}
