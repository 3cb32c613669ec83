//! Penalties: evidence of this node on accounts that the fleet shares, and the steps that it leads to.
//!
//! ```text
//! pipeline (score) ─┐                               ┌─► restrict · disconnect · ban
//! admission ────────┼─► Tally ─► flush, 4 a second ─► store: one account a subject ─► pending ─► control log ─► all nodes
//! ends of sessions ─┘   bounded        (Shadow while the store is away)
//! ```
//! A user is scored by what its own authenticated sessions do; a network ([`Subject::network`]) by what comes from it
//! before anybody is known, and by steps that its users earned there: many people who make a mistake now and then are no
//! attack. What a token merely claims scores nobody.
//!
//! **Bound.** [`SUBJECTS`] in a tally; at the bound new ones are counted and left out, because an attacker with more
//! addresses than that is no matter for accounts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_common::config::model::{Config, Penalty};
use portcullis_common::ids::UserId;
use portcullis_common::penalty::Subject;
use portcullis_common::store::penalty::{Fact, REMEMBERED};
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;
use tokio::sync::Notify;

use self::shadow::Shadow;
use crate::events::Ended;
use crate::pipeline::score::Score;

/// Accounts of this node's own, while the store is away.
mod shadow;

/// From tallies to steps.
pub mod flush;

/// What is told to whoever judges logins over the fleet.
pub mod sightings;

/// What an operator asks about it.
pub mod explain;

#[cfg(test)]
mod benign;

/// Subjects in a tally.
const SUBJECTS: usize = 8_192;

/// Points for a failed login, on its network.
pub const LOGIN: f64 = 5.0;
/// Points for a handshake that is none, on its network.
pub const HANDSHAKE: f64 = 3.0;
/// Points for a connection that its peer ended at once, on its user.
pub const CHURN: f64 = 4.0;
/// Points for a connection that we ended because its peer would not stop.
pub const HAMMERING: f64 = 20.0;
/// Points for a connection that we ended because its peer does not speak the protocol.
pub const VIOLATION: f64 = 10.0;

/// A connection that lived shorter was opened for nothing.
pub const BRIEF: Duration = Duration::from_secs(5);

/// What is owed by one subject.
#[derive(Default)]
struct Owed {
    weight: f64,
    facts: Vec<Fact>,
    /// Of a user: where it was last.
    from: Option<IpAddr>,
}

impl Owed {
    fn add(&mut self, what: &str, weight: f64) {
        self.weight += weight;
        if let Some(fact) = self.facts.iter_mut().find(|fact| fact.what == what) {
            fact.weight += weight;
            fact.count = fact.count.saturating_add(1);
        } else if self.facts.len() < REMEMBERED {
            self.facts.push(Fact { what: what.to_owned(), weight, count: 1 });
        }
    }
}

/// Where evidence goes. A call costs one short lock and one hash probe for each subject, and only what is evidence calls.
#[derive(Default)]
pub struct Penalties {
    tally: Mutex<HashMap<Subject, Owed>>,
    wake: Notify,
    shadow: Mutex<Shadow>,
    /// What automatic bans have used.
    budget: Mutex<portcullis_common::gcra::Tat>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Penalties {
    /// Evidence against a user who is connected from there.
    pub fn charge_session(&self, penalty: &Penalty, user: &UserId, client: IpAddr, what: &str, weight: f64) {
        self.charge(penalty, Subject::User(user.clone()), Some(client), what, weight);
    }

    /// What the pipeline has found in the last message, if anything.
    pub fn charge_score(&self, penalty: &Penalty, user: &UserId, client: IpAddr, score: &mut Score) {
        score.take_fresh(|evidence| {
            self.charge_session(penalty, user, client, evidence.what.name(), f64::from(evidence.weight));
        });
    }

    /// Evidence against a network, from before anybody is known.
    pub fn charge_network(&self, penalty: &Penalty, client: IpAddr, what: &str, weight: f64) {
        self.charge(penalty, Subject::network(client), None, what, weight);
    }

    /// A handshake was refused. Failed logins are charged where they fail; what limits, caps, bans and penalties refuse is
    /// no evidence, or it would never end.
    pub fn refused(&self, config: &Config, client: IpAddr, reject: &Reject) {
        if matches!(reject.code, Code::Malformed | Code::OriginDenied | Code::TooLarge) {
            self.charge_network(&config.penalty, client, reject.code.info().name, HANDSHAKE);
        }
    }

    /// A session's connection is over.
    pub fn ended(&self, penalty: &Penalty, user: &UserId, client: IpAddr, ended: Ended, lived: Duration) {
        match ended {
            Ended::ByPeer | Ended::Abrupt if lived < BRIEF => {
                self.charge_session(penalty, user, client, "reconnect churn", CHURN);
            }
            Ended::Closed(Close::RateLimited) => self.charge_session(penalty, user, client, "hammering", HAMMERING),
            Ended::Closed(Close::Protocol | Close::InvalidData | Close::TooBig) => {
                self.charge_session(penalty, user, client, "protocol violation", VIOLATION);
            }
            _ => {}
        }
    }

    fn charge(&self, penalty: &Penalty, subject: Subject, from: Option<IpAddr>, what: &str, weight: f64) {
        if !penalty.enabled || weight <= 0.0 {
            return;
        }
        let crosses = {
            let mut tally = lock(&self.tally);
            let full = tally.len() >= SUBJECTS;
            let ladder = penalty.ladder(&subject);
            match tally.entry(subject) {
                Entry::Vacant(_) if full => return,
                entry => {
                    let owed = entry.or_default();
                    owed.add(what, weight);
                    owed.from = from.or(owed.from);
                    owed.weight >= ladder.restrict
                }
            }
        };
        if crosses {
            self.wake.notify_one();
        }
    }

    fn take(&self) -> HashMap<Subject, Owed> {
        std::mem::take(&mut lock(&self.tally))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_common::config::secret::Secret;

    use super::*;

    fn penalty() -> Penalty {
        Penalty { enabled: true, ..Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap().penalty }
    }

    fn user() -> UserId {
        UserId::parse("ada").unwrap()
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn owed(penalties: &Penalties) -> (f64, f64) {
        let tally = penalties.take();
        let of = |subject: &Subject| tally.get(subject).map_or(0.0, |owed| owed.weight);
        (of(&Subject::User(user())), of(&Subject::network(CLIENT)))
    }

    #[test]
    fn what_a_session_does_is_its_users_and_what_nobody_did_is_the_networks() {
        let (p, all) = (penalty(), Penalties::default());
        all.charge_session(&p, &user(), CLIENT, "sql", 50.0);
        assert_eq!(owed(&all), (50.0, 0.0));
        all.charge_network(&p, CLIENT, "failed login", LOGIN);
        assert_eq!(owed(&all), (0.0, LOGIN));
        all.charge_session(&Penalty { enabled: false, ..p }, &user(), CLIENT, "sql", 50.0);
        assert_eq!(owed(&all), (0.0, 0.0));
    }

    #[test]
    fn evidence_of_one_kind_is_added_up_and_the_facts_are_bounded() {
        let (p, all) = (penalty(), Penalties::default());
        for n in 0..100 {
            all.charge_network(&p, CLIENT, &format!("kind {}", n % 50), 1.0);
        }
        let tally = all.take();
        let owed = tally.get(&Subject::network(CLIENT)).unwrap();
        assert!((owed.weight - 100.0).abs() < 1e-9);
        assert_eq!((owed.facts.len(), owed.facts[0].count, owed.facts[0].weight), (REMEMBERED, 2, 2.0));
    }

    #[test]
    fn at_the_bound_new_subjects_are_left_out_and_known_ones_go_on() {
        let (p, all) = (penalty(), Penalties::default());
        let ip = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        (0..SUBJECTS + 10).for_each(|n| all.charge_network(&p, ip(n), "malformed", 1.0));
        all.charge_network(&p, ip(0), "malformed", 1.0);
        let tally = all.take();
        assert_eq!((tally.len(), tally[&Subject::network(ip(0))].weight), (SUBJECTS, 2.0));
    }

    #[test]
    fn ends_that_speak_against_a_peer_are_evidence_and_ours_are_not() {
        let (p, all) = (penalty(), Penalties::default());
        let (brief, long) = (Duration::from_secs(1), BRIEF);
        for (ended, lived, points) in [
            (Ended::ByPeer, brief, CHURN),
            (Ended::Abrupt, brief, CHURN),
            (Ended::ByPeer, long, 0.0),
            (Ended::Closed(Close::Restart), brief, 0.0),
            (Ended::Closed(Close::Terminated), brief, 0.0),
            (Ended::Closed(Close::Forbidden), brief, 0.0),
            (Ended::Panicked, brief, 0.0),
            (Ended::Closed(Close::RateLimited), long, HAMMERING),
            (Ended::Closed(Close::Protocol), long, VIOLATION),
        ] {
            all.ended(&p, &user(), CLIENT, ended, lived);
            assert_eq!(owed(&all), (points, 0.0), "{ended:?}");
        }
    }

    #[test]
    fn refusals_of_limits_bans_and_penalties_are_no_evidence() {
        let all = Penalties::default();
        let config = Config { penalty: penalty(), ..Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap() };
        for code in Code::ALL {
            all.refused(&config, CLIENT, &Reject::new(*code, ""));
            let counts = matches!(code, Code::Malformed | Code::OriginDenied | Code::TooLarge);
            assert_eq!(owed(&all), (0.0, if counts { HANDSHAKE } else { 0.0 }), "{code:?}");
        }
    }
}
