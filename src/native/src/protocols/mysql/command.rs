//! What a client asks: the first byte of a message with sequence number 0, and what is behind it.

use super::packet::Reader;

/// Commands, by the manual's names.
pub(super) mod com {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const STATISTICS: u8 = 0x09;
    pub const CHANGE_USER: u8 = 0x11;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const TABLE_DUMP: u8 = 0x13;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub const RESET_CONNECTION: u8 = 0x1f;
    pub const CLONE: u8 = 0x20;
    pub const SUBSCRIBE_GROUP_REPLICATION: u8 = 0x21;
    /// MariaDB's.
    pub const STMT_BULK_EXECUTE: u8 = 0xfa;
}

/// db.operation.name of a command: the manual's name without its COM_. "" is what is SQL's, whose operation is in its
/// text; `None` is what no client sends.
pub(super) fn name(command: u8) -> Option<&'static str> {
    Some(match command {
        0x01 => "QUIT",
        0x02 => "INIT_DB",
        0x03 | 0x17 | 0xfa => "",
        0x04 => "FIELD_LIST",
        0x05 => "CREATE_DB",
        0x06 => "DROP_DB",
        0x07 => "REFRESH",
        0x08 => "SHUTDOWN",
        0x09 => "STATISTICS",
        0x0a => "PROCESS_INFO",
        0x0c => "PROCESS_KILL",
        0x0d => "DEBUG",
        0x0e => "PING",
        0x11 => "CHANGE_USER",
        0x12 => "BINLOG_DUMP",
        0x13 => "TABLE_DUMP",
        0x15 => "REGISTER_SLAVE",
        0x16 => "STMT_PREPARE",
        0x18 => "STMT_SEND_LONG_DATA",
        0x19 => "STMT_CLOSE",
        0x1a => "STMT_RESET",
        0x1b => "SET_OPTION",
        0x1c => "STMT_FETCH",
        0x1e => "BINLOG_DUMP_GTID",
        0x1f => "RESET_CONNECTION",
        0x20 => "CLONE",
        0x21 => "SUBSCRIBE_GROUP_REPLICATION",
        _ => return None,
    })
}

/// Whether a server answers this at all.
pub(super) fn is_answered(command: u8) -> bool {
    !matches!(
        command,
        com::QUIT | com::STMT_SEND_LONG_DATA | com::STMT_CLOSE
    )
}

/// From here on the server sends a stream of events, which is no affair of ours.
pub(super) fn is_replication(command: u8) -> bool {
    use com::*;
    matches!(
        command,
        BINLOG_DUMP | BINLOG_DUMP_GTID | TABLE_DUMP | CLONE | SUBSCRIBE_GROUP_REPLICATION
    )
}

/// What statements begin with, in capitals; also what is before their first word.
const VERBS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECK",
    "COMMIT",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DO",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "FLUSH",
    "GRANT",
    "HANDLER",
    "INSERT",
    "INSTALL",
    "KILL",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "PREPARE",
    "PURGE",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "SIGNAL",
    "START",
    "STOP",
    "TABLE",
    "TRUNCATE",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
    "XA",
];

/// Text that begins like a statement, comments in front of it or not.
pub(super) fn reads_like_sql(text: &[u8]) -> bool {
    let text = after_comments(text);
    if text.starts_with(b"/*") || text.starts_with(b"(") {
        return true; // a comment that goes on for long, a query in parentheses
    }
    let len = text
        .iter()
        .position(|byte| !byte.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let ends = text
        .get(len)
        .is_none_or(|byte| b" \t\r\n;(*/@'\"`".contains(byte));
    let word = &text[..len];
    ends && VERBS
        .binary_search_by(|verb| {
            let upper = word.iter().map(u8::to_ascii_uppercase);
            verb.bytes().cmp(upper)
        })
        .is_ok()
}

/// Text without the space and the comments in front of it.
pub(super) fn after_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        let Some(end) = text
            .starts_with(b"/*")
            .then(|| memchr::memmem::find(text, b"*/"))
            .flatten()
        else {
            return text;
        };
        text = &text[end + 2..];
    }
}

/// Is this message, whose first bytes these are, a command for sure? Others are rare, and a connection that is older
/// than its capture is recognised by its next statement.
pub(super) fn is_surely(bytes: &[u8]) -> bool {
    match bytes {
        [com::QUERY, rest @ ..] => {
            let text = Query::of(rest, None).map_or(rest, |query| query.text);
            reads_like_sql(text)
        }
        [com::STMT_PREPARE, text @ ..] => reads_like_sql(text),
        // the statement's number, which may be MariaDB's -1; flags; once
        [com::STMT_EXECUTE, _, _, _, _, flags, 1, 0, 0, 0, ..] => *flags < 16,
        // with types, and maybe results of each
        [com::STMT_BULK_EXECUTE, _, _, _, _, 0x80 | 0xc0, 0, ..] => true,
        _ => false,
    }
}

/// Whether `is_surely` may say so when there is more of it.
pub(super) fn may_be(bytes: &[u8]) -> bool {
    use com::*;
    let Some(command) = bytes.first() else {
        return true;
    };
    matches!(
        *command,
        QUERY | STMT_PREPARE | STMT_EXECUTE | STMT_BULK_EXECUTE
    )
}

/// A statement's text, and what came along with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub text: &'a [u8],
    pub parents: Parents<'a>,
}

/// The query attributes with these names: what MySQL's own connectors send a trace's context in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parents<'a> {
    pub traceparent: &'a [u8],
    pub tracestate: &'a [u8],
}

impl<'a> Query<'a> {
    /// COM_QUERY's payload behind the command; `attributes`: whether both ends speak of such, where it is known.
    /// `None` where it should have some and can't.
    pub(super) fn of(payload: &'a [u8], attributes: Option<bool>) -> Option<Self> {
        // no statement begins with a control character that is not space
        let has_some = attributes.unwrap_or(match payload {
            [b'\t' | b'\n' | b'\r', second, ..] => *second == 1,
            [first, ..] => *first < b' ',
            [] => false,
        });
        let mut r = Reader(payload);
        let mut parents = Parents::default();
        if has_some {
            let count = r.lenenc()?;
            r.lenenc().filter(|sets| *sets == 1)?;
            if count > 0 {
                let names = Names::read(&mut r, count)?;
                parents = names.find(&mut r)?;
            }
        }
        let text = r.0;
        Some(Self { text, parents })
    }
}

/// Types and names of attributes, in the order of their values.
struct Names<'a> {
    nulls: &'a [u8],
    list: Reader<'a>,
    count: usize,
}

/// Parameters of one message at most: MySQL allows 65,535.
const MAX_PARAMETERS: u64 = 0xffff;

impl<'a> Names<'a> {
    /// The bitmap of those that are NULL, a 1, and type and name of each.
    fn read(r: &mut Reader<'a>, count: u64) -> Option<Self> {
        let count = usize::try_from(count.min(MAX_PARAMETERS + 1)).ok()?;
        let nulls = r.take(count.div_ceil(8))?;
        r.u8().filter(|bound| *bound == 1)?;
        let list = *r;
        for _ in 0..count {
            r.u16()?;
            r.counted()?;
        }
        Some(Self { nulls, list, count })
    }

    /// Reads the values, and gives those that are asked for.
    fn find(&self, r: &mut Reader<'a>) -> Option<Parents<'a>> {
        let (mut list, mut found) = (self.list, Parents::default());
        for at in 0..self.count {
            let kind = list.u16()?;
            let name = list.counted()?;
            let null = self
                .nulls
                .get(at / 8)
                .is_some_and(|b| b >> (at % 8) & 1 != 0);
            let value = if null { b"" } else { value(r, kind as u8)? };
            match name {
                b"traceparent" => found.traceparent = value,
                b"tracestate" => found.tracestate = value,
                _ => {}
            }
        }
        Some(found)
    }
}

/// A value of the binary protocol, by its type (enum_field_types).
fn value<'a>(r: &mut Reader<'a>, kind: u8) -> Option<&'a [u8]> {
    match kind {
        6 => Some(b""),                                       // NULL
        1 => r.take(1),                                       // TINY
        2 | 13 => r.take(2),                                  // SHORT, YEAR
        3 | 4 | 9 => r.take(4),                               // LONG, FLOAT, INT24
        5 | 8 => r.take(8),                                   // DOUBLE, LONGLONG
        7 | 10..=12 => r.u8().and_then(|n| r.take(n.into())), // TIMESTAMP, DATE, TIME, DATETIME
        0 | 15 | 16 | 242..=255 => r.counted(),
        _ => None,
    }
}

/// A trace's context among the attributes of a COM_STMT_EXECUTE, whose payload this is behind the command. They come
/// with the parameters, and can be told from them by having names.
pub(super) fn execute_parents(payload: &[u8], parameters: u16) -> Parents<'_> {
    const PARAMETER_COUNT_AVAILABLE: u8 = 8;
    let mut r = Reader(payload);
    let mut read = || {
        r.take(4)?;
        let flags = r.u8()?;
        r.take(4)?;
        if parameters == 0 && flags & PARAMETER_COUNT_AVAILABLE == 0 {
            return None;
        }
        let count = r.lenenc().filter(|count| *count > 0)?;
        Names::read(&mut r, count)?.find(&mut r)
    };
    read().unwrap_or_default()
}

/// The database's name in "USE name", which may be quoted and may be followed by other statements; "" where that is
/// not known. `whole`: nothing is missing at the text's end.
pub(super) fn used_database(text: &[u8], whole: bool) -> Option<&[u8]> {
    let text = after_comments(text);
    let may_be = |len: usize| text[..len].eq_ignore_ascii_case(&b"USE"[..len]);
    if !whole && (text.starts_with(b"/") || (text.len() <= 3 && may_be(text.len()))) {
        return Some(b"");
    }
    let (word, rest) = text.split_at_checked(3)?;
    let space = rest
        .first()
        .is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'`');
    if !word.eq_ignore_ascii_case(b"USE") || !space {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let (name, end) = match rest {
        [b'`', quoted @ ..] => (quoted, memchr::memchr(b'`', quoted)),
        _ => {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
            let end = rest.iter().position(ends).or(whole.then_some(rest.len()));
            (rest, end)
        }
    };
    Some(end.map_or(b"", |end| &name[..end]))
}

/// The database in a COM_CHANGE_USER, whose payload this is behind the command. The password's proof is passed over.
pub(super) fn changed_database(payload: &[u8]) -> &[u8] {
    let mut r = Reader(payload);
    r.text();
    let proof = r.u8().and_then(|len| r.take(len.into()));
    if proof.is_some() {
        r.text()
    } else {
        b""
    }
}
