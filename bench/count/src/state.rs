//! What a limiter and a call of the embedded store take: in nanoseconds only, since maps with random keys take another number
//! of instructions each time.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use portcullis_common::clock::{ManualClock, UnixMs};
use portcullis_common::config::model::{Limit, OnLimit, Rate};
use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::ids::{NodeEpoch, NodeId, RoomName, SessionId, UserId};
use portcullis_common::limit::{Plan, Standing, Table};
use portcullis_common::store::bus::{BusSink, Delivery, NodeMail, Record};
use portcullis_common::store::limit::Leased;
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::session::{Acquire, Acquired, Holder};
use portcullis_common::store::{StoreFuture, Stores};
use rand::SeedableRng;

use crate::case::Case;

/// The rows.
pub fn cases() -> Vec<Case> {
    vec![
        Case::one("limiter of a connection", connection()),
        Case::one("limiter of the fleet, a token held", fleet()),
        Case::one("store: a slot taken and released", slot()),
        Case::one("store: a room's message", publish()),
    ]
}

fn gcra() -> Gcra {
    Gcra::new(Limit { rate: Rate { count: 1_000_000, period: Duration::from_secs(1) }, burst: 1_000_000 })
}

fn connection() -> impl FnMut() {
    let (limit, mut tat, mut now) = (gcra(), Tat::default(), 0);
    move || {
        now += 10_000;
        assert!(limit.take(&mut tat, now, 1).is_ok());
    }
}

/// Each call that the key asks for is answered at once: what is measured is the node's own table.
fn fleet() -> impl FnMut() {
    let (mut table, plan, mut now) = (Table::new(1_024, 0), Plan::new(gcra(), 3), 10_000_000_000);
    move || {
        now += 10_000;
        let standing = Standing { up: true, patient: true, now };
        let took = table.take(&"ada", &plan, standing);
        if let Some(order) = took.order {
            table.answered(&"ada", &plan, order, Leased { granted: order.want, wait: Duration::ZERO }, now);
        }
        assert!(!took.alone);
    }
}

fn stores() -> Stores {
    let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
    MemoryStore::new(clock, Box::new(rand::rngs::StdRng::seed_from_u64(1)))
}

/// The embedded store answers without waiting.
fn now<T>(mut call: StoreFuture<'_, T>) -> T {
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(answer)) => answer,
        _ => unreachable!("the embedded store answers at once"),
    }
}

fn slot() -> impl FnMut() {
    let (stores, mut sid) = (stores(), 0);
    let (user, node) = (UserId::parse("ada").expect("legal"), NodeId::parse("gw-1").expect("legal"));
    move || {
        sid += 1;
        let holder = Holder { sid: SessionId(sid), node: node.clone(), epoch: NodeEpoch(9), generation: 0 };
        let request = Acquire { user: user.clone(), holder: holder.clone(), cap: 5, on_limit: OnLimit::Reject };
        assert!(matches!(now(stores.ledger.acquire(request)), Acquired::Held { .. }));
        assert!(now(stores.ledger.release(user.clone(), holder)).seq.is_some());
    }
}

/// A node that takes what it is told and does nothing with it.
struct Nobody;

impl BusSink for Nobody {
    fn deliver(&self, delivery: Delivery) {
        std::hint::black_box(delivery);
    }

    fn mail(&self, _: NodeMail) {}
}

fn publish() -> impl FnMut() {
    let stores = stores();
    let (node, room) = (NodeId::parse("gw-1").expect("legal"), RoomName::parse("team.red").expect("legal"));
    stores.bus.attach(node.clone(), Arc::new(Nobody));
    now(stores.bus.subscribe(node, room.clone()));
    let body = Bytes::from_static(br#"{"type":"chat","payload":{"text":"a line of text"},"from":{"user":"ada"}}"#);
    move || {
        let record = Record { body: body.clone(), exclude: None };
        now(stores.bus.publish(room.clone(), record, None, None));
    }
}
