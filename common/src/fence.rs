//! The fence: how long this node may act in the name of its lease, and whether a session outlived the time in which it
//! could.
//!
//! The lease counts from the moment the last successful renewal was **sent**, on a clock that runs through suspend: the
//! store began to count later, so nobody gives this node's slots away before its own count is over. A process that was
//! stopped finds the deadline behind it before it reads or writes anything: workers compare it before each batch of reads
//! and before each flush. A session that was there when the deadline passed stays condemned when a later renewal
//! succeeds, whichever thread looks first: that is the generation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Mono, millis};
use crate::config::model::{OnStoreLoss, Session};

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(10);

/// With `strict`, sockets are cut this long after the last renewal: 2 s before the lease is over in the store.
pub const STRICT: Duration = Duration::from_secs(8);

/// What the node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The lease is held, as far as this node can know.
    Held,
    /// It may be over: nobody new is let in, and who is in stays, degraded.
    Lapsed,
    /// Every socket is cut.
    Fenced,
}

/// One a node; read by every worker at every turn. Cost of a look: two loads.
pub struct Fence {
    /// From a renewal to the cut; `None` where nobody else could give slots away.
    patience: Option<u64>,
    /// Milliseconds of the monotonic clock.
    renewed: AtomicU64,
    cut_at: AtomicU64,
    /// How often the deadline passed before a renewal came.
    generation: AtomicU64,
}

impl Fence {
    /// For a store that is this process's own: never cuts, never lapses.
    #[must_use]
    pub fn open() -> Self {
        Self::with(None)
    }

    /// For a fleet's store, as `session.on_store_loss` says. Lapsed until the first renewal.
    #[must_use]
    pub fn of(rules: &Session) -> Self {
        Self::cutting_after(match rules.on_store_loss {
            OnStoreLoss::Strict => STRICT,
            OnStoreLoss::Available => rules.max_store_loss,
        })
    }

    /// For a fleet's store: cuts this long after the last renewal. Lapsed until the first.
    #[must_use]
    pub fn cutting_after(patience: Duration) -> Self {
        Self::with(Some(patience))
    }

    fn with(patience: Option<Duration>) -> Self {
        Self {
            patience: patience.map(millis),
            renewed: AtomicU64::new(0),
            cut_at: AtomicU64::new(u64::MAX),
            generation: AtomicU64::new(0),
        }
    }

    /// The lease was taken or renewed by a call that was sent at `sent`; it is `now`.
    pub fn renewed(&self, sent: Mono, now: Mono) {
        if let Some(patience) = self.patience {
            if now.0 >= self.cut_at.load(Ordering::Acquire) {
                // before the deadline moves: who sees the new deadline sees this too
                self.generation.fetch_add(1, Ordering::Release);
            }
            self.cut_at.store(sent.0.saturating_add(patience), Ordering::Release);
        }
        self.renewed.store(sent.0, Ordering::Release);
    }

    /// How long ago the last successful renewal was sent.
    #[must_use]
    pub fn since_renewal(&self, now: Mono) -> Duration {
        now.since(Mono(self.renewed.load(Ordering::Acquire)))
    }

    /// What a session that begins now belongs to.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a socket of a session of that generation may not be read or written any more.
    #[must_use]
    pub fn cuts(&self, generation: u64, now: Mono) -> bool {
        // in this order, see `renewed`
        now.0 >= self.cut_at.load(Ordering::Acquire) || self.generation() != generation
    }

    /// What the node may do.
    #[must_use]
    pub fn standing(&self, now: Mono) -> Standing {
        if now.0 >= self.cut_at.load(Ordering::Acquire) {
            Standing::Fenced
        } else if self.patience.is_some() && self.since_renewal(now) >= LEASE {
            Standing::Lapsed
        } else {
            Standing::Held
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(seconds: u64) -> Fence {
        Fence::with(Some(Duration::from_secs(seconds)))
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000)
    }

    #[test]
    fn the_lease_counts_from_the_moment_its_renewal_was_sent() {
        let fence = fence(8);
        fence.renewed(at(100), at(107));
        let born = fence.generation();
        assert!(!fence.cuts(born, Mono(107_999)));
        assert!(fence.cuts(born, at(108)), "8 s after it was sent, not after it was answered");
        assert_eq!(fence.standing(at(108)), Standing::Fenced);
    }

    #[test]
    fn who_was_there_when_the_deadline_passed_stays_cut_after_a_renewal() {
        let fence = fence(8);
        fence.renewed(at(0), at(0));
        let old = fence.generation();
        // nobody looked between 8 and 20
        fence.renewed(at(20), at(20));
        assert!(fence.cuts(old, at(20)));
        assert!(!fence.cuts(fence.generation(), at(20)), "who comes now is let be");
        assert_eq!(fence.standing(at(20)), Standing::Held);
    }

    #[test]
    fn a_renewal_in_time_condemns_nobody() {
        let fence = fence(8);
        let born = fence.generation();
        for second in (0..100).step_by(7) {
            fence.renewed(at(second), at(second));
            assert!(!fence.cuts(born, at(second)));
        }
    }

    #[test]
    fn a_renewal_that_was_answered_after_its_own_deadline_cuts_at_once() {
        let fence = fence(8);
        fence.renewed(at(0), at(0));
        // sent at 3, then the process was stopped until 23
        fence.renewed(at(3), at(23));
        assert!(fence.cuts(fence.generation(), at(23)));
        fence.renewed(at(24), at(24));
        assert_eq!(fence.standing(at(24)), Standing::Held);
    }

    #[test]
    fn available_lapses_with_the_lease_and_cuts_later() {
        let fence = fence(600);
        assert_eq!(fence.standing(at(11)), Standing::Lapsed, "never taken");
        fence.renewed(at(20), at(20));
        let born = fence.generation();
        assert_eq!(fence.standing(Mono(29_999)), Standing::Held);
        assert_eq!(fence.standing(at(30)), Standing::Lapsed);
        assert!(!fence.cuts(born, at(619)));
        assert!(fence.cuts(born, at(620)));
    }

    #[test]
    fn a_store_of_ones_own_never_cuts() {
        let fence = Fence::open();
        assert!(!fence.cuts(fence.generation(), Mono(u64::MAX - 1)));
        assert_eq!(fence.standing(Mono(u64::MAX - 1)), Standing::Held);
    }
}
