//! How long a message may be. The frame layer has already refused from the header what is beyond every limit; here the
//! bound is checked again after decompression, then each type's own. What is inside a message is bounded by the scan
//! ([`Bounds`]), which counts while it reads, before anything is built.
//!
//! [`Bounds`]: portcullis_common::wire::scan::Bounds

use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;

use super::stages::{Halt, Run};

/// The bound of every frame: the longest message of any type; inclusive.
///
/// # Errors
/// `too_large`, and the connection ends with 1009, as it does when the frame layer sees it.
pub fn frame(len: usize, max: usize) -> Result<(), Reject> {
    if len > max {
        return Err(Reject::new(Code::TooLarge, "size: over size.message").closing(Close::TooBig));
    }
    Ok(())
}

/// The bound of the message's type, or the general one where the type is not known; inclusive.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let max = run.kind.map_or(run.policy.message, |kind| kind.max_size);
    if run.len > max {
        return Err(Reject::new(Code::TooLarge, "size: over the type's max_size").into());
    }
    Ok(())
}

/// The bound of a payload that a stage has changed.
///
/// # Errors
/// `too_large`; the connection stays.
pub fn changed(len: usize, max: usize) -> Result<(), Reject> {
    if len > max { Err(Reject::new(Code::TooLarge, "size: over the type's max_size once changed")) } else { Ok(()) }
}

/// Two stages changed one payload: the list is wrong.
pub(super) fn changed_twice() -> Reject {
    Reject::new(Code::Internal, "payload: changed by two stages")
}
