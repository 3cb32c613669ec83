//! From configuration to issuers: every key is loaded and fits its algorithms, or the operator is told why not.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_common::clock::{Clock, millis};
use portcullis_common::config::model::{Algorithm, Auth, Issuer, KeySource};

use super::claims::Rules;
use super::fetch::{Fetch, check_url};
use super::jwk::{MAX_SET, read_set};
use super::jwks::Remote;
use super::keys::{Key, KeySet, Kind};
use super::{Believed, Source, Verifier, pem};

/// The configuration checks both too; here they hold whoever builds the model.
const MAX_LEEWAY: Duration = Duration::from_secs(30);
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest shared secret, in bytes.
const MIN_SECRET: usize = 32;

/// A configuration path and what is wrong there.
type Problem = (String, String);
/// Makes the fetcher of one URL.
type MakeFetch<'a> = &'a dyn Fn(&str) -> Result<Arc<dyn Fetch>, &'static str>;

pub(super) fn verifier(
    auth: &Auth,
    clock: Arc<dyn Clock>,
    make_fetch: MakeFetch<'_>,
) -> Result<Verifier, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut issuers = Vec::new();
    let mut by_name = HashMap::new();
    for (index, issuer) in auth.issuer.iter().enumerate() {
        let path = format!("auth.issuer[{index}]");
        if by_name.insert(Box::from(issuer.issuer.as_str()), index).is_some() {
            problems.push((format!("{path}.issuer"), "is the same as that of an issuer above".to_owned()));
        }
        match source(issuer, &clock, make_fetch) {
            Ok(source) => issuers.push(Believed {
                rules: rules(index, issuer, auth),
                algorithms: issuer.algorithms.clone(),
                source,
            }),
            Err((key, sentence)) => problems.push((format!("{path}.{key}"), sentence)),
        }
    }
    if problems.is_empty() { Ok(Verifier { issuers, by_name, clock, tasks: Mutex::default() }) } else { Err(problems) }
}

fn rules(index: usize, issuer: &Issuer, auth: &Auth) -> Rules {
    Rules {
        index,
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        roles_claim: issuer.roles_claim.clone(),
        tenant_claim: issuer.tenant_claim.clone(),
        limits_claim: issuer.limits_claim.clone(),
        user_prefix: issuer.user_prefix.clone(),
        leeway_ms: millis(auth.leeway.min(MAX_LEEWAY)),
        max_life_ms: millis(auth.max_token_life.min(MAX_LIFE)),
    }
}

fn source(
    issuer: &Issuer,
    clock: &Arc<dyn Clock>,
    make_fetch: MakeFetch<'_>,
) -> Result<Source, (&'static str, String)> {
    let algorithms = issuer.algorithms.as_slice();
    let hmac = one_family(algorithms).map_err(|sentence| ("algorithms", sentence.to_owned()))?;
    match &issuer.keys {
        KeySource::Secret(_) if !hmac => {
            Err(("secret_file", "is a shared secret, and the algorithms need a public key".to_owned()))
        }
        KeySource::Secret(secret) if secret.expose().len() < MIN_SECRET => {
            Err(("secret_file", "must have at least 32 bytes".to_owned()))
        }
        KeySource::Secret(secret) => Ok(Source::Fixed(KeySet::single(Key::secret(secret.expose())))),
        _ if hmac => Err(("algorithms", "need a shared secret, and the issuer has public keys".to_owned())),
        KeySource::Pem(text) => {
            let key = pem::public_key(text).map_err(|sentence| ("public_key_file", sentence.to_owned()))?;
            check_kind(&key, algorithms).map_err(|sentence| ("public_key_file", sentence))?;
            Ok(Source::Fixed(KeySet::single(key)))
        }
        KeySource::JwksFile(path) => {
            let text = read_bounded(path).map_err(|sentence| ("jwks_file", sentence))?;
            let keys = read_set(&text, algorithms).map_err(|sentence| ("jwks_file", sentence.to_owned()))?;
            Ok(Source::Fixed(keys))
        }
        KeySource::JwksUrl(url) => {
            let bad = |sentence: &str| ("jwks_url", sentence.to_owned());
            check_url(url).map_err(bad)?;
            let fetch = make_fetch(url).map_err(bad)?;
            let remote = Remote::new(&issuer.name, url, algorithms, fetch, Arc::clone(clock));
            Ok(Source::Remote(Arc::new(remote)))
        }
    }
}

/// Whether the algorithms are HMAC; all of them, or none.
fn one_family(algorithms: &[Algorithm]) -> Result<bool, &'static str> {
    let family = |alg: Algorithm| match Kind::of(alg) {
        Kind::P384 => Kind::P256,
        kind => kind,
    };
    let mut families = algorithms.iter().map(|&alg| family(alg));
    let first = families.next().ok_or("must not be empty")?;
    if families.all(|other| other == first) {
        Ok(first == Kind::Secret)
    } else {
        Err("must be of one family: HMAC, RSA, ECDSA or EdDSA")
    }
}

/// A single key has to serve every algorithm that the issuer may use.
fn check_kind(key: &Key, algorithms: &[Algorithm]) -> Result<(), String> {
    match algorithms.iter().find(|&&alg| Kind::of(alg) != key.kind) {
        None => Ok(()),
        Some(&alg) => Err(format!("is {}, and {alg:?} needs {}", key.kind.name(), Kind::of(alg).name())),
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {}", error.kind()))?;
    // one byte more than a set may have, so that a set that is too large is seen to be
    let limit = MAX_SET as u64 + 1;
    file.take(limit).read_to_end(&mut text).map_err(|error| format!("cannot be read: {}", error.kind()))?;
    Ok(text)
}
