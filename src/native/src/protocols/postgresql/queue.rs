//! What a client has asked and the server has not answered, in order.
//!
//! ```text
//! front ─►  Extended   Parse Bind Describe Execute    a call: its messages up to Execute, `times` over
//!           Extended   Bind Execute
//!           Sync                                      answered by ReadyForQuery, as are Query, Function, Session
//!           Extended   Parse Describe                 no call yet: more may join it
//! ```
//!
//! Bound: `MAX_ITEMS` of them. Those that are equal but for their size, which is what a batch of thousands is made of,
//! are one; `MAX_CALLS` together.

use super::statements::Statement;
use std::collections::VecDeque;
use std::sync::Arc;

/// More than this is not waited for.
const MAX_ITEMS: usize = 4096;
const MAX_CALLS: usize = 128 << 10;
/// What the texts of queries and of statements that were parsed with them may hold together, in bytes.
const MAX_TEXTS: usize = 1 << 20;
/// Room that an idle connection keeps.
const MAX_SPARE: usize = 16;

/// A message that is answered by one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Parse = 1,
    Bind,
    Describe,
    Close,
    Execute,
}

/// A few of them in order, three bits each, the first in the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Steps(u64);

impl Steps {
    const BITS: u32 = 3;
    const MOST: u32 = 20;

    fn push(&mut self, step: Step) {
        self.0 |= (step as u64) << (self.len() * Self::BITS);
    }

    fn len(self) -> u32 {
        (u64::BITS - self.0.leading_zeros()).div_ceil(Self::BITS)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn first(self) -> Option<Step> {
        match self.0 & ((1 << Self::BITS) - 1) {
            1 => Some(Step::Parse),
            2 => Some(Step::Bind),
            3 => Some(Step::Describe),
            4 => Some(Step::Close),
            5 => Some(Step::Execute),
            _ => None,
        }
    }

    fn pop(&mut self) {
        self.0 >>= Self::BITS;
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The client's first message and all of the authentication.
    Session,
    /// Query.
    Query,
    /// FunctionCall.
    Function,
    /// Messages of the extended protocol, up to one Execute.
    Extended,
    /// Sync.
    Sync,
    /// A call that was told of before its ReadyForQuery came.
    Told,
}

impl Kind {
    /// It is answered by ReadyForQuery.
    fn is_unit(self) -> bool {
        self != Self::Extended
    }
}

/// A call's text.
#[derive(Debug, Default)]
pub(super) enum Text {
    /// It is not known.
    #[default]
    Unknown,
    /// A query's own.
    Query(Vec<u8>),
    /// A prepared statement's.
    Statement(Arc<Statement>),
}

impl Text {
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Unknown => None,
            Self::Query(text) => Some(text),
            Self::Statement(statement) => Some(&statement.text),
        }
    }

    fn statement(&self) -> Option<&Arc<Statement>> {
        match self {
            Self::Statement(statement) => Some(statement),
            _ => None,
        }
    }

    fn is(&self, other: Option<&Arc<Statement>>) -> bool {
        match (self.statement(), other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

/// One thing that was asked.
#[derive(Debug)]
pub(super) struct Item {
    pub kind: Kind,
    steps: Steps,
    pub start_ns: u64,
    pub text: Text,
    pub parameterised: bool,
    /// The text was sent for this call.
    pub fresh: bool,
    /// All of a query's text is there.
    pub whole: bool,
    /// Of Extended: it has its Execute.
    pub executes: bool,
    /// It was asked so many times.
    times: u32,
    /// Bytes of one of them on the wire.
    pub bytes: u64,
    /// Bytes of `text` that are counted in `Queue::texts`.
    charged: usize,
}

impl Item {
    pub fn new(kind: Kind, start_ns: u64, text: Text, bytes: u64) -> Self {
        Self {
            kind,
            steps: Steps::default(),
            start_ns,
            text,
            parameterised: false,
            fresh: kind == Kind::Query,
            whole: false,
            executes: false,
            times: 1,
            bytes,
            charged: 0,
        }
    }

    pub fn is_call(&self) -> bool {
        match self.kind {
            Kind::Query | Kind::Function => true,
            Kind::Extended => self.executes,
            Kind::Session | Kind::Sync | Kind::Told => false,
        }
    }

    fn calls(&self) -> usize {
        if self.is_call() {
            self.times as usize
        } else {
            0
        }
    }

    /// The same was asked at the same time.
    fn is_again(&self, last: &Self) -> bool {
        (self.start_ns, self.steps, self.parameterised, self.fresh)
            == (last.start_ns, last.steps, last.parameterised, last.fresh)
            && self.kind == last.kind
            && self.executes == last.executes
            && !self.fresh
            && self.text.is(last.text.statement())
    }

    /// The server passed over it, or did not accept it, or nobody knows.
    fn refuse(&self) {
        let mut steps = self.steps;
        while let Some(step) = steps.first() {
            if let (Step::Parse, Some(statement)) = (step, self.text.statement()) {
                statement.refuse();
            }
            steps.pop();
        }
    }
}

/// First in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Of the front: what is yet to be answered.
    left: Steps,
    /// Calls in it.
    calls: usize,
    /// ReadyForQuery that will come.
    units: usize,
    texts: usize,
    /// Bytes on the wire of calls that are the same as the one before, in order.
    sizes: VecDeque<u32>,
}

impl Queue {
    pub fn calls(&self) -> usize {
        self.calls
    }

    pub fn units(&self) -> usize {
        self.units
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// What the front's next answer is to.
    #[inline]
    pub fn expects(&self) -> Option<Step> {
        self.left.first()
    }

    /// False: there is no room.
    pub fn push(&mut self, mut item: Item) -> bool {
        if self.items.len() >= MAX_ITEMS || self.calls >= MAX_CALLS {
            return false;
        }
        if item.fresh {
            let bytes = item.text.bytes().map_or(0, <[u8]>::len);
            if self.texts + bytes > MAX_TEXTS {
                item.text = Text::Unknown;
            } else {
                self.texts += bytes;
                item.charged = bytes;
            }
        }
        self.calls += item.calls();
        self.units += usize::from(item.kind.is_unit());
        if self.items.is_empty() {
            self.left = item.steps;
        }
        self.items.push_back(item);
        true
    }

    /// A message joins the last item, if that is about the same statement and has no Execute yet; else it begins
    /// one. False: there is no room.
    pub fn step(
        &mut self,
        step: Step,
        statement: Option<Arc<Statement>>,
        start_ns: u64,
        bytes: u64,
    ) -> bool {
        let joins = step != Step::Parse
            && self.items.back().is_some_and(|last| {
                last.kind == Kind::Extended
                    && !last.executes
                    && last.steps.len() < Steps::MOST
                    && (step == Step::Close || last.text.is(statement.as_ref()))
            });
        if !joins {
            let text = statement.map_or(Text::Unknown, Text::Statement);
            let mut item = Item::new(Kind::Extended, start_ns, text, 0);
            item.fresh = step == Step::Parse;
            if !self.push(item) {
                return false;
            }
        }
        let Some(last) = self.items.back_mut() else {
            return false;
        };
        last.steps.push(step);
        last.bytes += bytes;
        last.executes = step == Step::Execute;
        self.calls += usize::from(last.executes);
        if self.items.len() == 1 {
            self.left.push(step);
        }
        true
    }

    /// The last item is whole: it has its Execute.
    pub fn whole(&mut self, parameterised: bool, fresh: bool) {
        let Some(last) = self.items.back_mut() else {
            return;
        };
        last.parameterised = parameterised;
        last.fresh |= fresh;
        let before = self.items.len().checked_sub(2);
        let before = before.and_then(|at| self.items.get(at));
        let again = self.items.back().zip(before);
        if again.is_some_and(|(last, before)| last.is_again(before)) {
            let bytes = self.items.pop_back().map_or(0, |last| last.bytes);
            if let Some(before) = self.items.back_mut() {
                before.times += 1;
                self.sizes.push_back(bytes.min(u32::MAX.into()) as u32);
            }
        }
    }

    /// The front's next message is answered; without any left, and no Execute, it is gone.
    #[inline]
    pub fn answered(&mut self) {
        self.left.pop();
        if self.left.is_empty() && self.front().is_some_and(|front| !front.executes) {
            self.finish();
        }
    }

    /// The front is answered to the end, but what follows it is Sync: it may yet fail.
    pub fn is_before_sync(&self) -> bool {
        let next = self.items.get(1);
        self.front().is_some_and(|front| front.times == 1)
            && next.is_some_and(|next| next.kind == Kind::Sync)
    }

    /// The front is answered to the end.
    pub fn is_answered(&self) -> bool {
        self.left.is_empty()
    }

    /// One of the front is over.
    pub fn finish(&mut self) {
        let Some(front) = self.items.front_mut() else {
            return;
        };
        if front.times > 1 {
            front.times -= 1;
            front.bytes = self.sizes.pop_front().map_or(0, u64::from);
            self.calls -= 1;
            self.left = front.steps;
            return;
        }
        self.pop();
        if self.items.is_empty() && self.items.capacity() > MAX_SPARE {
            self.items = VecDeque::new();
            self.sizes = VecDeque::new();
        }
    }

    /// The front is asked once from now on.
    fn forget_times(&mut self) {
        if let Some(front) = self.items.front_mut() {
            let more = front.times.saturating_sub(1) as usize;
            self.sizes.drain(..more.min(self.sizes.len()));
            self.calls -= front.calls().saturating_sub(1);
            front.times = 1;
        }
    }

    fn pop(&mut self) {
        self.forget_times();
        if let Some(front) = self.items.pop_front() {
            self.calls -= front.calls();
            self.units -= usize::from(front.kind.is_unit());
            self.texts -= front.charged;
            self.left = self
                .items
                .front()
                .map_or(Steps::default(), |next| next.steps);
        }
    }

    /// Gives back the front query's buffer, if it is the last use of it.
    pub fn take_text(&mut self) -> Option<Vec<u8>> {
        match &mut self.items.front_mut()?.text {
            Text::Query(text) => Some(std::mem::take(text)),
            _ => None,
        }
    }

    /// The front was told of; what is left of it is its ReadyForQuery.
    pub fn told(&mut self) {
        if let Some(front) = self.items.front_mut() {
            self.calls -= front.calls();
            front.kind = Kind::Told;
        }
    }

    /// The front failed: the server passes over all up to Sync. False: that is yet to come.
    pub fn fail(&mut self) -> bool {
        self.forget_times();
        let Some(front) = self.items.pop_front() else {
            return false;
        };
        front.refuse();
        let found = self.skip();
        self.items.push_front(front);
        self.left = Steps::default();
        found
    }

    /// Drops what is before the first Sync.
    fn skip(&mut self) -> bool {
        while let Some(next) = self.items.front() {
            if next.kind == Kind::Sync {
                return true;
            }
            next.refuse();
            self.pop();
        }
        false
    }

    /// What is in flight is a unit to its end, and nothing behind it.
    pub fn is_one_unit(&self) -> bool {
        self.units == 1 && self.items.back().is_some_and(|last| last.kind.is_unit())
    }

    /// Drops all calls of the unit in flight but the last, whose beginning may have been answered. Gives how many;
    /// `None` if what comes last is no call.
    pub fn keep_last(&mut self) -> Option<usize> {
        let sync = self
            .items
            .back()
            .is_some_and(|last| last.kind == Kind::Sync);
        let last = self.items.len().checked_sub(1 + usize::from(sync))?;
        if !self.items.get(last).is_some_and(Item::is_call) {
            return None;
        }
        let before = self.calls;
        (0..last).for_each(|_| self.pop());
        self.keep_last_time();
        self.left = Steps::default();
        Some(before - self.calls)
    }

    /// Of the front, only the last of its times is left.
    fn keep_last_time(&mut self) {
        let last = self.sizes.back().copied();
        let Some(front) = self.items.front_mut() else {
            return;
        };
        if let (true, Some(last)) = (front.times > 1, last) {
            front.bytes = last.into();
        }
        self.forget_times();
    }

    /// The client sends data now: a server takes no notice of Sync meanwhile.
    pub fn ignore_sync(&mut self) {
        while self
            .items
            .get(1)
            .is_some_and(|next| next.kind == Kind::Sync)
        {
            self.items.remove(1);
            self.units -= 1;
        }
    }

    /// Nobody will know how they end, statements that were to be prepared included. Gives how many calls these are.
    pub fn forget(&mut self) -> usize {
        let calls = self.calls;
        self.items.iter().for_each(Item::refuse);
        *self = Self::default();
        calls
    }
}
