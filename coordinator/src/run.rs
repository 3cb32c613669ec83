//! A coordinator's life: connect, watch, wait for the end, resign.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::{App, HttpServer};
use portcullis_common::clock::Clock;
use portcullis_common::config::model::{CoordinatorConfig, Store, StoreUrl};
use portcullis_common::ids::NodeEpoch;
use portcullis_common::store::Custody;
use portcullis_common::store::leader::Candidate;
use portcullis_common::store::redis::{ConnectFault, RedisOptions, RedisStore};

use crate::events::CoordinatorState;
use crate::node::Node;
use crate::{api, campaign, lookout};

/// Why a coordinator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration's, with the key's path.
    #[error("{0}: {1}")]
    Config(String, String),
    /// The store could not be reached, or will not do.
    #[error("the store: {0}")]
    Store(ConnectFault),
    /// The port.
    #[error("coordinator.listen: cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// Reads what the loader does not: the naming key.
///
/// # Errors
/// What is wrong with it.
pub fn check(config: &CoordinatorConfig) -> Result<RedisOptions, StartError> {
    RedisOptions::configured(&config.store, config.longest_session)
        .map_err(|(path, problem)| StartError::Config(path, problem))
}

/// Runs a coordinator inside the current actix system until `end` is ready; `started` is told once it listens.
///
/// # Errors
/// What keeps it from starting; nothing listens then.
pub async fn run(
    config: CoordinatorConfig,
    clock: Arc<dyn Clock>,
    started: impl FnOnce(SocketAddr),
    end: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let custody = open(&config.store, &check(&config)?).await?;
    let settings = config.coordinator;
    let candidate = Candidate { id: settings.id.clone(), life: NodeEpoch::random(&mut rand::rng()) };
    let node = Arc::new(Node::new(settings, candidate, clock, custody));
    let address = node.settings.listen;
    let app = Arc::clone(&node);
    let server = HttpServer::new(move || App::new().configure(api::routes(Arc::clone(&app))))
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .bind(address)
        .map_err(|error| StartError::Listen(address, error))?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    let work = [actix_rt::spawn(campaign::run(Arc::clone(&node))), actix_rt::spawn(lookout::run(Arc::clone(&node)))];
    CoordinatorState { id: &node.candidate.id, state: "started" }.emit();
    started(bound);
    end.await;
    CoordinatorState { id: &node.candidate.id, state: "stopping" }.emit();
    node.set_stopping();
    // whatever call is under way carries a term that nobody has followed yet, so it may still be carried out
    work.iter().for_each(actix_rt::task::JoinHandle::abort);
    for task in work {
        let _ = task.await;
    }
    campaign::resign(&node).await;
    handle.stop(true).await;
    CoordinatorState { id: &node.candidate.id, state: "stopped" }.emit();
    Ok(())
}

async fn open(store: &Store, options: &RedisOptions) -> Result<Custody, StartError> {
    let at = |problem: &str| StartError::Config("store.url".to_owned(), problem.to_owned());
    // the loader refuses a store that no other process can see
    let StoreUrl::Redis(url) = &store.url else { return Err(at("is not a shared store")) };
    let url = std::str::from_utf8(url.expose()).map_err(|_| at("is not UTF-8"))?;
    match RedisStore::connect(url, options).await {
        Ok(store) => Ok(store.custody()),
        Err(fault @ (ConnectFault::Url | ConnectFault::Prefix(_))) => Err(at(&fault.to_string())),
        Err(fault) => Err(StartError::Store(fault)),
    }
}
