//! The commands: which of their arguments are keys, what kinds of answer they have, and which of them change what
//! follows on the connection. As `COMMAND DOCS` of Redis 7 has them, and some of later ones and of well-known modules.

use crate::protocols::queue::Named;

/// A command, as far as somebody who listens must know it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// In capitals; "" for all that are not known.
    pub name: &'static str,
    pub keep: Keep,
    /// The kinds of answer that it has, besides errors and a null: `SIMPLE` and so on.
    pub answers: u8,
    pub kind: Kind,
}

/// A command in flight.
#[derive(Debug)]
pub(super) struct Asked {
    pub command: &'static Command,
    /// What its kind has to remember: answers to come of SUBSCRIBE, the index of SELECT.
    pub more: u32,
}

impl Named for Asked {
    fn name(&self) -> &'static str {
        self.command.name
    }
}

/// Which arguments may be told. The name is argument 0; all that are not kept are values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    None,
    /// From the first to the last, which may be counted from the end (-1), each or every other one.
    Range {
        first: u8,
        last: i8,
        step: u8,
    },
    /// A key, then fields and values by turns.
    Fields,
    /// At `at` stands how many keys follow it. `before`: what is in front of it is kept too.
    Counted {
        at: u8,
        before: bool,
    },
    /// The first half of what follows the word STREAMS.
    Streams,
}

/// What a command does to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// Its first argument belongs to its name.
    Container,
    /// CLIENT, a container of which REPLY silences the server.
    Client,
    Multi,
    Exec,
    Discard,
    Select,
    Reset,
    Subscribe,
    Unsubscribe,
    Monitor,
    /// SYNC, PSYNC: what follows is replication.
    Sync,
    /// REPLCONF, whose ACK says that this is a replica that has long been one.
    Replconf,
    /// Answered by the connection's end.
    Shutdown,
    /// Answered, unless the client does not wait for it.
    Quit,
}

/// `+`.
pub(super) const SIMPLE: u8 = 1;
/// `:`.
pub(super) const INTEGER: u8 = 2;
/// `$`, and what RESP3 has for strings that mean something else: `,` `#` `(` `=`.
pub(super) const BULK: u8 = 4;
/// `*`, `~`, `%`.
pub(super) const AGGREGATE: u8 = 8;
pub(super) const ANY: u8 = SIMPLE | INTEGER | BULK | AGGREGATE;

/// Longer names are nobody's.
pub(super) const MAX_NAME: usize = 32;

pub(super) static UNKNOWN: Command = Command {
    name: "",
    keep: Keep::None,
    answers: ANY,
    kind: Kind::Plain,
};

const NONE: Keep = Keep::None;
const KEY: Keep = keys(1, 1);
const KEYS: Keep = keys(1, -1);
const TWO: Keep = keys(1, 2);
/// All but the last.
const BUT_LAST: Keep = keys(1, -2);
/// The key of a container's command.
const SECOND: Keep = keys(2, 2);
const PAIRS: Keep = Keep::Range {
    first: 1,
    last: -1,
    step: 2,
};

const fn keys(first: u8, last: i8) -> Keep {
    Keep::Range {
        first,
        last,
        step: 1,
    }
}

const fn counted(at: u8, before: bool) -> Keep {
    Keep::Counted { at, before }
}

const fn plain(name: &'static str, keep: Keep, answers: u8) -> Command {
    of(name, keep, answers, Kind::Plain)
}

const fn container(name: &'static str, keep: Keep) -> Command {
    of(name, keep, ANY, Kind::Container)
}

const fn of(name: &'static str, keep: Keep, answers: u8, kind: Kind) -> Command {
    Command {
        name,
        keep,
        answers,
        kind,
    }
}

use Kind as K;
const S: u8 = SIMPLE;
const I: u8 = INTEGER;
const B: u8 = BULK;
const A: u8 = AGGREGATE;

static COMMANDS: &[Command] = &[
    // strings
    plain("APPEND", KEY, I),
    plain("DECR", KEY, I),
    plain("DECRBY", KEY, I),
    plain("GET", KEY, B),
    plain("GETDEL", KEY, B),
    plain("GETEX", KEY, B),
    plain("GETRANGE", KEY, B),
    plain("GETSET", KEY, B),
    plain("INCR", KEY, I),
    plain("INCRBY", KEY, I),
    plain("INCRBYFLOAT", KEY, B),
    plain("LCS", TWO, ANY),
    plain("MGET", KEYS, A),
    plain("MSET", PAIRS, S),
    plain("MSETNX", PAIRS, I),
    plain("PSETEX", KEY, S),
    plain("SET", KEY, S | B),
    plain("SETEX", KEY, S),
    plain("SETNX", KEY, I),
    plain("SETRANGE", KEY, I),
    plain("STRLEN", KEY, I),
    plain("SUBSTR", KEY, B),
    // bits, HyperLogLog
    plain("BITCOUNT", KEY, I),
    plain("BITFIELD", KEY, A),
    plain("BITFIELD_RO", KEY, A),
    plain("BITOP", keys(2, -1), I),
    plain("BITPOS", KEY, I),
    plain("GETBIT", KEY, I),
    plain("SETBIT", KEY, I),
    plain("PFADD", KEY, I),
    plain("PFCOUNT", KEYS, I),
    plain("PFMERGE", KEYS, S),
    // keys
    plain("COPY", TWO, I),
    plain("DEL", KEYS, I),
    plain("DUMP", KEY, B),
    plain("EXISTS", KEYS, I),
    plain("EXPIRE", KEY, I),
    plain("EXPIREAT", KEY, I),
    plain("EXPIRETIME", KEY, I),
    plain("KEYS", NONE, A),
    plain("MIGRATE", NONE, S),
    plain("MOVE", KEY, I),
    plain("PERSIST", KEY, I),
    plain("PEXPIRE", KEY, I),
    plain("PEXPIREAT", KEY, I),
    plain("PEXPIRETIME", KEY, I),
    plain("PTTL", KEY, I),
    plain("RANDOMKEY", NONE, B),
    plain("RENAME", TWO, S),
    plain("RENAMENX", TWO, I),
    plain("RESTORE", KEY, S),
    plain("RESTORE-ASKING", KEY, S),
    plain("SCAN", NONE, A),
    plain("SORT", KEY, ANY),
    plain("SORT_RO", KEY, ANY),
    plain("TOUCH", KEYS, I),
    plain("TTL", KEY, I),
    plain("TYPE", KEY, S),
    plain("UNLINK", KEYS, I),
    plain("WAIT", NONE, I),
    plain("WAITAOF", NONE, A),
    container("OBJECT", SECOND),
    // lists
    plain("BLMOVE", TWO, B),
    plain("BLMPOP", counted(2, false), A),
    plain("BLPOP", BUT_LAST, A),
    plain("BRPOP", BUT_LAST, A),
    plain("BRPOPLPUSH", TWO, ANY),
    plain("LINDEX", KEY, B),
    plain("LINSERT", KEY, I),
    plain("LLEN", KEY, I),
    plain("LMOVE", TWO, B),
    plain("LMPOP", counted(1, false), A),
    plain("LPOP", KEY, B | A),
    plain("LPOS", KEY, ANY),
    plain("LPUSH", KEY, I),
    plain("LPUSHX", KEY, I),
    plain("LRANGE", KEY, A),
    plain("LREM", KEY, I),
    plain("LSET", KEY, S),
    plain("LTRIM", KEY, S),
    plain("RPOP", KEY, B | A),
    plain("RPOPLPUSH", TWO, B),
    plain("RPUSH", KEY, I),
    plain("RPUSHX", KEY, I),
    // sets
    plain("SADD", KEY, I),
    plain("SCARD", KEY, I),
    plain("SDIFF", KEYS, A),
    plain("SDIFFSTORE", KEYS, I),
    plain("SINTER", KEYS, A),
    plain("SINTERCARD", counted(1, false), I),
    plain("SINTERSTORE", KEYS, I),
    plain("SISMEMBER", KEY, ANY),
    plain("SMEMBERS", KEY, A),
    plain("SMISMEMBER", KEY, A),
    plain("SMOVE", TWO, I),
    plain("SPOP", KEY, B | A),
    plain("SRANDMEMBER", KEY, B | A),
    plain("SREM", KEY, I),
    plain("SSCAN", KEY, A),
    plain("SUNION", KEYS, A),
    plain("SUNIONSTORE", KEYS, I),
    // hashes
    plain("HDEL", KEYS, I),
    plain("HEXISTS", TWO, I),
    plain("HEXPIRE", KEY, A),
    plain("HGET", TWO, B),
    plain("HGETALL", KEY, A),
    plain("HGETDEL", KEY, A),
    plain("HGETEX", KEY, A),
    plain("HINCRBY", TWO, I),
    plain("HINCRBYFLOAT", TWO, B),
    plain("HKEYS", KEY, A),
    plain("HLEN", KEY, I),
    plain("HMGET", KEYS, A),
    plain("HMSET", Keep::Fields, S),
    plain("HPERSIST", KEY, A),
    plain("HPEXPIRE", KEY, A),
    plain("HPTTL", KEY, A),
    plain("HRANDFIELD", KEY, B | A),
    plain("HSCAN", KEY, A),
    plain("HSET", Keep::Fields, I),
    plain("HSETEX", KEY, I),
    plain("HSETNX", TWO, I),
    plain("HSTRLEN", TWO, I),
    plain("HTTL", KEY, A),
    plain("HVALS", KEY, A),
    // sorted sets
    plain("BZMPOP", counted(2, false), A),
    plain("BZPOPMAX", BUT_LAST, A),
    plain("BZPOPMIN", BUT_LAST, A),
    plain("ZADD", KEY, ANY),
    plain("ZCARD", KEY, I),
    plain("ZCOUNT", KEY, I),
    plain("ZDIFF", counted(1, false), A),
    plain("ZDIFFSTORE", counted(2, true), I),
    plain("ZINCRBY", KEY, B),
    plain("ZINTER", counted(1, false), A),
    plain("ZINTERCARD", counted(1, false), I),
    plain("ZINTERSTORE", counted(2, true), I),
    plain("ZLEXCOUNT", KEY, I),
    plain("ZMPOP", counted(1, false), A),
    plain("ZMSCORE", KEY, A),
    plain("ZPOPMAX", KEY, A),
    plain("ZPOPMIN", KEY, A),
    plain("ZRANDMEMBER", KEY, B | A),
    plain("ZRANGE", KEY, A),
    plain("ZRANGEBYLEX", KEY, A),
    plain("ZRANGEBYSCORE", KEY, A),
    plain("ZRANGESTORE", TWO, I),
    plain("ZRANK", KEY, ANY),
    plain("ZREM", KEY, I),
    plain("ZREMRANGEBYLEX", KEY, I),
    plain("ZREMRANGEBYRANK", KEY, I),
    plain("ZREMRANGEBYSCORE", KEY, I),
    plain("ZREVRANGE", KEY, A),
    plain("ZREVRANGEBYLEX", KEY, A),
    plain("ZREVRANGEBYSCORE", KEY, A),
    plain("ZREVRANK", KEY, ANY),
    plain("ZSCAN", KEY, A),
    plain("ZSCORE", KEY, B),
    plain("ZUNION", counted(1, false), A),
    plain("ZUNIONSTORE", counted(2, true), I),
    // places
    plain("GEOADD", KEY, I),
    plain("GEODIST", KEY, B),
    plain("GEOHASH", KEY, A),
    plain("GEOPOS", KEY, A),
    plain("GEORADIUS", KEY, ANY),
    plain("GEORADIUSBYMEMBER", KEY, ANY),
    plain("GEORADIUSBYMEMBER_RO", KEY, A),
    plain("GEORADIUS_RO", KEY, A),
    plain("GEOSEARCH", KEY, A),
    plain("GEOSEARCHSTORE", TWO, I),
    // streams
    plain("XACK", TWO, I),
    plain("XADD", KEY, B),
    plain("XAUTOCLAIM", TWO, A),
    plain("XCLAIM", TWO, A),
    plain("XDEL", KEY, I),
    plain("XLEN", KEY, I),
    plain("XPENDING", TWO, A),
    plain("XRANGE", KEY, A),
    plain("XREAD", Keep::Streams, A),
    plain("XREADGROUP", Keep::Streams, A),
    plain("XREVRANGE", KEY, A),
    plain("XSETID", KEY, S),
    plain("XTRIM", KEY, I),
    container("XGROUP", SECOND),
    container("XINFO", SECOND),
    // scripts and functions
    plain("EVAL", counted(2, false), ANY),
    plain("EVALSHA", counted(2, true), ANY),
    plain("EVALSHA_RO", counted(2, true), ANY),
    plain("EVAL_RO", counted(2, false), ANY),
    plain("FCALL", counted(2, true), ANY),
    plain("FCALL_RO", counted(2, true), ANY),
    container("FUNCTION", NONE),
    container("SCRIPT", NONE),
    // publish and subscribe
    of("PSUBSCRIBE", KEYS, ANY, K::Subscribe),
    plain("PUBLISH", KEY, I),
    of("PUNSUBSCRIBE", KEYS, ANY, K::Unsubscribe),
    plain("SPUBLISH", KEY, I),
    of("SSUBSCRIBE", KEYS, ANY, K::Subscribe),
    of("SUBSCRIBE", KEYS, ANY, K::Subscribe),
    of("SUNSUBSCRIBE", KEYS, ANY, K::Unsubscribe),
    of("UNSUBSCRIBE", KEYS, ANY, K::Unsubscribe),
    container("PUBSUB", NONE),
    // transactions
    of("DISCARD", NONE, S, K::Discard),
    of("EXEC", NONE, A, K::Exec),
    of("MULTI", NONE, S, K::Multi),
    plain("UNWATCH", NONE, S),
    plain("WATCH", KEYS, S),
    // the connection and the server
    plain("ASKING", NONE, S),
    plain("AUTH", NONE, S),
    plain("BGREWRITEAOF", NONE, S),
    plain("BGSAVE", NONE, S),
    plain("DBSIZE", NONE, I),
    plain("ECHO", NONE, B),
    plain("FAILOVER", NONE, S),
    plain("FLUSHALL", NONE, S),
    plain("FLUSHDB", NONE, S),
    plain("HELLO", NONE, A),
    plain("INFO", NONE, B),
    plain("LASTSAVE", NONE, I),
    plain("LOLWUT", NONE, B),
    of("MONITOR", NONE, S, K::Monitor),
    plain("PING", NONE, ANY),
    of("PSYNC", NONE, ANY, K::Sync),
    of("QUIT", NONE, S, K::Quit),
    plain("READONLY", NONE, S),
    plain("READWRITE", NONE, S),
    of("REPLCONF", KEY, ANY, K::Replconf),
    plain("REPLICAOF", NONE, S),
    of("RESET", NONE, S, K::Reset),
    plain("ROLE", NONE, A),
    plain("SAVE", NONE, S),
    of("SELECT", KEY, S, K::Select),
    of("SHUTDOWN", NONE, S, K::Shutdown),
    plain("SLAVEOF", NONE, S),
    plain("SWAPDB", TWO, S),
    of("SYNC", NONE, ANY, K::Sync),
    plain("TIME", NONE, A),
    container("ACL", NONE),
    of("CLIENT", NONE, ANY, K::Client),
    container("CLUSTER", NONE),
    container("COMMAND", NONE),
    container("CONFIG", NONE),
    container("DEBUG", NONE),
    container("LATENCY", NONE),
    container("MEMORY", SECOND),
    container("MODULE", NONE),
    container("SENTINEL", NONE),
    container("SLOWLOG", NONE),
    // modules
    plain("BF.ADD", KEY, ANY),
    plain("BF.EXISTS", KEY, ANY),
    plain("BF.MADD", KEY, ANY),
    plain("BF.MEXISTS", KEY, ANY),
    plain("BF.RESERVE", KEY, ANY),
    plain("FT.AGGREGATE", KEY, ANY),
    plain("FT.SEARCH", KEY, ANY),
    plain("JSON.ARRAPPEND", KEY, ANY),
    plain("JSON.DEL", KEY, ANY),
    plain("JSON.GET", KEY, ANY),
    plain("JSON.MGET", BUT_LAST, ANY),
    plain("JSON.NUMINCRBY", KEY, ANY),
    plain("JSON.SET", KEY, ANY),
    plain("TS.ADD", KEY, ANY),
    plain("TS.GET", KEY, ANY),
    plain("TS.RANGE", KEY, ANY),
];

/// Places of the table that is looked into: many for each command, so that few share one.
const PLACES: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// For each place the index of the command whose name belongs there, or was pushed there by another.
static INDEX: [u16; PLACES] = index();

const fn index() -> [u16; PLACES] {
    let mut index = [EMPTY; PLACES];
    let mut at = 0;
    while at < COMMANDS.len() {
        let mut place = place(COMMANDS[at].name.as_bytes());
        while index[place] != EMPTY {
            place = (place + 1) % PLACES;
        }
        index[place] = at as u16;
        at += 1;
    }
    index
}

const fn place(name: &[u8]) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = 0u64;
    let mut at = 0;
    while at < name.len() {
        mixed = (mixed.rotate_left(7) ^ name[at] as u64).wrapping_mul(SPREAD);
        at += 1;
    }
    (mixed >> 48) as usize % PLACES
}

/// The command of this name, which is in capitals.
pub(super) fn find(name: &[u8]) -> &'static Command {
    let mut at = place(name);
    while let Some(command) = COMMANDS.get(usize::from(INDEX[at])) {
        if command.name.as_bytes() == name {
            return command;
        }
        at = (at + 1) % PLACES;
    }
    &UNKNOWN
}

/// The command of this name, in letters of any size.
pub(super) fn find_any_case(name: &[u8]) -> &'static Command {
    let mut capitals = [0; MAX_NAME];
    match capitals.get_mut(..name.len()) {
        Some(capitals) => {
            capitals.copy_from_slice(name);
            capitals.make_ascii_uppercase();
            find(capitals)
        }
        None => &UNKNOWN,
    }
}

/// Bytes that a name may consist of.
pub(super) fn is_name(name: &[u8]) -> bool {
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(of_name)
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// It may be told.
    Kept,
    Value,
    /// It says how many keys follow.
    Number,
    /// It may be the word STREAMS.
    Word,
}

impl Keep {
    /// What argument `index` of `count` is, the name included in both. `named`: the arguments of which an earlier
    /// `Number` or `Word` said that they are keys.
    #[inline(always)]
    pub(super) fn argument(self, index: u64, count: u64, named: Option<(u64, u64)>) -> Argument {
        let kept = match self {
            Self::None => false,
            Self::Range { first, last, step } => {
                let end = if last < 0 {
                    count.saturating_sub(u64::from(last.unsigned_abs()))
                } else {
                    last.unsigned_abs().into()
                };
                let first = u64::from(first);
                index >= first && index <= end && (step == 1 || (index - first) % 2 == 0)
            }
            Self::Fields => index == 1 || index % 2 == 0,
            Self::Counted { at, .. } if index == u64::from(at) => return Argument::Number,
            Self::Counted { at, before } if index < u64::from(at) => before,
            Self::Streams if named.is_none() => return Argument::Word,
            Self::Counted { .. } | Self::Streams => {
                named.is_some_and(|(first, end)| index >= first && index < end)
            }
        };
        if kept {
            Argument::Kept
        } else {
            Argument::Value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS {
            assert!(std::ptr::eq(find(command.name.as_bytes()), command));
            let small = command.name.to_ascii_lowercase();
            assert!(std::ptr::eq(find_any_case(small.as_bytes()), command));
            assert!(is_name(command.name.as_bytes()) && command.name.len() <= MAX_NAME);
        }
        assert!(COMMANDS.len() < usize::from(EMPTY) && COMMANDS.len() < PLACES / 2);
        for nobody in [&b"GETT"[..], b"", b"G", &[b'A'; 40]] {
            assert_eq!(find_any_case(nobody), &UNKNOWN);
        }
    }
}
