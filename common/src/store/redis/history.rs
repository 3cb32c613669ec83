//! What a room kept, as the store answers it. Nothing in the answer is believed: a record counts when its MAC is right
//! for the room's channel, it may still come out of a history, and it is later than its issuer's record before.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;

use super::Base;
use super::counts::Counters;
use super::inbound::Arrival;
use super::keys::Kind;
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::UnixMs;
use crate::ids::RoomName;
use crate::store::StoreFault;
use crate::store::bus::Position;
use crate::store::letter::Message;
use crate::store::record::{AHEAD, Issuer, Refused, Sealer};

/// At most so many records in one answer; a caller that wants more asks again.
pub(super) const PAGE: usize = 1_000;

static RECOVER: LazyLock<Script> = LazyLock::new(|| {
    let parts = [
        include_str!("lua/server.lua"),
        include_str!("lua/order.lua"),
        include_str!("lua/bus.lua"),
        include_str!("lua/recover.lua"),
    ];
    Script::new(Does::Shrinks, &parts)
});

/// Epochs and offsets are exact in every JSON reader.
const EXACT: u64 = 1 << 53;

/// Reads `epoch:offset`.
pub(super) fn position(text: &[u8]) -> Option<Position> {
    let text = std::str::from_utf8(text).ok()?;
    let (epoch, offset) = text.split_once(':')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let place = Position { epoch: digits(epoch)?, offset: digits(offset)? };
    (place.epoch > 0 && place.epoch < EXACT && place.offset < EXACT).then_some(place)
}

/// Reads `epoch:offset:record`, what a room's channel carries.
pub(super) fn placed(payload: &Bytes) -> Option<(Position, Bytes)> {
    // two numbers of at most 16 digits and two colons
    let mut colons = payload.iter().take(34).enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let end = colons.nth(1)?;
    let place = position(payload.get(..end)?)?;
    Some((place, payload.slice(end + 1..)))
}

/// What the store answered.
pub(super) struct Kept {
    /// `None`: it does not know the room.
    pub(super) position: Option<Position>,
    /// What was authentic, in order.
    pub(super) records: Vec<Arrival>,
}

/// Reads and checks what is kept.
pub(super) struct Reader<'a> {
    pub(super) base: &'a Base,
    pub(super) sealer: &'a Sealer,
    pub(super) counters: &'a Counters,
    pub(super) now: UnixMs,
}

impl Reader<'_> {
    /// At most `limit` records later than `since`. One round trip.
    pub(super) async fn after(&self, room: &RoomName, since: Position, limit: usize) -> Result<Kept, StoreFault> {
        let (keys, channel) = {
            let place = self.base.keys.room(room);
            ([place.key(Kind::Room), place.key(Kind::History)], place.key(Kind::Bus))
        };
        let args = Args::new().with(since.epoch).with(since.offset).with(limit.min(PAGE));
        let answer: Vec<Vec<u8>> = RECOVER.run(&self.base.link, &keys, &args).await?;
        let mut answer = answer.into_iter();
        let (Some(epoch), Some(offset)) = (answer.next(), answer.next()) else {
            return Ok(Kept { position: None, records: Vec::new() });
        };
        let place = position(&[&epoch[..], b":", &offset[..]].concat()).ok_or_else(garbled)?;
        Ok(Kept {
            position: Some(place),
            records: self.authentic(place.epoch, channel.as_bytes(), answer, since.offset),
        })
    }

    fn authentic(
        &self,
        epoch: u64,
        channel: &[u8],
        mut answer: impl Iterator<Item = Vec<u8>>,
        since: u64,
    ) -> Vec<Arrival> {
        let (mut records, mut last) = (Vec::new(), since);
        let mut latest: HashMap<Issuer, u64> = HashMap::new();
        while let (Some(id), Some(sealed)) = (answer.next(), answer.next()) {
            let opened = offset(&id).filter(|offset| *offset > last).ok_or(Refused::Malformed);
            let opened = opened.and_then(|offset| self.open(channel, &Bytes::from(sealed), Position { offset, epoch }));
            let opened = opened.and_then(|arrival| match latest.get(&arrival.header.issuer) {
                Some(sequence) if *sequence >= arrival.header.sequence => Err(Refused::Replayed),
                _ => Ok(arrival),
            });
            match opened {
                Ok(arrival) => {
                    last = arrival.position.offset;
                    latest.insert(arrival.header.issuer.clone(), arrival.header.sequence);
                    records.push(arrival);
                }
                Err(why) => self.counters.refused(why),
            }
        }
        records
    }

    fn open(&self, channel: &[u8], sealed: &Bytes, position: Position) -> Result<Arrival, Refused> {
        let opened = self.sealer.open(channel, sealed)?;
        let message = Message::read(&opened.body).ok_or(Refused::Malformed)?;
        match message.until {
            Some(until) if until.after(AHEAD) >= self.now => {
                Ok(Arrival { position, header: opened.header, record: message.record })
            }
            // never meant to be kept, or not for so long
            _ => Err(Refused::Old),
        }
    }
}

/// The offset in a stream id `offset-0`.
fn offset(id: &[u8]) -> Option<u64> {
    let offset = std::str::from_utf8(id).ok()?.strip_suffix("-0")?.parse().ok()?;
    (offset < EXACT).then_some(offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_two_exact_numbers() {
        assert_eq!(position(b"7:3"), Some(Position { epoch: 7, offset: 3 }));
        assert_eq!(position(b"9007199254740991:0"), Some(Position { epoch: EXACT - 1, offset: 0 }));
        for bad in
            ["", ":", "7:", ":3", "0:3", "7:3:", "+7:3", "7:-3", "7: 3", "9007199254740992:1", "1:9007199254740992"]
        {
            assert_eq!(position(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(position(b"7:\xff"), None);
    }

    #[test]
    fn a_record_stands_behind_its_place() {
        let payload = Bytes::from_static(b"7:3:a:b");
        assert_eq!(placed(&payload), Some((Position { epoch: 7, offset: 3 }, Bytes::from_static(b"a:b"))));
        for bad in ["", "7:3", "7", "x:3:", "::", "000000000000000000000000000000000007:3:"] {
            assert_eq!(placed(&Bytes::from_static(bad.as_bytes())), None, "{bad:?}");
        }
    }

    #[test]
    fn a_stream_id_is_an_offset_and_zero() {
        assert_eq!(offset(b"12-0"), Some(12));
        for bad in ["12-1", "12", "-0", "x-0", "18446744073709551615-0"] {
            assert_eq!(offset(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = position(&noise);
            let _ = placed(&Bytes::from(noise));
        }
    }
}
