//! A seeded simulation of limits that a fleet shares: several nodes with clocks of their own, a network that lags, a
//! store that pauses and fails over, nodes that die; and the same with parts that are wrong on purpose. What must always
//! be true is in `judge.rs`. A failure names its seed; `PORTCULLIS_SEED=n` repeats it.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "test code"
)]

mod judge;
mod mutants;
mod store;
mod told;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use mutants::Fault;
use told::Told;
use world::World;

/// Schedules of `make test`, and those of `make chaos`.
const SHORT: u64 = 2_000;
const LONG: u64 = 120_000;

fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return seed..seed + 1;
    }
    let count = if std::env::var_os("PORTCULLIS_CHAOS").is_some() { LONG } else { SHORT };
    0..count
}

/// One schedule from its beginning to its end.
fn one(seed: u64, fault: Option<Fault>) -> Result<Told, String> {
    World::new(seed, fault).run().map_err(|why| format!("SEED={seed}: {why}"))
}

#[test]
fn no_schedule_admits_more_than_the_bound_or_starves_anybody() {
    let seeds = seeds();
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let told = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut told = Told::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return told;
                        }
                        match one(seed, None) {
                            Ok(more) => told.add(&more),
                            Err(why) => panic!("{why}"),
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no schedule fails")).fold(Told::default(), Told::and)
    });
    println!("SEED={}..{end}: {told}", seeds.start);
    if end - seeds.start > 1_000 {
        told.assert_everything_happened();
    }
}

#[test]
fn every_mutant_is_caught_within_a_few_hundred_schedules() {
    for fault in Fault::ALL {
        let caught = (0..600).find_map(|seed| one(seed, Some(fault)).err());
        match caught {
            Some(why) => println!("{fault:?}: {why}"),
            None => panic!("{fault:?} was not caught"),
        }
    }
}
