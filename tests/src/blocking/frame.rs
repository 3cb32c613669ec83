//! Frames as a client writes and reads them, byte by byte.

/// `FIN` and the opcode: the first byte of a frame (RFC 6455 §5.2).
pub const TEXT: u8 = 0x81;
/// As [`TEXT`].
pub const BINARY: u8 = 0x82;
/// As [`TEXT`].
pub const CLOSE: u8 = 0x88;
/// As [`TEXT`].
pub const PING: u8 = 0x89;
/// As [`TEXT`].
pub const PONG: u8 = 0x8a;

/// One frame of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `FIN`, reserved bits, opcode.
    pub first: u8,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// A masked frame (RFC 6455 §5.2).
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x21, 0x43, 0x65, 0x87];
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The first frame of `bytes` and its length, if it is complete. A server does not mask.
pub(super) fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let (head, length): (usize, usize) = match short {
        0..126 => (2, usize::from(short)),
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        _ => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
    };
    let payload = bytes.get(head..head.checked_add(length)?)?.to_vec();
    Some((Frame { first, payload }, head + length))
}
