//! Leases: one life of a node at a time, fencing.

use std::sync::{Arc, Mutex};

use super::{Fixture, Step, checks, life, ms, node};
use crate::ids::NodeEpoch;

checks![
    a_lease_is_taken_once_and_again_by_its_holder,
    another_life_cannot_take_a_lease_that_runs,
    a_lapsed_lease_is_never_renewed_and_can_be_taken_by_the_next_life,
    renewal_prolongs_from_now,
    an_old_life_can_neither_renew_nor_release_the_lease_of_the_next,
    release_gives_the_lease_up_at_once,
    members_are_the_living_by_node_id_with_what_is_left,
    of_many_lives_at_once_one_takes_the_lease,
    ; long:
];

impl Fixture {
    async fn take(&self, on: u128, epoch: NodeEpoch, ttl: u64) -> bool {
        self.stores.lease.take(node(on), epoch, ms(ttl)).await.unwrap()
    }

    async fn renew(&self, on: u128, epoch: NodeEpoch, ttl: u64) -> bool {
        self.stores.lease.renew(node(on), epoch, ms(ttl)).await.unwrap()
    }
}

async fn a_lease_is_taken_once_and_again_by_its_holder(f: Fixture) {
    assert!(f.take(1, life(1), 60_000).await);
    assert!(f.take(1, life(1), 60_000).await);
    assert!(f.take(2, life(2), 60_000).await, "leases are per node");
}

async fn another_life_cannot_take_a_lease_that_runs(f: Fixture) {
    assert!(f.take(1, life(1), 60_000).await);
    assert!(!f.take(1, life(2), 60_000).await);
    assert_eq!(f.stores.lease.members().await.unwrap()[0].epoch, life(1));
}

async fn a_lapsed_lease_is_never_renewed_and_can_be_taken_by_the_next_life(f: Fixture) {
    assert!(f.take(1, life(1), 200).await);
    f.advance(250).await;
    assert!(!f.renew(1, life(1), 60_000).await);
    assert!(f.stores.lease.members().await.unwrap().is_empty());
    assert!(f.take(1, life(2), 60_000).await);
}

async fn renewal_prolongs_from_now(f: Fixture) {
    assert!(f.take(1, life(1), 400).await);
    for _ in 0..3 {
        f.advance(200).await;
        assert!(f.renew(1, life(1), 400).await);
    }
    f.advance(450).await;
    assert!(!f.renew(1, life(1), 400).await);
}

async fn an_old_life_can_neither_renew_nor_release_the_lease_of_the_next(f: Fixture) {
    assert!(f.take(1, life(1), 100).await);
    f.advance(150).await;
    assert!(f.take(1, life(2), 60_000).await);
    assert!(!f.renew(1, life(1), 60_000).await);
    assert!(!f.stores.lease.release(node(1), life(1)).await.unwrap());
    assert!(f.renew(1, life(2), 60_000).await);
}

async fn release_gives_the_lease_up_at_once(f: Fixture) {
    assert!(f.take(1, life(1), 60_000).await);
    assert!(f.stores.lease.release(node(1), life(1)).await.unwrap());
    assert!(!f.stores.lease.release(node(1), life(1)).await.unwrap());
    assert!(f.take(1, life(2), 60_000).await);
}

async fn members_are_the_living_by_node_id_with_what_is_left(f: Fixture) {
    for n in [3, 1, 2] {
        assert!(f.take(n, life(n), if n == 2 { 100 } else { 60_000 }).await);
    }
    f.advance(150).await;
    let members = f.stores.lease.members().await.unwrap();
    let names: Vec<_> = members.iter().map(|member| (member.node.clone(), member.epoch)).collect();
    assert_eq!(names, [(node(1), life(1)), (node(3), life(3))]);
    assert!(members.iter().all(|member| member.remaining > ms(30_000) && member.remaining <= ms(59_900)));
}

async fn of_many_lives_at_once_one_takes_the_lease(f: Fixture) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let lives = (0..50).map(|n| {
        let (stores, taken) = (f.stores.clone(), Arc::clone(&taken));
        Box::pin(async move {
            if stores.lease.take(node(1), life(n), ms(60_000)).await.unwrap() {
                taken.lock().unwrap().push(life(n));
            }
        }) as Step<'static, ()>
    });
    f.together(lives.collect::<Vec<_>>()).await;
    let taken = taken.lock().unwrap().clone();
    assert_eq!(taken, [f.stores.lease.members().await.unwrap()[0].epoch]);
}
