//! What a reload replaces: every rule of a node that is not tied to its sockets, compiled, as one value with a version.
//!
//! Whoever decides something takes the present rules once and decides by them to the end; a reload puts the next value in
//! their place, so nobody ever sees half of one.

use std::sync::Arc;

use portcullis_common::clock::Clock;
use portcullis_common::config::model::Config;

use crate::admit::auth::Verifier;
use crate::pipeline::Policy;
use crate::pipeline::rate::Allowance;

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
}

impl Rules {
    /// Compiles all of them; reads the files that keys and certificates are in.
    ///
    /// # Errors
    /// Everything that is wrong, at once: key path and sentence.
    pub fn compile(
        config: Arc<Config>,
        clock: &Arc<dyn Clock>,
        allowance: Arc<dyn Allowance>,
        version: u64,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let verifier = Verifier::new(&config.auth, Arc::clone(clock)).map_err(|p| problems.extend(p)).ok();
        let policy = Policy::compile(&config, allowance, version).map_err(|p| problems.extend(p)).ok();
        if let Err(problem) = crate::accept::tls::server_config(&config.tls) {
            problems.push(problem);
        }
        match (verifier, policy) {
            (Some(verifier), Some(policy)) if problems.is_empty() => Ok(Self { version, config, policy, verifier }),
            _ => Err(problems),
        }
    }
}
