//! The commands, of the text protocol and of the binary one; doc/protocol.txt and the page on the binary protocol of
//! memcached's wiki.

use crate::protocols::queue::Named;

/// A command, as far as somebody who listens must know it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// "" for all that are not known.
    pub name: &'static str,
    pub keys: Keys,
    /// The argument that says how many bytes of data follow the line; 0 if none do.
    pub data_at: u8,
    pub answers: Answers,
}

/// Which arguments are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    First,
    All,
    AllButFirst,
}

/// What an answer looks like, if it is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// VALUE, each with data, and END.
    Values,
    /// STORED, NOT_STORED, EXISTS, NOT_FOUND.
    Stored,
    /// A number, or NOT_FOUND.
    Number,
    /// DELETED, NOT_FOUND.
    Deleted,
    /// TOUCHED, NOT_FOUND.
    Touched,
    /// STAT and END; RESET, OK.
    Stats,
    Version,
    /// OK, or why not.
    Ok,
    /// Lines until END, or OK, or why not.
    Lines,
    /// A code of two letters; VA with data.
    Meta,
    /// MN.
    MetaEnd,
    /// ME and what is known of the item, or EN.
    MetaDebug,
    /// None: the server closes.
    Close,
    /// OK, and from then on whatever happens.
    Watch,
    /// Nothing but an error.
    Error,
}

/// A command in flight.
#[derive(Debug)]
pub(super) struct Asked {
    pub command: &'static Command,
    /// What it does not say it need not have: the binary protocol's opcode and opaque, the meta commands' `O`.
    pub opaque: u32,
    pub opcode: u8,
    /// It may have no answer, which shows only when the next one has.
    pub quiet: bool,
}

impl Named for Asked {
    fn name(&self) -> &'static str {
        self.command.name
    }
}

const fn command(name: &'static str, keys: Keys, data_at: u8, answers: Answers) -> Command {
    Command {
        name,
        keys,
        data_at,
        answers,
    }
}

use Answers as A;
use Keys as K;

pub(super) static UNKNOWN: Command = command("", K::None, 0, A::Error);

static COMMANDS: &[Command] = &[
    command("get", K::All, 0, A::Values),
    command("gets", K::All, 0, A::Values),
    command("set", K::First, 4, A::Stored),
    command("mg", K::First, 0, A::Meta),
    command("ms", K::First, 2, A::Meta),
    command("md", K::First, 0, A::Meta),
    command("ma", K::First, 0, A::Meta),
    command("mn", K::None, 0, A::MetaEnd),
    command("me", K::First, 0, A::MetaDebug),
    command("incr", K::First, 0, A::Number),
    command("decr", K::First, 0, A::Number),
    command("delete", K::First, 0, A::Deleted),
    command("touch", K::First, 0, A::Touched),
    command("add", K::First, 4, A::Stored),
    command("replace", K::First, 4, A::Stored),
    command("append", K::First, 4, A::Stored),
    command("prepend", K::First, 4, A::Stored),
    command("cas", K::First, 4, A::Stored),
    command("gat", K::AllButFirst, 0, A::Values),
    command("gats", K::AllButFirst, 0, A::Values),
    command("stats", K::None, 0, A::Stats),
    command("version", K::None, 0, A::Version),
    command("verbosity", K::None, 0, A::Ok),
    command("flush_all", K::None, 0, A::Ok),
    command("cache_memlimit", K::None, 0, A::Ok),
    command("slabs", K::None, 0, A::Ok),
    command("lru", K::None, 0, A::Ok),
    command("lru_crawler", K::None, 0, A::Lines),
    command("watch", K::None, 0, A::Watch),
    command("quit", K::None, 0, A::Close),
    command("shutdown", K::None, 0, A::Close),
];

/// The command of this name.
pub(super) fn find(name: &[u8]) -> &'static Command {
    let found = COMMANDS
        .iter()
        .find(|command| command.name.as_bytes() == name);
    found.unwrap_or(&UNKNOWN)
}

/// Those of the binary protocol that have no word in the text protocol, or none of the same kind.
static NOOP: Command = command("noop", K::None, 0, A::Error);
static SASL_LIST: Command = command("sasl_list_mechs", K::None, 0, A::Error);
static SASL_AUTH: Command = command("sasl_auth", K::First, 0, A::Error);
static SASL_STEP: Command = command("sasl_step", K::First, 0, A::Error);

/// The command of an opcode, and whether it is the quiet one; `None` where there is no such opcode.
pub(super) fn of_opcode(opcode: u8) -> Option<(&'static Command, bool)> {
    let name = match opcode {
        0x00 | 0x09 | 0x0c | 0x0d => "get",
        0x01 | 0x11 => "set",
        0x02 | 0x12 => "add",
        0x03 | 0x13 => "replace",
        0x04 | 0x14 => "delete",
        0x05 | 0x15 => "incr",
        0x06 | 0x16 => "decr",
        0x07 | 0x17 => "quit",
        0x08 | 0x18 => "flush_all",
        0x0a => return Some((&NOOP, false)),
        0x0b => "version",
        0x0e | 0x19 => "append",
        0x0f | 0x1a => "prepend",
        0x10 => "stats",
        0x1b => "verbosity",
        0x1c => "touch",
        0x1d | 0x1e | 0x23 | 0x24 => "gat",
        0x20 => return Some((&SASL_LIST, false)),
        0x21 => return Some((&SASL_AUTH, false)),
        0x22 => return Some((&SASL_STEP, false)),
        _ => return None,
    };
    let quiet = matches!(opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24);
    Some((find(name.as_bytes()), quiet))
}
