//! Joining, leaving, publishing, asking who is there.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::config::model::{History, MessageRule};
use portcullis_common::ids::{ClientId, NodeEpoch, RoomName, SessionId, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::{Dedupe, Delivery, Position, Record};
use portcullis_common::store::presence::Occupant;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::ClientMessage;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::reply::{Ack, Acked, PresenceEvent, Published, Reply};

use super::{Done, Outcome};
use crate::bus;
use crate::events::StoreFailed;
use crate::node::Node;
use crate::pipeline::role::Terms;
use crate::session::connection::{Next, Turn};
use crate::session::guard::RETRIES;
use crate::session::talk::{Session, Sort, Work};
use crate::wire_out;

/// Missed messages that a join brings back at most, and no more bytes than half of what the outbox still takes; more are
/// a gap (`recovered: false`).
const RECOVER: usize = 1_000;
/// Users that one `presence` answer names at most.
const PRESENT: usize = 1_000;

/// What entering a room came to.
pub struct Joined {
    position: Position,
    /// What was missed, if the client said what it had.
    missed: Option<(Vec<Delivery>, bool)>,
    members: usize,
}

/// Whether the present rule of a room tells who is there, and what it keeps.
fn terms(node: &Node, room: &RoomName) -> (bool, Option<History>) {
    let rules = node.rules.load();
    rules.policy.rooms.rule(room).map_or((false, None), |rule| (rule.presence, rule.history))
}

fn not_member() -> Reject {
    Reject::new(Code::NotMember, "not a member")
}

fn is_member(room: &RoomName, turn: &Turn<'_, '_>) -> bool {
    turn.peer.rooms.borrow().contains(room)
}

/// `join`: the hub first, so that nothing is missed; then the store.
pub fn join(
    session: &mut Session,
    room: RoomName,
    since: Option<Position>,
    terms: Terms<'_>,
    id: Option<Box<str>>,
    turn: &mut Turn<'_, '_>,
) -> Result<Next, Reject> {
    let node = Arc::clone(&turn.worker.node);
    let (presence, keep) = (terms.presence, terms.history);
    let rooms = turn.peer.rooms.borrow().len();
    let again = is_member(&room, turn);
    if rooms >= node.config.session.max_rooms && !again {
        return Err(Reject::new(Code::Conflict, "as many rooms as a session may be in"));
    }
    let since = since.filter(|_| keep.is_some());
    turn.worker.hub.join(&room, turn.peer, since.is_some());
    let user = session.identity.user.clone();
    let holder = session.place.holder();
    let occupant = Occupant { sid: turn.peer.sid, user, node: holder.node.clone(), epoch: holder.epoch };
    let entering = Entering { node: Arc::clone(&node), worker: turn.worker.id, room: room.clone(), presence, keep };
    let sort = Sort::Membership(room.clone());
    let work = async move {
        let joined = entering.run(occupant, since).await;
        Done { id, room: Some(room), outcome: Outcome::Joined { joined, again } }
    };
    Ok(session.call(work, sort, turn))
}

struct Entering {
    node: Arc<Node>,
    worker: u16,
    room: RoomName,
    /// The room's policy asks for events.
    presence: bool,
    /// Events have a place in the room's order, so they are kept like messages: recovery must find no hole.
    keep: Option<History>,
}

impl Entering {
    async fn run(self, occupant: Occupant, since: Option<Position>) -> Result<Joined, StoreFault> {
        let Self { node, worker, room, presence, keep } = self;
        let position = node.bus.enter(worker, &room).await?;
        let user = occupant.user.clone();
        let change = node.stores.presence.enter(room.clone(), occupant).await?;
        let missed = match since {
            None => None,
            Some(since) => {
                let recovery = node.stores.bus.recover(room.clone(), since, RECOVER).await?;
                // the limit may have cut off the end, and the room may have begun anew since the subscription
                let reached = recovery.records.last().map_or(since.offset, |last| last.position.offset);
                let complete = recovery.complete && since.epoch == position.epoch && reached >= position.offset;
                let mut records = recovery.records;
                records.retain_mut(|delivery| node.bus.guard(&mut delivery.record));
                Some((records, complete))
            }
        };
        if presence && change.user_changed {
            announce(&node, room, &user, true, keep).await?;
        }
        Ok(Joined { position, missed, members: change.sessions })
    }
}

/// Tells a room that a user came or left.
async fn announce(
    node: &Node,
    room: RoomName,
    user: &UserId,
    joined: bool,
    keep: Option<History>,
) -> Result<(), StoreFault> {
    let event = PresenceEvent { room: &room, user, joined, now: node.clock.wall() };
    let record = Record { body: event.to_bytes(), exclude: None };
    node.stores.bus.publish(room.clone(), record, None, keep).await.map(|_| ())
}

/// The store let the session in: first what it missed, then the ack, then what came meanwhile.
pub fn joined(session: &Session, joined: Joined, id: Option<&str>, room: &RoomName, turn: &Turn<'_, '_>) {
    let Joined { position, missed, members } = joined;
    let mut seen = Position { offset: 0, epoch: 0 };
    let mut recovered = false;
    if let Some((records, complete)) = missed {
        recovered = complete;
        seen = position;
        // the other half is for the ack and what came meanwhile
        let mut left = turn.peer.room() / 2;
        for delivery in &records {
            let frame = wire_out::delivery(delivery, turn.peer.protocol);
            if frame.len() > left {
                recovered = false;
                break;
            }
            left -= frame.len();
            if delivery.position.epoch == position.epoch {
                seen.offset = seen.offset.max(delivery.position.offset);
            }
            turn.peer.deliver(frame);
        }
        recovered &= turn.worker.hub.has_all_behind(room, turn.peer, seen);
    }
    let done = Acked::Joined { recovered, position, members };
    session.say(&Ack { id, room: Some(room), done, now: turn.wall }, turn);
    turn.worker.hub.settle(room, turn.peer, seen);
}

/// The store failed somewhere on the way in. A member stays one; for anybody else, what was done is undone before its
/// next message is looked at.
pub fn not_joined(session: &mut Session, room: &RoomName, again: bool, turn: &mut Turn<'_, '_>) {
    if again {
        turn.worker.hub.release(room, turn.peer);
        return;
    }
    let work = out(session, room.clone(), turn);
    let work = async move {
        work.await;
        Done { id: None, room: None, outcome: Outcome::Undone }
    };
    // an answer that says nothing cannot end the session
    let _ = session.call(work, Sort::Membership(room.clone()), turn);
}

/// Takes a session out of the hub's room; what is left to do. To be polled at once.
fn out(session: &Session, room: RoomName, turn: &Turn<'_, '_>) -> impl Future<Output = ()> + Send + use<> {
    let last = turn.worker.hub.leave(&room, turn.peer);
    let (node, epoch) = (Arc::clone(&turn.worker.node), session.place.holder().epoch);
    let leaving = Leaving { node, worker: turn.worker.id, last, epoch, after: None };
    leaving.run(room, turn.peer.sid, session.identity.user.clone())
}

/// `leave`.
pub fn leave(
    session: &mut Session,
    room: RoomName,
    id: Option<Box<str>>,
    turn: &mut Turn<'_, '_>,
) -> Result<Next, Reject> {
    if !is_member(&room, turn) {
        return Err(not_member());
    }
    let leaving = out(session, room.clone(), turn);
    let sort = Sort::Membership(room.clone());
    let work = async move {
        leaving.await;
        Done { id, room: Some(room), outcome: Outcome::Left }
    };
    Ok(session.call(work, sort, turn))
}

/// What is left to do when a session has left the hub's room.
pub struct Leaving {
    /// The node.
    pub node: Arc<Node>,
    /// The session's worker.
    pub worker: u16,
    /// The hub has nobody in the room any more.
    pub last: bool,
    /// The life of the node in which the session entered.
    pub epoch: NodeEpoch,
    /// The session's way in, where that is not over: presence can be left only behind it.
    pub after: Option<Work>,
}

impl Leaving {
    /// Tells store and room; to be polled at once, and then to its end. A store that does not answer is asked again for
    /// a minute; after that it forgets the session when this node's life is reaped.
    pub async fn run(self, room: RoomName, sid: SessionId, user: UserId) {
        let Self { node, worker, last, epoch, after } = self;
        let entering = async {
            if let Some(entering) = after {
                drop(entering.await);
            }
        };
        let exiting = async { if last { node.bus.exit(worker, &room).await } else { Ok(()) } };
        let ((), exited) = futures_util::future::join(entering, exiting).await;
        if let Err(fault) = exited {
            StoreFailed { call: "bus.unsubscribe", fault: &fault }.emit(&node.metrics);
        }
        let mut absence = Absence { room, sid, user, epoch, told: None };
        if absence.tell(&node).await {
            return;
        }
        let again = Arc::clone(&node);
        // its timers have to be the background's own, and not a worker's
        node.background(Box::pin(async move {
            for wait in RETRIES {
                actix_rt::time::sleep(Duration::from_secs(wait)).await;
                // a session that lives may have come back into the room, and must not be taken out of it
                if again.registry.get(absence.sid).is_none() && absence.tell(&again).await {
                    return;
                }
            }
        }));
    }
}

/// A session that is in a room no more, and who knows it.
struct Absence {
    room: RoomName,
    sid: SessionId,
    user: UserId,
    epoch: NodeEpoch,
    /// The store knows; whether the user has no other session in the room.
    told: Option<bool>,
}

impl Absence {
    /// Tells the store, then the room's members where its policy asks for it; what is done is not done again. False: the
    /// store did not answer.
    async fn tell(&mut self, node: &Node) -> bool {
        let result = async {
            let user_left = match self.told {
                Some(user_left) => user_left,
                None => node.stores.presence.exit(self.room.clone(), self.sid, self.epoch).await?.user_changed,
            };
            self.told = Some(user_left);
            let (presence, history) = terms(node, &self.room);
            if presence && user_left {
                announce(node, self.room.clone(), &self.user, false, history).await?;
            }
            Ok::<(), StoreFault>(())
        };
        result.await.inspect_err(|fault| StoreFailed { call: "leave", fault }.emit(&node.metrics)).is_ok()
    }
}

/// Leaves the rooms that a new token does not allow any more.
pub fn leave_forbidden(session: &mut Session, turn: &mut Turn<'_, '_>) {
    let rooms = turn.peer.rooms.borrow().clone();
    for room in rooms {
        let node = Arc::clone(&turn.worker.node);
        if node.rules.load().policy.rooms.may_join(&room, &session.identity.subject()).is_err() {
            // the membership was checked a line ago
            let _ = leave(session, room, None, turn);
        }
    }
}

/// `presence`: who is in a room, for its members.
pub fn presence(
    session: &mut Session,
    room: RoomName,
    id: Option<Box<str>>,
    turn: &mut Turn<'_, '_>,
) -> Result<Next, Reject> {
    if !is_member(&room, turn) {
        return Err(not_member());
    }
    let node = Arc::clone(&turn.worker.node);
    if !terms(&node, &room).0 {
        return Err(Reject::new(Code::Forbidden, "the room does not tell who is there"));
    }
    let work = async move {
        let present = node.stores.presence.list(room.clone(), PRESENT).await;
        Done { id, room: Some(room), outcome: Outcome::Present(present) }
    };
    Ok(session.call(work, Sort::Question, turn))
}

/// An application message to a room.
pub fn publish(
    session: &mut Session,
    message: &ClientMessage<'_>,
    rule: &MessageRule,
    (room, terms): (RoomName, Terms<'_>),
    id: Option<Box<str>>,
    turn: &mut Turn<'_, '_>,
) -> Result<Next, Reject> {
    if !is_member(&room, turn) {
        return Err(not_member());
    }
    let node = Arc::clone(&turn.worker.node);
    let keep = terms.history;
    let record = record(session, message, rule, Some(&room), turn);
    let dedupe = dedupe(session, id.as_deref())?;
    let kept = record.clone();
    let call = bus::publishing(turn.worker.id, || node.stores.bus.publish(room.clone(), record, dedupe, keep));
    Ok(session.call_ready(
        call,
        move |published| Done { id, room: Some(room), outcome: Outcome::Published(published, kept) },
        turn,
    ))
}

/// The message as everybody gets it.
pub(super) fn record(
    session: &Session,
    message: &ClientMessage<'_>,
    rule: &MessageRule,
    room: Option<&RoomName>,
    turn: &Turn<'_, '_>,
) -> Record {
    let published = Published {
        kind: &message.kind,
        payload: message.payload,
        user: &session.identity.user,
        session: turn.peer.sid,
        room,
        now: turn.wall,
    };
    Record { body: published.to_bytes(), exclude: (!rule.echo).then_some(turn.peer.sid) }
}

/// The message's `id` makes it idempotent.
pub(super) fn dedupe(session: &Session, id: Option<&str>) -> Result<Option<Dedupe>, Reject> {
    let parse = |id| ClientId::parse(id).map_err(|_| Reject::new(Code::Malformed, "id: not a legal id"));
    let id = id.map(parse).transpose()?;
    Ok(id.map(|id| Dedupe { user: session.identity.user.clone(), id }))
}
