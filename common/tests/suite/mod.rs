//! The conformance suite on a Redis, wherever it is.

#![allow(clippy::expect_used, dead_code, reason = "test code; no test uses all of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portcullis_common::clock::SystemClock;
use portcullis_common::ids::{NodeEpoch, NodeId};
use portcullis_common::store::Stores;
use portcullis_common::store::conformance::{Harness, Step, all, run_matching};
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::record::{Issuer, Sealer};
use portcullis_common::store::redis::{RedisOptions, RedisStore, Trust};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A machine that is busy with other tests is no fault of the store.
pub const PATIENT: Duration = Duration::from_secs(20);

struct Redis {
    url: String,
    options: RedisOptions,
    stores: AtomicU32,
}

impl Harness for Redis {
    /// A prefix of its own is a store of its own.
    fn fresh(&self) -> Step<'_, Stores> {
        Box::pin(async {
            let prefix = format!("{}-{}", self.options.prefix, self.stores.fetch_add(1, Ordering::Relaxed));
            let options = RedisOptions { prefix, ..self.options.clone() };
            let store = RedisStore::connect(&self.url, &options).await.expect("a server");
            let issuer = Issuer { node: NodeId::parse("gw").expect("a name"), epoch: NodeEpoch(rand::random()) };
            let keys = Keyring::parse("k:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=").expect("a key file");
            let sealer = Sealer::new("blue", Arc::new(keys));
            let trust = Trust { sealer, issuer, clock: Arc::new(SystemClock::default()) };
            let bus = store.bus(&trust, Box::new(StdRng::from_os_rng())).expect("the first bus");
            store.stores(Arc::new(bus), Arc::new(store.control(&trust)))
        })
    }

    fn advance(&self, d: Duration) -> Step<'_, ()> {
        Box::pin(tokio::time::sleep(d))
    }

    fn jumps(&self) -> bool {
        false
    }

    fn spawn(&self, work: Step<'static, ()>) -> Step<'static, ()> {
        let task = tokio::spawn(work);
        Box::pin(async move {
            if let Err(error) = task.await {
                std::panic::resume_unwind(error.into_panic());
            }
        })
    }
}

/// Options that wait, with `prefix` before those of the single checks.
pub fn options(prefix: &str) -> RedisOptions {
    RedisOptions {
        prefix: prefix.to_owned(),
        command_timeout: PATIENT,
        connect_timeout: PATIENT,
        ..RedisOptions::new([7; 32])
    }
}

/// Every role of the suite.
pub fn roles() -> Vec<&'static str> {
    let mut roles: Vec<&str> = all().map(|(role, _)| role).collect();
    roles.dedup();
    roles
}

/// Runs the checks of these roles; all must be there and pass.
pub async fn passes(url: &str, options: &RedisOptions, roles: &[&str]) {
    let harness: Arc<dyn Harness> =
        Arc::new(Redis { url: url.to_owned(), options: options.clone(), stores: AtomicU32::new(0) });
    for role in roles {
        let checks = all().filter(|(name, _)| name == role).count();
        let outcome = run_matching(Arc::clone(&harness), &format!("{role}::")).await;
        assert!(outcome.failed.is_empty(), "{}", outcome.failed.join("\n"));
        assert!(checks > 0 && outcome.passed + outcome.skipped == checks, "{role}: {outcome:?} of {checks}");
    }
}
