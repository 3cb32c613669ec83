//! A coordinator's life: connect, watch, wait for the end, resign.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::{App, HttpServer};
use portcullis_common::clock::Clock;
use portcullis_common::config::model::{CoordinatorConfig, Store, StoreUrl};
use portcullis_common::ids::NodeEpoch;
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::leader::Candidate;
use portcullis_common::store::record::{Issuer, Sealer};
use portcullis_common::store::redis::{ConnectFault, RedisOptions, RedisStore, Trust};

use crate::events::CoordinatorState;
use crate::node::Node;
use crate::{api, campaign, lookout, threat};

/// Why a coordinator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration's, each with its key's path.
    #[error("{}", lines(.0))]
    Config(Vec<(String, String)>),
    /// The store could not be reached, or will not do.
    #[error("the store: {0}")]
    Store(ConnectFault),
    /// The port.
    #[error("coordinator.listen: cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

fn lines(problems: &[(String, String)]) -> String {
    problems.iter().map(|(path, problem)| format!("{path}: {problem}")).collect::<Vec<_>>().join("\n")
}

/// Reads what the loader does not (of the cluster's keys, where refused logins are judged): keys, passwords and certificates for the store, and its URL.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(config: &CoordinatorConfig) -> Result<(RedisOptions, Option<Keyring>), StartError> {
    let options = RedisOptions::configured(&config.store, config.longest_session);
    let file = config.store.cluster_key_file.as_deref();
    let keyring = config.stuffing.enabled.then(|| Keyring::load(file)).transpose();
    let keyring = keyring.map_err(|problem| ("store.cluster_key_file".to_owned(), problem));
    let (options, keyring) = match (options, keyring) {
        (Ok(options), Ok(keyring)) => (options, keyring),
        (options, keyring) => {
            let problems = options.err().into_iter().flatten().chain(keyring.err());
            return Err(StartError::Config(problems.collect()));
        }
    };
    RedisStore::check(url(&config.store)?, &options).map_err(|fault| at_url(&fault.to_string()))?;
    Ok((options, keyring))
}

fn at_url(problem: &str) -> StartError {
    StartError::Config(vec![("store.url".to_owned(), problem.to_owned())])
}

fn url(store: &Store) -> Result<&str, StartError> {
    // the loader refuses a store that no other process can see
    let StoreUrl::Redis(url) = &store.url else { return Err(at_url("is not a shared store")) };
    std::str::from_utf8(url.expose()).map_err(|_| at_url("is not UTF-8"))
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
    let (options, keyring) = check(&config)?;
    let settings = config.coordinator;
    let candidate = Candidate { id: settings.id.clone(), life: NodeEpoch::random(&mut rand::rng()) };
    let trust = keyring.map(|keyring| Trust {
        sealer: Sealer::new(&config.store.prefix, Arc::new(keyring)),
        issuer: Issuer { node: candidate.id.clone(), epoch: candidate.life },
        clock: Arc::clone(&clock),
    });
    let store = RedisStore::connect(url(&config.store)?, &options).await.map_err(StartError::Store)?;
    let stores = (store.custody(), trust.map(|trust| store.judging(&trust)));
    let node = Arc::new(Node::new(settings, config.stuffing, candidate, clock, stores));
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
    let mut work =
        vec![actix_rt::spawn(campaign::run(Arc::clone(&node))), actix_rt::spawn(lookout::run(Arc::clone(&node)))];
    if let Some(judging) = node.judging.clone() {
        work.push(actix_rt::spawn(threat::run(Arc::clone(&node), judging)));
    }
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
