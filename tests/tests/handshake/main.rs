//! The opening handshake over real sockets: exact bytes in, the exact answer out.
//!
//! Each row is one request that differs from a good one in one respect. Every refusal is checked in full: status, code,
//! body, security fields, the end of the connection. After a table the gateway's log and metrics must not hold anything
//! that was secret in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

mod good;
mod origins;
mod proxies;
mod requests;
mod row;
mod tickets;
mod tokens;
