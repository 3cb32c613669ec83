//! The memory store under the suite that every store has to pass.

#![allow(clippy::expect_used, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::{Clock, ManualClock, UnixMs};
use portcullis_common::store::Stores;
use portcullis_common::store::conformance::{Forgetful, Harness, Step, all, run_all, run_matching};
use portcullis_common::store::memory::{Bounds, MemoryStore, MemoryWorld};
use rand::SeedableRng;
use rand::rngs::StdRng;

struct Memory(Arc<ManualClock>);

impl Memory {
    fn harness() -> Arc<dyn Harness> {
        Arc::new(Self(Arc::new(ManualClock::at(UnixMs(1_800_000_000_000)))))
    }
}

struct World(MemoryWorld);

impl Forgetful for World {
    fn process(&self) -> Step<'_, Stores> {
        Box::pin(async { self.0.stores() })
    }

    fn forget(&self) -> Step<'_, ()> {
        Box::pin(async { self.0.forget() })
    }

    fn copy(&self) -> Step<'_, ()> {
        Box::pin(async { self.0.copy() })
    }

    fn fail_over(&self) -> Step<'_, ()> {
        Box::pin(async { self.0.fail_over() })
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

impl Harness for Memory {
    fn fresh(&self) -> Step<'_, Stores> {
        let clock = Arc::clone(&self.0) as Arc<dyn Clock>;
        Box::pin(async { MemoryStore::new(clock, Box::new(StdRng::seed_from_u64(1))) })
    }

    fn forgetful(&self) -> Step<'_, Arc<dyn Forgetful>> {
        let clock = Arc::clone(&self.0) as Arc<dyn Clock>;
        let world = MemoryWorld::new(clock, Box::new(StdRng::seed_from_u64(1)), Bounds::default());
        Box::pin(async { Arc::new(World(world)) as Arc<dyn Forgetful> })
    }

    fn advance(&self, d: Duration) -> Step<'_, ()> {
        self.0.advance(d);
        Box::pin(async {})
    }

    fn jumps(&self) -> bool {
        true
    }

    /// On a thread of its own: only so do calls of this store meet.
    fn spawn(&self, work: Step<'static, ()>) -> Step<'static, ()> {
        let thread = std::thread::spawn(move || block_on(work));
        Box::pin(async move {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        })
    }
}

#[test]
fn the_memory_store_keeps_every_promise() {
    let outcome = block_on(run_all(Memory::harness()));
    assert_eq!((outcome.passed, outcome.skipped), (all().count(), 0));
}

#[test]
fn concurrent_calls_of_the_memory_store_keep_their_promises_in_many_interleavings() {
    for _ in 0..6 {
        for filter in ["session_race::", "concurrent", "at_once"] {
            let outcome = block_on(run_matching(Memory::harness(), filter));
            assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
            assert!(outcome.passed > 0, "{filter}");
        }
    }
}

#[test]
fn the_suite_names_every_check_once_and_is_as_large_as_it_says() {
    let mut names: Vec<String> = all().map(|(role, check)| format!("{role}::{}", check.name)).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 100, "{count}");
}
