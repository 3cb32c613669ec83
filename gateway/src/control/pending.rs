//! Bans and restrictions that the store has not taken yet: in force on this node at once, written when the store answers.
//!
//! **Bound.** [`HELD`]; at the bound the oldest is given up. What the store does not take in [`PATIENCE`] is given up too:
//! it stays in force here until its end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::store::StoreFault;
use portcullis_common::store::control::{ControlEntry, LogId, Logged, Target};
use tokio::sync::Notify;

use crate::events::StoreFailed;
use crate::node::Node;
use crate::session::manager::ManagerHandle;

/// Entries that wait.
const HELD: usize = 4_096;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(250);
/// Entries of one try.
const BATCH: usize = 256;

/// What waits, and since when.
#[derive(Default)]
pub struct Pending {
    waiting: Mutex<VecDeque<(ControlEntry, UnixMs)>>,
    wake: Notify,
    manager: OnceLock<ManagerHandle>,
}

/// Whom an entry is about, where it is one that can wait.
fn target(entry: &ControlEntry) -> Option<&Target> {
    match entry {
        ControlEntry::Ban { target, .. } | ControlEntry::Restrict { target, .. } => Some(target),
        _ => None,
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(ControlEntry, UnixMs)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node has joined: what is held is in force from now on.
    pub fn attach(&self, manager: ManagerHandle) {
        // there is one
        let _ = self.manager.set(manager);
    }

    /// Puts the entries in force here at `now` (the store's time), and hands them to the store when it takes them. False:
    /// there was none.
    pub fn hold(&self, entries: impl IntoIterator<Item = ControlEntry>, now: UnixMs) -> bool {
        let mut any = false;
        for entry in entries {
            any = true;
            if let Some(manager) = self.manager.get() {
                manager.apply_provisionally(&Logged { id: LogId::default(), at: now, entry: entry.clone() });
            }
            let mut waiting = self.lock();
            waiting.retain(|(held, _)| {
                std::mem::discriminant(held) != std::mem::discriminant(&entry) || target(held) != target(&entry)
            });
            if waiting.len() >= HELD {
                waiting.pop_front();
            }
            waiting.push_back((entry, now));
        }
        if any {
            self.wake.notify_one();
        }
        any
    }

    /// The log has brought an entry: what is held about the same target is older, and forgotten.
    pub fn brought(&self, entry: &ControlEntry) {
        let about = match entry {
            ControlEntry::Lift { target } => target,
            _ => return,
        };
        self.lock().retain(|(held, _)| target(held) != Some(about));
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first that wait; the others are given up.
    fn next(&self, now: UnixMs) -> Vec<ControlEntry> {
        let mut waiting = self.lock();
        waiting.retain(|(_, since)| since.after(PATIENCE) > now);
        waiting.iter().take(BATCH).map(|(entry, _)| entry.clone()).collect()
    }

    fn taken(&self, entries: &[ControlEntry]) {
        self.lock().retain(|(held, _)| !entries.contains(held));
    }
}

/// Writes what waits, until the node ends.
pub async fn write(node: Weak<Node>) {
    loop {
        let Some(strong) = node.upgrade() else { return };
        let pending = Arc::clone(&strong.pending);
        let next = pending.next(strong.now_at_store());
        if next.is_empty() {
            drop(strong);
            // to look whether the node is still there
            let _ = actix_rt::time::timeout(Duration::from_secs(5), pending.wake.notified()).await;
            continue;
        }
        match strong.stores.control.append_all(next.clone()).await {
            Ok(_) => pending.taken(&next),
            Err(fault) => {
                if matches!(fault, StoreFault::Full(_)) {
                    pending.taken(&next);
                }
                StoreFailed { call: "control.append", fault: &fault }.emit(&strong.metrics);
                drop(strong);
                actix_rt::time::sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_common::ids::UserId;

    use super::*;

    fn ada() -> Target {
        Target::User(UserId::parse("ada").unwrap())
    }

    fn ban(target: Target, reason: &str) -> ControlEntry {
        ControlEntry::Ban { target, until: None, reason: reason.to_owned() }
    }

    #[test]
    fn the_last_word_about_a_target_waits_until_it_is_taken_or_lifted_or_too_old() {
        let pending = Pending::default();
        let now = UnixMs(1_000);
        assert!(!pending.hold([], now));
        let restrict = ControlEntry::Restrict { target: ada(), until: UnixMs(9), close: false, reason: String::new() };
        assert!(pending.hold([ban(ada(), "a"), restrict.clone(), ban(ada(), "b")], now));
        assert_eq!(pending.next(now), [restrict.clone(), ban(ada(), "b")]);
        pending.taken(std::slice::from_ref(&restrict));
        assert_eq!(pending.next(now), [ban(ada(), "b")]);
        pending.brought(&ControlEntry::Lift { target: Target::Token("x".into()) });
        assert_eq!(pending.len(), 1);
        pending.brought(&ControlEntry::Lift { target: ada() });
        assert!(pending.is_empty());
        pending.hold([restrict], now);
        assert_eq!(pending.next(now.after(PATIENCE)), []);
    }

    #[test]
    fn at_the_bound_the_oldest_is_given_up() {
        let pending = Pending::default();
        let token = |n: usize| Target::Token(n.to_string());
        pending.hold((0..=HELD).map(|n| ban(token(n), "")), UnixMs(0));
        assert_eq!((pending.len(), pending.next(UnixMs(0)).first()), (HELD, Some(&ban(token(1), ""))));
    }
}
