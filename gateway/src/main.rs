//! `portcullis-gateway`: the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use portcullis_common::clock::SystemClock;
use portcullis_common::config;
use portcullis_common::config::error::ConfigErrors;
use portcullis_common::config::model::Config;
use portcullis_common::config::secret::Secret;
use portcullis_common::process::{LogError, asked_to_end, start_logging};
use portcullis_gateway::demo::DemoBackend;
use portcullis_gateway::demo::backend::NodeBackend;
use portcullis_gateway::node::{Node, StartError};
use portcullis_gateway::probe;
use portcullis_gateway::reload;
use portcullis_gateway::run::run;
use rand::RngCore;
use tokio::signal::unix::{SignalKind, signal};

/// A session is some thirty small things that live for hours among others that live for microseconds: an allocator that
/// keeps sizes apart leaves no holes between them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration or the command line is wrong (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;
/// The node could not start or run.
const FAILED: u8 = 70;

/// `health`: it is not, or does not answer. What container engines take for "unhealthy".
const UNWELL: u8 = 1;

#[derive(Parser)]
#[command(name = "portcullis-gateway", version, about = "The WebSocket security gateway")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a node with a configuration file
    Run {
        /// The TOML file
        #[arg(long)]
        config: PathBuf,
    },
    /// Run a node for trying out: memory store, loopback, a demo page and a token issuer
    Dev {
        /// The port of the page
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// The port of health and metrics
        #[arg(long, default_value_t = 9090)]
        private_port: u16,
    },
    /// Check a configuration file: every problem at once, exit code 64 if there is one
    CheckConfig {
        /// The TOML file
        file: PathBuf,
    },
    /// Ask a running node on its private port whether newcomers may be sent to it: exit code 0, or 1 with the reasons
    Health {
        /// The TOML file that it runs with, which says where its private port is
        #[arg(long, conflicts_with = "address", required_unless_present = "address")]
        config: Option<PathBuf>,
        /// Its private port, as `host:port`
        #[arg(long)]
        address: Option<String>,
        /// Ask whether it is alive instead
        #[arg(long)]
        live: bool,
    },
    /// Print the configuration in effect, secrets left out; without file and variables: the commented example
    PrintConfig {
        /// The TOML file; without it: the environment alone
        file: Option<PathBuf>,
    },
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
        Verb::Run { config } => load(Some(&config)).and_then(|loaded| serve(loaded, Some(config))),
        Verb::Dev { port, private_port } => dev(port, private_port).and_then(|config| serve(config, None)),
        Verb::CheckConfig { file } => load(Some(&file)).and_then(|config| check(config, &file)),
        Verb::Health { config, address, live } => health(config.as_deref(), address, live),
        Verb::PrintConfig { file } => print_config(file.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::from(code)
        }
    }
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
        let code = if matches!(error, StartError::Config(_)) { USAGE } else { FAILED };
        Self { code, text: error.to_string() }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn read(file: Option<&Path>) -> Result<Config, ConfigErrors> {
    Config::load(file, config::environment())
}

fn load(file: Option<&Path>) -> Result<Config, Failure> {
    read(file).map_err(|e| Failure { code: USAGE, text: e.to_string() })
}

/// Every key with its default and why it exists; a test holds it against the loader.
const EXAMPLE: &str = include_str!("../../portcullis.example.toml");

fn print_config(file: Option<&Path>) -> Result<(), Failure> {
    let set = config::environment().any(|(name, _)| name.starts_with("PORTCULLIS_"));
    if file.is_none() && !set {
        say(EXAMPLE.trim_end());
        return Ok(());
    }
    load(file).map(|config| say(&config.to_toml()))
}

fn dev(port: u16, private_port: u16) -> Result<Config, Failure> {
    let mut secret = [0u8; 32];
    rand::rng().fill_bytes(&mut secret);
    Config::dev(Secret::new(secret.to_vec()), port, private_port)
        .map_err(|e| Failure { code: USAGE, text: e.to_string() })
}

/// What the loader cannot see (keys, conditions, certificates) is compiled too, as `run` would.
fn check(config: Config, file: &Path) -> Result<(), Failure> {
    portcullis_gateway::node::check(&config).map_err(Failure::from)?;
    say(&format!("{}: good", file.display()));
    Ok(())
}

fn health(file: Option<&Path>, address: Option<String>, live: bool) -> Result<(), Failure> {
    let address = match address {
        Some(address) => address,
        None => load(file)?.listen.private.to_string(),
    };
    let path = if live { "/health/live" } else { "/health/ready" };
    match probe::ask(address.as_str(), path) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(Failure { code: UNWELL, text: format!("{}: {}", answer.status, answer.body) }),
        Err(error) => Err(Failure { code: UNWELL, text: format!("{address}: {error}") }),
    }
}

/// Lines that may wait to be written; a flood of events loses lines rather than blocking a worker.
const LOG_LINES: usize = 65_536;

/// Every SIGHUP, and an operator's command, reads the file again and puts its rules in force, or says why not.
fn reload_from(node: Arc<Node>, file: PathBuf) {
    let problems = |errors: ConfigErrors| errors.0.into_iter().map(|error| (error.path, error.problem)).collect();
    // it is set here and nowhere else
    let _ = node.source.set(Box::new(move || read(Some(&file)).map_err(problems)));
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    actix_rt::spawn(async move {
        while hangups.recv().await.is_some() {
            // its event says how it went
            drop(reload::from_source(&node).await);
        }
    });
}

/// Without a file it is the `dev` profile.
fn serve(config: Config, file: Option<PathBuf>) -> Result<(), Failure> {
    let (_guard, lost) = start_logging(&config.log, LOG_LINES)?;
    let clock = Arc::new(SystemClock::default());
    actix_rt::System::new().block_on(async {
        run(
            config,
            clock,
            |node, listening| {
                node.metrics.store.watch_log(move || u64::try_from(lost.dropped_lines()).unwrap_or(u64::MAX));
                if let Some(file) = file {
                    reload_from(Arc::clone(node), file);
                } else {
                    greet(&NodeBackend::new(Arc::clone(node)), listening.public.port(), listening.private.port());
                }
            },
            asked_to_end(FAILED),
        )
        .await
    })?;
    Ok(())
}

/// What a newcomer sees first.
fn greet(backend: &NodeBackend, port: u16, private_port: u16) {
    let token = backend.mint("you", false).map(|minted| minted.token).unwrap_or_default();
    say(&format!(
        "\nPortcullis is open.\n\n  Demo    http://127.0.0.1:{port}/\n  Socket  ws://127.0.0.1:{port}/ws\n  \
         Health  http://127.0.0.1:{private_port}/health\n  Metrics http://127.0.0.1:{private_port}/metrics\n\n  \
         A token for an hour, for any WebSocket client (header `Authorization: Bearer …`):\n\n{token}\n\n\
         Stop with Ctrl-C.\n"
    ));
}
