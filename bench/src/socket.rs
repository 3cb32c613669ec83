//! Many client sockets on one thread, edge-triggered, one shared read buffer. A socket at rest costs some 100 bytes
//! here; the engine answers pings by itself and tells a [`Player`] everything else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use crate::frame::{self, Parsed};
use crate::request::{self, Answer};
use crate::tls::Stream;
use crate::{Outcome, clock};

/// Names a socket of one [`Net`]; free for another one after `closed`.
pub type ConnId = usize;

const WAKE: Token = Token(usize::MAX);
/// A server frame larger than this ends the connection.
const READ_BUFFER: usize = 256 * 1024;

/// Why a socket is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gone {
    /// The handshake was answered with this status.
    Refused(u16),
    /// The server sent a close frame with this code.
    Closed(u16),
    /// End of stream or reset without a close frame.
    Cut,
    /// The server sent bytes that are no WebSocket frame.
    Broken,
}

/// Who is told what happens on the sockets. A call may open, send and close at will.
pub trait Player {
    /// The handshake succeeded.
    fn opened(&mut self, _net: &mut Net, _id: ConnId) {}
    /// A whole text or binary message came.
    fn message(&mut self, _net: &mut Net, _id: ConnId, _payload: &[u8]) {}
    /// A pong came.
    fn pong(&mut self, _net: &mut Net, _id: ConnId) {}
    /// The socket is gone, by the other side. Not called for [`Net::close`] and [`Net::abort`].
    fn closed(&mut self, _net: &mut Net, _id: ConnId, _why: Gone) {}
    /// Between two turns; `now` as of [`clock::now_ns`]. Returns true when the play is over.
    fn turn(&mut self, net: &mut Net, now: u64) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Upgrading,
    Open,
}

struct Conn {
    stream: Stream,
    phase: Phase,
    /// Never read from again: a slow reader.
    muted: bool,
    /// The front of a frame whose rest has not come.
    partial: Vec<u8>,
    /// What the kernel did not take, and the request until the connection stands.
    pending: Vec<u8>,
}

/// Where the sockets go, and from where.
#[derive(Debug, Clone)]
pub struct Route {
    /// The server.
    pub target: SocketAddr,
    /// `127.0.0.first` and so on are the source addresses; a source address has some 28,000 ports.
    pub first_source: u16,
    /// How many source addresses are used in turn.
    pub sources: u16,
    /// TLS, and whom it trusts.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// The sockets of one generator.
pub struct Net {
    poll: Poll,
    /// One for all tickers: a poll may have only one.
    waker: Arc<Waker>,
    route: Route,
    next_source: u16,
    conns: Vec<Option<Conn>>,
    free: Vec<ConnId>,
    /// Closed in this turn: an event of the old socket may still be in the batch, so not free before the next turn.
    limbo: Vec<ConnId>,
    buffer: Vec<u8>,
    live: usize,
    /// Pings answered so far.
    pub pings: u64,
}

impl Net {
    /// No sockets yet.
    ///
    /// # Errors
    /// The system has no epoll instance left.
    pub fn new(route: Route) -> Outcome<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self {
            poll,
            waker,
            route,
            next_source: 0,
            conns: Vec::new(),
            free: Vec::new(),
            limbo: Vec::new(),
            buffer: vec![0; READ_BUFFER],
            live: 0,
            pings: 0,
        })
    }

    /// How many sockets there are, connecting ones included.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// What a `Host` header says.
    #[must_use]
    pub fn host(&self) -> String {
        self.route.target.to_string()
    }

    /// From now on sockets go to another server.
    pub fn aim_at(&mut self, target: SocketAddr) {
        self.route.target = target;
    }

    /// Starts a connection that will send `head` once it stands. `receive_buffer` bounds what the kernel takes in for
    /// a reader that never reads.
    ///
    /// # Errors
    /// No descriptor or no port left, or the connection was refused at once.
    pub fn open(&mut self, head: Vec<u8>, receive_buffer: Option<usize>) -> Outcome<ConnId> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let [high, low] = (self.route.first_source + self.next_source).to_be_bytes();
        self.next_source = (self.next_source + 1) % self.route.sources.max(1);
        socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, high, low)), 0).into())?;
        match socket.connect(&self.route.target.into()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(115) => {}
            Err(error) => return Err(format!("connect: {error}").into()),
        }
        let tcp = TcpStream::from_std(socket.into());
        let mut stream = Stream::new(tcp, self.route.tls.as_ref(), self.route.target.ip())?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.poll.registry().register(stream.tcp(), Token(id), Interest::READABLE | Interest::WRITABLE)?;
        let conn = Conn { stream, phase: Phase::Connecting, muted: false, partial: Vec::new(), pending: head };
        if let Some(slot) = self.conns.get_mut(id) {
            *slot = Some(conn);
        }
        self.live += 1;
        Ok(id)
    }

    /// Sends bytes as they are; what the kernel does not take now goes out when it can.
    pub fn send(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conn(id) else { return };
        let sent = if conn.pending.is_empty() && conn.phase != Phase::Connecting {
            // an error here is seen again, and reported, by the read that follows it
            conn.stream.write(bytes).unwrap_or(0)
        } else {
            0
        };
        if let Some(rest) = bytes.get(sent..) {
            conn.pending.extend_from_slice(rest);
        }
    }

    /// Bytes that the kernel would not take yet.
    #[must_use]
    pub fn waiting(&self, id: ConnId) -> usize {
        self.conns.get(id).and_then(Option::as_ref).map_or(0, |conn| conn.pending.len())
    }

    /// Never reads from this socket again.
    pub fn mute(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.muted = true;
        }
    }

    /// Closes with FIN.
    pub fn close(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id).and_then(Option::take) {
            drop(conn);
            self.limbo.push(id);
            self.live -= 1;
        }
    }

    /// Closes with RST, leaving nothing in the kernel.
    pub fn abort(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            let _ = socket2::SockRef::from(&*conn.stream.tcp()).set_linger(Some(Duration::ZERO));
        }
        self.close(id);
    }

    fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id).and_then(Option::as_mut)
    }

    /// Plays until [`Player::turn`] says that it is over. `idle` bounds how long a turn may wait for events, so it is
    /// also how late a player may notice a deadline; a [`Ticker`] wakes earlier.
    ///
    /// # Errors
    /// Polling failed.
    pub fn play<P: Player>(&mut self, player: &mut P, idle: Duration) -> Outcome<()> {
        let mut events = Events::with_capacity(1024);
        while !player.turn(self, clock::now_ns()) {
            self.free.append(&mut self.limbo);
            match self.poll.poll(&mut events, Some(idle)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let id = event.token().0;
                if event.token() == WAKE {
                    continue;
                }
                if event.is_writable() {
                    self.writable(player, id);
                }
                let hung_up = event.is_read_closed() || event.is_error();
                if self.conn(id).is_some_and(|conn| conn.muted) {
                    if hung_up {
                        self.gone(player, id, Gone::Cut);
                    }
                } else if event.is_readable() || hung_up {
                    self.readable(player, id, hung_up);
                }
            }
        }
        Ok(())
    }

    fn gone<P: Player>(&mut self, player: &mut P, id: ConnId, why: Gone) {
        self.close(id);
        player.closed(self, id, why);
    }

    fn writable<P: Player>(&mut self, player: &mut P, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if conn.phase == Phase::Connecting {
            if conn.stream.tcp().peer_addr().is_err() {
                return self.gone(player, id, Gone::Cut);
            }
            conn.phase = Phase::Upgrading;
        }
        if conn.stream.flush_tls().is_err() {
            return self.gone(player, id, Gone::Cut);
        }
        if conn.pending.is_empty() {
            return;
        }
        match conn.stream.write(&conn.pending) {
            Ok(sent) if sent == conn.pending.len() => conn.pending = Vec::new(),
            Ok(sent) => drop(conn.pending.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.gone(player, id, Gone::Cut),
        }
    }

    fn readable<P: Player>(&mut self, player: &mut P, id: ConnId, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(conn) = self.conn(id) {
            if conn.phase == Phase::Connecting {
                break;
            }
            let kept = conn.partial.len();
            if let Some(front) = buffer.get_mut(..kept) {
                front.copy_from_slice(&conn.partial);
            }
            let (space, short_is_all) = (buffer.len() - kept, conn.stream.short_is_all());
            let read = conn.stream.read(buffer.get_mut(kept..).unwrap_or_default());
            match read {
                Ok(0) => {
                    self.gone(player, id, if space == 0 { Gone::Broken } else { Gone::Cut });
                    break;
                }
                Ok(count) => {
                    self.consume(player, id, buffer.get(..kept + count).unwrap_or_default());
                    // a short read has drained the socket: the next bytes raise a new edge
                    if count < space && short_is_all && !to_the_end {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.gone(player, id, Gone::Cut);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Takes every whole frame of `bytes`, keeps the rest with the socket.
    fn consume<P: Player>(&mut self, player: &mut P, id: ConnId, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let Some(conn) = self.conn(id) else { return };
            if conn.phase == Phase::Upgrading {
                match request::answer(rest) {
                    Answer::Partial => break,
                    Answer::Refused(status) => return self.gone(player, id, Gone::Refused(status)),
                    Answer::Switched(taken) => {
                        conn.phase = Phase::Open;
                        rest = rest.get(taken..).unwrap_or_default();
                        player.opened(self, id);
                    }
                }
                continue;
            }
            match frame::parse(rest) {
                Parsed::Partial => break,
                Parsed::Broken => return self.gone(player, id, Gone::Broken),
                Parsed::Frame { opcode, payload, taken } => {
                    self.frame(player, id, opcode, payload);
                    rest = rest.get(taken..).unwrap_or_default();
                }
            }
        }
        if let Some(conn) = self.conn(id)
            && !(rest.is_empty() && conn.partial.is_empty())
        {
            conn.partial = rest.to_vec();
        }
    }

    fn frame<P: Player>(&mut self, player: &mut P, id: ConnId, opcode: u8, payload: &[u8]) {
        match opcode {
            0 | frame::TEXT | frame::BINARY => player.message(self, id, payload),
            frame::PING => {
                self.pings += 1;
                self.send(id, &frame::encode(frame::PONG, payload));
            }
            frame::PONG => player.pong(self, id),
            frame::CLOSE => {
                self.send(id, &frame::encode(frame::CLOSE, payload.get(..2).unwrap_or_default()));
                self.gone(player, id, Gone::Closed(frame::close_code(payload)));
            }
            _ => self.gone(player, id, Gone::Broken),
        }
    }

    /// Wakes the play every `period` (a high-resolution sleep; the poll's own timeout has millisecond steps). Stops
    /// when it is dropped.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub fn ticker(&self, period: Duration) -> Outcome<Ticker> {
        let waker = Arc::clone(&self.waker);
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        std::thread::Builder::new().name("ticker".into()).stack_size(64 * 1024).spawn(move || {
            let (step, mut next) = (clock::nanos(period).max(1), clock::now_ns());
            while watched.strong_count() > 0 {
                next += step;
                std::thread::sleep(Duration::from_nanos(next.saturating_sub(clock::now_ns())));
                let _ = waker.wake();
            }
        })?;
        Ok(Ticker { _alive: alive })
    }
}

/// Keeps a ticking thread alive.
pub struct Ticker {
    _alive: Arc<()>,
}
