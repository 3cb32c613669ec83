//! Sessions: their beginning, their slots, their end.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_common::ids::{RequestId, SessionId, UserId};
use portcullis_common::wire::code::Close;
use serde_json::json;

use crate::metrics::Metrics;

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
