//! The ledger: detach, arm, spend, resume.

use super::session::holder;
use super::{Fixture, checks, life, ms, node, user};
use crate::config::model::OnLimit;
use crate::ids::SessionId;
use crate::store::session::{Acquired, Holder, Resumed};

checks![
    a_detached_session_resumes_elsewhere_in_the_next_generation,
    a_session_whose_socket_is_still_there_resumes_too,
    a_resumed_session_is_safe_from_its_old_holder,
    resume_takes_no_second_slot_and_keeps_the_sessions_age,
    an_unknown_token_and_another_users_token_resume_nothing,
    a_token_is_worth_nothing_after_the_window,
    a_token_is_worth_nothing_after_release,
    a_token_is_worth_nothing_while_its_session_is_evicted_and_good_again_if_the_newcomer_withdraws,
    a_lost_welcome_strands_nobody,
    a_lost_welcome_strands_nobody_even_if_the_new_socket_breaks_too,
    the_first_frame_spends_the_old_token,
    showing_the_successor_spends_the_old_token,
    an_unproved_successor_is_dropped_when_the_old_token_wins_again,
    an_old_token_that_nobody_spends_lapses_by_itself,
    arm_and_spend_by_an_old_holder_change_nothing,
    spend_without_a_predecessor_changes_nothing,
    ; long:
];

impl Fixture {
    async fn arm(&self, holder: &Holder, token: u8, window: u64) -> Option<u64> {
        self.stores.ledger.arm(user("u"), holder.clone(), [token; 32], ms(window)).await.unwrap().seq
    }

    async fn spend(&self, holder: &Holder) -> Option<u64> {
        self.stores.ledger.spend(user("u"), holder.clone()).await.unwrap().seq
    }

    async fn resume(&self, token: u8, on: u128) -> Option<Resumed> {
        self.stores.ledger.resume(user("u"), [token; 32], node(on), life(on)).await.unwrap()
    }

    /// A session with token 1 on node 1 that resumed on node 2 and was given token 2.
    async fn resumed_once(&self) -> Holder {
        let first = self.held("u", 1, 1).await;
        self.arm(&first, 1, 60_000).await.unwrap();
        let second = self.resume(1, 2).await.unwrap().holder;
        self.arm(&second, 2, 60_000).await.unwrap();
        second
    }
}

async fn a_detached_session_resumes_elsewhere_in_the_next_generation(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    let detached = f.detach("u", &first, 1, 60_000).await.unwrap();
    let resumed = f.resume(1, 2).await.unwrap();
    assert_eq!((resumed.previous, resumed.was_live), (first, false));
    assert_eq!(resumed.holder, Holder { sid: SessionId(1), node: node(2), epoch: life(2), generation: 1 });
    assert!(resumed.seq > detached);
    assert!(f.holds("u", &resumed.holder).await);
}

async fn a_session_whose_socket_is_still_there_resumes_too(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.arm(&first, 1, 100).await.unwrap();
    f.advance(200).await;
    let resumed = f.resume(1, 2).await.expect("the armed token is good while the slot is live");
    assert_eq!((&resumed.previous, resumed.was_live), (&first, true));
    assert!(!f.holds("u", &first).await);
}

async fn a_resumed_session_is_safe_from_its_old_holder(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.arm(&first, 1, 60_000).await.unwrap();
    let second = f.resume(1, 1).await.unwrap().holder;
    assert_eq!(f.release("u", &first).await, None, "same node, same life, older generation");
    assert_eq!(f.detach("u", &first, 1, 0).await, None);
    assert_eq!(f.stores.ledger.confirm(user("u"), first).await.unwrap(), None);
    let third = f.resume(1, 2).await.unwrap().holder;
    assert_eq!(f.stores.ledger.reap(node(1), life(1), 10).await.unwrap(), 0);
    assert_eq!(f.release("u", &second).await, None);
    assert!(f.holds("u", &third).await);
}

async fn resume_takes_no_second_slot_and_keeps_the_sessions_age(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.held("u", 2, 1).await;
    f.detach("u", &first, 1, 60_000).await.unwrap();
    let since = f.stores.ledger.slots(user("u")).await.unwrap()[0].since;
    assert_eq!(f.resume(1, 2).await.unwrap().since, since);
    let slots = f.stores.ledger.slots(user("u")).await.unwrap();
    assert_eq!((slots.len(), slots[0].holder.sid.0, slots[0].since), (2, 1, since));
}

async fn an_unknown_token_and_another_users_token_resume_nothing(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.detach("u", &first, 1, 60_000).await.unwrap();
    f.held("v", 2, 1).await;
    assert_eq!(f.resume(9, 2).await, None);
    assert_eq!(f.resume(0, 2).await, None, "no token is armed as zero");
    assert_eq!(f.stores.ledger.resume(user("v"), [1; 32], node(2), life(2)).await.unwrap(), None);
    assert!(f.resume(1, 2).await.is_some(), "the tries cost nothing");
}

async fn a_token_is_worth_nothing_after_the_window(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.detach("u", &first, 1, 200).await.unwrap();
    f.advance(250).await;
    assert_eq!(f.resume(1, 2).await, None);
}

async fn a_token_is_worth_nothing_after_release(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.arm(&first, 1, 60_000).await.unwrap();
    f.release("u", &first).await.unwrap();
    assert_eq!(f.resume(1, 2).await, None);
}

async fn a_token_is_worth_nothing_while_its_session_is_evicted_and_good_again_if_the_newcomer_withdraws(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.arm(&first, 1, 60_000).await.unwrap();
    let newcomer = holder(2, 2);
    let answer = f.acquire("u", &newcomer, 1, OnLimit::EvictOldest).await;
    assert!(matches!(answer, Acquired::Evicting { .. }), "{answer:?}");
    assert_eq!(f.resume(1, 3).await, None);
    f.stores.ledger.withdraw(user("u"), newcomer).await.unwrap();
    assert!(f.resume(1, 3).await.is_some());
}

async fn a_lost_welcome_strands_nobody(f: Fixture) {
    let second = f.resumed_once().await;
    let third = f.resume(1, 3).await.expect("the welcome with token 2 was lost");
    assert_eq!((third.previous, third.holder.generation), (second, 2));
    f.arm(&third.holder, 3, 60_000).await.unwrap();
    assert!(f.resume(1, 4).await.is_some(), "that one was lost too");
}

async fn a_lost_welcome_strands_nobody_even_if_the_new_socket_breaks_too(f: Fixture) {
    let second = f.resumed_once().await;
    f.detach("u", &second, 2, 60_000).await.unwrap();
    assert_eq!(f.resume(1, 3).await.expect("token 2 never arrived").holder.generation, 2);
}

async fn the_first_frame_spends_the_old_token(f: Fixture) {
    let second = f.resumed_once().await;
    assert!(f.spend(&second).await.is_some());
    assert_eq!(f.resume(1, 3).await, None);
    assert!(f.holds("u", &second).await);
    f.detach("u", &second, 2, 60_000).await.unwrap();
    assert_eq!(f.resume(1, 3).await, None);
    assert!(f.resume(2, 3).await.is_some());
}

async fn showing_the_successor_spends_the_old_token(f: Fixture) {
    f.resumed_once().await;
    assert_eq!(f.resume(2, 3).await.unwrap().holder.generation, 2);
    assert_eq!(f.resume(1, 3).await, None);
    assert!(f.resume(2, 3).await.is_some(), "wins again until its own successor is proved");
}

async fn an_unproved_successor_is_dropped_when_the_old_token_wins_again(f: Fixture) {
    f.resumed_once().await;
    let third = f.resume(1, 3).await.unwrap().holder;
    assert_eq!(f.resume(2, 4).await, None);
    f.arm(&third, 3, 60_000).await.unwrap();
    assert!(f.resume(3, 4).await.is_some());
}

async fn an_old_token_that_nobody_spends_lapses_by_itself(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.arm(&first, 1, 60_000).await.unwrap();
    let second = f.resume(1, 2).await.unwrap().holder;
    f.arm(&second, 2, 200).await.unwrap();
    f.advance(250).await;
    assert_eq!(f.resume(1, 3).await, None);
    assert!(f.resume(2, 3).await.is_some());
}

async fn arm_and_spend_by_an_old_holder_change_nothing(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    f.arm(&first, 1, 60_000).await.unwrap();
    let second = f.resume(1, 2).await.unwrap().holder;
    f.arm(&second, 2, 60_000).await.unwrap();
    assert_eq!(f.arm(&first, 9, 60_000).await, None);
    assert_eq!(f.spend(&first).await, None);
    assert_eq!(f.resume(9, 3).await, None);
    assert!(f.resume(1, 3).await.is_some());
}

async fn spend_without_a_predecessor_changes_nothing(f: Fixture) {
    let first = f.held("u", 1, 1).await;
    assert_eq!(f.spend(&first).await, None);
    f.arm(&first, 1, 60_000).await.unwrap();
    assert_eq!(f.spend(&first).await, None);
    assert!(f.resume(1, 2).await.is_some());
}
