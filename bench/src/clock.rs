//! Time for a composition root: the generator measures real time, so it asks the machine for it here and only here.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the first call in this process; never goes back.
#[allow(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
#[must_use]
pub fn now_ns() -> u64 {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ZERO.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since a moment that [`now_ns`] told.
#[must_use]
pub fn elapsed_s(began: u64) -> f64 {
    now_ns().saturating_sub(began) as f64 / 1e9
}

/// `d` in whole nanoseconds, saturating.
#[must_use]
pub fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// `seconds` in nanoseconds.
#[must_use]
pub fn seconds(seconds: f64) -> u64 {
    nanos(Duration::from_secs_f64(seconds.max(0.0)))
}

/// Seconds since 1970, for token claims.
#[allow(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
