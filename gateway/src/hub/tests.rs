use std::rc::Rc;

use bytes::Bytes;
use portcullis_common::ids::{RoomName, SessionId};
use portcullis_common::store::bus::{Delivery, Position, Record};

use super::{HELD, Hub, HubMail, HubQueue, PeerTable};
use crate::admit::subprotocol::Protocol;
use crate::session::peer::Peer;

/// Nobody is found by a place, and nothing is written: what is delivered waits.
struct Nobody;

impl PeerTable for Nobody {
    fn peer(&self, _: u32) -> Option<Rc<Peer>> {
        None
    }

    fn each(&self, _: &mut dyn FnMut(&Rc<Peer>)) {}

    fn write(&self, _: &Peer) -> bool {
        false
    }
}

fn room() -> RoomName {
    RoomName::parse("team.red").expect("legal")
}

fn at(offset: u64) -> Position {
    Position { offset, epoch: 7 }
}

/// A member that is joining, for whom these came meanwhile.
fn joining(offsets: impl IntoIterator<Item = u64>) -> (Hub, Rc<Peer>) {
    let (hub, queue) = (Hub::default(), HubQueue::default());
    let peer = Rc::new(Peer::new(SessionId(1), Protocol::Json, 1 << 24));
    hub.join(&room(), &peer, true);
    for offset in offsets {
        let record = Record { body: Bytes::from_static(b"{}"), exclude: None };
        assert!(queue.push(HubMail::Room(Delivery { room: room(), position: at(offset), record }), false));
        while hub.turn(&queue, &Nobody) {}
    }
    (hub, peer)
}

#[test]
fn what_comes_while_a_member_joins_is_delivered_behind_what_it_has() {
    let (hub, peer) = joining(1..=10);
    assert_eq!(hub.take_delivered(), 0);
    assert!(hub.has_all_behind(&room(), &peer, at(0)));
    hub.settle(&room(), &peer, at(4));
    assert_eq!(hub.take_delivered(), 6);
}

#[test]
fn whoever_lost_a_held_message_that_it_does_not_have_is_not_told_that_it_has_all() {
    let held = HELD as u64;
    let (hub, peer) = joining(1..=held);
    assert!(hub.has_all_behind(&room(), &peer, at(0)), "as many as there is room for");
    let (hub, peer) = joining(1..=held + 3);
    assert!(!hub.has_all_behind(&room(), &peer, at(2)), "3 is gone");
    assert!(hub.has_all_behind(&room(), &peer, at(3)), "it has all that is gone");
    let elsewhere = Position { epoch: 8, ..at(3) };
    assert!(!hub.has_all_behind(&room(), &peer, elsewhere), "of another order it has nothing");
    hub.settle(&room(), &peer, at(3));
    assert_eq!(hub.take_delivered(), held);
    assert!(hub.has_all_behind(&room(), &peer, at(0)), "nothing is held for one who has joined");
}
