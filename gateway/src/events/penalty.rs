//! Penalties: steps of the ladder, and bans that were withheld.

use portcullis_common::clock::UnixMs;
use portcullis_common::penalty::{Step, Subject};
use serde_json::json;

use crate::metrics::Metrics;

/// Whom a line is about: a user, or a network as its text.
fn named(subject: &Subject) -> String {
    match subject {
        Subject::User(user) => user.to_string(),
        Subject::Network(network) => network.to_string(),
    }
}

/// A step of the ladder was taken, or would have been.
pub struct PenaltyStep<'a> {
    /// Whose account.
    pub subject: &'a Subject,
    /// Which.
    pub step: Step,
    /// Points of the account.
    pub points: f64,
    /// Its strikes.
    pub strikes: u32,
    /// Until when it keeps out (the store's time).
    pub until: UnixMs,
    /// It was not taken.
    pub dry_run: bool,
}

impl PenaltyStep<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.penalty(self.step, self.dry_run);
        let (subject, step) = (named(self.subject), self.step.name());
        tracing::warn!(
            event = "penalty",
            subject,
            step,
            points = self.points,
            strikes = self.strikes,
            until = self.until.0,
            dry_run = self.dry_run,
        );
        let line = || json!({"event": "penalty", "subject": subject, "step": step, "dry_run": self.dry_run});
        metrics.tap.say(line);
    }
}

/// An automatic ban was not made because `penalty.auto_bans` is used up: an attack, or thresholds that are too low.
pub struct AutoBanWithheld<'a> {
    /// Whose account.
    pub subject: &'a Subject,
    /// Points of the account.
    pub points: f64,
}

impl AutoBanWithheld<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.bans_withheld.inc();
        let subject = named(self.subject);
        tracing::error!(event = "auto_ban_withheld", subject, points = self.points);
        metrics.tap.say(|| json!({"event": "auto_ban_withheld", "subject": subject}));
    }
}
