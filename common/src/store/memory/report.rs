//! Reports: a list.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::ready;
use super::shard::lock;
use crate::clock::{Clock, UnixMs};
use crate::ids::NodeId;
use crate::store::StoreFuture;
use crate::store::report::{AGE, Filed, KEPT, PAGE, Page, Place, Reports};
use crate::stuffing::{Mark, Report};

#[derive(Default)]
struct List {
    filed: VecDeque<(Place, Filed)>,
    last: u64,
}

pub(super) struct MemoryReports {
    clock: Arc<dyn Clock>,
    /// Of this process: nobody else is there to compare with.
    key: [u8; 32],
    list: Mutex<List>,
}

impl MemoryReports {
    pub(super) fn new(clock: Arc<dyn Clock>, key: [u8; 32]) -> Self {
        Self { clock, key, list: Mutex::default() }
    }
}

/// A keyed hash of words that do not hold the byte 0.
pub(in crate::store) fn mark(key: &[u8; 32], words: &[&str]) -> Mark {
    let hash = blake3::keyed_hash(key, words.join("\0").as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    Mark(u64::from_be_bytes(*first))
}

impl Reports for MemoryReports {
    fn mark(&self, words: &[&str]) -> Mark {
        mark(&self.key, words)
    }

    fn file(&self, report: Report, at: UnixMs) -> StoreFuture<'_, ()> {
        let now = self.clock.wall();
        let mut list = lock(&self.list);
        list.last += 1;
        let place = Place(list.last, 0);
        // there is one node
        let Ok(node) = NodeId::parse("memory") else { return ready(Ok(())) };
        list.filed.push_back((place, Filed { node, at, report }));
        while list.filed.len() > KEPT || list.filed.front().is_some_and(|(_, old)| old.at.after(AGE) < now) {
            list.filed.pop_front();
        }
        ready(Ok(()))
    }

    fn read(&self, after: Place) -> StoreFuture<'_, Page> {
        let list = lock(&self.list);
        let mut page = Page { now: self.clock.wall(), last: after, ..Page::default() };
        for (place, filed) in list.filed.iter().filter(|(place, _)| *place > after).take(PAGE) {
            page.filed.push(filed.clone());
            page.last = *place;
        }
        page.more = page.filed.len() == PAGE;
        ready(Ok(page))
    }
}
