//! What a message has to pass, in this order: size · flow · decode · csrf · role · rate.
//!
//! A chain of plain functions: no `await`, no clock, no I/O. What is decided here is decided from the compiled
//! [`Policy`], the connection's own [`ConnState`], and the arguments. The cheapest refusals come first, and nothing is
//! parsed that flow control has not let in.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use portcullis_common::clock::{UnixMs, millis};
use portcullis_common::config::model::{self, Config, Limit, MessageRule, Rate};
use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::ids::TypeName;
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::envelope::{ClientMessage, Refused};
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::scan::{self, Bounds};

/// How long a message may be.
pub mod size;

/// How many messages and bytes one connection may send.
pub mod flow;

/// From a frame to a message, and whether it is of now.
pub mod decode;

/// Whether the session's own page sent it.
pub mod csrf;

/// Whether the sender may send this type.
pub mod role;

/// How often one connection may send this type.
pub mod rate;

/// What the message asks for.
pub mod action;

pub use action::{Action, Target};

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
    /// The roles of the session's token.
    pub roles: &'w [std::sync::Arc<str>],
}

/// Working memory, one a worker.
#[derive(Debug, Default)]
pub struct Scratch {
    scan: scan::Scratch,
    /// A MessagePack message as JSON.
    json: String,
}

/// The configuration in the pipeline's terms; compiled once, shared by all connections, replaced as a whole on reload.
#[derive(Debug)]
pub struct Policy {
    size: usize,
    bounds: Bounds,
    flow: flow::Flow,
    refusals: Gcra,
    csrf: csrf::Times,
    kinds: HashMap<TypeName, Kind>,
}

/// A type that exists.
#[derive(Debug)]
struct Kind {
    body: Body,
    csrf_exempt: bool,
    rate: Option<Gcra>,
}

/// Whether the gateway itself answers.
#[derive(Debug)]
enum Body {
    Builtin(action::Builtin),
    Application(MessageRule),
}

impl Policy {
    /// Compiles what concerns the pipeline.
    #[must_use]
    pub fn compile(config: &Config) -> Self {
        Self::new(&config.size, &config.csrf, &config.limit, &config.message)
    }

    /// Compiles the sections one by one. A declared type with the name of a built-in one has no effect.
    #[must_use]
    pub fn new(
        size: &model::Size,
        csrf: &model::Csrf,
        limits: &model::Limits,
        messages: &BTreeMap<TypeName, MessageRule>,
    ) -> Self {
        let exempt = |name: &str| csrf.exempt.iter().any(|e| e.as_str() == name);
        let mut kinds: HashMap<TypeName, Kind> = messages
            .iter()
            .map(|(name, rule)| {
                let rate = rule.rate.map(Gcra::new);
                let body = Body::Application(rule.clone());
                (name.clone(), Kind { body, csrf_exempt: exempt(name.as_str()), rate })
            })
            .collect();
        for builtin in action::Builtin::ALL {
            let csrf_exempt = builtin.csrf_exempt() || exempt(builtin.name());
            if let Ok(name) = TypeName::parse(builtin.name()) {
                kinds.insert(name, Kind { body: Body::Builtin(builtin), csrf_exempt, rate: None });
            }
        }
        let per_minute = Rate { count: REFUSALS_PER_MINUTE, period: std::time::Duration::from_secs(60) };
        Self {
            size: size.message,
            bounds: Bounds { depth: size.json_depth, nodes: size.json_nodes },
            flow: flow::Flow::new(limits),
            refusals: Gcra::new(Limit { rate: per_minute, burst: REFUSALS_PER_MINUTE }),
            csrf: csrf::Times::new(csrf),
            kinds,
        }
    }

    /// When tokens of this policy are to be rotated, and how long the previous one stays good.
    #[must_use]
    pub fn csrf(&self) -> csrf::Times {
        self.csrf
    }
}

/// What one connection carries through its life: 112 bytes, and 24 for each limited type that it used.
#[derive(Debug, Default)]
pub struct ConnState {
    flow: flow::Used,
    refusals: Tat,
    /// The session's CSRF tokens; a new state has none and refuses every message that needs one.
    pub csrf: csrf::Tokens,
    rates: rate::Used,
}

/// What the pipeline decided.
#[derive(Debug)]
pub enum Verdict<'m> {
    /// The message goes on to routing.
    Pass(Passed<'m>),
    /// The message stops here.
    Reject {
        /// What the client is told, and whether the connection ends.
        reject: Reject,
        /// The `id` to answer, where one could be read.
        id: Option<std::borrow::Cow<'m, str>>,
    },
}

/// A message that passed every stage.
pub struct Passed<'m> {
    /// The message.
    pub message: ClientMessage<'m>,
    /// What it asks for.
    pub action: Action<'m>,
}

impl fmt::Debug for Passed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed").field("message", &self.message).field("action", &self.action).finish()
    }
}

/// Puts one message through every stage. Costs about a microsecond for a chat message, nothing beyond linear for any
/// other; allocates for the names of a room or user and for members written with escapes.
pub fn check<'m>(
    policy: &'m Policy,
    state: &mut ConnState,
    who: &Who<'_>,
    frame: Frame<'m>,
    now: Now,
    scratch: &'m mut Scratch,
) -> Verdict<'m> {
    match pass(policy, state, who, frame, now, scratch) {
        Ok(passed) => Verdict::Pass(passed),
        Err(Refused { reject, id }) => Verdict::Reject { reject: count_refusal(policy, state, reject, now), id },
    }
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

fn pass<'m>(
    policy: &'m Policy,
    state: &mut ConnState,
    who: &Who<'_>,
    frame: Frame<'m>,
    now: Now,
    scratch: &'m mut Scratch,
) -> Result<Passed<'m>, Refused<'m>> {
    let len = frame.len();
    let early = |reject| Refused { reject, id: None };
    size::message(len, policy.size).map_err(early)?;
    flow::take(&policy.flow, &mut state.flow, len, now).map_err(early)?;
    let message = decode::decode(frame, policy.bounds, policy.size, scratch).inspect_err(|refused| {
        if refused.reject.code == Code::Malformed {
            flow::charge_malformed(&policy.flow, &mut state.flow, now);
        }
    })?;
    match judge(policy, state, who, &message, len, now) {
        Ok(action) => Ok(Passed { message, action }),
        Err(reject) => Err(Refused { reject, id: message.id }),
    }
}

/// The stages that look at a decoded message.
fn judge<'m>(
    policy: &'m Policy,
    state: &mut ConnState,
    who: &Who<'_>,
    message: &ClientMessage<'m>,
    len: usize,
    now: Now,
) -> Result<Action<'m>, Reject> {
    decode::fresh(message, now)?;
    let kind = policy.kinds.get(&*message.kind);
    if !kind.is_some_and(|k| k.csrf_exempt) {
        csrf::check(&state.csrf, message.csrf_token.as_deref(), now)?;
    }
    let kind = kind.ok_or_else(|| Reject::new(Code::TypeUnknown, "type: not declared"))?;
    if let Body::Application(rule) = &kind.body {
        role::check(&rule.roles, who.roles)?;
        size::of_type(len, rule.max_size)?;
    }
    if let Some(gcra) = &kind.rate {
        rate::take(gcra, &mut state.rates, &message.kind, now).map_err(|reject| {
            // a message that waits for its type's turn must find the connection's own limits open as well
            let flow = flow::wait(&policy.flow, &state.flow, len, now);
            let longer = reject.retry_after.unwrap_or_default().max(flow);
            reject.retry(longer)
        })?;
    }
    match &kind.body {
        Body::Builtin(builtin) => action::builtin(*builtin, message),
        Body::Application(rule) => action::publish(rule, message),
    }
}

/// Nanoseconds, saturating, of a duration in configuration.
fn nanos(d: std::time::Duration) -> u64 {
    millis(d).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests;
