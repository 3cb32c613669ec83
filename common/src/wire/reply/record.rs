//! Messages from one client to others: the body that goes over the bus, and what the store adds at delivery.

use super::{Reply, close, open, put, put_position, room_member};
use crate::clock::UnixMs;
use crate::ids::{RoomName, SessionId, UserId};
use crate::store::bus::Position;
use crate::wire::envelope::RawJson;
use crate::wire::json::put_string;

/// An application message on its way to a room or a user: the body of a [`crate::store::bus::Record`]. It holds nothing
/// that differs from one recipient to the next.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// The message's type.
    pub kind: &'a str,
    /// The payload: JSON text that has been scanned, put in as it is; absent means `null`.
    pub payload: Option<RawJson<'a>>,
    /// Who sent it.
    pub user: &'a UserId,
    /// From which session.
    pub session: SessionId,
    /// The room, unless it goes to a user.
    pub room: Option<&'a RoomName>,
    /// When the gateway took it.
    pub now: UnixMs,
}

impl Reply for Published<'_> {
    fn estimate(&self) -> usize {
        let payload = self.payload.map_or(4, |payload| payload.get().len());
        // names may need escapes; then the buffer grows
        160 + self.kind.len() + payload + self.user.as_str().len() + self.room.map_or(0, |room| room.as_str().len())
    }

    fn write(&self, out: &mut Vec<u8>) {
        open(out, self.kind);
        put(out, self.payload.map_or("null", RawJson::get));
        put(out, ",\"from\":{\"user\":");
        put_string(out, self.user.as_str());
        put(out, ",\"session\":\"");
        out.extend_from_slice(&self.session.text());
        put(out, "\"}");
        room_member(out, self.room);
        close(out, self.now, None);
    }
}

/// A message of an operator to everybody: it comes from no user.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'a> {
    /// The message's type.
    pub kind: &'a str,
    /// The payload.
    pub payload: RawJson<'a>,
    /// When the node said it.
    pub now: UnixMs,
}

impl Reply for Announced<'_> {
    fn estimate(&self) -> usize {
        64 + self.kind.len() + self.payload.get().len()
    }

    fn write(&self, out: &mut Vec<u8>) {
        open(out, self.kind);
        put(out, self.payload.get());
        close(out, self.now, None);
    }
}

/// What only the store knows, as the end of a message: it goes in the place of the last brace of a body that a [`Reply`]
/// wrote.
#[must_use]
pub fn place(position: Position) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_position(&mut out, position);
    put(&mut out, "}");
    out
}

/// Appends `body` (an object that a [`Reply`] wrote) with `offset` and `epoch` before its last brace: what only the
/// store knows. Anything but an object is appended as it is.
pub fn put_placed(out: &mut Vec<u8>, body: &[u8], position: Position) {
    put_spliced(out, body, |out| put_position(out, position));
}

/// Appends `body` marked `degraded`: delivered on this node only, with no place in the room's order.
pub fn put_degraded(out: &mut Vec<u8>, body: &[u8]) {
    put_spliced(out, body, |out| put(out, ",\"degraded\":true"));
}

fn put_spliced(out: &mut Vec<u8>, body: &[u8], members: impl FnOnce(&mut Vec<u8>)) {
    let Some(inner) = body.strip_suffix(b"}") else {
        out.extend_from_slice(body);
        return;
    };
    out.reserve(body.len() + 64);
    out.extend_from_slice(inner);
    members(out);
    put(out, "}");
}

/// An epoch as the wire shows it: lower-case hexadecimal, no leading zeros. Clients compare it and give it back.
#[must_use]
pub fn epoch_text(epoch: u64) -> String {
    format!("{epoch:x}")
}

/// Reads what [`epoch_text`] wrote, in that one spelling only.
#[must_use]
pub fn parse_epoch(text: &str) -> Option<u64> {
    let legal = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let short = text == "0" || !text.starts_with('0');
    if legal && short { u64::from_str_radix(text, 16).ok() } else { None }
}
