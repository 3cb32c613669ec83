//! The wire contract `portcullis.v1` (PROTOCOL.md).

/// Every error and close code, once.
pub mod code;

/// The peer's fault, as plain data.
pub mod reject;

/// The registry as documents: tables for PROTOCOL.md, constants for TypeScript.
pub mod registry;

/// JSON's tokens (RFC 8259), and how they are written.
pub mod json;

/// JSON guarded before it is parsed: depth, keys, duplicates.
pub mod scan;

/// Every value of a scanned text, without a tree.
pub mod tape;

/// Which values of a payload a rule is about.
pub mod field;

/// What a client may say.
pub mod envelope;

/// What the gateway says.
pub mod reply;

/// MessagePack to canonical JSON and back, bounded.
pub mod msgpack;
