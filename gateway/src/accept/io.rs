//! One stream type for plain TCP and TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::admit::address::CapGuard;

enum Stream {
    Plain(TcpStream),
    // boxed: a TLS session is large and must not make plain ones large
    Tls(Box<TlsStream<TcpStream>>),
}

/// An accepted connection: its bytes, its peer, its place under the connection caps.
///
/// While it speaks HTTP it reads at most a bounded number of bytes between two writes, so that no request head can
/// make the framework buffer more; [`Io::upgraded`] lifts the bound.
pub struct Io {
    stream: Stream,
    peer: SocketAddr,
    head_left: usize,
    head_limit: usize,
    /// Given back when the connection is gone, upgraded or not.
    _cap: CapGuard,
}

impl Io {
    /// A plain connection.
    #[must_use]
    pub fn plain(tcp: TcpStream, peer: SocketAddr, head_limit: usize, cap: CapGuard) -> Self {
        Self { stream: Stream::Plain(tcp), peer, head_left: head_limit, head_limit, _cap: cap }
    }

    /// A TLS connection after its handshake.
    #[must_use]
    pub fn tls(tls: TlsStream<TcpStream>, peer: SocketAddr, head_limit: usize, cap: CapGuard) -> Self {
        Self { stream: Stream::Tls(Box::new(tls)), peer, head_left: head_limit, head_limit, _cap: cap }
    }

    /// The TCP peer.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the bytes are encrypted by us.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// HTTP is over: reads are bounded by the frame codec from now on.
    pub fn upgraded(&mut self) {
        self.head_left = usize::MAX;
        self.head_limit = usize::MAX;
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head_left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "request too large")));
        }
        let before = buf.filled().len();
        let result = match &mut this.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        };
        let got = buf.filled().len() - before;
        if this.head_left != usize::MAX {
            this.head_left = this.head_left.saturating_sub(got);
        }
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.head_left = this.head_limit;
        match &mut this.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
