//! The wire contract `portcullis.v1` (PROTOCOL.md).

/// Every error and close code, once.
pub mod code;

/// The peer's fault, as plain data.
pub mod reject;

/// JSON guarded before it is parsed: depth, keys, duplicates.
pub mod scan;

/// What a client may say.
pub mod envelope;

/// What the gateway says.
pub mod reply;

/// MessagePack to canonical JSON and back, bounded.
pub mod msgpack;
