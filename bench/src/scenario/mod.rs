//! What is played. Each scenario sets up, warms up, measures a window and prints one JSON line a result.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::dialect::Dialect;
use crate::finding::print_line;
use crate::proc::Probe;
use crate::socket::{Net, Route};
use crate::token::Mint;
use crate::{Outcome, clock, request, tls};

/// Bringing sessions up, the part that all have in common.
pub mod entry;

/// Whether everything comes back.
pub mod churn;
/// One message there and back, raw and through the whole path.
pub mod echo;
/// One message to many.
pub mod fanout;
/// Connect, welcome, close.
pub mod handshake;
/// Whether the well-behaved notice the others.
pub mod hostile;
/// Memory of idle sessions.
pub mod idle;
/// Many to few: small rooms, direct messages, comings and goings, each at its own fixed moment.
pub mod load;
/// Three times as much as the gateway can do, and what becomes of it.
pub mod overload;
/// One message from node to node, beside Redis's own publish and subscribe.
pub mod relay;
/// All clients of a node lose it at once.
pub mod storm;

/// Where the server is and how its sessions authenticate.
#[derive(Debug, Clone, Args)]
pub struct Aim {
    /// The public port.
    #[arg(long, default_value = "127.0.0.1:18080")]
    pub target: SocketAddr,
    /// The private port, for the connection gauge.
    #[arg(long)]
    pub private: Option<SocketAddr>,
    /// The process whose CPU, memory and descriptors are read.
    #[arg(long)]
    pub server_pid: u32,
    /// Echo and fan-out never sleep; needs a CPU of its own. A kernel charges the sender for waking the receiver, on
    /// virtual machines several microseconds, and a slower server's receiver sleeps more often.
    #[arg(long)]
    pub awake: bool,
    /// HS256 secret.
    #[arg(long)]
    pub secret_file: PathBuf,
    /// Ed25519 private key (PKCS#8 PEM): EdDSA in place of HS256.
    #[arg(long)]
    pub ed25519_file: Option<PathBuf>,
    /// `iss`.
    #[arg(long, default_value = "https://bench.invalid")]
    pub issuer: String,
    /// `aud`.
    #[arg(long, default_value = "portcullis")]
    pub audience: String,
    /// TLS, and whom it trusts (PEM).
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// How the server is spoken to.
    #[arg(long, value_enum, default_value = "portcullis")]
    pub dialect: Dialect,
    /// Put before every `sub`; generators that run at the same time need different ones.
    #[arg(long, default_value = "bench")]
    pub prefix: String,
    /// First source address, the low half of 127.0.0.0.
    #[arg(long, default_value_t = 2)]
    pub first_source: u16,
    /// Source addresses used in turn.
    #[arg(long, default_value_t = 16)]
    pub sources: u16,
    /// Handshakes under way at once; keep it below the server's accept queue.
    #[arg(long, default_value_t = 64)]
    pub concurrency: usize,
    /// Seconds without any progress after which a scenario gives up.
    #[arg(long, default_value_t = 20.0)]
    pub patience: f64,
}

impl Aim {
    /// The server's process.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe::of(self.server_pid)
    }

    /// Sockets to the server.
    ///
    /// # Errors
    /// The system has no epoll instance left, or `ca_file` can't be read.
    pub fn net(&self) -> Outcome<Net> {
        let tls = self.ca_file.as_deref().map(tls::client).transpose()?;
        Net::new(Route { target: self.target, first_source: self.first_source, sources: self.sources, tls })
    }

    /// How long a turn may wait for events where every sleep would be on the server's account.
    #[must_use]
    pub fn idle(&self, otherwise: Duration) -> Duration {
        if self.awake { Duration::ZERO } else { otherwise }
    }

    /// Request heads of `count` new users, made ahead. `series` keeps the users of one run apart.
    ///
    /// # Errors
    /// The key can't be read or can't sign.
    pub fn heads(&self, series: &str, count: usize) -> Outcome<Vec<Vec<u8>>> {
        if self.dialect != Dialect::Portcullis {
            return Ok(vec![Vec::new(); count]);
        }
        let host = self.target.to_string();
        let tokens = self.mint()?.many(&format!("{}-{series}", self.prefix), count)?;
        Ok(tokens.iter().map(|token| request::head(&host, "/ws", Some(token))).collect())
    }

    /// Request heads of `count` connections of one and the same user.
    ///
    /// # Errors
    /// As [`Aim::heads`].
    pub fn heads_of_one(&self, name: &str, count: usize) -> Outcome<Vec<Vec<u8>>> {
        let token = self.mint()?.one(&format!("{}-{name}", self.prefix))?;
        Ok(vec![request::head(&self.target.to_string(), "/ws", Some(&token)); count])
    }

    fn mint(&self) -> Outcome<Mint> {
        match &self.ed25519_file {
            Some(file) => Mint::with_ed25519_file(file, &self.issuer, &self.audience),
            None => Mint::with_secret_file(&self.secret_file, &self.issuer, &self.audience),
        }
    }

    /// The moment at which a wait that begins now is given up.
    #[must_use]
    pub fn patience_from_now(&self) -> u64 {
        clock::now_ns() + clock::seconds(self.patience)
    }
}

/// Lets the sockets live (pings are answered) for so long.
struct Rest(u64);

impl crate::socket::Player for Rest {
    fn turn(&mut self, _: &mut Net, now: u64) -> bool {
        now >= self.0
    }
}

/// Lets the sockets live (pings are answered, messages ignored) for `duration`.
///
/// # Errors
/// Polling failed.
pub fn rest(net: &mut Net, duration: Duration) -> Outcome<()> {
    net.play(&mut Rest(clock::now_ns() + clock::nanos(duration)), Duration::from_millis(10))
}

/// Tells the driver that a phase has been reached.
///
/// # Errors
/// Standard output is closed.
pub fn announce(event: &str) -> Outcome<()> {
    print_line(&serde_json::json!({ "event": event }))
}
