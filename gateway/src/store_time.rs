//! The store's time, as this node can know it without asking: entries of the control log say until when in it, and a
//! node's own clock may be minutes off.

use std::sync::atomic::{AtomicI64, Ordering};

use portcullis_common::clock::UnixMs;

/// How far the store's clock is ahead of this node's; zero until it was asked.
#[derive(Debug, Default)]
pub struct StoreTime(AtomicI64);

impl StoreTime {
    /// The store said `theirs` when this node's wall clock said `ours`; the mistake is what the question took.
    pub fn learn(&self, theirs: UnixMs, ours: UnixMs) {
        let ahead = i128::from(theirs.0) - i128::from(ours.0);
        self.0.store(i64::try_from(ahead).unwrap_or(0), Ordering::Relaxed);
    }

    /// The store's time when this node's wall clock says `ours`.
    #[must_use]
    pub fn at(&self, ours: UnixMs) -> UnixMs {
        UnixMs(ours.0.saturating_add_signed(self.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_either_way_is_put_right() {
        let time = StoreTime::default();
        assert_eq!(time.at(UnixMs(5)), UnixMs(5));
        for (theirs, ours) in [(1_000_000, 910_000), (1_000_000, 1_090_000)] {
            time.learn(UnixMs(theirs), UnixMs(ours));
            assert_eq!(time.at(UnixMs(ours + 7)), UnixMs(theirs + 7));
        }
    }
}
