//! The one credential of a request. A client authenticates by exactly one of `Authorization: Bearer`, a `bearer.`
//! subprotocol entry, a ticket; two of them are refused, because which one counts would be a matter of taste.
//!
//! A cookie comes by itself and not because a page meant it: it counts only where an issuer names it, only beside an
//! `Origin` that the allow-list holds, and only when nothing else was sent (then it is not even looked at).

use std::fmt;

use portcullis_common::config::model::Issuer;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::facts::{Head, malformed, trim};

/// A bearer token as sent. No `Display`, and a `Debug` that shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The token, for the one place that verifies it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token]")
    }
}

/// Where a bearer token came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `Authorization: Bearer`
    Header,
    /// `bearer.<jwt>`
    Subprotocol,
    /// The cookie of this configured name; good only for issuers that name it.
    Cookie(String),
}

/// What there is to authenticate with; at most one of `bearer` and `ticket`.
#[derive(Clone)]
pub struct Credential {
    /// The token.
    pub bearer: Option<Token>,
    /// Where the token came from.
    pub source: Option<Source>,
    /// The ticket. A secret.
    pub ticket: Option<String>,
}

/// Finds the one credential; none at all is for `auth` to refuse.
///
/// # Errors
/// `malformed` when there are two; `unauthenticated` when `Authorization` is not a bearer token.
pub fn choose(
    head: &Head<'_>,
    subprotocol: Option<Token>,
    ticket: Option<String>,
    origin_allowed: bool,
    issuers: &[Issuer],
) -> Result<Credential, Reject> {
    let header = authorization(head)?;
    match (header, subprotocol, ticket) {
        (Some(token), None, None) => Ok(bearer(token, Source::Header)),
        (None, Some(token), None) => Ok(bearer(token, Source::Subprotocol)),
        (None, None, Some(ticket)) => Ok(Credential { bearer: None, source: None, ticket: Some(ticket) }),
        (None, None, None) if origin_allowed => cookie(head, issuers),
        (None, None, None) => Ok(Credential { bearer: None, source: None, ticket: None }),
        _ => Err(malformed("more than one credential")),
    }
}

fn bearer(token: Token, source: Source) -> Credential {
    Credential { bearer: Some(token), source: Some(source), ticket: None }
}

/// `Authorization: Bearer b64token` (RFC 6750 §2.1); the scheme in any case (RFC 9110 §11.1).
///
/// # Errors
/// `malformed` when the field is there twice, `unauthenticated` when it holds anything else.
pub fn authorization(head: &Head<'_>) -> Result<Option<Token>, Reject> {
    let Some(value) = head.single("authorization")? else { return Ok(None) };
    let bad = || Reject::new(Code::Unauthenticated, "Authorization is not a bearer token");
    let (scheme, token) = value.split_at_checked(b"Bearer".len()).ok_or_else(bad)?;
    let token = token.strip_prefix(b" ").map(trim).ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(bad());
    }
    token68(token).map(Some).ok_or_else(bad)
}

fn token68(value: &[u8]) -> Option<Token> {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    if value.is_empty() || !value.iter().all(legal) {
        return None;
    }
    Some(Token(value.iter().copied().map(char::from).collect()))
}

/// The token in the cookie that an issuer names (RFC 6265 §4.2.1). Several `Cookie` lines count as one.
fn cookie(head: &Head<'_>, issuers: &[Issuer]) -> Result<Credential, Reject> {
    let mut found: Option<Credential> = None;
    for pair in head.all("cookie").flat_map(|line| line.split(|b| *b == b';')).map(trim) {
        let Some(at) = pair.iter().position(|b| *b == b'=') else { continue };
        let (name, value) = pair.split_at_checked(at).unwrap_or_default();
        let Some(issuer) = issuers.iter().filter_map(|i| i.cookie.as_deref()).find(|c| c.as_bytes() == trim(name))
        else {
            continue;
        };
        let token = value.strip_prefix(b"=").map(trim).and_then(token68);
        let token = token.ok_or_else(|| Reject::new(Code::Unauthenticated, "the cookie does not hold a token"))?;
        if found.replace(bearer(token, Source::Cookie(issuer.to_owned()))).is_some() {
            return Err(malformed("the token cookie is there twice"));
        }
    }
    Ok(found.unwrap_or(Credential { bearer: None, source: None, ticket: None }))
}
