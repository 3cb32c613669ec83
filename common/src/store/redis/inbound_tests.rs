use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::ids::NodeEpoch;
use crate::store::record::Issuer;

const EPOCH: u64 = 77;

struct World {
    room: Room,
    guard: ReplayGuard,
    counters: Counters,
    out: Mutex<Vec<(String, u64, u64)>>,
}

fn node(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

fn place(offset: u64) -> Position {
    Position { offset, epoch: EPOCH }
}

fn arrival(position: Position, sequence: u64) -> Arrival {
    let issuer = Issuer { node: node("peer"), epoch: NodeEpoch(1) };
    let header = Header { issuer, sequence, at: UnixMs(1) };
    Arrival { position, header, record: Record { body: Bytes::from_static(b"{}"), exclude: None } }
}

impl World {
    /// A room to which `n` listens since offset 0.
    fn new() -> Self {
        let room = Room::new(RoomName::parse("r").unwrap(), 1, 1);
        let mut world = Self { room, guard: ReplayGuard::new(9), counters: Counters::default(), out: Mutex::default() };
        world.room.join(&node("n"));
        world.with(|room, desk| room.joined(&node("n"), Some(place(0)), desk));
        world
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Room, &mut Desk<'_>) -> T) -> T {
        let (room, guard, counters, out) = (&mut self.room, &mut self.guard, &self.counters, &self.out);
        let deliver = |node: &NodeId, delivery: Delivery| {
            let Position { offset, epoch } = delivery.position;
            out.lock().unwrap().push((node.to_string(), epoch, offset));
        };
        act(room, &mut Desk { guard, counters, now: UnixMs(1), deliver: &deliver })
    }

    /// The message at `offset`, which is also its issuer's sequence.
    fn arrive(&mut self, offset: u64) -> Next {
        self.with(|room, desk| room.arrive(arrival(place(offset), offset), desk))
    }

    fn answer(&mut self, offsets: &[u64]) {
        let kept = offsets.iter().map(|&offset| arrival(place(offset), offset)).collect();
        self.with(|room, desk| room.answered(kept, desk));
    }

    fn offsets(&self, to: &str) -> Vec<u64> {
        self.out.lock().unwrap().iter().filter(|(node, ..)| node == to).map(|(.., offset)| *offset).collect()
    }
}

#[test]
fn what_is_in_order_is_delivered_at_once() {
    let mut world = World::new();
    assert!((1..=3).all(|offset| world.arrive(offset) == Next::Nothing));
    assert_eq!(world.offsets("n"), [1, 2, 3]);
}

#[test]
fn a_gap_is_mended_before_what_came_behind_it() {
    let mut world = World::new();
    world.arrive(1);
    assert_eq!(world.arrive(4), Next::Recover(place(1)));
    assert_eq!(world.arrive(5), Next::Nothing);
    assert_eq!(world.offsets("n"), [1], "held");
    world.answer(&[2, 3, 4]);
    assert_eq!(world.offsets("n"), [1, 2, 3, 4, 5]);
    let counts = world.counters.read();
    assert_eq!((counts.mended, counts.lost, counts.refused()), (3, 0, 0));
}

#[test]
fn a_gap_that_nothing_mends_is_a_jump() {
    let mut world = World::new();
    world.arrive(1);
    world.arrive(4);
    world.answer(&[]);
    assert_eq!(world.offsets("n"), [1, 4]);
    assert_eq!(world.counters.read().lost, 2);
    assert_eq!(world.arrive(5), Next::Nothing);
}

#[test]
fn a_replay_is_refused_whatever_place_it_claims_and_asks_the_store_nothing() {
    let mut world = World::new();
    world.arrive(1);
    world.arrive(2);
    for claimed in [place(3), place(900), place(1), Position { offset: 5, epoch: 1 }] {
        let next = world.with(|room, desk| room.arrive(arrival(claimed, 2), desk));
        assert_eq!(next, Next::Nothing, "{claimed:?}");
    }
    let counts = world.counters.read();
    assert_eq!((world.offsets("n"), counts.replayed, counts.repeated), (vec![1, 2], 3, 1));
    assert_eq!(world.arrive(3), Next::Nothing, "and moved nothing");
    assert_eq!(world.offsets("n"), [1, 2, 3]);
}

#[test]
fn an_old_record_in_the_history_is_refused() {
    let mut world = World::new();
    world.arrive(1);
    world.arrive(2);
    world.arrive(5);
    world.with(|room, desk| room.answered(vec![arrival(place(3), 1), arrival(place(4), 4)], desk));
    assert_eq!((world.offsets("n"), world.counters.read().replayed), (vec![1, 2, 4, 5], 1));
}

#[test]
fn a_new_epoch_is_mended_from_its_beginning() {
    let mut world = World::new();
    world.arrive(1);
    let new = |offset| Position { offset, epoch: 78 };
    let next = world.with(|room, desk| room.arrive(arrival(new(2), 9), desk));
    assert_eq!(next, Next::Recover(new(0)));
    world.with(|room, desk| room.answered(vec![arrival(new(1), 8)], desk));
    assert_eq!(
        *world.out.lock().unwrap(),
        [("n", EPOCH, 1), ("n", 78, 1), ("n", 78, 2)].map(|(n, e, o)| (n.to_owned(), e, o))
    );
}

#[test]
fn a_listener_gets_what_is_later_than_its_answer_whichever_comes_first() {
    let mut world = World::new();
    world.arrive(1);
    world.room.join(&node("m"));
    world.arrive(2);
    world.arrive(3);
    world.with(|room, desk| room.joined(&node("m"), Some(place(2)), desk));
    assert_eq!((world.offsets("n"), world.offsets("m")), (vec![1, 2, 3], vec![3]));
    world.room.join(&node("k"));
    world.with(|room, desk| room.joined(&node("k"), Some(place(4)), desk));
    world.arrive(4);
    world.arrive(5);
    assert_eq!((world.offsets("n"), world.offsets("k")), (vec![1, 2, 3, 4, 5], vec![5]));
}

#[test]
fn a_subscription_that_failed_lets_the_others_go_on() {
    let mut world = World::new();
    world.room.join(&node("m"));
    world.arrive(1);
    world.with(|room, desk| room.joined(&node("m"), None, desk));
    assert_eq!((world.offsets("n"), world.offsets("m")), (vec![1], vec![]));
}

#[test]
fn of_two_subscribes_of_a_node_the_earlier_counts_whichever_is_answered_first() {
    for answers in [[0, 1], [1, 0]] {
        let mut world = World::new();
        world.room = Room::new(RoomName::parse("r").unwrap(), 1, 2);
        world.room.join(&node("n"));
        world.room.join(&node("n"));
        world.arrive(1);
        for offset in answers {
            world.with(|room, desk| room.joined(&node("n"), Some(place(offset)), desk));
        }
        world.arrive(2);
        assert_eq!(world.offsets("n"), [1, 2], "{answers:?}");
    }
}

#[test]
fn a_subscribe_that_failed_does_not_undo_one_that_stands() {
    let mut world = World::new();
    world.room.join(&node("n"));
    world.with(|room, desk| room.joined(&node("n"), None, desk));
    world.arrive(1);
    assert_eq!(world.offsets("n"), [1]);
}

#[test]
fn messages_from_before_the_start_are_nobodys_and_raise_no_doubt() {
    let mut world = World::new();
    world.room = Room::new(RoomName::parse("r").unwrap(), 1, 2);
    world.room.join(&node("n"));
    world.with(|room, desk| room.joined(&node("n"), Some(place(3)), desk));
    assert_eq!((world.arrive(2), world.arrive(3), world.arrive(4)), (Next::Nothing, Next::Nothing, Next::Nothing));
    assert_eq!((world.offsets("n"), world.counters.read().late), (vec![4], 0));
}

#[test]
fn a_store_that_went_back_is_doubted() {
    let mut world = World::new();
    for offset in 1..=5 {
        world.arrive(offset);
    }
    let next = world.with(|room, desk| room.arrive(arrival(place(3), 6), desk));
    assert_eq!((next, world.counters.read().late), (Next::Recover(place(5)), 1));
    world.answer(&[]);
    let again = world.with(|room, desk| room.arrive(arrival(place(3), 6), desk));
    assert_eq!((again, world.counters.read().late), (Next::Nothing, 1), "once");
}

#[test]
fn what_waits_is_bounded_and_comes_out_in_order() {
    let mut world = World::new();
    world.arrive(1);
    let last = u64::try_from(HELD).unwrap() + 10;
    for offset in 3..=last {
        world.arrive(offset);
        assert!(world.room.held.len() <= HELD);
    }
    assert!(!world.offsets("n").is_empty());
    world.answer(&[]);
    let mut expected: Vec<u64> = (3..=last).collect();
    expected.insert(0, 1);
    assert_eq!(world.offsets("n"), expected);
}
