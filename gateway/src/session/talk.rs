//! What one session says and hears: frames through the pipeline, actions to their routes, answers to the outbox.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_common::clock::{Mono, UnixMs};
use portcullis_common::ids::{NodeEpoch, RequestId, RoomName};
use portcullis_common::stage::Stage;
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::reply::{
    Ack, Acked, Csrf, ErrorReply, Reply, ResumeGrant, TokenExpiring, Welcome, WelcomeLimits,
};

use super::connection::{Conversation, End, Next, Turn};
use super::describe::{Described, Question};
use super::guard::Place;
use super::liveness::{Due, Liveness};
use super::park::Parked;
use super::resume::{self, Grant};
use crate::admit::auth::Identity;
use crate::admit::subprotocol::Protocol;
use crate::events::{DryRun, Ended, MessageRejected, MessageSanitised};
use crate::frame::{Event, Limits, Opcode, encode};
use crate::pipeline::{self, Arrival, ConnState, Frame, Now, Pass, Verdict, Who};
use crate::route;
use crate::wire_out;

pub(crate) use self::calls::{Sort, Work};

/// What it waits for.
mod calls;

/// An order to a session from elsewhere on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// An operator ends it.
    Kicked,
    /// An operator ends it if its token has this id.
    KickedToken(Arc<str>),
    /// A newer session takes its slot.
    Evicted,
    /// A ban or revocation may concern it: it looks itself up.
    Recheck,
    /// The node began a new life: claim the slot in its name.
    Reassert(NodeEpoch),
    /// The store began a new era: say again in which rooms it is.
    Reenter,
    /// The store forgot while the session opened: its slot is not sure.
    Forgotten,
    /// An operator asks what it is about.
    Describe(Question),
    /// The node drains: reconnect after this long; then the connection is closed.
    Drain(Duration),
    /// A test asked for a panic, in the handler of this order.
    #[cfg(feature = "fault-injection")]
    Panic,
    /// A test asked for a panic, in the next turn.
    #[cfg(feature = "fault-injection")]
    PanicNext,
}

/// The conversation of an authenticated session.
pub struct Session {
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    pub(crate) client: IpAddr,
    state: ConnState,
    live: Liveness,
    calls: VecDeque<calls::Call>,
    /// When a drain closes it.
    leave_at: Option<Mono>,
    /// Its client has not shown yet that it has read the `welcome` of a resumed session.
    unproved: bool,
    /// It has used up the time that it had.
    over: bool,
    /// Said with the close frame.
    last_words: Option<Box<Bytes>>,
    /// A test asked the next turn to panic.
    #[cfg(feature = "fault-injection")]
    fault: bool,
}

impl Session {
    /// A session that has just been admitted.
    #[must_use]
    pub fn new(identity: Identity, place: Place, client: IpAddr, resumed: Option<UnixMs>, turn: &Turn<'_, '_>) -> Self {
        let config = &turn.worker.node.config;
        let since = resumed.unwrap_or(turn.wall);
        let rules = turn.worker.node.rules.load();
        let live = Liveness::new(&config.session, &rules.config.csrf, turn.now(), turn.wall, identity.expires, since);
        Self {
            identity,
            place,
            client,
            state: ConnState::default(),
            live,
            calls: VecDeque::new(),
            leave_at: None,
            unproved: resumed.is_some(),
            over: false,
            last_words: None,
            #[cfg(feature = "fault-injection")]
            fault: false,
        }
    }

    /// Says `welcome`, the first message.
    pub fn welcome(&mut self, grant: Option<&Grant>, turn: &Turn<'_, '_>) {
        let node = &turn.worker.node;
        let config = &node.config;
        let rules = node.rules.load();
        let token = self.state.csrf.rotate(rules.policy.csrf(), &mut rand::rng(), now(turn));
        let welcome = Welcome {
            session: turn.peer.sid,
            user: &self.identity.user,
            csrf_token: &token,
            expires_at: self.expires_at(turn),
            heartbeat: config.session.ping_interval,
            resume: grant.map(|grant| ResumeGrant { token: &grant.text, resumed: self.unproved }),
            limits: WelcomeLimits {
                message_bytes: rules.config.size.message,
                rooms: config.session.max_rooms,
                messages: rules.config.limit.message,
                bytes: rules.config.limit.bytes,
            },
            node: &config.node.id,
            now: turn.wall,
        };
        self.say(&welcome, turn);
    }

    /// Queues a message of the gateway's own.
    pub(crate) fn say(&self, reply: &impl Reply, turn: &Turn<'_, '_>) {
        turn.worker.node.metrics.messages_out.inc();
        turn.peer.deliver(wire_out::reply(reply, turn.peer.protocol));
    }

    /// Tells the peer why something was refused; the connection may end with it.
    fn refuse(&mut self, reject: &Reject, id: Option<&str>, turn: &Turn<'_, '_>) -> Next {
        self.refuse_at(None, reject, id, turn)
    }

    /// The same for what a stage of the pipeline refused.
    fn refuse_at(&mut self, stage: Option<Stage>, reject: &Reject, id: Option<&str>, turn: &Turn<'_, '_>) -> Next {
        let request = RequestId::random(&mut rand::rng());
        MessageRejected { request, session: turn.peer.sid, stage, reject }.emit(&turn.worker.node.metrics);
        let error = ErrorReply { code: reject.code, request, retry_after: reject.retry_after, id, now: turn.wall };
        match reject.close {
            None => {
                self.say(&error, turn);
                Next::Go
            }
            Some(close) => {
                self.last_words = Some(Box::new(wire_out::reply(&error, turn.peer.protocol)));
                Next::Close(close)
            }
        }
    }

    /// Refuses what routing refused: it counts towards the connection's refusals like any other.
    fn refuse_counted(&mut self, reject: Reject, id: Option<&str>, turn: &Turn<'_, '_>) -> Next {
        if matches!(reject.code, Code::StoreUnavailable | Code::UpstreamUnavailable | Code::Internal) {
            // ours, not the peer's: it must not be closed for it
            return self.refuse(&reject, id, turn);
        }
        let rules = turn.worker.node.rules.load();
        let reject = pipeline::count_refusal(&rules.policy, &mut self.state, reject, now(turn));
        self.refuse(&reject, id, turn)
    }

    fn message(&mut self, frame: Frame<'_>, turn: &mut Turn<'_, '_>) -> Next {
        turn.worker.node.metrics.messages_in.inc();
        self.live.active(turn.now());
        self.consider(frame, (turn.nanos, Pass::First), turn)
    }

    /// Puts a frame that came first at `since` through the pipeline, and on its way or to wait.
    fn consider(&mut self, frame: Frame<'_>, (since, pass): (u64, Pass), turn: &mut Turn<'_, '_>) -> Next {
        let worker = std::rc::Rc::clone(turn.worker);
        let node = &worker.node;
        let mut scratch = worker.scratch.borrow_mut();
        let rules = node.rules.load();
        let subject = self.identity.subject();
        let limits = self.identity.limits.as_deref();
        let who = Who { subject, issuer: self.identity.issuer, address: self.client, limits };
        let arrival = Arrival { now: now(turn), pass, sheds: node.overload.sheds(|| worker.pace.sheds(turn.nanos)) };
        let checked = pipeline::check_on(&rules.policy, &mut self.state, &who, frame, arrival, &mut scratch);
        if let Verdict::Park(key) = checked.verdict {
            // what waits is looked at again, and then noted
            drop(scratch);
            let answer = node.allowance.answer(&key);
            let work = Box::new(Parked::new(frame, since)).wait(answer, turn.nanos);
            node.metrics.limits.parked.inc_by(u64::from(pass == Pass::First));
            return self.call(work, Sort::Parked, turn);
        }
        if let Some(score) = self.state.score.as_mut() {
            node.penalties.charge_score(&rules.config.penalty, &self.identity.user, self.client, score);
        }
        for note in &checked.notes {
            DryRun { session: turn.peer.sid, note }.emit(&node.metrics);
        }
        let passed = match checked.verdict {
            Verdict::Pass(passed) => passed,
            Verdict::Reject { stage, reject, id } => {
                return self.refuse_at(Some(stage), &reject, id.as_deref(), turn);
            }
            Verdict::Shed { id } => return self.refuse(&node.overload.shed(), id.as_deref(), turn),
            Verdict::Park(_) => return Next::Go,
        };
        if passed.cleaned.any() {
            MessageSanitised { session: turn.peer.sid, cleaned: passed.cleaned }.emit(&node.metrics);
        }
        let id = passed.message.id.clone();
        match route::dispatch(self, passed, turn) {
            Ok(next) => next,
            Err(reject) => self.refuse_counted(reject, id.as_deref(), turn),
        }
    }

    /// Answers a request, where its sender gave it an `id`.
    pub(crate) fn ack(&self, id: Option<&str>, room: Option<&RoomName>, done: Acked<'_>, turn: &Turn<'_, '_>) {
        if id.is_some() {
            self.say(&Ack { id, room, done, now: turn.wall }, turn);
        }
    }

    /// A new token was taken.
    pub(crate) fn refreshed(&mut self, identity: Identity, turn: &Turn<'_, '_>) {
        self.live.refreshed(turn.now(), turn.wall, identity.expires);
        self.state.memo.forget();
        self.identity = identity;
    }

    /// What the client is told: the token's end, or the session's if that comes first.
    pub(crate) fn expires_at(&self, turn: &Turn<'_, '_>) -> UnixMs {
        self.identity.expires.min(self.live.limit(turn.now(), turn.wall))
    }

    fn deadlines(&mut self, turn: &mut Turn<'_, '_>) -> Next {
        let node = std::rc::Rc::clone(turn.worker);
        let (config, rules) = (&node.node.config, node.node.rules.load());
        if self.leave_at.is_some_and(|at| turn.now() >= at) {
            return Next::Close(Close::Restart);
        }
        while let Some(due) = self.live.due(&config.session, &rules.config.csrf, turn.now(), turn.nanos) {
            match due {
                Due::Ping(payload) => turn.peer.deliver(encode::frame(Opcode::Ping, &payload)),
                Due::Warn => self.say(&TokenExpiring { expires_at: self.expires_at(turn), now: turn.wall }, turn),
                Due::Rotate => {
                    let times = rules.policy.csrf();
                    let token = self.state.csrf.rotate(times, &mut rand::rng(), now(turn));
                    self.say(&Csrf { token: &token, now: turn.wall }, turn);
                }
                Due::Expired => {
                    let reject = Reject::new(Code::TokenExpired, "the session's token expired");
                    return self.refuse(&reject.closing(Close::Unauthenticated), None, turn);
                }
                Due::Silent => return Next::Close(Close::Timeout),
                Due::Close(close, detail) => {
                    tracing::debug!(event = "deadline", session = %turn.peer.sid, detail);
                    self.over = true;
                    return Next::Close(close);
                }
            }
        }
        Next::Go
    }

    /// Holds itself to what the fleet's penalties say of its user and network.
    fn restrict(&mut self, turn: &Turn<'_, '_>) -> Next {
        match turn.worker.node.restriction(Some(&self.identity.user), self.client) {
            Some((left, true)) => {
                let reject = Reject::new(Code::Restricted, "the fleet ends its user's or network's sessions");
                self.refuse(&reject.retry(left).closing(Close::Forbidden), None, turn)
            }
            Some((left, false)) => {
                let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
                self.state.score.get_or_insert_default().hold(Some(turn.nanos.saturating_add(left)));
                Next::Go
            }
            None => {
                if let Some(score) = self.state.score.as_mut() {
                    score.hold(None);
                }
                Next::Go
            }
        }
    }

    fn describe(&self, turn: &Turn<'_, '_>) -> Described {
        let mut rooms: Vec<String> = turn.peer.rooms.borrow().iter().map(|room| room.as_str().to_owned()).collect();
        rooms.sort_unstable();
        let rules = turn.worker.node.rules.load();
        let score = self.state.score.as_ref();
        Described {
            rooms,
            score: score.map_or(0.0, |score| rules.policy.points(score, turn.nanos)),
            evidence: score.map(|score| score.words(turn.nanos)).unwrap_or_default(),
        }
    }

    fn recheck(&mut self, turn: &mut Turn<'_, '_>) -> Next {
        let node = Arc::clone(&turn.worker.node);
        let verdict = node
            .check_address(self.client, turn.wall)
            .and_then(|()| node.bans.check_session(turn.peer.sid, turn.wall))
            .and_then(|()| node.check_identity(&self.identity, turn.wall));
        match verdict {
            Ok(()) => {
                // the rules may be others than when it joined
                route::room::leave_forbidden(self, turn);
                self.restrict(turn)
            }
            Err(reject) => {
                let close =
                    if reject.code == Code::Unauthenticated { Close::Unauthenticated } else { Close::Forbidden };
                self.refuse(&reject.closing(close), None, turn)
            }
        }
    }
}

/// Both clocks as the pipeline takes them.
fn now(turn: &Turn<'_, '_>) -> Now {
    Now { mono_ns: turn.nanos, wall: turn.wall }
}

impl Conversation for Session {
    type Order = Stop;

    fn event(&mut self, event: Event<'_>, turn: &mut Turn<'_, '_>) -> Next {
        self.live.heard(turn.now());
        if std::mem::take(&mut self.unproved) {
            resume::spend(&self.place, turn.worker);
        }
        match (event, turn.peer.protocol) {
            (Event::Text(text), Protocol::Json) => self.message(Frame::Text(text), turn),
            (Event::Binary(bytes), Protocol::Msgpack) => self.message(Frame::Binary(bytes), turn),
            (Event::Text(_) | Event::Binary(_), _) => Next::Close(Close::Unsupported),
            (Event::Ping(payload), _) => {
                let rules = turn.worker.node.rules.load();
                match pipeline::check_control(&rules.policy, &mut self.state, now(turn)) {
                    Ok(()) => {
                        turn.peer.deliver(encode::frame(Opcode::Pong, payload));
                        Next::Go
                    }
                    Err(reject) => self.refuse(&reject, None, turn),
                }
            }
            (Event::Pong(payload), _) => {
                // the answer to our own ping is free, anything else is counted
                if let Some(round_trip) = self.live.pong(payload, turn.nanos) {
                    turn.worker.node.metrics.round_trip.observe(round_trip.as_secs_f64());
                    return Next::Go;
                }
                let rules = turn.worker.node.rules.load();
                match pipeline::check_control(&rules.policy, &mut self.state, now(turn)) {
                    Ok(()) => Next::Go,
                    Err(reject) => self.refuse(&reject, None, turn),
                }
            }
            (Event::Close { .. }, _) => Next::Go,
        }
    }

    fn resume(&mut self, turn: &mut Turn<'_, '_>) -> Next {
        #[cfg(feature = "fault-injection")]
        assert!(!self.fault, "injected into a connection");
        let next = self.poll_calls(turn);
        if matches!(next, Next::Close(_)) {
            return next;
        }
        match self.deadlines(turn) {
            Next::Close(close) => Next::Close(close),
            _ => next,
        }
    }

    fn order(&mut self, order: Stop, turn: &mut Turn<'_, '_>) -> Next {
        match order {
            Stop::KickedToken(id) if self.identity.token_id.as_deref() != Some(&*id) => Next::Go,
            Stop::Kicked | Stop::KickedToken(_) | Stop::Evicted => {
                let reject = Reject::new(Code::SessionTerminated, "ended by order").closing(Close::Terminated);
                self.refuse(&reject, None, turn)
            }
            Stop::Recheck => self.recheck(turn),
            Stop::Reassert(epoch) => route::reassert(self, epoch, turn),
            Stop::Reenter => route::reenter(self, turn),
            Stop::Describe(question) => {
                question.answer(|| self.describe(turn));
                Next::Go
            }
            Stop::Forgotten => {
                let reject = Reject::new(Code::StoreUnavailable, "the store forgot meanwhile");
                self.refuse(&reject.closing(Close::TryLater), None, turn)
            }
            Stop::Drain(after) => {
                self.say(&portcullis_common::wire::reply::Reconnect { after, now: turn.wall }, turn);
                self.leave_at = Some(turn.now().after(after));
                Next::Go
            }
            #[cfg(feature = "fault-injection")]
            Stop::Panic => {
                assert!(self.fault, "injected into an order");
                Next::Go
            }
            #[cfg(feature = "fault-injection")]
            Stop::PanicNext => {
                self.fault = true;
                Next::Go
            }
        }
    }

    fn ending(&mut self, end: End, turn: &mut Turn<'_, '_>) -> Option<Bytes> {
        let left = Duration::from_millis(self.expires_at(turn).0.saturating_sub(turn.wall.0));
        let window = turn.worker.node.config.session.resume_window.min(left);
        self.place.outlived_by(resume::outlives(end, self.over, self.leave_at.is_some()).then_some(window));
        let ended = match end {
            End::Ours(close) => Ended::Closed(close),
            End::Violation(violation) => Ended::Closed(violation.close),
            End::Peer(_) => Ended::ByPeer,
            End::Broken => Ended::Abrupt,
            End::Panic => Ended::Panicked,
            End::Fenced => Ended::Closed(Close::Restart),
        };
        self.place.ending(ended);
        let (node, user) = (&turn.worker.node, &self.identity.user);
        node.penalties.ended(&node.rules.load().config.penalty, user, self.client, ended, self.place.lived());
        self.last_words.take().map(|words| *words)
    }

    fn due(&self) -> Mono {
        self.live.next().min(self.leave_at.unwrap_or(Mono(u64::MAX)))
    }

    fn limits(&self, turn: &Turn<'_, '_>) -> Limits {
        let longest = turn.worker.node.rules.load().policy.frame_limit();
        Limits { message: longest, ..Limits::from(&turn.worker.node.config.size) }
    }
}
