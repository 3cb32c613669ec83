//! Presence: who is in a room.

use super::{Fixture, Step, checks, life, node, room, user};
use crate::ids::{NodeEpoch, SessionId};
use crate::store::presence::{Change, Occupant};

checks![
    the_first_entry_and_the_last_exit_of_a_user_are_told_apart,
    entering_twice_counts_once,
    leaving_twice_counts_once,
    rooms_do_not_mix,
    a_list_names_every_user_once_up_to_the_limit_and_counts_sessions,
    a_session_that_resumed_elsewhere_is_not_taken_out_by_its_old_node,
    reap_removes_a_dead_life_in_batches_and_nobody_else,
    concurrent_entries_and_exits_leave_an_exact_count,
    ; long:
];

fn occupant(sid: u128, who: &str, on: u128) -> Occupant {
    Occupant { sid: SessionId(sid), user: user(who), node: node(on), epoch: life(on) }
}

impl Fixture {
    async fn enter(&self, name: &str, occupant: Occupant) -> (usize, bool) {
        let Change { sessions, user_changed } = self.stores.presence.enter(room(name), occupant).await.unwrap();
        (sessions, user_changed)
    }

    async fn exit(&self, name: &str, sid: u128, epoch: NodeEpoch) -> (usize, bool) {
        let change = self.stores.presence.exit(room(name), SessionId(sid), epoch).await.unwrap();
        (change.sessions, change.user_changed)
    }
}

async fn the_first_entry_and_the_last_exit_of_a_user_are_told_apart(f: Fixture) {
    assert_eq!(f.enter("r", occupant(1, "a", 1)).await, (1, true));
    assert_eq!(f.enter("r", occupant(2, "a", 2)).await, (2, false));
    assert_eq!(f.enter("r", occupant(3, "b", 1)).await, (3, true));
    assert_eq!(f.exit("r", 1, life(1)).await, (2, false));
    assert_eq!(f.exit("r", 2, life(2)).await, (1, true));
    assert_eq!(f.exit("r", 3, life(1)).await, (0, true));
}

async fn entering_twice_counts_once(f: Fixture) {
    assert_eq!(f.enter("r", occupant(1, "a", 1)).await, (1, true));
    assert_eq!(f.enter("r", occupant(1, "a", 1)).await, (1, false));
    assert_eq!(f.exit("r", 1, life(1)).await, (0, true));
}

async fn leaving_twice_counts_once(f: Fixture) {
    f.enter("r", occupant(1, "a", 1)).await;
    f.enter("r", occupant(2, "b", 1)).await;
    assert_eq!(f.exit("r", 1, life(1)).await, (1, true));
    assert_eq!(f.exit("r", 1, life(1)).await, (1, false));
    assert_eq!(f.exit("empty", 1, life(1)).await, (0, false));
}

async fn rooms_do_not_mix(f: Fixture) {
    f.enter("r", occupant(1, "a", 1)).await;
    assert_eq!(f.enter("s", occupant(1, "a", 1)).await, (1, true));
    assert_eq!(f.exit("r", 1, life(1)).await, (0, true));
    let (users, sessions) = f.stores.presence.list(room("s"), 10).await.unwrap();
    assert_eq!((users, sessions), (vec![user("a")], 1));
    assert_eq!(f.stores.presence.list(room("r"), 10).await.unwrap(), (Vec::new(), 0));
}

async fn a_list_names_every_user_once_up_to_the_limit_and_counts_sessions(f: Fixture) {
    for sid in 0..20 {
        f.enter("r", occupant(sid, &format!("u{}", sid % 10), 1)).await;
    }
    let (mut users, sessions) = f.stores.presence.list(room("r"), 100).await.unwrap();
    users.sort();
    users.dedup();
    assert_eq!((users.len(), sessions), (10, 20));
    let (users, sessions) = f.stores.presence.list(room("r"), 3).await.unwrap();
    assert_eq!((users.len(), sessions), (3, 20));
}

async fn a_session_that_resumed_elsewhere_is_not_taken_out_by_its_old_node(f: Fixture) {
    f.enter("r", occupant(1, "a", 1)).await;
    assert_eq!(f.enter("r", occupant(1, "a", 2)).await, (1, false));
    assert_eq!(f.exit("r", 1, life(1)).await, (1, false));
    assert_eq!(f.stores.presence.reap(node(1), life(1), 10).await.unwrap(), 0);
    assert_eq!(f.exit("r", 1, life(2)).await, (0, true));
}

async fn reap_removes_a_dead_life_in_batches_and_nobody_else(f: Fixture) {
    for sid in 0..25 {
        f.enter(&format!("r{}", sid % 4), occupant(sid, "a", 1)).await;
    }
    f.enter("r0", occupant(100, "b", 2)).await;
    f.enter("r0", Occupant { epoch: NodeEpoch(5), ..occupant(101, "c", 1) }).await;
    let mut batches = Vec::new();
    while batches.last() != Some(&0) && batches.len() < 10 {
        batches.push(f.stores.presence.reap(node(1), life(1), 10).await.unwrap());
    }
    assert_eq!(batches, [10, 10, 5, 0]);
    let (mut users, sessions) = f.stores.presence.list(room("r0"), 10).await.unwrap();
    users.sort();
    assert_eq!((users, sessions), (vec![user("b"), user("c")], 2));
}

async fn concurrent_entries_and_exits_leave_an_exact_count(f: Fixture) {
    let work = (0..100).map(|sid| {
        let stores = f.stores.clone();
        Box::pin(async move {
            let who = occupant(sid, &format!("u{}", sid % 5), sid % 3);
            stores.presence.enter(room("r"), who.clone()).await.unwrap();
            if sid % 2 == 0 {
                stores.presence.exit(room("r"), who.sid, who.epoch).await.unwrap();
            }
        }) as Step<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    let (users, sessions) = f.stores.presence.list(room("r"), 10).await.unwrap();
    assert_eq!((users.len(), sessions), (5, 50));
}
