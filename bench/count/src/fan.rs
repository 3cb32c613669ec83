//! One message to a room: encoded once an encoding, handed to every member's outbox, taken out as the socket would.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{NodeEpoch, NodeId, RoomName, SessionId};
use portcullis_common::store::bus::{Delivery, Position, Record};
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::record::{Header, Issuer, Sealer};
use portcullis_gateway::admit::subprotocol::Protocol;
use portcullis_gateway::hub::{Hub, HubMail, HubQueue, PeerTable};
use portcullis_gateway::session::peer::Peer;
use portcullis_gateway::wire_out;
use rand::SeedableRng;

use crate::case::Case;

const MEMBERS: u64 = 1_000;

/// A worker whose sockets take everything at once. Nobody is written to by place.
#[derive(Default)]
struct Sockets(RefCell<Vec<u8>>);

impl PeerTable for Sockets {
    fn peer(&self, _: u32) -> Option<Rc<Peer>> {
        None
    }

    fn each(&self, _: &mut dyn FnMut(&Rc<Peer>)) {}

    fn write(&self, peer: &Peer) -> bool {
        let (mut outbox, mut buffer) = (peer.outbox(), self.0.borrow_mut());
        let written = outbox.next_write(&mut buffer, 1 << 16).len();
        outbox.advance(written);
        written > 0 && outbox.is_empty()
    }
}

fn delivery(offset: u64) -> Delivery {
    let body = r#"{"type":"chat","payload":{"text":"a line of text, as people write it"},"from":{"user":"ada","session":"0000000000000000000000000A"},"room":"team.red","timestamp":1700000000000}"#;
    let record = Record { body: Bytes::from_static(body.as_bytes()), exclude: Some(SessionId(0)) };
    let room = RoomName::parse("team.red").expect("legal");
    Delivery { room, position: Position { offset, epoch: 0x1234_5678 }, record }
}

/// The rows of a fan-out; one operation is one delivery.
pub fn cases() -> Vec<Case> {
    let fan = |name: &str, protocols: [Protocol; 2]| Case {
        name: name.to_owned(),
        operations: MEMBERS,
        run: Box::new(room(protocols)),
    };
    let (json, packed) = (Protocol::Json, Protocol::Msgpack);
    vec![
        fan("delivery in a room of 1,000, json", [json, json]),
        fan("delivery in a room of 1,000, both", [json, packed]),
        Case::one("room message to a frame, json", encode(json)),
        Case::one("room message to a frame, msgpack", encode(packed)),
        Case::one("record sealed and opened", seal()),
    ]
}

fn encode(protocol: Protocol) -> impl FnMut() {
    let delivery = delivery(4_711);
    move || _ = std::hint::black_box(wire_out::delivery(&delivery, protocol))
}

fn room(protocols: [Protocol; 2]) -> impl FnMut() {
    let (hub, queue, first) = (Hub::default(), HubQueue::default(), delivery(1));
    let peer = |(n, protocol)| Rc::new(Peer::new(SessionId(n), protocol, 1 << 20));
    let peers: Vec<Rc<Peer>> = (1..=u128::from(MEMBERS)).zip(protocols.into_iter().cycle()).map(peer).collect();
    peers.iter().for_each(|peer| hub.join(&first.room, peer, false));
    let (mut offset, sockets) = (0, Sockets::default());
    move || {
        offset += 1;
        assert!(
            queue.push(HubMail::Room(Delivery { position: Position { offset, epoch: 9 }, ..first.clone() }), false)
        );
        while hub.turn(&queue, &sockets) {}
        assert!(peers.iter().all(|peer| peer.outbox().is_empty()));
        assert_eq!(hub.take_delivered(), MEMBERS);
    }
}

fn seal() -> impl FnMut() {
    let keys = Keyring::random(&mut rand::rngs::StdRng::seed_from_u64(1));
    let sealer = Sealer::new("portcullis", keys.into());
    let node = NodeId::parse("gw-1").expect("legal");
    let header = Header { issuer: Issuer { node, epoch: NodeEpoch(9) }, sequence: 5, at: UnixMs(1_700_000_000_000) };
    let body = delivery(1).record.body;
    move || {
        let sealed = Bytes::from(sealer.seal(b"portcullis:{p07}:room:x", &header, &body));
        assert!(sealer.open(b"portcullis:{p07}:room:x", &sealed).is_ok());
    }
}
