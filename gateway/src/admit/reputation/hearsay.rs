//! Which addresses a feed was heard about lately: what others say is charged once a half-life and fleet, however often
//! the address comes back and whichever nodes it comes to.
//!
//! A node remembers for itself whom it has heard about, for one to two half-lives; of what is new to it the account in
//! the store says whether another node was told before. Two nodes that hear of an address within the quarter of a second
//! in which evidence is gathered both charge it.
//!
//! **Bound.** Twice [`ROOM`] addresses, about 3 MB; at the bound the older half is forgotten, and charged anew when it
//! comes back. [`ASKING`] accounts are asked for at a time; beyond that an address is charged unasked.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::ids::FeedName;
use portcullis_common::penalty::{Subject, network_of};
use tokio::sync::Semaphore;

use crate::events::StoreFailed;
use crate::node::Node;

/// Addresses of a generation.
pub const ROOM: usize = 16_384;

/// Accounts that are asked for at a time.
const ASKING: usize = 64;

/// Two generations of what was heard.
#[derive(Default)]
struct Heard {
    began: Mono,
    young: HashSet<(FeedName, IpAddr)>,
    old: HashSet<(FeedName, IpAddr)>,
}

/// What this node has heard lately.
pub struct Hearsay {
    heard: Mutex<Heard>,
    asking: Arc<Semaphore>,
}

impl Default for Hearsay {
    fn default() -> Self {
        Self { heard: Mutex::default(), asking: Arc::new(Semaphore::new(ASKING)) }
    }
}

impl Hearsay {
    /// Whether it is the first time within `period` that this feed is heard about an address, or its /64.
    pub fn is_first(&self, feed: &FeedName, ip: IpAddr, now: Mono, period: Duration) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(heard.began) >= period || heard.young.len() >= ROOM {
            // what is older than a period by now is not worth a generation
            let stale = now.since(heard.began) >= period * 2;
            heard.old = if stale { HashSet::new() } else { std::mem::take(&mut heard.young) };
            heard.young.clear();
            heard.began = now;
        }
        let key = (feed.clone(), network_of(ip).addr());
        !heard.old.contains(&key) && heard.young.insert(key)
    }
}

/// Charges an address's account with what a feed says, unless it stands there already.
pub fn charge(node: &Node, feed: &FeedName, ip: IpAddr, points: f64) {
    let (rules, penalties) = (node.rules.load_full(), Arc::clone(&node.penalties));
    let what = format!("feed {feed}");
    let Ok(permit) = Arc::clone(&node.hearsay.asking).try_acquire_owned() else {
        return penalties.charge_network(&rules.config.penalty, ip, &what, points);
    };
    let (store, metrics) = (Arc::clone(&node.stores.penalties), Arc::clone(&node.metrics));
    node.errand(Box::pin(async move {
        let penalty = &rules.config.penalty;
        let stands = match store.statement(Subject::network(ip)).await {
            Ok((now, statement)) => {
                let facts = statement.into_iter().flat_map(|statement| statement.facts);
                facts.into_iter().any(|noted| noted.fact.what == what && noted.at.after(penalty.half_life) > now)
            }
            Err(fault) => {
                StoreFailed { call: "penalties.statement", fault: &fault }.emit(&metrics);
                false
            }
        };
        if !stands {
            penalties.charge_network(penalty, ip, &what, points);
        }
        drop(permit);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_first(hearsay: &Hearsay, feed: &str, ip: &str, at: u64) -> bool {
        hearsay.is_first(&FeedName::parse(feed).unwrap(), ip.parse().unwrap(), Mono(at), Duration::from_millis(100))
    }

    #[test]
    fn an_address_is_heard_of_once_in_one_to_two_periods_by_each_feed() {
        let all = Hearsay::default();
        assert!(is_first(&all, "a", "5.5.5.5", 1_000) && is_first(&all, "b", "5.5.5.5", 1_000));
        assert!(is_first(&all, "a", "2a00::1", 1_000));
        assert!(!is_first(&all, "a", "5.5.5.5", 1_000) && !is_first(&all, "a", "2a00::2", 1_050), "a /64 is one");
        assert!(!is_first(&all, "a", "5.5.5.5", 1_100), "one period remembers");
        assert!(is_first(&all, "a", "5.5.5.5", 1_200), "two do not");
        assert!(!is_first(&all, "a", "5.5.5.5", 1_299));
        assert!(is_first(&all, "a", "5.5.5.5", 9_000), "nor does a long silence");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let all = Hearsay::default();
        let feed = FeedName::parse("a").unwrap();
        for n in 0..u32::try_from(ROOM * 3).unwrap() {
            all.is_first(&feed, n.to_be_bytes().into(), Mono(1), Duration::from_secs(60));
        }
        let heard = all.heard.lock().unwrap();
        assert!(heard.young.len() <= ROOM && heard.old.len() <= ROOM);
    }
}
