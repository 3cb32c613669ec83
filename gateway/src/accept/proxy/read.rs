//! A header from a socket: never a byte more, never longer than its deadline.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Announced, MAX, Malformed, Step, step};

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum NoHeader {
    /// What came is no legal one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The proxy went away, or its connection broke.
    #[error("the connection ended in its PROXY header")]
    Io(#[from] io::Error),
}

/// Reads exactly the header; what follows stays in the socket. Needs [`MAX`] bytes at most, which are on the heap only
/// while it waits, and no deadline of its own: the caller has one.
///
/// # Errors
/// Every header that is not legal, as soon as that is certain; the socket's.
pub async fn header(socket: &mut (impl AsyncRead + Unpin)) -> Result<Announced, NoHeader> {
    let mut bytes = Vec::new();
    loop {
        match step(&bytes)? {
            Step::Done(announced, _) => return Ok(announced),
            Step::Need(more) => {
                let have = bytes.len();
                bytes.resize(have.saturating_add(more).min(MAX), 0);
                let read = match bytes.get_mut(have..) {
                    Some(room) => socket.read(room).await?,
                    None => 0,
                };
                if read == 0 {
                    return Err(NoHeader::Io(io::ErrorKind::UnexpectedEof.into()));
                }
                bytes.truncate(have.saturating_add(read));
            }
        }
    }
}
