//! What is told of entries in force.

use std::sync::Arc;

use portcullis_common::clock::UnixMs;
use portcullis_common::store::control::Target;

use super::kind::{Entry, NEVER};

/// A restriction in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// Until when (the store's time).
    pub until: UnixMs,
    /// Live sessions end.
    pub close: bool,
    /// Why.
    pub reason: Option<Arc<str>>,
}

impl Restriction {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { until: entry.until, close: entry.close, reason: entry.reason.clone() }
    }

    pub(super) fn and(self, other: Self) -> Self {
        let close = self.close || other.close;
        let longer = if other.until > self.until { other } else { self };
        Self { close, ..longer }
    }
}

/// A ban in force, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who is banned.
    pub target: Target,
    /// Until when; `None`: until lifted.
    pub until: Option<UnixMs>,
    /// Since when.
    pub since: UnixMs,
    /// What was said when it was made.
    pub reason: Option<Arc<str>>,
}

impl Listed {
    pub(super) fn of(target: Target, entry: &Entry) -> Self {
        let until = (entry.until != NEVER).then_some(entry.until);
        Self { target, until, since: entry.stamp.0, reason: entry.reason.clone() }
    }
}
