//! Single-use connection tickets (`POST /v1/tickets`).

use std::time::Duration;

use bytes::Bytes;

use super::StoreFuture;

/// Atomic per ticket. Tickets are known by a keyed hash; the store never sees the ticket itself. They end with the
/// store's era, and there are none while it is not whole ([`super::StoreFault::Era`]).
pub trait Tickets: Send + Sync {
    /// Keeps `record` under `ticket` for `ttl`; issuing the same ticket again replaces it.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on tickets or their bytes; nothing was kept.
    fn issue(&self, ticket: [u8; 32], record: Bytes, ttl: Duration) -> StoreFuture<'_, ()>;

    /// Takes the record: the first caller in time gets it, everybody else nothing.
    fn redeem(&self, ticket: [u8; 32]) -> StoreFuture<'_, Option<Bytes>>;
}
