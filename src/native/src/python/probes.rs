//! What Python says of a probe, in words, as the loader wants it.

use super::raise;
use crate::loader::{Failure, FailureKind, Place, Probe};
use crate::wire::tls_cookie;
use pyo3::prelude::*;

/// (place, offset, call, result_at, at_return)
pub(super) type ProbeArgument = (String, usize, String, Option<u32>, bool);

pub(super) fn probe((place, offset, call, result_at, at_return): ProbeArgument) -> PyResult<Probe> {
    let argument = |message: String| raise(Failure::new(FailureKind::Argument, message));
    let place = match place.as_str() {
        "enter" => Place::Enter,
        "exit" => Place::Exit,
        "free" => Place::Free,
        other => return Err(argument(format!("a probe's place is {other:?}"))),
    };
    let mut flags = 0;
    for word in call.split_whitespace() {
        flags |= match word {
            "receive" => 0,
            "send" => tls_cookie::TLS_SEND.0,
            "count4" => tls_cookie::TLS_COUNT4.0,
            "count5" => tls_cookie::TLS_COUNT5.0,
            "no-data" => tls_cookie::TLS_NO_DATA.0,
            "go" => tls_cookie::TLS_GO.0,
            other => return Err(argument(format!("a call is {other:?}"))),
        };
    }
    let mut call = u64::from(flags);
    if let Some(at) = result_at {
        call |= u64::from(tls_cookie::TLS_ON_STACK.0);
        call |= u64::from(at) << tls_cookie::TLS_STACK_SHIFT.0;
    }
    Ok(Probe {
        place,
        offset,
        call,
        at_return,
    })
}
