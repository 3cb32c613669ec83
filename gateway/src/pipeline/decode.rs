//! From a frame to a message, and whether it is of now.

use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::{self, ClientMessage, FRESHNESS, Freshness, Refused};
use portcullis_common::wire::msgpack;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::scan::Bounds;

use super::payload::Payload;
use super::stages::{Halt, Run};
use super::{Frame, Scratch};

/// What a frame says.
pub struct Decoded<'m> {
    /// The envelope.
    pub message: ClientMessage<'m>,
    /// Its payload.
    pub payload: Payload<'m>,
}

/// Decodes text as it is, binary by way of JSON: one grammar, one set of bounds for both. The JSON of a binary message
/// may be `max` bytes long, as a text message may.
///
/// # Errors
/// As [`envelope::decode`] and [`msgpack::to_json`].
pub fn decode<'m>(
    frame: Frame<'m>,
    bounds: Bounds,
    max: usize,
    scratch: &'m mut Scratch,
) -> Result<Decoded<'m>, Refused<'m>> {
    let Scratch { scan, json, spare } = scratch;
    let text = match frame {
        Frame::Text(text) => text,
        Frame::Binary(bytes) => {
            json.clear();
            msgpack::to_json(bytes, bounds, max, json).map_err(|reject| Refused { reject, id: None })?;
            json
        }
    };
    let message = envelope::decode(text, bounds, scan)?;
    let payload = message.payload.and_then(|_| scan.tape(text).root()).and_then(|root| root.get("payload"));
    Ok(Decoded { message, payload: Payload::new(payload, spare) })
}

/// A `timestamp`, where there is one, has to be of now: replays of recorded messages are refused. A message without one
/// is protected by its `id` alone.
pub(super) fn fresh(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    match envelope::freshness(run.message.timestamp, run.now.wall, FRESHNESS) {
        Freshness::Fresh | Freshness::Unstated => Ok(()),
        Freshness::Stale => Err(Reject::new(Code::Malformed, "timestamp: not within two minutes").into()),
    }
}
