//! What the public port says to plain HTTP: every answer with the same security fields, every refusal with the same
//! body.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_http::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, Error, HttpRequest, HttpResponse, middleware::Next};
use portcullis_common::ids::RequestId;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use crate::admit::facts::Head;
use crate::admit::handshake;
use crate::events::HandshakeRefused;
use crate::node::Node;
use crate::{answer, demo, tickets};

/// The app of the public port.
pub fn app(
    node: Arc<Node>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let app = App::new().app_data(Data::from(Arc::clone(&node))).wrap(from_fn(dress));
    app.configure(move |config| {
        config.service(web::resource(handshake::PATH).default_service(web::to(no_upgrade)));
        config.service(web::resource(tickets::PATH).default_service(web::to(tickets::answer)));
        if node.config.dev {
            demo::routes(config, Arc::new(demo::backend::NodeBackend::new(node)));
        }
    })
    .default_service(web::to(nothing))
}

/// Checks `Host`, and gives every answer the security fields that it does not have yet.
async fn dress(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let node = request.app_data::<Data<Node>>().cloned();
    let host = handshake::host(&Head::of(request.head()));
    let mut response = match (host, &node) {
        (Err(reject), Some(node)) => {
            let answer = refusal(node, request.request(), &reject);
            request.into_response(answer).map_into_right_body()
        }
        _ => next.call(request).await?.map_into_left_body(),
    };
    let headers = response.headers_mut();
    for (name, value) in answer::SECURITY_FIELDS {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::from_str(value))
            && !headers.contains_key(&name)
        {
            headers.insert(name, value);
        }
    }
    if let Some(node) = node
        && let Some(age) = node.hsts_for_http()
        && let Ok(value) = HeaderValue::from_str(&format!("max-age={}", age.as_secs()))
    {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    Ok(response)
}

/// A refusal as this port's answer, with its event.
pub(crate) fn refusal(node: &Node, asked: &HttpRequest, reject: &Reject) -> HttpResponse {
    let request = RequestId::random(&mut rand::rng());
    if let Some(peer) = asked.peer_addr() {
        HandshakeRefused { request, client: peer.ip(), reject }.emit(&node.metrics);
    }
    let status = StatusCode::from_u16(answer::status(reject)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(after) = reject.retry_after {
        response.insert_header((header::RETRY_AFTER, answer::retry_after(after).to_string()));
    }
    for (name, value) in handshake::refusal_fields(reject) {
        response.insert_header((*name, *value));
    }
    response.force_close().content_type("application/json").body(answer::body(reject, request, node.clock.wall()))
}

/// What the framework answers by itself to a head that it cannot parse, in the form of every other refusal.
#[must_use]
pub fn dressed(node: &Node, peer: SocketAddr, status: u16) -> Vec<u8> {
    let request = RequestId::random(&mut rand::rng());
    let code = match status {
        413 | 431 => Code::TooLarge,
        500.. => Code::Internal,
        _ => Code::Malformed,
    };
    let reject = Reject::new(code, "the request head could not be read").status(status);
    HandshakeRefused { request, client: peer.ip(), reject: &reject }.emit(&node.metrics);
    let fields = handshake::refusal_fields(&reject);
    answer::refusal(&reject, request, node.clock.wall(), fields, node.hsts_for_http())
}

/// `/ws` that the framework did not take for an upgrade: the rules say why.
async fn no_upgrade(request: HttpRequest, node: Data<Node>) -> HttpResponse {
    let reject = match handshake::check(&Head::of(request.head()), &node.config.size) {
        Err(reject) => reject,
        Ok(_) => Reject::new(Code::Malformed, "no upgrade").status(426),
    };
    refusal(&node, &request, &reject)
}

async fn nothing(request: HttpRequest, node: Data<Node>) -> HttpResponse {
    refusal(&node, &request, &Reject::new(Code::Malformed, "nothing at this path").status(404))
}
