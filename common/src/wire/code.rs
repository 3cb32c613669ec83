//! The one registry of error and close codes. PROTOCOL.md's table and the TypeScript constants are generated from it.

use serde::{Serialize, Serializer};

/// What an error code promises; one row of the table in PROTOCOL.md.
#[derive(Debug, Clone, Copy)]
pub struct CodeInfo {
    /// The name on the wire.
    pub name: &'static str,
    /// The fixed text a client is shown.
    pub message: &'static str,
    /// The HTTP status when the answer is given before the upgrade; `None` where it cannot be.
    pub http: Option<u16>,
}

/// What a close code promises; one row of the table in PROTOCOL.md.
#[derive(Debug, Clone, Copy)]
pub struct CloseInfo {
    /// The number on the wire.
    pub number: u16,
    /// The name in the TypeScript constants and in metrics.
    pub name: &'static str,
    /// The fixed reason text, at most 123 bytes.
    pub reason: &'static str,
    /// A client may connect again by itself.
    pub reconnect: bool,
    /// The session may be resumed where the connection broke.
    pub resume: bool,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $http:expr, $message:literal;)*) => {
        /// Why something was refused. The names are the wire contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code's row in the table.
            #[must_use]
            pub const fn info(self) -> CodeInfo {
                match self { $(Code::$variant => CodeInfo { name: $name, message: $message, http: $http },)* }
            }
        }
    };
}

codes! {
    /// Not the protocol: bad JSON, bad frame, bad request.
    Malformed "malformed" Some(400), "The message or request is malformed.";
    /// No credential, or one that is not good; never says which.
    Unauthenticated "unauthenticated" Some(401), "Authentication is required.";
    /// The token of a live session ran out.
    TokenExpired "token_expired" None, "The token has expired.";
    /// Authenticated, but not allowed.
    Forbidden "forbidden" Some(403), "This is not allowed.";
    /// The Origin header is not on the allow-list.
    OriginDenied "origin_denied" Some(403), "This origin is not allowed.";
    /// The CSRF token is missing or wrong.
    CsrfInvalid "csrf_invalid" None, "The CSRF token is missing or not valid.";
    /// The message type is not declared.
    TypeUnknown "type_unknown" None, "This message type is not known.";
    /// The payload does not match its schema.
    SchemaInvalid "schema_invalid" None, "The payload does not have the required form.";
    /// Over a size limit.
    TooLarge "too_large" Some(413), "This is too large.";
    /// Over a rate limit; `retryAfter` says when to try again.
    RateLimited "rate_limited" Some(429), "Too many requests.";
    /// Temporarily restricted because of earlier behaviour.
    Restricted "restricted" Some(403), "This session is restricted for a while.";
    /// Banned.
    Banned "banned" Some(403), "Access is not possible.";
    /// The user has as many sessions as are allowed.
    SessionLimit "session_limit" Some(429), "Too many sessions.";
    /// The session was ended by an operator, a newer session or a log-out.
    SessionTerminated "session_terminated" None, "The session has ended.";
    /// Publishing to, or leaving, a room that was not joined.
    NotMember "not_member" None, "Not a member of this room.";
    /// The request contradicts the present state.
    Conflict "conflict" Some(409), "This contradicts the present state.";
    /// The application's backend did not answer.
    UpstreamUnavailable "upstream_unavailable" Some(502), "The service behind is not available.";
    /// The shared store did not answer, or the node has more to do than it can; `retryAfter` says when to try again.
    StoreUnavailable "store_unavailable" Some(503), "The service is not available for a moment.";
    /// Our fault.
    Internal "internal" Some(500), "Something went wrong.";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.info().name)
    }
}

macro_rules! closes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal, $reason:literal, reconnect: $rc:literal, resume: $rs:literal;)*) => {
        /// Why a connection was closed: the numbers are the wire contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Close { $($(#[$doc])* $variant = $number,)* }

        impl Close {
            /// Every close code, by number.
            pub const ALL: &'static [Close] = &[$(Close::$variant,)*];

            /// The close code's row in the table.
            #[must_use]
            pub const fn info(self) -> CloseInfo {
                match self {
                    $(Close::$variant => CloseInfo { number: $number, name: $name, reason: $reason, reconnect: $rc, resume: $rs },)*
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                self.info().number
            }
        }
    };
}

closes! {
    /// Done.
    Normal = 1000 "normal", "done", reconnect: false, resume: false;
    /// The peer goes away.
    GoingAway = 1001 "going_away", "going away", reconnect: true, resume: true;
    /// Not RFC 6455.
    Protocol = 1002 "protocol", "protocol error", reconnect: false, resume: false;
    /// A kind of data that cannot be taken.
    Unsupported = 1003 "unsupported", "unsupported data", reconnect: false, resume: false;
    /// Text that is not UTF-8.
    InvalidData = 1007 "invalid_data", "invalid data", reconnect: false, resume: false;
    /// Against policy.
    Policy = 1008 "policy", "policy violation", reconnect: false, resume: false;
    /// A message over the size limit.
    TooBig = 1009 "too_big", "message too big", reconnect: false, resume: false;
    /// Our fault.
    Internal = 1011 "internal", "internal error", reconnect: true, resume: true;
    /// The node restarts: come back as told.
    Restart = 1012 "restart", "service restart", reconnect: true, resume: true;
    /// Overloaded: come back later.
    TryLater = 1013 "try_later", "try again later", reconnect: true, resume: true;
    /// The token is gone: get a new one first.
    Unauthenticated = 4401 "unauthenticated", "unauthenticated", reconnect: false, resume: false;
    /// Not allowed here.
    Forbidden = 4403 "forbidden", "forbidden", reconnect: false, resume: false;
    /// Idle, past a deadline, or no pong.
    Timeout = 4408 "timeout", "timeout", reconnect: true, resume: true;
    /// Replaced or terminated: never reconnect by itself.
    Terminated = 4409 "terminated", "session terminated", reconnect: false, resume: false;
    /// Over a rate limit too often.
    RateLimited = 4429 "rate_limited", "rate limited", reconnect: true, resume: false;
    /// The client reads too slowly.
    SlowConsumer = 4508 "slow_consumer", "slow consumer", reconnect: true, resume: true;
}
