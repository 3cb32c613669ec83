//! Who starts what: for each scenario a fresh gateway on one CPU and generators on another, then the report.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::finding::Finding;
use crate::{Outcome, clock};

/// The figures that the design promises.
pub mod budget;
/// Figures that are made of others.
pub mod compare;
/// What gateways are configured to do.
pub mod config;
/// Several nodes over one Redis.
pub mod fleet;
/// A generator process.
pub mod generator;
/// What a reader must know to judge the figures.
pub mod machine;
/// Other servers.
pub mod peer;
/// What is played in which size.
pub mod plan;
/// The documents that hold the figures.
pub mod report;
/// Several rounds of one figure.
pub mod rounds;
/// A result beside its budget.
pub mod row;
/// The server under test.
pub mod server;
/// In which setting a figure was taken.
pub mod setting;
/// What one of each costs, for the capacity calculator.
pub mod slopes;
/// One play, from the server's start to its end.
pub mod stage;
/// Figures as Markdown.
pub mod table;

use machine::Machine;
use peer::Peer;
use plan::Depth;
use row::Row;

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Three minutes: does it work, roughly how fast.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Long windows and seven rounds: for figures that are published.
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
    /// A peer in the same run, `NAME[:DIALECT]=COMMAND`; started with `PORT` set. Repeatable.
    #[arg(long)]
    pub peer: Vec<Peer>,
    /// Public port; the private one is the next, more follow.
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
    /// Memory of idle sessions, plain, over TLS, and of the peers.
    Idle,
    /// Handshakes per core-second.
    Handshake,
    /// Raw echo and whole path, at several windows and sizes, plain and over TLS.
    Echo,
    /// One to many, beside the peers.
    Fanout,
    /// One to many over one node and over two, with Redis.
    Nodes,
    /// Small rooms, direct messages, a mix of everything.
    Load,
    /// What policies cost, and what shared limits ask of Redis.
    Policy,
    /// Connect and close.
    Churn,
    /// Healthy beside hostile.
    Hostile,
    /// From node to node, beside Redis alone.
    Relay,
    /// Ten thousand clients lose their node.
    Storm,
    /// Three times as much as a node can do.
    Overload,
}

impl What {
    /// All, in the order in which they are played and shown.
    pub const ALL: [Self; 12] = [
        Self::Idle,
        Self::Handshake,
        Self::Echo,
        Self::Fanout,
        Self::Nodes,
        Self::Load,
        Self::Policy,
        Self::Relay,
        Self::Churn,
        Self::Hostile,
        Self::Storm,
        Self::Overload,
    ];

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Handshake => "handshake",
            Self::Echo => "echo",
            Self::Fanout => "fanout",
            Self::Nodes => "nodes",
            Self::Load => "load",
            Self::Policy => "policy",
            Self::Churn => "churn",
            Self::Hostile => "hostile",
            Self::Relay => "relay",
            Self::Storm => "storm",
            Self::Overload => "overload",
        }
    }

    /// The command that plays it.
    #[must_use]
    pub fn command(self, depth: Depth) -> String {
        format!("portcullis-bench run --only {}{}", self.name(), depth.flag())
    }
}

pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs everything asked for, and says whether all of it worked (with `strict`: and kept to the budgets).
///
/// # Errors
/// The report can't be written. A scenario that fails is a row of the report and the answer `false`; the others go on.
pub fn run(options: &Run) -> Outcome<bool> {
    let depth = match (options.full, options.quick) {
        (true, _) => Depth::Full,
        (_, true) => Depth::Quick,
        _ => Depth::Standard,
    };
    let folder = options.out.parent().map_or_else(PathBuf::new, PathBuf::from).join("bench");
    fs::create_dir_all(&folder)?;
    let machine = Machine::here(depth);
    let mut rows: Vec<Row> = Vec::new();
    for what in What::ALL {
        if !options.only.is_empty() && !options.only.contains(&what) {
            continue;
        }
        say(&format!("== {}", what.name()));
        let (mut found, began) = (Vec::new(), clock::now_ns());
        for play in plan::of(what, depth).into_iter().enumerate() {
            stage::play(options, &folder, (what, depth), play, &mut found);
        }
        say(&format!("   took {:.0} s", clock::elapsed_s(began)));
        rows.extend(rounds::merged(found));
        // after each scenario, so that a run that is stopped has shown what it found
        write(options, &machine, &rows)?;
    }
    rows.extend(compare::all(&rows));
    write(options, &machine, &rows)?;
    let table = table::whole(&machine, &rows);
    fs::write(options.out.with_extension("md"), &table)?;
    writeln!(std::io::stdout(), "{table}")?;
    Ok(rows.iter().all(|row| !row.failed() && (!options.strict || row.met() != Some(false))))
}

fn write(options: &Run, machine: &Machine, rows: &[Row]) -> Outcome<()> {
    let mut lines = format!("{}\n", serde_json::json!({ "run": machine }));
    rows.iter().for_each(|row| lines.push_str(&format!("{}\n", row.json())));
    Ok(fs::write(&options.out, lines)?)
}

/// Shows a figure on the way.
fn show(finding: &Finding) {
    say(&format!("   {}: {} {}", finding.id, finding.value, finding.unit));
}
