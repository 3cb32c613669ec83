//! One gateway node, in the order in which a message passes through it: accept → admit → session → frame → pipeline →
//! route → hub → outbox.

/// A node's life, from start to drain.
pub mod run;

/// What the workers of a node share.
pub mod node;

/// What the node knows of its own standing in the fleet.
pub mod vitals;

/// Which store the node has.
pub mod store;

/// What time it is there.
pub mod store_time;

/// The listeners.
pub mod serve;

/// TCP and TLS: connection caps, descriptors, one stream type.
pub mod accept;

/// Plain HTTP on the public port.
pub mod http;

/// HTTP answers.
pub mod answer;

/// From an HTTP request to a session.
pub mod upgrade;

/// Tickets for clients that can set no header.
pub mod tickets;

/// Who may connect: network, origin, token; pure functions over facts.
pub mod admit;

/// What one worker thread owns.
pub mod worker;

/// Crowds take turns.
pub mod turns;

/// Live sessions: the connection actor, the registry, the manager.
pub mod session;

/// RFC 6455 without I/O.
pub mod frame;

/// What a message has to pass.
pub mod pipeline;

/// Limits that the fleet shares.
pub mod limits;

/// What a reload replaces.
pub mod rules;

/// How it is replaced.
pub mod reload;

/// What a node that has too much to do takes no more.
pub mod overload;

/// What users and networks have on their account over the fleet.
pub mod penalty;

/// Where a message goes.
pub mod route;

/// Between the store's bus and this node's workers.
pub mod bus;

/// Rooms on one worker: encoded once, across threads once.
pub mod hub;

/// From JSON text to frames.
pub mod wire_out;

/// The connection layer alone, for test suites and benchmarks.
pub mod echo;

/// Operators' commands: checked, carried out, answered.
pub mod control;

/// Going away without hurting anybody.
pub mod drain;

/// Health and metrics on the private port.
pub mod api;

/// A private port, asked from outside.
pub mod probe;

/// The demo page of the `dev` profile.
pub mod demo;

/// What happened, as types.
pub mod events;

/// Every metric, by handle.
pub mod metrics;
