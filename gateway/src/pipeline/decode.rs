//! From a frame to a message, and whether it is of now.

use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::{self, ClientMessage, FRESHNESS, Freshness, Refused};
use portcullis_common::wire::msgpack;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::scan::Bounds;

use super::{Frame, Now, Scratch};

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
) -> Result<ClientMessage<'m>, Refused<'m>> {
    match frame {
        Frame::Text(text) => envelope::decode(text, bounds, &mut scratch.scan),
        Frame::Binary(bytes) => {
            let Scratch { scan, json } = scratch;
            json.clear();
            msgpack::to_json(bytes, bounds, max, json).map_err(|reject| Refused { reject, id: None })?;
            envelope::decode(json, bounds, scan)
        }
    }
}

/// A `timestamp`, where there is one, has to be of now: replays of recorded messages are refused. A message without one
/// is protected by its `id` alone.
///
/// # Errors
/// `malformed`.
pub fn fresh(message: &ClientMessage<'_>, now: Now) -> Result<(), Reject> {
    match envelope::freshness(message.timestamp, now.wall, FRESHNESS) {
        Freshness::Fresh | Freshness::Unstated => Ok(()),
        Freshness::Stale => Err(Reject::new(Code::Malformed, "timestamp: not within two minutes")),
    }
}
