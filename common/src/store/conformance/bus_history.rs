//! The bus: what a room keeps, and who gets it back.

use std::time::Duration;

use super::bus::{dedupe, record};
use super::{Fixture, checks, room};
use crate::config::model::History;
use crate::store::bus::{Position, Recovery};

checks![
    what_was_missed_comes_back_in_order,
    one_who_missed_nothing_is_complete_with_nothing,
    what_fell_out_by_count_makes_recovery_incomplete,
    what_fell_out_by_age_makes_recovery_incomplete,
    a_message_that_was_not_kept_is_a_gap,
    a_position_of_another_epoch_or_of_the_future_is_never_complete,
    a_room_that_keeps_nothing_recovers_nothing,
    a_limit_cuts_at_the_end_and_the_next_call_goes_on,
    a_duplicate_is_not_kept_twice,
    kept_messages_come_back_as_they_were_published,
    recovering_creates_no_room,
    ; long:
    a_room_with_kept_messages_keeps_its_epoch,
];

fn keep(count: u32, age_ms: u64) -> Option<History> {
    Some(History { count, age: Duration::from_millis(age_ms) })
}

impl Fixture {
    async fn kept(&self, text: &str, keep: Option<History>) -> Position {
        self.stores.bus.publish(room("r"), record(text), None, keep).await.unwrap().position
    }

    async fn recover(&self, since: Position, limit: usize) -> Recovery {
        self.stores.bus.recover(room("r"), since, limit).await.unwrap()
    }
}

fn offsets(recovery: &Recovery) -> Vec<u64> {
    recovery.records.iter().map(|delivery| delivery.position.offset).collect()
}

async fn what_was_missed_comes_back_in_order(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    for n in 1..=5 {
        f.kept(&n.to_string(), keep(10, 60_000)).await;
    }
    let recovery = f.recover(Position { offset: 2, ..start }, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![3, 4, 5], true));
    assert_eq!(recovery.position, Position { offset: 5, ..start });
    let recovery = f.recover(start, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![1, 2, 3, 4, 5], true));
}

async fn one_who_missed_nothing_is_complete_with_nothing(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    assert!(f.recover(start, 10).await.complete, "nothing was ever said");
    let last = f.kept("x", keep(10, 60_000)).await;
    let recovery = f.recover(last, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete, recovery.position), (vec![], true, last));
}

async fn what_fell_out_by_count_makes_recovery_incomplete(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    for _ in 0..10 {
        f.kept("x", keep(3, 60_000)).await;
    }
    let recovery = f.recover(Position { offset: 6, ..start }, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![8, 9, 10], false));
    let recovery = f.recover(Position { offset: 7, ..start }, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![8, 9, 10], true));
}

async fn what_fell_out_by_age_makes_recovery_incomplete(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    f.kept("old", keep(10, 400)).await;
    f.advance(300).await;
    let second = f.kept("young", keep(10, 400)).await;
    f.advance(200).await;
    let recovery = f.recover(start, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![2], false));
    f.advance(300).await;
    let recovery = f.recover(start, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete, recovery.position), (vec![], false, second));
}

async fn a_message_that_was_not_kept_is_a_gap(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    f.kept("one", keep(10, 60_000)).await;
    f.kept("two", None).await;
    f.kept("three", keep(10, 60_000)).await;
    let recovery = f.recover(start, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![1, 3], false));
    let recovery = f.recover(Position { offset: 2, ..start }, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![3], true));
    f.kept("four", None).await;
    assert!(!f.recover(Position { offset: 2, ..start }, 10).await.complete, "the gap at the end");
}

async fn a_position_of_another_epoch_or_of_the_future_is_never_complete(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    let last = f.kept("x", keep(10, 60_000)).await;
    for since in [
        Position { epoch: start.epoch ^ 1, ..start },
        Position { epoch: start.epoch ^ 1, ..last },
        Position { offset: last.offset + 1, ..last },
        Position { offset: u64::MAX, ..last },
    ] {
        let recovery = f.recover(since, 10).await;
        assert_eq!((offsets(&recovery), recovery.complete, recovery.position), (vec![], false, last), "{since:?}");
    }
}

async fn a_room_that_keeps_nothing_recovers_nothing(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    f.kept("x", None).await;
    let recovery = f.recover(start, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![], false));
}

async fn a_limit_cuts_at_the_end_and_the_next_call_goes_on(f: Fixture) {
    let mut since = f.subscribe(1, "r").await;
    for _ in 0..5 {
        f.kept("x", keep(10, 60_000)).await;
    }
    let mut pages = Vec::new();
    for _ in 0..3 {
        let recovery = f.recover(since, 2).await;
        assert!(recovery.complete);
        since = recovery.records.last().unwrap().position;
        pages.push(offsets(&recovery));
    }
    assert_eq!(pages, [vec![1, 2], vec![3, 4], vec![5]]);
    assert!(!f.recover(Position { offset: 1, ..since }, 0).await.complete, "nothing was given of what was missed");
}

async fn a_duplicate_is_not_kept_twice(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    for _ in 0..3 {
        f.stores.bus.publish(room("r"), record("x"), dedupe("ada", "m"), keep(10, 60_000)).await.unwrap();
    }
    let recovery = f.recover(start, 10).await;
    assert_eq!((offsets(&recovery), recovery.complete), (vec![1], true));
}

async fn kept_messages_come_back_as_they_were_published(f: Fixture) {
    let start = f.subscribe(1, "r").await;
    let mut sent = record("x");
    sent.exclude = Some(crate::ids::SessionId(9));
    f.stores.bus.publish(room("r"), sent.clone(), None, keep(10, 60_000)).await.unwrap();
    let delivery = f.recover(start, 10).await.records.remove(0);
    assert_eq!((delivery.room, delivery.record, delivery.position.epoch), (room("r"), sent, start.epoch));
}

async fn recovering_creates_no_room(f: Fixture) {
    for since in [Position { offset: 0, epoch: 0 }, Position { offset: 4, epoch: 9 }] {
        let recovery = f.recover(since, 10).await;
        assert_eq!((recovery.complete, recovery.position), (false, Position { offset: 0, epoch: 0 }));
    }
}

async fn a_room_with_kept_messages_keeps_its_epoch(f: Fixture) {
    let first = f.kept("x", keep(10, 7_200_000)).await;
    for _ in 0..5 {
        f.advance(1_200_000).await;
        assert!(f.recover(Position { offset: 0, ..first }, 10).await.complete);
    }
    assert_eq!(f.kept("y", keep(10, 7_200_000)).await, Position { offset: 2, ..first });
}
