//! Gateways that are processes of their own, and the Redis between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::SystemClock;
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::control::{ControlEntry, ControlLog, LogId};
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::leader::Fence;
use portcullis_common::store::record::{Issuer, Sealer};
use portcullis_common::store::redis::{RedisControl, RedisOptions, RedisStore, Trust};
use portcullis_common::store::session::Slot;
use portcullis_common::store::{Stores, memory::MemoryStore};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::blocking::{Knock, Raw, Refusal};
use crate::coordinator::Coordinator;
use crate::gateway::{Gateway, Setup};
use crate::tokens;
use crate::wire_cut::Wire;

pub use redis::RedisServer;
pub use redis::cluster::RedisCluster;
pub use redis::sentinel::Watched;

#[path = "../../common/tests/redis/mod.rs"]
#[allow(missing_docs, reason = "shared with the store's own tests")]
mod redis;

/// `store.cluster_key_file` of a [`Fleet`].
pub const CLUSTER_KEY: &str = "k1:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
/// A key that no gateway has, under the id of the one that they have.
pub const FORGED_KEY: &str = "k1:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// What `store.naming_key_file` of a [`Fleet`] says in base 64.
const NAMING_KEY: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31,
];
const NAMING_KEY_FILE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Two gateways over a Redis of their own; all of them end with the test.
pub struct Fleet {
    /// `gw-a`.
    pub a: Gateway,
    /// `gw-b`.
    pub b: Gateway,
    /// Behind both.
    pub redis: RedisServer,
    setup: Setup,
}

impl Fleet {
    /// Two gateways with the configuration that `change` makes of [`Setup::default`].
    ///
    /// # Panics
    /// When one of the three does not start.
    #[must_use]
    pub fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let redis = RedisServer::start();
        let setup = over(&redis.url(), change(Setup::default()));
        open_era(&redis.url());
        let (a, b) = (Gateway::start(&setup.clone().set("node.id", "gw-a")), node(&setup, "gw-b"));
        Self { a, b, redis, setup }
    }

    /// What its gateways were configured with, for [`Gateway::rewrite`].
    #[must_use]
    pub fn setup(&self, id: &str) -> Setup {
        self.setup.clone().set("node.id", id)
    }

    /// A further gateway of this name.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn node(&self, id: &str) -> Gateway {
        node(&self.setup, id)
    }

    /// A further gateway of this name, with another configuration than the fleet's.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn node_with(&self, id: &str, change: impl FnOnce(Setup) -> Setup) -> Gateway {
        node(&change(self.setup.clone()), id)
    }

    /// A further gateway of this name that need not become ready.
    #[must_use]
    pub fn launch(&self, id: &str) -> Gateway {
        Gateway::launch(&self.setup.clone().set("node.id", id))
    }

    /// A further gateway of this name, which reaches the store over `wire`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn node_over(&self, wire: &Wire, id: &str) -> Gateway {
        self.node_as(|setup| setup.set("store.url", &format!("redis://{}", wire.address)), id)
    }

    /// A further gateway of this name, with the configuration that `change` makes of the others'.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn node_as(&self, change: impl FnOnce(Setup) -> Setup, id: &str) -> Gateway {
        node(&change(self.setup.clone()), id)
    }

    /// Where the store listens.
    ///
    /// # Panics
    /// Never: it has a port.
    #[must_use]
    pub fn store_address(&self) -> SocketAddr {
        self.redis.url().trim_start_matches("redis://").parse().expect("an address")
    }

    /// Whether this user of [`open`] is refused for the cap on both nodes.
    #[must_use]
    pub fn is_full(&self, name: &str) -> bool {
        [&self.a, &self.b].iter().all(|node| knock(node, name).is_err_and(|refusal| refused_for_the_cap(&refusal)))
    }

    /// A coordinator of this name.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn coordinator(&self, id: &str) -> Coordinator {
        Coordinator::start(&self.setup, id)
    }

    /// A process that has the fleet's keys and no clients.
    ///
    /// # Panics
    /// When the store is not there.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::with_keys(&self.redis, CLUSTER_KEY)
    }
}

/// The same wherever the store is: `gw-a` and `gw-b`.
///
/// # Panics
/// When one of them does not start.
#[must_use]
pub fn pair(url: &str, change: impl FnOnce(Setup) -> Setup) -> [Gateway; 2] {
    let setup = over(url, change(Setup::default()));
    open_era(url);
    ["gw-a", "gw-b"].map(|id| node(&setup, id))
}

fn open_era(url: &str) {
    // on a thread of its own: a test may be asynchronous
    std::thread::scope(|scope| drop(scope.spawn(|| Operator::at(url, CLUSTER_KEY).open_era()).join()));
}

fn over(url: &str, setup: Setup) -> Setup {
    setup
        .toml(&format!(
            "[store]\nurl = \"{url}\"\ncluster_key_file = \"cluster.key\"\nnaming_key_file = \"naming.key\"\n"
        ))
        .file("cluster.key", CLUSTER_KEY)
        .file("naming.key", NAMING_KEY_FILE)
        .set("node.drain_spread", "1s")
}

fn node(setup: &Setup, id: &str) -> Gateway {
    Gateway::start(&setup.clone().set("node.id", id))
}

/// A session of the user `app:` and this name.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn open(node: &Gateway, name: &str) -> Raw {
    Raw::open(node.public, &tokens::good(name))
}

/// The same, where a refusal is an answer.
///
/// # Errors
/// The refusal.
pub fn knock(node: &Gateway, name: &str) -> Result<Raw, Refusal> {
    Knock::at(node.public, &tokens::good(name), None).answer()
}

/// 429 for the user's cap, with a time after which to try again.
#[must_use]
pub fn refused_for_the_cap(refusal: &Refusal) -> bool {
    refusal.status == 429 && refusal.code() == "session_limit" && says_when(refusal)
}

/// Whether there is a `Retry-After`.
#[must_use]
pub fn says_when(refusal: &Refusal) -> bool {
    refusal.head.to_ascii_lowercase().contains("\r\nretry-after: ")
}

/// Whether a session answers.
///
/// # Panics
/// When its connection is over.
pub fn lives(raw: &mut Raw) -> bool {
    raw.ask(json!({"type": "health-check"}))["type"] == "health-check"
}

/// Whoever writes to the control log and looks at the ledger without being a gateway.
pub struct Operator {
    control: RedisControl,
    stores: Stores,
    runtime: Runtime,
}

impl Operator {
    /// With this cluster key, which may be a wrong one.
    ///
    /// # Panics
    /// When the store is not there.
    #[must_use]
    pub fn with_keys(redis: &RedisServer, cluster_keys: &str) -> Self {
        Self::at(&redis.url(), cluster_keys)
    }

    fn at(url: &str, cluster_keys: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut options = RedisOptions::new(NAMING_KEY);
        // a machine that is busy is not a store that is gone
        options.command_timeout = Duration::from_secs(5);
        let store = runtime.block_on(RedisStore::connect(url, &options)).expect("the store");
        let clock = Arc::new(SystemClock::default());
        let trust = Trust {
            sealer: Sealer::new(&options.prefix, Arc::new(Keyring::parse(cluster_keys).unwrap())),
            issuer: Issuer {
                node: NodeId::parse("operator").unwrap(),
                epoch: NodeEpoch::random(&mut StdRng::from_os_rng()),
            },
            clock: Arc::<SystemClock>::clone(&clock),
        };
        let control = {
            let _inside = runtime.enter();
            store.control(&trust)
        };
        // the ledger is all that is used of these
        let unused = MemoryStore::new(clock, Box::new(StdRng::from_os_rng()));
        let stores = store.stores(unused.bus, unused.control, unused.reports);
        Self { control, stores, runtime }
    }

    /// Opens an era in which nobody is waited for: a fleet that starts on an empty store waits for members that it
    /// does not know, and there are none.
    ///
    /// # Panics
    /// When the store is not there.
    pub fn open_era(&self) {
        self.runtime.block_on(self.stores.eras.open(Vec::new(), Duration::ZERO)).expect("an era");
    }

    /// Appends to the control log.
    ///
    /// # Panics
    /// When the store does not take it.
    pub fn append(&self, entry: ControlEntry) -> LogId {
        self.try_append(entry).expect("appended")
    }

    /// The same where it may fail.
    ///
    /// # Errors
    /// The store's.
    pub fn try_append(&self, entry: ControlEntry) -> Result<LogId, StoreFault> {
        self.runtime.block_on(self.control.append(entry))
    }

    /// The ledger's slots of a user.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// When `user` is no legal name.
    pub fn slots(&self, user: &str) -> Result<Vec<Slot>, StoreFault> {
        self.runtime.block_on(self.stores.ledger.slots(UserId::parse(user).expect("a legal user")))
    }

    /// Frees what a life of a node left behind, as the leader of this term would.
    ///
    /// # Errors
    /// The store's; it refuses a term that has been followed.
    ///
    /// # Panics
    /// When `node` or `epoch` is none.
    pub fn reap_as(&self, term: u64, node: &str, epoch: &str) -> Result<usize, StoreFault> {
        let (node, epoch) = (NodeId::parse(node).expect("a node"), NodeEpoch::parse(epoch).expect("an epoch"));
        self.runtime.block_on(self.stores.remains.reap_slots(Some(Fence(term)), node, epoch, 1_000))
    }
}
