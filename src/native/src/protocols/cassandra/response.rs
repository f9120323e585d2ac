//! What is answered.

use super::body::Body;
use super::message::{flag, opcode};

/// Flags of rows' metadata (4.2.5.2).
mod has {
    pub const GLOBAL_TABLE: i32 = 0x01;
    pub const MORE_PAGES: i32 = 0x02;
    pub const NO_METADATA: i32 = 0x04;
    pub const NEW_METADATA_ID: i32 = 0x08;
}

/// What matters of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response<'a> {
    /// Nothing.
    Other,
    /// An error's code.
    Error(i32),
    Rows(u64),
    /// From now on names mean those in this keyspace.
    Keyspace(&'a [u8]),
    Prepared {
        id: &'a [u8],
        has_markers: bool,
    },
}

/// Reads what the body's beginning says. `None`: that is over.
pub(super) fn read(opcode: u8, flags: u8, version: u8, bytes: &[u8]) -> Option<Response<'_>> {
    let mut body = Body(bytes);
    if !matches!(opcode, opcode::RESULT | opcode::ERROR) {
        return Some(Response::Other);
    }
    if flags & flag::TRACING != 0 {
        body.bytes(16)?;
    }
    if flags & flag::WARNING != 0 {
        body.skip_strings()?;
    }
    if flags & flag::CUSTOM_PAYLOAD != 0 {
        body.map(|_, _| {})?;
    }
    if opcode == opcode::ERROR {
        return body.int().map(Response::Error);
    }
    Some(match body.int()? {
        0x02 => Response::Rows(rows(&mut body)?),
        0x03 => Response::Keyspace(body.string()?),
        0x04 => {
            let id = body.string()?;
            if version >= 5 {
                body.string()?;
            }
            body.int()?;
            Response::Prepared {
                id,
                has_markers: body.int()? > 0,
            }
        }
        _ => Response::Other,
    })
}

/// Their number, which stands behind what is said of the columns.
fn rows(body: &mut Body<'_>) -> Option<u64> {
    let flags = body.int()?;
    let columns = body.int()?;
    if flags & has::MORE_PAGES != 0 {
        body.value()?;
    }
    if flags & has::NEW_METADATA_ID != 0 {
        body.string()?;
    }
    if flags & has::NO_METADATA == 0 {
        if flags & has::GLOBAL_TABLE != 0 {
            body.string()?;
            body.string()?;
        }
        for _ in 0..columns {
            if flags & has::GLOBAL_TABLE == 0 {
                body.string()?;
                body.string()?;
            }
            body.string()?;
            body.skip_type()?;
        }
    }
    u64::try_from(body.int()?).ok()
}
