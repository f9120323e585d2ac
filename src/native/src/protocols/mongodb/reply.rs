//! What is answered: OP_MSG, and OP_REPLY to the operations of before.
//!
//! ```text
//! OP_REPLY   flags(4) cursor(8) startingFrom(4) numberReturned(4) document ...
//! ```

use super::bson::{document, i32_at, Elements};
use super::frame::op;
use super::request::{flag, sections};

/// Bits of OP_REPLY's flags.
const CURSOR_NOT_FOUND: i32 = 1;
const QUERY_FAILURE: i32 = 2;
/// The code of an error of this name.
const CODE_OF_CURSOR_NOT_FOUND: i64 = 43;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub failed: bool,
    /// Of the first error.
    pub code: Option<i64>,
    /// Documents of a cursor.
    pub rows: Option<u64>,
    /// What was written, as the reply to writing counts it.
    pub n: Option<u64>,
    /// Another reply will follow unasked.
    pub more_to_come: bool,
}

/// `None`: this is no reply. `of_command`: it says itself whether it succeeded; else its documents are a user's.
pub(super) fn reply(op: i32, body: &[u8], whole: bool, of_command: bool) -> Option<Reply> {
    let mut found = Reply::default();
    if op == op::MSG {
        let sections = sections(body, whole)?;
        found.more_to_come = sections.flags & flag::MORE_TO_COME != 0;
        match sections.command {
            Some(elements) => answer(elements, &mut found),
            None if whole => return None,
            None => {}
        }
        return Some(found);
    }
    if op != op::REPLY {
        return None;
    }
    let (Some(flags), Some(count), Some(documents)) =
        (i32_at(body, 0), i32_at(body, 16), body.get(20..))
    else {
        return (!whole).then_some(found);
    };
    let failed = flags & QUERY_FAILURE != 0;
    if of_command || failed {
        if let Some((elements, _)) = document(documents) {
            answer(elements, &mut found);
        }
    } else {
        found.rows = u64::try_from(count).ok();
    }
    found.failed |= failed;
    if flags & CURSOR_NOT_FOUND != 0 {
        (found.failed, found.code) = (true, Some(CODE_OF_CURSOR_NOT_FOUND));
    }
    Some(found)
}

/// Errors stand at the beginning of what may be long, or are short.
fn answer(elements: Elements<'_>, found: &mut Reply) {
    for element in elements {
        match element.name {
            b"ok" => found.failed |= element.number() == Some(0),
            b"code" => found.code = element.number(),
            b"n" => found.n = element.number().and_then(|n| u64::try_from(n).ok()),
            b"writeErrors" | b"writeConcernError" => {
                let Some(mut within) = element.elements() else {
                    continue;
                };
                if element.name == b"writeErrors" {
                    let first = within.next().and_then(|first| first.elements());
                    let Some(first) = first else {
                        continue; // there were none after all
                    };
                    within = first;
                }
                found.failed = true;
                let code = within.find(|element| element.name == b"code");
                found.code = found.code.or(code.and_then(|code| code.number()));
            }
            b"cursor" => {
                let mut within = element.elements().into_iter().flatten();
                let batch = within.find(|e| matches!(e.name, b"firstBatch" | b"nextBatch"));
                let batch = batch.and_then(|batch| batch.elements());
                found.rows = batch.and_then(Elements::count_all).map(u64::from);
            }
            _ => {}
        }
    }
}
