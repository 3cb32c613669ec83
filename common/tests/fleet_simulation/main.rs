//! A seeded simulation of a fleet: nodes, leases, the fence, eras, claims and resume over the memory store, in schedules in
//! which calls lag and get lost, nodes and the store stop, crash, are cut off, start again, forget, and go back in time.
//!
//! `PORTCULLIS_SEED=n` runs one schedule and prints what happened in it; `PORTCULLIS_CHAOS=1` runs fifty times as many.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]

mod fleet;
mod machine;
mod mutants;
mod net;
mod node;
mod store;

use std::collections::BTreeMap;

use fleet::Fleet;
use mutants::Fault;

const SCHEDULES: u64 = 6_000;
/// Within so many schedules from there every mutant is caught.
const CATCH: u64 = 2_000;
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_schedule_breaks_the_fleet() {
    if let Some(seed) = number("PORTCULLIS_SEED") {
        match Fleet::run(seed, None, true) {
            Ok(happened) => println!("SEED={seed}: {happened:?}"),
            Err(why) => panic!("SEED={seed} {why}"),
        }
        return;
    }
    let schedules = if number("PORTCULLIS_CHAOS").is_some() { 50 * SCHEDULES } else { SCHEDULES };
    let schedules = number("PORTCULLIS_SCHEDULES").unwrap_or(schedules);
    let happened = std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            scope.spawn(move || {
                let mut all: BTreeMap<&'static str, u64> = BTreeMap::new();
                for seed in (thread..schedules).step_by(THREADS as usize) {
                    match Fleet::run(seed, None, false) {
                        Ok(happened) => happened.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n),
                        Err(why) => panic!("PORTCULLIS_SEED={seed} {why}"),
                    }
                }
                all
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut all: BTreeMap<&'static str, u64> = BTreeMap::new();
        for thread in threads {
            for (what, n) in thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                *all.entry(what).or_default() += n;
            }
        }
        all
    });
    println!("SEED=0..{schedules}: {happened:?}");
}

#[test]
fn every_mutant_of_the_fleet_is_caught() {
    let mut missed = Vec::new();
    for (fault, first) in Fault::ALL {
        let mut seeds = (first..first + CATCH).chain(0..first);
        let caught = seeds.find_map(|seed| Some((seed, Fleet::run(seed, Some(fault), false).err()?)));
        match caught {
            Some((seed, why)) => println!("{fault:?}: seed {seed}, {}", why.lines().next().unwrap_or_default()),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
