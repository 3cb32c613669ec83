//! Tokens: who vouches for a client, and what he says about it. The same for the handshake and for `token_refresh`.
//!
//! ```text
//! token ─ split, header ─ whose (`iss`, not yet believed) ─ algorithm allowed ─ one key of that issuer ─ signature ─ claims
//! ```
//! Everything before the signature is cheap and believes nothing; everything after it is signed.

/// Why nobody was recognised.
mod failures;

/// The segments and the header.
mod header;

/// Strict JSON.
mod json;

/// What the claims have to say.
mod claims;

/// What a refused token claims.
pub mod claimed;

/// Limits that a token carries.
pub mod carried;

/// Keys in memory.
mod keys;

/// One public key from PEM.
mod pem;

/// JWK sets.
mod jwk;

/// When keys are fetched.
mod plan;

/// How keys are fetched.
mod fetch;

/// Keys that are fetched.
mod jwks;

/// From configuration to issuers.
mod build;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_common::clock::{Clock, UnixMs};
use portcullis_common::config::model::{Algorithm, Auth};
use portcullis_common::ids::{TenantId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::AbortHandle;

use crate::route::rooms::Subject;

pub use self::claims::{MAX_ROLE, MAX_ROLES, MAX_TOKEN_ID};
pub use self::failures::{AuthError, BadToken};
pub use self::fetch::{Fetch, FetchFailed, Fetched, HttpFetch, NETWORK_TIMEOUT, check_url};
pub use self::header::MAX_TOKEN;
pub use self::jwks::HARD_LIMIT;

use self::carried::CarriedLimits;
use self::claims::Rules;
use self::header::Token;
use self::jwks::Remote;
use self::keys::{KeySet, Verdict};

/// Who a token's bearer is. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    /// The issuer's `user_prefix` and `sub`.
    pub user: UserId,
    /// What the issuer's `tenant_claim` says, if it is configured and there.
    pub tenant: Option<TenantId>,
    /// At most [`MAX_ROLES`], each once, in the token's order.
    pub roles: Arc<[Arc<str>]>,
    /// The verified claims: one JSON object without spare whitespace, at most [`MAX_TOKEN`] bytes, 16 levels deep.
    pub claims: Arc<RawValue>,
    /// `exp`, without leeway.
    pub expires: UnixMs,
    /// `iat`.
    pub issued: UnixMs,
    /// `jti`: 1 to [`MAX_TOKEN_ID`] bytes without control characters.
    pub token_id: Option<Arc<str>>,
    /// The issuer's place in `auth.issuer`.
    pub issuer: usize,
    /// What the issuer's `limits_claim` says, if it is configured and there.
    pub limits: Option<Arc<CarriedLimits>>,
}

impl Identity {
    /// What rules are asked about it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject { user: &self.user, tenant: self.tenant.as_ref(), roles: &self.roles, claims: self.claims.get() }
    }
}

/// Shows which issuer vouched, and nothing that was in the token.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Where an issuer's keys are.
#[derive(Debug)]
enum Source {
    Fixed(KeySet),
    Remote(Arc<Remote>),
}

/// One configured issuer.
struct Believed {
    rules: Rules,
    algorithms: Vec<Algorithm>,
    source: Source,
}

/// Verifies tokens of all configured issuers. Shared by all workers; holds no lock while it checks.
pub struct Verifier {
    issuers: Vec<Believed>,
    /// Places in `issuers` by the exact `iss`.
    by_name: HashMap<Box<str>, usize>,
    clock: Arc<dyn Clock>,
    /// The fetching tasks; they end with this.
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("issuers", &self.issuers.len()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Loads every key that the configuration has or names in a file. Reads files and the system's trusted roots;
    /// talks to nobody.
    ///
    /// # Errors
    /// All that is wrong, as pairs of configuration path (`auth.issuer[0].jwks_file`) and sentence.
    pub fn new(auth: &Auth, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Vec<(String, String)>> {
        build::verifier(auth, clock, &|url| {
            let fetch = HttpFetch::for_url(url, NETWORK_TIMEOUT)?;
            Ok(Arc::new(fetch))
        })
        .map(Arc::new)
    }

    /// As [`Verifier::new`], with another way to fetch key sets.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn with_fetch(
        auth: &Auth,
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Arc<Self>, Vec<(String, String)>> {
        build::verifier(auth, clock, &|_| Ok(Arc::clone(&fetch))).map(Arc::new)
    }

    /// Who bears `token`: the compact form, without `Bearer `.
    ///
    /// Checks one signature at most (HMAC 2 µs, RSA 21, Ed25519 39, P-256 54, as measured for ADR 1); a token of an
    /// issuer that is not configured, or that is malformed, costs far less. Does not await where the key is known.
    ///
    /// # Errors
    /// [`AuthError::Bad`] when it is not good. [`AuthError::Unavailable`] when its issuer's keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let token = Token::parse(token)?;
        let payload = header::decode(token.payload)?;
        let issuer = self.issuer_of(&payload)?;
        if !issuer.algorithms.contains(&token.header.alg) {
            return Err(BadToken("the algorithm is not the issuer's").into());
        }
        let verdict = match &issuer.source {
            Source::Fixed(keys) => keys.judge(&token),
            Source::Remote(remote) => remote.judge(&token).await?,
        };
        match verdict {
            Verdict::Good => Ok(claims::read(&payload, &issuer.rules, self.clock.wall())?),
            Verdict::Forged => Err(BadToken::FORGED.into()),
            Verdict::UnknownKey => Err(BadToken("the key is not one of the issuer's").into()),
            Verdict::Ambiguous => Err(BadToken("the token does not say which key it means").into()),
        }
    }

    /// Starts fetching key sets on the current tokio runtime, at once and from then on, until `self` is dropped. A
    /// second call does nothing. One task for each issuer with a `jwks_url`.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and network.
    pub fn start(self: &Arc<Self>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !tasks.is_empty() {
            return;
        }
        for issuer in &self.issuers {
            if let Source::Remote(remote) = &issuer.source {
                let remote = Arc::clone(remote);
                tasks.push(tokio::spawn(async move { remote.run().await }).abort_handle());
            }
        }
    }

    /// Whether every issuer has keys that may be used: for readiness.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.issuers.iter().all(|issuer| match &issuer.source {
            Source::Fixed(_) => true,
            Source::Remote(remote) => remote.ready(),
        })
    }

    /// The issuer that the token claims to be from. Reads one member and builds nothing.
    fn issuer_of(&self, payload: &[u8]) -> Result<&Believed, BadToken> {
        #[derive(Deserialize)]
        struct Claimed<'a> {
            #[serde(borrow)]
            iss: Cow<'a, str>,
        }
        let claimed: Claimed<'_> =
            serde_json::from_slice(payload).map_err(|_| BadToken("the claims name no issuer"))?;
        let place = self.by_name.get(&*claimed.iss);
        place.and_then(|&place| self.issuers.get(place)).ok_or(BadToken("the issuer is not configured"))
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}
