//! What is behind the headers of packets (MQTT 3.1.1 and 5, OASIS).

use super::packet::{header, kind, variable, Header};
use crate::exchange::Side;
use crate::protocols::message::{Message, Word};

/// Which MQTT it is, by the protocol level of CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// CONNECT was not seen.
    #[default]
    Unknown,
    /// 3.1 and 3.1.1.
    Three,
    Five,
}

/// Fields, one after the other. Where one is cut off there are none behind it.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.0.get(..count)?;
        self.0 = &self.0[count..];
        Some(taken)
    }

    pub fn octet(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub fn short(&mut self) -> Option<u16> {
        self.bytes(2)?
            .first_chunk()
            .copied()
            .map(u16::from_be_bytes)
    }

    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?;
        self.bytes(length.into())
    }

    fn variable(&mut self) -> Option<u32> {
        let (number, length) = variable(self.0)??;
        self.bytes(length)?;
        Some(number)
    }

    /// Properties, of version 5.
    pub fn properties(&mut self) -> Option<Fields<'a>> {
        let length = self.variable()?;
        self.bytes(usize::try_from(length).ok()?).map(Fields)
    }

    /// The next property's number, and its value: of a pair name and value.
    pub fn property(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let id = self.octet()?;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => self.bytes(1)?,
            0x13 | 0x21..=0x23 => self.bytes(2)?,
            0x02 | 0x11 | 0x18 | 0x27 => self.bytes(4)?,
            0x0b => {
                self.variable()?;
                b""
            }
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => self.string()?,
            0x26 => return Some((id, self.string()?, self.string()?)),
            _ => return None,
        };
        Some((id, value, b""))
    }
}

/// What CONNECT says that is told: nothing of its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub version: Version,
    pub client_id: &'a [u8],
}

pub fn connect(kept: &[u8]) -> Option<Connect<'_>> {
    let mut fields = Fields(kept);
    let version = match (fields.string()?, fields.octet()?) {
        (b"MQTT", 4) | (b"MQIsdp", 3) => Version::Three,
        (b"MQTT", 5) => Version::Five,
        _ => return None,
    };
    let flags = fields.octet()?;
    fields.short()?;
    if version == Version::Five {
        fields.properties()?;
    }
    let client_id = fields.string()?;
    (flags & 1 == 0).then_some(Connect { version, client_id })
}

/// What a message's header says.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub topic: &'a [u8],
    /// Which acknowledgements name; 0 where there will be none.
    pub packet_id: u16,
    /// What stands for the topic from now on, or does where that is "".
    pub alias: Option<u16>,
    /// Bytes before the payload; `None`: it is not known.
    pub before: Option<usize>,
}

/// `message` takes what the properties say.
pub fn publish<'a>(
    header: Header,
    kept: &'a [u8],
    version: Version,
    message: &mut Message,
) -> Option<Publish<'a>> {
    let mut fields = Fields(kept);
    let topic = fields.string()?;
    let packet_id = if header.qos() > 0 { fields.short()? } else { 0 };
    let mut found = Publish {
        topic,
        packet_id,
        alias: None,
        before: None,
    };
    if version == Version::Unknown {
        return Some(found);
    }
    if version == Version::Five {
        let mut properties = fields.properties()?;
        while let Some((id, value, text)) = properties.property() {
            match (id, value) {
                (0x23, value) => found.alias = Fields(value).short(),
                (0x09, value) if is_text(value) => message.put_whole(Word::ConversationId, value),
                (0x26, name) if name.eq_ignore_ascii_case(b"traceparent") => {
                    message.put_whole(Word::Traceparent, text);
                }
                (0x26, name) if name.eq_ignore_ascii_case(b"tracestate") => {
                    message.put_whole(Word::Tracestate, text);
                }
                _ => {}
            }
        }
    }
    found.before = Some(kept.len() - fields.0.len());
    Some(found)
}

/// Correlation data may be anything; what can be read is told.
fn is_text(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// Whether these bytes are packets of this side, one behind the other, the last one perhaps not whole.
pub fn are_packets(side: Side, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut whole = 0;
    while let Some(Some((header, at))) = header(side, rest) {
        let remaining = usize::try_from(header.remaining).unwrap_or(usize::MAX);
        let there = rest.len().saturating_sub(at).min(remaining);
        if !is_likely(header, &rest[at..at + there], there == remaining) {
            return false;
        }
        rest = &rest[at + there..];
        if there < remaining {
            return true;
        }
        whole += 1;
    }
    whole > 0 && rest.is_empty()
}

/// Whether a packet is of what it should be of.
fn is_likely(header: Header, payload: &[u8], whole: bool) -> bool {
    let mut fields = Fields(payload);
    match header.kind {
        kind::PUBLISH => match fields.string() {
            Some([]) => header.remaining > 5, // an alias stands for it
            Some(topic) => is_topic(topic) && !topic.iter().any(|byte| matches!(byte, b'#' | b'+')),
            None => false,
        },
        kind::CONNECT => connect(payload).is_some(),
        _ if !whole => false,
        kind::SUBSCRIBE => version_of(payload).is_some(),
        kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
            fields.short().is_some_and(|id| id > 0) && header.remaining < 128
        }
        _ => true,
    }
}

fn is_topic(text: &[u8]) -> bool {
    !text.is_empty()
        && std::str::from_utf8(text).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// The version of a SUBSCRIBE: as only one of them it takes as many bytes as there are.
pub fn version_of(subscribe: &[u8]) -> Option<Version> {
    let filters = |mut fields: Fields<'_>, most: u8| {
        while !fields.0.is_empty() {
            let filter = fields.string()?;
            let options = fields.octet()?;
            if !is_topic(filter) || options > most {
                return None;
            }
        }
        Some(())
    };
    let mut fields = Fields(subscribe);
    let id = fields.short().filter(|id| *id > 0)?;
    debug_assert!(id > 0);
    let three = !fields.0.is_empty() && filters(fields, 2).is_some();
    let mut five = fields;
    let fits_five = five.properties().is_some() && !five.0.is_empty();
    let five = fits_five && filters(five, 0x2e).is_some();
    match (three, five) {
        (true, false) => Some(Version::Three),
        (false, true) => Some(Version::Five),
        _ => None,
    }
}

/// A reason code's name, where it is an error's (MQTT 5, 2.4).
pub fn failure(code: u8) -> &'static str {
    match code {
        0..=0x7f => "",
        0x81 => "Malformed Packet",
        0x82 => "Protocol Error",
        0x83 => "Implementation specific error",
        0x87 => "Not authorized",
        0x88 => "Server unavailable",
        0x89 => "Server busy",
        0x8b => "Server shutting down",
        0x8d => "Keep Alive timeout",
        0x8e => "Session taken over",
        0x90 => "Topic Name invalid",
        0x91 => "Packet Identifier in use",
        0x92 => "Packet Identifier not found",
        0x93 => "Receive Maximum exceeded",
        0x94 => "Topic Alias invalid",
        0x95 => "Packet too large",
        0x96 => "Message rate too high",
        0x97 => "Quota exceeded",
        0x98 => "Administrative action",
        0x99 => "Payload format invalid",
        0x9a => "Retain not supported",
        0x9b => "QoS not supported",
        0x9c => "Use another server",
        0x9d => "Server moved",
        0x9f => "Connection rate exceeded",
        _ => "Unspecified error",
    }
}
