//! Where a message goes, once it has passed the pipeline.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, RoomName, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::{Published, Record};
use portcullis_common::store::presence::Occupant;
use portcullis_common::store::session::{Acquire, Acquired, Holder};
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::reply::{Ack, Acked, HealthCheck};

use crate::admit::auth::{AuthError, Identity};
use crate::bus;
use crate::events::StoreFailed;
use crate::node::Node;
use crate::pipeline::{Action, Passed, Target};
use crate::session::connection::{Next, Turn};
use crate::session::manager::tell;
use crate::session::park::Parked;
use crate::session::talk::{Session, Sort, Stop};

/// Which rooms exist, and who may do what in them.
pub mod rooms;

/// Conditions of room rules.
pub(crate) mod condition;

/// Joining, leaving, publishing.
pub mod room;

/// Messages to users.
pub mod user;

/// When a call that the store did not answer is worth another try.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What became of a request, for its answer.
pub struct Done {
    /// The request's `id`.
    pub id: Option<Box<str>>,
    /// The room that it was about.
    pub room: Option<RoomName>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a store call, or a token check, came to.
pub enum Outcome {
    /// A room message was taken, or not; then it is delivered on this node only.
    Published(Result<Published, StoreFault>, Record),
    /// A user message was taken (true: a duplicate), or not.
    Sent(Result<bool, StoreFault>),
    /// A room was entered, or not.
    Joined {
        /// What the store said.
        joined: Result<room::Joined, StoreFault>,
        /// It was a member before.
        again: bool,
    },
    /// What a failed join had done is undone.
    Undone,
    /// A room was left.
    Left,
    /// Who is in a room.
    Present(Result<(Vec<UserId>, usize), StoreFault>),
    /// The slot was claimed in a new life of the node, or not.
    Reasserted(Result<bool, StoreFault>),
    /// In a new era of the store, its token and rooms were told again, or not.
    Reentered(Result<(), StoreFault>),
    /// A token was checked.
    Token(Box<Result<Identity, AuthError>>),
    /// What a parked message waited for is known, or it has waited long enough.
    Unparked(Box<Parked>),
}

/// Carries a passed message to its route.
///
/// # Errors
/// The refusal, where the route does not allow it.
pub fn dispatch(session: &mut Session, passed: Passed<'_>, turn: &mut Turn<'_, '_>) -> Result<Next, Reject> {
    let Passed { message, action, .. } = passed;
    let id = message.id.as_deref().map(Box::from);
    match action {
        Action::HealthCheck => {
            session.say(&HealthCheck { id: id.as_deref(), now: turn.wall }, turn);
            Ok(Next::Go)
        }
        Action::Ack => Ok(Next::Go),
        Action::Join { room, since, terms } => room::join(session, room, since, terms, id, turn),
        Action::Leave { room } => room::leave(session, room, id, turn),
        Action::Presence { room } => room::presence(session, room, id, turn),
        Action::Publish { rule, to: Target::Room(room), terms } => {
            room::publish(session, &message, rule, (room, terms), id, turn)
        }
        Action::Publish { rule, to: Target::User(user), .. } => user::send(session, &message, rule, user, id, turn),
        Action::TokenRefresh { token } => {
            let (node, token, client) = (Arc::clone(&turn.worker.node), token.into_owned(), session.client);
            let work = async move {
                let result = check_token(&node, &token, client).await;
                Done { id, room: None, outcome: Outcome::Token(Box::new(result)) }
            };
            Ok(session.call(work, Sort::Token, turn))
        }
    }
}

/// The node began a new life: the session claims its slot, and its place in every room, in the name of it.
pub fn reassert(session: &mut Session, epoch: NodeEpoch, turn: &mut Turn<'_, '_>) -> Next {
    let Some(holder) = session.place.rename(epoch) else { return Next::Go };
    let node = Arc::clone(&turn.worker.node);
    let user = session.identity.user.clone();
    let rooms = turn.peer.rooms.borrow().clone();
    let token = session.place.token();
    let work = async move {
        let occupant = Occupant { sid: holder.sid, user: user.clone(), node: holder.node.clone(), epoch };
        let rules = &node.config.session;
        let request =
            Acquire { user: user.clone(), holder: holder.clone(), cap: rules.max_per_user, on_limit: OnLimit::Reject };
        let answer = async {
            // in a new era the slot is claimed as it was first: two calls that name different lives, in any order, could leave it
            // to the one that is over
            let entry = node.registry.get(holder.sid);
            if entry.is_none_or(|entry| entry.era != node.stores.eras.era()) {
                return Err(StoreFault::Era);
            }
            let held = matches!(node.stores.ledger.reassert(request).await?, Acquired::Held { .. });
            if held {
                say_again(&node, token, rooms, occupant, holder).await?;
            }
            Ok(held)
        };
        Done { id: None, room: None, outcome: Outcome::Reasserted(answer.await) }
    };
    // what was sent is done before what a session's end sends: dropping the rest leaves nothing behind
    session.call(work, Sort::Question, turn)
}

/// What hangs on a slot that had to be made anew: its token, and the rooms that its session is in. The rooms all at once,
/// so that one that is left meanwhile is left after it was entered.
async fn say_again(
    node: &Node,
    token: Option<[u8; 32]>,
    rooms: Vec<RoomName>,
    occupant: Occupant,
    holder: Holder,
) -> Result<(), StoreFault> {
    let entered = rooms.into_iter().map(|room| node.stores.presence.enter(room, occupant.clone()));
    let entered = join_all(entered).await;
    if let Some(token) = token {
        let window = node.config.session.resume_window;
        node.stores.ledger.arm(occupant.user, holder, token, window).await?;
    }
    entered.into_iter().try_for_each(|entered| entered.map(|_| ()))
}

/// The slot was claimed in a new era of the store, which knows neither the session's token nor its rooms yet.
pub fn reenter(session: &mut Session, turn: &mut Turn<'_, '_>) -> Next {
    let holder = session.place.holder().clone();
    let (node, user, token) = (Arc::clone(&turn.worker.node), session.identity.user.clone(), session.place.token());
    let occupant = Occupant { sid: holder.sid, user, node: holder.node.clone(), epoch: holder.epoch };
    let rooms = turn.peer.rooms.borrow().clone();
    let work = async move {
        let said = say_again(&node, token, rooms, occupant, holder).await;
        Done { id: None, room: None, outcome: Outcome::Reentered(said) }
    };
    session.call(work, Sort::Question, turn)
}

/// Tries again soon.
fn reenter_later(session: &Session, turn: &Turn<'_, '_>) {
    let (node, sid) = (Arc::clone(&turn.worker.node), session.place.holder().sid);
    turn.worker.node.background(Box::pin(async move {
        actix_rt::time::sleep(STORE_RETRY).await;
        tell(node.registry.get(sid).as_slice(), &Stop::Reenter);
    }));
}

async fn check_token(node: &Node, token: &str, client: IpAddr) -> Result<Identity, AuthError> {
    let rules = node.rules.load_full();
    let result = rules.verifier.verify(token).await;
    if matches!(result, Err(AuthError::Bad(_))) {
        node.addresses.login_failed(client, node.clock.nanos());
    }
    result
}

fn lost(fault: &StoreFault, turn: &Turn<'_, '_>) -> Reject {
    StoreFailed { call: "route", fault }.emit(&turn.worker.node.metrics);
    Reject::new(Code::StoreUnavailable, "the store did not answer").retry(STORE_RETRY)
}

/// Answers a request whose call is over.
///
/// # Errors
/// The refusal to send instead of an ack.
pub fn settle(
    session: &mut Session,
    outcome: Outcome,
    id: Option<&str>,
    room: Option<&RoomName>,
    turn: &mut Turn<'_, '_>,
) -> Result<(), Reject> {
    match outcome {
        Outcome::Published(Ok(Published { position, duplicate }), _) => {
            session.ack(id, room, Acked::Taken { position: Some(position), duplicate }, turn);
        }
        Outcome::Published(Err(fault @ StoreFault::Unavailable(_)), record) => {
            StoreFailed { call: "bus.publish", fault: &fault }.emit(&turn.worker.node.metrics);
            if let Some(room) = room {
                bus::publishing(turn.worker.id, || turn.worker.node.bus.deliver_degraded(room, record));
            }
            session.ack(id, room, Acked::Taken { position: None, duplicate: false }, turn);
        }
        Outcome::Published(Err(fault), _) => return Err(lost(&fault, turn)),
        Outcome::Sent(sent) => {
            let duplicate = sent.map_err(|fault| lost(&fault, turn))?;
            session.ack(id, room, Acked::Sent { duplicate }, turn);
        }
        Outcome::Joined { joined, again } => {
            let Some(room) = room else { return Ok(()) };
            match joined {
                Ok(joined) => room::joined(session, joined, id, room, turn),
                Err(fault) => {
                    room::not_joined(session, room, again, turn);
                    return Err(lost(&fault, turn));
                }
            }
        }
        Outcome::Reasserted(answer) => {
            session.place.renamed(answer.as_ref().is_ok_and(|held| *held));
            // a store that did not answer is asked again by the manager
            if answer.is_ok_and(|held| !held) {
                let reject = Reject::new(Code::SessionTerminated, "no slot left in the node's new life");
                return Err(reject.closing(Close::Terminated));
            }
        }
        Outcome::Reentered(Err(_)) => reenter_later(session, turn),
        // the session takes it before it comes here
        Outcome::Undone | Outcome::Reentered(Ok(())) | Outcome::Unparked(_) => {}
        Outcome::Left => session.ack(id, room, Acked::Done, turn),
        Outcome::Present(present) => {
            let (users, sessions) = present.map_err(|fault| lost(&fault, turn))?;
            session.say(&Ack { id, room, done: Acked::Present { users: &users, sessions }, now: turn.wall }, turn);
        }
        Outcome::Token(result) => {
            let identity = refresh(session, *result, turn)?;
            session.refreshed(identity, turn);
            let expires_at = session.expires_at(turn);
            room::leave_forbidden(session, turn);
            session.say(&Ack { id, room: None, done: Acked::Refreshed { expires_at }, now: turn.wall }, turn);
        }
    }
    Ok(())
}

/// A token for a live session: the same user and tenant, a later end, not banned. Which of these it is not, the client
/// is not told.
fn refresh(session: &Session, result: Result<Identity, AuthError>, turn: &Turn<'_, '_>) -> Result<Identity, Reject> {
    turn.worker.node.vitals.may_refresh()?;
    let new = match result {
        Ok(identity) => identity,
        Err(AuthError::Bad(bad)) => return Err(Reject::new(Code::Unauthenticated, bad.0)),
        Err(AuthError::Unavailable(detail)) => {
            return Err(Reject::new(Code::StoreUnavailable, detail).retry(STORE_RETRY));
        }
    };
    let old = &session.identity;
    if new.user != old.user || new.tenant != old.tenant {
        return Err(Reject::new(Code::Unauthenticated, "the new token is somebody else's"));
    }
    if new.expires <= old.expires {
        return Err(Reject::new(Code::Conflict, "the new token does not end later"));
    }
    turn.worker.node.check_identity(&new, turn.wall)?;
    Ok(new)
}
