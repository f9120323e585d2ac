//! Content headers: the body's length, and the properties of a message that are told.
//!
//! ```text
//! | class | weight | body size | flags ... | properties, those whose flag is set, from bit 15 downwards |
//! ```

use super::method::Arguments;
use crate::protocols::message::{Message, Word};

const HEADERS: u16 = 1 << 13;
const CORRELATION_ID: u16 = 1 << 10;
const MESSAGE_ID: u16 = 1 << 7;
/// A further word of flags follows.
const MORE: u16 = 1;

/// Takes what a content header says. `payload` may end early: then what is behind is not known.
pub fn read(payload: &[u8], message: &mut Message) {
    let mut arguments = Arguments(payload);
    let _ = arguments.bytes(12);
    let Some(flags) = arguments.short() else {
        return;
    };
    let mut more = flags & MORE != 0;
    while more {
        let Some(flags) = arguments.short() else {
            return;
        };
        more = flags & MORE != 0;
    }
    let _ = properties(flags, arguments, message);
}

fn properties(flags: u16, mut arguments: Arguments<'_>, message: &mut Message) -> Option<()> {
    for bit in (6..16).rev() {
        let flag = 1 << bit;
        if flags & flag == 0 {
            continue;
        }
        match flag {
            HEADERS => {
                let length = usize::try_from(arguments.long()?).ok()?;
                let there = length.min(arguments.0.len());
                let table = arguments.bytes(there)?;
                let _ = headers(table, message);
                if there < length {
                    return None;
                }
            }
            CORRELATION_ID => message.put_whole(Word::ConversationId, arguments.short_string()?),
            MESSAGE_ID => message.put_whole(Word::MessageId, arguments.short_string()?),
            0x1000 | 0x0800 => drop(arguments.octet()?), // delivery-mode, priority
            0x0040 => drop(arguments.long_long()?),      // timestamp
            _ => drop(arguments.short_string()?),
        }
    }
    Some(())
}

/// The trace context among a message's headers.
fn headers(table: &[u8], message: &mut Message) -> Option<()> {
    let mut arguments = Arguments(table);
    while !arguments.0.is_empty() {
        let name = arguments.short_string()?;
        let word = if name.eq_ignore_ascii_case(b"traceparent") {
            Some(Word::Traceparent)
        } else if name.eq_ignore_ascii_case(b"tracestate") {
            Some(Word::Tracestate)
        } else {
            None
        };
        let kind = arguments.octet()?;
        let value = value(kind, &mut arguments)?;
        if let (Some(word), b'S' | b'x') = (word, kind) {
            message.put_whole(word, value);
        }
    }
    Some(())
}

/// The value of a field, without its length (RabbitMQ's kinds of values).
fn value<'a>(kind: u8, arguments: &mut Arguments<'a>) -> Option<&'a [u8]> {
    match kind {
        b't' | b'b' | b'B' => arguments.bytes(1),
        b's' | b'u' => arguments.bytes(2),
        b'I' | b'i' | b'f' => arguments.bytes(4),
        b'l' | b'L' | b'd' | b'T' => arguments.bytes(8),
        b'D' => arguments.bytes(5),
        b'S' | b'x' | b'A' | b'F' => arguments.long_string(),
        b'V' => Some(b""),
        _ => None,
    }
}
