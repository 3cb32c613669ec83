//! The private port: health and metrics.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use portcullis_common::clock::millis;
use serde_json::{Value, json};

use crate::metrics::name;
use crate::node::Node;

/// The content type of OpenMetrics 1.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Routes of the private port.
pub fn routes(node: Arc<Node>) -> impl FnOnce(&mut ServiceConfig) + Clone {
    move |config| {
        config
            .app_data(Data::from(node))
            .route("/health/live", web::get().to(live))
            .route("/health/ready", web::get().to(ready))
            .route("/health", web::get().to(health))
            .route("/metrics", web::get().to(metrics));
    }
}

/// Alive: the process answers.
async fn live() -> impl Responder {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// Ready: it watches, and would lead if it had to; 503 with the reasons otherwise.
async fn ready(node: Data<Node>) -> impl Responder {
    let reasons = node.not_ready();
    if reasons.is_empty() {
        HttpResponse::Ok().json(json!({"status": "ready"}))
    } else {
        HttpResponse::ServiceUnavailable().json(json!({"status": "not_ready", "reasons": reasons}))
    }
}

/// Everything an operator asks first, always 200.
async fn health(node: Data<Node>) -> impl Responder {
    let reasons = node.not_ready();
    let status = if reasons.is_empty() { "ready" } else { "not_ready" };
    let leader = node.election().latest().map(|(id, fence)| json!({"id": id, "term": fence.0}));
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({
        "status": status,
        "reasons": reasons,
        "degraded": node.degraded(),
        "coordinator": node.candidate.id,
        "role": node.role(),
        "term": node.fence().map(|fence| fence.0),
        "leader": leader,
        "members": members(&node),
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": node.clock.mono().0,
    }))
}

/// Every life that is known.
fn members(node: &Node) -> Vec<Value> {
    let list = node.membership().list();
    let member = |((id, epoch), standing, left)| json!({"node": id, "epoch": epoch, "state": name(standing), "leaseMs": millis(left)});
    list.into_iter().map(member).collect()
}

async fn metrics(node: Data<Node>) -> impl Responder {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, OPENMETRICS)).body(node.metrics.render())
}
