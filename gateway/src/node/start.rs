//! What can keep a node from starting: its configuration, files, the machine, the fleet.

use std::sync::Arc;

use portcullis_common::clock::Clock;
use portcullis_common::config::model::{Config, StoreUrl};

use crate::admit::reputation::Feeds;
use crate::pipeline::buckets::Buckets;
use crate::pipeline::rate::Allowance;
use crate::rules::Rules;
use crate::store;

/// Why a node could not start: configuration problems with their key paths, or a fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Found when rules were compiled: path and sentence.
    #[error("{}", lines(.0))]
    Config(Vec<(String, String)>),
    /// The machine's: ports, descriptors.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// The store's.
    #[error("the store: {0}")]
    Store(#[from] portcullis_common::store::StoreFault),
    /// Another life of this node id is still alive.
    #[error("node.id: another node with this id is alive")]
    NodeIdTaken,
}

fn lines(problems: &[(String, String)]) -> String {
    problems.iter().map(|(path, problem)| format!("{path}: {problem}")).collect::<Vec<_>>().join("\n")
}

/// Compiles every rule as a start would, and reads every file, without starting anything.
///
/// # Errors
/// Every problem, with its key path.
pub fn check(config: &Config) -> Result<(), StartError> {
    let clock: Arc<dyn Clock> = Arc::new(portcullis_common::clock::SystemClock::default());
    compile(&Arc::new(config.clone()), &clock, Arc::new(Buckets::default()))?;
    match config.store.url {
        StoreUrl::Memory => Ok(()),
        StoreUrl::Redis(ref url) => store::check(config, url),
    }
}

/// As many connections as are wanted, or fewer where the descriptor limit asks for it.
pub(super) fn fitting(wanted: usize) -> Result<usize, StartError> {
    let fits = crate::accept::listener::fit_descriptors(wanted)
        .map_err(|e| StartError::Io("the descriptor limit".to_owned(), e))?;
    if fits < wanted {
        tracing::warn!(event = "descriptors", wanted, max_connections = fits);
    }
    Ok(fits)
}

/// The rules of a configuration, and what they refer to.
pub(super) fn compile(
    config: &Arc<Config>,
    clock: &Arc<dyn Clock>,
    shared: Arc<dyn Allowance>,
) -> Result<Rules, StartError> {
    let feeds = Feeds::load(config, None, clock.wall());
    Rules::compile(Arc::clone(config), clock, shared, 1, feeds).map_err(StartError::Config)
}
