//! Bans in the order in which operators read them, kept while somebody reads page after page.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::control::command::ban_key;
use portcullis_common::store::control::Target;

/// An order that nobody has used for so long is made anew; whoever reads a list takes a page in far less.
const KEPT: Duration = Duration::from_secs(60);

/// The order of one moment.
struct Order {
    used: UnixMs,
    /// By [`ban_key`].
    targets: Vec<Target>,
}

/// Where a list of bans is read on. Memory: a target for each ban, from the first page to the last or the next list.
#[derive(Default)]
pub(super) struct Pages(Mutex<Option<Order>>);

impl Pages {
    /// The first `limit` of what `listed` makes of the targets behind `after`, and whether there are more. The first page
    /// of a list makes the order, from `all`; what is banned after that comes with the next list, what is lifted is left
    /// out. Cost: of the first page a text and a place for each ban; of any other its own rows and a binary search.
    pub(super) fn page<T>(
        &self,
        (after, limit, now): (Option<&str>, usize, UnixMs),
        all: impl FnOnce() -> Vec<Target>,
        listed: impl Fn(&Target) -> Option<T>,
    ) -> (Vec<T>, bool) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.take().filter(|order| after.is_some() && now <= order.used.after(KEPT));
        let mut order = known.unwrap_or_else(|| {
            let mut targets = all();
            targets.sort_by_cached_key(ban_key);
            Order { used: now, targets }
        });
        order.used = now;
        let first = after.map_or(0, |after| order.targets.partition_point(|target| ban_key(target).as_str() <= after));
        let mut rest = order.targets.iter().skip(first).filter_map(listed);
        let page: Vec<T> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        if more {
            *kept = Some(order);
        }
        (page, more)
    }
}
