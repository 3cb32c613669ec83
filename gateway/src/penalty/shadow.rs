//! Accounts of this node's own, kept while the store is away: what crosses a threshold here holds here at once, and is
//! written when the store answers; the rest goes on the fleet's accounts then.
//!
//! **Bound.** [`ACCOUNTS`]; at the bound those with the fewest points are forgotten, half of them at once.

use std::collections::HashMap;

use portcullis_common::clock::UnixMs;
use portcullis_common::penalty::{Account, Ladder, Step, Subject};
use portcullis_common::store::penalty::{Charge, Standing};

/// Accounts.
const ACCOUNTS: usize = 4_096;

#[derive(Default)]
pub(super) struct Shadow(HashMap<Subject, (Account, Ladder)>);

impl Shadow {
    /// What the store would have done, as far as this node knows.
    pub(super) fn charge(&mut self, charge: &Charge, now: UnixMs) -> Standing {
        if self.0.len() >= ACCOUNTS && !self.0.contains_key(&charge.subject) {
            self.forget_half(now);
        }
        let (account, ladder) = self.0.entry(charge.subject.clone()).or_insert((Account::default(), charge.ladder));
        *ladder = charge.ladder;
        let step = account.charge(&charge.ladder, charge.weight, now);
        Standing { account: *account, step }
    }

    fn forget_half(&mut self, now: UnixMs) {
        let points = |(account, ladder): &(Account, Ladder)| account.points_at(ladder, now);
        let mut all: Vec<f64> = self.0.values().map(points).collect();
        let middle = all.len() / 2;
        let (_, middle, _) = all.select_nth_unstable_by(middle, f64::total_cmp);
        let middle = *middle;
        let mut left = ACCOUNTS / 2;
        self.0.retain(|_, kept| {
            let goes = left > 0 && points(kept) <= middle;
            left -= usize::from(goes);
            !goes
        });
    }

    /// The store answers again: what has led to nothing here yet, and the points that are left of it.
    pub(super) fn give_up(&mut self, now: UnixMs) -> Vec<(Subject, f64)> {
        let all = std::mem::take(&mut self.0).into_iter().filter(|(_, (account, _))| account.step == Step::None);
        all.map(|(subject, (account, ladder))| (subject, account.points_at(&ladder, now))).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn charge(n: u32, weight: f64) -> Charge {
        let ladder = Ladder {
            half_life: Duration::from_secs(60),
            restrict: 100.0,
            disconnect: 200.0,
            ban: 300.0,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            memory: Duration::from_secs(600),
        };
        Charge { subject: Subject::network(n.to_be_bytes().into()), weight, ladder, facts: Vec::new() }
    }

    #[test]
    fn what_crossed_a_threshold_here_is_not_charged_again_and_the_rest_is_with_what_is_left_of_it() {
        let mut shadow = Shadow::default();
        let now = UnixMs(1_000_000);
        assert_eq!(shadow.charge(&charge(1, 60.0), now).step, Step::None);
        assert_eq!(shadow.charge(&charge(1, 60.0), now).step, Step::Restrict);
        shadow.charge(&charge(2, 60.0), now);
        let left = shadow.give_up(now.after(Duration::from_secs(60)));
        assert_eq!(left.len(), 1);
        assert!(left[0].0 == charge(2, 0.0).subject && (left[0].1 - 30.0).abs() < 1e-9);
        assert!(shadow.is_empty());
    }

    #[test]
    fn at_the_bound_those_with_the_fewest_points_are_forgotten() {
        let mut shadow = Shadow::default();
        let count = u32::try_from(ACCOUNTS).unwrap();
        for n in 0..count {
            shadow.charge(&charge(n, f64::from(n % 100) / 2.0 + 1.0), UnixMs(1));
        }
        shadow.charge(&charge(count, 1.0), UnixMs(1));
        assert_eq!(shadow.0.len(), ACCOUNTS / 2 + 1);
        assert!(shadow.0.contains_key(&charge(99, 0.0).subject), "one of the highest");
    }
}
