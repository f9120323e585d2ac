//! NATS' client protocol, JetStream on top of it included, as somebody who listens hears it.
//!
//! # Theory of operation
//!
//! Each direction is a stream of lines, some with a payload of known length behind them (`line`). Subjects say what
//! belongs together (`answers`):
//!
//! ```text
//! PUB s ──────────────────────────────────────────► send      over when it is sent
//! PUB s inbox ──► MSG inbox ──────────────────────► send      a request, or a message that a stream confirms
//! MSG s ──────────────────────────────────────────► process   over when it is there
//! MSG s reply ──► PUB reply ──────────────────────► process   the answer is no message of its own
//! MSG s $JS.ACK... ──► PUB $JS.ACK... ────────────► process   pushed or pulled; +WPI ("in progress") is no end
//! PUB $JS.API.DIRECT.GET.stream... inbox ──► ... ─► receive   also STREAM.MSG.GET
//! ```
//!
//! Rules:
//! - What is found depends on the bytes, never on how they were cut. Only while a direction is lost do the borders of
//!   pieces mean something: it goes on with a piece that begins with a line of this side.
//! - What JetStream is asked besides (streams, consumers, more messages) moves no message and is not told; nor are the
//!   server's own words to an inbox (heartbeats, "no more messages").
//! - A request that has no answer after a minute ends with `timeout`. A delivery that nobody answered by then needed no
//!   answer, as most do that are acknowledged by nobody: it was over when it was there. So is one at the connection's
//!   end.
//! - A client that asked for it (`"verbose":true`) has an answer to each line: +OK is a message's end, -ERR fails it.
//! - After a loss nobody can tell an answer from a message whose request was lost: what comes to or goes to an inbox
//!   without anybody who waits for it is then not told.
//! - Of an operation of more than 256 KB only the beginning and the end are captured: a message whose payload fills it is
//!   told, small ones that came along in its middle are lost.
//! - A key of a bucket is no destination, the bucket is: `$KV.bucket`, `$O.bucket`.
//! - Memory: a line and a payload's beginning per direction (13 KB), 4,096 messages that wait each way or 512 KB of
//!   what they say about themselves, 1,024 subscriptions. Of more messages than that the oldest are given up.

mod answers;
mod line;
mod payload;

use std::collections::VecDeque;

use memchr::memmem;
use rustc_hash::FxHashMap;

use super::message::{Message, Operation, Spare, Word};
use super::{Detect, Opening};
use crate::exchange::{
    End, ErrorKind, Input, MessagingSystem, OperationType, Parser, Side, Sink, Verdict, Which,
};
use answers::Answers;
use line::{Announced, Half, Line, Step};
use payload::Payload;

const PUBLISH: Operation = Operation(MessagingSystem::Nats, OperationType::Send, "publish");
const PROCESS: Operation = Operation(MessagingSystem::Nats, OperationType::Process, "process");
const GET: Operation = Operation(MessagingSystem::Nats, OperationType::Receive, "get");

/// Subscriptions that are kept: those with a group, and those whose subject may be an inbox.
const MAX_SUBSCRIPTIONS: usize = 1024;
/// Lines without their +OK.
const MAX_UNACKNOWLEDGED: usize = 4096;
/// Nobody waits longer for an answer.
const PATIENCE_NS: u64 = 60_000_000_000;
const INBOX: &[u8] = b"_INBOX.";
const ACK: &[u8] = b"$JS.ACK.";
const GREETING: &[u8] = b"INFO {\"";

/// Says what starts here.
pub fn detect(opening: &Opening<'_>) -> Detect {
    let bytes = opening.bytes;
    if bytes.starts_with(GREETING) {
        return Detect::Response;
    }
    if bytes.starts_with(b"CONNECT {\"") {
        return Detect::Request; // within TLS, or the server's greeting was not seen
    }
    let begins = |text: &[u8]| !bytes.is_empty() && text.starts_with(bytes);
    if begins(GREETING) || begins(b"CONNECT {\"") {
        return Detect::More;
    }
    let Some((text, _)) = line::whole_line(bytes).filter(|_| !opening.first) else {
        return Detect::No;
    };
    let is_number = |sid: &[u8]| sid.iter().all(u8::is_ascii_digit);
    let ends_well = bytes.get(text.len()..text.len() + 2) == Some(b"\r\n");
    let is_upper = text.iter().take(3).all(u8::is_ascii_uppercase);
    if !ends_well || !is_upper {
        return Detect::No;
    }
    match (
        line::line(Side::Request, text),
        line::line(Side::Response, text),
    ) {
        (Some(Line::Publish(_)), _) => Detect::Request,
        (Some(Line::Subscribe { sid, .. } | Line::Unsubscribe { sid, .. }), _)
            if is_number(sid) =>
        {
            Detect::Request
        }
        (_, Some(Line::Message(announced))) if is_number(announced.sid) => Detect::Response,
        _ => Detect::No,
    }
}

/// A parser for one connection.
pub fn parser(old: bool) -> Box<dyn Parser + Send> {
    Box::new(Connection::new(old))
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// That a message was heard.
    Publish,
    /// A message.
    Get,
    /// What is not told.
    Other,
}

#[derive(Debug)]
struct Subscription {
    subject: Box<[u8]>,
    group: Box<[u8]>,
    /// Messages until it is over.
    left: Option<u64>,
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
    spare: Spare,
    client_name: Vec<u8>,
    requests: Answers<Asked>,
    deliveries: Answers<()>,
    subscriptions: FxHashMap<Box<[u8]>, Subscription>,
    /// Of a client that has all its lines answered: its messages among them.
    unacknowledged: Option<VecDeque<Option<Message>>>,
    /// Something was lost.
    holed: bool,
    in_flight: usize,
}

impl Connection {
    fn new(old: bool) -> Self {
        Self {
            halves: [
                Half::new(Side::Request, old),
                Half::new(Side::Response, old),
            ],
            state: State {
                holed: old,
                ..State::default()
            },
            over: None,
        }
    }

    fn data(&mut self, side: Side, ts_ns: u64, mut bytes: &[u8], sink: &mut dyn Sink) -> Verdict {
        self.state.out_of_patience(ts_ns, sink);
        let half = &mut self.halves[side as usize];
        if half.is_lost() && !half.find(bytes) {
            self.state.lose(side, sink);
            return Verdict::Continue;
        }
        loop {
            match self.halves[side as usize].data(ts_ns, &mut bytes) {
                Step::Nothing => return Verdict::Continue,
                Step::Illegal => {
                    self.state.lose_all(sink);
                    self.over = Some(Verdict::NotMine);
                    return Verdict::NotMine;
                }
                Step::Line(line, payload, start_ns) => {
                    self.state.line(line, payload, [start_ns, ts_ns], sink);
                }
            }
        }
    }

    fn gap(&mut self, side: Side, ts_ns: u64, mut gap: u64, sink: &mut dyn Sink) {
        while gap > 0 {
            match self.halves[side as usize].gap(&mut gap) {
                Step::Nothing => {}
                Step::Illegal => {
                    self.halves[side as usize].lose();
                    return self.state.lose(side, sink);
                }
                Step::Line(line, payload, start_ns) => {
                    self.state.line(line, payload, [start_ns, ts_ns], sink);
                }
            }
        }
    }
}

impl State {
    fn line(&mut self, line: Line<'_>, payload: &[u8], times: [u64; 2], sink: &mut dyn Sink) {
        match line {
            Line::Publish(announced) => {
                let payload = Payload::new(payload, announced);
                self.published(announced, payload, times, sink);
            }
            Line::Message(announced) => {
                let payload = Payload::new(payload, announced);
                self.came(announced, payload, times, sink);
            }
            Line::Subscribe {
                subject,
                group,
                sid,
            } => {
                self.unacknowledged(None, sink);
                let is_kept = !group.is_empty() || !subject.starts_with(INBOX);
                if is_kept && self.subscriptions.len() < MAX_SUBSCRIPTIONS {
                    let (subject, group) = (subject.into(), group.into());
                    let subscription = Subscription {
                        subject,
                        group,
                        left: None,
                    };
                    self.subscriptions.insert(sid.into(), subscription);
                }
            }
            Line::Unsubscribe { sid, max } => {
                self.unacknowledged(None, sink);
                match max {
                    Some(_) => {
                        if let Some(subscription) = self.subscriptions.get_mut(sid) {
                            subscription.left = max;
                        }
                    }
                    None => drop(self.subscriptions.remove(sid)),
                }
            }
            Line::Connect(options) => {
                self.client_name.clear();
                self.client_name
                    .extend_from_slice(payload::client_name(options));
                if payload::is_verbose(options) && !self.holed {
                    self.unacknowledged = Some(VecDeque::from([None]));
                }
            }
            Line::Ok => self.acknowledged("", times[1], sink),
            Line::Error => self.acknowledged("-ERR", times[1], sink),
            Line::Info | Line::Ping | Line::Pong => {}
        }
    }

    /// A client's message is whole.
    fn published(
        &mut self,
        announced: Announced<'_>,
        payload: Payload<'_>,
        [start_ns, ts_ns]: [u64; 2],
        sink: &mut dyn Sink,
    ) {
        let Announced { subject, reply, .. } = announced;
        if self.answered(announced, payload, ts_ns, sink) {
            self.unacknowledged(None, sink);
            if !reply.is_empty() {
                self.ask(reply, Asked::Other, Message::default(), ts_ns, sink);
            }
            return;
        }
        if self.holed && (subject.starts_with(INBOX) || subject.starts_with(ACK)) {
            sink.abandoned(Which::Untold); // whose answer it is was lost
        }
        if subject.starts_with(ACK) && !reply.is_empty() {
            self.ask(reply, Asked::Other, Message::default(), ts_ns, sink);
        }
        if subject.starts_with(ACK) || (self.holed && subject.starts_with(INBOX)) {
            return self.unacknowledged(None, sink);
        }
        let mut message = self.spare.message(start_ns);
        message.whole_ns = ts_ns;
        let asked = match api(subject) {
            Some(call) => {
                let stream = call
                    .strip_prefix(b"DIRECT.GET.")
                    .or_else(|| call.strip_prefix(b"STREAM.MSG.GET."));
                let stream = stream.and_then(|call| call.split(|byte| *byte == b'.').next());
                message.put(Word::Destination, &[stream.unwrap_or_default()]);
                let asked = if stream.is_some() {
                    Asked::Get
                } else {
                    Asked::Other
                };
                // messages come with their own subject and acknowledge themselves
                if reply.is_empty() || call.starts_with(b"CONSUMER.MSG.NEXT.") {
                    self.spare.take_back(message);
                    return self.unacknowledged(None, sink);
                }
                asked
            }
            None if subject.starts_with(b"$JS.") => {
                self.spare.take_back(message);
                return self.unacknowledged(None, sink); // flow control
            }
            None => {
                name(&mut message, subject);
                payload.read(&mut message);
                message.body_bytes = Some(announced.bytes - announced.header_bytes);
                Asked::Publish
            }
        };
        if asked != Asked::Publish || self.is_inbox(reply) {
            self.unacknowledged(None, sink);
            self.ask(reply, asked, message, ts_ns, sink);
        } else if self.unacknowledged.is_some() {
            self.in_flight += 1;
            self.unacknowledged(Some(message), sink);
        } else {
            message.report(PUBLISH, &self.client_name, ts_ns, None, sink);
            self.spare.take_back(message);
        }
    }

    /// Whether it is the answer that a delivery waits for.
    fn answered(
        &mut self,
        announced: Announced<'_>,
        payload: Payload<'_>,
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) -> bool {
        let subject = announced.subject;
        let is_ack = subject.starts_with(ACK);
        if is_ack && payload.text().starts_with(b"+WPI") {
            return self.deliveries.has(subject); // it goes on
        }
        let Some((mut message, ())) = self.deliveries.take(subject) else {
            return false;
        };
        if is_ack && payload.holed {
            self.give_up(message, true, sink); // it may have gone on
            return true;
        }
        let failure: &[u8] = match payload.text() {
            text if is_ack && text.starts_with(b"-NAK") => b"nak",
            text if is_ack && text.starts_with(b"+TERM") => b"term",
            _ if is_ack => b"",
            _ => payload.failure(),
        };
        message.put(Word::Failure, &[failure]);
        self.finish(message, PROCESS, ts_ns, None, sink);
        true
    }

    /// The reply is waited for.
    fn ask(
        &mut self,
        reply: &[u8],
        asked: Asked,
        message: Message,
        ts_ns: u64,
        sink: &mut dyn Sink,
    ) {
        if let Some((before, asked)) = self.requests.take(reply) {
            let end_ns = before.whole_ns; // who asks again there does not wait for it
            self.replied(before, asked, end_ns, None, sink);
        }
        while self.requests.is_full() {
            let Some((message, asked)) = self.requests.pop() else {
                break;
            };
            self.give_up(message, asked != Asked::Other, sink);
        }
        let mut message = message;
        message.whole_ns = ts_ns;
        self.in_flight += usize::from(asked != Asked::Other);
        self.requests.push(reply, message, asked);
    }

    /// A message for the client is whole.
    fn came(
        &mut self,
        announced: Announced<'_>,
        payload: Payload<'_>,
        [start_ns, ts_ns]: [u64; 2],
        sink: &mut dyn Sink,
    ) {
        let Announced { subject, reply, .. } = announced;
        let bytes = announced.bytes - announced.header_bytes;
        if let Some((mut message, asked)) = self.requests.take(subject) {
            if payload.holed {
                return self.give_up(message, asked != Asked::Other, sink); // it may have failed
            }
            let failure = payload.failure();
            if asked == Asked::Get {
                message.body_bytes = Some(bytes);
                payload.read(&mut message);
            }
            message.put(Word::Failure, &[failure]);
            return self.replied(message, asked, ts_ns, None, sink);
        }
        let mut message = self.spare.message(start_ns);
        if let Some(subscription) = self.subscriptions.get_mut(announced.sid) {
            message.put(Word::ConsumerGroup, &[&subscription.group]);
            if let Some(left) = &mut subscription.left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.subscriptions.remove(announced.sid);
                }
            }
        }
        if payload.holed && announced.header_bytes > 0 {
            self.spare.take_back(message);
            return sink.abandoned(Which::Untold); // it may have been the server's own word
        }
        if payload.status().is_some() {
            return self.spare.take_back(message);
        }
        message.whole_ns = ts_ns;
        message.body_bytes = Some(bytes);
        name(&mut message, subject);
        payload.read(&mut message);
        if self.holed && subject.starts_with(INBOX) {
            self.spare.take_back(message);
            return sink.abandoned(Which::Untold);
        }
        self.in_flight += 1;
        if reply.is_empty() || reply == subject {
            return self.finish(message, PROCESS, ts_ns, None, sink);
        }
        if let Some((before, ())) = self.deliveries.take(reply) {
            let end_ns = before.whole_ns;
            self.finish(before, PROCESS, end_ns, None, sink);
        }
        while self.deliveries.is_full() {
            let Some((message, ())) = self.deliveries.pop() else {
                break;
            };
            self.give_up(message, true, sink);
        }
        self.deliveries.push(reply, message, ());
    }

    fn finish(
        &mut self,
        message: Message,
        operation: Operation,
        end_ns: u64,
        error: Option<ErrorKind>,
        sink: &mut dyn Sink,
    ) {
        self.in_flight -= 1;
        message.report(operation, &self.client_name, end_ns, error, sink);
        self.spare.take_back(message);
    }

    fn give_up(&mut self, message: Message, counts: bool, sink: &mut dyn Sink) {
        if counts {
            self.in_flight -= 1;
            sink.abandoned(Which::Untold);
        }
        self.spare.take_back(message);
    }

    /// A request is over.
    fn replied(
        &mut self,
        mut message: Message,
        asked: Asked,
        end_ns: u64,
        error: Option<ErrorKind>,
        sink: &mut dyn Sink,
    ) {
        match asked {
            Asked::Publish => self.finish(message, PUBLISH, end_ns, error, sink),
            Asked::Other => self.spare.take_back(message),
            Asked::Get => {
                // 404, and 10037 of a stream: no message there, which is an answer
                let none = matches!(message.get(Word::Failure), b"404" | b"10037");
                if none {
                    message.put(Word::Failure, &[]);
                    message.body_bytes = None;
                }
                self.in_flight -= 1;
                let client = &self.client_name;
                message.report_of(GET, client, end_ns, error, u64::from(!none), sink);
                self.spare.take_back(message);
            }
        }
    }

    /// A line of the client's is answered, if its lines are.
    fn unacknowledged(&mut self, message: Option<Message>, sink: &mut dyn Sink) {
        let Some(queue) = &mut self.unacknowledged else {
            return;
        };
        queue.push_back(message);
        if queue.len() > MAX_UNACKNOWLEDGED {
            self.stop_waiting(sink);
        }
    }

    fn stop_waiting(&mut self, sink: &mut dyn Sink) {
        for message in self.unacknowledged.take().into_iter().flatten().flatten() {
            self.give_up(message, true, sink);
        }
    }

    fn acknowledged(&mut self, failure: &str, ts_ns: u64, sink: &mut dyn Sink) {
        let next = self.unacknowledged.as_mut().and_then(VecDeque::pop_front);
        if let Some(mut message) = next.flatten() {
            message.put(Word::Failure, &[failure.as_bytes()]);
            self.finish(message, PUBLISH, ts_ns, None, sink);
        }
    }

    /// Whether an answer to this subject comes by this connection.
    fn is_inbox(&self, reply: &[u8]) -> bool {
        let is_its = |subscription: &Subscription| {
            let subject = &subscription.subject;
            let stem = subject
                .strip_suffix(b"*")
                .or_else(|| subject.strip_suffix(b">"));
            match stem {
                Some(stem) => stem.ends_with(b".") && reply.starts_with(stem),
                None => **subject == *reply,
            }
        };
        let known = || self.subscriptions.values().any(is_its);
        !reply.is_empty() && (reply.starts_with(INBOX) || known())
    }

    fn out_of_patience(&mut self, now_ns: u64, sink: &mut dyn Sink) {
        let since = now_ns.saturating_sub(PATIENCE_NS);
        while let Some((message, asked)) = self.requests.pop_before(since) {
            self.replied(message, asked, now_ns, Some(ErrorKind::Timeout), sink);
        }
        while let Some((message, ())) = self.deliveries.pop_before(since) {
            let end_ns = message.whole_ns;
            self.finish(message, PROCESS, end_ns, None, sink);
        }
    }

    /// Some of what this side said is not known.
    fn lose(&mut self, side: Side, sink: &mut dyn Sink) {
        self.holed = true;
        self.stop_waiting(sink);
        match side {
            Side::Response => {
                while let Some((message, asked)) = self.requests.pop() {
                    self.give_up(message, asked != Asked::Other, sink);
                }
            }
            Side::Request => {
                while let Some((message, ())) = self.deliveries.pop() {
                    self.give_up(message, true, sink);
                }
                self.subscriptions.clear();
            }
        }
    }

    fn lose_all(&mut self, sink: &mut dyn Sink) {
        self.lose(Side::Request, sink);
        self.lose(Side::Response, sink);
    }

    fn end(&mut self, ts_ns: u64, error: ErrorKind, sink: &mut dyn Sink) {
        for message in self.unacknowledged.take().into_iter().flatten().flatten() {
            self.finish(message, PUBLISH, ts_ns, Some(error), sink);
        }
        while let Some((message, asked)) = self.requests.pop() {
            self.replied(message, asked, ts_ns, Some(error), sink);
        }
        while let Some((message, ())) = self.deliveries.pop() {
            let end_ns = message.whole_ns;
            self.finish(message, PROCESS, end_ns, None, sink);
        }
    }
}

/// What JetStream is asked for: `$JS.API.call`, or `$JS.domain.API.call`.
fn api(subject: &[u8]) -> Option<&[u8]> {
    let rest = subject.strip_prefix(b"$JS")?;
    let at = memmem::find(rest, b".API.")?;
    let domain = rest[..at].get(1..).unwrap_or_default();
    (!domain.contains(&b'.')).then(|| &rest[at + b".API.".len()..])
}

/// The destination by its subject.
fn name(message: &mut Message, subject: &[u8]) {
    message.temporary = subject.starts_with(INBOX);
    let is_key = subject.starts_with(b"$KV.") || subject.starts_with(b"$O.");
    let mut dots = memchr::memchr_iter(b'.', subject);
    let end = dots.nth(1).filter(|_| is_key).unwrap_or(subject.len());
    message.put(Word::Destination, &[&subject[..end]]);
}

impl Parser for Connection {
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(over) = self.over {
            return over;
        }
        match input {
            Input::Data(bytes) => self.data(side, ts_ns, bytes, sink),
            Input::Gap(bytes) => {
                self.gap(side, ts_ns, bytes, sink);
                Verdict::Continue
            }
        }
    }

    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict {
        let error = match end {
            End::Lost => {
                self.halves.iter_mut().for_each(Half::lose);
                self.state.lose_all(sink);
                None
            }
            _ => end.error(),
        };
        if let Some(error) = error {
            self.state.end(ts_ns, error, sink);
        }
        self.over.unwrap_or(Verdict::Continue)
    }

    fn in_flight(&self) -> usize {
        self.state.in_flight
    }
}
