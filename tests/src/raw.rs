//! Exact bytes over TCP or TLS, and the HTTP answer to them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::wait::PATIENCE;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// An open connection that speaks whatever it is told to.
pub struct Wire {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Such as 400.
    pub status: u16,
    /// Names as sent.
    pub headers: Vec<(String, String)>,
    /// As long as `Content-Length` says, or to the end of the connection.
    pub body: Vec<u8>,
}

impl Wire {
    /// Plain TCP.
    ///
    /// # Errors
    /// The kernel's.
    pub fn plain(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        Ok(Self { stream: Box::new(tcp), unread: Vec::new() })
    }

    /// Plain TCP from an address of this machine, such as 127.0.0.2.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Panics
    /// When `from` is not an address.
    pub fn from(from: &str, address: SocketAddr) -> std::io::Result<Self> {
        let local = SocketAddr::new(from.parse().expect("an address"), 0);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&local.into())?;
        socket.connect(&address.into())?;
        let tcp = TcpStream::from(socket);
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        Ok(Self { stream: Box::new(tcp), unread: Vec::new() })
    }

    /// TLS to the name `localhost`. The handshake is over on return.
    ///
    /// # Errors
    /// The kernel's, and those of the handshake.
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<(Self, ClientFacts)> {
        Self::tls_on(TcpStream::connect_timeout(&address, PATIENCE)?, config)
    }

    /// The same on a connection made elsewhere.
    ///
    /// # Errors
    /// Those of the handshake.
    pub fn tls_on(mut tcp: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<(Self, ClientFacts)> {
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(|e| std::io::Error::new(ErrorKind::InvalidInput, e))?;
        let mut connection =
            ClientConnection::new(config, name).map_err(|e| std::io::Error::new(ErrorKind::InvalidInput, e))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        let facts = ClientFacts {
            version: connection.protocol_version(),
            alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        Ok((Self { stream: Box::new(StreamOwned::new(connection, tcp)), unread: Vec::new() }, facts))
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Reads one answer; `None` when the connection ended without one.
    ///
    /// # Panics
    /// When what comes is not an HTTP answer, or nothing comes in time.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill() == 0 {
                assert!(self.unread.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.unread));
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let mut answer = parse_head(std::str::from_utf8(&head).expect("a head is ASCII"));
        if answer.status == 101 || answer.status == 204 || answer.status == 304 {
            return Some(answer);
        }
        let length = answer.header("content-length").map(|text| text.parse::<usize>().expect("Content-Length"));
        while length.is_none_or(|length| self.unread.len() < length) {
            if self.fill() == 0 {
                assert!(length.is_none(), "the body is cut short");
                break;
            }
        }
        answer.body = self.unread.drain(..length.unwrap_or(self.unread.len())).collect();
        Some(answer)
    }

    /// Whether the peer ends the connection with nothing more said. Waits for it.
    pub fn ends(&mut self) -> bool {
        let mut byte = [0u8; 1];
        self.unread.is_empty()
            && match self.stream.read(&mut byte) {
                Ok(got) => got == 0,
                Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0u8; 4096];
        let got = match self.stream.read(&mut buffer) {
            Ok(got) => got,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no answer in {PATIENCE:?}; so far {:?}", String::from_utf8_lossy(&self.unread))
            }
            // a reset, or TLS without close_notify: the connection is over
            Err(_) => 0,
        };
        self.unread.extend_from_slice(&buffer[..got]);
        got
    }
}

/// What a TLS handshake settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFacts {
    /// The version.
    pub version: Option<rustls::ProtocolVersion>,
    /// The application protocol.
    pub alpn: Option<String>,
}

impl Answer {
    /// The value of a field that is there at most once.
    ///
    /// # Panics
    /// When it is there more often.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "{name} is there twice");
        first.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// `payload.code` of a refusal, or "".
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["payload"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Parses a head that ends with an empty line.
///
/// # Panics
/// When it is not HTTP/1.1.
#[must_use]
pub fn parse_head(text: &str) -> Answer {
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().expect("a status line");
    assert!(
        status_line.starts_with("HTTP/1.1 ") || status_line.starts_with("HTTP/1.0 "),
        "not an HTTP answer: {status_line}"
    );
    let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let headers = lines
        .map(|line| line.split_once(':').expect("a field"))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: Vec::new() }
}

/// Where `needle` begins in `hay`.
#[must_use]
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// Connects, writes, reads one answer.
///
/// # Panics
/// When there is no connection or no answer.
#[must_use]
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::plain(address).expect("a connection");
    wire.write(request).expect("a request");
    wire.answer().expect("an answer")
}

/// `GET path` on a connection of its own.
///
/// # Panics
/// When there is no connection or no answer.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// The same, `None` when nobody listens or answers.
#[must_use]
pub fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    let mut wire = Wire::plain(address).ok()?;
    wire.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).ok()?;
    wire.answer()
}
