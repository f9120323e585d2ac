//! What is asked: a request until its answer is whole.

use super::body::Body;
use super::message::{flag, opcode, Header};
use super::prepared::{Prepared, Statement};
use crate::exchange::{Db, DbSystem, Query};
use std::sync::Arc;

/// The longest text that is kept of a statement, or of a batch of them.
const MAX_TEXT: usize = 16 << 10;
/// The longest keyspace that anybody would believe in. Cassandra allows 48.
pub(super) const MAX_KEYSPACE: usize = 255;
/// The longest text of a context.
const MAX_CONTEXT: usize = 512;

/// Flags of what comes with a statement (4.1.4).
mod with {
    pub const VALUES: u32 = 0x01;
    pub const PAGE_SIZE: u32 = 0x04;
    pub const PAGING_STATE: u32 = 0x08;
    pub const SERIAL_CONSISTENCY: u32 = 0x10;
    pub const TIMESTAMP: u32 = 0x20;
    pub const NAMES: u32 = 0x40;
    pub const KEYSPACE: u32 = 0x80;
}

/// The statement of a request.
#[derive(Debug, Default)]
pub(super) enum Text {
    /// None, or it is not known.
    #[default]
    None,
    Own(Vec<u8>),
    Prepared(Arc<Statement>),
}

/// The context that came with a request.
#[derive(Debug, Default)]
pub(super) struct Context {
    traceparent: Vec<u8>,
    tracestate: Vec<u8>,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Request {
    pub opcode: u8,
    pub version: u8,
    pub start_ns: u64,
    /// Bytes of the message.
    pub bytes: u64,
    /// How many were asked before it.
    pub number: u64,
    /// Its answer may have gone by unseen.
    pub doubtful: bool,
    pub text: Text,
    /// All of the text was captured, up to what is kept of any.
    pub is_whole: bool,
    parameterised: bool,
    batch_size: u32,
    keyspace: Option<Arc<[u8]>>,
    context: Option<Box<Context>>,
}

impl Request {
    pub fn new(header: Header, start_ns: u64, keyspace: Option<Arc<[u8]>>) -> Self {
        Self {
            opcode: header.opcode,
            version: header.version,
            start_ns,
            bytes: u64::from(header.length) + super::message::HEADER as u64,
            number: 0,
            doubtful: false,
            text: Text::None,
            is_whole: false,
            parameterised: false,
            batch_size: 0,
            keyspace,
            context: None,
        }
    }

    /// Bytes of what it holds.
    pub fn heap_bytes(&self) -> usize {
        let context = self.context.as_ref().map_or(0, |context| {
            context.traceparent.capacity() + context.tracestate.capacity()
        });
        match &self.text {
            Text::Own(text) => text.capacity() + context,
            _ => context,
        }
    }

    /// Reads what the body's beginning says. `None`: that is over.
    pub fn read(&mut self, flags: u8, bytes: &[u8], prepared: &mut Prepared) -> Option<()> {
        let mut body = Body(bytes);
        if flags & flag::CUSTOM_PAYLOAD != 0 {
            self.payload(&mut body)?;
        }
        match self.opcode {
            opcode::QUERY => {
                let (text, whole) = body.long_string()?;
                self.text = Text::Own(kept(text).to_vec());
                whole.then_some(())?;
                self.with(&mut body)
            }
            opcode::PREPARE => {
                let (text, whole) = body.long_string()?;
                self.text = Text::Own(kept(text).to_vec());
                self.is_whole = whole;
                whole.then_some(())?;
                if self.version >= 5 && body.int()? & 1 != 0 {
                    self.keyspace(body.string()?);
                }
                Some(())
            }
            opcode::EXECUTE => {
                if let Some(statement) = prepared.get(body.string()?) {
                    self.parameterised = statement.has_markers;
                    self.text = Text::Prepared(statement);
                }
                if self.version >= 5 {
                    body.string()?;
                }
                self.with(&mut body)
            }
            opcode::BATCH => self.batch(&mut body, prepared),
            _ => Some(()),
        }
    }

    fn payload(&mut self, body: &mut Body<'_>) -> Option<()> {
        let mut context = Context::default();
        body.map(|key, value| {
            let text = match key {
                b"traceparent" => &mut context.traceparent,
                b"tracestate" => &mut context.tracestate,
                _ => return,
            };
            if value.len() <= MAX_CONTEXT {
                *text = value.to_vec();
            }
        })?;
        if !context.traceparent.is_empty() {
            self.context = Some(Box::new(context));
        }
        Some(())
    }

    fn flags(&self, body: &mut Body<'_>) -> Option<u32> {
        if self.version >= 5 {
            body.int().map(|flags| flags as u32)
        } else {
            body.byte().map(u32::from)
        }
    }

    /// What comes with a statement.
    fn with(&mut self, body: &mut Body<'_>) -> Option<()> {
        body.short()?; // consistency
        let flags = self.flags(body)?;
        self.parameterised |= flags & with::VALUES != 0;
        if self.version < 5 || flags & with::KEYSPACE == 0 {
            return Some(());
        }
        self.keyspace = None; // it is another one; which, stands behind the rest
        if flags & with::VALUES != 0 {
            for _ in 0..body.short()? {
                if flags & with::NAMES != 0 {
                    body.string()?;
                }
                body.value()?;
            }
        }
        if flags & with::PAGE_SIZE != 0 {
            body.int()?;
        }
        if flags & with::PAGING_STATE != 0 {
            body.value()?;
        }
        self.end_of_with(flags, body)
    }

    fn end_of_with(&mut self, flags: u32, body: &mut Body<'_>) -> Option<()> {
        if flags & with::SERIAL_CONSISTENCY != 0 {
            body.short()?;
        }
        if flags & with::TIMESTAMP != 0 {
            body.bytes(8)?;
        }
        self.keyspace(body.string()?);
        Some(())
    }

    fn keyspace(&mut self, name: &[u8]) {
        self.keyspace = (name.len() <= MAX_KEYSPACE).then(|| name.into());
    }

    /// Statements of a batch: where all are the same, that one, otherwise one after the other (semantic conventions,
    /// db.query.text).
    fn batch(&mut self, body: &mut Body<'_>, prepared: &mut Prepared) -> Option<()> {
        body.byte()?; // logged, unlogged, counters
        let count = body.short()?;
        self.batch_size = if count == 1 { 0 } else { count.into() };
        self.parameterised = count > 0;
        let (mut all, mut first, mut same, mut known) = (Vec::new(), 0, true, true);
        for number in 0..count {
            let statement;
            let (text, is_plain) = match body.byte()? {
                0 => {
                    let (text, whole) = body.long_string()?;
                    whole.then_some(())?;
                    (Some(kept(text)), true)
                }
                _ => {
                    statement = prepared.get(body.string()?);
                    match &statement {
                        Some(found) => (Some(&found.text[..]), !found.has_markers),
                        None => (None, true),
                    }
                }
            };
            let values = body.short()?;
            for _ in 0..values {
                body.value()?;
            }
            self.parameterised &= !is_plain || values > 0;
            let Some(text) = text else {
                known = false;
                continue;
            };
            if number == 0 {
                all.extend_from_slice(text);
                first = all.len();
            } else if !same || all[..first] != *text {
                if std::mem::take(&mut same) {
                    for _ in 1..number {
                        append(&mut all, |all| all.extend_from_within(..first), first);
                    }
                }
                append(&mut all, |all| all.extend_from_slice(text), text.len());
            }
        }
        if known && !all.is_empty() {
            self.text = Text::Own(all);
        }
        let flags = self.flags_of_batch(body)?;
        if self.version >= 5 && flags & with::KEYSPACE != 0 {
            self.keyspace = None;
            self.end_of_with(flags, body)?;
        }
        Some(())
    }

    fn flags_of_batch(&self, body: &mut Body<'_>) -> Option<u32> {
        body.short()?; // consistency
        self.flags(body)
    }

    /// What is told of it, so far.
    pub fn db(&self) -> Db<'_> {
        let text = match &self.text {
            Text::None => None,
            Text::Own(text) => Some(&text[..]),
            Text::Prepared(statement) => Some(&statement.text[..]),
        };
        let context = self.context.as_ref();
        Db {
            namespace: self.keyspace.as_deref().unwrap_or_default(),
            query: text.map_or(Query::None, |text| Query::Statement {
                text,
                parameterised: self.parameterised,
            }),
            operation: if self.batch_size > 0 { b"BATCH" } else { b"" },
            batch_size: self.batch_size,
            request_bytes: self.bytes,
            traceparent: context.map(|context| &context.traceparent[..]),
            tracestate: context
                .map(|context| &context.tracestate[..])
                .filter(|state| !state.is_empty()),
            ..Db::new(DbSystem::Cassandra)
        }
    }
}

/// Another statement of a batch, where there is room.
fn append(all: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>), size: usize) {
    if all.len() + size + 2 <= MAX_TEXT {
        all.extend_from_slice(b"; ");
        text(all);
    }
}

/// The beginning of a text, not cut within a character.
fn kept(text: &[u8]) -> &[u8] {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut end = MAX_TEXT;
    while end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}
