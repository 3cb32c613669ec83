//! Which store a node has: the embedded one, or the fleet's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_common::clock::Clock;
use portcullis_common::config::model::{Config, StoreUrl};
use portcullis_common::config::secret::Secret;
use portcullis_common::ids::NodeEpoch;
use portcullis_common::store::Stores;
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::record::{Issuer, Sealer};
use portcullis_common::store::redis::{RedisBus, RedisControl, RedisOptions, RedisStore, RedisWatch, Trust};
use portcullis_common::store::watch::StoreWatch;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::node::StartError;

/// A session's slot must not be forgotten while it lives: kept so much longer than a session may last.
const SLACK: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// An open store.
pub struct Opened {
    /// The life in whose name this process speaks to it.
    pub epoch: NodeEpoch,
    /// Its roles.
    pub stores: Stores,
    /// How it is doing; `None` where it is always well.
    pub watch: Option<Arc<dyn StoreWatch>>,
}

impl Opened {
    /// The embedded store.
    #[must_use]
    pub fn memory(clock: &Arc<dyn Clock>) -> Self {
        let stores = MemoryStore::new(Arc::clone(clock), rng());
        Self { epoch: NodeEpoch::random(&mut rand::rng()), stores, watch: None }
    }
}

/// Opens the configured store. Its tasks run on the present runtime.
///
/// # Errors
/// Key files that are not what they should be, with their configuration path; a store that cannot be reached.
pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Opened, StartError> {
    match &config.store.url {
        StoreUrl::Memory => Ok(Opened::memory(clock)),
        StoreUrl::Redis(url) => fleet(config, url, clock).await,
    }
}

fn rng() -> Box<StdRng> {
    Box::new(StdRng::from_os_rng())
}

async fn fleet(config: &Config, url: &Secret, clock: &Arc<dyn Clock>) -> Result<Opened, StartError> {
    let epoch = NodeEpoch::random(&mut rand::rng());
    let (naming_key, keyring) = keys(config)?;
    let mut options = RedisOptions::new(naming_key);
    options.prefix.clone_from(&config.store.prefix);
    options.may_evict = config.store.may_evict;
    options.keep = options.keep.max(config.session.absolute_timeout + SLACK);
    let at = |problem: String| StartError::Config(vec![("store.url".to_owned(), problem)]);
    let url = std::str::from_utf8(url.expose()).map_err(|_| at("is not UTF-8".to_owned()))?;
    let store = RedisStore::connect(url, &options).await.map_err(|fault| at(fault.to_string()))?;
    let trust = Trust {
        sealer: Sealer::new(&config.store.prefix, Arc::new(keyring)),
        issuer: Issuer { node: config.node.id.clone(), epoch },
        clock: Arc::clone(clock),
    };
    let bus = store.bus(&trust, rng()).ok_or_else(|| at("was opened twice".to_owned()))?;
    let (bus, control) = (Arc::new(bus), Arc::new(store.control(&trust)));
    let stores = store.stores(Arc::<RedisBus>::clone(&bus), Arc::<RedisControl>::clone(&control));
    let watch = Some(Arc::new(RedisWatch::start(store, bus, control)) as Arc<dyn StoreWatch>);
    Ok(Opened { epoch, stores, watch })
}

/// Reads both key files; also for `check-config`.
///
/// # Errors
/// Every problem, with its configuration path; never what is in a file.
pub fn keys(config: &Config) -> Result<([u8; 32], Keyring), StartError> {
    let store = &config.store;
    let naming = text(store.naming_key_file.as_deref()).and_then(|text| naming_key(&text));
    let cluster =
        text(store.cluster_key_file.as_deref()).and_then(|text| Keyring::parse(&text).map_err(|bad| bad.to_string()));
    match (naming, cluster) {
        (Ok(naming), Ok(cluster)) => Ok((naming, cluster)),
        (naming, cluster) => {
            let problem = |key: &str, problem: Option<String>| problem.map(|p| (format!("store.{key}"), p));
            let both = [problem("naming_key_file", naming.err()), problem("cluster_key_file", cluster.err())];
            Err(StartError::Config(both.into_iter().flatten().collect()))
        }
    }
}

fn text(file: Option<&Path>) -> Result<String, String> {
    let file: PathBuf = file.ok_or("is missing")?.to_owned();
    std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {}", e.kind()))
}

fn naming_key(text: &str) -> Result<[u8; 32], String> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "is not base 64")?;
    bytes.try_into().map_err(|_| "does not hold 32 bytes".to_owned())
}
