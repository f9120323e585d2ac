//! Which exchanges become spans, and under which ids: W3C Trace Context (level 1, with level 2's random flag), the
//! samplers of OTEL_TRACES_SAMPLER, and OpenTelemetry's consistent probability sampling, by which each span says for how
//! many it stands. docs/sampling.md has what users see; `aggregate/decide.rs` puts the parts together.

mod glob;
pub mod ot;
mod sampler;
mod services;
mod threshold;
mod throttle;

pub use sampler::{Root, Rule, Sampler};
pub use services::{Services, Strategy, NAMELESS};
pub use threshold::{at_step, randomness, Threshold};
pub use throttle::Throttle;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

/// Longest tracestate that is kept (W3C asks for at least 512); members that do not fit go from the end.
pub const MAX_TRACESTATE_BYTES: usize = 512;

/// Trace flag: the caller records this trace.
pub const FLAG_SAMPLED: u8 = 0x01;
/// Trace flag of level 2: the trace id's low 56 bits are random.
pub const FLAG_RANDOM: u8 = 0x02;

/// A valid traceparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Trace id, not zero.
    pub trace_id: [u8; 16],
    /// The caller's span, not zero.
    pub span_id: [u8; 8],
    /// trace-flags as sent.
    pub flags: u8,
}

impl Parent {
    /// The caller records this trace.
    pub fn sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }
}

/// `version "-" trace-id "-" parent-id "-" trace-flags`; lower-case hex only. Version ff is invalid, version 00
/// has nothing behind the flags, later ones may have "-" and more.
pub fn parse_traceparent(text: &[u8]) -> Option<Parent> {
    if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
        return None;
    }
    let [version] = decode::<1>(&text[..2])?;
    if version == 0xff || (text.len() > 55 && (version == 0 || text[55] != b'-')) {
        return None;
    }
    let trace_id = decode::<16>(&text[3..35])?;
    let span_id = decode::<8>(&text[36..52])?;
    let [flags] = decode::<1>(&text[53..55])?;
    if trace_id == [0; 16] || span_id == [0; 8] {
        return None;
    }
    Some(Parent {
        trace_id,
        span_id,
        flags,
    })
}

/// The tracestate to keep: as sent, without members that do not fit. Empty where it is no printable ASCII.
pub fn tracestate(text: &[u8]) -> &str {
    let kept = if text.len() <= MAX_TRACESTATE_BYTES {
        text
    } else {
        let cut = memchr::memrchr(b',', &text[..=MAX_TRACESTATE_BYTES]).unwrap_or(0);
        &text[..cut]
    };
    match std::str::from_utf8(kept) {
        Ok(text) if kept.iter().all(|b| (0x20..0x7f).contains(b) || *b == b'\t') => text,
        _ => "",
    }
}

const BAD: u8 = 0xff;

/// Value of a lower-case hex digit, or BAD.
const HEX: [u8; 256] = {
    let mut table = [BAD; 256];
    let mut i = 0;
    while i < 16 {
        table[b"0123456789abcdef"[i] as usize] = i as u8;
        i += 1;
    }
    table
};

fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let mut seen = 0;
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (HEX[pair[0] as usize], HEX[pair[1] as usize]);
        seen |= high | low;
        *byte = high << 4 | (low & 0x0f);
    }
    (seen & 0xf0 == 0).then_some(out)
}

/// Trace and span ids, from a fast generator seeded by the operating system with 256 bits.
pub struct Ids(SmallRng);

impl Ids {
    /// Err: the operating system gave no randomness.
    pub fn from_os() -> Result<Self, String> {
        SmallRng::try_from_os_rng()
            .map(Self)
            .map_err(|e| format!("no random seed: {e}"))
    }

    /// Reproducible, for tests.
    pub fn from_seed(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Never zero.
    pub fn trace_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.0.next_u64().to_le_bytes());
        id[8..].copy_from_slice(&self.span_id());
        id
    }

    /// Never zero.
    pub fn span_id(&mut self) -> [u8; 8] {
        loop {
            let id = self.0.next_u64();
            if id != 0 {
                return id.to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn traceparent_as_the_w3c_wants_it() {
        let parent = parse_traceparent(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
        assert_eq!(parent.trace_id[15], 0x9c);
        assert_eq!(
            parent.span_id,
            [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
        );
        assert!(parent.sampled());
        let replaced = |from: &str, to: &str| GOOD.replacen(from, to, 1);
        for good in [
            replaced("-01", "-00"),
            replaced("-01", "-ff"),
            replaced("00-", "01-"),
            replaced("00-", "cc-") + "-what-the-future-will-be-like",
            replaced("00-", "cc-") + "-",
        ] {
            assert!(parse_traceparent(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            String::new(),
            replaced("00-", "ff-"),
            replaced("0af7", "0AF7"),
            replaced("0af7", "0ag7"),
            replaced("00-", "0x-"),
            replaced(
                "0af7651916cd43dd8448eb211c80319c",
                "00000000000000000000000000000000",
            ),
            replaced("b7ad6b7169203331", "0000000000000000"),
            replaced("c-b", "c_b"),
            replaced("-01", "-0"),
            replaced("-01", "_01"),
            replaced("-01", "-0G"),
            GOOD.to_owned() + "-",
            GOOD.to_owned() + "0",
            replaced("00-", "cc-") + ".what",
            replaced("00-", "cc-") + "0",
        ] {
            assert!(parse_traceparent(bad.as_bytes()).is_none(), "{bad}");
        }
        for len in 0..GOOD.len() {
            assert!(parse_traceparent(&GOOD.as_bytes()[..len]).is_none());
        }
    }

    #[test]
    fn tracestate_is_kept_whole_or_by_members() {
        assert_eq!(tracestate(b"a=1, b=2"), "a=1, b=2");
        assert_eq!(tracestate(b"a=\xff"), "");
        assert_eq!(tracestate(b"a=\n"), "");
        let member = "k=".to_owned() + &"v".repeat(98);
        let long = vec![member.clone(); 6].join(",");
        assert_eq!(tracestate(long.as_bytes()), vec![member; 5].join(","));
        assert_eq!(tracestate("x".repeat(513).as_bytes()), "");
    }

    #[test]
    fn ids_differ_between_agents() {
        let (mut a, mut b) = (Ids::from_os().unwrap(), Ids::from_os().unwrap());
        assert_ne!(a.trace_id(), b.trace_id());
        assert_ne!(a.trace_id(), a.trace_id());
    }
}
