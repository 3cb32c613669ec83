//! Which sessions an operator has ended, looked up locally when one is resumed: a record that a store still holds, or holds
//! again, brings nothing back that the control log has ended.
//!
//! A kick ends every session of its target that counts since before it. So do the ban of a user, which may be lifted
//! while a detached session waits, and a revocation, up to the moment that it names. Networks and token ids say what they
//! say of the connection that asks: the ledger does not know those of a session.
//!
//! **Bound.** [`ENTRIES`], and [`NETWORKS`] of them networks. What no session can be old enough for goes first
//! (`session.absolute_timeout`), then the oldest eighth.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::control::{ControlEntry, Logged, Target};

use portcullis_common::trie::canonical;

/// Users, sessions and tokens that are remembered.
const ENTRIES: usize = 65_536;
/// Networks that are remembered.
const NETWORKS: usize = 1_024;

/// A session that somebody wants to resume, and who that is.
pub struct Claim<'a> {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: &'a UserId,
    /// The `jti` of the token that is shown with it.
    pub token: Option<&'a str>,
    /// The address that it is shown from.
    pub client: IpAddr,
    /// Since when the session counts.
    pub since: UnixMs,
}

/// What was ended, and when. Every call holds one short lock.
pub struct KickTable {
    inner: Mutex<Inner>,
    /// No session is older.
    oldest: Duration,
}

#[derive(Default)]
struct Inner {
    /// Sessions that count since then or before are over.
    ended: HashMap<Target, UnixMs>,
    networks: Vec<(IpNet, UnixMs)>,
}

/// The user whose sessions an entry ends, and up to which beginning.
#[must_use]
pub fn ended_user(logged: &Logged) -> Option<(&UserId, UnixMs)> {
    match &logged.entry {
        ControlEntry::Kick { target: Target::User(user), .. }
        | ControlEntry::Ban { target: Target::User(user), .. } => Some((user, logged.at)),
        ControlEntry::Revoke { user, issued_until } => Some((user, *issued_until)),
        _ => None,
    }
}

impl Inner {
    /// Many at once, so that a list of bans does not cost a walk for each.
    fn forget_oldest(&mut self) {
        let mut times: Vec<UnixMs> = self.ended.values().copied().collect();
        let (_, cut, _) = times.select_nth_unstable(ENTRIES / 8);
        let (cut, mut left) = (*cut, ENTRIES / 8);
        self.ended.retain(|_, ended| {
            let goes = *ended <= cut && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }
}

impl KickTable {
    /// An empty table for sessions that live no longer than `oldest`.
    #[must_use]
    pub fn new(oldest: Duration) -> Self {
        Self { inner: Mutex::default(), oldest }
    }

    /// Takes what the log says next.
    pub fn apply(&self, logged: &Logged) {
        let (target, until) = match (&logged.entry, ended_user(logged)) {
            (_, Some((user, until))) => (Target::User(user.clone()), until),
            (ControlEntry::Kick { target, .. } | ControlEntry::Ban { target, .. }, None) => (target.clone(), logged.at),
            _ => return,
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |ended: UnixMs| ended.after(self.oldest) < logged.at;
        match target {
            Target::Network(network) => {
                inner.networks.retain(|(_, ended)| !gone(*ended));
                if inner.networks.len() >= NETWORKS {
                    inner.networks.remove(0);
                }
                inner.networks.push((canonical(network), until));
            }
            target => {
                if inner.ended.len() >= ENTRIES {
                    inner.ended.retain(|_, ended| !gone(*ended));
                }
                if inner.ended.len() >= ENTRIES {
                    inner.forget_oldest();
                }
                let known = inner.ended.entry(target).or_insert(until);
                *known = (*known).max(until);
            }
        }
    }

    /// Whether the session was ended by what this node knows.
    #[must_use]
    pub fn has_ended(&self, claim: &Claim<'_>) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut targets = vec![Target::Session(claim.session), Target::User(claim.user.clone())];
        targets.extend(claim.token.map(|id| Target::Token(id.to_owned())));
        let client = claim.client.to_canonical();
        let by_name = targets.iter().filter_map(|target| inner.ended.get(target));
        let by_address = inner.networks.iter().filter(|(net, _)| net.contains(&client)).map(|(_, ended)| ended);
        by_name.chain(by_address).any(|ended| claim.since <= *ended)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_common::store::control::LogId;

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn logged(at: u64, entry: ControlEntry) -> Logged {
        Logged { id: LogId(at), at: UnixMs(at), entry }
    }

    fn kick(at: u64, target: Target) -> Logged {
        logged(at, ControlEntry::Kick { target, reason: String::new() })
    }

    fn ended(table: &KickTable, since: u64) -> bool {
        let ann = user("ann");
        table.has_ended(&Claim {
            session: SessionId(7),
            user: &ann,
            token: Some("jti-1"),
            client: "10.1.2.3".parse().unwrap(),
            since: UnixMs(since),
        })
    }

    fn table() -> KickTable {
        KickTable::new(Duration::from_secs(1))
    }

    #[test]
    fn each_target_ends_the_sessions_that_began_before_and_none_that_begins_after() {
        let targets = [
            Target::Session(SessionId(7)),
            Target::User(user("ann")),
            Target::Token("jti-1".to_owned()),
            Target::Network("10.1.0.0/16".parse().unwrap()),
            Target::Network("::ffff:10.1.2.0/120".parse().unwrap()),
        ];
        for target in targets {
            let table = table();
            table.apply(&kick(100, target.clone()));
            assert!(ended(&table, 99) && ended(&table, 100), "{target:?}");
            assert!(!ended(&table, 101), "{target:?}");
            table.apply(&kick(90, target));
            assert!(ended(&table, 100), "an older entry takes nothing back");
        }
    }

    #[test]
    fn others_are_not_ended() {
        let table = table();
        for target in [
            Target::Session(SessionId(8)),
            Target::User(user("bob")),
            Target::Token("jti-2".to_owned()),
            Target::Network("10.2.0.0/16".parse().unwrap()),
        ] {
            table.apply(&kick(100, target));
        }
        assert!(!ended(&table, 1));
    }

    #[test]
    fn a_ban_ends_sessions_for_good_even_when_it_is_lifted_and_a_revocation_up_to_its_moment() {
        let table = table();
        let target = Target::User(user("ann"));
        table.apply(&logged(100, ControlEntry::Ban { target: target.clone(), until: None, reason: String::new() }));
        table.apply(&logged(110, ControlEntry::Lift { target }));
        assert!(ended(&table, 100) && !ended(&table, 101));
        table.apply(&logged(300, ControlEntry::Revoke { user: user("ann"), issued_until: UnixMs(200) }));
        assert!(ended(&table, 200) && !ended(&table, 201));
    }

    #[test]
    fn at_the_bound_what_no_session_is_old_enough_for_goes_first_and_the_newest_stays() {
        let table = table();
        for sid in 0..ENTRIES as u128 {
            table.apply(&kick(5_000 + sid as u64 % 2, Target::Session(SessionId(1_000 + sid))));
        }
        for net in 0..NETWORKS as u32 + 1 {
            let net = IpNet::new(IpAddr::from((net + 1).to_be_bytes()), 32).unwrap();
            table.apply(&kick(5_000, Target::Network(net)));
        }
        table.apply(&kick(5_001, Target::User(user("ann"))));
        assert!(ended(&table, 5_001));
        let inner = table.inner.lock().unwrap();
        assert_eq!((inner.ended.len(), inner.networks.len()), (ENTRIES - ENTRIES / 8 + 1, NETWORKS));
        drop(inner);
        for sid in 0..ENTRIES as u128 / 8 {
            table.apply(&kick(9_000, Target::Session(SessionId(1 << 40 | sid))));
        }
        assert_eq!(table.inner.lock().unwrap().ended.len(), ENTRIES / 8, "the rest is older than any session");
    }
}
