//! What the bus and the control log refused, lost and mended, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::record::Refused;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters that only grow, from the start of the process.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        /// What the counters showed at one time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Names and values, in a fixed order.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        impl Counters {
            /// What they show now.
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts![
    /// Authentic, fresh, new.
    taken,
    /// [`Refused::Malformed`]
    malformed,
    /// [`Refused::Version`]
    version,
    /// [`Refused::UnknownKey`]
    unknown_key,
    /// [`Refused::Forged`]
    forged,
    /// [`Refused::Old`]
    old,
    /// [`Refused::Future`]
    future,
    /// [`Refused::Replayed`]
    replayed,
    /// Came again where it stood already: from the channel after the history, or replayed.
    repeated,
    /// Authentic, but of a kind that this version does not read.
    unreadable,
    /// On a channel that nobody here wants (any more).
    stray,
    /// Records that the gaps in their issuers' sequences tell of. They may have been mended from history.
    lost,
    /// Authentic and new, but behind what was delivered: dropped.
    late,
    /// Delivered from history after a gap.
    mended,
    /// Rooms and logs that began anew because the store went back in time.
    renewed,
];

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, why: Refused) {
        let counter = match why {
            Refused::Malformed => &self.malformed,
            Refused::Version => &self.version,
            Refused::UnknownKey => &self.unknown_key,
            Refused::Forged => &self.forged,
            Refused::Old => &self.old,
            Refused::Future => &self.future,
            Refused::Replayed => &self.replayed,
        };
        Self::add(counter, 1);
    }
}

impl Counts {
    /// Everything that was refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.malformed + self.version + self.unknown_key + self.forged + self.old + self.future + self.replayed
    }
}
