//! What is done with messages at a broker, as its protocol says it; semantic conventions 1.44,
//! docs/messaging/messaging-spans.md.

/// Which system it is; its name is messaging.system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessagingSystem {
    /// Apache Kafka, Redpanda.
    Kafka,
    /// RabbitMQ, and what else speaks AMQP 0-9-1.
    Rabbitmq,
    /// NATS.
    Nats,
    /// MQTT, whichever broker.
    Mqtt,
    /// Redis as a broker: PUBLISH, SUBSCRIBE.
    Redis,
}

impl MessagingSystem {
    /// messaging.system.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Rabbitmq => "rabbitmq",
            Self::Nats => "nats",
            Self::Mqtt => "mqtt",
            Self::Redis => "redis",
        }
    }
}

/// messaging.operation.type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationType {
    /// Messages go to the broker: a PRODUCER's span.
    Send,
    /// Messages were asked for: a CLIENT's span.
    Receive,
    /// Messages came unasked, and what is done with them ends with their acknowledgement: a CONSUMER's span.
    Process,
    /// Messages are acknowledged or refused: a CLIENT's span.
    Settle,
}

impl OperationType {
    /// messaging.operation.type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Process => "process",
            Self::Settle => "settle",
        }
    }
}

/// The context that a message carries, unchecked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried<'a> {
    /// W3C traceparent.
    pub traceparent: &'a [u8],
    /// W3C tracestate; "" where there is none.
    pub tracestate: &'a [u8],
}

/// An operation and its answer. "" and `None` are what is not known, or not there. Slices borrow from the parser's
/// buffers.
#[derive(Clone, Copy, Debug)]
pub struct Messaging<'a> {
    /// messaging.system.
    pub system: MessagingSystem,
    /// messaging.operation.type.
    pub operation_type: OperationType,
    /// messaging.operation.name, in the system's words: "send", "poll", "ack", "deliver".
    pub operation: &'static str,
    /// messaging.destination.name.
    pub destination: &'a [u8],
    /// The name stands for many that are made up as needed (a reply's inbox): messaging.destination.temporary.
    pub temporary: bool,
    /// messaging.destination.partition.id.
    pub partition: Option<u32>,
    /// messaging.consumer.group.name.
    pub consumer_group: &'a [u8],
    /// messaging.client.id.
    pub client_id: &'a [u8],
    /// messaging.message.id, of a single message.
    pub message_id: &'a [u8],
    /// messaging.message.conversation_id.
    pub conversation_id: &'a [u8],
    /// messaging.kafka.offset, of a single message or of the first.
    pub offset: Option<u64>,
    /// messaging.rabbitmq.destination.routing_key.
    pub routing_key: &'a [u8],
    /// Messages that were moved.
    pub messages: u64,
    /// They go as a batch by the protocol's own rules: messaging.batch.message_count.
    pub batch: bool,
    /// messaging.message.body.size, of a single message.
    pub body_bytes: Option<u64>,
    /// The error's code or name in the system's words: error.type.
    pub failure: &'a [u8],
    /// The contexts of the messages, as many as the parser cares to keep. Of what is sent the first is the span's
    /// parent; elsewhere all are linked.
    pub contexts: &'a [Carried<'a>],
}

impl Messaging<'_> {
    /// An operation of which nothing more is known.
    pub fn new(
        system: MessagingSystem,
        operation_type: OperationType,
        operation: &'static str,
    ) -> Self {
        Self {
            system,
            operation_type,
            operation,
            destination: b"",
            temporary: false,
            partition: None,
            consumer_group: b"",
            client_id: b"",
            message_id: b"",
            conversation_id: b"",
            offset: None,
            routing_key: b"",
            messages: 1,
            batch: false,
            body_bytes: None,
            failure: b"",
            contexts: &[],
        }
    }
}
