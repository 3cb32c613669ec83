//! The ledger under concurrency: the evidence that the calls left is replayed, and no step of it is over the cap.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::session::{ask, holder};
use super::{Fixture, Step, checks, life, node, user};
use crate::config::model::OnLimit;
use crate::ids::SessionId;
use crate::store::Stores;
use crate::store::session::{Acquired, Holder};

checks![
    two_hundred_at_once_under_reject_leave_exactly_the_cap,
    two_hundred_at_once_that_come_and_go_under_reject_are_never_over_the_cap,
    two_hundred_at_once_under_evict_oldest_are_never_over_the_cap,
    one_resume_token_shown_at_once_gives_every_winner_a_generation_of_its_own,
    a_slot_freed_by_release_and_reap_at_once_is_freed_once,
    ; long:
];

const CAP: u32 = 5;

/// What happened to the set of holders, by `seq`.
#[derive(Debug, Clone, Copy)]
enum Event {
    In(SessionId),
    Out(SessionId),
    Pass { from: SessionId, to: SessionId },
    Mark,
}

type Evidence = Arc<Mutex<Vec<(u64, Event)>>>;

fn note(evidence: &Evidence, seq: u64, event: Event) {
    evidence.lock().unwrap().push((seq, event));
}

/// Replays the evidence in the order of `seq`; answers who holds a slot at the end.
fn replay(evidence: &Evidence) -> Vec<SessionId> {
    let events = evidence.lock().unwrap();
    let by_seq: BTreeMap<u64, Event> = events.iter().copied().collect();
    assert_eq!(by_seq.len(), events.len(), "two changes with one seq");
    let mut holders: Vec<SessionId> = Vec::new();
    for (seq, event) in by_seq {
        match event {
            Event::In(sid) => {
                assert!(!holders.contains(&sid));
                holders.push(sid);
            }
            Event::Out(sid) => {
                assert!(holders.contains(&sid), "seq {seq}: {sid} left without a slot");
                holders.retain(|other| *other != sid);
            }
            Event::Pass { from, to } => {
                let place = holders.iter().position(|other| *other == from);
                holders[place.unwrap_or_else(|| panic!("seq {seq}: {from} passed what it did not have"))] = to;
            }
            Event::Mark => {}
        }
        assert!(holders.len() <= CAP as usize, "seq {seq}: {} holders", holders.len());
    }
    holders.sort();
    holders
}

async fn agrees(f: &Fixture, evidence: &Evidence) -> usize {
    let mut sids: Vec<SessionId> =
        f.stores.ledger.slots(user("u")).await.unwrap().into_iter().map(|slot| slot.holder.sid).collect();
    sids.sort();
    assert_eq!(sids, replay(evidence));
    sids.len()
}

/// One client that comes, and goes when `stays` says so.
fn comes(stores: &Stores, evidence: &Evidence, sid: u128, stays: bool) -> Step<'static, ()> {
    let (stores, evidence) = (stores.clone(), Arc::clone(evidence));
    Box::pin(async move {
        let mine = holder(sid, sid % 3);
        let answer = stores.ledger.acquire(ask("u", &mine, CAP, OnLimit::Reject)).await.unwrap();
        let Acquired::Held { seq } = answer else { return };
        note(&evidence, seq, Event::In(mine.sid));
        if !stays {
            let seq = stores.ledger.release(user("u"), mine.clone()).await.unwrap().seq.unwrap();
            note(&evidence, seq, Event::Out(mine.sid));
        }
    })
}

/// One client that comes under `evict_oldest` and stops its victim itself, or gives up.
fn pushes(stores: &Stores, evidence: &Evidence, sid: u128) -> Step<'static, ()> {
    let (stores, evidence) = (stores.clone(), Arc::clone(evidence));
    Box::pin(async move {
        let mine = holder(sid, sid % 3);
        let answer = stores.ledger.acquire(ask("u", &mine, CAP, OnLimit::EvictOldest)).await.unwrap();
        match answer {
            Acquired::Held { seq } => note(&evidence, seq, Event::In(mine.sid)),
            Acquired::Full { .. } => {}
            Acquired::Evicting { seq, victim } => {
                note(&evidence, seq, Event::Mark);
                if sid.is_multiple_of(4) {
                    let seq = stores.ledger.withdraw(user("u"), mine).await.unwrap().seq.unwrap();
                    return note(&evidence, seq, Event::Mark);
                }
                let passed = stores.ledger.confirm(user("u"), victim.clone()).await.unwrap();
                let passed = passed.expect("marked for this newcomer alone, so nobody else can have passed it");
                assert_eq!(passed.to, mine, "the slot was stolen");
                note(&evidence, passed.seq, Event::Pass { from: victim.sid, to: mine.sid });
            }
        }
    })
}

async fn two_hundred_at_once_under_reject_leave_exactly_the_cap(f: Fixture) {
    let evidence = Evidence::default();
    f.together((0..200).map(|sid| comes(&f.stores, &evidence, sid, true))).await;
    assert_eq!(agrees(&f, &evidence).await, CAP as usize);
}

async fn two_hundred_at_once_that_come_and_go_under_reject_are_never_over_the_cap(f: Fixture) {
    for round in 0..5 {
        let evidence = Evidence::default();
        let who = (0..200).map(|n| comes(&f.stores, &evidence, round * 1_000 + n, false));
        f.together(who.collect::<Vec<_>>()).await;
        assert_eq!(agrees(&f, &evidence).await, 0);
    }
}

async fn two_hundred_at_once_under_evict_oldest_are_never_over_the_cap(f: Fixture) {
    let evidence = Evidence::default();
    for round in 0..5 {
        let who = (0..200).map(|n| pushes(&f.stores, &evidence, round * 1_000 + n));
        f.together(who.collect::<Vec<_>>()).await;
        assert_eq!(agrees(&f, &evidence).await, CAP as usize);
    }
}

async fn one_resume_token_shown_at_once_gives_every_winner_a_generation_of_its_own(f: Fixture) {
    let mine = f.held("u", 1, 1).await;
    f.detach("u", &mine, 1, 60_000).await.unwrap();
    let won = Arc::new(Mutex::new(Vec::new()));
    let tries = (0..50).map(|n| {
        let (stores, won) = (f.stores.clone(), Arc::clone(&won));
        Box::pin(async move {
            let resumed = stores.ledger.resume(user("u"), [1; 32], node(n), life(n)).await.unwrap().unwrap();
            won.lock().unwrap().push(resumed.holder);
        }) as Step<'static, ()>
    });
    f.together(tries.collect::<Vec<_>>()).await;
    let mut won: Vec<Holder> = won.lock().unwrap().clone();
    won.sort_by_key(|holder| holder.generation);
    assert_eq!(won.iter().map(|holder| holder.generation).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    let mut holding = 0;
    for holder in &won {
        holding += usize::from(f.holds("u", holder).await);
    }
    assert_eq!((holding, f.sids("u").await.len()), (1, 1));
    assert!(f.holds("u", &won[49]).await);
}

async fn a_slot_freed_by_release_and_reap_at_once_is_freed_once(f: Fixture) {
    let freed = Arc::new(Mutex::new(0));
    let mut work: Vec<Step<'static, ()>> = Vec::new();
    for sid in 0..100 {
        let mine = f.held("u", sid, 1).await;
        let (stores, count) = (f.stores.clone(), Arc::clone(&freed));
        work.push(Box::pin(async move {
            let released = stores.ledger.release(user("u"), mine).await.unwrap();
            *count.lock().unwrap() += usize::from(released.seq.is_some());
        }));
        let (stores, count) = (f.stores.clone(), Arc::clone(&freed));
        work.push(Box::pin(async move {
            let reaped = stores.ledger.reap(node(1), life(1), 1).await.unwrap();
            *count.lock().unwrap() += reaped;
        }));
    }
    f.together(work).await;
    assert_eq!(*freed.lock().unwrap(), 100);
    assert!(f.sids("u").await.is_empty());
}
