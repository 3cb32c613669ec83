//! The readers of what stands inside records, for the oracles of `fuzz/`: each says whether it read something, and that
//! what it read is written as it was.

use bytes::Bytes;

use super::control::LogId;
use super::letter::{Message, read_mail, write_mail};
use super::record::Opened;

/// A message of a room.
///
/// # Panics
/// When what was read is not written as it came.
#[must_use]
pub fn message(bytes: &Bytes) -> bool {
    let Some(Message { record, until }) = Message::read(bytes) else { return false };
    assert_eq!(Message::write(&record, until), bytes.as_ref());
    true
}

/// Mail for a node.
///
/// # Panics
/// As [`message`].
#[must_use]
pub fn mail(bytes: &Bytes) -> bool {
    let Some(mail) = read_mail(bytes) else { return false };
    let written = Bytes::from(write_mail(&mail));
    // a flag that mail has no use for may be set; what it says is the same
    assert_eq!(format!("{:?}", read_mail(&written)), format!("{:?}", Some(mail)));
    true
}

/// An entry of the control log.
#[must_use]
pub fn control_entry(opened: &Opened) -> bool {
    super::redis::reading::control_entry(LogId(1), opened)
}

/// A page of a snapshot of the control log.
///
/// # Panics
/// As [`message`].
#[must_use]
pub fn snapshot(bytes: &Bytes) -> bool {
    super::redis::reading::snapshot(bytes)
}

/// What a room's channel carries: a place and a record.
#[must_use]
pub fn placed(bytes: &Bytes) -> bool {
    super::redis::reading::placed(bytes)
}
