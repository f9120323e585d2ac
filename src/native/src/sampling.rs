//! Which exchanges become spans, and under which ids: W3C Trace Context (level 1, with level 2's random flag)
//! and the samplers of OTEL_TRACES_SAMPLER.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    On,
    Off,
    /// Sampled if the trace id's low 64 bits are below this bound out of 2^64 (2^64 itself: all).
    Ratio(u128),
}

impl Root {
    fn samples(self, trace_id: &[u8; 16]) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Ratio(bound) => {
                let (_, low) = trace_id.split_at(8);
                u128::from(low.iter().fold(0u64, |n, b| n << 8 | u64::from(*b))) < bound
            }
        }
    }
}

/// A head sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    parent_based: bool,
    root: Root,
}

impl Sampler {
    /// By OTEL_TRACES_SAMPLER's name and argument (a ratio, 0 to 1; ignored by the samplers without one).
    /// The ratio compares as the SDKs' TraceIdRatioBased do, so that the same ratio keeps the same traces.
    pub fn new(name: &str, ratio: f64) -> Result<Self, String> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => Root::On,
            "always_off" => Root::Off,
            "traceidratio" if (0.0..=1.0).contains(&ratio) => {
                Root::Ratio((ratio * 2f64.powi(64)).round() as u128)
            }
            "traceidratio" => return Err(format!("sampler_arg {ratio} is not a ratio from 0 to 1")),
            _ => {
                return Err(format!(
                    "unknown sampler {name:?}: one of always_on, always_off, traceidratio, parentbased_always_on, \
                     parentbased_always_off, parentbased_traceidratio"
                ))
            }
        };
        Ok(Self { parent_based, root })
    }

    /// Whether a span with this trace id and parent is to be recorded.
    pub fn samples(&self, trace_id: &[u8; 16], parent: Option<&Parent>) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.sampled(),
            _ => self.root.samples(trace_id),
        }
    }
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

/// Spans per second, with one second's worth to spend at once. Time is the records' own, so the result does
/// not depend on when they are read.
pub struct Budget {
    per_second: u64,
    /// What can be spent, in billionths of a span.
    tokens: u64,
    last_ns: u64,
}

const TOKEN: u64 = 1_000_000_000;

impl Budget {
    /// `per_second` 0: no limit.
    pub fn new(per_second: u64) -> Self {
        let per_second = per_second.min(TOKEN);
        Self {
            per_second,
            tokens: per_second * TOKEN,
            last_ns: 0,
        }
    }

    /// Another rate from now on; what was earned by the old one is kept as far as it may be.
    pub fn set(&mut self, per_second: u64) {
        let per_second = per_second.min(TOKEN);
        if self.per_second == 0 {
            *self = Self {
                last_ns: self.last_ns,
                ..Self::new(per_second)
            };
        } else {
            self.per_second = per_second;
            self.tokens = self.tokens.min(per_second * TOKEN);
        }
    }

    /// Takes one span's worth at time `now_ns`, or says no. Time that goes back stands still.
    pub fn spend(&mut self, now_ns: u64) -> bool {
        if self.per_second == 0 {
            return true;
        }
        if now_ns > self.last_ns {
            let earned = (now_ns - self.last_ns).saturating_mul(self.per_second);
            self.tokens = self
                .tokens
                .saturating_add(earned)
                .min(self.per_second * TOKEN);
            self.last_ns = now_ns;
        }
        if self.tokens < TOKEN {
            return false;
        }
        self.tokens -= TOKEN;
        true
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
    fn samplers_by_name() {
        let yes = parse_traceparent(GOOD.as_bytes()).unwrap();
        let no = Parent { flags: 0, ..yes };
        for (name, root, with_yes, with_no) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("parentbased_always_on", true, true, false),
            ("parentbased_always_off", false, true, false),
        ] {
            let sampler = Sampler::new(name, 0.5).unwrap();
            assert_eq!(sampler.samples(&yes.trace_id, None), root, "{name}");
            assert_eq!(
                sampler.samples(&yes.trace_id, Some(&yes)),
                with_yes,
                "{name}"
            );
            assert_eq!(sampler.samples(&yes.trace_id, Some(&no)), with_no, "{name}");
        }
        for (name, arg) in [
            ("", 1.0),
            ("jaeger_remote", 1.0),
            ("parentbased_", 1.0),
            ("traceidratio", 1.1),
            ("traceidratio", f64::NAN),
        ] {
            assert!(Sampler::new(name, arg).is_err(), "{name}");
        }
    }

    #[test]
    fn the_ratio_compares_the_low_64_bits_as_the_sdks_do() {
        let id = |low: u64| {
            let mut id = [0xff; 16];
            id[8..].copy_from_slice(&low.to_be_bytes());
            id
        };
        let half = Sampler::new("traceidratio", 0.5).unwrap();
        assert!(half.samples(&id((1 << 63) - 1), None));
        assert!(!half.samples(&id(1 << 63), None));
        assert!(Sampler::new("traceidratio", 1.0)
            .unwrap()
            .samples(&id(u64::MAX), None));
        assert!(!Sampler::new("traceidratio", 0.0)
            .unwrap()
            .samples(&id(0), None));
        let mut ids = Ids::from_seed(7);
        let tenth = Sampler::new("parentbased_traceidratio", 0.1).unwrap();
        let kept = (0..100_000)
            .filter(|_| tenth.samples(&ids.trace_id(), None))
            .count();
        assert!((9_500..10_500).contains(&kept), "{kept}");
    }

    #[test]
    fn ids_differ_between_agents() {
        let (mut a, mut b) = (Ids::from_os().unwrap(), Ids::from_os().unwrap());
        assert_ne!(a.trace_id(), b.trace_id());
        assert_ne!(a.trace_id(), a.trace_id());
    }

    #[test]
    fn the_budget_is_the_rate() {
        let mut budget = Budget::new(100);
        let spent = |budget: &mut Budget, from_s: u64, to_s: u64| {
            (from_s * 1000..to_s * 1000)
                .filter(|ms| budget.spend(ms * 1_000_000))
                .count()
        };
        assert_eq!(spent(&mut budget, 1000, 1010), 100 + 999);
        assert_eq!(spent(&mut budget, 2000, 2001), 199);
        assert!(!budget.spend(0), "time that goes back earns nothing");
        budget.set(50);
        assert_eq!(spent(&mut budget, 3000, 3002), 50 + 99);
        budget.set(0);
        assert!((0..10_000).all(|_| budget.spend(1)));
        budget.set(10);
        assert_eq!(spent(&mut budget, 4000, 4001), 19);
        let mut unlimited = Budget::new(0);
        assert!((0..10_000).all(|_| unlimited.spend(1)));
        let mut huge = Budget::new(u64::MAX);
        assert!(huge.spend(u64::MAX) && huge.spend(0));
    }
}
