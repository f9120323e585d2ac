//! Base-2 exponential histograms: OpenTelemetry's metrics SDK, "Base2 Exponential Bucket Histogram Aggregation".
//!
//! At scale s, bucket i has the values of (base^i, base^(i + 1)], where base = 2^(2^-s). A histogram begins at the
//! finest scale. When a value lies so far from the others that there would be too many buckets between them, each two
//! neighbours become one, and the scale is one less.
//!
//! What is recorded is a count of nanoseconds or bytes, so all values are within 64 powers of two of each other: with 160
//! buckets the scale stays above 0, and so all of them are mapped by their logarithm.

use std::collections::VecDeque;

/// The SDK's defaults.
const MAX_SCALE: u32 = 20;
const MAX_BUCKETS: usize = 160;

/// `_native.Exponential`: the buckets of an exponential histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExponentialBuckets {
    /// The base is 2^(2^-scale).
    pub scale: u32,
    /// Values that are 0.
    pub zero_count: u64,
    /// Index of the first bucket.
    pub offset: i32,
    /// Values by bucket.
    pub counts: Vec<u64>,
}

/// Cumulative.
#[derive(Clone, Debug)]
pub struct Exponential {
    scale: u32,
    zero_count: u64,
    /// Index of the first of `counts`.
    first: i32,
    /// Neither the first nor the last is 0.
    counts: VecDeque<u64>,
}

impl Exponential {
    pub const fn new() -> Self {
        Self {
            scale: MAX_SCALE,
            zero_count: 0,
            first: 0,
            counts: VecDeque::new(),
        }
    }

    /// Counts `value`, a number of nanoseconds in seconds or one of bytes, `times` times.
    pub fn record(&mut self, value: f64, times: u64) {
        if times == 0 {
            return;
        }
        if value <= 0.0 {
            self.zero_count += times;
            return;
        }
        let mut at = index(value, self.scale);
        if self.counts.is_empty() {
            self.first = at;
        }
        let last = self.first + self.counts.len() as i32 - 1;
        let (low, high) = (self.first.min(at), last.max(at));
        let coarser = coarser_by(low, high);
        if coarser > 0 {
            self.downscale(coarser);
            at = index(value, self.scale);
        }
        while at < self.first {
            self.counts.push_front(0);
            self.first -= 1;
        }
        let place = (at - self.first) as usize;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += times;
    }

    fn downscale(&mut self, by: u32) {
        let first = self.first >> by;
        let mut merged = VecDeque::new();
        for (index, count) in (self.first..).zip(&self.counts) {
            let place = ((index >> by) - first) as usize;
            if place >= merged.len() {
                merged.resize(place + 1, 0);
            }
            merged[place] += count;
        }
        (self.first, self.counts) = (first, merged);
        self.scale -= by;
    }

    pub fn read(&self) -> ExponentialBuckets {
        ExponentialBuckets {
            scale: self.scale,
            zero_count: self.zero_count,
            offset: self.first,
            counts: self.counts.iter().copied().collect(),
        }
    }
}

/// By how much the scale has to fall for the buckets from `low` to `high` to be few enough.
fn coarser_by(low: i32, high: i32) -> u32 {
    let mut by = 0;
    while ((high >> by) - (low >> by)) as usize >= MAX_BUCKETS {
        by += 1;
    }
    by
}

/// Index of the value's bucket; `value` is a normal number above 0.
fn index(value: f64, scale: u32) -> i32 {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.to_bits();
    if bits & ((1 << FRACTION_BITS) - 1) == 0 {
        // A power of two is a bucket's upper bound, whatever the logarithm's last bit says.
        let exponent = (bits >> FRACTION_BITS) as i32 - (f64::MAX_EXP - 1);
        return (exponent << scale) - 1;
    }
    let factor = f64::from(1 << scale) * std::f64::consts::LOG2_E;
    (value.ln() * factor).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> ExponentialBuckets {
        let mut histogram = Exponential::new();
        for value in values {
            histogram.record(*value, 1);
        }
        histogram.read()
    }

    #[test]
    fn upper_bounds_are_inclusive() {
        for scale in 1..=MAX_SCALE {
            for exponent in -29..64 {
                let power = f64::from(exponent).exp2();
                let next = f64::from_bits(power.to_bits() + 1);
                assert_eq!(index(power, scale) + 1, index(next * (1.0 + 1e-9), scale));
                assert_eq!(index(power, scale), (exponent << scale) - 1);
            }
        }
    }

    #[test]
    fn one_value_is_kept_at_the_finest_scale() {
        let read = of(&[4.0, 4.0, 0.0]);
        assert_eq!((read.scale, read.zero_count), (20, 1));
        assert_eq!((read.offset, &*read.counts), ((2 << 20) - 1, &[2][..]));
    }

    #[test]
    fn the_scale_falls_as_far_as_it_must() {
        let read = of(&[1.0, 2.0, 4.0]);
        // (1, 4] in 160 buckets: 2^6 a power of two; 1.0 is the last of the power below
        assert_eq!((read.scale, read.offset), (6, -1));
        assert_eq!(read.counts.len(), 129);
        assert_eq!(
            (read.counts[0], read.counts[64], read.counts[128]),
            (1, 1, 1)
        );
    }

    #[test]
    fn the_widest_range_there_is_stays_within_the_buckets() {
        for extremes in [[1e-9, u64::MAX as f64 / 1e9], [1.0, u64::MAX as f64]] {
            let mut both = Exponential::new();
            for value in extremes {
                both.record(value, 3);
            }
            let read = both.read();
            assert_eq!(read.scale, 1);
            assert!(read.counts.len() <= MAX_BUCKETS);
            assert_eq!(read.counts.iter().sum::<u64>(), 6);
        }
    }

    #[test]
    fn no_order_of_values_loses_any() {
        let values: Vec<f64> = (1..2000u32)
            .map(|i| f64::from(i * 7919 % 2003) / 1e3)
            .collect();
        let read = of(&values);
        assert_eq!(read.counts.iter().sum::<u64>(), values.len() as u64);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(of(&sorted).scale, read.scale);
        assert_eq!(of(&sorted).counts.iter().sum::<u64>(), 1999);
        assert_eq!(of(&sorted).offset, read.offset);
    }

    #[test]
    fn nothing_is_recorded_no_times() {
        let mut histogram = Exponential::new();
        histogram.record(1.0, 0);
        assert!(histogram.read().counts.is_empty());
    }
}
