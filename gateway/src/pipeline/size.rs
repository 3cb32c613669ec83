//! How long a message may be. The frame layer has already refused from the header what is beyond every limit; here the
//! bound is checked again after decompression, and each type's own.

use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;

/// The bound of every message; inclusive.
///
/// # Errors
/// `too_large`, and the connection ends with 1009, as it does when the frame layer sees it.
pub fn message(len: usize, max: usize) -> Result<(), Reject> {
    if len > max {
        return Err(Reject::new(Code::TooLarge, "size: over size.message").closing(Close::TooBig));
    }
    Ok(())
}

/// The bound of one type; inclusive.
///
/// # Errors
/// `too_large`; the connection stays.
pub fn of_type(len: usize, max: Option<usize>) -> Result<(), Reject> {
    if max.is_some_and(|max| len > max) {
        return Err(Reject::new(Code::TooLarge, "size: over the type's max_size"));
    }
    Ok(())
}
