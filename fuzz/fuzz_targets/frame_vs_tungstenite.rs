//! The same bytes to our decoder and to tungstenite in the server's role, with equal limits: the same messages, and a
//! refusal of one is a refusal of the other.
//!
//! Known differences, all on purpose:
//! - ours caps the fragments of a message; the cap is out of reach here;
//! - ours refuses at the first wrong byte; tungstenite may first ask for the rest of the frame, so a stream that ends
//!   early is compared only up to what both had to decide;
//! - ours refuses lengths that are not in their shortest form, which tungstenite accepts (`overlong`);
//! - tungstenite replaces close codes it does not allow by 1002 and keeps 1012–1014 and 1016–2999 apart in its own way,
//!   so the code of a close frame is not compared, only that the conversation ends there.
#![no_main]

use std::io::{self, Cursor, Read, Write};

use libfuzzer_sys::fuzz_target;
use portcullis_common::clock::Mono;
use portcullis_gateway::frame::{Decoder, Event, Limits};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

const LIMIT: usize = 4096;

struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// All bytes used, and more are awaited.
    Open,
    Closed,
    Refused(&'static str),
}

fn ours(mut bytes: Vec<u8>) -> (Vec<Seen>, End) {
    let limits = Limits { message: LIMIT, fragments: usize::MAX, ..Limits::default() };
    let (mut decoder, mut seen, mut rest) = (Decoder::new(), Vec::new(), &mut bytes[..]);
    loop {
        match decoder.next(&mut rest, &limits, Mono(0)) {
            Ok(Some(Event::Text(text))) => seen.push(Seen::Text(text.to_owned())),
            Ok(Some(Event::Binary(bytes))) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Some(Event::Ping(bytes))) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Some(Event::Pong(bytes))) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Some(Event::Close { .. })) => return (seen, End::Closed),
            Ok(None) => return (seen, End::Open),
            Err(violation) => return (seen, End::Refused(violation.detail)),
        }
    }
}

fn theirs(bytes: Vec<u8>) -> (Vec<Seen>, End) {
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(bytes)), Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.as_str().to_owned())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(_)) => return (seen, End::Closed),
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, End::Open),
            Err(_) => return (seen, End::Refused("")),
        }
    }
}

fuzz_target!(|bytes: Vec<u8>| {
    let (mine, my_end) = ours(bytes.clone());
    let (other, other_end) = theirs(bytes);
    match (my_end, other_end) {
        // stricter: their messages may go on
        (End::Refused("length not in its shortest form"), _) => assert_eq!(mine[..], other[..mine.len()]),
        // earlier: they still wait for the rest of a frame
        (End::Refused(_), End::Open) => assert_eq!(mine, other),
        (End::Refused("close code that may not be sent"), End::Closed) => assert_eq!(mine, other),
        (End::Refused(_), End::Refused(_)) | (End::Open, End::Open) | (End::Closed, End::Closed) => {
            assert_eq!(mine, other);
        }
        _ => panic!("ours {my_end:?} after {mine:?}, theirs {other_end:?} after {other:?}"),
    }
});
