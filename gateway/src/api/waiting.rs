//! The private port of a node that waits for its store: it lives, it is not ready, and it knows the bans of its copy.

use std::sync::Arc;

use actix_server::ServerHandle;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer, Responder};
use portcullis_common::config::model::Config;
use serde_json::json;

use crate::accept::listener;
use crate::admit::bans::BanTable;
use crate::node::StartError;

/// Why it is not ready.
const REASON: &str = "the store has not answered yet";

struct Facts {
    node: String,
    bans: BanTable,
}

/// The server, until [`Waiting::stop`]. The public port is not bound meanwhile: connects are refused.
pub struct Waiting(ServerHandle);

impl Waiting {
    /// Binds `listen.private`.
    ///
    /// # Errors
    /// A port that cannot be bound.
    pub fn listen(config: &Config, bans: BanTable) -> Result<Self, StartError> {
        let address = config.listen.private;
        let failed = |error| StartError::Io(format!("listen.private: cannot listen on {address}"), error);
        let bound = listener::bind(address, 128).map_err(failed)?;
        let facts = Data::from(Arc::new(Facts { node: config.node.id.to_string(), bans }));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(facts.clone())
                .route("/health/live", web::get().to(live))
                .route("/health/ready", web::get().to(ready))
                .route("/health", web::get().to(health))
        });
        let server = server.workers(1).disable_signals().listen(bound.socket).map_err(failed)?.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self(handle))
    }

    /// Gives the port back.
    pub async fn stop(self) {
        self.0.stop(false).await;
    }
}

async fn live() -> impl Responder {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

async fn ready() -> impl Responder {
    HttpResponse::ServiceUnavailable().json(json!({"status": "not_ready", "reasons": [REASON]}))
}

async fn health(facts: Data<Facts>) -> impl Responder {
    HttpResponse::Ok().json(json!({
        "status": "not_ready",
        "reasons": [REASON],
        "node": facts.node,
        "version": env!("CARGO_PKG_VERSION"),
        "store": "redis",
        "sessions": 0,
        "bans": facts.bans.len(),
    }))
}
