//! What the message path and the fan-out path cost.
//!
//! `count` runs every case under Valgrind's callgrind and compares the instructions with those in a file of the tree: the
//! same program on the same input takes the same instructions, however busy the machine is. `time` takes nanoseconds.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring program: its own inputs are legal or it is wrong, and it prints what it found"
)]

/// What is measured.
mod case;

/// A message through the pipeline, stage by stage and whole.
mod message;

/// The largest messages that are let in, benign and hostile.
mod hostile;

/// What a node looks at before it delivers a message.
mod guard;

/// From a room's message to the frames of its members.
mod fan;

/// Limiters and the embedded store.
mod state;

/// Callgrind: started, and its files read.
mod callgrind;

/// The numbers that are kept, and what may differ from them.
mod kept;

/// Nanoseconds.
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs every case once; what callgrind looks at.
    Run,
    /// Counts instructions and compares them with the kept ones.
    Count {
        /// The kept numbers.
        #[arg(long, default_value = "bench/count/instructions.txt")]
        file: PathBuf,
        /// Replaces them.
        #[arg(long)]
        renew: bool,
    },
    /// Nanoseconds of each stage and of the whole, beside the bare decode.
    Time,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run => {
            case::all().iter_mut().for_each(|case| {
                case.warm();
                case::measured(&mut case.run);
            });
            Ok(())
        }
        Verb::Count { file, renew } => callgrind::count().and_then(|found| kept::judge(&file, &found, renew)),
        Verb::Time => time::print(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_does_what_it_is_there_for() {
        // each asserts that it passed, or arrived, itself
        super::case::all().iter_mut().chain(&mut super::state::cases()).for_each(|case| (case.run)());
    }
}
