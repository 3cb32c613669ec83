//! Why nobody was recognised. The client is told the same in every case; the sentence is for the log.

use std::fmt;

/// The token is not good: expired, forged, malformed, meant for somebody else.
///
/// The text is one of a fixed set written in this module, so it can be logged and counted; it never contains a part of
/// the token. Every `BadToken` is answered alike (401 `unauthenticated`), so that a client learns nothing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadToken(pub &'static str);

/// What came of a token that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// The peer's fault.
    Bad(BadToken),
    /// Ours: the issuer's keys cannot be had at the moment (never fetched, or older than the hard limit).
    Unavailable(&'static str),
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => bad.fmt(f),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BadToken {}
impl std::error::Error for AuthError {}

impl From<BadToken> for AuthError {
    fn from(bad: BadToken) -> Self {
        Self::Bad(bad)
    }
}
