//! What a fleet promises, proved from records: one order for all and nothing lost in silence; never a session more than
//! the cap. `make test` runs a selection, `make chaos` the whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod cap;
mod churn;
mod order;
