//! The codec: any bytes, cut anywhere, give the same events, the same end and the same refusal; and what is kept is bounded
//! by what arrived.

use arbitrary::{Arbitrary, Unstructured};
use portcullis_common::clock::Mono;
use portcullis_gateway::frame::header::Opcode;
use portcullis_gateway::frame::{Decoder, Event, Limits, Violation, encode};

pub use self::other::vs_tungstenite;

/// Against another implementation.
mod other;

#[derive(Debug, PartialEq)]
enum Seen {
    Data(bool, Vec<u8>),
    Control(u8, Vec<u8>),
    Close(Option<u16>, String),
    Refused(Violation),
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Raw(Vec<u8>),
    Frame { opcode: u8, fin: bool, payload: Vec<u8>, key: [u8; 4] },
}

fn stream(pieces: Vec<Piece>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => out.extend(bytes),
            Piece::Frame { opcode, fin, payload, key } => {
                let opcode = [0, 1, 2, 8, 9, 10][usize::from(opcode % 6)];
                let opcode = Opcode::from_nibble(opcode).expect("a legal nibble");
                encode::append_masked(&mut out, opcode, fin, &payload, key);
            }
        }
    }
    out
}

fn decode(mut pieces: Vec<Vec<u8>>, limits: &Limits) -> Vec<Seen> {
    let (mut decoder, mut seen, mut arrived) = (Decoder::new(), Vec::new(), 0);
    'all: for piece in &mut pieces {
        arrived += piece.len();
        let mut rest = &mut piece[..];
        loop {
            match decoder.next(&mut rest, limits, Mono(0)) {
                Ok(Some(Event::Text(text))) => seen.push(Seen::Data(true, text.as_bytes().to_vec())),
                Ok(Some(Event::Binary(bytes))) => seen.push(Seen::Data(false, bytes.to_vec())),
                Ok(Some(Event::Ping(bytes))) => seen.push(Seen::Control(9, bytes.to_vec())),
                Ok(Some(Event::Pong(bytes))) => seen.push(Seen::Control(10, bytes.to_vec())),
                Ok(Some(Event::Close { code, reason })) => seen.push(Seen::Close(code, reason.to_owned())),
                Ok(None) => break,
                Err(violation) => {
                    seen.push(Seen::Refused(violation));
                    break 'all;
                }
            }
        }
        assert!(decoder.held() <= 512 + 2 * arrived, "holds {} of {arrived}", decoder.held());
    }
    seen
}

/// One stream whole, byte by byte, and in pieces.
pub fn split(data: &[u8]) {
    let Ok((size, cuts, pieces)) = <(u16, Vec<u8>, Vec<Piece>)>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let limits = Limits { message: usize::from(size), fragments: 8, ..Limits::default() };
    let bytes = stream(pieces);
    let whole = decode(vec![bytes.clone()], &limits);
    let single = decode(bytes.iter().map(|b| vec![*b]).collect(), &limits);
    assert_eq!(whole, single);
    let mut parts = Vec::new();
    let (mut rest, mut cuts) = (&bytes[..], Unstructured::new(&cuts));
    while !rest.is_empty() {
        let n = cuts.int_in_range(1..=rest.len()).unwrap_or(rest.len());
        parts.push(rest[..n].to_vec());
        rest = &rest[n..];
    }
    assert_eq!(whole, decode(parts, &limits));
}
