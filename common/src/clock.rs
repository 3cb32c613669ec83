//! Time as a parameter.
//!
//! Wall time ([`UnixMs`]) appears on the wire and in tokens; monotonic time ([`Mono`]) decides deadlines. Logic takes
//! either as an argument and never asks; only composition roots hold a [`Clock`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// Milliseconds on a clock that never goes back and runs through suspend; its zero is the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment plus `d`, saturating.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// How long ago `earlier` was; zero when it is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl UnixMs {
    /// This moment plus `d`, saturating.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Where a composition root gets the time.
pub trait Clock: Send + Sync {
    /// Wall time.
    fn wall(&self) -> UnixMs;
    /// Monotonic time.
    fn mono(&self) -> Mono {
        Mono(self.nanos() / 1_000_000)
    }
    /// Monotonic time in nanoseconds, same zero: for limiters and round trips.
    fn nanos(&self) -> u64;
}

/// The machine's clocks. Monotonic time is `CLOCK_BOOTTIME` (clock_gettime(2)): it counts the time in which the machine
/// was suspended, in which leases of this process and tokens of its clients ran out. Cost: a vDSO call, no system call.
#[derive(Debug)]
pub struct SystemClock {
    /// Since boot, in nanoseconds, when this clock was made.
    zero: u64,
}

/// Nanoseconds since boot, suspended time included.
fn since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { zero: since_boot() }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
impl Clock for SystemClock {
    fn wall(&self) -> UnixMs {
        UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis))
    }

    fn nanos(&self) -> u64 {
        since_boot().saturating_sub(self.zero)
    }
}

/// A clock that moves only when it is told to, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall`; its monotonic time starts there too.
    #[must_use]
    pub fn at(wall: UnixMs) -> Self {
        Self { ms: AtomicU64::new(wall.0) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, d: Duration) {
        self.ms.fetch_add(millis(d), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> UnixMs {
        UnixMs(self.ms.load(Ordering::SeqCst))
    }

    fn nanos(&self) -> u64 {
        self.ms.load(Ordering::SeqCst).saturating_mul(1_000_000)
    }
}
