//! A harness that runs the real gateway as a child process and talks to it over real sockets.
//!
//! Everything here panics when something is not as it should be: it is code of tests, shared between them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed expectation of a test harness is a failed test"
)]

pub mod balancer;
pub mod blocking;
pub mod client;
pub mod coordinator;
pub mod evidence;
pub mod fleet;
pub mod gatectl;
pub mod gateway;
pub mod inside;
pub mod length;
pub mod programs;
pub mod raw;
pub mod say;
pub mod stall;
pub mod tokens;
pub mod wait;
pub mod wire_cut;
