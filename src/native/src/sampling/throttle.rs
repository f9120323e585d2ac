//! A budget as a probability: as many a second as are allowed, whatever comes.
//!
//! What passes raises a level, time lowers it at the rate that is allowed. Up to a fourth of a second's worth all pass;
//! from there on each 32nd of a second's worth halves the probability. So the level comes to rest where as many pass as
//! are allowed, and there it stays. The probability depends on what has been, never on the span that is decided on:
//! what passes stands for all that came, each for 1/probability at its time, in bursts too.
//!
//! ```text
//! passes in t seconds <= rate · (t + 1/4 + log2(overload)/32), so at most one second's worth beyond rate · t
//! ```
//!
//! Of small rates, a fourth and a 32nd are one span. Time is the records' own: what comes of it does not depend on when
//! they are read.

use super::threshold::{at_step, Threshold, LAST_STEP, STEPS_TO_HALF};

/// A span, in the level's unit. A rate of one in a thousand seconds lowers the level by 1 each nanosecond.
const SPAN: u64 = 1_000_000_000_000;
/// The highest rate that is one.
const MAX_PER_SECOND: f64 = 1e7;

/// So many a second. See the module's head.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// The level's decrease each nanosecond.
    per_ns: u64,
    level: u64,
    last_ns: u64,
    /// Up to here all pass.
    free: u64,
    /// Each so much more is a step.
    step: u64,
    /// Beyond it nothing is charged; 0: nothing ever is.
    full: u64,
}

impl Throttle {
    /// `per_second` 0, or beyond ten million: no limit.
    pub fn new(per_second: f64) -> Self {
        let limits = per_second > 0.0 && per_second <= MAX_PER_SECOND;
        let per_second = if limits { per_second } else { 0.0 };
        let part = |parts: f64| ((per_second / parts * SPAN as f64) as u64).max(SPAN);
        let (free, step) = (part(4.0), part(32.0) / STEPS_TO_HALF);
        Self {
            per_ns: (per_second * (SPAN / 1_000_000_000) as f64).ceil() as u64,
            level: 0,
            last_ns: 0,
            free,
            step,
            full: if limits { free + LAST_STEP * step } else { 0 },
        }
    }

    /// What is in force at time `now_ns`. Time that goes back stands still.
    #[inline]
    pub fn threshold(&mut self, now_ns: u64) -> Threshold {
        if self.per_ns == 0 {
            return Threshold::ALL;
        }
        if now_ns > self.last_ns {
            let decrease = (now_ns - self.last_ns).saturating_mul(self.per_ns);
            self.level = self.level.saturating_sub(decrease);
            self.last_ns = now_ns;
        }
        if self.level <= self.free {
            return Threshold::ALL;
        }
        at_step((self.level - self.free) / self.step)
    }

    /// One passed.
    #[inline]
    pub fn charge(&mut self) {
        if self.level < self.full {
            self.level += SPAN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{randomness, Ids};

    /// (passed, what they stand for), of `rate` evenly spaced arrivals a second from `from_s` to `to_s`.
    fn run(
        throttle: &mut Throttle,
        ids: &mut Ids,
        rate: u64,
        (from_s, to_s): (u64, u64),
    ) -> (f64, f64) {
        let (mut passed, mut stands_for) = (0.0, 0.0);
        for i in 0..(to_s - from_s) * rate {
            let threshold = throttle.threshold(from_s * 1_000_000_000 + i * (1_000_000_000 / rate));
            if threshold.keeps(randomness(&ids.trace_id())) {
                throttle.charge();
                passed += 1.0;
                stands_for += 1.0 / threshold.probability();
            }
        }
        (passed, stands_for)
    }

    #[test]
    fn as_many_as_allowed_pass_and_stand_for_all() {
        let mut ids = Ids::from_seed(7);
        for (allowed, rate) in [(100, 1000), (1000, 2000), (1000, 100_000), (10, 100_000)] {
            let mut throttle = Throttle::new(f64::from(allowed));
            let (first, told) = run(&mut throttle, &mut ids, rate, (1000, 1001));
            let allowed = f64::from(allowed);
            let burst = 0.25 + (rate as f64 / allowed).log2() / 32.0;
            let most = allowed * (1.0 + burst) + 12.0 + 4.0 * allowed.sqrt();
            assert!(first > allowed * 0.9 && first < most, "{first} of {rate}");
            let (passed, told_later) = run(&mut throttle, &mut ids, rate, (1001, 1011));
            assert!((passed / (10.0 * allowed) - 1.0).abs() < 0.05, "{passed}");
            let all = rate as f64 * 11.0;
            // small samples say less: each halving's worth of spans is a throw of the dice
            let error = if allowed < 100.0 { 0.35 } else { 0.1 };
            assert!(
                ((told + told_later) / all - 1.0).abs() < error,
                "{told} {told_later} {all}"
            );
        }
    }

    /// Over many small runs the sum of what is told is the sum of what was: neither bursts nor pauses bias it.
    #[test]
    fn bursts_do_not_bias_it() {
        let (mut all, mut told, mut passed) = (0.0, 0.0, 0.0);
        for seed in 0..300 {
            let (mut ids, mut throttle) = (Ids::from_seed(seed), Throttle::new(50.0));
            for burst in 0..10 {
                let rate = [100, 5000, 1, 20_000, 40][burst as usize % 5];
                let (kept, stands_for) = run(&mut throttle, &mut ids, rate, (burst, burst + 1));
                (all, told, passed) = (all + rate as f64, told + stands_for, passed + kept);
            }
        }
        assert!((told / all - 1.0).abs() < 0.02, "{told} of {all}");
        assert!(passed < 300.0 * 10.0 * 50.0 * 1.1, "{passed}");
    }

    #[test]
    fn an_instant_has_a_bound() {
        let mut throttle = Throttle::new(1000.0);
        let mut ids = Ids::from_seed(1);
        let passed = (0..1_000_000)
            .filter(|_| {
                let keeps = throttle.threshold(5).keeps(randomness(&ids.trace_id()));
                keeps.then(|| throttle.charge()).is_some()
            })
            .count();
        assert!((250..760).contains(&passed), "{passed}");
        assert!(
            throttle.threshold(0) > Threshold::of(0.001),
            "time that goes back frees nothing"
        );
        assert_eq!(throttle.threshold(2_000_000_000), Threshold::ALL);
    }

    #[test]
    fn rates_of_all_sizes() {
        for unlimited in [0.0, -1.0, f64::NAN, 1e8, f64::INFINITY] {
            let mut throttle = Throttle::new(unlimited);
            for _ in 0..10_000 {
                assert_eq!(throttle.threshold(1), Threshold::ALL);
                throttle.charge();
            }
        }
        let mut ids = Ids::from_seed(3);
        let mut slow = Throttle::new(0.5);
        let (passed, _) = run(&mut slow, &mut ids, 1000, (0, 100));
        assert!((50.0..75.0).contains(&passed), "{passed}");
        let mut fast = Throttle::new(1e7);
        for _ in 0..100_000 {
            assert_eq!(fast.threshold(u64::MAX), Threshold::ALL);
            fast.charge();
        }
    }
}
