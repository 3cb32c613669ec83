//! `portcullis-bench gen …` plays one scenario; `portcullis-bench run` drives them all.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis_bench::Outcome;
use portcullis_bench::driver::report::{self, Report};
use portcullis_bench::driver::{self, Run};
use portcullis_bench::scenario::{churn, echo, fanout, handshake, hostile, idle, load, overload, relay, storm};

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
    /// More than the gateway can do.
    Overload(overload::Overload),
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
        Scenario::Overload(options) => overload::run(options),
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use portcullis_bench::driver::What;
    use portcullis_bench::driver::plan::{self, Depth, Play};

    use super::Cli;

    fn parses(words: &[String], more: &[&str]) {
        let given = ["portcullis-bench", "gen"].into_iter().chain(words.iter().map(String::as_str));
        let told = ["--server-pid", "1", "--secret-file", "x", "--target", "127.0.0.1:1", "--awake"];
        let parsed = Cli::try_parse_from(given.chain(told).chain(more.iter().copied()));
        assert!(parsed.is_ok(), "{words:?}: {}", parsed.err().map_or_else(String::new, |error| error.to_string()));
    }

    #[test]
    fn every_play_is_one_that_the_generator_understands() {
        let store = ["--redis", "127.0.0.1:1", "--redis-pid", "1"];
        let other = [store.as_slice(), &["--other", "127.0.0.1:1", "--other-pid", "1"]].concat();
        for what in What::ALL {
            for depth in [Depth::Quick, Depth::Standard, Depth::Full] {
                let plays = plan::of(what, depth);
                assert!(!plays.is_empty(), "{what:?}");
                for play in plays {
                    match play {
                        Play::Alone { words, .. } => parses(&words, &["--dialect", "nats"]),
                        Play::Fleet { words, nodes: 1, .. } => parses(&words, &store),
                        Play::Fleet { words, .. } => parses(&words, &other),
                        Play::Hostile { healthy, attack, .. } => {
                            parses(&healthy, &[]);
                            parses(&attack, &[]);
                        }
                        Play::Storm { healthy, storm, .. } => {
                            parses(&healthy, &[]);
                            parses(&storm, &["--refuge", "127.0.0.1:1", "--redis", "127.0.0.1:1"]);
                        }
                    }
                }
            }
        }
    }
}
