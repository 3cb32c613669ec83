//! Whether the store answers, as seen on all wires of a link, and what was pushed faster than it was read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use redis::PushInfo;
use tokio::sync::{mpsc, watch};

/// Pushes that wait for their reader. At the bound new ones are dropped and counted ([`Health::pushes_lost`]): the
/// reader sees a gap, as after a lost connection.
const PUSHES: usize = 8_192;

/// Whether the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// The last command was answered; on a cluster: on every master.
    Up,
    /// A connection was lost, or the last command was not answered in time.
    Down,
}

/// Of one link.
pub(super) struct Health {
    state: watch::Sender<LinkState>,
    /// How many wires are down.
    down: Mutex<usize>,
    /// How many lead to a server that drops keys when memory is short, though it may not.
    evicting: AtomicUsize,
    /// It may.
    may_evict: bool,
    pushes: mpsc::Sender<PushInfo>,
    pushes_lost: AtomicU64,
}

impl Health {
    /// And the queue of what is pushed. `may_evict`: nobody minds servers that drop keys.
    pub(super) fn new(may_evict: bool) -> (Arc<Self>, mpsc::Receiver<PushInfo>) {
        let (pushes, receiver) = mpsc::channel(PUSHES);
        let (state, down) = (watch::Sender::new(LinkState::Up), Mutex::new(0));
        let (evicting, pushes_lost) = (AtomicUsize::new(0), AtomicU64::new(0));
        (Arc::new(Self { state, down, evicting, may_evict, pushes, pushes_lost }), receiver)
    }

    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub(super) fn pushes_lost(&self) -> u64 {
        self.pushes_lost.load(Ordering::Relaxed)
    }

    /// Whether a server drops keys when memory is short, and may not: one that was promoted or started again may have
    /// another `maxmemory-policy` than the one that was asked at the start.
    pub(super) fn evicts(&self) -> bool {
        !self.may_evict && self.evicting.load(Ordering::Relaxed) > 0
    }

    /// Hands a push to its reader.
    pub(super) fn hand_on(&self, push: PushInfo) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.pushes.try_send(push) {
            self.pushes_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn change(&self, more_down: bool) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        *down = if more_down { *down + 1 } else { down.saturating_sub(1) };
        let state = if *down == 0 { LinkState::Up } else { LinkState::Down };
        self.state.send_if_modified(|now| std::mem::replace(now, state) != state);
    }
}

/// Of one wire.
pub(super) struct Pulse {
    /// `None`: what becomes of it is nobody's concern.
    health: Option<Arc<Health>>,
    up: AtomicBool,
    evicts: AtomicBool,
}

impl Pulse {
    /// Of a wire that carries commands.
    pub(super) fn of(health: &Arc<Health>) -> Self {
        Self { health: Some(Arc::clone(health)), up: AtomicBool::new(true), evicts: AtomicBool::new(false) }
    }

    /// Of another.
    pub(super) fn aside() -> Self {
        Self { health: None, up: AtomicBool::new(true), evicts: AtomicBool::new(false) }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// It answered, or it did not.
    pub(super) fn beat(&self, up: bool) {
        // the path of every command
        if self.up.load(Ordering::Relaxed) != up
            && self.up.swap(up, Ordering::AcqRel) != up
            && let Some(health) = &self.health
        {
            health.change(!up);
        }
    }

    /// The server at its other end, now, drops keys when memory is short, or does not.
    pub(super) fn evicts(&self, evicts: bool) {
        if self.evicts.swap(evicts, Ordering::AcqRel) != evicts
            && let Some(health) = &self.health
        {
            let _ = if evicts {
                health.evicting.fetch_add(1, Ordering::Relaxed)
            } else {
                health.evicting.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beat(true);
        self.evicts(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_up_when_all_of_its_wires_are() {
        let (health, _pushes) = Health::new(false);
        let (a, b) = (Pulse::of(&health), Pulse::of(&health));
        let state = || *health.state().borrow();
        assert_eq!(state(), LinkState::Up);
        a.beat(false);
        a.beat(false);
        b.beat(false);
        a.beat(true);
        assert_eq!(state(), LinkState::Down);
        // a master that is none any more
        drop(b);
        assert_eq!(state(), LinkState::Up);
    }

    #[test]
    fn a_link_evicts_while_one_of_its_servers_does_and_may_not() {
        let ((health, _pushes), (lenient, _others)) = (Health::new(false), Health::new(true));
        let (a, b) = (Pulse::of(&health), Pulse::of(&health));
        a.evicts(true);
        a.evicts(true);
        b.evicts(true);
        a.evicts(false);
        assert!(health.evicts());
        drop(b);
        assert!(!health.evicts());
        Pulse::of(&lenient).evicts(true);
        assert!(!lenient.evicts());
    }

    #[test]
    fn pushes_that_nobody_reads_are_counted_and_bounded() {
        let (health, mut pushes) = Health::new(false);
        for _ in 0..PUSHES + 3 {
            health.hand_on(PushInfo { kind: redis::PushKind::Message, data: Vec::new() });
        }
        assert_eq!(health.pushes_lost(), 3);
        assert_eq!(std::iter::from_fn(|| pushes.try_recv().ok()).count(), PUSHES);
    }
}
