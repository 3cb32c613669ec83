//! The ledger: caps, policies, eviction, release, reap.

use super::{Fixture, checks, life, ms, node, user};
use crate::config::model::OnLimit;
use crate::ids::{NodeEpoch, SessionId};
use crate::store::session::{Acquire, Acquired, Holder, Passed, SlotState};

checks![
    a_user_gets_as_many_slots_as_the_cap_and_no_more,
    caps_are_per_user,
    a_cap_of_zero_admits_nobody,
    acquire_is_idempotent_by_holder,
    a_released_slot_can_be_had_again,
    a_release_by_another_holder_frees_nothing,
    release_is_idempotent,
    seq_grows_with_every_change_even_when_the_user_was_forgotten,
    at_the_cap_detached_slots_make_room_before_anybody_is_refused,
    at_the_cap_the_oldest_detached_slot_goes_first,
    a_detached_slot_expires_at_the_end_of_its_window,
    evict_oldest_names_the_oldest_and_the_newcomer_holds_nothing_yet,
    confirm_passes_the_slot_in_one_step,
    confirm_by_anybody_else_passes_nothing,
    confirm_passes_once,
    a_second_newcomer_gets_another_victim_and_is_refused_when_there_is_none,
    a_repeated_acquire_of_a_waiting_newcomer_names_the_same_victim,
    withdraw_leaves_the_victim_its_slot,
    withdraw_after_the_pass_releases_the_newcomers_slot,
    confirm_after_withdraw_passes_nothing_and_the_victim_can_release,
    an_evicted_session_that_releases_or_detaches_passes_its_slot,
    a_lowered_cap_never_lets_the_count_grow,
    remove_takes_the_slot_whoever_holds_it,
    removing_a_victim_passes_its_slot_and_removing_a_waiting_newcomer_ends_the_wait,
    a_node_that_lost_its_lease_reasserts_in_its_next_life_without_a_second_slot,
    an_old_holder_of_a_session_gets_no_second_slot,
    a_session_that_waits_waits_once_whichever_of_its_holders_asks,
    slots_are_listed_oldest_first_with_their_states,
    nodes_are_those_with_a_socket_each_once,
    reap_frees_the_slots_of_a_dead_life_in_batches_and_no_others,
    reap_passes_evicting_slots_and_ends_the_waits_of_the_dead,
    ; long:
];

pub(super) fn holder(sid: u128, on: u128) -> Holder {
    Holder { sid: SessionId(sid), node: node(on), epoch: life(on), generation: 0 }
}

pub(super) fn ask(who: &str, holder: &Holder, cap: u32, on_limit: OnLimit) -> Acquire {
    Acquire { user: user(who), holder: holder.clone(), cap, on_limit }
}

impl Fixture {
    pub(super) async fn acquire(&self, who: &str, holder: &Holder, cap: u32, on_limit: OnLimit) -> Acquired {
        self.stores.ledger.acquire(ask(who, holder, cap, on_limit)).await.unwrap()
    }

    /// A slot for session `sid` on node `on`, under a cap that is not reached.
    pub(super) async fn held(&self, who: &str, sid: u128, on: u128) -> Holder {
        let holder = holder(sid, on);
        let answer = self.acquire(who, &holder, 1_000, OnLimit::Reject).await;
        assert!(matches!(answer, Acquired::Held { .. }), "{answer:?}");
        holder
    }

    pub(super) async fn release(&self, who: &str, holder: &Holder) -> Option<u64> {
        self.stores.ledger.release(user(who), holder.clone()).await.unwrap().seq
    }

    pub(super) async fn holds(&self, who: &str, holder: &Holder) -> bool {
        self.stores.ledger.holds(user(who), holder.clone()).await.unwrap()
    }

    pub(super) async fn sids(&self, who: &str) -> Vec<u128> {
        self.stores.ledger.slots(user(who)).await.unwrap().into_iter().map(|slot| slot.holder.sid.0).collect()
    }

    pub(super) async fn detach(&self, who: &str, holder: &Holder, token: u8, window: u64) -> Option<u64> {
        self.stores.ledger.detach(user(who), holder.clone(), [token; 32], ms(window)).await.unwrap().seq
    }

    async fn confirm(&self, who: &str, victim: &Holder) -> Option<Passed> {
        self.stores.ledger.confirm(user(who), victim.clone()).await.unwrap()
    }

    async fn withdraw(&self, who: &str, newcomer: &Holder) -> Option<u64> {
        self.stores.ledger.withdraw(user(who), newcomer.clone()).await.unwrap().seq
    }

    /// Asks at cap `cap`; the answer must be an eviction.
    async fn evicting(&self, who: &str, newcomer: &Holder, cap: u32) -> Holder {
        match self.acquire(who, newcomer, cap, OnLimit::EvictOldest).await {
            Acquired::Evicting { victim, .. } => victim,
            other => panic!("expected an eviction: {other:?}"),
        }
    }
}

fn is_full(answer: &Acquired) -> bool {
    matches!(answer, Acquired::Full { retry_after } if !retry_after.is_zero())
}

async fn a_user_gets_as_many_slots_as_the_cap_and_no_more(f: Fixture) {
    for sid in 1..=5 {
        assert!(matches!(f.acquire("u", &holder(sid, 1), 5, OnLimit::Reject).await, Acquired::Held { .. }));
    }
    assert!(is_full(&f.acquire("u", &holder(6, 2), 5, OnLimit::Reject).await));
    assert_eq!(f.sids("u").await, [1, 2, 3, 4, 5]);
}

async fn caps_are_per_user(f: Fixture) {
    for who in ["a", "b", "c"] {
        assert!(matches!(f.acquire(who, &holder(1, 1), 1, OnLimit::Reject).await, Acquired::Held { .. }));
    }
    assert!(is_full(&f.acquire("b", &holder(2, 1), 1, OnLimit::Reject).await));
}

async fn a_cap_of_zero_admits_nobody(f: Fixture) {
    for policy in [OnLimit::Reject, OnLimit::EvictOldest] {
        assert!(is_full(&f.acquire("u", &holder(1, 1), 0, policy).await));
    }
    assert!(f.sids("u").await.is_empty());
}

async fn acquire_is_idempotent_by_holder(f: Fixture) {
    let mine = holder(1, 1);
    for _ in 0..3 {
        assert!(matches!(f.acquire("u", &mine, 1, OnLimit::Reject).await, Acquired::Held { .. }));
    }
    assert_eq!(f.sids("u").await, [1]);
}

async fn a_released_slot_can_be_had_again(f: Fixture) {
    let mine = f.held("u", 1, 1).await;
    assert!(f.release("u", &mine).await.is_some());
    assert!(!f.holds("u", &mine).await);
    assert!(matches!(f.acquire("u", &holder(2, 1), 1, OnLimit::Reject).await, Acquired::Held { .. }));
}

async fn a_release_by_another_holder_frees_nothing(f: Fixture) {
    let mine = f.held("u", 1, 1).await;
    let others = [
        Holder { generation: 1, ..mine.clone() },
        Holder { epoch: life(9), ..mine.clone() },
        Holder { sid: SessionId(2), ..mine.clone() },
    ];
    for other in &others {
        assert_eq!(f.release("u", other).await, None, "{other:?}");
        assert_eq!(f.detach("u", other, 1, 1_000).await, None, "{other:?}");
    }
    assert_eq!(f.release("v", &mine).await, None, "another user");
    assert!(f.holds("u", &mine).await);
}

async fn release_is_idempotent(f: Fixture) {
    let mine = f.held("u", 1, 1).await;
    assert!(f.release("u", &mine).await.is_some());
    assert_eq!(f.release("u", &mine).await, None);
}

async fn seq_grows_with_every_change_even_when_the_user_was_forgotten(f: Fixture) {
    let mut last = 0;
    for sid in 1..=5 {
        let mine = holder(sid, 1);
        let Acquired::Held { seq } = f.acquire("u", &mine, 1, OnLimit::Reject).await else { panic!("no slot") };
        assert!(seq > last, "{seq} after {last}");
        last = seq;
        let seq = f.release("u", &mine).await.unwrap();
        assert!(seq > last, "{seq} after {last}");
        last = seq;
    }
}

async fn at_the_cap_detached_slots_make_room_before_anybody_is_refused(f: Fixture) {
    for policy in [OnLimit::Reject, OnLimit::EvictOldest] {
        let who = format!("{policy:?}");
        let (first, second) = (f.held(&who, 1, 1).await, f.held(&who, 2, 1).await);
        f.detach(&who, &second, 1, 60_000).await.unwrap();
        assert!(matches!(f.acquire(&who, &holder(3, 1), 2, policy).await, Acquired::Held { .. }));
        assert_eq!(f.sids(&who).await, [1, 3]);
        assert!(f.holds(&who, &first).await);
    }
}

async fn at_the_cap_the_oldest_detached_slot_goes_first(f: Fixture) {
    let (first, second) = (f.held("u", 1, 1).await, f.held("u", 2, 1).await);
    f.detach("u", &second, 2, 60_000).await.unwrap();
    f.detach("u", &first, 1, 60_000).await.unwrap();
    assert!(matches!(f.acquire("u", &holder(3, 1), 2, OnLimit::Reject).await, Acquired::Held { .. }));
    assert_eq!(f.sids("u").await, [2, 3]);
}

async fn a_detached_slot_expires_at_the_end_of_its_window(f: Fixture) {
    let mine = f.held("u", 1, 1).await;
    f.detach("u", &mine, 1, 200).await.unwrap();
    assert_eq!(f.sids("u").await, [1]);
    assert!(!f.holds("u", &mine).await, "a detached slot is not live");
    f.advance(250).await;
    assert!(f.sids("u").await.is_empty());
    assert_eq!(f.release("u", &mine).await, None);
}

async fn evict_oldest_names_the_oldest_and_the_newcomer_holds_nothing_yet(f: Fixture) {
    let (first, _) = (f.held("u", 1, 1).await, f.held("u", 2, 2).await);
    let newcomer = holder(3, 2);
    assert_eq!(f.evicting("u", &newcomer, 2).await, first);
    assert!(!f.holds("u", &newcomer).await);
    assert!(f.holds("u", &first).await, "until it has confirmed");
    assert_eq!(f.sids("u").await, [1, 2]);
}

async fn confirm_passes_the_slot_in_one_step(f: Fixture) {
    let (first, _) = (f.held("u", 1, 1).await, f.held("u", 2, 1).await);
    let newcomer = holder(3, 2);
    let Acquired::Evicting { seq, .. } = f.acquire("u", &newcomer, 2, OnLimit::EvictOldest).await else {
        panic!("no eviction")
    };
    let passed = f.confirm("u", &first).await.unwrap();
    assert_eq!(passed.to, newcomer);
    assert!(passed.seq > seq);
    assert!(f.holds("u", &newcomer).await && !f.holds("u", &first).await);
    assert_eq!(f.sids("u").await, [2, 3], "the newcomer is the youngest now");
}

async fn confirm_by_anybody_else_passes_nothing(f: Fixture) {
    let victim = f.held("u", 1, 1).await;
    let newcomer = holder(2, 2);
    f.evicting("u", &newcomer, 1).await;
    for other in [Holder { generation: 1, ..victim.clone() }, Holder { epoch: life(9), ..victim.clone() }] {
        assert_eq!(f.confirm("u", &other).await, None);
    }
    assert_eq!(f.confirm("u", &newcomer).await, None);
    assert!(f.holds("u", &victim).await && !f.holds("u", &newcomer).await);
}

async fn confirm_passes_once(f: Fixture) {
    let victim = f.held("u", 1, 1).await;
    assert_eq!(f.confirm("u", &victim).await, None, "nobody waits");
    f.evicting("u", &holder(2, 2), 1).await;
    assert!(f.confirm("u", &victim).await.is_some());
    assert_eq!(f.confirm("u", &victim).await, None);
    assert_eq!(f.sids("u").await, [2]);
}

async fn a_second_newcomer_gets_another_victim_and_is_refused_when_there_is_none(f: Fixture) {
    let (first, second) = (f.held("u", 1, 1).await, f.held("u", 2, 1).await);
    let (one, two, three) = (holder(11, 2), holder(12, 2), holder(13, 2));
    assert_eq!(f.evicting("u", &one, 2).await, first);
    assert_eq!(f.evicting("u", &two, 2).await, second);
    assert!(is_full(&f.acquire("u", &three, 2, OnLimit::EvictOldest).await));
    assert_eq!(f.confirm("u", &second).await.unwrap().to, two);
    assert_eq!(f.confirm("u", &first).await.unwrap().to, one);
    assert_eq!(f.sids("u").await, [12, 11]);
}

async fn a_repeated_acquire_of_a_waiting_newcomer_names_the_same_victim(f: Fixture) {
    let (first, second) = (f.held("u", 1, 1).await, f.held("u", 2, 1).await);
    let newcomer = holder(3, 2);
    assert_eq!(f.evicting("u", &newcomer, 2).await, first);
    assert_eq!(f.evicting("u", &newcomer, 2).await, first);
    assert_eq!(f.confirm("u", &second).await, None, "nobody waits for the second");
}

async fn withdraw_leaves_the_victim_its_slot(f: Fixture) {
    let victim = f.held("u", 1, 1).await;
    let newcomer = holder(2, 2);
    f.evicting("u", &newcomer, 1).await;
    assert!(f.withdraw("u", &newcomer).await.is_some());
    assert_eq!(f.withdraw("u", &newcomer).await, None);
    let slots = f.stores.ledger.slots(user("u")).await.unwrap();
    assert_eq!((slots.len(), &slots[0].holder, &slots[0].state), (1, &victim, &SlotState::Live));
}

async fn withdraw_after_the_pass_releases_the_newcomers_slot(f: Fixture) {
    let victim = f.held("u", 1, 1).await;
    let newcomer = holder(2, 2);
    f.evicting("u", &newcomer, 1).await;
    f.confirm("u", &victim).await.unwrap();
    assert!(f.withdraw("u", &newcomer).await.is_some());
    assert!(f.sids("u").await.is_empty());
}

async fn confirm_after_withdraw_passes_nothing_and_the_victim_can_release(f: Fixture) {
    let victim = f.held("u", 1, 1).await;
    let newcomer = holder(2, 2);
    f.evicting("u", &newcomer, 1).await;
    f.withdraw("u", &newcomer).await.unwrap();
    assert_eq!(f.confirm("u", &victim).await, None);
    assert!(f.holds("u", &victim).await, "confirm changed nothing");
    assert!(f.release("u", &victim).await.is_some());
    assert!(f.sids("u").await.is_empty());
}

async fn an_evicted_session_that_releases_or_detaches_passes_its_slot(f: Fixture) {
    for way in ["release", "detach"] {
        let victim = f.held(way, 1, 1).await;
        let newcomer = holder(2, 2);
        f.evicting(way, &newcomer, 1).await;
        let seq = match way {
            "release" => f.release(way, &victim).await,
            _ => f.detach(way, &victim, 1, 60_000).await,
        };
        assert!(seq.is_some());
        assert!(f.holds(way, &newcomer).await, "{way}");
        assert_eq!(f.sids(way).await, [2], "{way}");
    }
}

async fn a_lowered_cap_never_lets_the_count_grow(f: Fixture) {
    for sid in 1..=4 {
        f.held("u", sid, 1).await;
    }
    assert!(is_full(&f.acquire("u", &holder(5, 1), 2, OnLimit::Reject).await));
    let victim = f.evicting("u", &holder(6, 1), 2).await;
    f.confirm("u", &victim).await.unwrap();
    assert_eq!(f.sids("u").await, [2, 3, 4, 6]);
}

async fn remove_takes_the_slot_whoever_holds_it(f: Fixture) {
    let mine = f.held("u", 1, 1).await;
    f.detach("u", &mine, 1, 60_000).await.unwrap();
    let slot = f.stores.ledger.remove(user("u"), mine.sid).await.unwrap().unwrap();
    assert_eq!(slot.holder, mine);
    assert!(matches!(slot.state, SlotState::Detached { .. }));
    assert_eq!(f.stores.ledger.remove(user("u"), mine.sid).await.unwrap(), None);
    let resumed = f.stores.ledger.resume(user("u"), [1; 32], node(2), life(2)).await.unwrap();
    assert_eq!(resumed, None, "the resume record went with it");
}

async fn removing_a_victim_passes_its_slot_and_removing_a_waiting_newcomer_ends_the_wait(f: Fixture) {
    let (victim, newcomer) = (f.held("u", 1, 1).await, holder(2, 2));
    f.evicting("u", &newcomer, 1).await;
    assert_eq!(f.stores.ledger.remove(user("u"), newcomer.sid).await.unwrap(), None);
    assert_eq!(f.confirm("u", &victim).await, None, "nobody waits any more");
    f.evicting("u", &newcomer, 1).await;
    assert_eq!(f.stores.ledger.remove(user("u"), victim.sid).await.unwrap().unwrap().holder, victim);
    assert!(f.holds("u", &newcomer).await);
}

async fn a_node_that_lost_its_lease_reasserts_in_its_next_life_without_a_second_slot(f: Fixture) {
    let old = f.held("u", 1, 1).await;
    let new = Holder { epoch: NodeEpoch(77), ..old.clone() };
    assert!(matches!(f.acquire("u", &new, 1, OnLimit::Reject).await, Acquired::Held { .. }));
    assert!(f.holds("u", &new).await && !f.holds("u", &old).await);
    assert_eq!(f.release("u", &old).await, None);
    assert_eq!(f.stores.ledger.reap(node(1), life(1), 10).await.unwrap(), 0);
    assert_eq!(f.sids("u").await, [1]);
}

async fn an_old_holder_of_a_session_gets_no_second_slot(f: Fixture) {
    let old = f.held("u", 1, 1).await;
    f.detach("u", &old, 1, 60_000).await.unwrap();
    let resumed = f.stores.ledger.resume(user("u"), [1; 32], node(2), life(2)).await.unwrap().unwrap();
    for stale in [old.clone(), Holder { epoch: NodeEpoch(77), ..old }] {
        assert!(is_full(&f.acquire("u", &stale, 5, OnLimit::Reject).await));
    }
    assert!(f.holds("u", &resumed.holder).await);
    assert_eq!(f.sids("u").await, [1]);
}

async fn a_session_that_waits_waits_once_whichever_of_its_holders_asks(f: Fixture) {
    let (first, second) = (f.held("u", 1, 1).await, f.held("u", 2, 1).await);
    let newcomer = holder(3, 2);
    assert_eq!(f.evicting("u", &newcomer, 2).await, first);
    let next_life = Holder { epoch: NodeEpoch(77), ..newcomer.clone() };
    assert_eq!(f.evicting("u", &next_life, 2).await, first, "its node lost its lease meanwhile");
    for other in [Holder { generation: 1, ..newcomer.clone() }, holder(3, 3)] {
        assert!(is_full(&f.acquire("u", &other, 3, OnLimit::EvictOldest).await), "{other:?}");
    }
    assert_eq!(f.confirm("u", &second).await, None, "nobody waits for the second");
    assert_eq!(f.stores.ledger.reap(node(2), life(2), 10).await.unwrap(), 0);
    assert_eq!(f.confirm("u", &first).await.unwrap().to, next_life);
    assert_eq!(f.withdraw("u", &newcomer).await, None, "that life is over");
    assert_eq!(f.sids("u").await, [2, 3]);
}

async fn slots_are_listed_oldest_first_with_their_states(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.advance(20).await;
    let second = f.held("u", 2, 2).await;
    f.advance(20).await;
    f.held("u", 3, 2).await;
    f.detach("u", &second, 1, 60_000).await.unwrap();
    f.held("v", 9, 1).await;
    let slots = f.stores.ledger.slots(user("u")).await.unwrap();
    assert_eq!(slots.iter().map(|slot| slot.holder.sid.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&slots[0].holder, &slots[0].state), (&first, &SlotState::Live));
    let SlotState::Detached { until } = slots[1].state else { panic!("{:?}", slots[1]) };
    let left = until.0 - slots[1].since.0;
    assert!((60_000..120_000).contains(&left), "{left}");
    assert!(slots[0].since < slots[1].since && slots[1].since < slots[2].since);
}

async fn nodes_are_those_with_a_socket_each_once(f: Fixture) {
    f.held("u", 1, 1).await;
    f.held("u", 2, 1).await;
    f.held("u", 3, 2).await;
    let away = f.held("u", 4, 3).await;
    f.detach("u", &away, 1, 60_000).await.unwrap();
    let mut nodes = f.stores.ledger.nodes(user("u")).await.unwrap();
    nodes.sort();
    assert_eq!(nodes, [node(1), node(2)]);
}

async fn reap_frees_the_slots_of_a_dead_life_in_batches_and_no_others(f: Fixture) {
    for sid in 0..25 {
        f.held(&format!("u{}", sid % 7), sid, 1).await;
    }
    f.held("u1", 100, 2).await;
    let other_life = Holder { epoch: NodeEpoch(5), ..holder(101, 1) };
    f.acquire("u1", &other_life, 100, OnLimit::Reject).await;
    let away = f.held("u1", 102, 1).await;
    f.detach("u1", &away, 1, 60_000).await.unwrap();
    let mut batches = Vec::new();
    while batches.last() != Some(&0) && batches.len() < 10 {
        batches.push(f.stores.ledger.reap(node(1), life(1), 10).await.unwrap());
    }
    assert_eq!(batches, [10, 10, 5, 0]);
    assert_eq!(f.sids("u1").await, [100, 101, 102]);
    assert!(f.sids("u2").await.is_empty());
}

async fn reap_passes_evicting_slots_and_ends_the_waits_of_the_dead(f: Fixture) {
    let (victim, newcomer) = (f.held("u", 1, 1).await, holder(2, 2));
    f.evicting("u", &newcomer, 1).await;
    assert_eq!(f.stores.ledger.reap(node(2), life(2), 10).await.unwrap(), 0, "it holds nothing");
    assert_eq!(f.confirm("u", &victim).await, None, "its newcomer is dead");
    let next = holder(3, 3);
    f.evicting("u", &next, 1).await;
    assert_eq!(f.stores.ledger.reap(node(1), life(1), 10).await.unwrap(), 1);
    assert!(f.holds("u", &next).await);
    assert_eq!(f.sids("u").await, [3]);
}
