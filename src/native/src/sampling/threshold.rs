//! Rejection thresholds: with which probability something was sampled, said so that whoever reads it can count.
//!
//! Source: OpenTelemetry specification, "TraceState: Probability Sampling" and "TraceState Handling".
//!
//! ```text
//! threshold  = (1 - probability) · 2^56; sampled is who has randomness >= threshold
//! randomness = the trace id's low 56 bits, or what the trace's `rv` says
//! th:        = the threshold's 14 hex digits without the zeros at its end: th:0 is all, th:8 half, th:fd70a 1 in 100
//! stands for = 2^56 / (2^56 - threshold) of its kind
//! ```
//!
//! All decisions on a trace compare the same randomness, so who has the lower threshold has sampled it too.

use std::sync::LazyLock;

/// One more than the largest randomness.
const END: u64 = 1 << 56;
/// Hex digits of a threshold.
const DIGITS: usize = 14;
/// Digits that tell small probabilities apart, behind the f's that these begin with.
const PRECISION: u32 = 4;

/// A rejection threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u64);

impl Threshold {
    /// Everything is sampled.
    pub const ALL: Self = Self(0);
    /// Nothing is.
    pub const NOTHING: Self = Self(END);
    /// Sampled with a probability that nobody told: it can't be said for how many it stands.
    pub const UNKNOWN: Self = Self(u64::MAX);

    /// Of a probability, 0 to 1, to about four digits.
    pub fn of(probability: f64) -> Self {
        if probability.is_nan() || probability <= 0.0 {
            return Self::NOTHING;
        }
        if probability >= 1.0 {
            return Self::ALL;
        }
        // from the small side: 1 - p would lose what tells small p apart
        let passing = ((probability * END as f64).round() as u64).clamp(1, END);
        let exact = END - passing;
        let leading = (exact << 8 | 0xff).leading_ones() / 4;
        let unit = 1u64 << (4 * (DIGITS as u32).saturating_sub(leading + PRECISION));
        let rounded = (exact + unit / 2) / unit * unit;
        Self(if rounded >= END { exact } else { rounded })
    }

    /// `th`'s value: one to 14 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(
            hex(text)? << (4 * DIGITS.checked_sub(text.len())? as u32),
        ))
    }

    /// Whether this randomness, below 2^56, is sampled.
    #[inline]
    pub fn keeps(self, randomness: u64) -> bool {
        randomness >= self.0
    }

    /// It can be said for how many a span stands.
    #[inline]
    pub fn is_known(self) -> bool {
        self.0 < END
    }

    /// 0 to 1; of an unknown one 0.
    pub fn probability(self) -> f64 {
        END.saturating_sub(self.0) as f64 / END as f64
    }

    /// `th`'s value; "" if it is not known.
    pub fn append_to(self, out: &mut Vec<u8>) {
        if !self.is_known() {
            return;
        }
        let mut rest = self.0;
        loop {
            let digit = (rest >> (4 * (DIGITS - 1))) as u8 & 0xf;
            out.push(b"0123456789abcdef"[usize::from(digit)]);
            rest = rest << 4 & (END - 1);
            if rest == 0 {
                return;
            }
        }
    }
}

/// Lower-case hex, 14 digits at most.
pub fn hex(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS {
        return None;
    }
    text.bytes().try_fold(0, |sum: u64, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u64::from(digit))
    })
}

/// What a trace id has of randomness.
#[inline]
pub fn randomness(trace_id: &[u8; 16]) -> u64 {
    let [.., a, b, c, d, e, f, g] = *trace_id;
    u64::from_be_bytes([0, a, b, c, d, e, f, g])
}

/// Steps of what adapts: each has 2^(-1/8), 0.917, of the probability of the one before.
pub const STEPS_TO_HALF: u64 = 8;
/// One in sixteen million: beyond that nothing adapts.
pub const LAST_STEP: u64 = 24 * STEPS_TO_HALF;

static STEPS: LazyLock<Vec<Threshold>> = LazyLock::new(|| {
    let probability = |step| (-(step as f64) / STEPS_TO_HALF as f64).exp2();
    (0..=LAST_STEP)
        .map(|step| Threshold::of(probability(step)))
        .collect()
});

/// The threshold of a step, from 0, which is `ALL`.
pub fn at_step(step: u64) -> Threshold {
    STEPS[step.min(LAST_STEP) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(threshold: Threshold) -> String {
        let mut out = Vec::new();
        threshold.append_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_the_specification_writes_them() {
        for (probability, th) in [
            (1.0, "0"),
            (0.5, "8"),
            (0.25, "c"),
            (0.75, "4"),
            (0.1, "e666"),
            (0.01, "fd70a"),
            (0.001, "ffbe77"),
            (1.0 / 3.0, "aaab"),
            (f64::powi(0.5, 56), "ffffffffffffff"),
            (1e-30, "ffffffffffffff"),
            (0.9999999999, "0"),
        ] {
            let threshold = Threshold::of(probability);
            assert_eq!(text(threshold), th, "{probability}");
            assert_eq!(Threshold::parse(th), Some(threshold));
            let back = threshold.probability();
            assert!(probability < 1e-20 || (back / probability - 1.0).abs() < 1e-4);
        }
        for nothing in [0.0, -1.0, f64::NAN] {
            assert_eq!(Threshold::of(nothing), Threshold::NOTHING);
        }
        assert_eq!(Threshold::of(7.0), Threshold::ALL);
        for bad in ["", "8F", "g", "123456789012345", "-1", "+8"] {
            assert_eq!(Threshold::parse(bad), None, "{bad}");
        }
        assert_eq!(text(Threshold::UNKNOWN), "");
    }

    #[test]
    fn who_is_sampled() {
        let mut id = [0xff; 16];
        id[9..].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0]);
        assert_eq!(randomness(&id), 1 << 55);
        assert!(Threshold::of(0.5).keeps(1 << 55) && !Threshold::of(0.5).keeps((1 << 55) - 1));
        assert!(Threshold::ALL.keeps(0));
        for nobody in [Threshold::NOTHING, Threshold::UNKNOWN] {
            assert!(!nobody.keeps(END - 1) && !nobody.is_known() && nobody.probability() == 0.0);
        }
    }

    #[test]
    fn steps_go_down_by_an_eighth_of_a_halving() {
        assert_eq!(at_step(0), Threshold::ALL);
        assert_eq!(at_step(STEPS_TO_HALF), Threshold::of(0.5));
        assert_eq!(at_step(10_000), Threshold::of(f64::powi(0.5, 24)));
        for step in 0..LAST_STEP {
            assert!(at_step(step) < at_step(step + 1));
        }
    }
}
