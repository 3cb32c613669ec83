//! A TCP proxy that can be cut: while it is, nothing passes in either direction and nobody is told, as in a network that
//! drops packets; what was on its way arrives when it is mended.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a copier looks whether the wire is cut.
const LOOK: Duration = Duration::from_millis(5);

struct State {
    /// Where new connections lead.
    target: Mutex<SocketAddr>,
    cut: AtomicBool,
    over: AtomicBool,
}

/// The proxy; its connections end with it.
pub struct Wire {
    state: Arc<State>,
    /// Where to connect.
    pub address: SocketAddr,
}

impl Wire {
    /// A wire to `target`.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (cut, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let state = Arc::new(State { target: Mutex::new(target), cut, over });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let target = *accepting.target.lock().unwrap_or_else(PoisonError::into_inner);
                let Ok(far) = TcpStream::connect(target) else { continue };
                let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
                for (from, to) in [(near, far), (far_too, near_too)] {
                    let state = Arc::clone(&accepting);
                    std::thread::spawn(move || copy(&state, from, to));
                }
            }
        });
        Self { state, address }
    }

    /// New connections lead there from now on; those that stand stay.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// Everything passes again, and what was held first.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        // the listener is in `accept`
        let _ = TcpStream::connect(self.address);
    }
}

fn copy(state: &State, mut from: TcpStream, mut to: TcpStream) {
    let _ = from.set_read_timeout(Some(LOOK));
    let _ = to.set_nodelay(true);
    let mut chunk = [0; 16 << 10];
    while !state.over.load(Ordering::Relaxed) {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        while state.cut.load(Ordering::Relaxed) && !state.over.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
        if to.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
