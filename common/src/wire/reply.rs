//! What the gateway says: every message of the contract as a typed struct that writes itself as JSON text, by hand, into
//! a buffer of the caller's. No tree, no allocation but the buffer's growth.

use std::time::Duration;

use bytes::Bytes;

pub use self::record::{Announced, Published, epoch_text, parse_epoch, place, put_degraded, put_placed};
use super::code::Code;
use super::json::{put_string, put_u64};
use crate::clock::{UnixMs, millis};
use crate::config::model::Limit;
use crate::ids::{NodeId, RequestId, RoomName, SessionId, UserId};
use crate::store::bus::Position;

mod record;

/// A message to a client.
pub trait Reply {
    /// Appends the message to `out` as one JSON object.
    fn write(&self, out: &mut Vec<u8>);

    /// About how many bytes it will be; a buffer of this size need not grow.
    fn estimate(&self) -> usize {
        512
    }

    /// The message in a buffer of its own.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.estimate());
        self.write(&mut out);
        out.into()
    }
}

/// The resume token of a `welcome`.
#[derive(Clone, Copy)]
pub struct ResumeGrant<'a> {
    /// What the client shows to continue this session.
    pub token: &'a str,
    /// Whether this session continues an earlier one.
    pub resumed: bool,
}

/// What a client may send, so that it need not find out by being refused.
#[derive(Debug, Clone, Copy)]
pub struct WelcomeLimits {
    /// One message, in bytes.
    pub message_bytes: usize,
    /// Rooms of one session.
    pub rooms: usize,
    /// Messages of one connection.
    pub messages: Limit,
    /// Bytes of one connection.
    pub bytes: Limit,
}

/// `welcome`: the first message of every session. No `Debug`: it holds tokens.
#[derive(Clone, Copy)]
pub struct Welcome<'a> {
    /// The session.
    pub session: SessionId,
    /// Its user.
    pub user: &'a UserId,
    /// Goes into `csrfToken` of the messages that follow.
    pub csrf_token: &'a str,
    /// When the session ends unless the token is refreshed.
    pub expires_at: UnixMs,
    /// How often the gateway pings a silent client.
    pub heartbeat: Duration,
    /// Absent where sessions cannot be resumed.
    pub resume: Option<ResumeGrant<'a>>,
    /// What may be sent.
    pub limits: WelcomeLimits,
    /// The node with the socket.
    pub node: &'a NodeId,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for Welcome<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, "welcome");
        put(out, "{\"sessionId\":");
        put_display(out, self.session);
        text_member(out, "userId", self.user.as_str());
        text_member(out, "csrfToken", self.csrf_token);
        number_member(out, "expiresAt", self.expires_at.0);
        number_member(out, "heartbeat", millis(self.heartbeat));
        match self.resume {
            Some(grant) => {
                put(out, ",\"resume\":{\"token\":");
                put_string(out, grant.token);
                put(out, if grant.resumed { ",\"resumed\":true}" } else { ",\"resumed\":false}" });
            }
            None => put(out, ",\"resume\":null"),
        }
        put(out, ",\"limits\":{\"messageBytes\":");
        put_u64(out, self.limits.message_bytes as u64);
        number_member(out, "rooms", self.limits.rooms as u64);
        limit_member(out, "messages", self.limits.messages);
        limit_member(out, "bytes", self.limits.bytes);
        put(out, "}");
        text_member(out, "node", self.node.as_str());
        put(out, "}");
        close(out, self.now, None);
    }
}

/// What an `ack` says about the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked<'a> {
    /// Done; there is nothing to say about it (`leave`, a client's `ack`).
    Done,
    /// A message to a room was taken by the store.
    Taken {
        /// Where it stands in the room's order; absent when the store is lost and delivery was local.
        position: Option<Position>,
        /// The same `id` was taken before; nothing was delivered again.
        duplicate: bool,
    },
    /// A message to a user was taken.
    Sent {
        /// The same `id` was taken before; nothing was delivered again.
        duplicate: bool,
    },
    /// A room was joined.
    Joined {
        /// Nothing is missing since the position that the client named; false also when it named none.
        recovered: bool,
        /// The room's position now.
        position: Position,
        /// Sessions in the room.
        members: usize,
    },
    /// A token was refreshed.
    Refreshed {
        /// When the session ends now.
        expires_at: UnixMs,
    },
    /// Who is in a room.
    Present {
        /// Users, each once; bounded by the caller.
        users: &'a [UserId],
        /// Sessions in all.
        sessions: usize,
    },
}

/// `ack`: the answer to a request that had an `id`.
#[derive(Debug, Clone, Copy)]
pub struct Ack<'a> {
    /// The request's `id`, where it had one.
    pub id: Option<&'a str>,
    /// The room that it was about.
    pub room: Option<&'a RoomName>,
    /// What became of it.
    pub done: Acked<'a>,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for Ack<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, if matches!(self.done, Acked::Present { .. }) { "presence" } else { "ack" });
        match self.done {
            Acked::Done => put(out, "{}"),
            Acked::Taken { position, duplicate } => {
                put(out, "{\"duplicate\":");
                put(out, bool(duplicate));
                if let Some(position) = position {
                    put_position(out, position);
                }
                put(out, "}");
            }
            Acked::Sent { duplicate } => {
                put(out, "{\"duplicate\":");
                put(out, bool(duplicate));
                put(out, "}");
            }
            Acked::Joined { recovered, position, members } => {
                put(out, "{\"recovered\":");
                put(out, bool(recovered));
                put_position(out, position);
                number_member(out, "members", members as u64);
                put(out, "}");
            }
            Acked::Refreshed { expires_at } => {
                put(out, "{\"expiresAt\":");
                put_u64(out, expires_at.0);
                put(out, "}");
            }
            Acked::Present { users, sessions } => put_present(out, users, sessions),
        }
        room_member(out, self.room);
        close(out, self.now, self.id);
    }
}

fn put_present(out: &mut Vec<u8>, users: &[UserId], sessions: usize) {
    put(out, "{\"users\":[");
    for (i, user) in users.iter().enumerate() {
        if i > 0 {
            put(out, ",");
        }
        put_string(out, user.as_str());
    }
    put(out, "]");
    number_member(out, "sessions", sessions as u64);
    put(out, "}");
}

/// `error`: also the body of a refusal before the upgrade.
#[derive(Debug, Clone, Copy)]
pub struct ErrorReply<'a> {
    /// What went wrong, in the registry's words.
    pub code: Code,
    /// Under which the log has the details.
    pub request: RequestId,
    /// When the same request may succeed; rounded up to a millisecond, so that it is never too early.
    pub retry_after: Option<Duration>,
    /// The request's `id`, where it had one.
    pub id: Option<&'a str>,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for ErrorReply<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let info = self.code.info();
        open(out, "error");
        put(out, "{\"code\":");
        put_string(out, info.name);
        text_member(out, "message", info.message);
        put(out, ",\"requestId\":");
        put_display(out, self.request);
        if let Some(after) = self.retry_after {
            number_member(out, "retryAfter", millis(after.saturating_add(Duration::from_nanos(999_999))));
        }
        put(out, "}");
        close(out, self.now, self.id);
    }
}

/// `csrf`: the next token; the one before it stays good for the grace period. No `Debug`: it holds a token.
#[derive(Clone, Copy)]
pub struct Csrf<'a> {
    /// The new token.
    pub token: &'a str,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for Csrf<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, "csrf");
        put(out, "{\"token\":");
        put_string(out, self.token);
        put(out, "}");
        close(out, self.now, None);
    }
}

/// `presence` as an event: a user came to a room or left it.
#[derive(Debug, Clone, Copy)]
pub struct PresenceEvent<'a> {
    /// The room.
    pub room: &'a RoomName,
    /// Who.
    pub user: &'a UserId,
    /// Came (`joined`) or left (`left`).
    pub joined: bool,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for PresenceEvent<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, "presence");
        put(out, if self.joined { "{\"joined\":" } else { "{\"left\":" });
        put_string(out, self.user.as_str());
        put(out, "}");
        room_member(out, Some(self.room));
        close(out, self.now, None);
    }
}

/// `reconnect`: come back, after a delay that is this client's own.
#[derive(Debug, Clone, Copy)]
pub struct Reconnect {
    /// How long to wait.
    pub after: Duration,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for Reconnect {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, "reconnect");
        put(out, "{\"after\":");
        put_u64(out, millis(self.after));
        put(out, "}");
        close(out, self.now, None);
    }
}

/// `token_expiring`: send a `token_refresh` before then.
#[derive(Debug, Clone, Copy)]
pub struct TokenExpiring {
    /// When the session ends.
    pub expires_at: UnixMs,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for TokenExpiring {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, "token_expiring");
        put(out, "{\"expiresAt\":");
        put_u64(out, self.expires_at.0);
        put(out, "}");
        close(out, self.now, None);
    }
}

/// `health-check`: the answer to the client's; `timestamp` is the server's time.
#[derive(Debug, Clone, Copy)]
pub struct HealthCheck<'a> {
    /// The request's `id`, where it had one.
    pub id: Option<&'a str>,
    /// Server time.
    pub now: UnixMs,
}

impl Reply for HealthCheck<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        open(out, "health-check");
        put(out, "{\"serverTime\":");
        put_u64(out, self.now.0);
        put(out, "}");
        close(out, self.now, self.id);
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// `{"type":…,"payload":`
fn open(out: &mut Vec<u8>, kind: &str) {
    put(out, "{\"type\":");
    put_string(out, kind);
    put(out, ",\"payload\":");
}

/// `,"id":…,"timestamp":…}`
fn close(out: &mut Vec<u8>, now: UnixMs, id: Option<&str>) {
    if let Some(id) = id {
        text_member(out, "id", id);
    }
    number_member(out, "timestamp", now.0);
    put(out, "}");
}

fn key(out: &mut Vec<u8>, key: &str) {
    put(out, ",\"");
    put(out, key);
    put(out, "\":");
}

fn text_member(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    put_string(out, value);
}

fn number_member(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    put_u64(out, value);
}

fn room_member(out: &mut Vec<u8>, room: Option<&RoomName>) {
    if let Some(room) = room {
        text_member(out, "room", room.as_str());
    }
}

fn limit_member(out: &mut Vec<u8>, name: &str, limit: Limit) {
    key(out, name);
    put(out, "{\"count\":");
    put_u64(out, limit.rate.count.into());
    number_member(out, "period", millis(limit.rate.period));
    number_member(out, "burst", limit.burst.into());
    put(out, "}");
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    number_member(out, "offset", position.offset);
    put(out, ",\"epoch\":\"");
    put_hex(out, position.epoch);
    put(out, "\"");
}

/// Lower-case hexadecimal without leading zeros; every message of a room has one.
fn put_hex(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (u64::BITS - value.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().filter_map(|n| DIGITS.get((value >> (4 * n) & 0xf) as usize)));
}

/// For values whose text needs no escape.
fn put_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // writing to a Vec cannot fail
    let _ = std::io::Write::write_fmt(out, format_args!("\"{value}\""));
}

fn bool(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

#[cfg(test)]
mod tests;
