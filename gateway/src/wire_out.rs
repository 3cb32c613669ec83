//! From JSON text to frames, in the client's protocol.

use bytes::Bytes;
use portcullis_common::store::bus::{Delivery, Record};
use portcullis_common::wire::code::Close;
use portcullis_common::wire::scan::Bounds;
use portcullis_common::wire::{msgpack, reply};

use crate::admit::subprotocol::Protocol;
use crate::frame::{Opcode, encode};

/// What is said has passed the narrower bounds of entry, inside an envelope that adds a little.
const BOUNDS: Bounds = Bounds { depth: 24, nodes: 1 << 16, ..Bounds::NONE };

/// One message as a frame. One that MessagePack cannot say ends the connection (1011).
#[must_use]
pub fn frame(json: &[u8], protocol: Protocol) -> Bytes {
    match protocol {
        Protocol::Json => encode::frame(Opcode::Text, json),
        Protocol::Msgpack => {
            let mut out = Vec::with_capacity(json.len());
            let text = std::str::from_utf8(json).unwrap_or_default();
            match msgpack::from_json(text, BOUNDS, &mut out) {
                Ok(()) => encode::frame(Opcode::Binary, &out),
                Err(rule) => {
                    // what we say ourselves and what was scanned at entry is always legal
                    tracing::error!(event = "transcode_failed", rule);
                    encode::close(Close::Internal.number(), Close::Internal.info().reason)
                }
            }
        }
    }
}

/// A message of the gateway's own as a frame.
#[must_use]
pub fn reply(reply: &impl reply::Reply, protocol: Protocol) -> Bytes {
    let mut json = Vec::with_capacity(reply.estimate());
    reply.write(&mut json);
    frame(&json, protocol)
}

/// A room's message, with its place in the room's order.
#[must_use]
pub fn delivery(delivery: &Delivery, protocol: Protocol) -> Bytes {
    let body = &delivery.record.body;
    if let (Protocol::Json, Some(open)) = (protocol, body.strip_suffix(b"}")) {
        return encode::frame_of(Opcode::Text, &[open, &reply::place(delivery.position)]);
    }
    let mut json = Vec::with_capacity(body.len() + 64);
    reply::put_placed(&mut json, body, delivery.position);
    frame(&json, protocol)
}

/// A room's message that no store has placed.
#[must_use]
pub fn degraded(record: &Record, protocol: Protocol) -> Bytes {
    let mut json = Vec::with_capacity(record.body.len() + 32);
    reply::put_degraded(&mut json, &record.body);
    frame(&json, protocol)
}

/// A message to a user, which has no place in any order.
#[must_use]
pub fn direct(record: &Record, protocol: Protocol) -> Bytes {
    frame(&record.body, protocol)
}
