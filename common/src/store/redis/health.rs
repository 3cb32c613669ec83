//! Whether the store answers, as seen on all wires of a link, and what was pushed faster than it was read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    pushes: mpsc::Sender<PushInfo>,
    pushes_lost: AtomicU64,
}

impl Health {
    /// And the queue of what is pushed.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<PushInfo>) {
        let (pushes, receiver) = mpsc::channel(PUSHES);
        let state = watch::Sender::new(LinkState::Up);
        (Arc::new(Self { state, down: Mutex::new(0), pushes, pushes_lost: AtomicU64::new(0) }), receiver)
    }

    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub(super) fn pushes_lost(&self) -> u64 {
        self.pushes_lost.load(Ordering::Relaxed)
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
}

impl Pulse {
    /// Of a wire that carries commands.
    pub(super) fn of(health: &Arc<Health>) -> Self {
        Self { health: Some(Arc::clone(health)), up: AtomicBool::new(true) }
    }

    /// Of another.
    pub(super) fn aside() -> Self {
        Self { health: None, up: AtomicBool::new(true) }
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
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beat(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_up_when_all_of_its_wires_are() {
        let (health, _pushes) = Health::new();
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
    fn pushes_that_nobody_reads_are_counted_and_bounded() {
        let (health, mut pushes) = Health::new();
        for _ in 0..PUSHES + 3 {
            health.hand_on(PushInfo { kind: redis::PushKind::Message, data: Vec::new() });
        }
        assert_eq!(health.pushes_lost(), 3);
        assert_eq!(std::iter::from_fn(|| pushes.try_recv().ok()).count(), PUSHES);
    }
}
