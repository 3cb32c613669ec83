//! The peer's fault, as plain data. Our own faults are [`crate::store::StoreFault`] and friends; the two never mix.

use std::borrow::Cow;
use std::time::Duration;

use super::code::{Close, Code};

/// One refusal. What the client sees is `code` and `retry_after`; `detail` is for the log alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// What the client is told.
    pub code: Code,
    /// Whether the connection ends with it.
    pub close: Option<Close>,
    /// When the same request may succeed; exact where a limiter said so.
    pub retry_after: Option<Duration>,
    /// The HTTP status before the upgrade, where it is not the code's own (405, 426, 431, 408).
    pub status: Option<u16>,
    /// For the log under the request id. Never a secret, never raw input.
    pub detail: Cow<'static, str>,
}

impl Reject {
    /// A refusal that leaves the connection open.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, close: None, retry_after: None, status: None, detail: detail.into() }
    }

    /// The same refusal, and the connection ends with it.
    #[must_use]
    pub fn closing(mut self, close: Close) -> Self {
        self.close = Some(close);
        self
    }

    /// The same refusal with the time after which it may succeed.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same refusal with another HTTP status than its code's own.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}
