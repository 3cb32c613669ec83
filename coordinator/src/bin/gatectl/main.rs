//! `gatectl`: commands a fleet of gateways. Needs the store's credentials and an operator's key, no key of the cluster,
//! and no coordinator: it signs, writes into the store, and gathers what the nodes answer.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

/// What can be typed.
mod arguments;

/// Asking nodes, and gathering their answers.
mod fleet;

/// Operators' keys.
mod keys;

/// Lists: nodes, sessions, bans.
mod list;

/// Penalties, explained.
mod policy;

/// What changes something.
mod act;

/// Many bans at once.
mod bulk;

/// Bans as lines of a file.
mod lines;

/// What others say about addresses.
mod feed;

/// What happens now.
mod watch;

/// Tokens for trying out.
mod mint;

/// What a fleet of some size needs.
mod capacity;

/// Tables, JSON, times.
mod show;

use arguments::{Arguments, BanVerb, KickVerb, PolicyVerb, SessionsVerb, TokenVerb, Verb};
use feed::FeedVerb;
use fleet::Fleet;

/// What a verb came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Every node that was expected did it.
    All,
    /// Some did.
    Partly,
    /// None did in time, or there was nothing to show.
    None,
}

impl End {
    fn code(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Partly => 3,
            Self::None => 4,
        }
    }
}

/// Why a verb could not even be tried.
enum Trouble {
    /// The command line, the configuration or the key: 64.
    Usage(String),
    /// The store: nobody was reached, 4.
    Unreached(String),
    /// What was given is not what is made use of: 65.
    Data(String),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            // nowhere to report that printing failed
            let _ = error.print();
            return if usage { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Trouble::Unreached(error.to_string())),
    };
    let (code, text) = match end {
        Ok(end) => return ExitCode::from(end.code()),
        Err(Trouble::Usage(text)) => (64, text),
        Err(Trouble::Unreached(text)) => (4, text),
        Err(Trouble::Data(text)) => (65, text),
    };
    let _ = writeln!(std::io::stderr(), "gatectl: {text}");
    ExitCode::from(code)
}

async fn run(arguments: Arguments) -> Result<End, Trouble> {
    let json = arguments.common.json;
    let common = &arguments.common;
    match arguments.verb {
        Verb::Capacity(what) => capacity::tell(&what, json),
        Verb::Keygen(what) => keys::keygen(&what, json),
        Verb::Completions { shell } => Ok(arguments::completions(shell)),
        Verb::Feed(FeedVerb::Compile(what)) => feed::compile(common, &what),
        Verb::Feed(FeedVerb::Show(what)) => feed::show(&what, json),
        Verb::Token(TokenVerb::Mint(what)) => mint::mint(common, &what),
        Verb::Nodes => list::nodes(&Fleet::open(common).await?, json).await,
        Verb::Sessions(SessionsVerb::List(what)) => list::sessions(&Fleet::open(common).await?, &what, json).await,
        Verb::Sessions(SessionsVerb::Show { session }) => {
            list::session(&Fleet::open(common).await?, session, json).await
        }
        Verb::Kick(KickVerb::Session(what)) => act::kick_session(&Fleet::open(common).await?, what, json).await,
        Verb::Kick(KickVerb::User(what)) => act::kick_user(&Fleet::open(common).await?, what, json).await,
        Verb::Ban(BanVerb::Add(what)) => act::ban(&Fleet::open(common).await?, what, json).await,
        Verb::Ban(BanVerb::Remove(what)) => act::lift(&Fleet::open(common).await?, what, json).await,
        Verb::Ban(BanVerb::Import(what)) => bulk::import(&Fleet::open(common).await?, &what, json).await,
        Verb::Ban(BanVerb::Export(what)) => bulk::export(&Fleet::open(common).await?, &what).await,
        Verb::Policy(PolicyVerb::Show) => policy::show(&Fleet::open(common).await?, json).await,
        Verb::Policy(PolicyVerb::Explain { who }) => policy::explain(&Fleet::open(common).await?, who, json).await,
        Verb::Reload => act::reload(Fleet::open(common).await?, json).await,
        Verb::Ban(BanVerb::List { limit }) => list::bans(&Fleet::open(common).await?, limit, json).await,
        Verb::Drain { node, wait } => act::drain(&Fleet::open(common).await?, node, wait, json).await,
        Verb::Broadcast { kind, payload } => act::broadcast(&Fleet::open(common).await?, kind, payload, json).await,
        Verb::Watch { during } => watch::watch(&Fleet::open(common).await?, during, json).await,
    }
}
