//! One stream type for plain TCP and TLS, and the last word on what HTTP says through it.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use portcullis_common::wire::reject::Reject;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::admit::address::CapGuard;
use crate::admit::network::Link;
use crate::turns::{Ticket, Turns};

/// A plain socket that its actor and its worker's hub write to, by turns.
pub type Shared = Rc<RefCell<TcpStream>>;

enum Stream {
    Plain(Shared),
    // boxed: a TLS session is large and must not make plain ones large
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes the whole answer for a status that the framework decided on by itself.
pub type Dresser = Rc<dyn Fn(SocketAddr, u16) -> Vec<u8>>;

/// What a connection needs for the framework's own answers.
pub struct Answers {
    /// Writes them.
    pub dresser: Dresser,
    /// They are given a few at a time: slow heads run out of time in crowds.
    pub turns: Rc<Turns>,
}

/// An answer that is sent instead of another.
struct Swap {
    turn: Ticket,
    bytes: Vec<u8>,
    sent: usize,
    /// How long the other one was.
    instead_of: usize,
}

/// A connection's bytes, encrypted or not, and its place under the connection caps. Small: there is one for every idle
/// session.
pub struct Wire {
    stream: Stream,
    /// Given back when the connection is gone.
    cap: CapGuard,
}

/// An accepted connection while it speaks HTTP.
///
/// It reads at most a bounded number of bytes between two writes, so that no request head can make the framework buffer
/// more; [`Io::upgraded`] lifts the bound. The framework answers heads that it cannot parse
/// (two Hosts, a bad length, a slow head) without asking the app, and with a bare status: such an answer is exchanged
/// here for one in the form that every other refusal has.
pub struct Io {
    wire: Wire,
    link: Link,
    head_left: usize,
    head_limit: usize,
    answers: Answers,
    /// The last answer of this connection, once there is one.
    swap: Option<Swap>,
}

impl Io {
    /// A plain connection.
    #[must_use]
    pub fn plain(tcp: TcpStream, link: Link, head_limit: usize, cap: CapGuard, answers: Answers) -> Self {
        Self::new(Stream::Plain(Rc::new(RefCell::new(tcp))), link, head_limit, cap, answers)
    }

    /// A TLS connection after its handshake.
    #[must_use]
    pub fn tls(tls: TlsStream<TcpStream>, link: Link, head_limit: usize, cap: CapGuard, answers: Answers) -> Self {
        Self::new(Stream::Tls(Box::new(tls)), link, head_limit, cap, answers)
    }

    fn new(stream: Stream, link: Link, head_limit: usize, cap: CapGuard, answers: Answers) -> Self {
        Self { wire: Wire { stream, cap }, link, head_left: head_limit, head_limit, answers, swap: None }
    }

    /// What is known of the other end.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The other end: the TCP peer, or whom a proxy announced.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.link.peer
    }

    /// Counts the connection for its client, where a proxy's forwarding fields say who that is.
    ///
    /// # Errors
    /// `rate_limited` when that address holds as many as it may.
    pub fn count_for(&mut self, client: IpAddr) -> Result<(), Reject> {
        self.wire.cap.count_for(client)
    }

    /// Whether the bytes are encrypted by us.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.wire.is_tls()
    }

    /// HTTP is over: reads are bounded by the frame codec from now on.
    #[must_use]
    pub fn upgraded(self) -> Wire {
        self.wire
    }
}

impl Wire {
    /// Whether the bytes are encrypted by us.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The socket, where what is written is what is sent.
    #[must_use]
    pub fn shared(&self) -> Option<Shared> {
        match &self.stream {
            Stream::Plain(tcp) => Some(Rc::clone(tcp)),
            Stream::Tls(_) => None,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(tcp) => Pin::new(&mut *tcp.borrow_mut()).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(tcp) => Pin::new(&mut *tcp.borrow_mut()).poll_write(cx, data),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(tcp) => Pin::new(&mut *tcp.borrow_mut()).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(tcp) => Pin::new(&mut *tcp.borrow_mut()).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

impl Swap {
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match std::task::ready!(Pin::new(&mut *wire).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        Poll::Ready(Ok(self.instead_of))
    }
}

/// The status of an answer that nobody here has written: an error without a body and without the security fields.
/// Answers of the app come with all of them, so theirs never match.
fn bare(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let status: u16 = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    let head = answer.strip_suffix(b"\r\n\r\n")?;
    let mark = b"x-content-type-options:";
    let dressed = head.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark));
    (status >= 400 && !dressed).then_some(status)
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head_left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "request too large")));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.wire).poll_read(cx, buf);
        this.head_left = this.head_left.saturating_sub(buf.filled().len() - before);
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.head_left = this.head_limit;
        if this.swap.is_none()
            && let Some(status) = bare(data)
        {
            this.swap = Some(Swap {
                turn: Ticket::default(),
                bytes: (this.answers.dresser)(this.link.peer, status),
                sent: 0,
                instead_of: data.len(),
            });
        }
        // it is the last word: while it waits, the framework may write the same once more (a slow head's timer)
        if this.swap.as_ref().is_some_and(|swap| swap.sent == swap.bytes.len()) {
            return Poll::Ready(Ok(data.len()));
        }
        let Some(swap) = &mut this.swap else { return Pin::new(&mut this.wire).poll_write(cx, data) };
        std::task::ready!(this.answers.turns.poll(&mut swap.turn, cx));
        swap.poll(&mut this.wire, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_frameworks_own_errors_are_bare() {
        let framework = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert_eq!(bare(framework), Some(400));
        assert_eq!(bare(b"HTTP/1.1 408 Request Timeout\r\n\r\n"), Some(408));
        for other in [
            &b"HTTP/1.1 404 Not Found\r\nX-Content-Type-Options: nosniff\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 4",
            b"\x81\x02hi",
            b"",
        ] {
            assert_eq!(bare(other), None, "{}", other.escape_ascii());
        }
    }
}
