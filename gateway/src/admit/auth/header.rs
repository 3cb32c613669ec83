//! The three segments of a JWS and its header (RFC 7515), read before any key is touched.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_common::config::model::Algorithm;
use serde_json::{Map, Value};

use super::failures::BadToken;
use super::json;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// The longest `kid`, in bytes, after decoding.
pub(super) const MAX_KID: usize = 256;

/// A token's segments, still encoded, and its header.
pub(super) struct Token<'a> {
    /// Header and payload with the dot between: what is signed.
    pub(super) signed: &'a str,
    /// The payload in base64url.
    pub(super) payload: &'a str,
    /// The signature in base64url.
    pub(super) signature: &'a str,
    /// What the header says about the signature.
    pub(super) header: Header,
}

/// The part of a header that is believed.
pub(super) struct Header {
    /// One of the algorithms that can be configured at all.
    pub(super) alg: Algorithm,
    /// Selects among the issuer's own keys and does nothing else.
    pub(super) kid: Option<String>,
}

impl<'a> Token<'a> {
    /// Splits a compact JWS and reads its header. Costs one pass over the text and a small parse.
    pub(super) fn parse(token: &'a str) -> Result<Self, BadToken> {
        if token.len() > MAX_TOKEN {
            return Err(BadToken("the token is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken("the token has no segments"))?;
        let (header, payload) = signed.split_once('.').ok_or(BadToken("the token has too few segments"))?;
        if payload.contains('.') {
            return Err(BadToken("the token has too many segments"));
        }
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(BadToken("a segment of the token is empty"));
        }
        // jsonwebtoken decodes it again; by then it is known to be canonical
        decode(signature)?;
        let header = Header::parse(&decode(header)?)?;
        Ok(Self { signed, payload, signature, header })
    }
}

/// Strict base64url (RFC 7515 §2): no padding, no whitespace, unused bits zero.
pub(super) fn decode(segment: &str) -> Result<Vec<u8>, BadToken> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| BadToken("a segment is not canonical base64url"))
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, BadToken> {
        let members = json::object(bytes).ok_or(BadToken("the header is not a strict JSON object"))?;
        // a key, or where to get one, that the sender chose; extensions (RFC 7515 §4.1.11, RFC 7797); encryption
        for name in ["jwk", "jku", "x5u", "crit", "b64", "enc", "zip"] {
            if members.contains_key(name) {
                return Err(BadToken("the header has a member that is not allowed"));
            }
        }
        let alg = match members.get("alg") {
            Some(Value::String(name)) => algorithm(name).ok_or(BadToken("the algorithm is not supported"))?,
            _ => return Err(BadToken("the header has no algorithm")),
        };
        check_type(&members)?;
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
            Some(_) => return Err(BadToken("the key id is not a short string")),
        };
        Ok(Self { alg, kid })
    }
}

/// `typ` (RFC 7519 §5.1, RFC 9068 §2.1): absent, `JWT` or `at+jwt`; what names another kind of token is not for us.
fn check_type(header: &Map<String, Value>) -> Result<(), BadToken> {
    let text = match header.get("typ") {
        None => return Ok(()),
        Some(Value::String(text)) => text.to_ascii_lowercase(),
        Some(_) => return Err(BadToken("the header's type is not a string")),
    };
    match text.strip_prefix("application/").unwrap_or(&text) {
        "jwt" | "at+jwt" => Ok(()),
        _ => Err(BadToken("the header says it is another kind of token")),
    }
}

/// The algorithm of that exact name (RFC 7518 §3.1, RFC 8037 §3.1); `none` is not one.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}
