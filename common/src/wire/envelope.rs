//! What a client may say: the typed envelope, its payload kept raw.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Where a message is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To<'a> {
    /// `{"room": R}`
    Room(Cow<'a, str>),
    /// `{"user": U}`
    User(Cow<'a, str>),
}

/// One client message, decoded and legal in form; policy has not looked at it yet.
#[derive(Debug)]
pub struct ClientMessage<'a> {
    /// `type`
    pub kind: Cow<'a, str>,
    /// `payload`, exactly as sent; absent means `null`.
    pub payload: Option<&'a RawValue>,
    /// `id`: the client's own.
    pub id: Option<Cow<'a, str>>,
    /// `to`
    pub to: Option<To<'a>>,
    /// `csrfToken`
    pub csrf_token: Option<Cow<'a, str>>,
    /// `timestamp`, milliseconds since the epoch.
    pub timestamp: Option<u64>,
}
