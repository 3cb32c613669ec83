//! The generic cell rate algorithm (ITU-T I.371, as a virtual scheduling algorithm): one number of state a key,
//! exact, no window, no timer.

use std::time::Duration;

use crate::config::model::Limit;

/// A limit in the algorithm's terms: nanoseconds, so that every configured rate is represented without drift that
/// matters (below 1 ns an event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// The increment T: the time one event costs, in ns.
    interval: u64,
    /// The tolerance τ: how far ahead of time the schedule may run, in ns.
    tolerance: u64,
}

/// The state of one key: the theoretical arrival time, in ns on the caller's monotonic clock. Starts at zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tat(pub u64);

impl Gcra {
    /// `burst` events may come at once; after that one each `period / count`.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        let interval = nanos(limit.rate.period) / u64::from(limit.rate.count.max(1));
        let interval = interval.max(1);
        Self { interval, tolerance: interval.saturating_mul(u64::from(limit.burst.max(1))) }
    }

    /// Nanoseconds between two events at the full rate.
    #[must_use]
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// How many events may come at once.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.tolerance / self.interval
    }

    /// How far ahead of time the schedule may run, in ns.
    #[must_use]
    pub fn tolerance(&self) -> u64 {
        self.tolerance
    }

    /// The share of one of `parts`: a part of the rate and of the burst, at least one event at once.
    #[must_use]
    pub fn share(&self, parts: u64) -> Self {
        let interval = self.interval.saturating_mul(parts.max(1));
        Self { interval, tolerance: self.tolerance.max(interval) }
    }

    /// This limit, or where it allows more than another that one's rate, burst, or both.
    #[must_use]
    pub fn at_most(&self, most: &Self) -> Self {
        let interval = self.interval.max(most.interval);
        Self { interval, tolerance: interval.saturating_mul(self.burst().min(most.burst())) }
    }

    /// Takes `cost` events at `now` (ns), or says in how long exactly that will be possible. A refusal changes nothing.
    /// A cost beyond the burst is taken when the bucket is full, and paid for afterwards.
    ///
    /// # Errors
    /// The exact time after which the same call would succeed.
    pub fn take(&self, tat: &mut Tat, now: u64, cost: u64) -> Result<(), Duration> {
        let price = self.interval.saturating_mul(cost);
        let base = tat.0.max(now);
        let needed = base.saturating_add(price.min(self.tolerance));
        let limit = now.saturating_add(self.tolerance);
        if needed > limit {
            return Err(Duration::from_nanos(needed - limit));
        }
        tat.0 = base.saturating_add(price);
        Ok(())
    }

    /// Takes `cost` events whether or not they are allowed: what was found out about a message only after it was let in
    /// is paid for by the next ones. The debt of one call is `cost` intervals.
    pub fn charge(&self, tat: &mut Tat, now: u64, cost: u64) {
        tat.0 = tat.0.max(now).saturating_add(self.interval.saturating_mul(cost));
    }

    /// The same, but what is beyond the burst is forgotten: no debt.
    pub fn note(&self, tat: &mut Tat, now: u64, cost: u64) {
        let charged = tat.0.max(now).saturating_add(self.interval.saturating_mul(cost));
        tat.0 = charged.min(now.saturating_add(self.tolerance));
    }

    /// Gives back what a [`Self::take`] of `cost` took, for an event that did not happen after all. What others took
    /// meanwhile stays taken.
    pub fn give_back(&self, tat: &mut Tat, cost: u64) {
        tat.0 = tat.0.saturating_sub(self.interval.saturating_mul(cost));
    }

    /// How long after `now` a [`Self::take`] of `cost` succeeds; zero when it would at once.
    #[must_use]
    pub fn wait(&self, tat: Tat, now: u64, cost: u64) -> Duration {
        self.take(&mut { tat }, now, cost).err().unwrap_or_default()
    }

    /// Whether the key's state equals that of a key never seen, so that a table may forget it.
    #[must_use]
    pub fn idle(&self, tat: Tat, now: u64) -> bool {
        tat.0 <= now
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Rate;

    fn limit(count: u32, period_ms: u64, burst: u32) -> Gcra {
        Gcra::new(Limit { rate: Rate { count, period: Duration::from_millis(period_ms) }, burst })
    }

    #[test]
    fn a_burst_passes_and_the_next_waits_exactly_one_interval() {
        let g = limit(10, 1_000, 3);
        let mut tat = Tat::default();
        let now = 5_000_000_000;
        for _ in 0..3 {
            assert!(g.take(&mut tat, now, 1).is_ok());
        }
        let wait = g.take(&mut tat, now, 1).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(g.take(&mut tat, now + 99_999_999, 1).is_err(), "a nanosecond early is early");
        assert!(g.take(&mut tat, now + 100_000_000, 1).is_ok(), "retryAfter is exact");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let g = limit(10, 1_000, 3);
        let (mut tat, now) = (Tat::default(), 5_000_000_000);
        for _ in 0..3 {
            assert!(g.take(&mut tat, now, 1).is_ok());
        }
        g.give_back(&mut tat, 1);
        assert!(g.take(&mut tat, now, 1).is_ok());
        assert!(g.take(&mut tat, now, 1).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_rate_times_time_plus_burst(gaps in proptest::collection::vec(0u64..50_000_000, 1..400), burst in 1u32..50) {
            let g = limit(100, 1_000, burst);
            let (mut tat, mut now, mut passed) = (Tat::default(), 1u64, 0u64);
            let start = now;
            for gap in gaps {
                now += gap;
                passed += u64::from(g.take(&mut tat, now, 1).is_ok());
            }
            let allowed = (now - start) / 10_000_000 + u64::from(burst);
            proptest::prop_assert!(passed <= allowed, "{passed} > {allowed}");
        }
    }
}
