//! Who starts what: for each scenario a fresh gateway on one CPU and generators on another, then the report.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::finding::{Finding, rounded};
use crate::{Outcome, proc};

/// The figures that the design promises.
pub mod budget;
/// Several nodes over one Redis.
pub mod fleet;
/// A generator process.
pub mod generator;
/// What is played in which size.
pub mod plan;
/// The server under test.
pub mod server;
/// The report.
pub mod table;

use budget::Budget;
use generator::Generator;
use plan::{Depth, Play};
use server::{Ports, Server};

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Two minutes: does it work, roughly how fast.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Long windows: for figures that are published.
    #[arg(long)]
    pub full: bool,
    /// Only these scenarios.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<What>,
    /// JSON lines go here, the table beside it with the extension `md`, configuration and logs into the same folder.
    #[arg(long, default_value = "out/bench.jsonl")]
    pub out: PathBuf,
    /// The gateway's binary.
    #[arg(long, default_value = "target/release/portcullis-gateway")]
    pub gateway: PathBuf,
    /// A peer for the fan-out in the same run, `NAME=COMMAND`; started with `PORT` set. Repeatable.
    #[arg(long, value_parser = peer)]
    pub peer: Vec<(String, String)>,
    /// Public port; the private one is the next.
    #[arg(long, default_value_t = 18_080)]
    pub port: u16,
    /// CPU of the server; nothing is pinned on machines with one CPU or without `taskset`.
    #[arg(long, default_value_t = 0)]
    pub server_cpu: usize,
    /// CPU of the generators.
    #[arg(long, default_value_t = 1)]
    pub generator_cpu: usize,
    /// Servers and generators run before all ordinary work of the machine (SCHED_FIFO; needs root and `chrt`): for
    /// machines that do other work too.
    #[arg(long)]
    pub realtime: bool,
    /// A missed budget is a failure too.
    #[arg(long)]
    pub strict: bool,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Memory of idle sessions.
    Idle,
    /// Handshakes per core-second.
    Handshake,
    /// Raw echo and whole path.
    Echo,
    /// One to many.
    Fanout,
    /// Connect and close.
    Churn,
    /// Healthy beside hostile.
    Hostile,
    /// From node to node, beside Redis alone.
    Relay,
    /// Fifteen thousand clients lose their node.
    Storm,
}

impl What {
    const ALL: [Self; 8] =
        [Self::Idle, Self::Handshake, Self::Echo, Self::Fanout, Self::Churn, Self::Hostile, Self::Relay, Self::Storm];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Handshake => "handshake",
            Self::Echo => "echo",
            Self::Fanout => "fanout",
            Self::Churn => "churn",
            Self::Hostile => "hostile",
            Self::Relay => "relay",
            Self::Storm => "storm",
        }
    }
}

fn peer(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(name, command)| (name.to_owned(), command.to_owned())).ok_or("NAME=COMMAND".to_owned())
}

/// A result beside its budget.
#[derive(Debug, Clone)]
pub struct Row {
    /// What came out, or the fault that kept it from coming out.
    pub outcome: Result<Finding, String>,
    /// What was promised, if anything.
    pub budget: Option<Budget>,
    /// How to get it again.
    pub command: String,
}

impl Row {
    fn json(&self) -> Value {
        match &self.outcome {
            Ok(finding) => json!({
                "id": finding.id, "what": finding.what, "value": finding.value, "unit": finding.unit,
                "budget": self.budget.map(|budget| budget.to_string()), "met": self.met(), "command": self.command,
                "detail": finding.detail,
            }),
            Err(fault) => json!({ "fault": fault, "command": self.command }),
        }
    }

    /// Whether the budget is met; `None` where there is none.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let budget = self.budget?;
        self.outcome.as_ref().ok().map(|finding| budget.allows(finding.value))
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs everything asked for, and says whether all of it worked (with `strict`: and kept to the budgets).
///
/// # Errors
/// The report can't be written. A scenario that fails is a row of the report and the answer `false`.
pub fn run(options: &Run) -> Outcome<bool> {
    let depth = if options.full {
        Depth::Full
    } else if options.quick {
        Depth::Quick
    } else {
        Depth::Standard
    };
    let folder = options.out.parent().map_or_else(PathBuf::new, PathBuf::from).join("bench");
    fs::create_dir_all(&folder)?;
    let machine = machine(depth);
    let mut rows: Vec<Row> = Vec::new();
    for what in What::ALL {
        if !options.only.is_empty() && !options.only.contains(&what) {
            continue;
        }
        let command = format!("portcullis-bench run --only {}{}", what.name(), depth.flag());
        say(&format!("== {}", what.name()));
        let mut found = Vec::new();
        let done = one(options, &folder, what, depth, &mut found);
        rows.extend(found.into_iter().map(|finding| row(Ok(finding), &command)));
        if let Err(fault) = done {
            say(&format!("   {fault}"));
            rows.push(row(Err(format!("{}: {fault}", what.name())), &command));
        }
    }
    rows.extend(compare(&rows));
    let lines: String = rows.iter().map(|row| format!("{}\n", row.json())).collect();
    fs::write(&options.out, lines)?;
    let table = table::markdown(&rows, &machine);
    fs::write(options.out.with_extension("md"), &table)?;
    writeln!(std::io::stdout(), "{table}")?;
    Ok(rows.iter().all(|row| row.outcome.is_ok() && (!options.strict || row.met() != Some(false))))
}

/// What a reader must know to judge the figures: a machine that does other work is no place for ratios of latencies.
fn machine(depth: Depth) -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let pinned = if proc::can_pin() { "server and generator pinned to a CPU each" } else { "nothing pinned" };
    let store = "memory store, but for `relay` and `storm`, whose nodes share a Redis on the server's CPU";
    format!("{depth:?} run; {cpus} CPUs, load average {load} before the run; {pinned}; one worker; {store}.")
}

fn row(outcome: Result<Finding, String>, command: &str) -> Row {
    let budget = outcome.as_ref().ok().and_then(|finding| budget::of(&finding.id));
    Row { outcome, budget, command: command.to_owned() }
}

fn one(options: &Run, folder: &Path, what: What, depth: Depth, found: &mut Vec<Finding>) -> Outcome<()> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let ports = Ports { public: address(options.port), private: address(options.port + 1) };
    for (n, play) in plan::of(what, depth).into_iter().enumerate() {
        let name = format!("{}-{n}", what.name());
        if let Play::Relay(_) | Play::Storm { .. } = play {
            fleet::play(options, folder, &name, &play, &mut |finding: Finding| {
                say(&format!("   {}: {} {}", finding.id, finding.value, finding.unit));
                found.push(finding);
            })?;
            continue;
        }
        let server = Server::gateway(options, folder, &name, ports)?;
        let mut take = |finding: Finding| {
            say(&format!("   {}: {} {}", finding.id, finding.value, finding.unit));
            found.push(finding);
        };
        match &play {
            Play::Alone(arguments) => Generator::start(options, &server, arguments, &name)?.finish(&mut take)?,
            Play::Hostile { healthy, attack, quiet, up } => {
                generator::hostile(options, &server, (healthy, attack), (*quiet, *up), &mut take)?;
            }
            Play::Relay(_) | Play::Storm { .. } => {}
        }
        drop(server);
        if what != What::Fanout {
            continue;
        }
        for (peer, command) in &options.peer {
            let server = Server::peer(options, folder, peer, command, ports)?;
            let mut arguments = match &play {
                Play::Alone(arguments) => arguments.clone(),
                _ => continue,
            };
            arguments.extend(["--id".to_owned(), format!("fanout-{peer}")]);
            let mut named = |finding: Finding| take(Finding { what: format!("{peer}: {}", finding.what), ..finding });
            Generator::start(options, &server, &arguments, &format!("{name}-{peer}"))?.finish(&mut named)?;
        }
    }
    Ok(())
}

/// Ratios of figures of one run: a delivery beside a raw echo, and beside the same delivery of a peer.
fn compare(rows: &[Row]) -> Vec<Row> {
    let findings: Vec<(&Finding, &str)> =
        rows.iter().filter_map(|row| Some((row.outcome.as_ref().ok()?, row.command.as_str()))).collect();
    let value = |id: &str| findings.iter().find(|(finding, _)| finding.id == id).map(|(finding, _)| finding.value);
    let mut out = Vec::new();
    for (finding, command) in &findings {
        let Some(members) = finding.id.strip_prefix("fanout.").filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let others = findings.iter().filter_map(|(other, _)| {
            let peer = other.id.strip_prefix("fanout-")?.strip_suffix(&format!(".{members}"))?;
            Some((peer.to_owned(), other.value))
        });
        let raw = value("echo.w1.raw").map(|raw| ("raw-echo".to_owned(), raw));
        for (name, other) in others.chain(raw) {
            let what = format!("CPU per delivery to {members} members / {name}");
            let id = format!("fanout.{members}.vs.{name}");
            let ratio = Finding::new(&id, what, rounded(finding.value / other), "x", Value::Null);
            out.push(row(Ok(ratio), command));
        }
    }
    out
}
