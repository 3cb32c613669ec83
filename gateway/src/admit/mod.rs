//! Admission, cheap first: address · handshake rules · origin · token. One file a check, pure functions over facts.
//!
//! The composition root calls, in this order: [`address::ConnectionCaps::take`] at accept; [`network::client`],
//! [`bans::BanTable::check_address`], [`reputation::judge`] and [`address::AddressTable::connect`] once the request head is there;
//! [`facts::gather`], which runs [`handshake`], [`origin`] and the choice of the credential; then [`auth`], after which
//! [`bans::BanTable::check_identity`] has the last word.

/// What a request says, gathered once.
pub mod facts;

/// Connections and attempts of one address.
pub mod address;

/// Who the client is behind trusted proxies.
pub mod network;

/// What the control log says, looked up locally.
pub mod bans;

/// What others say about addresses.
pub mod reputation;

/// All of it, asked of a node.
mod door;

/// Which sessions an operator has ended.
pub mod kicks;

/// The rules of the opening handshake (RFC 6455 §4.2.1, RFC 9110, RFC 9112).
pub mod handshake;

/// `host [":" port]`, as `Host` and `Origin` write it.
pub mod authority;

/// The query of the request target: the ticket, and no other secret.
pub mod query;

/// `Sec-WebSocket-Protocol`: protocol, bearer token, resume token.
pub mod subprotocol;

/// The Origin allow-list.
pub mod origin;

/// The one credential of a request: header, subprotocol, ticket or cookie.
pub mod credential;

/// Tokens: issuers, keys, claims.
pub mod auth;
