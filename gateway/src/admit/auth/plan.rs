//! When an issuer's keys are fetched; no I/O, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use portcullis_common::clock::Mono;

/// Between two scheduled fetches, unless the server says otherwise.
pub const REFRESH: Duration = Duration::from_secs(10 * 60);
/// What the server's `max-age` is held to.
pub const REFRESH_MIN: Duration = Duration::from_secs(60);
/// See [`REFRESH_MIN`].
pub const REFRESH_MAX: Duration = Duration::from_secs(60 * 60);
/// Tokens with unknown key ids cause at most one fetch in this time.
pub const DEMAND_EVERY: Duration = Duration::from_secs(30);
/// How long a key id that a fetch did not bring causes no other.
pub const MISSING_FOR: Duration = Duration::from_secs(120);
/// How many such key ids are remembered; the oldest goes first, and then costs one demand again.
pub const MISSING_MAX: usize = 64;
/// Retries after failures: one second, doubling, at most this.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// What a token with an unknown key id should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Wait: a fetch is wanted now, and the fetcher has to be woken for it.
    Wake,
    /// Wait: a fetch is under way already.
    Join,
    /// Give up: there was one just now, or this id is known to be missing.
    Refuse,
}

/// The schedule of one issuer.
#[derive(Debug, Default)]
pub(super) struct Plan {
    due: Mono,
    wanted: bool,
    running: bool,
    demanded: Option<Mono>,
    failures: u32,
    missing: VecDeque<(Box<str>, Mono)>,
}

impl Plan {
    /// When the next scheduled fetch is due.
    pub(super) fn due(&self) -> Mono {
        self.due
    }

    /// A token names a key that is not there.
    pub(super) fn demand(&mut self, kid: &str, now: Mono) -> Demand {
        if self.missing.iter().any(|(known, at)| &**known == kid && now.since(*at) < MISSING_FOR) {
            return Demand::Refuse;
        }
        if self.running || self.wanted {
            return Demand::Join;
        }
        if self.demanded.is_some_and(|at| now.since(at) < DEMAND_EVERY) {
            return Demand::Refuse;
        }
        self.demanded = Some(now);
        self.wanted = true;
        Demand::Wake
    }

    /// A fetch that was waited for did not bring this key.
    pub(super) fn missed(&mut self, kid: &str, now: Mono) {
        self.missing.retain(|(known, at)| &**known != kid && now.since(*at) < MISSING_FOR);
        if self.missing.len() == MISSING_MAX {
            self.missing.pop_front();
        }
        self.missing.push_back((Box::from(kid), now));
    }

    /// Whether to fetch now; if so, [`Plan::finish`] has to follow.
    pub(super) fn begin(&mut self, now: Mono) -> bool {
        if self.running || !(self.wanted || now >= self.due) {
            return false;
        }
        self.wanted = false;
        self.running = true;
        true
    }

    /// The fetch ended: with keys (and how long their server says they keep), or without. Returns how long until the
    /// next scheduled one.
    pub(super) fn finish(&mut self, now: Mono, outcome: Result<Option<Duration>, ()>) -> Duration {
        self.running = false;
        let pause = match outcome {
            Ok(max_age) => {
                self.failures = 0;
                max_age.map_or(REFRESH, |age| age.clamp(REFRESH_MIN, REFRESH_MAX))
            }
            Err(()) => {
                let pause = Duration::from_secs(1 << self.failures.min(6)).min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                pause
            }
        };
        self.due = now.after(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1000)
    }

    #[test]
    fn the_servers_max_age_is_held_between_a_minute_and_an_hour() {
        for (said, kept) in [(None, 600), (Some(1), 60), (Some(300), 300), (Some(1_000_000), 3600)] {
            let mut plan = Plan::default();
            assert!(plan.begin(at(0)));
            let pause = plan.finish(at(0), Ok(said.map(Duration::from_secs)));
            assert_eq!(pause.as_secs(), kept, "{said:?}");
            assert!(!plan.begin(at(kept - 1)));
            assert!(plan.begin(at(kept)));
        }
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_up_to_a_minute() {
        let mut plan = Plan::default();
        let mut now = at(0);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(plan.begin(now));
            assert_eq!(plan.finish(now, Err(())).as_secs(), pause);
            now = plan.due();
        }
        assert!(plan.begin(now));
        plan.finish(now, Ok(None));
        now = plan.due();
        assert!(plan.begin(now));
        assert_eq!(plan.finish(now, Err(())).as_secs(), 1, "a success forgives");
    }

    #[test]
    fn one_demand_in_thirty_seconds_and_the_others_join_it_while_it_lasts() {
        let mut plan = Plan::default();
        assert!(plan.begin(at(0)));
        plan.finish(at(0), Ok(None));
        assert_eq!(plan.demand("a", at(5)), Demand::Wake);
        assert_eq!(plan.demand("b", at(5)), Demand::Join, "wanted");
        assert!(plan.begin(at(5)));
        assert!(!plan.begin(at(5)), "one at a time");
        assert_eq!(plan.demand("c", at(6)), Demand::Join, "running");
        plan.finish(at(6), Ok(None));
        assert_eq!(plan.demand("c", at(34)), Demand::Refuse);
        assert_eq!(plan.demand("c", at(35)), Demand::Wake);
    }

    #[test]
    fn what_was_missing_is_not_asked_for_again_for_two_minutes_and_the_memory_is_bounded() {
        let mut plan = Plan::default();
        assert!(plan.begin(at(0)));
        plan.finish(at(0), Ok(None));
        plan.missed("gone", at(0));
        assert_eq!(plan.demand("gone", at(119)), Demand::Refuse);
        for i in 0..MISSING_MAX - 1 {
            plan.missed(&i.to_string(), at(1));
        }
        assert_eq!(plan.demand("gone", at(119)), Demand::Refuse, "still remembered");
        plan.missed("one more", at(1));
        assert_eq!(plan.missing.len(), MISSING_MAX);
        assert_eq!(plan.demand("gone", at(60)), Demand::Wake, "forgotten at the bound");
        assert_eq!(plan.demand("one more", at(122)), Demand::Join, "lapsed");
    }
}
