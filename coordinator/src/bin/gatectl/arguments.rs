//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use portcullis_common::ids::{NodeId, SessionId, TypeName, UserId};
use portcullis_common::store::control::Target;
use portcullis_common::trie::parse_network;

use super::End;
use super::feed::FeedVerb;

/// Exit codes: 0 every node did it, 3 some did, 4 none in time, 64 wrong usage.
#[derive(Parser)]
#[command(name = "gatectl", version, about = "Commands a fleet of Portcullis gateways", after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 every node did it; 3 some did; 4 none did in time; 64 wrong usage, configuration or key; 65 lists that \
     no feed is made of.";

#[derive(Args)]
pub struct Common {
    /// The configuration; of it only [store] is read (token mint: all). Without it: PORTCULLIS__STORE__ variables
    #[arg(long, global = true, env = "GATECTL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The operator's private key [default: operator.key beside the configuration]
    #[arg(long, global = true, env = "GATECTL_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Answer in JSON: an array of objects (watch: an object a line)
    #[arg(long, global = true)]
    pub json: bool,
    /// How long to wait for the nodes' answers
    #[arg(long, global = true, default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

#[derive(Subcommand)]
pub enum Verb {
    /// The nodes of the fleet and how they are
    Nodes,
    /// Live sessions
    #[command(subcommand)]
    Sessions(SessionsVerb),
    /// Close sessions once (4409); they may come back
    #[command(subcommand)]
    Kick(KickVerb),
    /// Bans: refused at the door, and closed (4403)
    #[command(subcommand)]
    Ban(BanVerb),
    /// What users and networks are held to, and why somebody is kept out
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Have every node read its configuration again and put its rules in force
    Reload,
    /// Have a node tell its clients to go elsewhere, and end
    Drain {
        /// Its id
        #[arg(value_parser = node)]
        node: NodeId,
        /// Wait until it is gone, at most so long
        #[arg(long, value_parser = duration, value_name = "TIME")]
        wait: Option<Duration>,
    },
    /// A message to every session of every node
    Broadcast {
        /// Its type
        #[arg(value_parser = kind)]
        kind: TypeName,
        /// Its payload, one JSON value
        payload: String,
    },
    /// What happens in the fleet, as it happens
    Watch {
        /// For so long, else until Ctrl-C
        #[arg(long = "for", value_parser = duration, value_name = "TIME")]
        during: Option<Duration>,
    },
    /// Reputation of addresses: lists into signed files for the nodes
    #[command(subcommand)]
    Feed(FeedVerb),
    /// How many nodes and how much Redis a fleet needs, from what was measured
    Capacity(Capacity),
    /// Make an operator's key
    Keygen(Keygen),
    /// Tokens for trying out
    #[command(subcommand)]
    Token(TokenVerb),
    /// Completions for a shell
    Completions {
        /// Which
        shell: Shell,
    },
}

/// The workload, the machines, and which measurements to believe.
#[derive(Args)]
pub struct Capacity {
    /// Sessions at the same time
    #[arg(long, default_value = "100000", value_parser = at_least_zero)]
    pub sessions: f64,
    /// Messages that a session sends, a second
    #[arg(long, default_value = "0.1", value_parser = at_least_zero)]
    pub messages: f64,
    /// Members that a message reaches, its sender among them
    #[arg(long, default_value = "10", value_parser = at_least_zero)]
    pub members: f64,
    /// How often a session begins anew, an hour
    #[arg(long, default_value = "1", value_parser = at_least_zero)]
    pub reconnects: f64,
    /// Bytes of a delivered message on the wire
    #[arg(long, default_value = "400", value_parser = at_least_zero)]
    pub bytes: f64,
    /// Gateways end TLS themselves
    #[arg(long)]
    pub tls: bool,
    /// Cores of a node
    #[arg(long, default_value = "4", value_parser = above_zero)]
    pub cores: f64,
    /// Memory of a node, in GiB
    #[arg(long, default_value = "8", value_parser = above_zero, value_name = "GIB")]
    pub memory: f64,
    /// Percentage of cores and memory that may be used
    #[arg(long, default_value = "60", value_parser = above_zero, value_name = "PERCENT")]
    pub use_up_to: f64,
    /// The most sessions that a node shall hold, whatever fits
    #[arg(long, default_value = "100000", value_parser = above_zero, value_name = "SESSIONS")]
    pub per_node: f64,
    /// What the kernel holds for a socket, in bytes
    #[arg(long, default_value = "4096", value_parser = at_least_zero, value_name = "BYTES")]
    pub socket: f64,
    /// Seconds in which the sessions of a lost node are back
    #[arg(long, default_value = "10", value_parser = above_zero, value_name = "SECONDS")]
    pub storm: f64,
    /// Your own measurements: a JSON object with the members of common/src/capacity/slopes.json
    #[arg(long, value_name = "FILE")]
    pub slopes: Option<PathBuf>,
}

fn above_zero(text: &str) -> Result<f64, String> {
    at_least_zero(text).and_then(|number| if number > 0.0 { Ok(number) } else { Err("must be above 0".to_owned()) })
}

fn at_least_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && (0.0..=1e12).contains(&number) => Ok(number),
        _ => Err(format!("{text} is not a number from 0 to 10^12")),
    }
}

#[derive(Subcommand)]
pub enum SessionsVerb {
    /// List them, by id
    List(Sessions),
    /// One session
    Show {
        /// Its id
        #[arg(value_parser = session)]
        session: SessionId,
    },
}

#[derive(Args)]
pub struct Sessions {
    /// Only this user's
    #[arg(long, value_parser = user)]
    pub user: Option<UserId>,
    /// Only this node's
    #[arg(long, value_parser = node)]
    pub node: Option<NodeId>,
    /// At most so many
    #[arg(long, default_value_t = 1_000)]
    pub limit: usize,
    /// Only ids behind this one: where the list before was cut off
    #[arg(long, value_parser = session, value_name = "SESSION")]
    pub after: Option<SessionId>,
}

#[derive(Subcommand)]
pub enum KickVerb {
    /// One session
    Session(KickSession),
    /// All sessions of a user
    User(KickUser),
}

#[derive(Args)]
pub struct KickSession {
    /// Its id
    #[arg(value_parser = session)]
    pub session: SessionId,
    /// For the log
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Args)]
pub struct KickUser {
    /// The user's id, with the issuer's prefix
    #[arg(value_parser = user)]
    pub user: UserId,
    /// For the log
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Subcommand)]
pub enum BanVerb {
    /// Ban
    Add(BanAdd),
    /// Lift a ban
    Remove(Whom),
    /// Ban all that a file names
    Import(Import),
    /// Write the bans in force as a file that import reads
    Export(Export),
    /// The bans in force
    List {
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
}

#[derive(Args)]
pub struct BanAdd {
    #[command(flatten)]
    pub whom: Whom,
    /// For so long; without it until it is removed
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub during: Option<Duration>,
    /// For the log and the list
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Subcommand)]
pub enum PolicyVerb {
    /// What each node has in force
    Show,
    /// Why a user or an address is kept out, or not: evidence, weights, ages, what comes next
    Explain {
        /// A user's id, or an address
        #[arg(value_name = "USER|ADDRESS")]
        who: String,
    },
}

#[derive(Args)]
pub struct Import {
    /// One a line: an address, a network, `user ID`, `session ID` or `token JTI`; then, as one likes, `for=24h` or
    /// `until=MS`, and `reason=TEXT` to the end of the line; `-`: standard input
    pub file: PathBuf,
    /// For lines that name none
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Args)]
pub struct Export {
    /// Where it goes; default: standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Whom {
    /// What VALUE is
    #[arg(value_enum)]
    pub kind: Kind,
    /// An address or network, a user, a session, or a token's `jti`
    pub value: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    /// An address, or a network as 10.0.0.0/8
    #[value(aliases = ["network", "cidr"])]
    Ip,
    /// A user
    User,
    /// A session
    Session,
    /// A token, by its `jti`
    Token,
}

impl Whom {
    /// Whom that means.
    pub fn target(&self) -> Result<Target, String> {
        let value = &self.value;
        Ok(match self.kind {
            Kind::Ip => Target::Network(parse_network(value).ok_or("is neither an address nor a network")?),
            Kind::User => Target::User(user(value)?),
            Kind::Session => Target::Session(session(value)?),
            Kind::Token => Target::Token(value.clone()),
        })
    }
}

#[derive(Args)]
pub struct Keygen {
    /// Where the private key goes; must not be there yet
    #[arg(long, default_value = "operator.key", value_name = "FILE")]
    pub out: PathBuf,
    /// The operator's name, for the configuration that is printed
    #[arg(long, default_value = "alice")]
    pub name: String,
    /// The operator's role, for the configuration that is printed
    #[arg(long, default_value = "viewer", value_parser = ["viewer", "operator", "admin"])]
    pub role: String,
}

#[derive(Subcommand)]
pub enum TokenVerb {
    /// Make a token; only where the gateway listens on loopback without TLS and shares a secret with its issuer
    Mint(Mint),
}

#[derive(Args)]
pub struct Mint {
    /// `sub`
    #[arg(long)]
    pub user: String,
    /// Roles; may be given several times
    #[arg(long = "role", default_value = "member")]
    pub roles: Vec<String>,
    /// The tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// How long it is good
    #[arg(long = "for", default_value = "1h", value_parser = duration, value_name = "TIME")]
    pub during: Duration,
    /// Which issuer, by its name; default: the first with a shared secret
    #[arg(long)]
    pub issuer: Option<String>,
}

/// Writes the completions of a shell.
pub fn completions(shell: Shell) -> End {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gatectl", &mut script);
    super::show::raw(&script);
    End::All
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|bad| bad.to_string())
}

fn node(text: &str) -> Result<NodeId, String> {
    NodeId::parse(text).map_err(|bad| bad.to_string())
}

fn kind(text: &str) -> Result<TypeName, String> {
    TypeName::parse(text).map_err(|bad| bad.to_string())
}

fn session(text: &str) -> Result<SessionId, String> {
    SessionId::parse(text).ok_or_else(|| "is not the 26 characters of a session".to_owned())
}

/// `90s`, `15m`, `24h`, `7d`, `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("is not a time such as 90s, 15m, 24h or 7d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "is not a time such as 90s, 15m, 24h or 7d")?;
    number
        .checked_mul(unit)
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "is no time at all".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit_and_are_not_nothing() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "5", "s", "-5s", "0s", "1.5h", "1h30m", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        let whom = |kind, value: &str| Whom { kind, value: value.to_owned() }.target();
        assert_eq!(whom(Kind::Ip, "10.1.2.3"), Ok(Target::Network("10.1.2.3/32".parse().unwrap())));
        assert_eq!(whom(Kind::Ip, "2001:db8::/32"), Ok(Target::Network("2001:db8::/32".parse().unwrap())));
        assert!(
            whom(Kind::Ip, "10.1.2").is_err() && whom(Kind::Session, "x").is_err() && whom(Kind::User, "").is_err()
        );
    }
}
