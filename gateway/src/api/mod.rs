//! The private port: health and metrics. Nothing here is for clients.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use serde_json::json;

use crate::node::Node;

/// Before the store has answered.
pub mod waiting;

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

/// Alive: the process answers. Never says no while it can say anything.
async fn live() -> impl Responder {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// Ready: new connections may be sent here; 503 with the reasons otherwise.
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
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({
        "status": status,
        "reasons": reasons,
        "degraded": node.degraded(),
        "node": node.id(),
        "epoch": node.epoch().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": node.clock.mono().0,
        "sessions": node.registry.count(),
        "connections": node.caps.total(),
        "workers": node.config.node.workers,
        "store": node.store_kind(),
        "fleet": node.vitals.report(),
        "rules": rules(&node),
        "limits": limits(&node),
        "overload": node.overload.report(node.rules.load().config.overload.dry_run),
        "bans": node.bans.len(),
        "bansLost": node.bans.lost(),
        "feeds": node.rules.load().feeds.report(node.clock.wall()),
    }))
}

/// By how many nodes the fleet's limits are shared, and whether this one decides them alone.
fn limits(node: &Node) -> serde_json::Value {
    let now = node.clock.nanos();
    json!({"nodes": node.allowance.nodes(now), "alone": node.allowance.decides_alone(now)})
}

/// Which rules are in force, and how the last reload went.
fn rules(node: &Node) -> serde_json::Value {
    let rules = node.rules.load();
    let last = node.last_reload.load();
    let last = last.as_ref().map(|last| {
        let problems = last.problems.iter().map(|(path, problem)| format!("{path}: {problem}"));
        json!({"at": last.at.0, "ok": last.problems.is_empty(), "problems": problems.collect::<Vec<_>>()})
    });
    let config = &rules.config;
    let dry_run: Vec<&str> = config.pipeline.dry_run.iter().map(portcullis_common::stage::Stage::name).collect();
    json!({
        "version": rules.version,
        "types": config.message.len(),
        "schemas": rules.policy.schemas(),
        "signatures": rules.policy.signatures(),
        "leaks": rules.policy.leaks(),
        "limits": config.limit.named.len(),
        "bans": rules.bans.len(),
        "dryRun": dry_run,
        "lastReload": last,
    })
}

async fn metrics(node: Data<Node>) -> impl Responder {
    // the caps count them exactly; nobody else does
    node.metrics.connections.set(i64::try_from(node.caps.total()).unwrap_or(i64::MAX));
    // where nobody sends anything, nobody notes that it is over
    node.metrics.limits.is_alone.set(i64::from(node.allowance.decides_alone(node.clock.nanos())));
    node.metrics.store.read(node.vitals.store());
    let rules = node.rules.load();
    let feeds = rules.feeds.sources().iter().map(|source| (&source.name, source.says.edition()));
    node.metrics.feeds.show(feeds, node.clock.wall());
    HttpResponse::Ok().insert_header((CONTENT_TYPE, OPENMETRICS)).body(node.metrics.render())
}
