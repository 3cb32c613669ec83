//! Who is believed.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::secret::Secret;
use crate::ids::TypeName;

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `[[auth.issuer]]`; at least one.
    pub issuer: Vec<Issuer>,
    /// Tolerated clock difference, at most 30 s (default 10 s).
    pub leeway: Duration,
    /// `exp − iat` at most this, itself at most 24 h (default 24 h).
    pub max_token_life: Duration,
}

/// JWT algorithms that are believed at all; `none` cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// `[[auth.issuer]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// For logs and metrics.
    pub name: String,
    /// The exact `iss`.
    pub issuer: String,
    /// What `aud` must be or contain.
    pub audience: String,
    /// One family: all HMAC, or all RSA, or all ECDSA, or EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// The claim with the roles: an array of strings, or one string with spaces (default `roles`).
    pub roles_claim: String,
    /// The claim with the tenant, if any.
    pub tenant_claim: Option<String>,
    /// The claim with limits of the bearer's own, if the issuer is trusted to say so.
    pub limits_claim: Option<String>,
    /// Put before `sub` to make the user id; two issuers may not share one (default empty).
    pub user_prefix: String,
    /// The cookie that may carry the token; only where `origin.missing = "deny"`.
    pub cookie: Option<String>,
}

/// Where an issuer's keys come from; exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A shared secret of at least 32 bytes.
    Secret(Secret),
    /// A public key in PEM.
    Pem(String),
    /// A JWK set from a file.
    JwksFile(PathBuf),
    /// A JWK set over HTTPS (plain HTTP on loopback only).
    JwksUrl(String),
}

/// One entry of `origin.allow`, parsed: exact scheme, host, port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule {
    /// `https`, or `http` for development.
    pub scheme: String,
    /// Lower-case ASCII host, an IPv6 address in brackets; for a wildcard the part after `*.`.
    pub host: String,
    /// The port, the scheme's default filled in.
    pub port: u16,
    /// `https://*.example.com`: any subdomain, not the domain itself.
    pub subdomains: bool,
}

/// `[origin]`
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who may connect from a browser (default nobody).
    pub allow: Vec<OriginRule>,
    /// Whether a client without an Origin header may connect, `missing = "allow" | "deny"` (default deny).
    pub missing_allowed: bool,
}

/// `[csrf]`
#[derive(Debug, Clone)]
pub struct Csrf {
    /// Message types without a token besides `health-check` and `token_refresh` (default none).
    pub exempt: Vec<TypeName>,
    /// How often a session gets a new token (default 1 h).
    pub rotate: Duration,
    /// How long the token before it stays good (default 1 min).
    pub grace: Duration,
}
