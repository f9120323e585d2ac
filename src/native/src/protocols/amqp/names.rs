//! What messages are sent to and come from, in words (semantic conventions 1.44, docs/messaging/rabbitmq.md):
//! `{exchange}:{routing key}` where they are sent, `{exchange}:{routing key}:{queue}` where they come from, without
//! what is empty and without what says the same twice.
//!
//! Names that a broker or a framework made up stand for no place that anybody knows: they are left out, and what has no
//! other name is temporary.

use crate::protocols::message::{Message, Spare, Word};

/// The default exchange, where nothing else is said.
const DEFAULT: &[u8] = b"amq.default";
/// How made-up names begin: queues that a broker named, direct reply-to, Spring AMQP's anonymous queues.
const MADE_UP: [&[u8]; 3] = [b"amq.gen-", b"amq.rabbitmq.reply-to", b"spring.gen-"];

fn is_made_up(name: &[u8]) -> bool {
    MADE_UP.iter().any(|start| name.starts_with(start))
}

/// Of a message that is sent.
pub fn sent(message: &mut Message, exchange: &[u8], key: &[u8]) {
    name(message, [exchange, key, b""]);
    if !key.is_empty() {
        message.put_whole(Word::RoutingKey, key);
    }
}

/// Of a message that comes.
pub fn received(message: &mut Message, exchange: &[u8], key: &[u8], queue: &[u8]) {
    let queue = if queue == key { b"" } else { queue };
    name(message, [exchange, key, queue]);
    if !key.is_empty() {
        message.put_whole(Word::RoutingKey, key);
    }
}

fn name(message: &mut Message, names: [&[u8]; 3]) {
    let mut parts: [&[u8]; 5] = [b""; 5];
    let mut used = 0;
    for name in names
        .into_iter()
        .filter(|name| !name.is_empty() && !is_made_up(name))
    {
        if used > 0 {
            parts[used] = b":";
            used += 1;
        }
        parts[used] = name;
        used += 1;
    }
    let made_up = names.into_iter().rfind(|name| !name.is_empty());
    message.temporary = used == 0 && made_up.is_some();
    if used == 0 {
        parts[0] = made_up.unwrap_or(DEFAULT);
        used = 1;
    }
    message.put(Word::Destination, &parts[..used]);
}

/// Of messages that are acknowledged together: where they came from, if that is one place.
pub fn both(one: Message, other: Message, spare: &mut Spare) -> Message {
    let mut both = spare.message(one.start_ns);
    if one.get(Word::Destination) == other.get(Word::Destination) {
        both.temporary = one.temporary;
        both.put(Word::Destination, &[one.get(Word::Destination)]);
    }
    spare.take_back(one);
    spare.take_back(other);
    both
}
