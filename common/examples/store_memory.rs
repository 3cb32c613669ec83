//! What the memory store costs: resident bytes for each session, occupant, kept id, and the time of a publish. Prints,
//! asserts nothing. `cargo run -p portcullis-common --example store_memory --release`

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "prints a measurement"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use portcullis_common::clock::{Clock, SystemClock};
use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{ClientId, NodeEpoch, NodeId, RoomName, SessionId, UserId};
use portcullis_common::store::bus::{BusSink, Dedupe, Delivery, NodeMail, Record};
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::presence::Occupant;
use portcullis_common::store::session::{Acquire, Holder};
use portcullis_common::store::{StoreFuture, Stores};
use rand::SeedableRng;
use rand::rngs::StdRng;

const COUNT: usize = 100_000;

struct Nobody;

impl BusSink for Nobody {
    fn deliver(&self, delivery: Delivery) {
        std::hint::black_box(delivery);
    }

    fn mail(&self, _: NodeMail) {}
}

fn now<T>(mut answer: StoreFuture<'_, T>) -> T {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("below every bound"),
        Poll::Pending => unreachable!("a memory store answers at once"),
    }
}

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0) * 1_024
}

fn measured(what: &str, work: impl FnOnce()) {
    let before = resident();
    work();
    println!("{what}: {:.0} bytes each", (resident().saturating_sub(before)) as f64 / COUNT as f64);
}

fn holder(sid: usize, node: &NodeId) -> Holder {
    Holder { sid: SessionId(sid as u128), node: node.clone(), epoch: NodeEpoch(1), generation: 0 }
}

fn sessions(stores: &Stores, users: &[UserId], node: &NodeId) {
    measured("live session with an armed resume token (user id shared with the caller)", || {
        for (sid, user) in users.iter().enumerate() {
            let holder = holder(sid, node);
            let request = Acquire { user: user.clone(), holder: holder.clone(), cap: 5, on_limit: OnLimit::Reject };
            now(stores.ledger.acquire(request));
            now(stores.ledger.arm(user.clone(), holder, [1; 32], Duration::from_secs(60)));
        }
    });
}

fn rooms(stores: &Stores, users: &[UserId], node: &NodeId) {
    let enter = |room: &RoomName, sid: usize, user: &UserId| {
        let occupant =
            Occupant { sid: SessionId(sid as u128), user: user.clone(), node: node.clone(), epoch: NodeEpoch(1) };
        now(stores.presence.enter(room.clone(), occupant));
    };
    let rooms: Vec<RoomName> =
        (0..COUNT).map(|n| RoomName::parse(&format!("team.{n}")).expect("a legal name")).collect();
    measured("occupant of one room of all", || {
        for (sid, user) in users.iter().enumerate() {
            enter(&rooms[0], sid, user);
        }
    });
    measured("occupant of rooms of 20", || {
        for (sid, user) in users.iter().enumerate() {
            enter(&rooms[1 + sid / 20], sid, user);
        }
    });
    measured("subscribed room without history", || {
        for room in &rooms {
            now(stores.bus.subscribe(node.clone(), room.clone()));
        }
    });
}

fn publishes(stores: &Stores, user: &UserId, clock: &SystemClock) {
    let room = RoomName::parse("team.1").expect("a legal name");
    let record = Record { body: Bytes::from(vec![b'x'; 200]), exclude: None };
    let start = clock.mono();
    for _ in 0..10 * COUNT {
        now(stores.bus.publish(room.clone(), record.clone(), None, None));
    }
    let each = clock.mono().since(start).as_nanos() as f64 / (10 * COUNT) as f64;
    println!("publish to one sink: {each:.0} ns");
    let ids: Vec<ClientId> = (0..COUNT).map(|n| ClientId::parse(&format!("m{n}")).expect("a legal id")).collect();
    let start = clock.mono();
    measured("remembered message id", || {
        for id in &ids {
            let dedupe = Dedupe { user: user.clone(), id: id.clone() };
            now(stores.bus.publish(room.clone(), record.clone(), Some(dedupe), None));
        }
    });
    let each = clock.mono().since(start).as_nanos() as f64 / COUNT as f64;
    println!("publish with an id to one sink: {each:.0} ns");
}

fn main() {
    let clock = Arc::new(SystemClock::default());
    let stores = MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>, Box::new(StdRng::seed_from_u64(1)));
    let node = NodeId::parse("gw-1").expect("a legal name");
    stores.bus.attach(node.clone(), Arc::new(Nobody));
    let users: Vec<UserId> =
        (0..COUNT).map(|n| UserId::parse(&format!("user-{n}@example.com")).expect("a legal name")).collect();
    sessions(&stores, &users, &node);
    rooms(&stores, &users, &node);
    publishes(&stores, &users[0], &clock);
}
