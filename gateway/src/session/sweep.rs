//! Entries of the control log that only a look at every session can settle: of networks, and of token ids. However many come
//! at once, the sessions are looked at together.

use std::sync::atomic::{AtomicU8, Ordering};

use portcullis_common::store::control::{ControlEntry, Target};

/// What sessions are looked through for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Their addresses.
    Addresses = 1,
    /// Their tokens, which only they themselves know.
    Tokens = 2,
}

/// Looks that are due.
#[derive(Default)]
pub struct Sweep(AtomicU8);

impl Sweep {
    /// True: nobody has asked since the last look, so somebody has to be told that one is due.
    #[must_use]
    pub fn ask(&self, wanted: Wanted) -> bool {
        self.0.fetch_or(wanted as u8, Ordering::AcqRel) == 0
    }

    /// What to look for now: a look that begins behind this sees everything that was asked for before. The answer is
    /// whether it has to be at addresses, and at tokens.
    #[must_use]
    pub fn take(&self) -> (bool, bool) {
        let wanted = self.0.swap(0, Ordering::AcqRel);
        (wanted & Wanted::Addresses as u8 != 0, wanted & Wanted::Tokens as u8 != 0)
    }
}

/// How an entry's sessions are found, where no index has them.
#[must_use]
pub fn wanted(entry: &ControlEntry) -> Option<Wanted> {
    match entry {
        ControlEntry::Ban { target: Target::Network(_), .. }
        | ControlEntry::Restrict { target: Target::Network(_), .. } => Some(Wanted::Addresses),
        ControlEntry::Ban { target: Target::Token(_), .. } => Some(Wanted::Tokens),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_first_says_so_and_a_look_is_for_all_who_asked() {
        let sweep = Sweep::default();
        assert!(sweep.ask(Wanted::Addresses) && !sweep.ask(Wanted::Tokens) && !sweep.ask(Wanted::Addresses));
        assert_eq!((sweep.take(), sweep.take()), ((true, true), (false, false)));
        assert!(sweep.ask(Wanted::Tokens));
        assert_eq!(sweep.take(), (false, true));
    }
}
