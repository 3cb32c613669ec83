//! What happened, as types: each event emits its log line and its metric in one place, and is where its audit record
//! will be made. No field holds a token, a payload or raw client input.

use std::net::IpAddr;

use portcullis_common::ids::RequestId;
use portcullis_common::wire::reject::Reject;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;

use crate::metrics::{Metrics, Part};

pub use self::command::{CommandRefused, CommandSettled, CommandTaken};
pub use self::feed::FeedMatched;
pub use self::message::{DryRun, MessageRejected, MessageSanitised};
pub use self::outbound::OutboundGuarded;
pub use self::overload::{OverloadStep, QueuesClosed};
pub use self::penalty::{AutoBanWithheld, PenaltyStep};
pub use self::session::{Ended, ResumeShown, SessionClosed, SessionOpened, Shown, SlotReleased, SlotTaken};
pub use self::store::{
    CopyRefused, EraBegan, EraClaimed, Fenced, LeaseLapsed, LimitsAlone, StoreAwaited, StoreEvicts, StoreFailed,
};
pub use self::stuffing::{DoorShut, StuffingFound, StuffingWithheld};

/// Operators' commands.
mod command;

/// Feeds of reputation.
mod feed;

/// Messages on their way out.
mod outbound;

/// Overload.
mod overload;

/// Penalties.
mod penalty;

/// The store itself.
mod store;

/// Stuffing and scanning.
mod stuffing;

/// Sessions.
mod session;

/// Messages.
mod message;

/// A handshake was refused.
pub struct HandshakeRefused<'a> {
    /// What the client was told it is called.
    pub request: RequestId,
    /// The client's address.
    pub client: IpAddr,
    /// Why.
    pub reject: &'a Reject,
}

impl HandshakeRefused<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.handshake_refused(self.reject.code);
        tracing::info!(
            event = "handshake_refused", request = %self.request, client = %self.client,
            code = self.reject.code.info().name, detail = %self.reject.detail,
        );
        let code = self.reject.code.info().name;
        metrics.tap.say(|| json!({"event": "handshake_refused", "client": self.client.to_string(), "code": code}));
    }
}

/// A reload was asked for.
pub struct Reloaded<'a> {
    /// The version in force now.
    pub version: u64,
    /// Why nothing was changed; empty when it was. Key paths and sentences, no values.
    pub problems: &'a [(String, String)],
}

impl Reloaded<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.reloaded(self.version, self.problems.is_empty());
        if self.problems.is_empty() {
            tracing::info!(event = "reloaded", version = self.version);
        }
        for (path, problem) in self.problems {
            tracing::error!(event = "reload_refused", version = self.version, path, problem);
        }
    }
}

/// A connection was refused before HTTP: a cap, or no PROXY header where one is due.
pub struct ConnectionRefused<'a> {
    /// The TCP peer, or the client that it announced.
    pub peer: IpAddr,
    /// Why.
    pub detail: &'a str,
}

impl ConnectionRefused<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.refused_connections.inc();
        tracing::debug!(event = "connection_refused", peer = %self.peer, detail = self.detail);
    }
}

/// A panic was caught.
pub struct PanicCaught {
    /// `manager`, `connection`, `hub`
    pub part: &'static str,
}

impl PanicCaught {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.panics.get_or_create(&Part { part: self.part }).inc();
        tracing::error!(event = "panic_caught", part = self.part);
    }
}

/// A full worker queue refused a room message.
pub struct HubRefused {
    /// Which worker.
    pub worker: usize,
}

impl HubRefused {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.hub_refused.inc();
        tracing::warn!(event = "hub_refused", worker = self.worker);
    }
}

/// The node changed its state: `started`, `leaving`, `draining`, `stopped`.
pub struct NodeState<'a> {
    /// The node.
    pub node: &'a str,
    /// What it is now.
    pub state: &'static str,
}

impl NodeState<'_> {
    /// Log and metric.
    pub fn emit(&self, draining: &Gauge) {
        draining.set(i64::from(matches!(self.state, "leaving" | "draining")));
        tracing::info!(event = "node_state", node = self.node, state = self.state);
    }
}
