//! Whether a worker is behind: how late its own clock ticks, looked at closely while that decides what is carried.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::pipeline::Sheds;
use crate::worker::{SWEEP, Worker};

/// Between two ticks while it matters.
const BEAT: Duration = Duration::from_millis(10);
/// The part of `overload.lag` from which on messages of low priority are too many: far below the limit, so that what is
/// carried does not lead up to it again.
const LOW: u32 = 10;

/// One a worker. Everything that a worker has to do has its turn between two ticks, so a tick is as late as a message is that
/// has just come.
#[derive(Debug, Default)]
pub struct Pace {
    /// How late the last tick was.
    late: Cell<u64>,
    /// When the next one is due.
    due: Cell<u64>,
    /// How late one may be, until messages of low priority, and until all are too many. All in nanoseconds.
    limits: Cell<(u64, u64)>,
}

impl Pace {
    /// What the worker has too much of at `now`, in nanoseconds of the clock: by how late the last tick was, or the next one is
    /// by then. The former alone would let a round begin that takes in whatever has come meanwhile.
    #[must_use]
    pub fn sheds(&self, now: u64) -> Sheds {
        let late = self.late.get().max(now.saturating_sub(self.due.get()));
        match self.limits.get() {
            (_, all) if late >= all => Sheds::All,
            (low, _) if late >= low => Sheds::Low,
            _ => Sheds::Nothing,
        }
    }

    /// A tick came at `now`, and the next is due after `beat`.
    fn ticked(&self, now: u64, beat: Duration, limit: Duration) {
        self.late.set(now.saturating_sub(self.due.get()));
        self.due.set(now.saturating_add(nanos(beat)));
        self.limits.set((nanos(limit / LOW), nanos(limit)));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Ticks for ever. Cost: two ticks a second, a hundred while the worker's pace decides.
pub async fn keep(worker: Rc<Worker>) {
    let node = &worker.node;
    worker.pace.due.set(node.clock.nanos());
    loop {
        let beat = if node.overload.asks_workers() { BEAT } else { SWEEP };
        worker.pace.ticked(node.clock.nanos(), beat, node.rules.load().config.overload.lag);
        actix_rt::time::sleep(beat).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_tick_that_is_late_is_told_by_how_much_and_so_is_one_that_does_not_come() {
        let (pace, limit) = (Pace::default(), Duration::from_millis(500));
        pace.due.set(100 * MS);
        for (late, sheds) in
            [(49, Sheds::Nothing), (50, Sheds::Low), (499, Sheds::Low), (500, Sheds::All), (0, Sheds::Nothing)]
        {
            let now = pace.due.get() + late * MS;
            pace.ticked(now, BEAT, limit);
            assert_eq!(pace.sheds(now), sheds, "{late} ms");
        }
        let due = pace.due.get();
        for (late, sheds) in [(0, Sheds::Nothing), (50, Sheds::Low), (500, Sheds::All)] {
            assert_eq!(pace.sheds(due + late * MS), sheds, "{late} ms without a tick");
        }
    }
}
