//! The server under test: a gateway with its own configuration, or a peer for comparison. Killed by its process id
//! when dropped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Run;
use super::config::{self, Profile};
use super::peer::Peer;
use crate::redis::Redis;
use crate::{Outcome, clock, proc, scrape};

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Clients.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: SocketAddr,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub ports: Ports,
    /// The HS256 secret's file.
    pub secret_file: PathBuf,
    /// The Ed25519 private key's file.
    pub ed25519_file: PathBuf,
    /// Whether it has a private port.
    pub is_gateway: bool,
    /// What a client must trust, with TLS.
    pub ca_file: Option<PathBuf>,
}

/// Long enough for the gateway to accept; it protects nothing but a loopback port for some seconds.
const SECRET: &str = "a-benchmark-secret-of-more-than-32-bytes-that-guards-nothing";
/// The key pair that RFC 8410 §10 publishes as its example.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
pub(super) const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

/// What is measured, in the words of sched(7): SCHED_FIFO, before all ordinary work.
pub const FIRST: u8 = 10;
/// What only makes work for what is measured: before ordinary work too, but it never holds up the former.
pub const SECOND: u8 = 5;

/// A program on a CPU of its own, where there are several; with a priority before all ordinary work on it.
#[must_use]
pub fn pinned(cpu: usize, priority: Option<u8>, program: &Path) -> Command {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(priority) = priority {
        words.extend(["chrt".into(), "-f".into(), priority.to_string().into()]);
    }
    if proc::can_pin() {
        words.extend(["taskset".into(), "-c".into(), cpu.to_string().into()]);
    }
    words.push(program.into());
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

impl Server {
    /// A fresh gateway that says it is ready.
    ///
    /// # Errors
    /// It can't be started, ends by itself, or is not ready after 15 s.
    pub fn gateway(options: &Run, folder: &Path, name: &str, ports: Ports, profile: Profile) -> Outcome<Self> {
        Self::node(options, folder, name, ports, ("bench", "url = \"memory:\""), profile)
    }

    /// The same under an id, with what `[store]` says.
    ///
    /// # Errors
    /// As [`Server::gateway`].
    pub fn node(
        options: &Run,
        folder: &Path,
        name: &str,
        ports: Ports,
        (id, store): (&str, &str),
        profile: Profile,
    ) -> Outcome<Self> {
        let folder = fs::canonicalize(folder)?;
        config::files(&folder)?;
        let file = folder.join(format!("gateway-{id}.toml"));
        fs::write(&file, config::toml(ports, &folder, (id, store), profile))?;
        let binary = fs::canonicalize(&options.gateway)
            .map_err(|error| format!("{}: {error}; build it with cargo build --release", options.gateway.display()))?;
        let mut command = pinned(options.server_cpu, options.realtime.then_some(FIRST), &binary);
        command.args(["run", "--config"]).arg(&file);
        let mut server = Self::start(command, &folder, &format!("gateway-{name}"), ports, true)?;
        server.ca_file = profile.tls.then(|| folder.join(config::CERTIFICATE));
        server.wait(|| matches!(scrape::get(ports.private, "/health/ready"), Ok((200, _))))?;
        Ok(server)
    }

    /// A peer for comparison, once its port answers HTTP.
    ///
    /// # Errors
    /// It is not installed, ends by itself, or does not answer within 15 s: with the last line that it said.
    pub fn peer(options: &Run, folder: &Path, peer: &Peer, ports: Ports, redis: Option<&Self>) -> Outcome<Self> {
        let folder = fs::canonicalize(folder)?;
        let mut words = peer.command.split_whitespace();
        let program = Path::new(words.next().ok_or("an empty peer command")?);
        let mut command = pinned(options.server_cpu, options.realtime.then_some(FIRST), program);
        command.args(words).env("PORT", ports.public.port().to_string()).env("FOLDER", &folder);
        if let Some(redis) = redis {
            command.env("REDIS_PORT", redis.ports.public.port().to_string());
        }
        let name = format!("peer-{}", peer.name);
        let mut server = Self::start(command, &folder, &name, ports, false)?;
        server.wait(|| scrape::get(ports.public, "/").is_ok()).map_err(|fault| {
            let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            log.lines().last().map_or_else(|| fault.to_string(), str::to_owned)
        })?;
        Ok(server)
    }

    fn start(mut command: Command, folder: &Path, name: &str, ports: Ports, is_gateway: bool) -> Outcome<Self> {
        if std::net::TcpStream::connect_timeout(&ports.public, Duration::from_millis(200)).is_ok() {
            return Err(format!("somebody else listens on {}", ports.public).into());
        }
        let file = |name: &str, content: &str| -> Outcome<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, content)?;
            Ok(path)
        };
        let secret_file = file("hs256.secret", SECRET)?;
        let ed25519_file = file("ed25519.pem", ED25519_PRIVATE)?;
        file("ed25519.pub.pem", ED25519_PUBLIC)?;
        let log = File::create(folder.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { child, ports, secret_file, ed25519_file, is_gateway, ca_file: None })
    }

    fn wait(&mut self, ready: impl Fn() -> bool) -> Outcome<()> {
        let give_up = clock::now_ns() + clock::seconds(15.0);
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended by itself ({status}); its log is beside the report").into());
            }
            if clock::now_ns() > give_up {
                return Err("the server is not ready after 15 s; its log is beside the report".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A Redis of the benchmark's own that keeps nothing, once it answers.
    ///
    /// # Errors
    /// It is not installed, or does not answer within 15 s.
    pub fn redis(options: &Run, folder: &Path, at: SocketAddr) -> Outcome<Self> {
        let folder = fs::canonicalize(folder)?;
        let mut command = pinned(options.server_cpu, options.realtime.then_some(FIRST), Path::new("redis-server"));
        command.args(["--port", &at.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--maxmemory-policy", "noeviction", "--dir"]).arg(&folder);
        let ports = Ports { public: at, private: at };
        let mut server = Self::start(command, &folder, "redis", ports, false)?;
        server.wait(|| Redis::connect(at).and_then(|mut redis| redis.calls()).is_ok())?;
        Ok(server)
    }

    /// Ends it at once: nobody is told. It stands for another machine, so what the kernel has to do for its end must
    /// not hold up the servers beside it.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self, realtime: bool) -> Outcome<()> {
        if realtime {
            let (second, pid) = (SECOND.to_string(), self.pid().to_string());
            Command::new("chrt").args(["-f", "-a", "-p", &second, &pid]).status()?;
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its process; `taskset` replaces itself, so this is the server's own.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
