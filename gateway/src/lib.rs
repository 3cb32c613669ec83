//! One gateway node, in the order in which a message passes through it: accept → admit → session → frame → pipeline →
//! route → hub → outbox.

/// What happened, as types: each event is a log line, a metric, and a place for its audit record.
pub mod events;

/// TCP and TLS: connection caps, descriptors, one stream type.
pub mod accept;

/// Who may connect: network, origin, token; pure functions over facts.
pub mod admit;

/// RFC 6455 without I/O.
pub mod frame;

/// Live sessions: the connection actor, the registry, the manager.
pub mod session;

/// What a message has to pass.
pub mod pipeline;

/// Where a message goes.
pub mod route;

/// Rooms on this node: encoded once, across a thread once.
pub mod hub;

/// Health and metrics on the private port.
pub mod api;

/// The demo page of the `dev` profile.
pub mod demo;
