//! Which lives of which nodes are over, as far as this node can know: plain state, told what each poll of the leases
//! answered.
//!
//! A life is dead when it was absent from every poll over [`PROOF`], at least [`POLLS`] of them, each of which the store
//! answered: a store that pauses proves nobody dead.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::ids::{NodeEpoch, NodeId};
use portcullis_common::store::lease::Member;

/// How long a life has to be absent.
pub const PROOF: Duration = Duration::from_secs(3);
/// In how many answered polls at least.
const POLLS: u32 = 3;
/// Absent lives that are watched; at the bound all are forgotten and watched anew.
const WATCHED: usize = 4_096;

/// One life of a node.
pub type Life = (NodeId, NodeEpoch);

struct Absence {
    since: Mono,
    polls: u32,
}

impl Absence {
    fn proves(&self, now: Mono) -> bool {
        self.polls >= POLLS && now.since(self.since) >= PROOF
    }
}

#[derive(Default)]
struct View {
    alive: HashSet<Life>,
    absent: HashMap<Life, Absence>,
}

/// The view of one node. Cheap: one short lock a call.
#[derive(Default)]
pub struct Membership(Mutex<View>);

impl Membership {
    /// A poll was answered.
    pub fn observed(&self, members: &[Member], now: Mono) {
        let mut view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive: HashSet<Life> = members.iter().map(|m| (m.node.clone(), m.epoch)).collect();
        for absence in view.absent.values_mut() {
            absence.polls += 1;
        }
        view.absent.retain(|life, _| !alive.contains(life));
        let gone: Vec<Life> = view.alive.difference(&alive).cloned().collect();
        for life in gone {
            watch(&mut view.absent, life, now);
        }
        view.alive = alive;
    }

    /// A poll was not answered: nothing that was seen so far proves anything.
    pub fn unanswered(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).absent.clear();
    }

    /// The lives that are over and may have left something behind.
    pub fn dead(&self, now: Mono) -> Vec<Life> {
        let view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        view.absent.iter().filter(|(_, absence)| absence.proves(now)).map(|(life, _)| life.clone()).collect()
    }

    /// The nodes that may still have sessions: all but those that are proved dead.
    pub fn nodes(&self, now: Mono) -> Vec<NodeId> {
        let view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = view.absent.iter().filter(|(_, absence)| !absence.proves(now)).map(|(life, _)| life);
        let nodes: HashSet<&NodeId> = view.alive.iter().chain(gone).map(|(node, _)| node).collect();
        nodes.into_iter().cloned().collect()
    }

    /// Nothing is left of a dead life.
    pub fn buried(&self, life: &Life) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).absent.remove(life);
    }

    /// Whether the life is over. One that was never seen is watched from now on.
    pub fn is_dead(&self, node: &NodeId, epoch: NodeEpoch, now: Mono) -> bool {
        let mut view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let life = (node.clone(), epoch);
        if view.alive.contains(&life) {
            return false;
        }
        let absence = watch(&mut view.absent, life, now);
        absence.proves(now)
    }
}

fn watch(absent: &mut HashMap<Life, Absence>, life: Life, now: Mono) -> &Absence {
    if absent.len() >= WATCHED && !absent.contains_key(&life) {
        absent.clear();
    }
    absent.entry(life).or_insert(Absence { since: now, polls: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, epoch: u128) -> Member {
        Member { node: NodeId::parse(name).unwrap(), epoch: NodeEpoch(epoch), remaining: Duration::from_secs(5) }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000)
    }

    fn dead(view: &Membership, name: &str, epoch: u128, now: u64) -> bool {
        view.is_dead(&NodeId::parse(name).unwrap(), NodeEpoch(epoch), at(now))
    }

    #[test]
    fn a_life_is_dead_after_three_answered_polls_over_three_seconds_without_it() {
        let view = Membership::default();
        view.observed(&[member("a", 1), member("b", 1)], at(0));
        assert!(!dead(&view, "b", 1, 100));
        view.observed(&[member("a", 1)], at(0));
        assert_eq!(view.nodes(at(0)).len(), 2, "absent is not dead");
        view.observed(&[member("a", 1), member("b", 1)], at(0));
        for second in 1..=3 {
            view.observed(&[member("a", 1)], at(second));
            assert!(!dead(&view, "b", 1, second), "too early at {second}");
        }
        view.observed(&[member("a", 1)], at(4));
        assert!(dead(&view, "b", 1, 4));
        assert_eq!(view.dead(at(4)).len(), 1);
        assert_eq!(view.nodes(at(4)), [NodeId::parse("a").unwrap()], "nobody waits for the dead");
        view.buried(&(NodeId::parse("b").unwrap(), NodeEpoch(1)));
        assert!(view.dead(at(4)).is_empty(), "nothing is left to do");
        assert!(!dead(&view, "a", 1, 4));
        assert!(!dead(&view, "a", 2, 4), "a life nobody has seen is watched first");
    }

    #[test]
    fn a_paused_store_proves_nobody_dead() {
        let view = Membership::default();
        view.observed(&[member("b", 1)], at(0));
        for second in 1..=3 {
            view.observed(&[], at(second));
        }
        view.unanswered();
        assert!(!dead(&view, "b", 1, 60));
        for second in 61..=63 {
            view.observed(&[], at(second));
        }
        assert!(dead(&view, "b", 1, 63));
    }

    #[test]
    fn a_life_that_comes_back_begins_anew() {
        let view = Membership::default();
        view.observed(&[member("b", 1)], at(0));
        view.observed(&[], at(1));
        view.observed(&[], at(2));
        view.observed(&[member("b", 1)], at(3));
        view.observed(&[], at(4));
        view.observed(&[], at(5));
        assert!(!dead(&view, "b", 1, 5));
    }

    #[test]
    fn a_new_life_of_the_same_node_does_not_keep_the_old_one_alive() {
        let view = Membership::default();
        view.observed(&[member("b", 1)], at(0));
        for second in 1..=4 {
            view.observed(&[member("b", 2)], at(second));
        }
        assert!(dead(&view, "b", 1, 4));
        assert!(!dead(&view, "b", 2, 4));
    }
}
