//! `[overload]`: from what on a node takes less, step by step.

use super::super::model::Overload;
use super::super::read::Section;
use super::super::unit::{duration, length};
use super::super::value::boolean;
use super::{millis, secs};

pub(super) fn overload(mut s: Section<'_>) -> Overload {
    Overload {
        enabled: s.or("enabled", true, boolean),
        memory: s.optional("memory", length(1 << 20..=1 << 44)),
        queues: s.or("queues", 256 << 20, length(64 << 10..=1 << 40)),
        lag: s.or("lag", millis(500), duration(millis(50)..=secs(60))),
        dry_run: s.or("dry_run", false, boolean),
    }
}
