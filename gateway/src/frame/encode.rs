//! Frames as bytes. The server never masks; the masked form is for the clients of tests and load generators.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{MAX_CONTROL, MAX_HEADER, Opcode};
use super::{close, mask};

/// A frame's header: at most 10 bytes from a server, 14 from a client.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Head {
    /// A header; `key` makes it a client's. The length is written in its shortest form (§5.2).
    #[must_use]
    pub fn new(opcode: Opcode, fin: bool, length: usize, key: Option<[u8; 4]>) -> Self {
        let mut head = Self { bytes: [0; MAX_HEADER], len: 0 };
        let masked = if key.is_some() { 0x80 } else { 0 };
        head.put(&[(opcode as u8) | if fin { 0x80 } else { 0 }]);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => head.put(&[masked | short]),
            (_, Ok(medium)) => {
                head.put(&[masked | 126]);
                head.put(&medium.to_be_bytes());
            }
            _ => {
                head.put(&[masked | 127]);
                head.put(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        if let Some(key) = key {
            head.put(&key);
        }
        head
    }

    /// The header's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *slot = *byte;
            self.len += 1;
        }
    }
}

/// One whole data frame of a server whose payload is in pieces: one allocation of exactly its size.
#[must_use]
pub fn frame_of(opcode: Opcode, pieces: &[&[u8]]) -> Bytes {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    let head = Head::new(opcode, true, length, None);
    let mut out = BytesMut::with_capacity(head.as_bytes().len() + length);
    out.extend_from_slice(head.as_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    out.freeze()
}

/// One whole frame of a server: header and payload in one allocation of exactly their size.
///
/// The payload of a control frame is cut at 125 bytes, because no peer may accept more (§5.5).
#[must_use]
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let payload = bounded(opcode, payload);
    let head = Head::new(opcode, true, payload.len(), None);
    let mut out = BytesMut::with_capacity(head.as_bytes().len() + payload.len());
    out.put_slice(head.as_bytes());
    out.put_slice(payload);
    out.freeze()
}

/// As [`frame`], at the end of `out` (`Vec<u8>`, `BytesMut`), which grows as it needs.
pub fn append(out: &mut impl BufMut, opcode: Opcode, payload: &[u8]) {
    let payload = bounded(opcode, payload);
    out.put_slice(Head::new(opcode, true, payload.len(), None).as_bytes());
    out.put_slice(payload);
}

/// A close frame. A reason over 123 bytes is cut between characters; a code that may not be sent makes it empty.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    if !close::legal(code) {
        return frame(Opcode::Close, &[]);
    }
    let reason = close::fitting(reason);
    let head = Head::new(Opcode::Close, true, 2 + reason.len(), None);
    let mut out = BytesMut::with_capacity(4 + reason.len());
    out.put_slice(head.as_bytes());
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
    out.freeze()
}

/// The answer to a peer's close frame: its own code, or none where it gave none (§5.5.1).
#[must_use]
pub fn close_reply(code: Option<u16>) -> Bytes {
    code.map_or_else(|| frame(Opcode::Close, &[]), |code| close(code, ""))
}

/// One frame of a client, masked with `key`, at the end of `out`. Nothing is bounded: tests need illegal frames too.
pub fn append_masked(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8], mut key: [u8; 4]) {
    out.extend_from_slice(Head::new(opcode, fin, payload.len(), Some(key)).as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut key, out.get_mut(start..).unwrap_or_default());
}

fn bounded(opcode: Opcode, payload: &[u8]) -> &[u8] {
    if opcode.is_control() { payload.get(..MAX_CONTROL).unwrap_or(payload) } else { payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (length, expected) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xFFFF, &[0x82, 126, 0xFF, 0xFF]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(Head::new(Opcode::Binary, true, length, None).as_bytes(), expected);
        }
    }

    #[test]
    fn the_examples_of_the_rfc_come_out_as_printed() {
        // §5.7
        assert_eq!(&frame(Opcode::Text, b"Hello")[..], b"\x81\x05Hello");
        let mut masked = Vec::new();
        append_masked(&mut masked, Opcode::Text, true, b"Hello", [0x37, 0xFA, 0x21, 0x3D]);
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
    }

    #[test]
    fn appending_gives_the_same_bytes_as_building() {
        let mut out = vec![7];
        append(&mut out, Opcode::Ping, b"x");
        assert_eq!(out[1..], frame(Opcode::Ping, b"x")[..]);
    }

    #[test]
    fn a_control_payload_is_cut_at_125_bytes() {
        assert_eq!(frame(Opcode::Pong, &[1; 126])[..2], [0x8A, 125]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close(4408, &"é".repeat(100));
        let (code, reason) = close::parse(&frame[2..]).unwrap();
        assert_eq!((code, reason.len()), (Some(4408), 122));
    }

    #[test]
    fn a_code_that_may_not_be_sent_is_not_sent() {
        assert_eq!(&close(1005, "x")[..], [0x88, 0]);
    }

    #[test]
    fn the_answer_to_a_close_has_its_code() {
        assert_eq!(&close_reply(Some(1001))[..], [0x88, 2, 0x03, 0xE9]);
        assert_eq!(&close_reply(None)[..], [0x88, 0]);
    }
}
