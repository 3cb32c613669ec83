//! Admission, cheap first: handshake rules · network · origin · token. One file a check, pure functions over facts.

/// What a request says, gathered once.
pub mod facts;

/// The rules of the opening handshake (RFC 6455 §4.2.1, RFC 9112).
pub mod handshake;

/// Who the client is behind trusted proxies.
pub mod network;

/// The Origin allow-list.
pub mod origin;

/// Tokens: issuers, keys, claims.
pub mod auth;
