//! What goes on in one channel.

mod acks;

use std::collections::VecDeque;

use super::method::{self, Arguments};
use super::{frame, names, properties};
use crate::exchange::{ErrorKind, MessagingSystem, OperationType, Side, Sink, Which};
use crate::protocols::message::{Message, Operation, Spare, Word};
use crate::protocols::tagged::{Tagged, Waiting};

const PUBLISH: Operation = operation(OperationType::Send, "publish");
const GET: Operation = operation(OperationType::Receive, "get");
const PROCESS: Operation = operation(OperationType::Process, "process");

const fn operation(of: OperationType, name: &'static str) -> Operation {
    Operation(MessagingSystem::Rabbitmq, of, name)
}

/// Messages that wait for an acknowledgement on one connection, and bytes of what they say about themselves.
const MAX_WAITING: usize = 8 << 10;
const MAX_TEXTS: usize = 1 << 20;
/// Gets and consumes of a connection that have no answer yet.
const MAX_ASKED: usize = 256;
/// Messages of a connection whose bodies have not come yet.
const MAX_CONTENTS: usize = 256;
/// Consumers of a connection.
const MAX_CONSUMERS: usize = 1024;
/// A consumer of which it is not known whether it acknowledges does not if it has not for so long or so many.
const UNSURE_NS: u64 = 30_000_000_000;
const MAX_UNSURE: usize = 1024;

/// Whether the broker's answers are to requests that were all seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    Known,
    /// Some requests were lost, and the broker has said nothing since.
    Lost,
    /// It has, so that what the client asks from its next words on is answered after what was lost.
    Turning,
}

/// What all channels of a connection share.
#[derive(Debug, Default)]
pub struct Shared {
    pub answers: Answers,
    pub spare: Spare,
    /// Messages that wait, and the bytes of their texts.
    waiting: usize,
    texts: usize,
    consumers: usize,
    asked: usize,
    contents: usize,
    /// Operations that are not over.
    pub in_flight: usize,
}

impl Shared {
    /// Counts a request that is answered in its turn; false where it is not known which answer will be its own.
    fn may_ask(&mut self) -> bool {
        if self.asked >= MAX_ASKED {
            self.answers = Answers::Lost;
        }
        if self.answers != Answers::Known {
            return false;
        }
        self.asked += 1;
        true
    }

    fn begin(&mut self, start_ns: u64) -> Message {
        self.in_flight += 1;
        self.spare.message(start_ns)
    }

    fn finish(
        &mut self,
        message: Message,
        of: Operation,
        end_ns: u64,
        error: Option<ErrorKind>,
        sink: &mut dyn Sink,
    ) {
        self.in_flight -= 1;
        message.report(of, b"", end_ns, error, sink);
        self.spare.take_back(message);
    }

    fn abandon(&mut self, message: Message, sink: &mut dyn Sink) {
        self.in_flight -= 1;
        sink.abandoned(Which::Untold);
        self.spare.take_back(message);
    }
}

/// Whether a delivery is to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    Needed,
    NotNeeded,
    Unsure,
}

/// What a message that waits for its acknowledgement came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// A get, which is over; its acknowledgement is an operation of its own.
    Pulled,
    Pushed(Acks),
}

#[derive(Debug)]
struct Consumer {
    tag: Box<[u8]>,
    queue: Box<[u8]>,
    acks: Acks,
}

#[derive(Debug)]
struct Get {
    message: Message,
    queue: Box<[u8]>,
    /// What comes is to be acknowledged.
    acks: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Publish { mandatory: bool },
    Deliver { tag: u64, acks: Acks },
    GetOk { tag: u64, acks: bool },
    Return,
}

/// A message whose body is yet to come, or some of it.
#[derive(Debug)]
struct Content {
    what: What,
    message: Message,
    /// Bytes; `None` until the header says how many.
    left: Option<u64>,
}

/// A channel.
#[derive(Debug, Default)]
pub struct Channel {
    /// It is closed, and why.
    closed: Option<&'static str>,
    /// The next message's number, where they are confirmed.
    confirm: Option<u64>,
    /// By `Side`.
    contents: [Option<Content>; 2],
    /// Without an answer.
    gets: VecDeque<Get>,
    consumes: VecDeque<Consumer>,
    consumers: Vec<Consumer>,
    /// Of consumers that nobody saw begin.
    acks: Option<Acks>,
    /// Whether the messages are mandatory.
    unconfirmed: Tagged<bool>,
    unacked: Tagged<Came>,
    /// The queue that was declared last, which "" means.
    queue: Box<[u8]>,
}

impl Channel {
    /// A method is whole.
    pub fn method(
        &mut self,
        side: Side,
        payload: &[u8],
        [start_ns, ts_ns]: [u64; 2],
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) -> Option<()> {
        let (called, mut arguments) = Arguments::of(payload)?;
        if self.closed.is_some() && (side == Side::Response || called != method::PUBLISH) {
            return None; // both sides talk on until they have heard of it
        }
        self.drop_content(side, shared, sink); // its body did not come
        match (side, called) {
            (_, method::CHANNEL_CLOSE) => {
                let failure = method::failure(arguments.short()?);
                self.close(ts_ns, failure, ErrorKind::ConnectionClosed, shared, sink);
            }
            (Side::Request, method::PUBLISH) => {
                arguments.short()?;
                let (exchange, key) = (arguments.short_string()?, arguments.short_string()?);
                let mandatory = arguments.octet()? & 1 != 0;
                let mut message = shared.begin(start_ns);
                names::sent(&mut message, exchange, key);
                self.expect(side, What::Publish { mandatory }, message, shared, sink);
            }
            (Side::Request, method::GET) => {
                arguments.short()?;
                let queue: Box<[u8]> = self.queue_of(arguments.short_string()?).into();
                let acks = arguments.octet()? & 1 == 0;
                let mut message = shared.begin(start_ns);
                names::received(&mut message, b"", b"", &queue);
                if shared.may_ask() {
                    self.gets.push_back(Get {
                        message,
                        queue,
                        acks,
                    });
                } else {
                    shared.abandon(message, sink);
                    self.drop_gets(shared, sink); // whose answers can't be told from its own
                }
            }
            (Side::Response, method::GET_EMPTY) => {
                let message = self.next_get(shared)?.message;
                shared.in_flight -= 1;
                message.report_of(GET, b"", ts_ns, None, 0, sink);
                shared.spare.take_back(message);
            }
            (Side::Response, method::GET_OK) => {
                let (tag, _) = (arguments.long_long()?, arguments.octet()?);
                let (exchange, key) = (arguments.short_string()?, arguments.short_string()?);
                let Get {
                    mut message,
                    queue,
                    acks,
                } = self.next_get(shared)?;
                names::received(&mut message, exchange, key, &queue);
                self.expect(side, What::GetOk { tag, acks }, message, shared, sink);
            }
            (Side::Response, method::DELIVER) => {
                let consumer = arguments.short_string()?;
                let (tag, _) = (arguments.long_long()?, arguments.octet()?);
                let (exchange, key) = (arguments.short_string()?, arguments.short_string()?);
                let mut message = shared.begin(start_ns);
                let known = self.consumers.iter().find(|known| *known.tag == *consumer);
                let acks = known.map_or(Acks::Unsure, |known| known.acks);
                let queue = known.map(|known| &*known.queue).unwrap_or_default();
                names::received(&mut message, exchange, key, queue);
                self.expect(side, What::Deliver { tag, acks }, message, shared, sink);
            }
            (Side::Response, method::RETURN) => {
                let failure = method::failure(arguments.short()?);
                arguments.short_string()?;
                let (exchange, key) = (arguments.short_string()?, arguments.short_string()?);
                let mut message = shared.spare.message(start_ns);
                names::sent(&mut message, exchange, key);
                message.put(Word::Failure, &[failure.as_bytes()]);
                self.expect(side, What::Return, message, shared, sink);
            }
            (Side::Request, method::ACK) => {
                let (tag, multiple) = (arguments.long_long()?, arguments.octet()? & 1 != 0);
                self.settle(tag, multiple, "ack", ts_ns, shared, sink);
            }
            (Side::Request, method::NACK) => {
                let (tag, multiple) = (arguments.long_long()?, arguments.octet()? & 1 != 0);
                self.settle(tag, multiple, "nack", ts_ns, shared, sink);
            }
            (Side::Request, method::REJECT) => {
                let tag = arguments.long_long()?;
                self.settle(tag, false, "reject", ts_ns, shared, sink);
            }
            (Side::Request, method::RECOVER | method::RECOVER_ASYNC) => {
                self.give_back("recover", ts_ns, None, shared, sink);
            }
            (Side::Response, method::ACK | method::NACK) => {
                let (tag, multiple) = (arguments.long_long()?, arguments.octet()? & 1 != 0);
                let failure = if called == method::NACK { "nack" } else { "" };
                self.confirmed(tag, multiple, failure, ts_ns, shared, sink);
            }
            (Side::Request, method::CONFIRM_SELECT) => {
                self.confirm.get_or_insert(1);
            }
            _ => return self.consumers(side, called, arguments, shared),
        }
        None
    }

    /// What says who consumes what.
    fn consumers(
        &mut self,
        side: Side,
        called: u32,
        mut arguments: Arguments<'_>,
        shared: &mut Shared,
    ) -> Option<()> {
        match (side, called) {
            (Side::Request, method::CONSUME) => {
                arguments.short()?;
                let queue = arguments.short_string()?.into();
                let tag = arguments.short_string()?.into();
                let flags = arguments.octet()?;
                let acks = if flags & 2 == 0 {
                    Acks::Needed
                } else {
                    Acks::NotNeeded
                };
                let consumer = Consumer { tag, queue, acks };
                if flags & 8 != 0 {
                    self.add(consumer, shared); // no answer will come
                } else if shared.may_ask() {
                    self.consumes.push_back(consumer);
                }
            }
            (Side::Response, method::CONSUME_OK) => {
                let tag = arguments.short_string()?;
                let consumer = self.consumes.pop_front()?;
                shared.asked -= 1;
                if consumer.tag.is_empty() || *consumer.tag == *tag {
                    let tag = tag.into();
                    self.add(Consumer { tag, ..consumer }, shared);
                }
            }
            (_, method::CANCEL_OK) | (Side::Response, method::CANCEL) => {
                let tag = arguments.short_string()?;
                let before = self.consumers.len();
                self.consumers.retain(|consumer| *consumer.tag != *tag);
                shared.consumers -= before - self.consumers.len();
            }
            (Side::Request, method::QUEUE_DECLARE) => {
                arguments.short()?;
                self.queue = arguments.short_string()?.into();
            }
            (Side::Response, method::QUEUE_DECLARE_OK) if self.queue.is_empty() => {
                self.queue = arguments.short_string()?.into();
            }
            _ => {}
        }
        None
    }

    fn add(&mut self, consumer: Consumer, shared: &mut Shared) {
        let before = self.consumers.len();
        self.consumers.retain(|other| other.tag != consumer.tag);
        shared.consumers -= before - self.consumers.len();
        if shared.consumers < MAX_CONSUMERS {
            shared.consumers += 1;
            let queue = self.queue_of(&consumer.queue).into();
            self.consumers.push(Consumer { queue, ..consumer });
        }
    }

    fn queue_of<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        if name.is_empty() {
            &self.queue
        } else {
            name
        }
    }

    fn next_get(&mut self, shared: &mut Shared) -> Option<Get> {
        let get = self.gets.pop_front()?;
        shared.asked -= 1;
        Some(get)
    }

    fn drop_gets(&mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        while let Some(get) = self.next_get(shared) {
            shared.abandon(get.message, sink);
        }
    }

    fn expect(
        &mut self,
        side: Side,
        what: What,
        message: Message,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        shared.contents += 1;
        self.contents[side as usize] = Some(Content {
            what,
            message,
            left: None,
        });
        if shared.contents > MAX_CONTENTS {
            self.drop_content(side, shared, sink);
        }
    }

    fn take_content(&mut self, side: Side, shared: &mut Shared) -> Option<Content> {
        let content = self.contents[side as usize].take()?;
        shared.contents -= 1;
        Some(content)
    }

    /// A content header is whole.
    pub fn header(
        &mut self,
        side: Side,
        payload: &[u8],
        ts_ns: u64,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        let Some(content) = &mut self.contents[side as usize] else {
            return;
        };
        content.left = frame::body_size(payload);
        content.message.body_bytes = content.left;
        properties::read(payload, &mut content.message);
        if content.left == Some(0) {
            self.whole(side, ts_ns, shared, sink);
        }
    }

    /// A body frame is whole.
    pub fn body(
        &mut self,
        side: Side,
        bytes: u64,
        ts_ns: u64,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        let Some(content) = &mut self.contents[side as usize] else {
            return;
        };
        let left = content.left.map(|left| left.saturating_sub(bytes));
        content.left = left;
        if left == Some(0) {
            self.whole(side, ts_ns, shared, sink);
        }
    }

    /// A message is whole.
    fn whole(&mut self, side: Side, ts_ns: u64, shared: &mut Shared, sink: &mut dyn Sink) {
        let Some(Content {
            what, mut message, ..
        }) = self.take_content(side, shared)
        else {
            return;
        };
        message.whole_ns = ts_ns;
        match what {
            What::Publish { mandatory } => match (self.closed, &mut self.confirm) {
                (None, Some(next)) => {
                    let tag = *next;
                    *next = next.saturating_add(1);
                    if make_room(&mut self.unconfirmed, |_| true, shared, sink) {
                        hold(&mut self.unconfirmed, tag, message, mandatory, shared);
                    } else {
                        shared.abandon(message, sink);
                    }
                }
                (closed, _) => {
                    let failure = closed.unwrap_or_default();
                    message.put(Word::Failure, &[failure.as_bytes()]);
                    shared.finish(message, PUBLISH, ts_ns, None, sink);
                }
            },
            What::Deliver { tag, acks } => self.delivered(tag, acks, message, shared, sink),
            What::GetOk { tag, acks } => {
                shared.in_flight -= 1;
                message.report(GET, b"", ts_ns, None, sink);
                if acks
                    && self.is_next(tag)
                    && make_room(&mut self.unacked, is_counted, shared, sink)
                {
                    hold(&mut self.unacked, tag, message, Came::Pulled, shared);
                } else {
                    shared.spare.take_back(message);
                }
            }
            What::Return => {
                let is_it = |waiting: &&mut Waiting<bool>| {
                    let same = |word| waiting.message.get(word) == message.get(word);
                    waiting.extra
                        && same(Word::Destination)
                        && same(Word::RoutingKey)
                        && same(Word::MessageId)
                        && waiting.message.body_bytes == message.body_bytes
                        && waiting.message.get(Word::Failure).is_empty()
                };
                if let Some(waiting) = self.unconfirmed.iter_mut().find(is_it) {
                    shared.texts -= waiting.message.heap_bytes();
                    waiting
                        .message
                        .put(Word::Failure, &[message.get(Word::Failure)]);
                    shared.texts += waiting.message.heap_bytes();
                }
                shared.spare.take_back(message);
            }
        }
    }

    /// It is over, and so is all that was under way in it: by `failure`, or if that is "" by `error`.
    pub fn close(
        &mut self,
        ts_ns: u64,
        failure: &'static str,
        error: ErrorKind,
        shared: &mut Shared,
        sink: &mut dyn Sink,
    ) {
        let error = failure.is_empty().then_some(error);
        let fail = |message: &mut Message| {
            if message.get(Word::Failure).is_empty() {
                message.put(Word::Failure, &[failure.as_bytes()]);
            }
        };
        while let Some(mut waiting) = self.unconfirmed.pop() {
            release(&waiting, shared);
            fail(&mut waiting.message);
            shared.finish(waiting.message, PUBLISH, ts_ns, error, sink);
        }
        while let Some(mut get) = self.next_get(shared) {
            fail(&mut get.message);
            shared.finish(get.message, GET, ts_ns, error, sink);
        }
        self.give_back(failure, ts_ns, error, shared, sink);
        for side in [Side::Request, Side::Response] {
            let Some(content) = self.take_content(side, shared) else {
                continue;
            };
            let operation = match content.what {
                What::Publish { .. } => PUBLISH,
                What::Deliver { acks, .. } if acks != Acks::Unsure => PROCESS,
                What::GetOk { .. } => GET,
                What::Deliver { .. } => {
                    shared.abandon(content.message, sink);
                    continue;
                }
                What::Return => continue,
            };
            let mut message = content.message;
            fail(&mut message);
            shared.finish(message, operation, ts_ns, error, sink);
        }
        self.forget_consumers(shared);
        self.closed = Some(failure);
    }

    fn forget_consumers(&mut self, shared: &mut Shared) {
        shared.consumers -= self.consumers.len();
        self.consumers.clear();
        self.forget_consumes(shared);
    }

    fn forget_consumes(&mut self, shared: &mut Shared) {
        shared.asked -= self.consumes.len();
        self.consumes.clear();
    }

    /// Something that the broker said was lost.
    pub fn lose_answers(&mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        self.drop_gets(shared, sink);
        while let Some(waiting) = self.unconfirmed.pop() {
            release(&waiting, shared);
            shared.abandon(waiting.message, sink);
        }
        for waiting in self.unacked.take_all(|came| !is_counted(came)) {
            release(&waiting, shared); // how many are acknowledged at once is not known
            shared.spare.take_back(waiting.message);
        }
        self.drop_content(Side::Response, shared, sink);
        self.forget_consumes(shared);
    }

    /// Something that the client said was lost.
    pub fn lose_all(&mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        self.lose_answers(shared, sink);
        self.drop_content(Side::Request, shared, sink);
        while let Some(waiting) = self.unacked.pop() {
            release(&waiting, shared);
            match waiting.extra {
                Came::Pulled => shared.spare.take_back(waiting.message),
                Came::Pushed(_) => shared.abandon(waiting.message, sink),
            }
        }
        self.forget_consumers(shared);
    }

    fn drop_content(&mut self, side: Side, shared: &mut Shared, sink: &mut dyn Sink) {
        if let Some(content) = self.take_content(side, shared) {
            if !matches!(content.what, What::Return) {
                shared.abandon(content.message, sink);
            }
        }
    }
}

/// Whether somebody waits for it.
fn is_counted(came: &Came) -> bool {
    *came != Came::Pulled
}

/// Gives the oldest up where too many wait; false where there is no room, since all are of other channels.
fn make_room<T>(
    tagged: &mut Tagged<T>,
    counts: impl Fn(&T) -> bool,
    shared: &mut Shared,
    sink: &mut dyn Sink,
) -> bool {
    while shared.waiting >= MAX_WAITING || shared.texts >= MAX_TEXTS {
        let Some(waiting) = tagged.pop() else {
            return false;
        };
        release(&waiting, shared);
        if counts(&waiting.extra) {
            shared.abandon(waiting.message, sink);
        } else {
            shared.spare.take_back(waiting.message);
        }
    }
    true
}

fn hold<T>(tagged: &mut Tagged<T>, tag: u64, message: Message, extra: T, shared: &mut Shared) {
    shared.waiting += 1;
    shared.texts += message.heap_bytes();
    tagged.push(tag, message, extra);
}

fn release<T>(waiting: &Waiting<T>, shared: &mut Shared) {
    shared.waiting -= 1;
    shared.texts -= waiting.message.heap_bytes();
}
