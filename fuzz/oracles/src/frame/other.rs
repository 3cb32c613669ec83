//! The same bytes to our decoder and to tungstenite in the server's role, with equal limits: the same messages, and a
//! refusal of one is a refusal of the other.
//!
//! Known differences, all on purpose:
//! - ours caps the fragments of a message; the cap is out of reach here;
//! - ours refuses at the first wrong byte; tungstenite may first wait for the rest of the frame or message, so where
//!   it still waits only the messages before are compared;
//! - ours refuses lengths that are not in their shortest form, which tungstenite accepts; for a control frame that is
//!   already a length field of 126 or 127, whatever stands in the longer form;
//! - ours refuses close codes that may not be sent; tungstenite takes the close frame and puts 1002 in their place, and
//!   does so with 1014 too, which the IANA registry allows.

use std::io::{self, Cursor, Read, Write};

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
    Closed(Option<u16>),
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
            Ok(Some(Event::Close { code, .. })) => return (seen, End::Closed(code)),
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
            Ok(Message::Close(frame)) => return (seen, End::Closed(frame.map(|f| f.code.into()))),
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, End::Open),
            Err(_) => return (seen, End::Refused("")),
        }
    }
}

/// The same bytes to both.
pub fn vs_tungstenite(bytes: &[u8]) {
    let (mine, my_end) = ours(bytes.to_vec());
    let (other, other_end) = theirs(bytes.to_vec());
    // stricter: their messages may go on
    if matches!(my_end, End::Refused("length not in its shortest form" | "control frame over 125 bytes")) {
        return assert!(other.starts_with(&mine), "{mine:?}, theirs {other:?}");
    }
    assert_eq!(mine, other, "{my_end:?}, theirs {other_end:?}");
    let agreed = match (my_end, other_end) {
        // theirs still waits for the rest
        (End::Refused(_), End::Open) => true,
        (End::Refused("close code that may not be sent"), End::Closed(Some(1002))) => true,
        (End::Closed(Some(1014)), End::Closed(Some(1002))) => true,
        (End::Refused(_), End::Refused(_)) => true,
        (one, other) => one == other,
    };
    assert!(agreed, "ours {my_end:?}, theirs {other_end:?} after {mine:?}");
}
