//! What a reload replaces: every rule of a node that is not tied to its sockets, compiled, as one value with a version.
//!
//! Whoever decides something takes the present rules once and decides by them to the end; a reload puts the next value in
//! their place, so nobody ever sees half of one.

use std::sync::Arc;

use portcullis_common::clock::Clock;
use portcullis_common::config::model::{Bans, Config};
use portcullis_common::store::control::Target;
use rustls::ServerConfig;

use crate::admit::auth::Verifier;
use crate::admit::bans::BanTable;
use crate::admit::reputation::Feeds;
use crate::pipeline::Policy;
use crate::pipeline::rate::Allowance;
use crate::reload::Problem;

/// The rules of one version.
pub struct Rules {
    /// Counts from 1, one more for each reload that changed them.
    pub version: u64,
    /// What they were compiled from.
    pub config: Arc<Config>,
    /// What a message has to pass.
    pub policy: Policy,
    /// Whose tokens are believed.
    pub verifier: Arc<Verifier>,
    /// Who is refused by file.
    pub bans: BanTable,
    /// What others say about addresses.
    pub feeds: Feeds,
    /// How TLS is ended, where this process does.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Rules {
    /// Compiles all of them; reads the files that keys and certificates are in. `feeds` were read before, because that
    /// takes longer than a thread with other work may wait, or else what is wrong with them.
    ///
    /// # Errors
    /// Everything that is wrong, at once: key path and sentence.
    pub fn compile(
        config: Arc<Config>,
        clock: &Arc<dyn Clock>,
        allowance: Arc<dyn Allowance>,
        version: u64,
        feeds: Result<Feeds, Vec<Problem>>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let feeds = feeds.map_err(|p| problems.extend(p)).ok();
        let verifier = Verifier::new(&config.auth, Arc::clone(clock)).map_err(|p| problems.extend(p)).ok();
        let policy = Policy::compile(&config, allowance, version).map_err(|p| problems.extend(p)).ok();
        let tls = crate::accept::tls::server_config(&config.tls).map_err(|problem| problems.push(problem)).ok();
        match (verifier, policy, tls, feeds) {
            (Some(verifier), Some(policy), Some(tls), Some(feeds)) if problems.is_empty() => {
                let bans = bans(&config.bans);
                Ok(Self { version, config, policy, verifier, bans, feeds, tls })
            }
            _ => Err(problems),
        }
    }
}

/// Bans without an end, in a table of their own: nothing in the control log lifts them.
fn bans(file: &Bans) -> BanTable {
    let users = file.users.iter().cloned().map(Target::User);
    BanTable::fixed(users.chain(file.networks.iter().copied().map(Target::Network)))
}
