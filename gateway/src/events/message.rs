//! Messages: refused, cleaned, or only noted.

use portcullis_common::ids::{RequestId, SessionId};
use portcullis_common::stage::Stage;
use portcullis_common::wire::reject::Reject;

use crate::metrics::Metrics;
use crate::pipeline::Note;
use crate::pipeline::sanitise::Cleaned;

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
