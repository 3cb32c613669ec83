//! Where a message goes.

/// Which rooms exist, who may join them, who may publish in them.
pub mod rooms;

/// The conditions of room rules, in CEL.
pub mod condition;
