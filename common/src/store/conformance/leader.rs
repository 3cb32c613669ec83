//! The election of a leader, the fence behind it, and what dead lives leave behind.

use std::sync::{Arc, Mutex};

use super::{Fixture, Step, checks, life, ms, node, room, user};
use crate::config::model::OnLimit;
use crate::ids::{NodeEpoch, NodeId, SessionId};
use crate::store::StoreFault;
use crate::store::leader::{Candidate, Fence, Stood, Term};
use crate::store::presence::Occupant;
use crate::store::session::{Acquire, Acquired, Holder};

checks![
    one_candidate_leads_and_the_other_is_told_who_and_for_how_long,
    a_leader_that_stands_again_keeps_its_term,
    a_term_that_ended_is_not_renewed_and_the_next_has_a_larger_number,
    a_term_is_prolonged_from_now_by_its_leader_alone,
    who_resigns_makes_room_at_once_and_its_number_never_comes_again,
    a_process_of_the_same_name_is_another_candidate,
    of_many_candidates_at_once_one_is_elected,
    what_an_earlier_leader_writes_is_refused_everywhere_once_a_later_one_is_proclaimed,
    a_refused_write_changes_nothing,
    a_node_needs_no_term_to_clear_up,
    a_life_is_remembered_from_its_lease_until_it_is_buried,
    a_life_that_gave_its_lease_back_left_nothing,
    a_life_whose_lease_runs_cannot_be_buried,
    ; long:
];

fn candidate(n: u128) -> Candidate {
    Candidate { id: node(n), life: life(n) }
}

impl Fixture {
    async fn stand(&self, n: u128, ttl: u64) -> Stood {
        self.stores.leadership.stand(candidate(n), ms(ttl)).await.unwrap()
    }

    async fn elected(&self, n: u128, ttl: u64) -> Fence {
        match self.stand(n, ttl).await {
            Stood::Elected(fence) => fence,
            Stood::Led(term) => panic!("led by {term:?}"),
        }
    }

    async fn term(&self) -> Option<Term> {
        self.stores.leadership.term().await.unwrap()
    }

    /// A session of `user`, and its membership of a room, in a life of a node.
    async fn leave_something(&self, name: &str, sid: u128, on: u128) {
        let holder = Holder { sid: SessionId(sid), node: node(on), epoch: life(on), generation: 0 };
        let request = Acquire { user: user(name), holder, cap: 9, on_limit: OnLimit::Reject };
        assert!(matches!(self.stores.ledger.acquire(request).await.unwrap(), Acquired::Held { .. }));
        let occupant = Occupant { sid: SessionId(sid), user: user(name), node: node(on), epoch: life(on) };
        self.stores.presence.enter(room("r"), occupant).await.unwrap();
    }

    async fn left(&self, name: &str) -> (usize, usize) {
        let slots = self.stores.ledger.slots(user(name)).await.unwrap().len();
        (slots, self.stores.presence.list(room("r"), 9).await.unwrap().1)
    }

    async fn lapsed(&self) -> Vec<(NodeId, NodeEpoch)> {
        self.stores.remains.lapsed().await.unwrap()
    }
}

async fn one_candidate_leads_and_the_other_is_told_who_and_for_how_long(f: Fixture) {
    assert_eq!(f.term().await, None);
    let fence = f.elected(1, 60_000).await;
    let Stood::Led(term) = f.stand(2, 60_000).await else { panic!("two leaders") };
    assert_eq!((term.id.clone(), term.fence), (node(1), fence));
    assert!(term.remaining <= ms(60_000) && term.remaining > ms(30_000), "{term:?}");
    let seen = f.term().await.unwrap();
    assert_eq!((seen.id, seen.fence), (term.id, term.fence));
}

async fn a_leader_that_stands_again_keeps_its_term(f: Fixture) {
    let fence = f.elected(1, 200).await;
    f.advance(100).await;
    assert_eq!(f.elected(1, 60_000).await, fence);
    f.advance(150).await;
    assert!(matches!(f.stand(2, 60_000).await, Stood::Led(_)), "its time began anew");
}

async fn a_term_that_ended_is_not_renewed_and_the_next_has_a_larger_number(f: Fixture) {
    let first = f.elected(1, 100).await;
    f.advance(150).await;
    assert_eq!(f.term().await, None);
    assert!(!f.stores.leadership.renew(candidate(1), first, ms(60_000)).await.unwrap());
    let second = f.elected(2, 100).await;
    assert!(second > first);
    f.advance(150).await;
    assert!(f.elected(2, 60_000).await > second, "the same candidate, another term");
}

async fn a_term_is_prolonged_from_now_by_its_leader_alone(f: Fixture) {
    let fence = f.elected(1, 400).await;
    for _ in 0..3 {
        f.advance(200).await;
        assert!(f.stores.leadership.renew(candidate(1), fence, ms(400)).await.unwrap());
    }
    assert!(!f.stores.leadership.renew(candidate(2), fence, ms(60_000)).await.unwrap());
    assert!(!f.stores.leadership.renew(candidate(1), Fence(fence.0 - 1), ms(60_000)).await.unwrap());
    f.advance(450).await;
    assert_eq!(f.term().await, None);
}

async fn who_resigns_makes_room_at_once_and_its_number_never_comes_again(f: Fixture) {
    let first = f.elected(1, 60_000).await;
    assert!(!f.stores.leadership.resign(candidate(2), first).await.unwrap());
    assert!(f.stores.leadership.resign(candidate(1), first).await.unwrap());
    assert!(!f.stores.leadership.resign(candidate(1), first).await.unwrap());
    assert!(f.elected(2, 60_000).await > first);
}

async fn a_process_of_the_same_name_is_another_candidate(f: Fixture) {
    f.elected(1, 60_000).await;
    let twin = Candidate { life: life(99), ..candidate(1) };
    assert!(matches!(f.stores.leadership.stand(twin, ms(60_000)).await.unwrap(), Stood::Led(_)));
}

async fn of_many_candidates_at_once_one_is_elected(f: Fixture) {
    let elected = Arc::new(Mutex::new(Vec::new()));
    let work = (0..50).map(|n| {
        let (stores, elected) = (f.stores.clone(), Arc::clone(&elected));
        Box::pin(async move {
            if let Stood::Elected(fence) = stores.leadership.stand(candidate(n), ms(60_000)).await.unwrap() {
                elected.lock().unwrap().push((node(n), fence));
            }
        }) as Step<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    let term = f.term().await.unwrap();
    assert_eq!(*elected.lock().unwrap(), [(term.id, term.fence)]);
}

async fn what_an_earlier_leader_writes_is_refused_everywhere_once_a_later_one_is_proclaimed(f: Fixture) {
    // enough users and rooms for many partitions
    for sid in 0..20 {
        f.leave_something(&format!("u{sid}"), sid, 7).await;
    }
    let first = f.elected(1, 60_000).await;
    f.stores.leadership.proclaim(first).await.unwrap();
    assert!(f.stores.leadership.resign(candidate(1), first).await.unwrap());
    let second = f.elected(2, 60_000).await;
    f.stores.leadership.proclaim(second).await.unwrap();
    f.stores.leadership.proclaim(second).await.unwrap();
    let (dead, epoch) = (node(7), life(7));
    let fenced = |fault: StoreFault| assert!(matches!(fault, StoreFault::Fenced), "{fault}");
    fenced(f.stores.leadership.proclaim(first).await.unwrap_err());
    for _ in 0..2 {
        fenced(f.stores.remains.reap_slots(Some(first), dead.clone(), epoch, 9).await.unwrap_err());
        fenced(f.stores.remains.reap_members(Some(first), dead.clone(), epoch, 9).await.unwrap_err());
        fenced(f.stores.remains.bury(Some(first), dead.clone(), epoch).await.unwrap_err());
    }
    assert_eq!(f.stores.remains.reap_slots(Some(second), dead.clone(), epoch, 100).await.unwrap(), 20);
    assert_eq!(f.stores.remains.reap_members(Some(second), dead, epoch, 100).await.unwrap(), 20);
}

async fn a_refused_write_changes_nothing(f: Fixture) {
    assert!(f.stores.lease.take(node(7), life(7), ms(50)).await.unwrap());
    f.leave_something("ada", 1, 7).await;
    f.advance(100).await;
    f.stores.leadership.proclaim(Fence(9)).await.unwrap();
    f.stores.remains.reap_slots(Some(Fence(8)), node(7), life(7), 9).await.unwrap_err();
    f.stores.remains.reap_members(Some(Fence(8)), node(7), life(7), 9).await.unwrap_err();
    f.stores.remains.bury(Some(Fence(8)), node(7), life(7)).await.unwrap_err();
    assert_eq!(f.left("ada").await, (1, 1));
    assert_eq!(f.lapsed().await, [(node(7), life(7))]);
}

async fn a_node_needs_no_term_to_clear_up(f: Fixture) {
    assert!(f.stores.lease.take(node(7), life(7), ms(50)).await.unwrap());
    f.leave_something("ada", 1, 7).await;
    f.advance(100).await;
    f.stores.leadership.proclaim(Fence(9)).await.unwrap();
    assert_eq!(f.stores.remains.reap_slots(None, node(7), life(7), 9).await.unwrap(), 1);
    assert_eq!(f.stores.remains.reap_members(None, node(7), life(7), 9).await.unwrap(), 1);
    assert!(f.stores.remains.bury(None, node(7), life(7)).await.unwrap());
    assert_eq!(f.left("ada").await, (0, 0));
}

async fn a_life_is_remembered_from_its_lease_until_it_is_buried(f: Fixture) {
    assert!(f.stores.lease.take(node(1), life(1), ms(100)).await.unwrap());
    assert!(f.stores.lease.take(node(2), life(2), ms(60_000)).await.unwrap());
    assert!(f.lapsed().await.is_empty());
    f.advance(150).await;
    assert_eq!(f.lapsed().await, [(node(1), life(1))]);
    // the next life of the node does not make the one before it forgotten
    assert!(f.stores.lease.take(node(1), life(10), ms(100)).await.unwrap());
    assert_eq!(f.lapsed().await, [(node(1), life(1))]);
    f.advance(150).await;
    assert_eq!(f.lapsed().await, [(node(1), life(1)), (node(1), life(10))]);
    assert!(f.stores.remains.bury(None, node(1), life(1)).await.unwrap());
    assert!(!f.stores.remains.bury(None, node(1), life(1)).await.unwrap());
    assert_eq!(f.lapsed().await, [(node(1), life(10))]);
    assert_eq!(f.stores.lease.members().await.unwrap().len(), 1);
}

async fn a_life_that_gave_its_lease_back_left_nothing(f: Fixture) {
    assert!(f.stores.lease.take(node(1), life(1), ms(60_000)).await.unwrap());
    assert!(f.stores.lease.release(node(1), life(1)).await.unwrap());
    assert!(f.lapsed().await.is_empty());
    assert!(!f.stores.remains.bury(None, node(1), life(1)).await.unwrap());
}

async fn a_life_whose_lease_runs_cannot_be_buried(f: Fixture) {
    assert!(f.stores.lease.take(node(1), life(1), ms(60_000)).await.unwrap());
    assert!(!f.stores.remains.bury(None, node(1), life(1)).await.unwrap());
    assert_eq!(f.stores.lease.members().await.unwrap().len(), 1);
    assert!(f.stores.lease.release(node(1), life(1)).await.unwrap());
}
