//! Configuration: one TOML file, `PORTCULLIS__SECTION__KEY` overrides, every error at once with its key path.
//!
//! ```text
//! layer (file, then environment) → read (typed keys, unknown keys) → section (one function a section)
//!       → check (what two sections must agree on) → model
//! ```

/// The configuration as the rest of the code sees it: nothing in it can be illegal.
pub mod model;

/// From file and environment to the model.
pub mod load;

/// Every error, each with the path of its key.
pub mod error;

/// Secret values: never printed, wiped from no log because they never reach one.
pub mod secret;

/// The file and the environment, laid over each other.
mod layer;

/// Reads keys from a layered tree, remembers what was asked for, and refuses what was not.
mod read;

/// One value: strings, numbers, choices.
mod value;

/// Durations, sizes, rates: read and written.
mod unit;

/// Origins, URLs, socket addresses and networks.
mod address;

/// Files that the configuration names.
mod file;

/// One function a section.
mod section;

/// What sections must agree on.
mod check;

/// The `dev` profile.
mod dev;

/// The effective configuration as TOML.
mod print;

pub use error::{ConfigError, ConfigErrors};
pub use load::{environment, known_keys};
pub use unit::parse_rate;

/// Whether a message type is the protocol's own: no configuration declares it, and nobody else says it.
#[must_use]
pub fn is_reserved_type(name: &str) -> bool {
    section::RESERVED.contains(&name)
}

#[cfg(test)]
mod tests;
