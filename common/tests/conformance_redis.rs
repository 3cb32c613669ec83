//! The Redis store under the suite that every store has to pass, on a real server.

#![allow(clippy::expect_used, reason = "test code")]

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

mod redis;

struct Redis {
    server: redis::RedisServer,
    stores: AtomicU32,
}

impl Redis {
    fn harness(server: redis::RedisServer) -> Arc<dyn Harness> {
        Arc::new(Self { server, stores: AtomicU32::new(0) })
    }
}

impl Harness for Redis {
    /// A prefix of its own is a store of its own.
    fn fresh(&self) -> Step<'_, Stores> {
        Box::pin(async {
            let prefix = format!("check-{}", self.stores.fetch_add(1, Ordering::Relaxed));
            // a machine that is busy with other tests is no fault of the store
            let patient = Duration::from_secs(20);
            let options = RedisOptions {
                prefix,
                command_timeout: patient,
                connect_timeout: patient,
                ..RedisOptions::new([7; 32])
            };
            let store = RedisStore::connect(&self.server.url(), &options).await.expect("a server");
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

/// Runs the checks of these roles; all must be there and pass.
async fn passes(server: redis::RedisServer, roles: &[&str]) {
    let harness = Redis::harness(server);
    for role in roles {
        let checks = all().filter(|(name, _)| name == role).count();
        let outcome = run_matching(Arc::clone(&harness), &format!("{role}::")).await;
        assert!(outcome.failed.is_empty(), "{}", outcome.failed.join("\n"));
        assert!(checks > 0 && outcome.passed + outcome.skipped == checks, "{role}: {outcome:?} of {checks}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_ledger_keeps_every_promise() {
    passes(redis::RedisServer::start(), &["session", "session_resume"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_ledger_keeps_its_promises_to_many_at_once() {
    passes(redis::RedisServer::start(), &["session_race"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_leases_presence_and_tickets_keep_every_promise() {
    passes(redis::RedisServer::start(), &["lease", "leader", "presence", "ticket"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_bus_keeps_every_promise() {
    passes(redis::RedisServer::start(), &["bus", "bus_history"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_control_log_keeps_every_promise() {
    passes(redis::RedisServer::start(), &["control", "command"]).await;
}

/// What runs here runs on any cluster: every script was given all its keys, and all of one hash slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_script_leaves_its_hash_slot() {
    let roles = [
        "session",
        "session_resume",
        "lease",
        "leader",
        "presence",
        "ticket",
        "bus",
        "bus_history",
        "control",
        "command",
    ];
    passes(redis::RedisServer::start_cluster(), &roles).await;
}
