//! A seeded simulation of the session ledger: random schedules of several nodes against what must always be true, and
//! the same against ledgers that are wrong on purpose. A failure names its seed: `PORTCULLIS_SEED=n` repeats it;
//! `PORTCULLIS_CHAOS=1` runs fifty times as many.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, reason = "test code")]

mod mutants;
mod steps;
mod world;

use std::sync::Arc;

use mutants::{Fault, Mutant};
use portcullis_common::clock::Clock;
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::session::SessionLedger;
use rand::SeedableRng;
use rand::rngs::StdRng;
use world::World;

const SCHEDULES: u64 = 94_000;
const STEPS: usize = 40;

fn memory(clock: Arc<dyn Clock>) -> Arc<dyn SessionLedger> {
    MemoryStore::new(clock, Box::new(StdRng::seed_from_u64(0))).ledger
}

/// One schedule; `Err` says at which step what was wrong.
fn one(seed: u64, make: &dyn Fn(Arc<dyn Clock>) -> Arc<dyn SessionLedger>) -> Result<(), String> {
    let mut world = World::new(seed, make);
    for step in 0..STEPS {
        world.step().map_err(|why| format!("seed {seed}, step {step}: {why}"))?;
    }
    Ok(())
}

#[test]
fn no_schedule_breaks_the_memory_ledger() {
    if let Ok(seed) = std::env::var("PORTCULLIS_SEED") {
        return one(seed.parse().expect("a number"), &memory).expect("a schedule that breaks nothing");
    }
    let schedules = if std::env::var_os("PORTCULLIS_CHAOS").is_some() { 50 * SCHEDULES } else { SCHEDULES };
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (thread..schedules).step_by(threads as usize) {
                    if let Err(why) = one(seed, &memory) {
                        panic!("{why}");
                    }
                }
            });
        }
    });
    println!("SEED=0..{schedules}");
}

#[test]
fn every_mutant_is_caught_within_a_few_hundred_schedules() {
    for fault in Fault::ALL {
        let make = |clock: Arc<dyn Clock>| Arc::new(Mutant::new(memory(clock), fault)) as Arc<dyn SessionLedger>;
        let caught = (0..500).find_map(|seed| one(seed, &make).err());
        match caught {
            Some(why) => println!("{fault:?}: {why}"),
            None => panic!("{fault:?} was not caught"),
        }
    }
}
