//! Waiting for something to become true, with a deadline: tests never sleep and hope.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use portcullis_common::clock::{Clock, Mono, SystemClock, UnixMs};

/// After this long a wait is a failure; generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

fn clock() -> &'static SystemClock {
    static CLOCK: OnceLock<SystemClock> = OnceLock::new();
    CLOCK.get_or_init(SystemClock::default)
}

/// Time since this process asked first; steady.
#[must_use]
pub fn mono() -> Mono {
    clock().mono()
}

/// Wall time.
#[must_use]
pub fn wall() -> UnixMs {
    clock().wall()
}

/// Polls `probe` until it yields something. Blocks the thread.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, probe)
}

/// The same with a patience of its own.
///
/// # Panics
/// After `patience`, naming `what`.
pub fn until_within<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = mono().after(patience);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(mono() < deadline, "waited {patience:?} for {what}");
        std::thread::sleep(POLL);
    }
}

/// The same for a future, which is asked anew each time.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub async fn until_async<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = mono().after(PATIENCE);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(mono() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A future that has to be ready within [`PATIENCE`].
///
/// # Panics
/// When it is not, naming `what`.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
