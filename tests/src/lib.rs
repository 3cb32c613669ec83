//! What integration tests share.

/// A node inside the test's process.
pub mod inside;

/// A client that hides nothing.
pub mod raw;
