//! `portcullis-coordinator`: the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use portcullis_common::clock::SystemClock;
use portcullis_common::config;
use portcullis_common::config::model::CoordinatorConfig;
use portcullis_common::process::{LogError, asked_to_end, start_logging};
use portcullis_coordinator::run::{StartError, check, run};

/// The configuration or the command line is wrong (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;
/// The coordinator could not start or run.
const FAILED: u8 = 70;

#[derive(Parser)]
#[command(
    name = "portcullis-coordinator",
    version,
    about = "Watches a fleet of gateways and clears up after dead ones"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a coordinator with the fleet's configuration file
    Run {
        /// The TOML file
        #[arg(long)]
        config: PathBuf,
    },
    /// Check what a coordinator reads of a configuration file: every problem at once, exit code 64 if there is one
    CheckConfig {
        /// The TOML file
        file: PathBuf,
    },
    /// Print what a coordinator reads of the configuration in effect, secrets left out
    PrintConfig {
        /// The TOML file; without it: the environment alone
        file: Option<PathBuf>,
    },
}

struct Failure {
    code: u8,
    text: String,
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        let code = if matches!(error, LogError::Filter(_)) { USAGE } else { FAILED };
        Self { code, text: error.to_string() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = if matches!(error, StartError::Config(..)) { USAGE } else { FAILED };
        Self { code, text: error.to_string() }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            // nowhere to report that printing failed
            let _ = error.print();
            return if usage { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.verb {
        Verb::Run { config } => load(Some(&config)).and_then(serve),
        Verb::CheckConfig { file } => load(Some(&file)).and_then(|config| {
            check(&config)?;
            say(&format!("{}: good", file.display()));
            Ok(())
        }),
        Verb::PrintConfig { file } => load(file.as_deref()).map(|config| say(config.to_toml().trim_end())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::from(code)
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn load(file: Option<&Path>) -> Result<CoordinatorConfig, Failure> {
    CoordinatorConfig::load(file, config::environment())
        .map_err(|errors| Failure { code: USAGE, text: errors.to_string() })
}

/// Lines that may wait to be written; a flood of events loses lines rather than blocking the loops.
const LOG_LINES: usize = 16_384;

fn serve(config: CoordinatorConfig) -> Result<(), Failure> {
    let (_guard, _) = start_logging(&config.log, LOG_LINES)?;
    let clock = Arc::new(SystemClock::default());
    actix_rt::System::new().block_on(async { run(config, clock, |_| {}, asked_to_end(FAILED)).await })?;
    Ok(())
}
