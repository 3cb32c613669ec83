//! The public listener and the descriptor limit.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Descriptors that are not client sockets: listeners, epoll, event descriptors, logs, the store.
const RESERVED_DESCRIPTORS: u64 = 128;

/// A bound listener and a handle that can close it while the server still owns it.
#[derive(Debug)]
pub struct Listener {
    /// For the server.
    pub socket: TcpListener,
    /// For the drain.
    pub shutter: Shutter,
}

/// Closes a listener for good: later connects are refused by the kernel instead of waiting in its queue.
#[derive(Debug)]
pub struct Shutter(Socket);

impl Shutter {
    /// Refuses all connects from now on. Idempotent.
    pub fn close(&self) {
        // The only error is "not connected" on a listener that is closed already.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Binds `address` with the given accept queue.
///
/// # Errors
/// The kernel's: address in use, no permission.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // accepted sockets inherit it: a small frame is never held back for an acknowledgement
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    let shutter = Shutter(socket.try_clone()?);
    Ok(Listener { socket: socket.into(), shutter })
}

/// Raises the soft descriptor limit to the hard one and answers how many connections fit: `wanted`, or fewer.
///
/// # Errors
/// The kernel's, when the limit cannot be read.
pub fn fit_descriptors(wanted: usize) -> io::Result<usize> {
    let need = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(RESERVED_DESCRIPTORS);
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    let limit = if soft < need && soft < hard {
        let raised = hard.min(need.max(soft));
        rlimit::Resource::NOFILE.set(raised, hard)?;
        raised
    } else {
        soft
    };
    let room = limit.saturating_sub(RESERVED_DESCRIPTORS);
    Ok(wanted.min(usize::try_from(room).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_listener_refuses_connects_at_once() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = listener.socket.local_addr().unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok());
        listener.shutter.close();
        listener.shutter.close();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn connections_are_fitted_to_the_descriptor_limit() {
        let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
        let fitted = fit_descriptors(usize::MAX).unwrap();
        assert!(fitted as u64 <= hard - RESERVED_DESCRIPTORS);
        assert_eq!(fit_descriptors(10).unwrap(), 10);
    }
}
