//! Commands of operators: signed by a person's key, carried by the store, checked and obeyed by every node, answered
//! under the cluster's MAC (STATE §6).
//!
//! ```text
//! command → sign ─► store ─► node: verify (signature, cluster, time, nonce, role) → apply → ack ─► store ─► gathering
//! ```
//! Unlike the entries of the control log, which nodes write under the cluster's key, a command can be made by nobody but
//! the holder of an operator's key, and whoever holds one cannot make anything else.

/// An operator's key.
pub mod key;

/// What can be commanded, and who may.
pub mod command;

/// Signatures, and what a node checks.
pub mod sign;

/// What nodes answer, and what answers come to.
pub mod ack;
