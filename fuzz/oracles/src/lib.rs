//! What has to hold for every input of every parser that hostile bytes reach: one plain function each, that panics where
//! it does not hold. libFuzzer calls them (`make fuzz`), and `cargo test` puts the kept corpora through them.
//!
//! Wherever somebody else has written the same parser, that one is the judge.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is what an oracle is for"
)]

/// Rules for the targets that need some.
mod rules;

/// A request head out of lines of text.
mod head;

/// RFC 6455: the same whatever the cuts; the same as tungstenite.
pub mod frame;

/// PROXY protocol, version 2.
pub mod proxy;

/// Who the client is behind proxies.
pub mod address;

/// `Origin`.
pub mod origin;

/// Everything else of a handshake: subprotocols, tickets, credentials, tokens.
pub mod admission;

/// The JSON envelope.
pub mod envelope;

/// MessagePack and back.
pub mod msgpack;

/// Rates, durations, sizes, and what counts against them.
pub mod limits;

/// Whole configurations.
pub mod settings;

/// Which schema a payload is held against, and whether it fits.
pub mod schema;

/// What attacks look like.
pub mod signatures;

/// Fields that hold HTML.
pub mod html;

/// Controls, overrides, percent-encoding.
pub mod strings;

/// Fields that name files.
pub mod path;

/// A message through every stage.
pub mod pipeline;

/// What comes over the store: records of the bus, the control log, commands, answers.
pub mod records;

/// Lists of addresses, and what is compiled of them.
pub mod feeds;

/// Panics where something does not hold for these bytes.
pub type Oracle = fn(&[u8]);

/// Every target, by the name of its corpus in `fuzz/corpus/` and of its file in `fuzz/fuzz_targets/`.
pub const TARGETS: &[(&str, Oracle)] = &[
    ("frame_split", frame::split),
    ("frame_vs_tungstenite", frame::vs_tungstenite),
    ("proxy_header", proxy::header),
    ("address", address::address),
    ("origin", origin::origin),
    ("admission", admission::admission),
    ("envelope", envelope::envelope),
    ("msgpack", msgpack::msgpack),
    ("limits", limits::limits),
    ("settings", settings::settings),
    ("schema", schema::schema),
    ("signatures", signatures::signatures),
    ("html", html::html),
    ("strings", strings::strings),
    ("path", path::path),
    ("pipeline", pipeline::pipeline),
    ("records", records::records),
    ("feeds", feeds::feeds),
];
