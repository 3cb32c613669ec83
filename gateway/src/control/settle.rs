//! A command that changes the state of the fleet becomes an entry of the control log; the node answers when the log has
//! brought that entry here, so that `done` means: in force on this node.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_common::clock::UnixMs;
use portcullis_common::store::control::{ControlEntry, ControlSink, Logged, Target};
use tokio::sync::oneshot;

use super::pending::Pending;
use crate::session::manager::ManagerHandle;

/// Networks a second whose sessions are counted: that costs a look at every session.
const COUNTED: u32 = 32;

/// Entries that are waited for; more are refused.
const WAITING: usize = 256;

/// How many sessions of this node an entry is about, where the registry can tell.
pub type Concerned = Option<usize>;

/// Entries that are remembered in case their command comes behind them.
const REMEMBERED: usize = 256;

#[derive(Default)]
struct Book {
    waiting: Vec<(ControlEntry, oneshot::Sender<Concerned>)>,
    /// What the log brought last, and when that was written (the store's time).
    brought: VecDeque<(ControlEntry, UnixMs, Concerned)>,
}

/// Who waits for which entry, and which came last.
#[derive(Default)]
pub struct Settled(Mutex<Book>);

impl Settled {
    /// Ready, with the number of sessions that it concerns here, when the log brings an entry like this one, or has
    /// brought one that was written at `since` or later: another node may write before this one has even read the
    /// command. `None`: too many are waited for.
    #[must_use]
    pub fn expect(&self, entry: ControlEntry, since: UnixMs) -> Option<oneshot::Receiver<Concerned>> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, told) = oneshot::channel();
        if let Some((_, _, sessions)) = book.brought.iter().rev().find(|(known, at, _)| *at >= since && *known == entry)
        {
            // the receiver is right here
            let _ = sender.send(*sessions);
            return Some(told);
        }
        book.waiting.retain(|(_, told)| !told.is_closed());
        if book.waiting.len() >= WAITING {
            return None;
        }
        book.waiting.push((entry, sender));
        Some(told)
    }

    fn brought(&self, entry: &ControlEntry, at: UnixMs, sessions: Concerned) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, told) in book.waiting.extract_if(.., |(expected, _)| expected == entry) {
            // who does not wait any more need not be told
            let _ = told.send(sessions);
        }
        if book.brought.len() >= REMEMBERED {
            book.brought.pop_front();
        }
        book.brought.push_back((entry.clone(), at, sessions));
    }
}

/// What follows the control log: the manager, then whoever waits.
pub struct Follower {
    /// What the store had not taken.
    pub pending: Arc<Pending>,
    /// The second (of the store) that entries come from, and the networks that were counted in it.
    pub counted: Mutex<(u64, u32)>,
    /// Acts on entries.
    pub manager: ManagerHandle,
    /// Who waits for them.
    pub settled: Arc<Settled>,
}

impl Follower {
    /// Whether sessions of one more network may be counted.
    fn may_count(&self, at: UnixMs) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let second = at.0 / 1_000;
        *counted = if counted.0 == second { (second, counted.1 + 1) } else { (second, 1) };
        counted.1 <= COUNTED
    }
}

impl ControlSink for Follower {
    fn apply(&self, logged: &Logged) {
        // counted before they are told to go
        let sessions = match &logged.entry {
            ControlEntry::Kick { target: Target::Network(_), .. }
            | ControlEntry::Ban { target: Target::Network(_), .. }
                if !self.may_count(logged.at) =>
            {
                None
            }
            ControlEntry::Kick { target, .. } | ControlEntry::Ban { target, .. } => self.manager.concerned(target),
            ControlEntry::Revoke { .. }
            | ControlEntry::Lift { .. }
            | ControlEntry::Restrict { .. }
            | ControlEntry::Shut { .. }
            | ControlEntry::Drain { .. } => Some(0),
        };
        self.pending.brought(&logged.entry);
        ControlSink::apply(&self.manager, logged);
        self.settled.brought(&logged.entry, logged.at, sessions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::ids::UserId;

    const NOW: UnixMs = UnixMs(10);

    fn kick(user: &str) -> ControlEntry {
        ControlEntry::Kick { target: Target::User(UserId::parse(user).unwrap()), reason: String::new() }
    }

    #[test]
    fn everybody_who_waits_for_an_entry_is_told_when_it_comes_and_nobody_else() {
        let settled = Settled::default();
        let (mut one, mut two) = (settled.expect(kick("a"), NOW).unwrap(), settled.expect(kick("a"), NOW).unwrap());
        let mut other = settled.expect(kick("b"), NOW).unwrap();
        settled.brought(&kick("c"), NOW, Some(9));
        assert!(one.try_recv().is_err());
        settled.brought(&kick("a"), NOW, Some(3));
        assert_eq!((one.try_recv(), two.try_recv()), (Ok(Some(3)), Ok(Some(3))));
        assert!(other.try_recv().is_err());
    }

    #[test]
    fn an_entry_that_came_before_its_command_counts_and_one_of_an_earlier_command_does_not() {
        let settled = Settled::default();
        settled.brought(&kick("a"), UnixMs(9), Some(1));
        assert!(settled.expect(kick("a"), NOW).unwrap().try_recv().is_err());
        settled.brought(&kick("a"), NOW, Some(2));
        assert_eq!(settled.expect(kick("a"), NOW).unwrap().try_recv(), Ok(Some(2)));
        assert!(settled.expect(kick("b"), NOW).unwrap().try_recv().is_err());
        for n in 0..REMEMBERED {
            settled.brought(&kick(&format!("n{n}")), NOW, None);
        }
        assert!(settled.expect(kick("a"), NOW).unwrap().try_recv().is_err(), "bounded");
    }

    #[test]
    fn those_who_gave_up_make_room_and_at_the_bound_nobody_is_forgotten() {
        let settled = Settled::default();
        let waiting: Vec<_> = (0..WAITING).map(|_| settled.expect(kick("a"), NOW).unwrap()).collect();
        assert!(settled.expect(kick("a"), NOW).is_none());
        drop(waiting);
        assert!(settled.expect(kick("a"), NOW).is_some());
    }
}
