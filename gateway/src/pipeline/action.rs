//! What a message asks for: its address and, for the types that the gateway answers itself, its payload, typed.

use std::borrow::Cow;
use std::fmt;

use portcullis_common::config::model::{MessageRule, Route};
use portcullis_common::ids::{RoomName, UserId};
use portcullis_common::store::bus::Position;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::{ClientMessage, To};
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::reply::parse_epoch;
use serde::Deserialize;

/// What a passed message asks for.
pub enum Action<'m> {
    /// Enter a room.
    Join {
        /// The room.
        room: RoomName,
        /// The last position that the client has seen, if it wants what it missed.
        since: Option<Position>,
    },
    /// Leave a room.
    Leave {
        /// The room.
        room: RoomName,
    },
    /// Ask who is in a room.
    Presence {
        /// The room.
        room: RoomName,
    },
    /// Ask whether the gateway is there.
    HealthCheck,
    /// Present a newer token for the same user.
    TokenRefresh {
        /// The JWT; nothing about it has been checked.
        token: Cow<'m, str>,
    },
    /// Confirm a delivery; the message has an `id`.
    Ack,
    /// Deliver an application's message.
    Publish {
        /// The type's rule.
        rule: &'m MessageRule,
        /// Where to; agrees with the rule's route.
        to: Target,
    },
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a room's members.
    Room(RoomName),
    /// To a user's sessions.
    User(UserId),
}

/// Shows no token.
impl fmt::Debug for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join { room, since } => f.debug_struct("Join").field("room", room).field("since", since).finish(),
            Self::Leave { room } => f.debug_struct("Leave").field("room", room).finish(),
            Self::Presence { room } => f.debug_struct("Presence").field("room", room).finish(),
            Self::HealthCheck => f.write_str("HealthCheck"),
            Self::TokenRefresh { .. } => f.write_str("TokenRefresh"),
            Self::Ack => f.write_str("Ack"),
            Self::Publish { to, .. } => f.debug_struct("Publish").field("to", to).finish_non_exhaustive(),
        }
    }
}

/// The types that the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// `join`
    Join,
    /// `leave`
    Leave,
    /// `ack`
    Ack,
    /// `health-check`
    HealthCheck,
    /// `presence`
    Presence,
    /// `token_refresh`
    TokenRefresh,
}

impl Builtin {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Join, Self::Leave, Self::Ack, Self::HealthCheck, Self::Presence, Self::TokenRefresh];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Ack => "ack",
            Self::HealthCheck => "health-check",
            Self::Presence => "presence",
            Self::TokenRefresh => "token_refresh",
        }
    }

    /// Whether the contract exempts it from CSRF tokens: it changes nothing, or carries a credential of its own.
    #[must_use]
    pub const fn csrf_exempt(self) -> bool {
        matches!(self, Self::HealthCheck | Self::TokenRefresh)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinPayload<'a> {
    #[serde(borrow)]
    since: Option<Since<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since<'a> {
    offset: u64,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshPayload<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

/// Types a built-in message.
///
/// # Errors
/// `malformed` for an address that the type does not take, `schema_invalid` for a payload of another form.
pub fn builtin<'m>(builtin: Builtin, message: &ClientMessage<'m>) -> Result<Action<'m>, Reject> {
    let action = match builtin {
        Builtin::Join => Action::Join { room: room(message)?, since: since(message)? },
        Builtin::Leave => Action::Leave { room: room(message)? },
        Builtin::Presence => Action::Presence { room: room(message)? },
        Builtin::HealthCheck => Action::HealthCheck,
        Builtin::TokenRefresh => {
            let payload: RefreshPayload<'m> = payload(message)?.ok_or_else(invalid)?;
            Action::TokenRefresh { token: payload.token }
        }
        Builtin::Ack if message.id.is_none() => return Err(Reject::new(Code::Malformed, "ack: no id")),
        Builtin::Ack => Action::Ack,
    };
    let addressed = matches!(builtin, Builtin::Join | Builtin::Leave | Builtin::Presence);
    if message.to.is_some() && !addressed {
        return Err(Reject::new(Code::Malformed, "to: not taken by this type"));
    }
    Ok(action)
}

/// Types an application's message: the address has to be of the kind that the type's route names.
///
/// # Errors
/// `malformed` for another address or none.
pub fn publish<'m>(rule: &'m MessageRule, message: &ClientMessage<'m>) -> Result<Action<'m>, Reject> {
    let to = match (&rule.route, &message.to) {
        (Route::Room, Some(To::Room(_))) => Target::Room(room(message)?),
        (Route::User(_), Some(To::User(user))) => {
            Target::User(UserId::parse(user).map_err(|_| Reject::new(Code::Malformed, "to: not a legal name"))?)
        }
        _ => return Err(Reject::new(Code::Malformed, "to: not where this type goes")),
    };
    Ok(Action::Publish { rule, to })
}

fn room(message: &ClientMessage<'_>) -> Result<RoomName, Reject> {
    match &message.to {
        Some(To::Room(name)) => RoomName::parse(name).map_err(|_| Reject::new(Code::Malformed, "to: not a legal name")),
        _ => Err(Reject::new(Code::Malformed, "to: no room")),
    }
}

fn since(message: &ClientMessage<'_>) -> Result<Option<Position>, Reject> {
    let payload: JoinPayload<'_> = payload(message)?.unwrap_or_default();
    payload
        .since
        .map(|since| {
            let epoch = parse_epoch(&since.epoch).ok_or_else(invalid)?;
            Ok(Position { offset: since.offset, epoch })
        })
        .transpose()
}

/// `None` for an absent payload and for `null`.
fn payload<'m, T: Deserialize<'m>>(message: &ClientMessage<'m>) -> Result<Option<T>, Reject> {
    let Some(raw) = message.payload else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|_| invalid())
}

fn invalid() -> Reject {
    Reject::new(Code::SchemaInvalid, "payload: not of the type's form")
}
