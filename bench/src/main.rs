//! `portcullis-bench gen …` plays one scenario; `portcullis-bench run` drives them all.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis_bench::Outcome;
use portcullis_bench::driver::report::{self, Report};
use portcullis_bench::driver::{self, Run};
use portcullis_bench::scenario::{churn, echo, fanout, handshake, hostile, idle, load, relay, storm};

#[derive(Parser)]
#[command(version, about = "Load generator and benchmark driver of Portcullis")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays one scenario against a server that runs already; one JSON line a result.
    #[command(subcommand)]
    Gen(Box<Scenario>),
    /// Starts gateways and generators, writes JSON lines and a table beside the budgets.
    Run(Run),
    /// Writes the documents' figures from the kept results.
    Report(Report),
}

#[derive(Subcommand)]
enum Scenario {
    /// Memory of idle sessions.
    Idle(idle::Idle),
    /// Handshakes per core-second.
    Handshake(handshake::Handshake),
    /// CPU per message, raw echo and whole path.
    Echo(echo::Echo),
    /// CPU per delivery of one message to many.
    Fanout(fanout::Fanout),
    /// Small rooms, direct messages, joins, newcomers: each at its moment.
    Load(load::Load),
    /// Whether everything is given back.
    Churn(churn::Churn),
    /// Paced health-checks of idle clients, in phases told on standard input.
    Healthy(hostile::Healthy),
    /// Slow handshakes and slow readers.
    Attack(hostile::attack::Attack),
    /// From node to node, beside Redis alone.
    Relay(relay::Relay),
    /// Clients that lose their node and come back.
    Storm(storm::Storm),
}

fn play(scenario: &Scenario) -> Outcome<()> {
    match scenario {
        Scenario::Idle(options) => idle::run(options),
        Scenario::Handshake(options) => handshake::run(options),
        Scenario::Echo(options) => echo::run(options),
        Scenario::Fanout(options) => fanout::run(options),
        Scenario::Load(options) => load::run(options),
        Scenario::Churn(options) => churn::run(options),
        Scenario::Healthy(options) => hostile::run(options),
        Scenario::Attack(options) => hostile::attack::run(options),
        Scenario::Relay(options) => relay::run(options),
        Scenario::Storm(options) => storm::run(options),
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Gen(scenario) => play(&scenario).map(|()| true),
        Command::Run(run) => driver::run(&run),
        Command::Report(options) => report::run(&options).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "portcullis-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
