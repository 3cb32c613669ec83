//! How other servers are spoken to: enough of each protocol to be in a room and to say something in it. No more is asked
//! of them than of the gateway, and nothing of what the gateway checks.

use clap::ValueEnum;
use memchr::memmem;

use crate::message::{self, Kind};
use crate::{Outcome, frame, request};

/// A protocol over the WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dialect {
    /// `portcullis.v1.json`; `bench/peers/{uws,ws}.mjs` speak it too.
    #[default]
    Portcullis,
    /// Socket.IO v5 over Engine.IO v4: `bench/peers/socketio.mjs`.
    SocketIo,
    /// The client protocol of NATS.
    Nats,
    /// Nchan: the path is the room, and whatever is said is published.
    Nchan,
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The session stands.
    Welcome,
    /// It is in its room.
    Joined,
    /// A message of the room.
    Chat,
    /// Something is wrong.
    Error,
    /// Wants to hear this before it goes on.
    Asks(&'static str),
    /// Of no interest.
    Other,
}

impl Dialect {
    /// The request head, where it is not the one that was made ahead with a token.
    #[must_use]
    pub fn head(self, host: &str, room: &str) -> Option<Vec<u8>> {
        match self {
            Self::Portcullis => None,
            Self::SocketIo => Some(request::head(host, "/socket.io/?EIO=4&transport=websocket", None)),
            Self::Nats => Some(request::head(host, "/", None)),
            Self::Nchan => Some(request::head(host, &format!("/room/{room}"), None)),
        }
    }

    /// Whether the session stands as soon as the handshake is over, and is in its room.
    #[must_use]
    pub fn stands_when_open(self) -> bool {
        self == Self::Nchan
    }

    /// What a message is.
    #[must_use]
    pub fn hear(self, payload: &[u8]) -> Heard {
        match self {
            Self::Portcullis => match message::kind(payload) {
                Kind::Welcome => Heard::Welcome,
                Kind::Ack => Heard::Joined,
                Kind::Chat => Heard::Chat,
                Kind::Error => Heard::Error,
                _ => Heard::Other,
            },
            Self::SocketIo => match payload {
                [b'0', ..] => Heard::Asks("40"),
                [b'2', ..] => Heard::Asks("3"),
                [b'4', b'0', ..] => Heard::Welcome,
                [b'4', b'3', ..] => Heard::Joined,
                [b'4', b'2', ..] => Heard::Chat,
                [b'4', b'4', ..] => Heard::Error,
                _ => Heard::Other,
            },
            Self::Nats if payload.starts_with(b"INFO ") => {
                Heard::Asks("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")
            }
            Self::Nats if payload.starts_with(b"PONG") => Heard::Welcome,
            Self::Nats if payload.starts_with(b"PING") => Heard::Asks("PONG\r\n"),
            Self::Nats if payload.starts_with(b"-ERR") => Heard::Error,
            Self::Nats | Self::Nchan => {
                if memmem::find(payload, br#""seq":"#).is_some() {
                    Heard::Chat
                } else {
                    Heard::Other
                }
            }
        }
    }

    /// A masked frame with something of the protocol itself.
    #[must_use]
    pub fn say(self, text: &str) -> Vec<u8> {
        frame::encode(if self == Self::Nats { frame::BINARY } else { frame::TEXT }, text.as_bytes())
    }

    /// Into the room; answered by [`Heard::Joined`], for NATS by the `PONG` to the `PING` that follows.
    #[must_use]
    pub fn join(self, room: &str, csrf: &str) -> Vec<u8> {
        match self {
            Self::Portcullis | Self::Nchan => message::join(room, csrf),
            Self::SocketIo => self.say(&format!(r#"421["join","{room}"]"#)),
            Self::Nats => self.say(&format!("SUB {room} 1\r\nPING\r\n")),
        }
    }

    /// A masked message to the room whose payload is exactly `bytes` long and carries `seq`.
    ///
    /// # Errors
    /// `bytes` is less than 40.
    pub fn numbered_chat(self, room: &str, csrf: &str, seq: u64, bytes: usize) -> Outcome<Vec<u8>> {
        let payload = message::numbered_payload(seq, bytes);
        Ok(match self {
            Self::Portcullis => message::numbered_chat(room, csrf, seq, bytes)?,
            Self::SocketIo => self.say(&format!(r#"42["chat",{}]"#, payload?)),
            Self::Nats => self.say(&format!("PUB {room} {bytes}\r\n{}\r\n", payload?)),
            Self::Nchan => self.say(&payload?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_understood_from_its_first_word_to_a_message() {
        assert_eq!(Dialect::SocketIo.hear(br#"0{"sid":"x"}"#), Heard::Asks("40"));
        assert_eq!(Dialect::SocketIo.hear(br#"40{"sid":"x"}"#), Heard::Welcome);
        assert_eq!(Dialect::SocketIo.hear(b"431[]"), Heard::Joined);
        assert_eq!(Dialect::SocketIo.hear(br#"42["chat",{"seq":1}]"#), Heard::Chat);
        assert!(matches!(Dialect::Nats.hear(b"INFO {}\r\n"), Heard::Asks(text) if text.ends_with("PING\r\n")));
        assert_eq!(Dialect::Nats.hear(b"MSG room.x 1 13\r\n{\"seq\":1}\r\n"), Heard::Chat);
        assert_eq!(Dialect::Nats.hear(b"-ERR 'x'\r\n"), Heard::Error);
        assert_eq!(Dialect::Nchan.hear(br#"{"seq":9,"text":""}"#), Heard::Chat);
        assert_eq!(Dialect::Portcullis.hear(br#"{"type":"welcome"}"#), Heard::Welcome);
    }

    #[test]
    fn only_the_gateway_gets_a_head_with_a_token() {
        assert!(Dialect::Portcullis.head("h", "room.1").is_none());
        let head = String::from_utf8(Dialect::Nchan.head("h", "room.1").expect("one")).expect("text");
        assert!(head.starts_with("GET /room/room.1 HTTP/1.1\r\n") && !head.contains("Authorization"));
    }
}
