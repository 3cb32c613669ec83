//! The conformance suite on a Redis, wherever it is.

#![allow(clippy::expect_used, dead_code, reason = "test code; no test uses all of it")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_common::clock::SystemClock;
use portcullis_common::ids::{NodeEpoch, NodeId};
use portcullis_common::store::Stores;
use portcullis_common::store::conformance::{Forgetful, Harness, Step, all, run_matching};
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

impl Redis {
    /// A prefix of its own is a store of its own.
    fn own(&self) -> RedisOptions {
        let prefix = format!("{}-{}", self.options.prefix, self.stores.fetch_add(1, Ordering::Relaxed));
        RedisOptions { prefix, ..self.options.clone() }
    }
}

async fn process(url: &str, options: RedisOptions) -> Stores {
    let store = RedisStore::connect(url, &options).await.expect("a server");
    let issuer = Issuer { node: NodeId::parse("gw").expect("a name"), epoch: NodeEpoch(rand::random()) };
    let keys = Keyring::parse("k:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=").expect("a key file");
    let sealer = Sealer::new("blue", Arc::new(keys));
    let trust = Trust { sealer, issuer, clock: Arc::new(SystemClock::default()) };
    let bus = store.bus(&trust, Box::new(StdRng::from_os_rng())).expect("the first bus");
    store.stores(Arc::new(bus), Arc::new(store.control(&trust)), Arc::new(store.reports(&trust)))
}

/// A store whose server can be emptied, or given a copy that another server made: its keys as they were, with the other
/// server's name wherever a server's name is.
struct Forgetter {
    url: String,
    options: RedisOptions,
    copied: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Forgetter {
    async fn connection(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(self.url.as_str()).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("a server")
    }

    async fn ask<T: ::redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let (verb, rest) = words.split_first().expect("a verb");
        let verb = std::str::from_utf8(verb).expect("text");
        ::redis::cmd(verb).arg(rest).query_async(&mut self.connection().await).await.expect("an answer")
    }

    async fn keys(&self) -> Vec<String> {
        self.ask(&[b"KEYS", format!("{}:*", self.options.prefix).as_bytes()]).await
    }

    async fn empty(&self) {
        for key in self.keys().await {
            self.ask::<u64>(&[b"DEL", key.as_bytes()]).await;
        }
    }
}

impl Forgetful for Forgetter {
    fn process(&self) -> Step<'_, Stores> {
        Box::pin(process(&self.url, self.options.clone()))
    }

    fn forget(&self) -> Step<'_, ()> {
        Box::pin(self.empty())
    }

    fn copy(&self) -> Step<'_, ()> {
        Box::pin(async {
            let mut copied = Vec::new();
            for key in self.keys().await {
                let dump = self.ask::<Vec<u8>>(&[b"DUMP", key.as_bytes()]).await;
                copied.push((key, dump));
            }
            *self.copied.lock().expect("no panic") = copied;
        })
    }

    fn fail_over(&self) -> Step<'_, ()> {
        Box::pin(async {
            self.empty().await;
            let copied = self.copied.lock().expect("no panic").clone();
            for (key, dump) in copied {
                self.ask::<()>(&[b"RESTORE", key.as_bytes(), b"0", &dump]).await;
                if key.ends_with("}:era") {
                    let told: String = self.ask(&[b"GET", key.as_bytes()]).await;
                    let (era, _) = told.split_once(' ').expect("an era and a server");
                    self.ask::<()>(&[b"SET", key.as_bytes(), format!("{era} 0123abcd").as_bytes()]).await;
                }
                if key.ends_with("}:fleet-era") || key.contains("}:room:") {
                    self.ask::<u64>(&[b"HSET", key.as_bytes(), b"run", b"0123abcd"]).await;
                }
            }
        })
    }
}

impl Harness for Redis {
    fn fresh(&self) -> Step<'_, Stores> {
        Box::pin(async {
            let stores = process(&self.url, self.own()).await;
            stores.eras.open(Vec::new(), Duration::ZERO).await.expect("an era");
            stores
        })
    }

    /// One server, without TLS: it is emptied by a connection beside the store's.
    fn forgetful(&self) -> Step<'_, Arc<dyn Forgetful>> {
        let forgetter = Forgetter { url: self.url.clone(), options: self.own(), copied: Mutex::default() };
        Box::pin(async { Arc::new(forgetter) as Arc<dyn Forgetful> })
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

/// Every role of the suite, but for those whose checks have to get at the server beside the store.
pub fn roles() -> Vec<&'static str> {
    let mut roles: Vec<&str> = all().map(|(role, _)| role).collect();
    roles.dedup();
    roles.retain(|role| *role != "era");
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
