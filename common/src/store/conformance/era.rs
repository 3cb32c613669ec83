//! Eras: a store that forgot is not a store in which nobody is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::bus::record;
use super::limit::a_count_outlives_an_era;
use super::session::holder;
use super::{Fixture, Forgetful, Step, checks, life, ms, node, room, user};
use crate::config::model::{History, OnLimit};
use crate::store::bus::Position;
use crate::store::era::{EraView, Mark, PATIENCE};
use crate::store::presence::Occupant;
use crate::store::session::{Acquire, Acquired, Holder};
use crate::store::{StoreFault, Stores};

checks![
    without_an_era_nothing_is_decided,
    an_era_in_which_nobody_is_waited_for_is_whole_at_once,
    newcomers_wait_until_every_named_member_has_said_what_it_has,
    members_with_a_lease_are_waited_for_though_the_opener_did_not_name_them,
    strangers_have_a_moment_to_speak_up_and_are_waited_for_then,
    who_is_done_is_not_waited_for_again,
    a_store_that_lost_everything_decides_nothing_until_the_next_era,
    a_copy_that_lags_decides_nothing_until_the_next_era,
    slots_tokens_tickets_and_members_end_with_their_era,
    a_session_that_lives_has_its_slot_in_the_next_era_and_the_cap_counts_it,
    of_many_who_open_at_once_all_get_one_era,
    a_process_that_only_reads_follows,
    a_mark_of_an_era_that_is_over_changes_nothing,
    a_room_begins_a_new_order_when_the_store_lost_everything,
    a_room_begins_a_new_order_when_the_store_is_a_copy_that_may_lag,
    a_count_outlives_an_era,
    ; long: a_member_that_says_nothing_is_waited_for_so_long_and_no_longer,
];

struct World(Arc<dyn Forgetful>);

impl Fixture {
    async fn world(&self) -> World {
        World(self.harness.forgetful().await)
    }
}

async fn open(stores: &Stores, members: &[u128]) -> EraView {
    opened_for(stores, members, 0).await
}

async fn opened_for(stores: &Stores, members: &[u128], strangers: u64) -> EraView {
    stores.eras.open(members.iter().map(|n| node(*n)).collect(), ms(strangers)).await.unwrap()
}

fn request(holder: Holder) -> Acquire {
    Acquire { user: user("u"), holder, cap: 2, on_limit: OnLimit::EvictOldest }
}

async fn acquire(stores: &Stores, sid: u128) -> Result<Acquired, StoreFault> {
    stores.ledger.acquire(request(holder(sid, 1))).await
}

async fn reassert(stores: &Stores, sid: u128) -> Acquired {
    stores.ledger.reassert(request(holder(sid, 1))).await.unwrap()
}

async fn held(stores: &Stores, sid: u128) -> u64 {
    match acquire(stores, sid).await {
        Ok(Acquired::Held { seq }) => seq,
        other => panic!("{other:?}"),
    }
}

fn is_held(answer: &Acquired) -> bool {
    matches!(answer, Acquired::Held { .. })
}

fn refused<T: std::fmt::Debug>(answer: Result<T, StoreFault>) {
    assert!(matches!(answer, Err(StoreFault::Era)), "{answer:?}");
}

async fn sids(stores: &Stores) -> Vec<u128> {
    stores.ledger.slots(user("u")).await.unwrap().iter().map(|slot| slot.holder.sid.0).collect()
}

/// Whatever gives somebody something new.
async fn nothing_new(stores: &Stores) {
    refused(acquire(stores, 90).await);
    refused(stores.ledger.resume(user("u"), [1; 32], node(1), life(1)).await);
    refused(stores.tickets.issue([1; 32], Bytes::from_static(b"r"), ms(60_000)).await);
    refused(stores.tickets.redeem([1; 32]).await);
}

/// Whatever decides.
async fn nothing_decided(stores: &Stores) {
    nothing_new(stores).await;
    let (who, one) = (user("u"), holder(1, 1));
    refused(stores.ledger.reassert(request(one.clone())).await);
    refused(stores.ledger.confirm(who.clone(), one.clone()).await);
    refused(stores.ledger.withdraw(who.clone(), one.clone()).await);
    refused(stores.ledger.release(who.clone(), one.clone()).await);
    refused(stores.ledger.detach(who.clone(), one.clone(), [1; 32], ms(60_000)).await);
    refused(stores.ledger.arm(who.clone(), one.clone(), [1; 32], ms(60_000)).await);
    refused(stores.ledger.spend(who.clone(), one.clone()).await);
    refused(stores.ledger.remove(who.clone(), one.sid).await);
    refused(stores.ledger.slots(who.clone()).await);
    let occupant = Occupant { sid: one.sid, user: who, node: node(1), epoch: life(1) };
    refused(stores.presence.enter(room("r"), occupant).await);
    refused(stores.presence.exit(room("r"), one.sid, life(1)).await);
    refused(stores.presence.list(room("r"), 10).await);
}

async fn without_an_era_nothing_is_decided(f: Fixture) {
    let stores = f.world().await.0.process().await;
    assert_eq!((stores.eras.current(), stores.eras.look().await.unwrap()), (None, None));
    nothing_decided(&stores).await;
    assert!(stores.lease.take(node(1), life(1), ms(60_000)).await.unwrap(), "leases know no eras");
}

async fn an_era_in_which_nobody_is_waited_for_is_whole_at_once(f: Fixture) {
    let stores = f.world().await.0.process().await;
    let opened = open(&stores, &[]).await;
    assert_eq!((opened.whole, opened.waiting), (true, 0));
    assert_eq!(stores.eras.current(), Some(opened));
    assert_eq!(stores.eras.look().await.unwrap(), Some(opened));
    held(&stores, 1).await;
}

async fn newcomers_wait_until_every_named_member_has_said_what_it_has(f: Fixture) {
    let world = f.world().await;
    let (a, b) = (world.0.process().await, world.0.process().await);
    let era = open(&a, &[1, 2]).await.era;
    nothing_new(&a).await;
    assert!(is_held(&reassert(&a, 1).await) && is_held(&reassert(&a, 1).await));
    assert!(b.eras.look().await.unwrap().is_some_and(|view| view.era == era && view.waiting == 2));
    assert_eq!(a.eras.mark(era, node(1), Mark::Done).await.unwrap().waiting, 1);
    nothing_new(&a).await;
    nothing_new(&b).await;
    assert!(b.eras.mark(era, node(2), Mark::Done).await.unwrap().whole);
    held(&a, 2).await;
    assert_eq!(sids(&b).await, [1, 2]);
}

async fn members_with_a_lease_are_waited_for_though_the_opener_did_not_name_them(f: Fixture) {
    let stores = f.world().await.0.process().await;
    assert!(stores.lease.take(node(7), life(7), ms(60_000)).await.unwrap());
    assert!(stores.lease.take(node(8), life(8), ms(1)).await.unwrap());
    f.advance(20).await;
    let opened = open(&stores, &[]).await;
    assert_eq!((opened.whole, opened.waiting), (false, 1), "of the two one is there");
    assert!(stores.eras.mark(opened.era, node(7), Mark::Done).await.unwrap().whole);
}

async fn strangers_have_a_moment_to_speak_up_and_are_waited_for_then(f: Fixture) {
    let stores = f.world().await.0.process().await;
    let opened = opened_for(&stores, &[], 400).await;
    nothing_new(&stores).await;
    assert_eq!(stores.eras.mark(opened.era, node(9), Mark::Waiting).await.unwrap().waiting, 1);
    f.advance(450).await;
    nothing_new(&stores).await;
    assert!(stores.eras.mark(opened.era, node(9), Mark::Done).await.unwrap().whole);
    held(&stores, 1).await;
}

async fn who_is_done_is_not_waited_for_again(f: Fixture) {
    let stores = f.world().await.0.process().await;
    let era = open(&stores, &[1]).await.era;
    assert!(stores.eras.mark(era, node(1), Mark::Done).await.unwrap().whole);
    assert!(stores.eras.mark(era, node(1), Mark::Waiting).await.unwrap().whole);
}

async fn a_store_that_lost_everything_decides_nothing_until_the_next_era(f: Fixture) {
    let world = f.world().await;
    let stores = world.0.process().await;
    let before = open(&stores, &[]).await.era;
    let seq = held(&stores, 1).await;
    world.0.forget().await;
    nothing_decided(&stores).await;
    assert_eq!(stores.eras.look().await.unwrap(), None);
    let next = open(&stores, &[]).await.era;
    assert!(next > before);
    assert!(sids(&stores).await.is_empty());
    assert!(held(&stores, 2).await > seq, "the order of a user's changes goes on");
}

async fn a_copy_that_lags_decides_nothing_until_the_next_era(f: Fixture) {
    let world = f.world().await;
    let stores = world.0.process().await;
    let before = open(&stores, &[]).await.era;
    held(&stores, 1).await;
    world.0.copy().await;
    held(&stores, 2).await;
    world.0.fail_over().await;
    nothing_decided(&stores).await;
    assert_eq!(stores.eras.look().await.unwrap(), None);
    let next = open(&stores, &[1]).await;
    assert!(next.era > before && !next.whole);
    // both live; the copy knew of one
    assert!(is_held(&reassert(&stores, 2).await) && is_held(&reassert(&stores, 1).await));
    assert!(stores.eras.mark(next.era, node(1), Mark::Done).await.unwrap().whole);
    assert!(matches!(acquire(&stores, 3).await.unwrap(), Acquired::Evicting { .. }), "the cap is reached");
}

async fn slots_tokens_tickets_and_members_end_with_their_era(f: Fixture) {
    let world = f.world().await;
    let stores = world.0.process().await;
    open(&stores, &[]).await;
    held(&stores, 1).await;
    stores.ledger.detach(user("u"), holder(1, 1), [1; 32], ms(60_000)).await.unwrap().seq.unwrap();
    stores.tickets.issue([2; 32], Bytes::from_static(b"r"), ms(60_000)).await.unwrap();
    let occupant = Occupant { sid: holder(1, 1).sid, user: user("u"), node: node(1), epoch: life(1) };
    stores.presence.enter(room("r"), occupant).await.unwrap();
    world.0.copy().await;
    world.0.fail_over().await;
    open(&stores, &[]).await;
    assert_eq!(stores.ledger.resume(user("u"), [1; 32], node(2), life(2)).await.unwrap(), None);
    assert_eq!(stores.tickets.redeem([2; 32]).await.unwrap(), None);
    assert_eq!(stores.presence.list(room("r"), 10).await.unwrap(), (Vec::new(), 0));
    assert!(sids(&stores).await.is_empty());
    assert_eq!(stores.ledger.reap(node(1), life(1), 10).await.unwrap(), 0);
}

async fn a_session_that_lives_has_its_slot_in_the_next_era_and_the_cap_counts_it(f: Fixture) {
    let world = f.world().await;
    let stores = world.0.process().await;
    open(&stores, &[]).await;
    for sid in 1..=2 {
        held(&stores, sid).await;
    }
    world.0.forget().await;
    let era = open(&stores, &[1]).await.era;
    for sid in 1..=2 {
        assert!(is_held(&reassert(&stores, sid).await));
    }
    let third = reassert(&stores, 3).await;
    assert!(matches!(third, Acquired::Full { .. }), "never evicts: {third:?}");
    stores.eras.mark(era, node(1), Mark::Done).await.unwrap();
    assert!(stores.ledger.release(user("u"), holder(1, 1)).await.unwrap().seq.is_some());
    assert_eq!(sids(&stores).await, [2]);
}

async fn of_many_who_open_at_once_all_get_one_era(f: Fixture) {
    let world = f.world().await;
    let got = Arc::new(Mutex::new(HashSet::new()));
    let mut openers = Vec::new();
    for _ in 0..8 {
        let (stores, got) = (world.0.process().await, Arc::clone(&got));
        openers.push(Box::pin(async move {
            let era = open(&stores, &[1]).await.era;
            got.lock().unwrap().insert(era);
        }) as Step<'static, ()>);
    }
    f.together(openers).await;
    assert_eq!(got.lock().unwrap().len(), 1);
    let late = world.0.process().await;
    assert_eq!(Some(open(&late, &[2]).await.era), got.lock().unwrap().iter().next().copied());
}

async fn a_process_that_only_reads_follows(f: Fixture) {
    let world = f.world().await;
    let (a, b) = (world.0.process().await, world.0.process().await);
    open(&a, &[]).await;
    held(&a, 1).await;
    assert_eq!(sids(&b).await, [1], "it knew no era");
    world.0.forget().await;
    let era = open(&a, &[]).await.era;
    held(&a, 2).await;
    assert_eq!(sids(&b).await, [2], "it knew the one before");
    assert_eq!(b.eras.era(), Some(era));
}

async fn a_mark_of_an_era_that_is_over_changes_nothing(f: Fixture) {
    let world = f.world().await;
    let stores = world.0.process().await;
    let before = open(&stores, &[1]).await.era;
    world.0.forget().await;
    refused(stores.eras.mark(before, node(1), Mark::Done).await);
    open(&stores, &[1]).await;
    refused(stores.eras.mark(before, node(1), Mark::Done).await);
    nothing_new(&stores).await;
}

async fn said(stores: &Stores, name: &str) -> Position {
    let keep = Some(History { count: 100, age: ms(60_000) });
    stores.bus.publish(room(name), record("x"), None, keep).await.unwrap().position
}

/// Somebody's place in a room, and an order that goes on behind it: no place is given twice.
async fn goes_on_behind(stores: &Stores, name: &str, seen: &[Position]) {
    let last = *seen.last().unwrap();
    let recovery = stores.bus.recover(room(name), last, 10).await.unwrap();
    assert!(!recovery.complete && recovery.records.is_empty(), "{name} {recovery:?}");
    let first = said(stores, name).await;
    assert!(first.offset == 1 && seen.iter().all(|place| place.epoch != first.epoch), "{name} {first:?}");
    let recovery = stores.bus.recover(room(name), last, 10).await.unwrap();
    assert_eq!((recovery.complete, recovery.records.len(), recovery.position), (false, 0, first), "{name}");
    let since = Position { offset: 0, ..first };
    let recovery = stores.bus.recover(room(name), since, 10).await.unwrap();
    assert_eq!((recovery.complete, recovery.records.len()), (true, 1), "{name}: what is new is kept");
    assert_eq!(said(stores, name).await, Position { offset: 2, ..first });
}

async fn a_room_begins_a_new_order_when_the_store_lost_everything(f: Fixture) {
    let world = f.world().await;
    let stores = world.0.process().await;
    open(&stores, &[]).await;
    let seen = [said(&stores, "r").await, said(&stores, "r").await];
    world.0.forget().await;
    goes_on_behind(&stores, "r", &seen).await;
}

async fn a_room_begins_a_new_order_when_the_store_is_a_copy_that_may_lag(f: Fixture) {
    let world = f.world().await;
    let (stores, other) = (world.0.process().await, world.0.process().await);
    open(&stores, &[]).await;
    let mut seen = HashMap::from(["publish", "subscribe", "untouched"].map(|name| (name, Vec::new())));
    for (name, seen) in &mut seen {
        seen.push(said(&stores, name).await);
    }
    world.0.copy().await;
    // the copy never gets these, and would give their places again
    for name in ["publish", "subscribe"] {
        let place = said(&stores, name).await;
        seen.get_mut(name).unwrap().push(place);
    }
    world.0.fail_over().await;
    let place = other.bus.subscribe(node(1), room("subscribe")).await.unwrap();
    assert!(place.offset == 0 && place.epoch != seen["subscribe"][0].epoch, "{place:?}");
    for (name, seen) in &seen {
        goes_on_behind(&stores, name, seen).await;
    }
}

async fn a_member_that_says_nothing_is_waited_for_so_long_and_no_longer(f: Fixture) {
    let stores = f.world().await.0.process().await;
    open(&stores, &[1]).await;
    f.advance(u64::try_from((PATIENCE - Duration::from_millis(1)).as_millis()).unwrap()).await;
    nothing_new(&stores).await;
    f.advance(1).await;
    held(&stores, 1).await;
}
