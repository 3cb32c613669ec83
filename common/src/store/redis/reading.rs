//! Of [`crate::store::reading`], what is Redis' own.

use bytes::Bytes;

use super::{history, log, snapshot};
use crate::store::control::LogId;
use crate::store::record::Opened;

pub(in crate::store) fn control_entry(id: LogId, opened: &Opened) -> bool {
    log::decode(id, opened).is_some()
}

pub(in crate::store) fn snapshot(bytes: &Bytes) -> bool {
    let Some(entries) = snapshot::read_entries(bytes) else { return false };
    let mut written = Vec::new();
    snapshot::write_entries(entries.iter().map(|(place, sealed)| (*place, sealed)), &mut written);
    assert_eq!(written, bytes.as_ref());
    true
}

pub(in crate::store) fn placed(bytes: &Bytes) -> bool {
    let Some((place, record)) = history::placed(bytes) else { return false };
    assert!(place.epoch > 0 && record.len() < bytes.len());
    true
}
