//! What happened, as types: each event emits its log line and its metric in one place, and is where its audit record
//! will be made. No field holds a token, a payload or raw client input.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_common::ids::{NodeId, RequestId, SessionId, UserId};
use portcullis_common::stage::Stage;
use portcullis_common::store::StoreFault;
use portcullis_common::store::era::Era;
use portcullis_common::store::redis::BadCopy;
use portcullis_common::wire::code::Close;
use portcullis_common::wire::reject::Reject;
use prometheus_client::metrics::gauge::Gauge;

use serde_json::json;

use crate::metrics::{Metrics, Part};
use crate::pipeline::Note;
use crate::pipeline::sanitise::Cleaned;

pub use self::command::{CommandRefused, CommandSettled, CommandTaken};
pub use self::feed::FeedMatched;
pub use self::outbound::OutboundGuarded;
pub use self::penalty::{AutoBanWithheld, PenaltyStep};
pub use self::store::StoreEvicts;
pub use self::stuffing::{DoorShut, StuffingFound, StuffingWithheld};

/// Operators' commands.
mod command;

/// Feeds of reputation.
mod feed;

/// Messages on their way out.
mod outbound;

/// Penalties.
mod penalty;

/// The store itself.
mod store;

/// Stuffing and scanning.
mod stuffing;

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

/// A session began.
pub struct SessionOpened<'a> {
    /// The request that opened it.
    pub request: RequestId,
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: &'a UserId,
    /// From where.
    pub client: IpAddr,
    /// It goes on from an earlier connection.
    pub resumed: bool,
    /// The ledger's sequence: which change of the store this was.
    pub seq: u64,
}

impl SessionOpened<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.handshakes_ok.inc();
        metrics.sessions.inc();
        tracing::info!(
            event = "session_opened", request = %self.request, session = %self.session, user = %self.user,
            client = %self.client, resumed = self.resumed, seq = self.seq,
        );
        metrics.tap.say(|| {
            json!({
                "event": "session_opened", "session": self.session.to_string(), "user": self.user.as_str(),
                "client": self.client.to_string(),
            })
        });
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// We closed it.
    Closed(Close),
    /// The peer sent a close frame.
    ByPeer,
    /// The connection broke.
    Abrupt,
    /// Its actor panicked.
    Panicked,
}

/// A session is over.
pub struct SessionClosed<'a> {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: &'a UserId,
    /// How.
    pub ended: Ended,
    /// How long it lived.
    pub lived: Duration,
}

impl SessionClosed<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.sessions.dec();
        let how = match self.ended {
            Ended::Closed(close) => {
                metrics.closed(close);
                close.info().name
            }
            Ended::ByPeer => {
                metrics.closes_by_peer.inc();
                "peer"
            }
            Ended::Abrupt => {
                metrics.closes_abrupt.inc();
                "abrupt"
            }
            Ended::Panicked => {
                metrics.closed(Close::Internal);
                "panic"
            }
        };
        tracing::info!(
            event = "session_closed", session = %self.session, user = %self.user, how,
            lived_ms = u64::try_from(self.lived.as_millis()).unwrap_or(u64::MAX),
        );
        metrics.tap.say(|| {
            json!({
                "event": "session_closed", "session": self.session.to_string(), "user": self.user.as_str(), "how": how,
            })
        });
    }
}

/// The ledger gave a slot.
pub struct SlotTaken<'a> {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: &'a UserId,
    /// The ledger's sequence.
    pub seq: u64,
}

impl SlotTaken<'_> {
    /// Log only.
    pub fn emit(&self) {
        tracing::debug!(event = "slot_taken", session = %self.session, user = %self.user, seq = self.seq);
    }
}

/// The ledger took a slot back.
pub struct SlotReleased<'a> {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: &'a UserId,
    /// The ledger's sequence.
    pub seq: u64,
    /// The newcomer that got the slot in the same step.
    pub passed_to: Option<SessionId>,
    /// It is kept for a resume.
    pub detached: bool,
}

impl SlotReleased<'_> {
    /// Log only.
    pub fn emit(&self) {
        let passed_to = self.passed_to.map(|sid| sid.to_string());
        let event = if self.detached { "slot_detached" } else { "slot_released" };
        tracing::debug!(event, session = %self.session, user = %self.user, seq = self.seq, passed_to);
    }
}

/// What became of a resume token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The session goes on.
    Resumed,
    /// Nothing is known by it: guessed, spent, expired, or another user's.
    Unknown,
    /// The session was ended by an operator, or is as old as one may get.
    Ended,
    /// Another connection of the same session was faster or later.
    Overtaken,
}

impl Shown {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Resumed, Self::Unknown, Self::Ended, Self::Overtaken];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::Unknown => "unknown",
            Self::Ended => "ended",
            Self::Overtaken => "overtaken",
        }
    }
}

/// A resume token was shown.
pub struct ResumeShown<'a> {
    /// The user who showed it.
    pub user: &'a UserId,
    /// The session, where there is one.
    pub session: Option<SessionId>,
    /// The ledger's sequence, where it changed.
    pub seq: Option<u64>,
    /// What became of it.
    pub shown: Shown,
}

impl ResumeShown<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.resume_shown(self.shown);
        let session = self.session.map(|sid| sid.to_string());
        tracing::debug!(
            event = "resume_shown", session, user = %self.user, seq = self.seq, outcome = self.shown.name(),
        );
    }
}

/// A message was refused.
pub struct MessageRejected<'a> {
    /// What the client was told it is called.
    pub request: RequestId,
    /// The session.
    pub session: SessionId,
    /// The stage of the pipeline that refused it; none: another part.
    pub stage: Option<Stage>,
    /// Why.
    pub reject: &'a Reject,
}

impl MessageRejected<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.rejected(self.reject.code);
        if let Some(stage) = self.stage {
            metrics.stage(stage, false);
        }
        tracing::debug!(
            event = "message_rejected", request = %self.request, session = %self.session,
            stage = self.stage.map(Stage::name), code = self.reject.code.info().name, detail = %self.reject.detail,
        );
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

/// A stage in `dry_run` would have refused a message.
pub struct DryRun<'a> {
    /// The session.
    pub session: SessionId,
    /// The stage, and the refusal that was not made.
    pub note: &'a Note,
}

impl DryRun<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let Note { stage, reject } = self.note;
        metrics.stage(*stage, true);
        tracing::info!(
            event = "dry_run", session = %self.session, stage = stage.name(), code = reject.code.info().name,
            detail = %reject.detail,
        );
    }
}

/// A payload was changed before it was passed on.
pub struct MessageSanitised {
    /// The session.
    pub session: SessionId,
    /// How many strings, by reason.
    pub cleaned: Cleaned,
}

impl MessageSanitised {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let Cleaned { controls, html, nfc } = self.cleaned;
        metrics.sanitised(self.cleaned);
        tracing::debug!(event = "message_sanitised", session = %self.session, controls, html, nfc);
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

/// The node's lease lapsed and a new life began; its sessions re-assert themselves.
pub struct LeaseLapsed<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// How many sessions have to.
    pub sessions: usize,
}

impl LeaseLapsed<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.lease_lapses.inc();
        tracing::warn!(event = "lease_lapsed", node = %self.node, sessions = self.sessions);
    }
}

/// The lease could not be renewed in time: every socket is cut before another node could give its slots away.
pub struct Fenced<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// How many sessions it costs.
    pub sessions: usize,
}

impl Fenced<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fences.inc();
        tracing::warn!(event = "fenced", node = %self.node, sessions = self.sessions);
    }
}

/// The store is in another era than before: it forgot, or another server took its place.
pub struct EraBegan<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// The era.
    pub era: Era,
    /// Sessions that have to claim their slots in it.
    pub sessions: usize,
}

impl EraBegan<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_eras.inc();
        tracing::warn!(event = "store_era_began", node = %self.node, era = %self.era, sessions = self.sessions);
    }
}

/// Every session of this node has its slot in the store's present era, or was told that there is none.
pub struct EraClaimed<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// The era.
    pub era: Era,
    /// How many had to be ended.
    pub lost: usize,
}

impl EraClaimed<'_> {
    /// Log only.
    pub fn emit(&self) {
        tracing::info!(event = "store_era_claimed", node = %self.node, era = %self.era, lost = self.lost);
    }
}

/// The limits that the fleet shares are decided by this node's share, or by the fleet again.
pub struct LimitsAlone {
    /// By this node alone.
    pub alone: bool,
}

impl LimitsAlone {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.is_alone.set(i64::from(self.alone));
        if self.alone {
            tracing::warn!(event = "limits_alone");
        } else {
            tracing::info!(event = "limits_shared");
        }
    }
}

/// A store call failed.
pub struct StoreFailed<'a> {
    /// Which call.
    pub call: &'static str,
    /// Why.
    pub fault: &'a StoreFault,
}

impl StoreFailed<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_faults.inc();
        tracing::warn!(event = "store_failed", call = self.call, fault = %self.fault);
    }
}

/// The store did not answer at the start; the node waits for it.
pub struct StoreAwaited<'a> {
    /// What kept it from being opened.
    pub why: &'a str,
}

impl StoreAwaited<'_> {
    /// Log only: nothing counts yet.
    pub fn emit(&self) {
        tracing::warn!(event = "store_awaited", why = self.why);
    }
}

/// The copy of the control log on disk is of no use; another will take its place.
pub struct CopyRefused<'a> {
    /// Why.
    pub bad: &'a BadCopy,
}

impl CopyRefused<'_> {
    /// Log only: nothing counts yet.
    pub fn emit(&self) {
        tracing::error!(event = "control_copy_refused", why = %self.bad);
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
