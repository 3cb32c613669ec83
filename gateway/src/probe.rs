//! `portcullis-gateway health`: asks a private port, for platforms whose probes start a program in an image that has
//! neither a shell nor curl.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long each of connecting, asking and reading may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer longer than this is cut off.
const ANSWER: u64 = 16 << 10;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as far as it is text.
    pub body: String,
}

/// One `GET` of HTTP/1.0 to an address or `name:port`, of which the first is asked that takes the connection. Blocking; at
/// most 3 s for each of its steps, besides the resolver's own time.
///
/// # Errors
/// The resolver's; the socket's; an answer that is no HTTP.
pub fn ask(address: impl ToSocketAddrs, path: &str) -> io::Result<Answer> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in address.to_socket_addrs()? {
        match ask_one(address, path) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An address that a listener has for "all interfaces" is asked on loopback.
fn ask_one(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let mut tcp = TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), PATIENCE)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    tcp.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    tcp.take(ANSWER).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, body: body.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_an_answer() {
        let good = b"HTTP/1.0 503 Service Unavailable\r\ncontent-type: application/json\r\n\r\n{\"status\":\"x\"}\n";
        assert_eq!(parse(good), Some(Answer { status: 503, body: "{\"status\":\"x\"}".to_owned() }));
        for bad in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 2\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"\xff\xff\r\n\r\n"]
        {
            assert_eq!(parse(bad), None, "{}", bad.escape_ascii());
        }
    }
}
