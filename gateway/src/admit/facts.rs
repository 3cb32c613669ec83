//! What a request says, gathered once.
//!
//! [`Head`] is the neutral view of a request head that every check reads, so that a test needs no socket. [`Facts`]
//! exist only for a request that passed the handshake rules and the origin list: whoever holds them need not ask again.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use actix_http::RequestHead;
use actix_http::header::HeaderMap;
use portcullis_common::config::model::Config;
use portcullis_common::ids::RequestId;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::credential::{self, Credential};
use super::{handshake, origin, subprotocol};

pub use super::credential::{Source, Token};
pub use super::network::Client;
pub use super::origin::WebOrigin;
pub use super::subprotocol::Protocol;

/// Bytes of `User-Agent` that are kept.
const USER_AGENT_MAX: usize = 150;

/// A request head, as the HTTP/1 parser left it: nothing in it has been judged yet.
#[derive(Clone)]
pub struct Head<'a> {
    /// As sent: methods are case-sensitive.
    pub method: &'a str,
    /// The request target; a form other than origin-form is kept whole, so that it can be refused.
    pub target: Cow<'a, str>,
    /// Major and minor.
    pub version: (u8, u8),
    /// Fields; several of one name stand in the order in which they were sent.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Head<'a> {
    /// The view of an actix request head; borrows everything but an unusual target. One pass, one allocation.
    #[must_use]
    pub fn of(head: &'a RequestHead) -> Self {
        let uri = &head.uri;
        let target = match (uri.scheme(), uri.authority(), uri.path_and_query()) {
            (None, None, Some(path)) => Cow::Borrowed(path.as_str()),
            _ => Cow::Owned(uri.to_string()),
        };
        let version = match head.version {
            v if v == actix_http::Version::HTTP_11 => (1, 1),
            v if v == actix_http::Version::HTTP_10 => (1, 0),
            v if v == actix_http::Version::HTTP_2 => (2, 0),
            _ => (0, 0),
        };
        Self { method: head.method.as_str(), target, version, headers: fields(&head.headers) }
    }

    /// Every value of a field, in order. `name` is lower case or not; linear in the number of fields.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n, '_> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| trim(value))
    }

    /// The value of a field that may be there once.
    ///
    /// # Errors
    /// `malformed` when the field is there more than once.
    pub fn single(&self, name: &str) -> Result<Option<&'a [u8]>, Reject> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(malformed("a field that may be sent once was sent more often")),
        }
    }

    /// Whether the field is there at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

fn fields(map: &HeaderMap) -> Vec<(&str, &[u8])> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

/// Optional white space (RFC 9110 §5.6.3) off both ends: spaces and tabs, nothing else.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A `token` character (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// `malformed`, 400.
pub(super) fn malformed(detail: &'static str) -> Reject {
    Reject::new(Code::Malformed, detail)
}

/// A request that passed the handshake rules and the origin list.
#[derive(Clone)]
pub struct Facts {
    /// Ties what the client is told to what the log says.
    pub request_id: RequestId,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The client's address: the peer's, or what trusted proxies say. Canonical: never IPv4-mapped.
    pub client: IpAddr,
    /// The client's bytes travelled under TLS, here or at a trusted proxy.
    pub secure: bool,
    /// Without the query.
    pub path: String,
    /// The `Origin` that the allow-list holds; `None`: not sent, and that is allowed.
    pub origin: Option<WebOrigin>,
    /// The bearer token, wherever it came from; not looked at yet.
    pub bearer: Option<Token>,
    /// Where [`Facts::bearer`] came from: a cookie's token is good only for the issuer that names the cookie.
    pub source: Option<Source>,
    /// What is spoken.
    pub protocol: Protocol,
    /// The client offered subprotocols: the answer has to name [`Facts::protocol`], or browsers fail the connection.
    pub protocol_offered: bool,
    /// `resume.<token>`. A secret.
    pub resume: Option<String>,
    /// `?ticket=`. A secret.
    pub ticket: Option<String>,
    /// At most 150 bytes of printable ASCII, for the session list.
    pub user_agent: Option<Box<str>>,
    /// `Sec-WebSocket-Accept`.
    pub key_accept: String,
}

impl fmt::Debug for Facts {
    /// Shows which secrets there are, never what they are, and no text that the client wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("request_id", &self.request_id)
            .field("peer", &self.peer)
            .field("client", &self.client)
            .field("secure", &self.secure)
            .field("has_origin", &self.origin.is_some())
            .field("bearer_from", &self.source)
            .field("protocol", &self.protocol)
            .field("has_resume", &self.resume.is_some())
            .field("has_ticket", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

/// Judges the head, cheap first: handshake rules, then the origin, then which credential there is. The client's address
/// is judged before, by [`super::network::client`], because limits and bans need it even for a request that is refused.
///
/// # Errors
/// What the first failing check says. `unauthenticated` counts as a failed login.
pub fn gather(head: &Head<'_>, client: Client, request_id: RequestId, config: &Config) -> Result<Facts, Reject> {
    let opening = handshake::check(head, &config.size)?;
    let offer = subprotocol::parse(head)?;
    let origin = origin::check(head, &config.origin)?;
    let Credential { bearer, source, ticket } =
        credential::choose(head, offer.bearer, opening.ticket, origin.is_some(), &config.auth.issuer)?;
    Ok(Facts {
        request_id,
        peer: client.peer,
        client: client.ip,
        secure: client.secure,
        path: opening.path,
        origin,
        bearer,
        source,
        protocol: offer.protocol,
        protocol_offered: offer.offered,
        resume: offer.resume,
        ticket,
        user_agent: user_agent(head),
        key_accept: opening.key_accept,
    })
}

fn user_agent(head: &Head<'_>) -> Option<Box<str>> {
    let value = head.all("user-agent").next()?;
    let text: String =
        value.iter().filter(|b| (0x20..0x7f).contains(*b)).take(USER_AGENT_MAX).copied().map(char::from).collect();
    (!text.is_empty()).then(|| text.into_boxed_str())
}

#[cfg(test)]
pub(super) mod tests;
