//! How a connection begins: the server's greeting, the client's answer.

use super::packet::Reader;
use crate::exchange::DbSystem;

/// Capability flags, those that matter here; the names are the manual's. Both ends must have one for it to count.
pub(super) mod capability {
    /// Also CLIENT_LONG_PASSWORD: what all have but MariaDB's servers and clients that talk to one of these.
    pub const CLIENT_MYSQL: u64 = 1;
    pub const CONNECT_WITH_DB: u64 = 1 << 3;
    pub const COMPRESS: u64 = 1 << 5;
    pub const PROTOCOL_41: u64 = 1 << 9;
    pub const SSL: u64 = 1 << 11;
    pub const SECURE_CONNECTION: u64 = 1 << 15;
    pub const PLUGIN_AUTH_LENENC: u64 = 1 << 21;
    pub const SESSION_TRACK: u64 = 1 << 23;
    pub const DEPRECATE_EOF: u64 = 1 << 24;
    pub const OPTIONAL_RESULTSET_METADATA: u64 = 1 << 25;
    pub const ZSTD_COMPRESSION: u64 = 1 << 26;
    pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
}

/// What a greeting says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub system: DbSystem,
    pub capabilities: u64,
}

/// Bytes of a server's version at most, and of a greeting.
const MAX_VERSION: usize = 128;
pub(super) const MAX_GREETING: usize = 512;

/// What bytes are that may be a greeting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greets {
    Yes(Greeting),
    /// As far as they go.
    SoFar,
    No,
}

/// Protocol::HandshakeV10, without its packet's header.
pub(super) fn greeting(payload: &[u8]) -> Greets {
    let Some((version, mut rest)) = version(payload) else {
        return if payload.len() <= MAX_VERSION && is_version(payload) {
            Greets::SoFar
        } else {
            Greets::No
        };
    };
    let mut fields = || {
        rest.take(4 + 8)?; // the connection's id, half of the challenge
        let filler = rest.u8()?;
        let low = u64::from(rest.u16()?);
        rest.take(1 + 2)?; // character set, status
        let high = u64::from(rest.u16()?);
        rest.u8()?; // length of the challenge
        let reserved = rest.take(6)?;
        let more = u64::from(rest.u32()?);
        Some((filler, low | high << 16, reserved, more))
    };
    let Some((0, capabilities, &[0, 0, 0, 0, 0, 0], more)) = fields() else {
        return if payload.len() < 1 + version.len() + 1 + 31 {
            Greets::SoFar
        } else {
            Greets::No
        };
    };
    if capabilities & capability::PROTOCOL_41 == 0 {
        return Greets::No; // servers before 4.1, of 2004
    }
    let mariadb = capabilities & capability::CLIENT_MYSQL == 0
        || version.windows(7).any(|part| part == b"MariaDB");
    Greets::Yes(Greeting {
        system: if mariadb {
            DbSystem::Mariadb
        } else {
            DbSystem::Mysql
        },
        capabilities: if capabilities & capability::CLIENT_MYSQL == 0 {
            capabilities | more << 32
        } else {
            capabilities
        },
    })
}

/// The server's version, and what is behind it.
fn version(payload: &[u8]) -> Option<(&[u8], Reader<'_>)> {
    let end = memchr::memchr(0, payload).filter(|end| (2..MAX_VERSION).contains(end))?;
    let (before, rest) = payload.split_at(end);
    is_version(before).then_some((&before[1..], Reader(&rest[1..])))
}

/// Protocol version 10, and a version's text: digits first, as all of them have it.
fn is_version(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [10] => true,
        [10, text @ ..] => {
            text[0].is_ascii_digit() && text.iter().all(|byte| (0x20..0x7f).contains(byte))
        }
        _ => false,
    }
}

/// What a client answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello<'a> {
    /// It wants TLS first, and says the rest within.
    Tls,
    /// Protocol::HandshakeResponse41.
    Login {
        capabilities: u64,
        database: &'a [u8],
    },
}

/// The client's answer to a greeting; `None` if it is none. The password's proof is passed over.
pub(super) fn hello(payload: &[u8]) -> Option<Hello<'_>> {
    let mut r = Reader(payload);
    let mut capabilities = u64::from(r.u32()?);
    let _max_packet = r.u32()?;
    let _character_set = r.u8()?;
    let filler = r.take(19)?;
    let more = u64::from(r.u32()?);
    let mysql = capabilities & capability::CLIENT_MYSQL != 0;
    if capabilities & capability::PROTOCOL_41 == 0
        || filler.iter().any(|byte| *byte != 0)
        || (mysql && more != 0)
    {
        return None;
    }
    capabilities |= more << 32;
    if r.0.is_empty() {
        return (capabilities & capability::SSL != 0).then_some(Hello::Tls);
    }
    let has = |flag: u64| capabilities & flag != 0;
    r.text(); // the user
    let proof = if has(capability::PLUGIN_AUTH_LENENC) {
        r.counted().map(|_| ())
    } else if has(capability::SECURE_CONNECTION) {
        r.u8().and_then(|len| r.take(len.into())).map(|_| ())
    } else {
        r.text();
        Some(())
    };
    let database = match proof {
        Some(()) if has(capability::CONNECT_WITH_DB) => r.text(),
        _ => b"",
    };
    Some(Hello::Login {
        capabilities,
        database,
    })
}

/// An error in place of a greeting: the server has too many connections, or will have nothing to do with this host.
/// With no more than that to go by, it counts only if it reads like one.
pub(super) fn refusal(payload: &[u8]) -> Option<u16> {
    let mut r = Reader(payload);
    r.u8().filter(|kind| *kind == 0xff)?;
    let code = r.u16()?;
    let text = std::str::from_utf8(r.0).ok()?;
    let reads = text.len() >= 8 && !text.chars().any(char::is_control);
    ((1000..5000).contains(&code) && reads).then_some(code)
}
