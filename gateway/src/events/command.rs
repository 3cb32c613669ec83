//! Operators' commands: taken, refused, settled.

use portcullis_common::control::sign::{Nonce, Refusal};
use serde_json::json;

use crate::metrics::Metrics;

/// A command was checked and is being carried out.
pub struct CommandTaken<'a> {
    /// What it is called.
    pub verb: &'static str,
    /// Who says it.
    pub operator: &'a str,
    /// Which one it is.
    pub nonce: Nonce,
}

impl CommandTaken<'_> {
    /// Log only.
    pub fn emit(&self) {
        tracing::info!(event = "command_taken", verb = self.verb, operator = self.operator, command = %self.nonce);
    }
}

/// A command was refused.
pub struct CommandRefused<'a> {
    /// Why.
    pub why: Refusal,
    /// Whose it is; only when the signature was right.
    pub operator: Option<&'a str>,
    /// Which one it is, if that much could be read.
    pub nonce: Option<Nonce>,
}

impl CommandRefused<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.command(self.why.name());
        let command = self.nonce.map(|nonce| nonce.to_string());
        tracing::warn!(event = "command_refused", why = self.why.name(), operator = self.operator, command);
        metrics.tap.say(|| json!({"event": "command_refused", "why": self.why.name(), "operator": self.operator}));
    }
}

/// A command was carried out, or could not be.
pub struct CommandSettled<'a> {
    /// What it is called.
    pub verb: &'static str,
    /// Who said it.
    pub operator: &'a str,
    /// Which one it is.
    pub nonce: Nonce,
    /// Whether the node obeyed.
    pub done: bool,
    /// Why not.
    pub detail: Option<&'a str>,
}

impl CommandSettled<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let outcome = if self.done { "done" } else { "failed" };
        metrics.command(outcome);
        tracing::info!(
            event = "command_settled", verb = self.verb, operator = self.operator, command = %self.nonce, outcome,
            detail = self.detail,
        );
        let line = || json!({"event": "command", "verb": self.verb, "operator": self.operator, "outcome": outcome});
        metrics.tap.say(line);
    }
}
