//! What a message has to pass, in this order: size · flow · decode · csrf · role · rate · schema ·
//! signatures · sanitise → score; what sanitise has changed is looked through for signatures once
//! more. What an overloaded node turns away goes no further than decode, where its type is known.
//!
//! One list of plain functions ([`stages`]): no `await`, no clock, no I/O. What is decided here is decided from the
//! compiled [`Policy`], the connection's own [`ConnState`], and the arguments. The cheapest refusals come first, and
//! nothing is parsed that flow control has not let in.

use std::fmt;
use std::net::IpAddr;

use portcullis_common::clock::{UnixMs, millis};
use portcullis_common::gcra::Tat;
use portcullis_common::stage::Stage;
use portcullis_common::wire::code::Close;
use portcullis_common::wire::envelope::ClientMessage;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::scan;

/// The list, and what runs it.
pub mod stages;

/// The rules, compiled.
pub mod policy;

/// The payload as stages see and change it.
pub mod payload;

/// How long a message may be.
pub mod size;

/// How many messages and bytes one connection may send.
pub mod flow;

/// From a frame to a message, and whether it is of now.
pub mod decode;

/// Whether the session's own page sent it.
pub mod csrf;

/// Whether the sender may send this type, there.
pub mod role;

/// How often.
pub mod rate;

/// The node's counts that connections share.
pub mod buckets;

/// Whether the payload has the declared form.
pub mod schema;

/// Percent-encoding, once for all stages.
pub mod percent;

/// Patterns that prove themselves.
mod examples;

/// Whether the payload looks like an attack.
pub mod signature;

/// What strings may hold, and what is taken out of them.
pub mod sanitise;

/// What the connection has done lately.
pub mod score;

/// What the message asks for.
pub mod action;

/// What it has to pass on its way out, whoever sent it.
pub mod outbound;

pub use action::{Action, Target};
pub use policy::Policy;
pub use stages::Note;

use self::stages::{Halt, Stopped};
use crate::admit::auth::carried::CarriedLimits;
use crate::route::condition::Subject;

/// So many refusals a minute are answered; the connection ends with the next.
pub const REFUSALS_PER_MINUTE: u32 = 50;

/// Both clocks at the arrival of a message.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic, in nanoseconds: limits and grace periods.
    pub mono_ns: u64,
    /// Wall time: the message's `timestamp`.
    pub wall: UnixMs,
}

/// One complete message as the frame layer gives it out. The session chooses the kind by the subprotocol.
#[derive(Clone, Copy)]
pub enum Frame<'m> {
    /// A text message of `portcullis.v1.json`.
    Text(&'m str),
    /// A binary message of `portcullis.v1.msgpack`.
    Binary(&'m [u8]),
}

impl Frame<'_> {
    /// Bytes on the wire, after decompression.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the pipeline needs to know about the sender.
#[derive(Debug, Clone, Copy)]
pub struct Who<'w> {
    /// User, tenant, roles, claims of the session's token.
    pub subject: Subject<'w>,
    /// The place in `auth.issuer` of who vouched.
    pub issuer: usize,
    /// Where the connection comes from.
    pub address: IpAddr,
    /// What the sender's token says of limits, where its issuer may.
    pub limits: Option<&'w CarriedLimits>,
}

/// Which time a frame comes. One that was [`Verdict::Park`]ed has paid for the connection's own flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The first.
    First,
    /// What it waited for was answered; it may have to wait for something else.
    Again,
    /// It has waited as long as a message may: limits that are not known are decided by this node's share.
    Last,
}

/// How a frame comes.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When.
    pub now: Now,
    /// Which time.
    pub pass: Pass,
    /// What goes no further than its type is known, because the node is overloaded.
    pub sheds: Sheds,
}

/// Which messages an overloaded node turns away. Those that the gateway answers itself never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Sheds {
    /// None.
    #[default]
    Nothing,
    /// Those of types with low priority.
    Low,
    /// Those of all types of the application.
    All,
}

impl From<Now> for Arrival {
    /// The first time, at a node that carries everything.
    fn from(now: Now) -> Self {
        Self { now, pass: Pass::First, sheds: Sheds::Nothing }
    }
}

/// Working memory, one a worker.
#[derive(Debug, Default)]
pub struct Scratch {
    scan: scan::Scratch,
    /// A MessagePack message as JSON.
    json: String,
    /// A payload that was changed.
    spare: payload::Spare,
}

/// What one connection carries through its life: 128 bytes, 16 for each limit of its own that it met, and the answers of
/// conditions that it was held against.
#[derive(Debug, Default)]
pub struct ConnState {
    flow: flow::Used,
    refusals: Tat,
    /// The session's CSRF tokens; a new state has none and refuses every message that needs one.
    pub csrf: csrf::Tokens,
    rates: rate::Used,
    /// What conditions answered; to be forgotten when the token changes.
    pub memo: role::Memo,
    /// What it has done lately; made when there is something to remember.
    pub score: Option<Box<score::Score>>,
}

/// What the pipeline decided.
#[derive(Debug)]
pub enum Verdict<'m> {
    /// The message goes on to routing.
    Pass(Passed<'m>),
    /// The message stops here.
    Reject {
        /// The stage that stopped it.
        stage: Stage,
        /// What the client is told, and whether the connection ends.
        reject: Reject,
        /// The `id` to answer, where one could be read.
        id: Option<std::borrow::Cow<'m, str>>,
    },
    /// Nothing is known here of a limit that the fleet shares: whoever holds the connection asks, and puts the same frame
    /// through again. What the message had taken of other limits was given back, but for the connection's own flow.
    Park(rate::Key),
    /// The node is overloaded and turns its type away: nothing but that was looked at, and nothing counts against the
    /// connection.
    Shed {
        /// The `id` to answer.
        id: Option<std::borrow::Cow<'m, str>>,
    },
}

/// A verdict, and what stages in `dry_run` would have refused on the way.
#[derive(Debug)]
pub struct Checked<'m> {
    /// What the pipeline decided.
    pub verdict: Verdict<'m>,
    /// At most one for each stage and each limit.
    pub notes: Vec<Note>,
}

/// A message that passed every stage.
pub struct Passed<'m> {
    /// The message, its payload as it goes on.
    pub message: ClientMessage<'m>,
    /// What it asks for.
    pub action: Action<'m>,
    /// What was changed in its payload.
    pub cleaned: sanitise::Cleaned,
}

impl fmt::Debug for Passed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed").field("message", &self.message).field("action", &self.action).finish()
    }
}

/// Puts one message through every stage. Costs about a microsecond for a chat message, nothing beyond linear for any
/// other; allocates for the names of a room or user, for members written with escapes, and for shared limits' keys.
pub fn check<'m>(
    policy: &'m Policy,
    state: &mut ConnState,
    who: &Who<'_>,
    frame: Frame<'m>,
    now: Now,
    scratch: &'m mut Scratch,
) -> Checked<'m> {
    check_on(policy, state, who, frame, now.into(), scratch)
}

/// The same for a frame that may have been parked, on a node that may be overloaded.
pub fn check_on<'m>(
    policy: &'m Policy,
    state: &mut ConnState,
    who: &Who<'_>,
    frame: Frame<'m>,
    arrival: Arrival,
    scratch: &'m mut Scratch,
) -> Checked<'m> {
    let mut notes = Vec::new();
    let verdict = match stages::run(policy, state, who, frame, arrival, scratch, &mut notes) {
        Ok(passed) => Verdict::Pass(passed),
        Err(Stopped { halt: Halt::Shed, id, .. }) => Verdict::Shed { id },
        Err(Stopped { halt: Halt::Park(key), .. }) => Verdict::Park(key),
        Err(Stopped { stage, halt: Halt::Reject(reject) | Halt::Hard(reject), id }) => {
            Verdict::Reject { stage, reject: count_refusal(policy, state, reject, arrival.now), id }
        }
    };
    Checked { verdict, notes }
}

/// Counts a control frame (ping, pong) of the peer.
///
/// # Errors
/// `rate_limited`; the connection ends with it, since a control frame has no other answer.
pub fn check_control(policy: &Policy, state: &mut ConnState, now: Now) -> Result<(), Reject> {
    flow::control(&policy.flow, &mut state.flow, now)
}

/// Counts a refusal that another part decided for a message of this connection (rooms, routing): the connection ends
/// with the one that is too many.
#[must_use]
pub fn count_refusal(policy: &Policy, state: &mut ConnState, reject: Reject, now: Now) -> Reject {
    let often = policy.refusals.take(&mut state.refusals, now.mono_ns, 1).is_err();
    if often && reject.close.is_none() { reject.closing(Close::RateLimited) } else { reject }
}

/// Nanoseconds, saturating, of a duration in configuration.
fn nanos(d: std::time::Duration) -> u64 {
    millis(d).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests;
