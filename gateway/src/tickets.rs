//! `POST /v1/tickets`: a bearer token for a ticket that opens one connection within 30 seconds, for clients that can
//! set neither a header nor a subprotocol.
//!
//! The store knows a ticket by its hash and keeps the token under it, enciphered with a key that only the ticket gives:
//! whoever reads the store can use neither. The token is verified again when the ticket is redeemed, so a revocation in
//! between holds.

use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use rand::RngCore;

use crate::admit::credential::{self, Token};
use crate::admit::facts::Head;
use crate::admit::network::{self, Link};
use crate::admit::origin;
use crate::events::StoreFailed;
use crate::http::refusal;
use crate::node::Node;

/// Where tickets are had.
pub const PATH: &str = "/v1/tickets";
/// How long a ticket is good.
pub const LIFE: Duration = Duration::from_secs(30);

/// The store's name for a ticket, and the key of what it keeps; neither gives the other or the ticket (BLAKE3 key
/// derivation, one context each).
fn derive(ticket: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    let name = blake3::derive_key("portcullis 2026-11 ticket name", ticket);
    let key = blake3::derive_key("portcullis 2026-11 ticket record", ticket);
    (name, key)
}

/// Enciphers and deciphers: the keyed extendable output of BLAKE3 as a one-time pad; a ticket's key is used once.
/// Integrity is the token's own signature.
fn pad(key: &[u8; 32], data: &mut [u8]) {
    let mut stream = vec![0; data.len()];
    blake3::Hasher::new_keyed(key).finalize_xof().fill(&mut stream);
    for (byte, mask) in data.iter_mut().zip(stream) {
        *byte ^= mask;
    }
}

/// Answers a request for a ticket.
pub async fn answer(request: HttpRequest, node: Data<Node>) -> HttpResponse {
    let head = Head::of(request.head());
    let allowed = match origin_of(&head, &node) {
        Ok(allowed) => allowed,
        Err(reject) => return refusal(&node, &request, &reject),
    };
    let mut response = match *request.method() {
        Method::OPTIONS => HttpResponse::NoContent()
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "POST"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
            .finish(),
        Method::POST => match issue(&head, &request, &node).await {
            Ok(response) => response,
            Err(reject) => refusal(&node, &request, &reject),
        },
        _ => {
            let mut response = refusal(&node, &request, &Reject::new(Code::Malformed, "method").status(405));
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST, OPTIONS"));
            response
        }
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// The page's origin, if a page asks: it has to be on the allow-list. A backend sends none.
fn origin_of(head: &Head<'_>, node: &Node) -> Result<Option<header::HeaderValue>, Reject> {
    let Some(value) = head.single("origin")? else { return Ok(None) };
    origin::check(head, &node.rules.load().config.origin)?;
    Ok(header::HeaderValue::from_bytes(value).ok())
}

async fn issue(head: &Head<'_>, request: &HttpRequest, node: &Node) -> Result<HttpResponse, Reject> {
    let link = request.conn_data::<Link>().ok_or_else(|| Reject::new(Code::Internal, "a connection without a peer"))?;
    let client = network::client(head, link, &node.config.listen, node.config.tls.mode)?;
    let now = node.clock.wall();
    node.check_newcomer(client.ip)?;
    node.overload.takes_newcomers()?;
    node.vitals.may_admit()?;
    node.addresses.login_allowed(client.ip, node.clock.nanos())?;
    let token = match credential::authorization(head) {
        Ok(Some(token)) => token,
        Err(reject) if reject.code != Code::Unauthenticated => return Err(reject),
        Ok(None) | Err(_) => return Err(node.login_failed(client.ip, "no bearer token")),
    };
    let identity = node.authenticate(&token, client.ip).await?;
    node.check_bearer(&identity, client.ip)?;
    let mut ticket = [0; 32];
    rand::rng().fill_bytes(&mut ticket);
    let (name, key) = derive(&ticket);
    let mut record = token.expose().as_bytes().to_vec();
    pad(&key, &mut record);
    node.stores.tickets.issue(name, Bytes::from(record), LIFE).await.map_err(|fault| lost(node, "issue", &fault))?;
    Ok(HttpResponse::Ok().json(serde_json::json!({
        "ticket": URL_SAFE_NO_PAD.encode(ticket),
        "expiresAt": now.after(LIFE).0,
    })))
}

fn lost(node: &Node, call: &'static str, fault: &portcullis_common::store::StoreFault) -> Reject {
    StoreFailed { call, fault }.emit(&node.metrics);
    Reject::new(Code::StoreUnavailable, "the store did not answer").retry(Duration::from_secs(1))
}

/// The token behind a ticket, once.
///
/// # Errors
/// `unauthenticated` for a ticket that is not good; `store_unavailable`.
pub async fn redeem(node: &Node, ticket: &str) -> Result<Token, Reject> {
    let bad = || Reject::new(Code::Unauthenticated, "no such ticket");
    let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| bad())?;
    let ticket: [u8; 32] = bytes.try_into().map_err(|_| bad())?;
    let (name, key) = derive(&ticket);
    let record = node.stores.tickets.redeem(name).await.map_err(|fault| lost(node, "redeem", &fault))?;
    let mut record = record.ok_or_else(bad)?.to_vec();
    pad(&key, &mut record);
    String::from_utf8(record).map(Token::new).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pad_is_its_own_inverse_and_neither_name_nor_key_is_the_ticket() {
        let ticket = [7; 32];
        let (name, key) = derive(&ticket);
        assert!(name != key && name != ticket && key != ticket);
        let mut data = b"header.claims.signature".to_vec();
        pad(&key, &mut data);
        assert_ne!(data, b"header.claims.signature");
        pad(&key, &mut data);
        assert_eq!(data, b"header.claims.signature");
    }
}
