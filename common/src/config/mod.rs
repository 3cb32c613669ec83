//! Configuration: one TOML file, `PORTCULLIS__SECTION__KEY` overrides, every error at once with its key path.

/// The configuration as the rest of the code sees it: nothing in it can be illegal.
pub mod model;

/// From file and environment to the model.
pub mod load;

/// Secret values: never printed, wiped from no log because they never reach one.
pub mod secret;
