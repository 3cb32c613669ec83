//! Latencies in logarithmic buckets of at most 1/128 relative width, as HdrHistogram has them: constant memory
//! (58 KiB), O(1) to record, no value is ever dropped.

const SUB_BITS: u32 = 7;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) * SUB as usize;

/// Counts of nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

fn bucket(value: u64) -> usize {
    let shift = (64 - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    usize::try_from(u64::from(shift) * SUB + (value >> shift)).unwrap_or(BUCKETS - 1)
}

/// The highest value of a bucket.
fn top(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / SUB).saturating_sub(1);
    let base = index - shift * SUB;
    ((base + 1) << shift).wrapping_sub(1)
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Adds what `other` counted.
    pub fn absorb(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, its)| *mine += its);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, exact.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The smallest bucket top at or under which `quantile` (0..=1) of the values lie; 0 when nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return top(index).min(self.max);
            }
        }
        self.max
    }

    /// p50, p90, p99, p99.9 and the maximum in microseconds, and how many, as a JSON object.
    #[must_use]
    pub fn summary(&self) -> serde_json::Value {
        let us = |q: f64| (self.quantile(q) as f64 / 100.0).round() / 10.0;
        serde_json::json!({
            "count": self.total, "p50_us": us(0.50), "p90_us": us(0.90), "p99_us": us(0.99),
            "p999_us": us(0.999), "max_us": (self.max as f64 / 100.0).round() / 10.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_whose_top_is_less_than_one_percent_away() {
        for value in (0..64).flat_map(|bit| [1u64 << bit, (1u64 << bit) + (1u64 << bit) / 3, (1u64 << bit) - 1]) {
            let top = top(bucket(value));
            assert!(top >= value && top - value <= value / 128, "{value} {top}");
        }
        assert_eq!(top(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_of_one_to_a_thousand_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        for (quantile, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = histogram.quantile(quantile) as f64;
            assert!((found / exact - 1.0).abs() < 0.01, "{quantile} {found}");
        }
        assert_eq!((histogram.count(), histogram.max()), (1000, 1_000_000));
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }
}
