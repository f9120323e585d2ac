//! What the parsers of brokers keep of a message while its operation goes on.

use crate::exchange::{
    Carried, Detail, ErrorKind, Exchange, Messaging, MessagingSystem, OperationType, Sink,
};

/// Longest text that is kept, in bytes: what is longer is cut, identifiers and contexts left out.
const MAX_WORD: usize = 512;
/// Messages whose memory is kept for the next ones, and bytes of one.
const MAX_SPARE: usize = 16;
const MAX_SPARE_BYTES: usize = 1024;

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Destination,
    RoutingKey,
    MessageId,
    ConversationId,
    ConsumerGroup,
    Traceparent,
    Tracestate,
    /// In the system's words, why the operation failed.
    Failure,
}

/// What a message says about itself, one text behind the other in one buffer.
#[derive(Debug, Default)]
struct Words {
    text: Vec<u8>,
    /// By `Word`: where it begins, and its length.
    places: [(u16, u16); 8],
}

impl Words {
    fn get(&self, word: Word) -> &[u8] {
        let (at, len) = self.places[word as usize];
        let (at, len) = (usize::from(at), usize::from(len));
        self.text.get(at..at + len).unwrap_or_default()
    }

    fn put(&mut self, word: Word, parts: &[&[u8]]) {
        let at = self.text.len();
        for part in parts {
            let room = MAX_WORD - (self.text.len() - at).min(MAX_WORD);
            self.text.extend_from_slice(&part[..part.len().min(room)]);
        }
        let place = (u16::try_from(at), u16::try_from(self.text.len() - at));
        match place {
            (Ok(at), Ok(len)) => self.places[word as usize] = (at, len),
            _ => self.text.truncate(at), // put over and over
        }
    }
}

/// A message, and how far its operation has come.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// The piece with its first byte.
    pub start_ns: u64,
    /// The piece with its last byte.
    pub whole_ns: u64,
    pub body_bytes: Option<u64>,
    /// Its destination's name was made up as needed.
    pub temporary: bool,
    words: Words,
}

/// What is done with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation(
    pub MessagingSystem,
    pub OperationType,
    /// messaging.operation.name.
    pub &'static str,
);

impl Message {
    pub fn get(&self, word: Word) -> &[u8] {
        self.words.get(word)
    }

    /// A text in pieces, cut where it is too long.
    pub fn put(&mut self, word: Word, parts: &[&[u8]]) {
        self.words.put(word, parts);
    }

    /// A text that means nothing once it is cut.
    pub fn put_whole(&mut self, word: Word, text: &[u8]) {
        if text.len() <= MAX_WORD {
            self.words.put(word, &[text]);
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.words.text.capacity()
    }

    /// Its operation is over. `error`: it did not end as the protocol wants it to.
    pub fn report(
        &self,
        operation: Operation,
        client_id: &[u8],
        end_ns: u64,
        error: Option<ErrorKind>,
        sink: &mut dyn Sink,
    ) {
        self.report_of(operation, client_id, end_ns, error, 1, sink);
    }

    /// The same, of so many messages like this one.
    pub fn report_of(
        &self,
        operation: Operation,
        client_id: &[u8],
        end_ns: u64,
        error: Option<ErrorKind>,
        messages: u64,
        sink: &mut dyn Sink,
    ) {
        let Operation(system, operation_type, name) = operation;
        let context = Carried {
            traceparent: self.get(Word::Traceparent),
            tracestate: self.get(Word::Tracestate),
        };
        let carries = !context.traceparent.is_empty();
        sink.exchange(&Exchange {
            start_ns: self.start_ns,
            end_ns: end_ns.max(self.start_ns),
            error,
            detail: Detail::Messaging(Messaging {
                destination: self.get(Word::Destination),
                temporary: self.temporary,
                consumer_group: self.get(Word::ConsumerGroup),
                client_id,
                message_id: self.get(Word::MessageId),
                conversation_id: self.get(Word::ConversationId),
                routing_key: self.get(Word::RoutingKey),
                messages,
                batch: messages > 1,
                body_bytes: self.body_bytes,
                failure: self.get(Word::Failure),
                contexts: if carries {
                    std::slice::from_ref(&context)
                } else {
                    &[]
                },
                ..Messaging::new(system, operation_type, name)
            }),
        });
    }
}

/// The memory of messages that are over, for those that come.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// A message that says nothing yet.
    pub fn message(&mut self, start_ns: u64) -> Message {
        Message {
            start_ns,
            words: Words {
                text: self.0.pop().unwrap_or_default(),
                ..Words::default()
            },
            ..Message::default()
        }
    }

    pub fn take_back(&mut self, message: Message) {
        let mut text = message.words.text;
        if self.0.len() < MAX_SPARE && text.capacity() <= MAX_SPARE_BYTES {
            text.clear();
            self.0.push(text);
        }
    }
}
