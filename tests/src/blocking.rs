//! A client that hides nothing: a request out, frames in, one blocking socket. It breaks rules when a test wants that.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use portcullis_common::wire::msgpack;
use portcullis_common::wire::scan::Bounds;
use serde_json::{Value, json};

use self::frame::parse;
pub use self::frame::{BINARY, CLOSE, Frame, PING, PONG, TEXT, frame};

mod frame;

/// How long a peer may say nothing when something is expected; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 6455 §1.3: the example's key, and what it has to be answered with.
const KEY: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
const BOUNDS: Bounds = Bounds { depth: 24, nodes: 1 << 16, ..Bounds::NONE };

/// The subprotocol of MessagePack.
pub const MSGPACK: &str = "portcullis.v1.msgpack";

/// A handshake whose answer is still to be read.
#[derive(Debug)]
pub struct Knock {
    stream: TcpStream,
    msgpack: bool,
}

/// A handshake was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Status line and fields, as they came.
    pub head: String,
    /// The JSON body.
    pub body: Value,
}

impl Refusal {
    /// The error code in the body.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["payload"]["code"].as_str().unwrap_or_default()
    }
}

/// What a connection said until it ended.
#[derive(Debug)]
pub struct Ending {
    /// The messages, in order.
    pub messages: Vec<Value>,
    /// The code of the server's close frame, if there was one with a code.
    pub code: Option<u16>,
}

impl Ending {
    /// Whether a message of this type was among them.
    #[must_use]
    pub fn said(&self, kind: &str) -> bool {
        self.messages.iter().any(|m| m["type"] == kind)
    }

    /// The codes of the errors among them.
    #[must_use]
    pub fn errors(&self) -> Vec<&str> {
        self.messages.iter().filter_map(|m| m["payload"]["code"].as_str()).collect()
    }
}

/// A connection from an address of this machine's, with a receive buffer of about so many bytes.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn dial(from: Ipv4Addr, to: SocketAddr, receive_buffer: u32) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(receive_buffer).unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(to).await.expect("somebody listens").into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

impl Knock {
    /// Connects and sends the request.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn at(address: SocketAddr, token: &str, protocol: Option<&str>) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        Self::on(stream, token, protocol)
    }

    /// Sends the request on a connection made elsewhere.
    ///
    /// # Panics
    /// When the connection is broken already.
    #[must_use]
    pub fn on(mut stream: TcpStream, token: &str, protocol: Option<&str>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let offered = protocol.map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: test.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nAuthorization: Bearer {token}\r\n{offered}\r\n",
            KEY.0
        );
        stream.write_all(request.as_bytes()).expect("the request goes out");
        Self { stream, msgpack: protocol == Some(MSGPACK) }
    }

    /// Reads the answer; of a session also its `welcome`.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When the answer is not HTTP, or the first message no `welcome`.
    pub fn answer(self) -> Result<Raw, Refusal> {
        self.read(true)
    }

    /// The same behind a proxy, which may keep the connection open after a refusal.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// As [`Self::answer`].
    pub fn answer_through_a_proxy(self) -> Result<Raw, Refusal> {
        self.read(false)
    }

    fn read(mut self, refusal_closes: bool) -> Result<Raw, Refusal> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let mut chunk = [0; 2_048];
            let n = self.stream.read(&mut chunk).expect("an answer in time");
            assert!(n > 0, "closed without an answer: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..n]);
        };
        let rest = bytes.split_off(end);
        let head = String::from_utf8(bytes).expect("a head in ASCII");
        let status: u16 = head.get(9..12).and_then(|s| s.parse().ok()).expect("a status line");
        if status != 101 {
            let mut body = rest;
            if refusal_closes {
                self.stream.read_to_end(&mut body).expect("the refused connection is closed");
            } else {
                let length = head.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| {
                    rest.split("\r\n").next().and_then(|text| text.parse::<usize>().ok()).expect("a length")
                });
                let missing = length.expect("Content-Length").saturating_sub(body.len());
                let mut rest = vec![0; missing];
                self.stream.read_exact(&mut rest).expect("the whole body");
                body.extend(rest);
            }
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            return Err(Refusal { status, head, body });
        }
        assert!(head.to_ascii_lowercase().contains(&format!("sec-websocket-accept: {}", KEY.1).to_ascii_lowercase()));
        let mut raw = Raw {
            stream: self.stream,
            head,
            msgpack: self.msgpack,
            inbox: rest,
            later: VecDeque::new(),
            welcome: Value::Null,
            csrf: String::new(),
            asked: 0,
            answers_pings: true,
        };
        let first = raw.message();
        if first["type"] == "error" {
            // ended before it began: that is then all it will say
            raw.later.push_back(first);
            return Ok(raw);
        }
        assert_eq!(first["type"], "welcome", "{first}");
        raw.csrf = first["payload"]["csrfToken"].as_str().expect("a token").to_owned();
        raw.welcome = first;
        Ok(raw)
    }
}

/// A connection after its `welcome`.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Status line and fields of the handshake's answer, as they came.
    pub head: String,
    msgpack: bool,
    inbox: Vec<u8>,
    later: VecDeque<Value>,
    /// The first message; `null` for a session that was ended before it could be said.
    pub welcome: Value,
    /// Goes into `csrfToken`.
    pub csrf: String,
    asked: u32,
    /// Whether a ping of the server's is answered (while messages are read).
    pub answers_pings: bool,
}

impl Raw {
    /// A session that speaks JSON.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn open(address: SocketAddr, token: &str) -> Self {
        Knock::at(address, token, None).answer().expect("let in")
    }

    /// A session that speaks MessagePack.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn open_msgpack(address: SocketAddr, token: &str) -> Self {
        Knock::at(address, token, Some(MSGPACK)).answer().expect("let in")
    }

    /// The session's id.
    #[must_use]
    pub fn session(&self) -> &str {
        self.welcome["payload"]["sessionId"].as_str().unwrap_or_default()
    }

    /// Sends one frame, masked; `first` is its first byte. False when the connection is broken.
    pub fn send(&mut self, first: u8, payload: &[u8]) -> bool {
        self.stream.write_all(&frame(first, payload)).is_ok()
    }

    /// Sends a message as it is.
    pub fn send_message(&mut self, message: &Value) -> bool {
        let text = message.to_string();
        if self.msgpack {
            let mut packed = Vec::new();
            msgpack::from_json(&text, BOUNDS, &mut packed).expect("a message that MessagePack can say");
            self.send(BINARY, &packed)
        } else {
            self.send(TEXT, text.as_bytes())
        }
    }

    /// Sends a message with the session's CSRF token, unless it brings one.
    pub fn say(&mut self, mut message: Value) -> bool {
        if message.get("csrfToken").is_none() {
            message["csrfToken"] = json!(self.csrf);
        }
        self.send_message(&message)
    }

    /// Sends a message with an `id` (its own, or a new one) and waits for the answer; what comes before is kept.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub fn ask(&mut self, mut message: Value) -> Value {
        if message.get("id").is_none() {
            self.asked += 1;
            message["id"] = json!(format!("ask-{}", self.asked));
        }
        let id = message["id"].clone();
        assert!(self.say(message), "the connection is broken");
        let mut kept = std::mem::take(&mut self.later);
        let answer = loop {
            let next = self.message();
            if next["id"] == id {
                break next;
            }
            kept.push_back(next);
        };
        self.later = kept;
        answer
    }

    /// As [`Self::ask`], where the answer is an error: its code.
    ///
    /// # Panics
    /// When the answer is no error.
    pub fn refused(&mut self, message: Value) -> String {
        let answer = self.ask(message);
        assert_eq!(answer["type"], "error", "{answer}");
        answer["payload"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Joins a room; the answer's payload.
    ///
    /// # Panics
    /// When it is refused.
    pub fn join(&mut self, room: &str) -> Value {
        let answer = self.ask(json!({"type": "join", "to": {"room": room}}));
        assert_eq!(answer["type"], "ack", "{answer}");
        answer["payload"].clone()
    }

    /// The next message.
    ///
    /// # Panics
    /// When the connection ends instead, or nothing comes.
    pub fn message(&mut self) -> Value {
        self.hear().unwrap_or_else(|code| panic!("closed with {code:?} instead of a message"))
    }

    /// The next message of a type; others before it are passed over.
    ///
    /// # Panics
    /// As [`Self::message`].
    pub fn message_of(&mut self, kind: &str) -> Value {
        loop {
            let next = self.message();
            if next["type"] == kind {
                return next;
            }
        }
    }

    /// The next message, or the code of the close frame (`None`: none, or a broken connection).
    ///
    /// # Errors
    /// The connection is over.
    ///
    /// # Panics
    /// When nothing comes, or no message.
    pub fn hear(&mut self) -> Result<Value, Option<u16>> {
        if let Some(kept) = self.later.pop_front() {
            return Ok(kept);
        }
        loop {
            let Some(frame) = self.frame() else { return Err(None) };
            match frame.first {
                TEXT => return Ok(serde_json::from_slice(&frame.payload).expect("JSON")),
                BINARY => {
                    let mut text = String::new();
                    msgpack::to_json(&frame.payload, BOUNDS, 1 << 20, &mut text).expect("MessagePack");
                    return Ok(serde_json::from_str(&text).expect("JSON"));
                }
                PING if self.answers_pings => drop(self.send(PONG, &frame.payload)),
                CLOSE => return Err(frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
                _ => {}
            }
        }
    }

    /// The next frame; `None` when the connection is over.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, used)) = parse(&self.inbox) {
                self.inbox.drain(..used);
                return Some(frame);
            }
            let mut chunk = [0; 64 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.inbox.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("nothing came for {PATIENCE:?}"),
                Err(_) => return None,
            }
        }
    }

    /// Reads to the end, and answers the close frame.
    ///
    /// # Panics
    /// When the connection does not end.
    pub fn ending(mut self) -> Ending {
        let mut messages = Vec::new();
        let code = loop {
            match self.hear() {
                Ok(message) => messages.push(message),
                Err(code) => break code,
            }
        };
        if let Some(code) = code {
            self.send(CLOSE, &code.to_be_bytes());
            assert_eq!(self.frame(), None, "something behind the close frame");
        }
        Ending { messages, code }
    }

    /// As [`Self::ending`], where the end may take so long.
    ///
    /// # Panics
    /// As [`Self::ending`].
    #[must_use]
    pub fn ending_patiently(self, patience: Duration) -> Ending {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self.ending()
    }

    /// Closes as a client does: close frame, the server's answer, the end. The answer's code.
    ///
    /// # Panics
    /// When the server does not end the connection.
    pub fn close(mut self, code: u16) -> Option<u16> {
        self.send(CLOSE, &code.to_be_bytes());
        self.ending().code
    }
}
