//! What `walk` and `records` tell of a request or a response becomes a `Pending`.

use super::api::key;
use super::pending::{Context, Pending, Span, Topic};
use super::records::{Batch, Field};
use super::schema::Mark;
use super::topics;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;

/// Partitions whose place in the log is kept.
const MAX_OFFSETS: usize = 4096;
/// The longest client name that anybody would believe in, in bytes.
const MAX_CLIENT: usize = 255;

/// Of a flexible FETCH: who has this is a broker that copies.
const TAG_REPLICA: u64 = 1;

/// What was said before on the connection.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The group of the consumer, as its other requests name it.
    group: Vec<u8>,
    /// There is, or may be, more than one.
    several_groups: bool,
    /// From where on messages are asked for, by topic and partition. Fetch sessions (KIP-227) don't say it again
    /// while it stays, and the broker sends the batch that has it whole: with messages from before.
    offsets: FxHashMap<(u64, u32), i64>,
}

impl Known {
    fn group(&mut self, group: &[u8]) {
        if self.group.is_empty() {
            self.group.extend_from_slice(group);
        } else if self.group != group {
            self.several_groups = true;
        }
    }

    /// More may have been said unheard.
    pub fn doubt(&mut self) {
        self.offsets.clear();
        self.several_groups = true;
    }

    /// The consumer's group, where it is certain.
    pub fn consumer_group(&self) -> &[u8] {
        if self.several_groups {
            b""
        } else {
            &self.group
        }
    }
}

/// Of the record, the partition or the topic at hand.
#[derive(Debug, Default)]
pub(super) struct Hand {
    topic_name: Span,
    topic_id: u128,
    /// Of the name or the id.
    topic_hash: u64,
    /// Texts of the request that stood before its topics.
    texts: usize,
    /// In `Pending::topics`.
    topic: Option<usize>,
    partition: Option<u32>,
    error: i16,
    offset: Option<i64>,
    first: i64,
    /// Messages before this one were not asked for.
    from: Option<i64>,
    traceparent: Span,
    tracestate: Span,
    skipped: bool,
    /// Records follow, of which no batch was seen yet,
    expects: bool,
    /// and none was captured.
    unseen: bool,
    /// What no client says.
    pub illegal: bool,
    /// Record batches that fill their place to the byte.
    pub batches: u32,
}

impl Hand {
    /// Records were not captured.
    pub fn gap(&mut self) {
        self.unseen |= self.expects;
    }

    /// A message begins, of whose request these texts are kept.
    pub fn begin(&mut self, texts: usize) {
        *self = Self {
            texts,
            ..Self::default()
        };
    }
}

/// Listens.
pub(super) struct Call<'a> {
    pub pending: &'a mut Pending,
    pub known: &'a mut Known,
    pub hand: &'a mut Hand,
    /// To a response.
    pub answers: bool,
}

impl Call<'_> {
    pub fn int(&mut self, mark: Mark, value: i64) {
        let hand = &mut *self.hand;
        match mark {
            Mark::Acks => {
                self.pending.unanswered = value == 0;
                hand.illegal |= !(-1..=1).contains(&value);
            }
            Mark::Replica => self.pending.replica = value >= 0,
            Mark::Index => {
                hand.partition = u32::try_from(value).ok();
                hand.illegal |= value < 0;
            }
            Mark::Error => hand.error = value as i16,
            Mark::TopError => self.pending.error = value as i16,
            Mark::Offset => hand.offset = Some(value),
            Mark::First => hand.first = value,
            Mark::Last => self.acquired(value),
            _ => {}
        }
    }

    pub fn text(&mut self, mark: Mark, text: &[u8]) {
        match mark {
            Mark::Client => {
                let is_name = std::str::from_utf8(text)
                    .is_ok_and(|name| !name.chars().any(|c| c.is_control() || c == '\u{fffd}'));
                self.hand.illegal |= !is_name || text.len() > MAX_CLIENT;
                self.pending.client = self.pending.keep(text);
                self.hand.texts = self.pending.text_bytes();
            }
            Mark::Group => {
                self.pending.group = self.pending.keep(text);
                self.known.group(text);
                self.hand.texts = self.pending.text_bytes();
            }
            Mark::Name => {
                let mut hasher = FxHasher::default();
                hasher.write(text);
                self.hand.topic_hash = hasher.finish();
                self.hand.topic_name = self.pending.keep(text);
                self.find_topic();
            }
            _ => {}
        }
    }

    pub fn id(&mut self, mark: Mark, id: u128) {
        if mark == Mark::Id {
            self.hand.topic_hash = id as u64 ^ (id >> 64) as u64;
            self.hand.topic_id = id;
            self.find_topic();
        }
    }

    pub fn tag(&mut self, tag: u64) {
        if self.pending.api.key == key::FETCH && !self.answers && tag == TAG_REPLICA {
            self.pending.replica = true;
        }
    }

    pub fn begin(&mut self, mark: Mark) {
        let hand = &mut *self.hand;
        match mark {
            Mark::Topic => {
                (hand.topic_name, hand.topic_id, hand.topic) = (Span::default(), 0, None);
                if self.names_pass() {
                    self.pending.drop_texts(self.hand.texts);
                }
            }
            Mark::Partition => {
                (hand.partition, hand.error, hand.offset, hand.from) = (None, 0, None, None);
                (hand.expects, hand.unseen) = (false, false);
            }
            _ => {}
        }
    }

    /// What is said of topics is put to use at once.
    fn names_pass(&self) -> bool {
        self.pending.api.key == key::METADATA || self.asks_for_messages()
    }

    fn asks_for_messages(&self) -> bool {
        self.pending.is_poll() && !self.answers
    }

    /// The topic at hand has a name or an id now. An answer to a producer is about a topic of the request.
    fn find_topic(&mut self) {
        let (name, id) = (self.hand.topic_name, self.hand.topic_id);
        let pending = &mut *self.pending;
        if pending.api.key == key::METADATA && id != 0 && self.answers {
            topics::learn(id, pending.get(name));
        }
        if self.names_pass() {
            return;
        }
        let pending = &mut *self.pending;
        if self.answers && !pending.is_poll() {
            let is_it = |topic: &Topic| {
                topic.id == id && pending.get(topic.name) == pending.get(name) && !topic.several
            };
            self.hand.topic = pending.topics.iter().position(is_it);
        }
        if self.hand.topic.is_none() {
            self.hand.topic = pending.add_topic(name, id);
        }
    }

    fn topic(&mut self) -> Option<&mut Topic> {
        self.pending.topics.get_mut(self.hand.topic?)
    }

    pub fn end(&mut self, mark: Mark) {
        if mark != Mark::Partition {
            return;
        }
        if self.asks_for_messages() {
            return self.asks_from();
        }
        let (answers, is_poll) = (self.answers, self.pending.is_poll());
        let (partition, error, offset) = (self.hand.partition, self.hand.error, self.hand.offset);
        let unseen = self.hand.unseen;
        if is_poll && error == 0 && offset.is_none() && !unseen {
            return; // it has no messages
        }
        let is_new = !answers || is_poll;
        let Some(topic) = self.topic() else {
            return;
        };
        topic.answered |= answers;
        topic.unseen |= unseen;
        if topic.error == 0 {
            topic.error = error;
        }
        // what an answer has that the request was not seen to ask for
        if is_new || topic.partitions == 0 {
            topic.partitions += 1;
            topic.partition = topic.partition.or(partition);
        } else if topic.partition != partition && topic.partitions == 1 {
            topic.partitions += 1;
        }
        if error == 0 {
            let offset = offset.and_then(|offset| u64::try_from(offset).ok());
            topic.offset = topic.offset.or(offset);
        }
    }

    /// Of a partition of the topic at hand.
    fn place(&self) -> Option<(u64, u32)> {
        Some((self.hand.topic_hash, self.hand.partition?))
    }

    fn asks_from(&mut self) {
        if let (Some(place), Some(offset)) = (self.place(), self.hand.offset) {
            let offsets = &mut self.known.offsets;
            if offsets.len() >= MAX_OFFSETS && !offsets.contains_key(&place) {
                offsets.clear();
            }
            offsets.insert(place, offset);
        }
    }

    /// Records of so many bytes follow.
    pub fn records(&mut self, size: u64) {
        self.hand.expects = size > 0;
        if self.answers && size > 0 {
            self.hand.from = self
                .place()
                .and_then(|place| self.known.offsets.get(&place).copied());
        }
    }

    pub fn batch(&mut self, batch: Batch) {
        self.hand.batches = self.hand.batches.saturating_add(1);
        self.hand.expects = false;
        if batch.control || self.pending.api.key == key::SHARE_FETCH {
            return;
        }
        let (mut messages, mut first) = (batch.messages, batch.first_offset);
        if let Some(from) = self.hand.from.filter(|from| *from > first) {
            // a batch that was compacted has fewer than its offsets
            let asked_for = batch.last_offset.saturating_sub(from).saturating_add(1);
            messages = messages.min(asked_for.max(0) as u64);
            first = from;
        }
        if messages == 0 {
            return;
        }
        if self.answers && self.hand.offset.is_none() {
            self.hand.offset = Some(first);
        }
        if let Some(topic) = self.topic() {
            topic.messages = topic.messages.saturating_add(messages);
        }
    }

    /// A member of a share group got the messages from `first` to `last`.
    fn acquired(&mut self, last: i64) {
        let first = self.hand.first;
        let messages = last.saturating_sub(first).saturating_add(1).max(0) as u64;
        if self.hand.offset.is_none() {
            self.hand.offset = Some(first);
        }
        if let Some(topic) = self.topic() {
            topic.messages = topic.messages.saturating_add(messages);
        }
    }

    pub fn wants_records(&self) -> bool {
        self.pending.wants_records() && !self.pending.replica
    }

    pub fn begin_record(&mut self) {
        self.pending.records += 1;
        let hand = &mut *self.hand;
        (hand.traceparent, hand.tracestate) = (Span::default(), Span::default());
        hand.skipped = false;
    }

    pub fn record_offset(&mut self, offset: i64) {
        self.hand.skipped = self.hand.from.is_some_and(|from| offset < from);
    }

    /// Its value has so many bytes.
    pub fn record_value(&mut self, bytes: u64) {
        if self.hand.skipped {
            return;
        }
        if let Some(topic) = self.topic() {
            topic.body_bytes = topic.body_bytes.or(Some(bytes));
        }
    }

    pub fn record_header(&mut self, field: Field, value: &[u8]) {
        if self.hand.skipped {
            return;
        }
        let span = self.pending.keep(value);
        match field {
            Field::Traceparent => self.hand.traceparent = span,
            Field::Tracestate => self.hand.tracestate = span,
        }
    }

    pub fn end_record(&mut self) {
        let hand = &*self.hand;
        if let (Some(topic), false) = (hand.topic, self.pending.get(hand.traceparent).is_empty()) {
            self.pending.contexts.push(Context {
                topic: topic as u32,
                traceparent: hand.traceparent,
                tracestate: hand.tracestate,
            });
        }
    }
}
