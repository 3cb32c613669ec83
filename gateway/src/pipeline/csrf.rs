//! Whether the session's own page sent the message: a 256-bit token that only the holder of `welcome` or `csrf` knows.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_common::config::model;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use rand::RngCore;
use subtle::{Choice, ConstantTimeEq};

use super::stages::{Halt, Run};
use super::{Now, nanos};

/// `csrf.rotate` and `csrf.grace`, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    rotate: u64,
    grace: u64,
}

impl Times {
    /// Compiles the section.
    #[must_use]
    pub fn new(csrf: &model::Csrf) -> Self {
        Self { rotate: nanos(csrf.rotate), grace: nanos(csrf.grace) }
    }
}

/// The tokens of one session. The default has none, and refuses everything.
#[derive(Default)]
pub struct Tokens {
    current: Option<[u8; 32]>,
    /// When the current one was issued, on the monotonic clock.
    issued: u64,
    /// The one before, and until when it is good. On the heap: most sessions have none.
    previous: Option<Box<([u8; 32], u64)>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[csrf tokens]")
    }
}

impl Tokens {
    /// Makes a new token current and returns what the client is to be told: 43 characters of base64url. The one before
    /// stays good for the grace period; the one before that ends now.
    pub fn rotate(&mut self, times: Times, rng: &mut dyn RngCore, now: Now) -> String {
        let mut token = [0; 32];
        rng.fill_bytes(&mut token);
        let until = now.mono_ns.saturating_add(times.grace);
        self.previous = self.current.replace(token).map(|old| Box::new((old, until)));
        self.issued = now.mono_ns;
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Whether it is time to [`Self::rotate`].
    #[must_use]
    pub fn due(&self, times: Times, now: Now) -> bool {
        self.current.is_none() || now.mono_ns.saturating_sub(self.issued) >= times.rotate
    }

    /// Compares in a time that does not depend on where a wrong token differs.
    fn accepts(&self, given: &[u8; 32], now: Now) -> bool {
        let mut good = Choice::from(0);
        if let Some(current) = &self.current {
            good |= current.ct_eq(given);
        }
        if let Some((previous, until)) = self.previous.as_deref() {
            good |= previous.ct_eq(given) & Choice::from(u8::from(now.mono_ns < *until));
        }
        good.into()
    }
}

/// Messages whose type is not exempt carry the session's token. What is exempt only the configuration says.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    if run.kind.is_some_and(|kind| kind.csrf_exempt) {
        return Ok(());
    }
    Ok(token(&run.state.csrf, run.message.csrf_token.as_deref(), run.now)?)
}

/// Checks a `csrfToken`.
///
/// # Errors
/// `csrf_invalid`: absent, not a token, not this session's, past its grace, or the session has none.
pub fn token(tokens: &Tokens, given: Option<&str>, now: Now) -> Result<(), Reject> {
    let refused = |detail: &'static str| Err(Reject::new(Code::CsrfInvalid, detail));
    let Some(text) = given else { return refused("csrf: no token") };
    let mut token = [0; 32];
    // the length first: the decoder wants room for its estimate
    if text.len() != 43 || URL_SAFE_NO_PAD.decode_slice(text, &mut token) != Ok(32) {
        return refused("csrf: not a token");
    }
    if tokens.accepts(&token, now) { Ok(()) } else { refused("csrf: not this session's token") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use portcullis_common::clock::UnixMs;

    const S: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * S, wall: UnixMs(0) }
    }

    fn times() -> Times {
        let (rotate, grace) = (Duration::from_secs(3_600), Duration::from_secs(60));
        Times::new(&model::Csrf { exempt: vec![], rotate, grace })
    }

    #[test]
    fn a_session_without_a_token_refuses_every_token_and_none() {
        let tokens = Tokens::default();
        let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
        for given in [None, Some(""), Some("undefined"), Some(zeros.as_str())] {
            assert_eq!(token(&tokens, given, at(0)).unwrap_err().code, Code::CsrfInvalid, "{given:?}");
        }
    }

    #[test]
    fn only_the_issued_token_passes() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut mine, mut other) = (Tokens::default(), Tokens::default());
        let good = mine.rotate(times(), &mut rng, at(1));
        let foreign = other.rotate(times(), &mut rng, at(1));
        assert_eq!(good.len(), 43);
        assert!(token(&mine, Some(&good), at(2)).is_ok());
        let mut padded = good.clone();
        padded.push('=');
        for bad in [foreign.as_str(), &good[..42], &padded, &good.to_lowercase()] {
            assert!(token(&mine, Some(bad), at(2)).is_err());
        }
        assert!(token(&mine, None, at(2)).is_err());
    }

    #[test]
    fn the_previous_token_is_good_in_its_grace_and_not_a_moment_longer() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut tokens = Tokens::default();
        let first = tokens.rotate(times(), &mut rng, at(0));
        assert!(!tokens.due(times(), at(3_599)));
        assert!(tokens.due(times(), at(3_600)));
        let second = tokens.rotate(times(), &mut rng, at(3_600));
        assert!(token(&tokens, Some(&first), at(3_659)).is_ok());
        assert!(token(&tokens, Some(&first), at(3_660)).is_err());
        assert!(token(&tokens, Some(&second), at(3_660)).is_ok());
        let third = tokens.rotate(times(), &mut rng, at(3_661));
        assert!(token(&tokens, Some(&first), at(3_661)).is_err(), "two rotations end a token");
        assert!(token(&tokens, Some(&second), at(3_661)).is_ok());
        assert!(token(&tokens, Some(&third), at(3_661)).is_ok());
    }
}
