//! Whether a worker is behind: how late its own clock ticks, looked at closely while that decides what is carried.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::worker::{SWEEP, Worker};

/// Between two ticks while it matters.
const BEAT: Duration = Duration::from_millis(10);
/// The part of `overload.lag` from which on a worker is behind: far below the limit, so that what is carried does not lead up
/// to it again.
const PART: u32 = 10;

/// One a worker. Everything that a worker has to do has its turn between two ticks, so a tick is as late as a message is that
/// has just come.
#[derive(Debug, Default)]
pub struct Pace {
    /// The last tick was late.
    late: Cell<bool>,
    /// When the next one will be, in nanoseconds of the clock.
    late_from: Cell<u64>,
}

impl Pace {
    /// Whether the last tick was late, or the next one is at `now`, in nanoseconds of the clock. The former alone would let a
    /// round begin that takes in whatever has come meanwhile.
    #[must_use]
    pub fn is_behind(&self, now: u64) -> bool {
        self.late.get() || now >= self.late_from.get()
    }

    /// A tick that was due at `due` came at `now`, and the next is due after `beat`.
    fn ticked(&self, (due, now): (u64, u64), beat: Duration, limit: Duration) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let late = nanos(limit / PART);
        self.late.set(now.saturating_sub(due) >= late);
        self.late_from.set(now.saturating_add(nanos(beat)).saturating_add(late));
    }
}

/// Ticks for ever. Cost: two ticks a second, a hundred while the worker's pace decides.
pub async fn keep(worker: Rc<Worker>) {
    let node = &worker.node;
    let mut due = node.clock.nanos();
    loop {
        let beat = if node.overload.asks_workers() { BEAT } else { SWEEP };
        let now = node.clock.nanos();
        worker.pace.ticked((due, now), beat, node.rules.load().config.overload.lag);
        due = now.saturating_add(u64::try_from(beat.as_nanos()).unwrap_or(u64::MAX));
        actix_rt::time::sleep(beat).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_tick_that_is_late_by_a_tenth_of_the_limit_is_behind_and_so_is_one_that_does_not_come() {
        let (pace, limit) = (Pace::default(), Duration::from_millis(500));
        for (due, now, behind) in [(100, 149, false), (200, 250, true), (300, 1_300, true), (1_400, 1_400, false)] {
            pace.ticked((due * MS, now * MS), BEAT, limit);
            assert_eq!(pace.is_behind(now * MS), behind, "{due} {now}");
        }
        assert!(!pace.is_behind(1_459 * MS), "due at 1,410");
        assert!(pace.is_behind(1_460 * MS));
    }
}
