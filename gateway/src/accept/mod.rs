//! From the kernel to one stream type: listener, connection caps, TLS. Nothing behind this module knows which kind of
//! stream it holds.

/// The public listener and the descriptor limit.
pub mod listener;

/// Who arrives: PROXY header and connection caps.
pub mod arrive;

/// What a load balancer says of the client before the first byte.
pub mod proxy;

/// One stream type for plain TCP and TLS.
pub mod io;

/// The TLS side of the listener.
pub mod tls;
