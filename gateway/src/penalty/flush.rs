//! From tallies to steps: four times a second, or as soon as somebody crosses a threshold by what this node alone knows.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select;
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::{Limit, Penalty};
use portcullis_common::gcra::Gcra;
use portcullis_common::penalty::{Ladder, Step, Subject};
use portcullis_common::store::StoreFault;
use portcullis_common::store::control::ControlEntry;
use portcullis_common::store::penalty::{BATCH, Charge, Fact, Standing};

use super::{Owed, Penalties, lock};
use crate::events::{AutoBanWithheld, PenaltyStep, StoreFailed};
use crate::node::Node;

/// How often evidence goes to the store.
const PERIOD: Duration = Duration::from_millis(250);

/// A crossing that the log does not know so long after it was made by a node that is gone.
const LOST: Duration = Duration::from_secs(2);

/// The longest reason that an entry gives, in bytes.
const REASON: usize = 240;

/// Carries evidence to the store until the node ends.
pub async fn run(node: Weak<Node>) {
    loop {
        let Some(strong) = node.upgrade() else { return };
        let penalties = Arc::clone(&strong.penalties);
        drop(strong);
        select(Box::pin(penalties.wake.notified()), Box::pin(actix_rt::time::sleep(PERIOD))).await;
        let Some(strong) = node.upgrade() else { return };
        flush(&strong).await;
    }
}

async fn flush(node: &Arc<Node>) {
    let rules = node.rules.load_full();
    let penalty = &rules.config.penalty;
    let tally = node.penalties.take();
    let owed: Vec<(Charge, Option<IpAddr>)> = tally.into_iter().map(|(who, owed)| charge(penalty, who, owed)).collect();
    for some in owed.chunks(BATCH) {
        let by = node.config.node.id.clone();
        match node.stores.penalties.charge(by, some.iter().map(|(charge, _)| charge.clone()).collect()).await {
            Ok((now, standings)) => {
                node.penalties.come_back(penalty, now);
                settle(node, penalty, some, &standings, now);
            }
            Err(fault) => {
                StoreFailed { call: "penalties.charge", fault: &fault }.emit(&node.metrics);
                if !matches!(fault, StoreFault::Full(_)) {
                    let now = node.now_at_store();
                    let standings: Vec<Standing> = {
                        let mut shadow = lock(&node.penalties.shadow);
                        some.iter().map(|(charge, _)| shadow.charge(charge, now)).collect()
                    };
                    settle(node, penalty, some, &standings, now);
                }
            }
        }
    }
}

fn charge(penalty: &Penalty, subject: Subject, owed: Owed) -> (Charge, Option<IpAddr>) {
    let ladder = penalty.ladder(&subject);
    (Charge { subject, weight: owed.weight, ladder, facts: owed.facts }, owed.from)
}

impl Penalties {
    /// The store answers: what it does not know yet is charged with the next evidence.
    fn come_back(&self, penalty: &Penalty, now: UnixMs) {
        let left = {
            let mut shadow = lock(&self.shadow);
            if shadow.is_empty() {
                return;
            }
            shadow.give_up(now)
        };
        for (subject, points) in left {
            self.charge(penalty, subject, None, "while the store was away", points);
        }
    }

    /// Whether one more automatic ban fits in.
    fn may_ban(&self, penalty: &Penalty, nanos: u64) -> bool {
        let rate = penalty.auto_bans;
        Gcra::new(Limit { rate, burst: rate.count }).take(&mut lock(&self.budget), nanos, 1).is_ok()
    }

    /// Automatic bans that could be made now; for whoever asks.
    #[must_use]
    pub fn bans_left(&self, penalty: &Penalty, nanos: u64) -> u32 {
        let rate = penalty.auto_bans;
        let (gcra, mut tat) = (Gcra::new(Limit { rate, burst: rate.count }), *lock(&self.budget));
        let mut left = 0;
        while left < rate.count && gcra.take(&mut tat, nanos, 1).is_ok() {
            left += 1;
        }
        left
    }
}

/// Takes the steps that the charges led to, and those that another node should have taken and did not.
fn settle(node: &Node, penalty: &Penalty, charges: &[(Charge, Option<IpAddr>)], standings: &[Standing], now: UnixMs) {
    for ((Charge { subject, ladder, facts, .. }, from), standing) in charges.iter().zip(standings) {
        if let (Some(from), true) = (from, standing.step != Step::None) {
            // each is worth what restricts a user: so many of them, and their network is restricted
            node.penalties.charge_network(penalty, *from, "a user of it was restricted", f64::from(penalty.restrict));
        }
        let account = &standing.account;
        let stands = account.step_at(now);
        let lost = || {
            stands != Step::None
                && account.struck.after(LOST) < now
                && !penalty.dry_run
                && !is_known(node, subject, now)
        };
        let step = if standing.step == Step::None && lost() { stands } else { standing.step };
        if step != Step::None {
            take(node, penalty, (subject, ladder, facts), step, standing, now);
        }
    }
}

/// Whether this node knows of a restriction or ban of the subject.
fn is_known(node: &Node, subject: &Subject, now: UnixMs) -> bool {
    let restricted = match subject {
        Subject::User(user) => node.bans.restriction(Some(user), None, now),
        Subject::Network(network) => node.bans.restriction(None, Some(network.addr()), now),
    };
    restricted.is_some() || node.bans.is_banned(&subject.target(), now)
}

/// Whether configuration spares it bans.
fn is_spared(penalty: &Penalty, subject: &Subject) -> bool {
    match subject {
        Subject::User(user) => penalty.never_ban_users.contains(user),
        Subject::Network(network) => penalty.never_ban.iter().any(|spared| spared.contains(network)),
    }
}

fn take(
    node: &Node,
    penalty: &Penalty,
    (subject, ladder, facts): (&Subject, &Ladder, &[Fact]),
    worth: Step,
    standing: &Standing,
    now: UnixMs,
) {
    let spared = is_spared(penalty, subject);
    let mut step = if spared { worth.min(Step::Restrict) } else { worth };
    let points = standing.account.points_at(ladder, now);
    let mut until = standing.account.until;
    if step == Step::Ban && !penalty.dry_run && !node.penalties.may_ban(penalty, node.clock.nanos()) {
        AutoBanWithheld { subject, points }.emit(&node.metrics);
        (step, until) = (Step::Disconnect, until.max(now.after(penalty.max_delay)));
    }
    if step == Step::Ban {
        until = now.after(penalty.ban_for);
    }
    PenaltyStep { subject, step, points, strikes: standing.account.strikes, until, dry_run: penalty.dry_run }
        .emit(&node.metrics);
    if penalty.dry_run {
        return;
    }
    let (target, reason) = (subject.target(), reason(points, standing.account.strikes, facts));
    let entry = match step {
        Step::Ban => ControlEntry::Ban { target, until: Some(until), reason },
        _ => ControlEntry::Restrict { target, until, close: step >= Step::Disconnect, reason },
    };
    node.pending.hold([entry], now);
}

/// Why, for people: what weighed most comes first.
fn reason(points: f64, strikes: u32, facts: &[Fact]) -> String {
    let mut facts: Vec<&Fact> = facts.iter().collect();
    facts.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let mut text = format!("automatic: {points:.0} points, strike {strikes}");
    for Fact { what, weight, count } in facts {
        text.push_str(&format!("; {what} {weight} ({count}x)"));
    }
    text.truncate(text.floor_char_boundary(REASON));
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_weighed_most_first_and_has_a_bound() {
        let fact = |what: &str, weight, count| Fact { what: what.to_owned(), weight, count };
        let text = reason(212.4, 2, &[fact("type_unknown", 6.0, 12), fact("sql\nunion", 200.0, 4)]);
        assert_eq!(text, "automatic: 212 points, strike 2; sql?union 200 (4x); type_unknown 6 (12x)");
        let many: Vec<Fact> = (0..16).map(|_| fact(&"ä".repeat(60), 1.0, 1)).collect();
        assert!(reason(1.0, 1, &many).len() <= REASON);
    }
}
