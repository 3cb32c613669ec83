use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::clock::{ManualClock, UnixMs};

fn bus(bounds: Bounds) -> (MemoryBus, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(UnixMs(1)));
    let rng = Box::new(StdRng::seed_from_u64(7));
    (MemoryBus::new(Arc::clone(&clock) as Arc<dyn Clock>, rng, bounds), clock)
}

fn now<T>(mut answer: StoreFuture<'_, T>) -> Result<T, StoreFault> {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a memory store answers at once"),
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn record(bytes: usize) -> Record {
    Record { body: Bytes::from(vec![b'x'; bytes]), exclude: None }
}

fn keep(count: u32) -> Option<model::History> {
    Some(model::History { count, age: Duration::from_secs(60) })
}

#[test]
fn rooms_without_subscribers_are_forgotten_and_leave_nothing_behind() {
    let (bus, clock) = bus(Bounds::default());
    for n in 0..5_000 {
        now(bus.publish(room(&format!("r{n}")), record(10), None, keep(5))).unwrap();
    }
    assert!(bus.budget.used() > 0);
    for _ in 0..2 {
        clock.advance(LINGER);
        for n in 0..5_000 {
            now(bus.recover(room(&format!("other{n}")), Position { offset: 0, epoch: 0 }, 1)).unwrap();
        }
    }
    let left: usize = bus.rooms.each().map(|rooms| rooms.by_name.len() + rooms.idle.len()).sum();
    assert_eq!((left, bus.count.load(Ordering::Relaxed), bus.budget.used()), (0, 0, 0));
}

#[test]
fn at_the_bound_on_rooms_only_bare_ones_make_way() {
    let (bus, _) = bus(Bounds { rooms: 100, ..Bounds::default() });
    let node = NodeId::parse("n").unwrap();
    for n in 0..100 {
        now(bus.subscribe(node.clone(), room(&format!("r{n}")))).unwrap();
    }
    assert!(matches!(now(bus.subscribe(node.clone(), room("one-more"))), Err(StoreFault::Full("rooms"))));
    assert!(matches!(now(bus.publish(room("one-more"), record(1), None, None)), Err(StoreFault::Full("rooms"))));
    now(bus.unsubscribe(node.clone(), room("r5"))).unwrap();
    let shard_mate =
        (0..10_000).map(|n| room(&format!("x{n}"))).find(|name| now(bus.subscribe(node.clone(), name.clone())).is_ok());
    assert!(shard_mate.is_some(), "a room of the same shard takes the place of r5");
    assert!(!bus.rooms.lock(&room("r5")).by_name.contains_key(&room("r5")));
    assert_eq!(bus.count.load(Ordering::Relaxed), 100);
}

#[test]
fn kept_bytes_are_bounded_for_a_room_and_for_all() {
    let bounds = Bounds { kept_bytes: 10_000, kept_bytes_per_room: 4_000, ..Bounds::default() };
    let (bus, _) = bus(bounds);
    for _ in 0..50 {
        now(bus.publish(room("big"), record(904), None, keep(1_000))).unwrap();
    }
    assert_eq!(bus.budget.used(), 4_000);
    for n in 0..50 {
        now(bus.publish(room(&format!("r{}", n % 5)), record(904), None, keep(1_000))).unwrap();
        assert!(bus.budget.used() <= 10_000);
    }
}

#[test]
fn a_record_over_the_bound_is_delivered_but_not_kept_and_recovery_says_so() {
    let (bus, _) = bus(Bounds { kept_bytes_per_room: 1_000, ..Bounds::default() });
    let first = now(bus.publish(room("r"), record(10), None, keep(9))).unwrap().position;
    let second = now(bus.publish(room("r"), record(5_000), None, keep(9))).unwrap().position;
    assert_eq!(second.offset, 2);
    let recovery = now(bus.recover(room("r"), first, 9)).unwrap();
    assert!(!recovery.complete && recovery.records.is_empty());
    assert!(now(bus.recover(room("r"), second, 9)).unwrap().complete);
}

#[test]
fn epochs_are_random_not_zero_and_exact_in_json() {
    let (bus, _) = bus(Bounds::default());
    let epochs: std::collections::HashSet<u64> = (0..1_000).map(|_| bus.epoch()).collect();
    assert_eq!(epochs.len(), 1_000);
    assert!(epochs.iter().all(|&epoch| epoch > 0 && epoch < 1 << 53));
}
