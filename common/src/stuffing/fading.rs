//! Sets and counts that forget what is older than a window.

use super::Mark;
use crate::clock::UnixMs;

/// The latest few marks, each with when it was last there. Small: looked through from end to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Fading(Vec<(Mark, UnixMs)>);

impl Fading {
    /// Was there at `at`. At `bound` the one that was not there for the longest gives way.
    pub(super) fn add(&mut self, mark: Mark, at: UnixMs, bound: usize) {
        if let Some((_, last)) = self.0.iter_mut().find(|(known, _)| *known == mark) {
            *last = at.max(*last);
        } else if self.0.len() < bound {
            self.0.push((mark, at));
        } else if let Some(oldest) = self.0.iter_mut().min_by_key(|(_, last)| *last)
            && oldest.1 < at
        {
            *oldest = (mark, at);
        }
    }

    /// How many were there since `since`.
    pub(super) fn count(&self, since: UnixMs) -> u32 {
        u32::try_from(self.since(since).count()).unwrap_or(u32::MAX)
    }

    /// Which.
    pub(super) fn since(&self, since: UnixMs) -> impl Iterator<Item = Mark> + '_ {
        self.0.iter().filter(move |(_, last)| *last >= since).map(|(mark, _)| *mark)
    }

    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// Parts that a window is counted in: it is exact to one of them.
const PARTS: usize = 8;

/// A count over a window.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    parts: [u32; PARTS],
    /// Which part of time the last one is.
    last: u64,
}

impl Recent {
    fn part(at: UnixMs, window: u64) -> u64 {
        at.0 / (window / PARTS as u64).max(1)
    }

    pub(super) fn add(&mut self, count: u32, at: UnixMs, window: u64) {
        let part = Self::part(at, window);
        // what came late counts as of now: an older part may be gone
        self.turn(part);
        if let Some(newest) = self.parts.last_mut() {
            *newest = newest.saturating_add(count);
        }
    }

    pub(super) fn count(&mut self, now: UnixMs, window: u64) -> u32 {
        self.turn(Self::part(now, window));
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    fn turn(&mut self, to: u64) {
        let steps = usize::try_from(to.saturating_sub(self.last)).unwrap_or(PARTS).min(PARTS);
        self.parts.rotate_left(steps % PARTS);
        self.parts.iter_mut().rev().take(steps).for_each(|part| *part = 0);
        self.last = self.last.max(to);
    }

    pub(super) fn clear(&mut self) {
        self.parts = [0; PARTS];
    }
}
