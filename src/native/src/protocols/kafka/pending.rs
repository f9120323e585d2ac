//! A request until its answer is whole, and what is told of it then.

use super::api::Api;
use super::{errors, topics};
use crate::exchange::{
    Carried, Detail, ErrorKind, Exchange, Messaging, MessagingSystem, OperationType, Sink, Which,
};

/// Topics of one request that are told apart; what is in others is counted with the last one, which has no name then.
const MAX_TOPICS: usize = 256;
/// Bytes of texts that are kept of one request and its answer.
const MAX_TEXT: usize = 64 << 10;
/// Messages of one request or answer whose contexts are kept,
const MAX_CONTEXTS: usize = 32;
/// and that are looked at.
const MAX_RECORDS: u32 = 64;
/// Bytes of buffers that are kept for the next request.
const MAX_SPARE: usize = 4 << 10;

/// A piece of `Pending::text`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    size: u32,
}

/// The context that a message has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub topic: u32,
    pub traceparent: Span,
    pub tracestate: Span,
}

/// A topic of a request, or of its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Topic {
    pub name: Span,
    /// Where it was named by that.
    pub id: u128,
    pub partitions: u32,
    /// The first one.
    pub partition: Option<u32>,
    pub messages: u64,
    pub offset: Option<u64>,
    /// Bytes of the first message's value.
    pub body_bytes: Option<u64>,
    /// The first error's code.
    pub error: i16,
    /// Its answer was seen.
    pub answered: bool,
    /// There were messages that nobody captured: a broker sends them by sendfile.
    pub unseen: bool,
    /// More than one topic is in here.
    pub several: bool,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub api: Api,
    pub correlation: i32,
    pub start_ns: u64,
    pub client: Span,
    pub group: Span,
    /// Of the answer.
    pub error: i16,
    /// acks=0: no answer comes.
    pub unanswered: bool,
    /// A broker's that copies.
    pub replica: bool,
    /// Its answer may have gone by unseen.
    pub doubtful: bool,
    /// The request may have more topics and partitions than were seen,
    pub cut: bool,
    /// its answer may.
    pub answer_cut: bool,
    /// There may be more messages.
    pub thin: bool,
    pub topics: Vec<Topic>,
    pub contexts: Vec<Context>,
    text: Vec<u8>,
    /// Records that were looked at.
    pub records: u32,
}

impl Pending {
    pub fn new() -> Self {
        Self {
            api: Api { key: 0, version: 0 },
            correlation: 0,
            start_ns: 0,
            client: Span::default(),
            group: Span::default(),
            error: 0,
            unanswered: false,
            replica: false,
            doubtful: false,
            cut: false,
            answer_cut: false,
            thin: false,
            topics: Vec::new(),
            contexts: Vec::new(),
            text: Vec::new(),
            records: 0,
        }
    }

    /// As new, with the buffers that there are.
    pub fn reused(mut self) -> Self {
        self.topics.clear();
        self.contexts.clear();
        self.text.clear();
        Self {
            topics: self.topics,
            contexts: self.contexts,
            text: self.text,
            ..Self::new()
        }
    }

    /// Its buffers are small enough to be kept.
    pub fn is_small(&self) -> bool {
        self.heap_bytes() <= MAX_SPARE
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.topics.capacity() * size_of::<Topic>()
            + self.contexts.capacity() * size_of::<Context>()
            + self.text.capacity()
    }

    /// Keeps a text; "" where there is no room.
    pub fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        if text.is_empty() || start + text.len() > MAX_TEXT {
            return Span::default();
        }
        self.text.extend_from_slice(text);
        Span {
            start: start as u32,
            size: text.len() as u32,
        }
    }

    /// Bytes of the texts that are kept.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Drops the texts that are kept behind so many bytes.
    pub fn drop_texts(&mut self, behind: usize) {
        self.text.truncate(behind);
    }

    pub fn get(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.text
            .get(start..start + span.size as usize)
            .unwrap_or_default()
    }

    /// Another topic comes. Gives its place in `topics`.
    pub fn add_topic(&mut self, name: Span, id: u128) -> Option<usize> {
        if self.topics.len() < MAX_TOPICS {
            self.topics.push(Topic {
                name,
                id,
                ..Topic::default()
            });
        } else if let Some(last) = self.topics.last_mut() {
            last.several = true;
        }
        self.topics.len().checked_sub(1)
    }

    /// There is room for the contexts of more messages.
    pub fn wants_records(&self) -> bool {
        self.records < MAX_RECORDS && self.contexts.len() < MAX_CONTEXTS
    }

    /// A consumer asks for messages.
    pub fn is_poll(&self) -> bool {
        matches!(self.api.operation(), Some((OperationType::Receive, _)))
    }

    fn is_told(&self) -> bool {
        !self.replica && self.api.operation().is_some()
    }

    /// Nobody will know how it ended. Of a request for messages nothing is missed then.
    pub fn abandon(&self, sink: &mut dyn Sink) {
        if self.is_told() && !self.is_poll() {
            for _ in 0..self.topics.len().max(1) {
                sink.abandoned(Which::Untold);
            }
        }
    }

    /// It was not answered. Who waited for messages, which nobody may have sent, missed none: consumers end so.
    pub fn fail(&self, end_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        if !self.is_told() || self.is_poll() {
            return;
        }
        for index in 0..self.topics.len() {
            self.tell_topic(Some(index), end_ns, Some(error), sink);
        }
        if self.topics.is_empty() {
            self.tell_topic(None, end_ns, Some(error), sink);
        }
    }

    /// It was answered. `whole`: all of the answer was understood. One exchange for each topic, but for those of which
    /// an answer to a consumer has nothing.
    pub fn tell(&mut self, end_ns: u64, whole: bool, sink: &mut dyn Sink) {
        self.thin |= !whole;
        if !self.is_told() {
            return;
        }
        if self.is_poll() && self.cut {
            // where it asks from is not known, nor how much of the first batch it wants
            return sink.abandoned(Which::Untold);
        }
        let mut told = 0;
        for (index, topic) in self.topics.iter().enumerate() {
            if self.is_poll() && topic.messages == 0 && topic.error == 0 && !topic.unseen {
                continue;
            }
            let is_answered = topic.answered || self.is_poll() || self.unanswered;
            if !is_answered && self.error == 0 {
                sink.abandoned(Which::Untold);
            } else {
                self.tell_topic(Some(index), end_ns, None, sink);
            }
            told += 1;
        }
        if told > 0 {
            return;
        }
        if self.error != 0 {
            self.tell_topic(None, end_ns, None, sink);
        } else if !whole || !self.is_poll() {
            sink.abandoned(Which::Untold);
        }
    }

    fn tell_topic(
        &self,
        index: Option<usize>,
        end_ns: u64,
        error: Option<ErrorKind>,
        sink: &mut dyn Sink,
    ) {
        let Some((operation_type, operation)) = self.api.operation() else {
            return;
        };
        let topic = index.and_then(|index| self.topics.get(index));
        let topic = topic.copied().unwrap_or_default();
        let mut by_id = Vec::new();
        let mut destination = self.get(topic.name);
        if topic.several {
            destination = b"";
        } else if destination.is_empty() && topic.id != 0 {
            topics::name(topic.id, &mut by_id);
            destination = &by_id;
        }
        let contexts: Vec<Carried<'_>> = self
            .contexts
            .iter()
            .filter(|context| Some(context.topic as usize) == index)
            .map(|context| Carried {
                traceparent: self.get(context.traceparent),
                tracestate: self.get(context.tracestate),
            })
            .collect();
        let is_known = if self.is_poll() {
            !self.answer_cut
        } else {
            !self.cut || topic.answered && !self.answer_cut
        };
        let is_single = topic.partitions == 1 && !topic.several && is_known;
        let receives = operation_type == OperationType::Receive;
        let failure = if topic.error == 0 {
            self.error
        } else {
            topic.error
        };
        let messaging = Messaging {
            destination,
            partition: topic.partition.filter(|_| is_single),
            consumer_group: self.get(self.group),
            client_id: self.get(self.client),
            offset: topic.offset.filter(|_| is_single),
            messages: topic.messages,
            batch: !self.thin && (receives || topic.messages > 1),
            body_bytes: topic
                .body_bytes
                .filter(|_| topic.messages == 1 && !self.thin),
            failure: errors::name(failure).as_bytes(),
            contexts: &contexts,
            ..Messaging::new(MessagingSystem::Kafka, operation_type, operation)
        };
        sink.exchange(&Exchange {
            start_ns: self.start_ns,
            end_ns: end_ns.max(self.start_ns),
            error,
            detail: Detail::Messaging(messaging),
        });
    }
}
