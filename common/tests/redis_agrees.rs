//! The Redis ledger against its executable specification: seeded random calls to both, and every answer the same.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::SystemClock;
use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, NodeId, SessionId, UserId};
use portcullis_common::store::Stores;
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::redis::{RedisOptions, RedisStore};
use portcullis_common::store::session::{Acquire, Acquired, Holder, Passed, Released, Slot, SlotState};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod redis;

const SEEDS: u64 = 5;
const CALLS: usize = 800;

/// One call; small worlds, so that calls meet.
#[derive(Debug, Clone)]
enum Call {
    Acquire(Holder, u32, OnLimit),
    Confirm(Holder),
    Withdraw(Holder),
    Release(Holder),
    /// Windows are over at once or not while the test runs, so both clocks agree.
    Detach(Holder, u8, bool),
    Arm(Holder, u8, bool),
    Spend(Holder),
    Resume(u8, u128),
    Remove(SessionId),
    Holds(Holder),
    Reap(u128, usize),
}

fn call(rng: &mut StdRng) -> Call {
    let holder = Holder {
        sid: SessionId(rng.random_range(1..=5)),
        node: node(rng.random_range(1..=2)),
        epoch: NodeEpoch(0),
        generation: [0, 0, 0, 1, 1, 2][rng.random_range(0..6)],
    };
    let on = rng.random_range(1..=2);
    let holder = Holder { epoch: life(&holder.node, rng.random_range(0..=1)), ..holder };
    let (token, long) = (rng.random_range(1..=4), rng.random_range(0..4) > 0);
    match rng.random_range(0..16) {
        0..4 => {
            let policy = if rng.random() { OnLimit::Reject } else { OnLimit::EvictOldest };
            Call::Acquire(holder, rng.random_range(0..=3), policy)
        }
        4 => Call::Confirm(holder),
        5 => Call::Withdraw(holder),
        6 => Call::Release(holder),
        7 | 8 => Call::Detach(holder, token, long),
        9 | 10 => Call::Arm(holder, token, long),
        11 => Call::Spend(holder),
        12 | 13 => Call::Resume(token, on),
        14 if rng.random() => Call::Remove(holder.sid),
        14 => Call::Holds(holder),
        _ => Call::Reap(on, rng.random_range(1..=3)),
    }
}

fn node(n: u128) -> NodeId {
    NodeId::parse(&format!("node-{n}")).expect("a node")
}

fn life(node: &NodeId, n: u128) -> NodeEpoch {
    NodeEpoch(n * 100 + u128::from(node.as_str().ends_with('1')))
}

fn user() -> UserId {
    UserId::parse("u").expect("a user")
}

/// An answer without what two stores may number and time differently.
async fn answer(stores: &Stores, call: Call, seqs: &mut Vec<u64>) -> String {
    let window = |long: bool| if long { Duration::from_secs(3_600) } else { Duration::ZERO };
    let (ledger, mut note) = (&stores.ledger, |seq: u64| seqs.push(seq));
    let mut released = |Released { seq, passed }: Released| {
        if let Some(seq) = seq {
            note(seq);
        }
        format!("{} {:?}", seq.is_some(), passed.map(|passed| passed.to))
    };
    match call {
        Call::Acquire(holder, cap, on_limit) => {
            match ledger.acquire(Acquire { user: user(), holder, cap, on_limit }).await.expect("up") {
                Acquired::Held { seq } => {
                    seqs.push(seq);
                    "held".to_owned()
                }
                Acquired::Evicting { seq, victim } => {
                    seqs.push(seq);
                    format!("evicting {victim:?}")
                }
                full @ Acquired::Full { .. } => format!("{full:?}"),
            }
        }
        Call::Confirm(victim) => {
            let passed = ledger.confirm(user(), victim).await.expect("up");
            format!("{:?}", passed.map(|Passed { to, seq }| (to, seqs.push(seq))))
        }
        Call::Withdraw(newcomer) => released(ledger.withdraw(user(), newcomer).await.expect("up")),
        Call::Release(holder) => released(ledger.release(user(), holder).await.expect("up")),
        Call::Detach(holder, token, long) => {
            released(ledger.detach(user(), holder, [token; 32], window(long)).await.expect("up"))
        }
        Call::Arm(holder, token, long) => {
            released(ledger.arm(user(), holder, [token; 32], window(long)).await.expect("up"))
        }
        Call::Spend(holder) => released(ledger.spend(user(), holder).await.expect("up")),
        Call::Resume(token, on) => {
            let (node, epoch) = (node(on), life(&node(on), 0));
            let resumed = ledger.resume(user(), [token; 32], node, epoch).await.expect("up");
            format!("{:?}", resumed.map(|resumed| (resumed.previous, resumed.holder, seqs.push(resumed.seq))))
        }
        Call::Remove(sid) => format!("{:?}", ledger.remove(user(), sid).await.expect("up").map(timeless)),
        Call::Holds(holder) => format!("{:?}", ledger.holds(user(), holder).await.expect("up")),
        Call::Reap(on, limit) => {
            format!("{:?}", ledger.reap(node(on), life(&node(on), 0), limit).await.expect("up"))
        }
    }
}

fn timeless(slot: Slot) -> (Holder, String) {
    let state = match slot.state {
        SlotState::Detached { .. } => "detached".to_owned(),
        other => format!("{other:?}"),
    };
    (slot.holder, state)
}

async fn slots(stores: &Stores) -> Vec<(Holder, String)> {
    stores.ledger.slots(user()).await.expect("up").into_iter().map(timeless).collect()
}

#[tokio::test]
async fn redis_and_memory_answer_every_call_alike() {
    let server = redis::RedisServer::start();
    for seed in 0..SEEDS {
        let patient = Duration::from_secs(20);
        let prefix = format!("seed-{seed}");
        let options = RedisOptions { prefix, command_timeout: patient, ..RedisOptions::new([7; 32]) };
        let store = RedisStore::connect(&server.url(), &options).await.expect("a server");
        let memory = MemoryStore::new(Arc::new(SystemClock::default()), Box::new(StdRng::seed_from_u64(1)));
        let redis = store.stores(Arc::clone(&memory.bus), Arc::clone(&memory.control), Arc::clone(&memory.reports));
        redis.eras.open(Vec::new(), Duration::ZERO).await.expect("an era");
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut seqs, mut ignored) = (Vec::new(), Vec::new());
        for step in 0..CALLS {
            let call = call(&mut rng);
            let expected = answer(&memory, call.clone(), &mut ignored).await;
            let got = answer(&redis, call.clone(), &mut seqs).await;
            assert_eq!(got, expected, "seed {seed}, step {step}: {call:?}");
            assert_eq!(slots(&redis).await, slots(&memory).await, "seed {seed}, step {step}: after {call:?}");
        }
        assert!(seqs.is_sorted_by(|a, b| a < b), "seed {seed}: seq went back");
        assert!(seqs.len() > CALLS / 20, "seed {seed}: only {} changes", seqs.len());
    }
}
