//! What a server answers, as far as it is a state machine: where an answer ends, and what it says by then.
//!
//! ```text
//! First ─OK, ERR──────────────────────────► end, or First again where the status says that more results follow
//!   ├─columns──► Columns ──────► Rows ────► end, or First again
//!   ├─prepared─► Definitions (parameters, then columns) ► end
//!   └─0xfb─────► First, once the client has sent its file
//! ```
//!
//! Whether EOF packets stand between definitions and rows (they do where either end lacks CLIENT_DEPRECATE_EOF) is
//! not asked where it shows: a packet of five bytes that begins with 0xfe is no row, as 0xfe at the start of a row
//! means a value of 16 MB or more, which no packet alone has.

use super::command::com;
use super::packet::{Packet, Reader};

/// Status flags of OK and EOF packets.
pub(super) mod status {
    pub const MORE_RESULTS_EXISTS: u16 = 0x0008;
    pub const CURSOR_EXISTS: u16 = 0x0040;
    pub const SESSION_STATE_CHANGED: u16 = 0x4000;
}

/// More columns than this no result has: MySQL and MariaDB have 4,096 at most.
const MAX_COLUMNS: u64 = 0xffff;
/// A progress report of MariaDB's looks like an error with this number.
const PROGRESS: u16 = 0xffff;

/// Where in an answer the server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// A result begins.
    #[default]
    First,
    /// So many definitions of columns are to come.
    Columns(u32),
    /// Rows; before the first there may be an EOF.
    Rows { first: bool },
    /// Of a prepared statement: definitions to come of the group under way, and of the one after it. `eof`: the
    /// group is over and its EOF is due.
    Definitions { left: u16, then: u16, eof: bool },
}

/// What a packet brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The answer goes on.
    More,
    /// A result is over, and another follows. By the first one the session's database may have become this one.
    Results(Option<&'a [u8]>),
    /// The answer is over.
    End(Outcome<'a>),
    /// The server wants a file's contents.
    Infile,
    /// No server says this here.
    Nonsense,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome<'a> {
    /// Number of the error, 0 where there is none.
    pub code: u16,
    /// The session's database has become this one; "" where it is not known which.
    pub schema: Option<&'a [u8]>,
    /// A statement was prepared: its number, how many parameters it has.
    pub prepared: Option<(u32, u16)>,
    /// It may be followed by an EOF, which would be a part of it.
    pub eof_may_follow: bool,
}

/// The answer under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub state: State,
    /// Rows so far; `None` where no result had any.
    pub rows: Option<u64>,
    /// Whether EOF packets stand behind definitions; `None` where it is not known.
    pub eof: Option<bool>,
    /// What both ends agreed on.
    pub tracks_session: bool,
    pub optional_metadata: bool,
    /// The number of the statement being prepared, and of its parameters.
    prepared: (u32, u16),
}

impl Answer {
    /// The next answer begins.
    pub(super) fn begin(&mut self, command: u8) {
        self.rows = None;
        self.state = match command {
            com::STMT_FETCH => {
                self.rows = Some(0);
                State::Rows { first: false }
            }
            com::FIELD_LIST => State::Rows { first: false },
            _ => State::First,
        };
    }

    /// The server's next packet, of the answer to `command`.
    #[inline]
    pub(super) fn packet<'a>(&mut self, command: u8, packet: &Packet<'a>) -> Event<'a> {
        if packet.bytes.first() == Some(&0xff) {
            return error(packet);
        }
        match self.state {
            State::Rows { first } => self.row(command, packet, first),
            State::Columns(left) => {
                self.state = match left {
                    0 | 1 => State::Rows { first: true },
                    _ => State::Columns(left - 1),
                };
                Event::More
            }
            State::First => self.first(command, packet),
            State::Definitions { left, then, eof } => self.definition(packet, left, then, eof),
        }
    }

    fn row<'a>(&mut self, command: u8, packet: &Packet<'a>, first: bool) -> Event<'a> {
        if packet.bytes.first() != Some(&0xfe) || packet.len >= 0xff_ffff {
            self.state = State::Rows { first: false };
            self.rows = self.rows.map(|rows| rows.saturating_add(1));
            return Event::More;
        }
        let Some(end) = self.ok(packet) else {
            return Event::Nonsense;
        };
        if first && packet.len == 5 {
            // the one between definitions and rows; of a cursor's result there are none here
            self.eof = Some(true);
            if command != com::STMT_EXECUTE || end.status & status::CURSOR_EXISTS == 0 {
                self.state = State::Rows { first: false };
                return Event::More;
            }
        }
        if command == com::STMT_EXECUTE && end.status & status::CURSOR_EXISTS != 0 {
            self.rows = None; // they are fetched
        }
        self.result_ends(end)
    }

    fn first<'a>(&mut self, command: u8, packet: &Packet<'a>) -> Event<'a> {
        let Some(&kind) = packet.bytes.first() else {
            return Event::Nonsense;
        };
        match (command, kind) {
            (com::STATISTICS, _) => return Event::End(Outcome::default()),
            // the server asks for another proof, sends a key or a part of a proof
            (com::CHANGE_USER, 1..=0xfe) => return Event::More,
            (com::STMT_PREPARE, 0) => return self.prepared(packet),
            (com::STMT_PREPARE, _) => return Event::Nonsense,
            (_, 0xfb) => return Event::Infile,
            (_, 0) if self.optional_metadata && packet.len < 5 => {}
            (_, 0 | 0xfe) => {
                return match self.ok(packet) {
                    Some(end) => self.result_ends(end),
                    None => Event::Nonsense,
                }
            }
            _ => {}
        }
        let mut r = Reader(packet.bytes);
        let mut with_definitions = true;
        if self.optional_metadata {
            with_definitions = r.u8() != Some(0);
        }
        let Some(count) = r.lenenc().filter(|n| (1..=MAX_COLUMNS).contains(n)) else {
            return Event::Nonsense;
        };
        match r.0 {
            [] => {}
            [0] => with_definitions = false, // the client has them in its cache: MariaDB's
            [1] => {}
            _ => return Event::Nonsense,
        }
        self.rows = Some(self.rows.unwrap_or(0));
        self.state = if with_definitions {
            State::Columns(count as u32)
        } else {
            State::Rows { first: true }
        };
        Event::More
    }

    fn prepared<'a>(&mut self, packet: &Packet<'a>) -> Event<'a> {
        let mut r = Reader(packet.bytes);
        let mut read = || {
            r.u8()?;
            Some((r.u32()?, r.u16()?, r.u16()?))
        };
        let Some((id, columns, parameters)) = read().filter(|_| packet.len >= 9) else {
            return Event::Nonsense;
        };
        self.prepared = (id, parameters);
        // with optional metadata the last byte says whether any definitions come
        let without =
            self.optional_metadata && packet.len >= 13 && packet.bytes.get(12) == Some(&0);
        let (left, then) = match (parameters, columns) {
            _ if without => (0, 0),
            (0, columns) => (columns, 0),
            both => both,
        };
        if left == 0 {
            return self.prepared_ends(false);
        }
        self.define(left, then, false)
    }

    fn definition<'a>(
        &mut self,
        packet: &Packet<'a>,
        left: u16,
        then: u16,
        eof: bool,
    ) -> Event<'a> {
        if !eof {
            return self.defined(left, then);
        }
        self.eof = Some(packet.len == 5 && packet.bytes.first() == Some(&0xfe));
        match (self.eof, then) {
            (Some(true), 0) => self.prepared_ends(false),
            (Some(true), _) => self.define(then, 0, false),
            (_, 0) => Event::Nonsense,
            // none was due, and this is the first definition of the next group
            _ => self.defined(then, 0),
        }
    }

    /// One of `left` definitions of a group was read.
    fn defined<'a>(&mut self, left: u16, then: u16) -> Event<'a> {
        match (left.saturating_sub(1), self.eof, then) {
            (0, Some(false), 0) => self.prepared_ends(false),
            (0, Some(false), _) => self.define(then, 0, false),
            (0, None, 0) => self.prepared_ends(true),
            (0, _, _) => self.define(0, then, true),
            (left, _, _) => self.define(left, then, false),
        }
    }

    fn define<'a>(&mut self, left: u16, then: u16, eof: bool) -> Event<'a> {
        self.state = State::Definitions { left, then, eof };
        Event::More
    }

    fn prepared_ends<'a>(&mut self, eof_may_follow: bool) -> Event<'a> {
        self.state = State::First;
        Event::End(Outcome {
            prepared: Some(self.prepared),
            eof_may_follow,
            ..Outcome::default()
        })
    }

    fn result_ends<'a>(&mut self, end: Ok<'a>) -> Event<'a> {
        self.state = State::First;
        if end.status & status::MORE_RESULTS_EXISTS != 0 {
            return Event::Results(end.schema);
        }
        Event::End(Outcome {
            schema: end.schema,
            ..Outcome::default()
        })
    }

    /// An OK packet (0x00, or 0xfe in an EOF's place), or an EOF.
    fn ok<'a>(&self, packet: &Packet<'a>) -> Option<Ok<'a>> {
        let mut r = Reader(packet.bytes);
        let kind = r.u8()?;
        if kind == 0xfe && packet.len == 5 {
            r.u16()?;
            return Some(Ok {
                status: r.u16()?,
                schema: None,
            });
        }
        r.lenenc()?;
        r.lenenc()?;
        let status = r.u16()?;
        r.u16()?;
        let schema = match self.tracks_session && status & status::SESSION_STATE_CHANGED != 0 {
            true if packet.is_whole() => schema(r),
            true => Some(&b""[..]),
            false => None,
        };
        Some(Ok { status, schema })
    }
}

/// What matters of an OK packet.
#[derive(Clone, Copy, Debug)]
struct Ok<'a> {
    status: u16,
    schema: Option<&'a [u8]>,
}

/// The session's new database, among the changes that an OK packet tells behind its message.
fn schema<'a>(mut r: Reader<'a>) -> Option<&'a [u8]> {
    const SESSION_TRACK_SCHEMA: u8 = 1;
    r.counted()?;
    let mut changes = Reader(r.counted()?);
    let mut found = None;
    while let Some(kind) = changes.u8() {
        let change = changes.counted()?;
        if kind == SESSION_TRACK_SCHEMA {
            found = Reader(change).counted();
        }
    }
    found
}

fn error<'a>(packet: &Packet<'a>) -> Event<'a> {
    let mut r = Reader(packet.bytes);
    r.u8();
    match r.u16() {
        Some(PROGRESS) => Event::More,
        Some(code) if code > 0 => Event::End(Outcome {
            code,
            ..Outcome::default()
        }),
        _ => Event::Nonsense,
    }
}
