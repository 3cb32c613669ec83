//! A seeded simulation of the control log: its reader, its copies and its snapshots as they are, over a store that is
//! emptied, fails over to a replica that lags, loses calls and answers, and that others write to; processes that stop,
//! crash, start again with and without their disk, under clocks that are wrong. And of the nonces of commands.
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

mod commands;
mod judge;
mod machine;
mod mutants;
mod node;
mod store;
mod world;

use std::collections::BTreeMap;

use commands::Forgets;
use mutants::Fault;
use portcullis_common::control::key::OperatorKey;
use rand::SeedableRng;
use rand::rngs::StdRng;
use world::World;

const SCHEDULES: u64 = 250;
/// Within so many schedules every mutant is caught.
const CATCH: u64 = 500;
const THREADS: u64 = 2;
/// Schedules of commands.
const COMMANDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_schedule_breaks_the_control_log() {
    if let Some(seed) = number("PORTCULLIS_SEED") {
        match World::run(seed, None, true) {
            Ok(happened) => println!("SEED={seed}: {happened:?}"),
            Err(why) => panic!("PORTCULLIS_SEED={seed} {why}"),
        }
        return;
    }
    let schedules = if number("PORTCULLIS_CHAOS").is_some() { 50 * SCHEDULES } else { SCHEDULES };
    let schedules = number("PORTCULLIS_SCHEDULES").unwrap_or(schedules);
    let mut happened: BTreeMap<&'static str, u64> = BTreeMap::new();
    let some = |thread: u64| {
        (thread..schedules).step_by(THREADS as usize).flat_map(|seed| match World::run(seed, None, false) {
            Ok(happened) => happened,
            Err(why) => panic!("PORTCULLIS_SEED={seed} {why}"),
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || some(thread).collect::<Vec<_>>())).collect();
        for thread in threads {
            for (what, n) in thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                *happened.entry(what).or_default() += n;
            }
        }
    });
    println!("SEED=0..{schedules}: {happened:?}");
}

#[test]
fn every_mutant_of_the_store_is_caught() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        match (0..CATCH).find_map(|seed| Some((seed, World::run(seed, Some(fault), false).err()?))) {
            Some((seed, why)) => println!("{fault:?}: seed {seed}, {}", why.lines().next().unwrap_or_default()),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

fn keys() -> [OperatorKey; 2] {
    [1, 2].map(|seed| OperatorKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap())
}

#[test]
fn no_schedule_has_a_command_obeyed_twice_or_out_of_its_time() {
    let schedules = if number("PORTCULLIS_CHAOS").is_some() { 50 * COMMANDS } else { COMMANDS };
    let keys = keys();
    let run = |seed| commands::run(seed, &keys, None).unwrap_or_else(|why| panic!("PORTCULLIS_SEED={seed} {why}"));
    let obeyed: u64 = match number("PORTCULLIS_SEED") {
        Some(seed) => run(seed),
        None => (0..schedules).map(run).sum(),
    };
    println!("SEED=0..{schedules}: {obeyed} commands obeyed");
}

#[test]
fn every_mutant_of_a_memory_is_caught() {
    let keys = keys();
    for forgets in Forgets::ALL {
        match (0..CATCH).find_map(|seed| commands::run(seed, &keys, Some(forgets)).err()) {
            Some(why) => println!("{forgets:?}: {why}"),
            None => panic!("{forgets:?} was not caught"),
        }
    }
}
