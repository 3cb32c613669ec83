//! How many messages, bytes and control frames one connection may send: three exact limiters, 24 bytes of state.

use std::time::Duration;

use portcullis_common::config::model::Limits;
use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;

use super::Now;

/// How many messages a malformed one counts as.
pub const MALFORMED_COST: u64 = 5;

/// The limiters of `limit.message`, `limit.bytes` and `limit.control`.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    message: Gcra,
    bytes: Gcra,
    control: Gcra,
}

impl Flow {
    /// Compiles the limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { message: Gcra::new(limits.message), bytes: Gcra::new(limits.bytes), control: Gcra::new(limits.control) }
    }
}

/// What one connection has used.
#[derive(Debug, Default)]
pub struct Used {
    message: Tat,
    bytes: Tat,
    control: Tat,
}

/// Takes one message of `len` bytes, from both limiters or from neither.
///
/// # Errors
/// `rate_limited` with the exact time after which the same message would be taken.
pub fn take(flow: &Flow, used: &mut Used, len: usize, now: Now) -> Result<(), Reject> {
    let (mut message, mut bytes) = (used.message, used.bytes);
    let first = flow.message.take(&mut message, now.mono_ns, 1);
    let second = flow.bytes.take(&mut bytes, now.mono_ns, len as u64);
    match (first, second) {
        (Ok(()), Ok(())) => {
            used.message = message;
            used.bytes = bytes;
            Ok(())
        }
        (first, second) => {
            let wait = first.err().unwrap_or_default().max(second.err().unwrap_or_default());
            Err(Reject::new(Code::RateLimited, "flow: over limit.message or limit.bytes").retry(wait))
        }
    }
}

/// How long until [`take`] of the same would succeed; zero when it would now.
#[must_use]
pub fn wait(flow: &Flow, used: &Used, len: usize, now: Now) -> Duration {
    let bytes = flow.bytes.wait(used.bytes, now.mono_ns, len as u64);
    flow.message.wait(used.message, now.mono_ns, 1).max(bytes)
}

/// Makes the message just taken count as [`MALFORMED_COST`].
pub fn charge_malformed(flow: &Flow, used: &mut Used, now: Now) {
    flow.message.charge(&mut used.message, now.mono_ns, MALFORMED_COST - 1);
}

/// Takes one control frame.
///
/// # Errors
/// `rate_limited`, and the connection ends with 4429.
pub fn control(flow: &Flow, used: &mut Used, now: Now) -> Result<(), Reject> {
    flow.control.take(&mut used.control, now.mono_ns, 1).map_err(|wait| {
        Reject::new(Code::RateLimited, "flow: over limit.control").retry(wait).closing(Close::RateLimited)
    })
}
