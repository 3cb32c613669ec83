//! What a message asks for: its address and, for the types that the gateway answers itself, its payload, typed.

use std::borrow::Cow;
use std::fmt;

use portcullis_common::config::model::{MessageRule, Route};
use portcullis_common::ids::{RoomName, UserId};
use portcullis_common::store::bus::Position;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::{ClientMessage, MAX_SAFE_INTEGER, To};
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::reply::parse_epoch;
use serde::Deserialize;
use validator::Validate;

use crate::admit::auth::MAX_TOKEN;

use super::policy::{Body, TypePolicy};
use super::role::Terms;

/// Where a message is addressed: a legal name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// To the gateway itself.
    Nowhere,
    /// To a room, or about one.
    Room(RoomName),
    /// To a user.
    User(UserId),
}

/// What a passed message asks for.
pub enum Action<'m> {
    /// Enter a room.
    Join {
        /// The room.
        room: RoomName,
        /// The last position that the client has seen, if it wants what it missed.
        since: Option<Position>,
        /// What the room's rule says.
        terms: Terms<'m>,
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
        /// What the room's rule says, where it goes to one.
        terms: Terms<'m>,
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
            Self::Join { room, since, .. } => f.debug_struct("Join").field("room", room).field("since", since).finish(),
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

/// As the verifier has it.
const MAX_TOKEN_LENGTH: u64 = MAX_TOKEN as u64;

#[derive(Default, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct JoinPayload<'a> {
    #[serde(borrow)]
    #[validate(nested)]
    since: Option<Since<'a>>,
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Since<'a> {
    #[validate(range(max = MAX_SAFE_INTEGER))]
    offset: u64,
    #[serde(borrow)]
    #[validate(length(min = 1, max = 32))]
    epoch: Cow<'a, str>,
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct RefreshPayload<'a> {
    #[serde(borrow)]
    #[validate(length(min = 5, max = MAX_TOKEN_LENGTH))]
    token: Cow<'a, str>,
}

/// Where a message goes: the address has to be of the kind that its type takes.
///
/// # Errors
/// `malformed` for another address or none, and for a built-in type without the `id` it needs.
pub fn address(body: &Body, message: &ClientMessage<'_>) -> Result<Address, Reject> {
    let malformed = |detail: &'static str| Err(Reject::new(Code::Malformed, detail));
    let illegal = || Reject::new(Code::Malformed, "to: not a legal name");
    let wants = match body {
        Body::Builtin(Builtin::Join | Builtin::Leave | Builtin::Presence)
        | Body::Application(MessageRule { route: Route::Room, .. }) => Wants::Room,
        Body::Application(_) => Wants::User,
        Body::Builtin(Builtin::Ack) if message.id.is_none() => return malformed("ack: no id"),
        Body::Builtin(_) => Wants::Nothing,
    };
    match (wants, &message.to) {
        (Wants::Nothing, None) => Ok(Address::Nowhere),
        (Wants::Room, Some(To::Room(room))) => RoomName::parse(room).map(Address::Room).map_err(|_| illegal()),
        (Wants::User, Some(To::User(user))) => UserId::parse(user).map(Address::User).map_err(|_| illegal()),
        (Wants::Nothing, Some(_)) => malformed("to: not taken by this type"),
        (_, None) => malformed("to: missing"),
        _ => malformed("to: not where this type goes"),
    }
}

#[derive(Clone, Copy)]
enum Wants {
    Nothing,
    Room,
    User,
}

/// What a message asks for that passed every stage: for the built-in types its payload, typed.
///
/// # Errors
/// `schema_invalid` for a payload of another form.
pub fn action<'m>(
    kind: Option<&'m TypePolicy>,
    message: &ClientMessage<'m>,
    address: Address,
    terms: Terms<'m>,
) -> Result<Action<'m>, Reject> {
    match (kind.map(|kind| &kind.body), address) {
        (Some(Body::Application(rule)), Address::Room(room)) => {
            Ok(Action::Publish { rule, to: Target::Room(room), terms })
        }
        (Some(Body::Application(rule)), Address::User(user)) => {
            Ok(Action::Publish { rule, to: Target::User(user), terms })
        }
        (Some(Body::Builtin(builtin)), address) => builtin_action(*builtin, message, address, terms),
        _ => Err(Reject::new(Code::TypeUnknown, "type: not declared")),
    }
}

fn builtin_action<'m>(
    builtin: Builtin,
    message: &ClientMessage<'m>,
    address: Address,
    terms: Terms<'m>,
) -> Result<Action<'m>, Reject> {
    Ok(match (builtin, address) {
        (Builtin::Join, Address::Room(room)) => Action::Join { room, since: since(message)?, terms },
        (Builtin::Leave, Address::Room(room)) => Action::Leave { room },
        (Builtin::Presence, Address::Room(room)) => Action::Presence { room },
        (Builtin::HealthCheck, _) => Action::HealthCheck,
        (Builtin::TokenRefresh, _) => {
            let payload: RefreshPayload<'m> = payload(message)?.ok_or_else(invalid)?;
            Action::TokenRefresh { token: payload.token }
        }
        (Builtin::Ack, _) => Action::Ack,
        _ => return Err(Reject::new(Code::Malformed, "to: no room")),
    })
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
fn payload<'m, T: Deserialize<'m> + Validate>(message: &ClientMessage<'m>) -> Result<Option<T>, Reject> {
    let Some(raw) = message.payload else { return Ok(None) };
    let payload: Option<T> = serde_json::from_str(raw.get()).map_err(|_| invalid())?;
    match payload.as_ref().map(Validate::validate) {
        Some(Err(_)) => Err(invalid()),
        _ => Ok(payload),
    }
}

fn invalid() -> Reject {
    Reject::new(Code::SchemaInvalid, "payload: not of the type's form")
}
