//! Tokens for trying out: only of an issuer that shares its secret with the gateway, and only where the gateway is for
//! trying out itself.

use jsonwebtoken::{Algorithm as Jose, EncodingKey, Header};
use portcullis_common::clock::{Clock as _, SystemClock};
use portcullis_common::config;
use portcullis_common::config::model::{Algorithm, Config, Issuer, KeySource, TlsMode};
use rand::RngCore as _;
use serde_json::{Map, Value, json};

use super::arguments::{Common, Mint};
use super::{End, Trouble, show};

/// `gatectl token mint`.
pub fn mint(common: &Common, what: &Mint) -> Result<End, Trouble> {
    let config = Config::load(common.config.as_deref(), config::environment())
        .map_err(|errors| Trouble::Usage(errors.to_string()))?;
    let (issuer, key) = issuer(&config, what.issuer.as_deref()).map_err(Trouble::Usage)?;
    if what.during > config.auth.max_token_life {
        return Err(Trouble::Usage("--for: is longer than auth.max_token_life".to_owned()));
    }
    let now = SystemClock::default().wall().0 / 1_000;
    let expires = now + what.during.as_secs();
    let claims = claims(issuer, what, now, expires).map_err(Trouble::Usage)?;
    let algorithm = match issuer.algorithms.first() {
        Some(Algorithm::HS384) => Jose::HS384,
        Some(Algorithm::HS512) => Jose::HS512,
        _ => Jose::HS256,
    };
    let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key)
        .map_err(|error| Trouble::Usage(format!("the token could not be signed: {error}")))?;
    if common.json {
        let user = format!("{}{}", issuer.user_prefix, what.user);
        show::json(&[json!({"token": token, "user": user, "expires_at": expires * 1_000})]);
    } else {
        show::line(&token);
    }
    Ok(End::All)
}

/// The issuer and its key, where both are for trying out.
fn issuer<'c>(config: &'c Config, name: Option<&str>) -> Result<(&'c Issuer, EncodingKey), String> {
    if config.tls.mode != TlsMode::Off || !config.listen.public.ip().is_loopback() {
        let problem = "tls.mode: is not \"off\" on loopback: a gateway that is for more than trying out gets its tokens \
                       from its issuer";
        return Err(problem.to_owned());
    }
    let wanted = |issuer: &&Issuer| match name {
        Some(name) => issuer.name == name,
        None => matches!(issuer.keys, KeySource::Secret(_)),
    };
    let issuer =
        config.auth.issuer.iter().find(wanted).ok_or("--issuer: there is none, or none with a shared secret")?;
    match &issuer.keys {
        KeySource::Secret(secret) => Ok((issuer, EncodingKey::from_secret(secret.expose()))),
        _ => Err(format!("{}: has no shared secret: only the issuer itself can make its tokens", issuer.name)),
    }
}

/// Times in seconds.
fn claims(issuer: &Issuer, what: &Mint, now: u64, expires: u64) -> Result<Map<String, Value>, String> {
    let mut claims = Map::new();
    claims.insert(issuer.roles_claim.clone(), json!(what.roles));
    if let Some(tenant) = &what.tenant {
        let claim = issuer.tenant_claim.clone().ok_or("--tenant: the issuer names no tenants")?;
        claims.insert(claim, json!(tenant));
    }
    let mut jti = [0; 16];
    rand::rng().fill_bytes(&mut jti);
    let jti: String = jti.iter().map(|byte| format!("{byte:02x}")).collect();
    for (name, value) in [
        ("iss", json!(issuer.issuer)),
        ("aud", json!(issuer.audience)),
        ("sub", json!(what.user)),
        ("iat", json!(now)),
        ("exp", json!(expires)),
        ("jti", json!(jti)),
    ] {
        claims.insert(name.to_owned(), value);
    }
    Ok(claims)
}
