//! The demo page of the `dev` profile: a page that talks through the gateway, a token issuer for it, and a list of
//! sessions with a kick. Mounted only by `portcullis-gateway dev`.
//!
//! What answers with power (tokens, sessions, kicks) answers only the page's own origin on a loopback name, so that
//! neither another site nor a rebound DNS name can use a developer's machine.

/// What is compiled in: the page, its style, its scripts.
mod assets;

/// Who may ask: same origin, loopback name, small JSON bodies.
mod guard;

/// The claims of a demo token.
mod claims;

/// The demo's end of the node.
pub mod backend;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{RequestId, SessionId, UserId};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use serde::{Deserialize, Serialize};

pub use claims::{DemoClaims, TOKEN_LIFE};

/// At most so many sessions are listed.
pub const LIST_MAX: usize = 200;

/// The Content-Security-Policy of every answer. `'self'` in `connect-src` covers the WebSocket of the same origin (CSP 3
/// §6.7.2.8); trusted types forbid every HTML sink of the DOM.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                       require-trusted-types-for 'script'; trusted-types 'none'";

/// An answer of a [`DemoBackend`] that may have to wait.
pub type DemoFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What the demo needs from the node.
pub trait DemoBackend: Send + Sync {
    /// Signs a token for a name that has been checked already (1–32 printable characters, at least one letter or
    /// digit); see [`DemoClaims`] for what is in it.
    ///
    /// # Errors
    /// A [`Reject`] that is answered as it is.
    fn mint(&self, name: &str, admin: bool) -> Result<MintedToken, Reject>;

    /// The live sessions; what is beyond [`LIST_MAX`] is not shown.
    fn sessions(&self) -> DemoFuture<'_, Vec<DemoSession>>;

    /// Ends a session as an operator would (`session_terminated`, close 4409); whether there was one.
    fn kick(&self, sid: SessionId) -> DemoFuture<'_, bool>;

    /// Wall time, for error bodies.
    fn now(&self) -> UnixMs;

    /// A new request id, for error bodies.
    fn request_id(&self) -> RequestId;
}

/// A token for the page. Not `Debug`: it is a credential.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MintedToken {
    /// The signed JWT.
    pub token: String,
    /// Its `exp`, in milliseconds.
    pub expires_at: UnixMs,
    /// The user id that the gateway will see.
    pub user: UserId,
}

/// One live session, as the operator's card shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoSession {
    /// The session.
    pub session_id: SessionId,
    /// Its user.
    pub user: UserId,
    /// When it was opened.
    pub since: UnixMs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    name: String,
    role: Role,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Role {
    Member,
    Admin,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KickRequest {
    session_id: SessionId,
}

type Backend = web::Data<dyn DemoBackend>;

/// Mounts the page at `/` and everything else of the demo under `/demo/`.
pub fn routes(cfg: &mut web::ServiceConfig, backend: Arc<dyn DemoBackend>) {
    cfg.app_data(web::Data::from(backend))
        .service(web::resource("/").route(web::get().to(page)).default_service(web::to(wrong_method)))
        .service(web::resource("/demo/token").route(web::post().to(token)).default_service(web::to(wrong_method)))
        .service(web::resource("/demo/sessions").route(web::get().to(sessions)).default_service(web::to(wrong_method)))
        .service(web::resource("/demo/kick").route(web::post().to(kick)).default_service(web::to(wrong_method)))
        .service(web::resource("/demo/{asset}").route(web::get().to(asset)).default_service(web::to(wrong_method)));
}

async fn page() -> HttpResponse {
    let page = assets::PAGE;
    dressed(StatusCode::OK)
        .insert_header((header::CONTENT_TYPE, page.media_type))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(page.text)
}

async fn asset(name: web::Path<String>, backend: Backend) -> HttpResponse {
    match assets::find(&name) {
        Some(asset) => dressed(StatusCode::OK)
            .insert_header((header::CONTENT_TYPE, asset.media_type))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(asset.text),
        None => refused(&backend, &Reject::new(Code::Malformed, "no such asset").status(404)),
    }
}

async fn token(req: HttpRequest, body: web::Payload, backend: Backend) -> HttpResponse {
    let minted = match guard::json::<TokenRequest>(&req, body).await {
        Ok(asked) => guard::name(&asked.name).and_then(|name| backend.mint(name, asked.role == Role::Admin)),
        Err(reject) => Err(reject),
    };
    match minted {
        Ok(minted) => secret_json(&minted),
        Err(reject) => refused(&backend, &reject),
    }
}

async fn sessions(req: HttpRequest, backend: Backend) -> HttpResponse {
    if let Err(reject) = guard::reader(&req) {
        return refused(&backend, &reject);
    }
    let mut list = backend.sessions().await;
    list.truncate(LIST_MAX);
    secret_json(&list)
}

async fn kick(req: HttpRequest, body: web::Payload, backend: Backend) -> HttpResponse {
    match guard::json::<KickRequest>(&req, body).await {
        Ok(asked) => secret_json(&serde_json::json!({ "kicked": backend.kick(asked.session_id).await })),
        Err(reject) => refused(&backend, &reject),
    }
}

async fn wrong_method(backend: Backend) -> HttpResponse {
    refused(&backend, &Reject::new(Code::Malformed, "method").status(405))
}

/// The headers that every answer carries.
fn dressed(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer
        .insert_header((header::CONTENT_SECURITY_POLICY, CSP))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .insert_header(("permissions-policy", "camera=(), geolocation=(), microphone=()"));
    answer
}

fn secret_json<T: Serialize>(value: &T) -> HttpResponse {
    dressed(StatusCode::OK).insert_header((header::CACHE_CONTROL, "no-store")).json(value)
}

/// A refusal in the contract's form. Its connection stays open: everything here is a small request of a local page.
fn refused(backend: &Backend, reject: &Reject) -> HttpResponse {
    let info = reject.code.info();
    let id = backend.request_id();
    let status = reject.status.or(info.http).and_then(|s| StatusCode::from_u16(s).ok());
    tracing::debug!(code = info.name, request_id = %id, detail = %reject.detail, "demo request refused");
    dressed(status.unwrap_or(StatusCode::BAD_REQUEST)).insert_header((header::CACHE_CONTROL, "no-store")).json(
        serde_json::json!({
            "type": "error",
            "payload": { "code": info.name, "message": info.message, "requestId": id },
            "timestamp": backend.now(),
        }),
    )
}

#[cfg(test)]
mod tests;
