//! A WebSocket client that knows the protocol and believes nothing.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::gateway::Gateway;
use crate::raw::{Answer, find, parse_head};
use crate::wait::soon;

/// The nonce of RFC 6455 §1.3, and what has to come back for it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a client's bytes go through.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A handshake that did not become a session.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Such as 401; 0 when the connection ended without an answer.
    pub status: u16,
    /// Names as sent.
    pub headers: Vec<(String, String)>,
    /// JSON, or `Null`.
    pub body: Value,
}

impl Refused {
    /// `payload.code`, or "".
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["payload"]["code"].as_str().unwrap_or_default()
    }
}

/// How to connect.
#[derive(Clone)]
pub struct Dial {
    address: SocketAddr,
    target: String,
    headers: Vec<(String, String)>,
    from: Option<IpAddr>,
    tls: Option<Arc<ClientConfig>>,
    /// Bytes of the kernel's receive buffer; small ones make a slow reader.
    receive_buffer: Option<u32>,
}

impl Dial {
    /// To a gateway, with no credential yet.
    #[must_use]
    pub fn to(gateway: &Gateway) -> Self {
        Self::address(gateway.public)
    }

    /// To any address.
    #[must_use]
    pub fn address(address: SocketAddr) -> Self {
        Self { address, target: "/ws".to_owned(), headers: Vec::new(), from: None, tls: None, receive_buffer: None }
    }

    /// A header field; may be given several times.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// `Sec-WebSocket-Protocol`, as one line.
    #[must_use]
    pub fn protocols(self, list: &str) -> Self {
        self.header("Sec-WebSocket-Protocol", list)
    }

    /// Another request target than `/ws`.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// From this address of the machine, such as 127.0.0.2.
    #[must_use]
    pub fn from(mut self, ip: &str) -> Self {
        self.from = Some(ip.parse().expect("an address"));
        self
    }

    /// Over TLS to the name `localhost`.
    #[must_use]
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// With a small receive buffer.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects, and reads `welcome`.
    ///
    /// # Errors
    /// The gateway's refusal.
    ///
    /// # Panics
    /// When the answer is not legal.
    pub async fn connect(&self) -> Result<Client, Refused> {
        soon("a handshake", self.handshake()).await
    }

    async fn transport(&self) -> Box<dyn Transport> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        if let Some(ip) = self.from {
            socket.bind(SocketAddr::new(ip, 0)).unwrap();
        }
        let tcp = socket.connect(self.address).await.expect("a connection");
        tcp.set_nodelay(true).unwrap();
        match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.expect("TLS"))
            }
        }
    }

    async fn handshake(&self) -> Result<Client, Refused> {
        let mut stream = self.transport().await;
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n",
            self.target, self.address
        );
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let (answer, rest) = read_answer(&mut stream).await;
        if answer.status != 101 {
            return Err(Refused { status: answer.status, body: answer.json(), headers: answer.headers });
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(answer.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
        let protocol = answer.header("sec-websocket-protocol").map(str::to_owned);
        let socket = WebSocketStream::from_partially_read(stream, rest, Role::Client, None).await;
        let mut client = Client {
            socket,
            welcome: Value::Null,
            csrf: String::new(),
            protocol,
            answer,
            skipped: VecDeque::new(),
            sent: 0,
        };
        if client.protocol.as_deref() != Some("portcullis.v1.msgpack") {
            client.welcome = client.recv().await;
            assert_eq!(client.welcome["type"], "welcome", "{}", client.welcome);
            client.welcome["payload"]["csrfToken"].as_str().expect("a token").clone_into(&mut client.csrf);
        }
        Ok(client)
    }
}

async fn read_answer(stream: &mut Box<dyn Transport>) -> (Answer, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut open = true;
    while open {
        let head_end = find(&bytes, b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = head_end {
            let mut answer = parse_head(std::str::from_utf8(&bytes[..end]).expect("ASCII"));
            let length = answer.header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
            if answer.status == 101 || bytes.len() - end >= length {
                let rest = bytes.split_off(end);
                if answer.status == 101 {
                    return (answer, rest);
                }
                answer.body = rest;
                return (answer, Vec::new());
            }
        }
        open = stream.read_buf(&mut bytes).await.unwrap_or(0) > 0;
    }
    (Answer { status: 0, headers: Vec::new(), body: bytes }, Vec::new())
}

/// What a client heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A message of the gateway.
    Message(Value),
    /// A binary message, as it came.
    Binary(Vec<u8>),
    /// The end: the code of the close frame (1005: it had none), `None` without a frame.
    Closed(Option<u16>),
}

/// A session.
pub struct Client {
    /// The socket, for frames that [`Client::send`] would not write.
    pub socket: WebSocketStream<Box<dyn Transport>>,
    /// The first message; `Null` over MessagePack, where it is left to the caller.
    pub welcome: Value,
    /// The current CSRF token.
    pub csrf: String,
    /// The subprotocol of the answer.
    pub protocol: Option<String>,
    /// The answer to the handshake.
    pub answer: Answer,
    /// Messages that came while another was waited for, oldest first.
    pub skipped: VecDeque<Value>,
    sent: u64,
}

impl Client {
    /// Connects with a bearer token in `Authorization`.
    ///
    /// # Errors
    /// The gateway's refusal.
    pub async fn connect(gateway: &Gateway, token: &str) -> Result<Self, Refused> {
        Dial::to(gateway).bearer(token).connect().await
    }

    /// The same for a token that is good.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn open(gateway: &Gateway, token: &str) -> Self {
        match Self::connect(gateway, token).await {
            Ok(client) => client,
            Err(refused) => panic!("refused: {refused:?}"),
        }
    }

    /// The session's id.
    #[must_use]
    pub fn session(&self) -> String {
        self.welcome["payload"]["sessionId"].as_str().unwrap_or_default().to_owned()
    }

    /// The user's id.
    #[must_use]
    pub fn user(&self) -> String {
        self.welcome["payload"]["userId"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends a message of this type with the members of `rest` (`to`, `payload`, …), a CSRF token and an id of its own
    /// where `rest` has none; a member that is `null` there is left out. Returns the id.
    pub async fn send(&mut self, kind: &str, rest: Value) -> String {
        self.sent += 1;
        let mut message = json!({"type": kind, "id": format!("m-{}", self.sent), "csrfToken": self.csrf});
        for (name, value) in rest.as_object().expect("an object") {
            if value.is_null() {
                message.as_object_mut().unwrap().remove(name);
            } else {
                message[name] = value.clone();
            }
        }
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        self.send_text(&message.to_string()).await;
        id
    }

    /// Sends exactly this text.
    pub async fn send_text(&mut self, text: &str) {
        self.send_frame(Message::text(text)).await;
    }

    /// Sends any frame; a peer that is gone is found when reading.
    pub async fn send_frame(&mut self, frame: Message) {
        let _ = soon("a frame to be taken", self.socket.send(frame)).await;
    }

    /// What comes next. Pings are answered.
    pub async fn next(&mut self) -> Heard {
        loop {
            return match soon("the gateway to say something", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["type"] == "csrf" {
                        message["payload"]["token"].as_str().expect("a token").clone_into(&mut self.csrf);
                    }
                    Heard::Message(message)
                }
                Some(Ok(Message::Binary(bytes))) => Heard::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    // the answer to it is written by reading on; then the gateway closes first (RFC 6455 §7.1.1)
                    let rest = async {
                        while let Some(Ok(_)) = self.socket.next().await {}
                        let _ = self.socket.get_mut().shutdown().await;
                    };
                    soon("the end after a close frame", rest).await;
                    Heard::Closed(Some(frame.map_or(1005, |frame| frame.code.into())))
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Heard::Closed(None),
            };
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub async fn recv(&mut self) -> Value {
        match self.next().await {
            Heard::Message(message) => message,
            other => panic!("no message but {other:?}; before it {:?}", self.skipped),
        }
    }

    /// The next message for which `wanted` holds; what comes before it is kept in `skipped`.
    pub async fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.recv().await;
            if wanted(&message) {
                return message;
            }
            self.skipped.push_back(message);
        }
    }

    /// The next message of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        self.find(|message| message["type"] == kind).await
    }

    /// The next `error`, which has to have this code.
    pub async fn expect_error(&mut self, code: &str) -> Value {
        let error = self.expect("error").await;
        assert_eq!(error["payload"]["code"], code, "{error}");
        error
    }

    /// The `ack` or `error` with this id.
    pub async fn answer_to(&mut self, id: &str) -> Value {
        self.find(|m| m["id"] == id && (m["type"] == "ack" || m["type"] == "error")).await
    }

    /// Sends, and waits for the `ack` or `error`.
    pub async fn ask(&mut self, kind: &str, rest: Value) -> Value {
        let id = self.send(kind, rest).await;
        self.answer_to(&id).await
    }

    /// Joins a room and returns the payload of the `ack`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(&mut self, room: &str) -> Value {
        let ack = self.ask("join", json!({"to": {"room": room}})).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        ack["payload"].clone()
    }

    /// Sends to a room and returns the `ack` or `error`.
    pub async fn publish(&mut self, kind: &str, room: &str, payload: Value) -> Value {
        self.ask(kind, json!({"to": {"room": room}, "payload": payload})).await
    }

    /// Whether the session is alive: a health check is answered.
    pub async fn check_alive(&mut self) {
        self.send("health-check", json!({})).await;
        self.expect("health-check").await;
    }

    /// Reads to the end: the close code, 1006 without a close frame.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Heard::Closed(code) => return code.unwrap_or(1006),
                Heard::Message(message) => self.skipped.push_back(message),
                Heard::Binary(_) => {}
            }
        }
    }

    /// Closes with 1000 and waits for the answer.
    pub async fn close(mut self) -> u16 {
        let _ = self.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await;
        self.closed().await
    }
}
