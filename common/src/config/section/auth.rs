//! `[auth]` and `[[auth.issuer]]`: whose tokens are believed.

use super::super::address::key_url;
use super::super::file::{Files, public_key};
use super::super::model::{Algorithm, Auth, Issuer, KeySource};
use super::super::read::Section;
use super::super::secret::Secret;
use super::super::unit::duration;
use super::super::value::{choice, line, text, word};
use super::{DAY, millis, once, secs};

/// The algorithms by their JOSE names.
pub(in super::super) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Hmac,
    Rsa,
    Ecdsa,
    Edwards,
}

fn family(algorithm: Algorithm) -> Family {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512};
    match algorithm {
        HS256 | HS384 | HS512 => Family::Hmac,
        ES256 | ES384 => Family::Ecdsa,
        EdDSA => Family::Edwards,
        _ => Family::Rsa,
    }
}

/// The shortest legal secret: as long as the hash (RFC 7518 §3.2).
pub(in super::super) fn shortest_secret(algorithms: &[Algorithm]) -> usize {
    let of = |a: &Algorithm| match a {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    };
    algorithms.iter().map(of).max().unwrap_or(32)
}

pub(super) fn auth(mut s: Section<'_>, files: Files<'_>) -> Auth {
    let mut issuers: Vec<(usize, Issuer)> = Vec::new();
    for (index, section) in s.elements("issuer") {
        if let Some(issuer) = issuer(section, files) {
            distinct(&issuers, &issuer, &format!("auth.issuer[{index}]"), &s);
            issuers.push((index, issuer));
        }
    }
    if issuers.is_empty() {
        let problem = "is missing: without an [[auth.issuer]] nobody could ever connect";
        s.report().refuse_together(&[], "auth.issuer", problem);
    }
    Auth {
        issuer: issuers.into_iter().map(|(_, issuer)| issuer).collect(),
        leeway: s.or("leeway", secs(10), duration(millis(0)..=secs(30))),
        max_token_life: s.or("max_token_life", DAY, duration(secs(1)..=DAY)),
    }
}

/// Two issuers must not be mistaken for each other, nor their users.
fn distinct(earlier: &[(usize, Issuer)], new: &Issuer, path: &str, s: &Section<'_>) {
    for (index, other) in earlier {
        let refuse = |key: &str, problem: String| s.report().refuse(format!("{path}.{key}"), problem);
        if other.name == new.name {
            refuse("name", format!("is also the name of auth.issuer[{index}]"));
        }
        if other.issuer == new.issuer && other.audience == new.audience {
            refuse("issuer", format!("has the same issuer and audience as auth.issuer[{index}]"));
        }
        let (a, b) = (&other.user_prefix, &new.user_prefix);
        if a.starts_with(b.as_str()) || b.starts_with(a.as_str()) {
            refuse(
                "user_prefix",
                format!(
                    "must neither begin nor be the beginning of that of auth.issuer[{index}], or one issuer could \
                     name the other's users; give each its own, as in \"app:\""
                ),
            );
        }
    }
}

fn issuer(mut s: Section<'_>, files: Files<'_>) -> Option<Issuer> {
    let name = s.required("name", "logs and metrics call the issuer by it", word(64));
    let issuer = s.required("issuer", "say what `iss` must be exactly", line(512));
    let audience = s.required("audience", "say what `aud` must be or contain", line(512));
    let what = "name what the issuer signs with, as in [\"ES256\"]";
    if !s.has("algorithms") {
        s.report().refuse(s.key("algorithms"), format!("is missing: {what}"));
    }
    let algorithms = s.list("algorithms", algorithm).unwrap_or_default();
    let path = s.key("algorithms");
    if algorithms.is_empty() {
        s.report().refuse_together(&[], &path, format!("is empty: {what}"));
    }
    once(&algorithms, &path, s.report());
    let keys = keys(&mut s, &algorithms, files);
    families(&s, &algorithms);
    let roles_claim = s.or("roles_claim", "roles".to_owned(), word(128));
    let tenant_claim = s.optional("tenant_claim", word(128));
    let limits_claim = s.optional("limits_claim", word(128));
    let user_prefix = s.or("user_prefix", String::new(), |v| match text(v)? {
        "" => Ok(String::new()),
        _ => word(64)(v),
    });
    let cookie = s.optional("cookie", cookie);
    Some(Issuer {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        algorithms,
        keys: keys?,
        roles_claim,
        tenant_claim,
        limits_claim,
        user_prefix,
        cookie,
    })
}

fn algorithm(value: &config::Value) -> Result<Algorithm, String> {
    if text(value)?.eq_ignore_ascii_case("none") {
        return Err("cannot be said: an unsigned token is anybody's".into());
    }
    choice(ALGORITHMS)(value)
}

/// A cookie name: a token (RFC 6265 §4.1.1).
fn cookie(value: &config::Value) -> Result<String, String> {
    let name = word(128)(value)?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.bytes().all(legal) {
        Ok(name)
    } else {
        Err("must be the name of a cookie, without `=`, `;` or quotes".into())
    }
}

/// One family for an issuer, so that a public key can never be taken for a shared secret.
fn families(s: &Section<'_>, algorithms: &[Algorithm]) {
    let path = s.key("algorithms");
    let Some(first) = algorithms.first().copied() else { return };
    if let Some(n) = algorithms.iter().position(|a| family(*a) != family(first)) {
        let problem = "is of another family than the first: one issuer, one family (HS, RS and PS, ES, or EdDSA)";
        s.report().refuse_together(&[&path], &format!("{path}[{n}]"), problem);
    }
}

/// Exactly one source, and one that fits the algorithms.
fn keys(s: &mut Section<'_>, algorithms: &[Algorithm], files: Files<'_>) -> Option<KeySource> {
    const SOURCES: [&str; 6] = ["secret", "secret_file", "public_key", "public_key_file", "jwks_file", "jwks_url"];
    let given: Vec<&'static str> = SOURCES.into_iter().filter(|key| s.has(key)).collect();
    let parsed = [
        s.optional("secret", |v| Ok(KeySource::Secret(Secret::new(text(v)?)))),
        s.optional("secret_file", |v| files.secret(v).map(KeySource::Secret)),
        s.optional("public_key", |v| public_key(text(v)?).map(KeySource::Pem)),
        s.optional("public_key_file", |v| files.public_key(v).map(KeySource::Pem)),
        s.optional("jwks_file", |v| files.jwks(v).map(KeySource::JwksFile)),
        s.optional("jwks_url", |v| key_url(v).map(KeySource::JwksUrl)),
    ];
    let report = s.report();
    let Some(first) = given.first() else {
        report.refuse(s.path(), format!("has no keys: give one of {}", SOURCES.join(", ")));
        return None;
    };
    for extra in given.iter().skip(1) {
        report.refuse(s.key(extra), format!("is one source of keys too many: `{first}` is given as well"));
    }
    let source = parsed.into_iter().flatten().next()?;
    let shared = matches!(source, KeySource::Secret(_));
    for (n, algorithm) in algorithms.iter().enumerate() {
        let path = format!("{}[{n}]", s.key("algorithms"));
        match (shared, family(*algorithm) == Family::Hmac) {
            (false, true) => report.refuse(path, "is symmetric: it needs `secret` or `secret_file`, not a public key"),
            (true, false) => report.refuse(path, "needs a public key, not a shared secret"),
            _ => {}
        }
    }
    let least = shortest_secret(algorithms);
    match &source {
        KeySource::Secret(secret) if secret.expose().len() < least => {
            report.refuse(s.key(first), format!("must be at least {least} bytes, as long as the hash (RFC 7518 §3.2)"));
        }
        _ => {}
    }
    Some(source)
}
