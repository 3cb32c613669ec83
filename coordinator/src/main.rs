//! `portcullis-coordinator`: the command line.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use portcullis_common::clock::SystemClock;
use portcullis_common::config;
use portcullis_common::config::model::{CoordinatorConfig, Log};
use portcullis_coordinator::run::{StartError, check, run};
use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

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
    let here = PathBuf::from(".");
    let base = file.and_then(Path::parent).filter(|p| !p.as_os_str().is_empty()).unwrap_or(&here);
    let base = std::path::absolute(base).unwrap_or(here.clone());
    CoordinatorConfig::load(file, config::environment(), &base)
        .map_err(|errors| Failure { code: USAGE, text: errors.to_string() })
}

/// Lines that may wait to be written; a flood of events loses lines rather than blocking the loops.
const LOG_LINES: usize = 16_384;

/// The guard writes out what waits when it is dropped.
fn start_logging(log: &Log) -> Result<WorkerGuard, Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.filter)
        .map_err(|e| Failure { code: USAGE, text: format!("log.filter: {e}") })?;
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_LINES).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    let result = if log.json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    result.map(|()| guard).map_err(|e| Failure { code: FAILED, text: e.to_string() })
}

fn serve(config: CoordinatorConfig) -> Result<(), Failure> {
    let _guard = start_logging(&config.log)?;
    let clock = Arc::new(SystemClock::default());
    actix_rt::System::new().block_on(async {
        let end = async {
            let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
                return;
            };
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            // a second signal ends the process at once
            actix_rt::spawn(async move {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                std::process::exit(i32::from(FAILED));
            });
        };
        run(config, clock, |_| {}, end).await
    })?;
    Ok(())
}
