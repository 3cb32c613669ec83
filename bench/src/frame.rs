//! RFC 6455 §5.2 as a load generator needs it: masked frames out, unmasked frames in, nothing else.

/// Opcode of a text message.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xA;

/// One key for all frames: a server unmasks at the same cost whatever it is, and frames can be made ahead.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends one unfragmented masked frame to `out`.
pub fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    let len = payload.len();
    if let (Ok(short), true) = (u8::try_from(len), len < 126) {
        out.push(0x80 | short);
    } else if let Ok(medium) = u16::try_from(len) {
        out.push(0x80 | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(0x80 | 127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// One masked frame.
#[must_use]
pub fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    put(&mut out, opcode, payload);
    out
}

/// What the front of a receive buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not a whole frame yet.
    Partial,
    /// A whole frame, and how many bytes it took.
    Frame {
        /// Low four bits of the first byte; a continuation (0) counts as the message it continues.
        opcode: u8,
        /// The application data.
        payload: &'a [u8],
        /// Header and payload together.
        taken: usize,
    },
    /// The server broke the protocol (masked, reserved bits, or a length that no machine holds).
    Broken,
}

/// Reads one server frame from the front of `bytes`. No allocation; O(header).
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let [first, second, rest @ ..] = bytes else { return Parsed::Partial };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Parsed::Broken;
    }
    let (head, len) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (4, usize::from(u16::from_be_bytes(*len))),
            None => return Parsed::Partial,
        },
        127 => match rest.first_chunk::<8>().map(|len| usize::try_from(u64::from_be_bytes(*len))) {
            Some(Ok(len)) => (10, len),
            Some(Err(_)) => return Parsed::Broken,
            None => return Parsed::Partial,
        },
        short => (2, usize::from(short)),
    };
    let Some(taken) = len.checked_add(head) else { return Parsed::Broken };
    match bytes.get(head..taken) {
        Some(payload) => Parsed::Frame { opcode: first & 0x0f, payload, taken },
        None => Parsed::Partial,
    }
}

/// The code of a close frame's payload; 1005 when it carries none (§7.1.5).
#[must_use]
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let masked = encode(opcode, payload);
        let head = masked.len() - payload.len() - 4;
        let mut out = masked[..head].to_vec();
        out[1] &= 0x7f;
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_frame_of_every_length_form_is_read_back_whole_and_one_byte_less_is_partial() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; len];
            let bytes = unmasked(TEXT, &payload);
            assert_eq!(parse(&bytes), Parsed::Frame { opcode: TEXT, payload: &payload, taken: bytes.len() });
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Parsed::Partial);
        }
    }

    #[test]
    fn the_payload_is_masked_with_the_key_in_front_of_it() {
        let bytes = encode(PING, b"abcde");
        let (key, data) = bytes[2..].split_at(4);
        let clear: Vec<u8> = data.iter().zip(key.iter().cycle()).map(|(d, k)| d ^ k).collect();
        assert_eq!((bytes[0], bytes[1], clear.as_slice()), (0x89, 0x85, b"abcde".as_slice()));
    }

    #[test]
    fn a_masked_server_frame_and_reserved_bits_are_broken() {
        assert_eq!(parse(&encode(TEXT, b"hello")), Parsed::Broken);
        assert_eq!(parse(&[0xC1, 0x00]), Parsed::Broken);
    }

    #[test]
    fn a_close_without_a_code_is_1005() {
        assert_eq!((close_code(&[]), close_code(&[0x11, 0x39, b'x'])), (1005, 4409));
    }
}
