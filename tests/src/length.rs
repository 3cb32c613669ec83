//! How long a proof goes on: a selection in `make test`, the whole in `make chaos`.

use std::sync::OnceLock;

/// Whether this run is one of `make chaos` (`PORTCULLIS_CHAOS` is set).
#[must_use]
pub fn is_chaos() -> bool {
    static CHAOS: OnceLock<bool> = OnceLock::new();
    *CHAOS.get_or_init(|| std::env::var_os("PORTCULLIS_CHAOS").is_some())
}

/// One of two lengths.
#[must_use]
pub fn length<T>(selection: T, chaos: T) -> T {
    if is_chaos() { chaos } else { selection }
}

/// The seed of this run: `PORTCULLIS_SEED`, or one of the day's. Printed, so that a failure can be told again.
///
/// # Panics
/// When `PORTCULLIS_SEED` is no number.
#[must_use]
pub fn seed(of: &str) -> u64 {
    let given = std::env::var("PORTCULLIS_SEED").ok().map(|text| text.parse().expect("PORTCULLIS_SEED is a number"));
    let seed = given.unwrap_or_else(|| crate::wait::wall().0 / 1_000);
    eprintln!("{of}: PORTCULLIS_SEED={seed}");
    seed
}
