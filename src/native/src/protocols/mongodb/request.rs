//! What is asked: OP_MSG, and the operations of before (MongoDB 3.4 and older, and every driver's first message).
//!
//! ```text
//! OP_MSG        flags(4) section ... [checksum(4)]
//!   section     0 document                                    the command
//!               1 length(4) name 0 document ...               an argument of it that is an array
//! OP_QUERY      flags(4) "database.collection" 0 skip(4) return(4) document [document]
//! OP_GET_MORE   0(4) "database.collection" 0 return(4) cursor(8)
//! OP_INSERT     flags(4) "database.collection" 0 document ...
//! OP_UPDATE     0(4) "database.collection" 0 ...              OP_DELETE likewise
//! OP_KILL_CURSORS   0(4) count(4) cursor(8) ...
//! ```

use super::bson::{self, cstring, document, i32_at, Elements};
use super::frame::op;

/// Bits of OP_MSG's flags. Whoever meets another one of the lower 16 must refuse the message.
pub(super) mod flag {
    pub const CHECKSUM_PRESENT: i32 = 1;
    pub const MORE_TO_COME: i32 = 2;
    pub const REQUIRED: i32 = 0xffff;
}

/// Names of commands, databases and collections are not longer (MongoDB Limits and Thresholds).
const MAX_NAME: usize = 255;

/// How long an argument has to be for its name to tell how many operations there are.
const BATCHES: [&[u8]; 4] = [b"documents", b"updates", b"deletes", b"ops"];

/// Commands whose value is a collection; of others it may be a user's name, or anything.
const OF_COLLECTIONS: [&[u8]; 30] = [
    b"find",
    b"insert",
    b"update",
    b"delete",
    b"aggregate",
    b"findAndModify",
    b"findandmodify",
    b"count",
    b"distinct",
    b"mapReduce",
    b"mapreduce",
    b"createIndexes",
    b"dropIndexes",
    b"deleteIndexes",
    b"listIndexes",
    b"createSearchIndexes",
    b"updateSearchIndex",
    b"dropSearchIndex",
    b"drop",
    b"create",
    b"collMod",
    b"collStats",
    b"collstats",
    b"compact",
    b"convertToCapped",
    b"killCursors",
    b"planCacheClear",
    b"reIndex",
    b"validate",
    b"geoNear",
];

/// Commands by which drivers get to know servers and watch them, and by which they log in: nobody's calls, and the last
/// ones nobody's business. Drivers do not show them either.
const OF_DRIVERS: [&[u8]; 7] = [
    b"hello",
    b"ismaster",
    b"isMaster",
    b"saslStart",
    b"saslContinue",
    b"authenticate",
    b"getnonce",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub operation: &'a [u8],
    pub namespace: &'a [u8],
    pub collection: &'a [u8],
    /// Operations in it, where it is of a kind that may have several; `None` if they could not be counted.
    pub batch: Option<u32>,
    /// Nobody will answer.
    pub unanswered: bool,
    /// Its answer says whether it succeeded; else that is documents alone.
    pub is_command: bool,
}

/// What became of looking for a request.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Request(Request<'a>),
    /// Of a driver's own.
    Noise,
    /// Too little was captured.
    Unknown,
}

/// The request in a message's body. `None`: this is no such message.
pub(super) fn request(op: i32, body: &[u8], whole: bool) -> Option<Found<'_>> {
    let found = match op {
        op::MSG => message(body, whole)?,
        op::KILL_CURSORS => Some(Request {
            operation: b"killCursors",
            unanswered: true,
            ..Request::default()
        }),
        _ => of_collection(op, body, whole)?,
    };
    Some(match found {
        None => Found::Unknown,
        Some(request) if OF_DRIVERS.contains(&request.operation) => Found::Noise,
        Some(request) => Found::Request(request),
    })
}

/// The sections of OP_MSG, as far as they are there: the command, and the argument behind it.
pub(super) struct Sections<'a> {
    pub flags: i32,
    pub command: Option<Elements<'a>>,
    /// Documents of an argument that tells a batch; `None` if not all of them are there.
    batch: Option<Option<u32>>,
}

/// `None`: these are none.
pub(super) fn sections(body: &[u8], whole: bool) -> Option<Sections<'_>> {
    let Some(flags) = i32_at(body, 0) else {
        return (!whole).then_some(Sections {
            flags: 0,
            command: None,
            batch: None,
        });
    };
    if flags & flag::REQUIRED & !(flag::CHECKSUM_PRESENT | flag::MORE_TO_COME) != 0 {
        return None;
    }
    let mut found = Sections {
        flags,
        command: None,
        batch: None,
    };
    let mut rest = body.get(4..)?;
    if whole && flags & flag::CHECKSUM_PRESENT != 0 {
        rest = rest.get(..rest.len().checked_sub(4)?)?;
    }
    while let Some((kind, section)) = rest.split_first() {
        let len = match kind {
            0 => {
                let Some((elements, len)) = document(section) else {
                    return (!whole && section.len() < 4).then_some(found);
                };
                found.command.get_or_insert(elements);
                len
            }
            1 => {
                let Some(len) = i32_at(section, 0) else {
                    return (!whole).then_some(found);
                };
                let len = usize::try_from(len).ok().filter(|len| *len > 4)?;
                let mut within = section.get(4..len.min(section.len()))?;
                if let Some(name) = cstring(&mut within) {
                    if BATCHES.contains(&name) {
                        let count = (section.len() >= len).then(|| bson::count(within));
                        found.batch = Some(count.flatten());
                    }
                }
                len
            }
            _ => return None,
        };
        rest = section.get(len..).unwrap_or_default();
        if whole && section.len() < len {
            return None;
        }
    }
    Some(found)
}

fn message(body: &[u8], whole: bool) -> Option<Option<Request<'_>>> {
    let sections = sections(body, whole)?;
    let Some(elements) = sections.command else {
        return (!whole).then_some(None);
    };
    let Some(mut request) = command(elements) else {
        return (!whole).then_some(None);
    };
    request.batch = sections.batch.unwrap_or(request.batch);
    request.unanswered = sections.flags & flag::MORE_TO_COME != 0;
    Some(Some(request))
}

/// A name that may be told.
fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
}

fn command(elements: Elements<'_>) -> Option<Request<'_>> {
    let mut found = Request {
        is_command: true,
        ..Request::default()
    };
    for (number, element) in elements.enumerate() {
        if number == 0 {
            if !is_command(element.name) {
                return None;
            }
            found.operation = element.name;
            let value = element.text().unwrap_or_default();
            if OF_COLLECTIONS.contains(&element.name) && is_name(value) {
                found.collection = value;
            } else if element.name == b"explain" {
                let explained = element.elements().and_then(command);
                found.collection = explained.unwrap_or_default().collection;
            }
            continue;
        }
        match element.name {
            b"$db" => found.namespace = element.text().filter(|db| is_name(db))?,
            b"collection" if found.operation == b"getMore" => {
                found.collection = element.text().unwrap_or_default();
            }
            name if BATCHES.contains(&name) => {
                found.batch = element.elements().and_then(Elements::count_all);
            }
            _ => {}
        }
    }
    (!found.operation.is_empty()).then_some(found)
}

/// Letters, and `_` in some of tests.
fn is_command(name: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    (1..=64).contains(&name.len()) && name.iter().all(is_part)
}

/// Operations that begin with four bytes and a collection.
fn of_collection(op: i32, body: &[u8], whole: bool) -> Option<Option<Request<'_>>> {
    let cut = (!whole).then_some(None);
    let Some(mut rest) = body.get(4..) else {
        return cut;
    };
    let Some(name) = cstring(&mut rest) else {
        return cut;
    };
    let dot = memchr::memchr(b'.', name)?;
    let (namespace, collection) = (name.get(..dot)?, name.get(dot + 1..)?);
    if !is_name(namespace) || !is_name(collection) {
        return None;
    }
    let mut request = Request {
        operation: b"find",
        namespace,
        collection,
        ..Request::default()
    };
    match op {
        op::QUERY => {
            let Some(query) = rest.get(8..).filter(|query| query.len() >= 4) else {
                return cut;
            };
            let (mut elements, _) = document(query)?;
            if collection == b"$cmd" {
                let first = { elements }.next();
                if let Some(wrapped) = first.filter(|first| first.name == b"$query") {
                    elements = wrapped.elements()?;
                }
                let Some(found) = command(elements) else {
                    return cut;
                };
                request = Request { namespace, ..found };
            }
        }
        op::GET_MORE => request.operation = b"getMore",
        op::INSERT => {
            request.operation = b"insert";
            request.batch = whole.then(|| bson::count(rest)).flatten();
        }
        op::UPDATE => request.operation = b"update",
        op::DELETE => request.operation = b"delete",
        _ => return None,
    }
    request.unanswered = !matches!(op, op::QUERY | op::GET_MORE);
    Some(Some(request))
}
