//! Which store a node has: the embedded one, or the fleet's.

use std::sync::Arc;

use portcullis_common::clock::Clock;
use portcullis_common::config::model::{Config, StoreUrl};
use portcullis_common::config::secret::Secret;
use portcullis_common::ids::NodeEpoch;
use portcullis_common::store::Stores;
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::memory::{Bounds, MemoryStore};
use portcullis_common::store::record::{Issuer, Sealer};
use portcullis_common::store::redis::{
    ConnectFault, ControlCopy, RedisBus, RedisControl, RedisOptions, RedisStore, RedisWatch, Trust,
};
use portcullis_common::store::watch::StoreWatch;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::admit::bans::BanTable;
use crate::api::waiting::Waiting;
use crate::events::{CopyRefused, StoreAwaited};
use crate::node::StartError;

/// Between two tries to reach a store that did not answer at the start.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

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
    /// The embedded store of a node with at most so many connections: each may be missed once, and have been replaced.
    #[must_use]
    pub fn memory(clock: &Arc<dyn Clock>, connections: usize) -> Self {
        let bounds = Bounds { detached: connections.saturating_mul(2), ..Bounds::default() };
        let stores = MemoryStore::bounded(Arc::clone(clock), rng(), bounds);
        // nobody outside this process reads what it seals
        let sealer = Sealer::new("memory", Arc::new(Keyring::random(&mut rand::rng())));
        Self { epoch: NodeEpoch::random(&mut rand::rng()), stores, watch: None, sealer }
    }
}

fn rng() -> Box<StdRng> {
    Box::new(StdRng::from_os_rng())
}

/// A fleet's store before it is opened: what is known without asking it.
struct Closed {
    url: String,
    options: RedisOptions,
    trust: Trust,
    copy: Option<ControlCopy>,
}

impl Closed {
    fn of(config: &Config, url: &Secret, clock: &Arc<dyn Clock>) -> Result<Self, StartError> {
        let (options, keyring) = keys(config)?;
        let url = text_of(url)?.to_owned();
        let trust = Trust {
            sealer: Sealer::new(&config.store.prefix, Arc::new(keyring)),
            issuer: Issuer { node: config.node.id.clone(), epoch: NodeEpoch::random(&mut rand::rng()) },
            clock: Arc::clone(clock),
        };
        let copy = copy_of(config, &options, &trust)?;
        Ok(Self { url, options, trust, copy })
    }

    /// The bans that were in force when this node last knew.
    fn last_good(&self, config: &Config) -> BanTable {
        let bans = BanTable::new(config.auth.max_token_life + config.auth.leeway);
        if let Some(copy) = &self.copy {
            copy.tell(&self.trust, &bans);
        }
        bans
    }

    /// The store, when it answers; an error, when it will not do.
    async fn answered(&self) -> Result<RedisStore, StartError> {
        loop {
            actix_rt::time::sleep(AGAIN).await;
            match RedisStore::connect(&self.url, &self.options).await {
                Err(ConnectFault::Unreachable(_)) => {}
                done => return done.map_err(|fault| at_url(fault.to_string())),
            }
        }
    }

    fn open(self, store: RedisStore) -> Result<Opened, StartError> {
        let bus = store.bus(&self.trust, rng()).ok_or_else(|| at_url("was opened twice".to_owned()))?;
        let control = match self.copy {
            Some(copy) => store.control_with_copy(&self.trust, copy),
            None => store.control(&self.trust),
        };
        let (bus, control) = (Arc::new(bus), Arc::new(control));
        let stores = store.stores(
            Arc::<RedisBus>::clone(&bus),
            Arc::<RedisControl>::clone(&control),
            Arc::new(store.reports(&self.trust)),
        );
        let watch = Some(Arc::new(RedisWatch::start(store, bus, control)) as Arc<dyn StoreWatch>);
        Ok(Opened { epoch: self.trust.issuer.epoch, stores, watch, sealer: self.trust.sealer })
    }
}

/// The copy of the control log on this node's disk, where one is kept.
fn copy_of(config: &Config, options: &RedisOptions, trust: &Trust) -> Result<Option<ControlCopy>, StartError> {
    let Some(dir) = &config.store.state_dir else { return Ok(None) };
    if !dir.is_dir() {
        return Err(StartError::Config(vec![("store.state_dir".to_owned(), "is not a directory".to_owned())]));
    }
    let file = dir.join(format!("{}.{}.control", config.store.prefix, config.node.id.as_str()));
    let (copy, bad) = ControlCopy::open(file, options, trust);
    if let Some(bad) = bad {
        CopyRefused { bad: &bad }.emit();
    }
    Ok(Some(copy))
}

/// Opens the configured store, however long it takes to answer: meanwhile the private port says that this node lives and
/// is not ready. `None`: `end` came first. Its tasks run on the present runtime.
///
/// # Errors
/// Key files that are not what they should be, with their configuration path; a store that will not do.
pub async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    end: impl Future<Output = ()>,
) -> Result<Option<Opened>, StartError> {
    let url = match &config.store.url {
        StoreUrl::Memory => return Ok(Some(Opened::memory(clock, config.listen.max_connections))),
        StoreUrl::Redis(url) => url,
    };
    let closed = Closed::of(config, url, clock)?;
    let why = match RedisStore::connect(&closed.url, &closed.options).await {
        Ok(store) => return closed.open(store).map(Some),
        Err(ConnectFault::Unreachable(why)) => why,
        Err(fault) => return Err(at_url(fault.to_string())),
    };
    StoreAwaited { why: &why }.emit();
    let waiting = Waiting::listen(config, closed.last_good(config))?;
    let store = {
        let answered = closed.answered();
        futures_util::pin_mut!(answered, end);
        match futures_util::future::select(answered, end).await {
            futures_util::future::Either::Left((store, _)) => Some(store),
            futures_util::future::Either::Right(_) => None,
        }
    };
    waiting.stop().await;
    store.map(|store| closed.open(store?)).transpose()
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
    let keyring = Keyring::load(config.store.cluster_key_file.as_deref())
        .map_err(|problem| ("store.cluster_key_file".to_owned(), problem));
    match (options, keyring) {
        (Ok(options), Ok(keyring)) => Ok((options, keyring)),
        (options, keyring) => {
            Err(StartError::Config(options.err().into_iter().flatten().chain(keyring.err()).collect()))
        }
    }
}
