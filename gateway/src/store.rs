//! Which store a node has: the embedded one, or the fleet's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// An open store.
pub struct Opened {
    /// The life in whose name this process speaks to it.
    pub epoch: NodeEpoch,
    /// Its roles.
    pub stores: Stores,
    /// How it is doing; `None` where it is always well.
    pub watch: Option<Arc<dyn StoreWatch>>,
    /// Seals what this process answers to operators.
    pub sealer: Sealer,
}

impl Opened {
    /// The embedded store.
    #[must_use]
    pub fn memory(clock: &Arc<dyn Clock>) -> Self {
        let stores = MemoryStore::new(Arc::clone(clock), rng());
        // nobody outside this process reads what it seals
        let sealer = Sealer::new("memory", Arc::new(Keyring::random(&mut rand::rng())));
        Self { epoch: NodeEpoch::random(&mut rand::rng()), stores, watch: None, sealer }
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
    let (options, keyring) = keys(config)?;
    let url = text_of(url)?;
    let store = RedisStore::connect(url, &options).await.map_err(|fault| at_url(fault.to_string()))?;
    let trust = Trust {
        sealer: Sealer::new(&config.store.prefix, Arc::new(keyring)),
        issuer: Issuer { node: config.node.id.clone(), epoch },
        clock: Arc::clone(clock),
    };
    let bus = store.bus(&trust, rng()).ok_or_else(|| at_url("was opened twice".to_owned()))?;
    let (bus, control) = (Arc::new(bus), Arc::new(store.control(&trust)));
    let stores = store.stores(Arc::<RedisBus>::clone(&bus), Arc::<RedisControl>::clone(&control));
    let watch = Some(Arc::new(RedisWatch::start(store, bus, control)) as Arc<dyn StoreWatch>);
    Ok(Opened { epoch, stores, watch, sealer: trust.sealer })
}

/// Reads all that the section `[store]` names and connects to nothing, for `check-config`.
///
/// # Errors
/// Every problem, with its configuration path; never what is in a file or in the URL.
pub fn check(config: &Config, url: &Secret) -> Result<(), StartError> {
    let (options, _) = keys(config)?;
    RedisStore::check(text_of(url)?, &options).map_err(|fault| at_url(fault.to_string()))
}

fn text_of(url: &Secret) -> Result<&str, StartError> {
    std::str::from_utf8(url.expose()).map_err(|_| at_url("is not UTF-8".to_owned()))
}

fn at_url(problem: String) -> StartError {
    StartError::Config(vec![("store.url".to_owned(), problem)])
}

/// Reads both key files.
///
/// # Errors
/// Every problem, with its configuration path; never what is in a file.
pub fn keys(config: &Config) -> Result<(RedisOptions, Keyring), StartError> {
    let options = RedisOptions::configured(&config.store, config.session.absolute_timeout);
    let keyring = text(config.store.cluster_key_file.as_deref())
        .and_then(|text| Keyring::parse(&text).map_err(|bad| bad.to_string()))
        .map_err(|problem| ("store.cluster_key_file".to_owned(), problem));
    match (options, keyring) {
        (Ok(options), Ok(keyring)) => Ok((options, keyring)),
        (options, keyring) => {
            Err(StartError::Config(options.err().into_iter().flatten().chain(keyring.err()).collect()))
        }
    }
}

fn text(file: Option<&Path>) -> Result<String, String> {
    let file: PathBuf = file.ok_or("is missing")?.to_owned();
    std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {}", e.kind()))
}
