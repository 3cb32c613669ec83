//! What gateway and coordinator must agree on.
//!
//! The modules in the order in which a message meets them: who somebody is, what time it is, what is said on the
//! wire, what the operator allowed, and where state lives that more than one process must see.

/// Names of users, sessions, rooms, nodes: newtypes that cannot hold an illegal value.
pub mod ids;

/// Time as a parameter: wall time for the wire, monotonic time for deadlines.
pub mod clock;

/// The wire contract: codes, client messages, gateway replies.
pub mod wire;

/// One TOML file, parsed into types that cannot be illegal.
pub mod config;

/// The stages of the message pipeline, by name.
pub mod stage;

/// The generic cell rate algorithm behind every limit.
pub mod gcra;

/// Limits that a fleet shares, as one node keeps them.
pub mod limit;

/// What users and networks have on their account.
pub mod penalty;

/// Tokens of many people tried from few places, and one account from many.
pub mod stuffing;

/// Networks, and which of them an address is in.
pub mod trie;

/// What others say about addresses.
pub mod feed;

/// Commands of operators, signed by their own keys.
pub mod control;

/// Shared state: role traits, the memory store, the conformance suite.
pub mod store;

/// What the programs do alike.
pub mod process;

/// How long a node may act in the name of its lease.
pub mod fence;

/// Which lives of nodes are there, and which are proved to be over.
pub mod membership;

/// What a fleet of some size needs: arithmetic over measured costs.
pub mod capacity;
