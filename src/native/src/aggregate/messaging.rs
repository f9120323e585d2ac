//! What is said of an operation at a broker (semantic conventions 1.44, docs/messaging/messaging-spans.md).

use super::calls::{Area, Said, Slots};
use super::origin::Origin;
use crate::exchange::{ErrorKind, Messaging, OperationType, Role};
use crate::otlp::Kind;

/// Stands for all names that are made up as needed.
const TEMPORARY: &[u8] = b"(temporary)";

pub fn said<'a>(
    m: &Messaging<'a>,
    partition: &'a str,
    error: Option<ErrorKind>,
    role: Role,
    server: Option<&'a Origin>,
) -> Said<'a> {
    let destination = if m.temporary { b"" } else { m.destination };
    let mut slots = Slots::new();
    slots
        .text("messaging.system", m.system.as_str().as_bytes())
        .text("messaging.operation.name", m.operation.as_bytes())
        .text(
            "messaging.operation.type",
            m.operation_type.as_str().as_bytes(),
        )
        .text("messaging.destination.name", destination)
        .text(
            "messaging.destination.temporary",
            if m.temporary { b"true" } else { b"" },
        )
        .text("messaging.destination.partition.id", partition.as_bytes())
        .text("messaging.consumer.group.name", m.consumer_group);
    super::calling::put_server(&mut slots, server);
    Said {
        area: Area::Messaging,
        role,
        kind: match (role, m.operation_type) {
            (Role::Server, _) => Kind::Server,
            (Role::Client, OperationType::Send) => Kind::Producer,
            (Role::Client, OperationType::Process) => Kind::Consumer,
            (Role::Client, OperationType::Receive | OperationType::Settle) => Kind::Client,
        },
        system: m.system.as_str(),
        name: [
            m.operation.as_bytes(),
            if m.temporary { TEMPORARY } else { destination },
        ],
        slots,
        error_type: match error {
            _ if !m.failure.is_empty() => m.failure,
            Some(error) => error.as_str().as_bytes(),
            None => b"",
        },
        messages: match m.operation_type {
            OperationType::Settle => 0,
            _ => m.messages,
        },
    }
}

/// Attributes of the span alone.
pub fn own<'a>(m: &Messaging<'a>) -> Slots<'a> {
    let mut own = Slots::new();
    own.text("messaging.client.id", m.client_id)
        .text("messaging.message.id", m.message_id)
        .text("messaging.message.conversation_id", m.conversation_id)
        .text("messaging.rabbitmq.destination.routing_key", m.routing_key)
        .int(
            "messaging.batch.message_count",
            m.batch.then_some(m.messages),
        )
        .int("messaging.kafka.offset", m.offset)
        .int("messaging.message.body.size", m.body_bytes);
    own
}
