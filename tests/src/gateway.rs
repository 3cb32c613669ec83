//! The gateway as a child process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{programs, raw, tokens, wait};

/// Rooms, types and issuers that most tests can live with; like the `dev` profile.
const BASE: &str = r#"
[penalty]
enabled = false
[node]
id = "test"
workers = 2
[tls]
mode = "off"
[origin]
allow = ["https://app.test", "https://*.sub.test", "http://localhost:3000"]
missing = "allow"
[log]
filter = "info"
json = true

[[auth.issuer]]
name = "app"
issuer = "https://app.test"
audience = "portcullis"
algorithms = ["HS256", "HS384", "HS512"]
secret_file = "app.secret"
tenant_claim = "tenant"
user_prefix = "app:"
[[auth.issuer]]
name = "device"
issuer = "https://device.test"
audience = "portcullis"
algorithms = ["EdDSA"]
public_key_file = "device.pem"
tenant_claim = "tenant"
user_prefix = "device:"

[[room]]
pattern = "lobby"
join = ["member"]
publish = ["member"]
presence = true
history = { count = 50, age = "10m" }
[[room]]
pattern = "room.*"
join = ["member"]
publish = ["member"]
presence = true
history = { count = 50, age = "10m" }
[[room]]
pattern = "quiet.*"
join = ["member"]
publish = ["member"]
[[room]]
pattern = "news"
join = ["member"]
publish = ["admin"]
[[room]]
pattern = "team.{t}"
where = "t in claims.teams"
join = ["member"]
publish = ["member"]

[message.chat]
roles = ["member"]
route = "room"
[message.whisper]
roles = ["member"]
route = "room"
echo = false
[message.notification]
roles = ["admin"]
route = "room"
[message.direct]
roles = ["member"]
route = "user"
users = "same_tenant"
"#;

/// What a gateway is started with: a file, and keys laid over it by the environment.
#[derive(Debug, Clone)]
pub struct Setup {
    toml: String,
    keys: BTreeMap<String, String>,
    files: Vec<(String, String)>,
    /// Another program than the one under test.
    program: Option<PathBuf>,
}

impl Default for Setup {
    /// [`Setup::builtin`] with a connect and login limit that tests do not meet by accident, on a machine that may be busy.
    fn default() -> Self {
        Self::builtin()
            .set("limit.connect.rate", "1000/s")
            .set("limit.connect.burst", "1000")
            .set("limit.login.rate", "1000/s")
            .set("limit.login.burst", "1000")
            .set("limit.message.rate", "10000/s")
            .set("limit.message.burst", "10000")
            .set("overload.lag", "1m")
    }
}

impl Setup {
    /// The base configuration with every built-in limit as it is.
    #[must_use]
    pub fn builtin() -> Self {
        Self::bare(BASE).file("app.secret", tokens::SECRET).file("device.pem", &tokens::ed25519().public_pem)
    }

    /// Nothing but this text and two ports.
    #[must_use]
    pub fn bare(toml: &str) -> Self {
        Self { toml: toml.to_owned(), keys: BTreeMap::new(), files: Vec::new(), program: None }
    }

    /// Sets one key, as in `("session.max_per_user", "2")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(format!("PORTCULLIS__{}", key.to_uppercase().replace('.', "__")), value.to_owned());
        self
    }

    /// Appends TOML: further tables, such as `[[room]]` or `[message.x]`.
    #[must_use]
    pub fn toml(mut self, more: &str) -> Self {
        self.toml.push_str(more);
        self
    }

    /// Replaces text of the file, which has to be there.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn replace(mut self, old: &str, new: &str) -> Self {
        assert!(self.toml.contains(old), "not in the configuration: {old}");
        self.toml = self.toml.replace(old, new);
        self
    }

    /// A file beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Runs another program than the one under test, which may be too old to know penalties.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.toml = self.toml.replace("[penalty]\nenabled = false\n", "");
        self.program = Some(program.to_owned());
        self
    }

    /// The keys laid over the file, as variables.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.keys
    }

    /// Writes everything into a directory and answers the path of the configuration.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write(&self, dir: &Path) -> PathBuf {
        for (name, content) in &self.files {
            std::fs::write(dir.join(name), content).unwrap();
        }
        let path = dir.join("portcullis.toml");
        std::fs::write(&path, &self.toml).unwrap();
        path
    }
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    dir: TempDir,
    /// Where clients connect.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: SocketAddr,
}

impl Gateway {
    /// Starts a gateway with [`Setup::default`].
    #[must_use]
    pub fn start_default() -> Self {
        Self::start(&Setup::default())
    }

    /// Starts a gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; its log is in the message.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        // a port that was free a moment ago may be taken by a neighbour; then the process ends at once
        for _ in 0..5 {
            let mut gateway = Self::launch(setup);
            let ready = wait::until("the gateway to start", || match gateway.child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => gateway.ready().then_some(true),
            });
            if ready {
                return gateway;
            }
            let log = gateway.log();
            assert!(log.contains("cannot listen"), "the gateway does not start:\n{log}");
        }
        panic!("no free ports");
    }

    /// Starts a gateway and waits for nothing.
    ///
    /// # Panics
    /// When there is no such program.
    #[must_use]
    pub fn launch(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = setup.write(dir.path());
        let [public, private] = free_ports();
        let mut command = programs::without_variables(setup.program.as_deref().unwrap_or_else(|| binary()));
        command.arg("run").arg("--config").arg(file).envs(&setup.keys);
        if !setup.keys.contains_key("PORTCULLIS__LISTEN__PUBLIC") {
            command.env("PORTCULLIS__LISTEN__PUBLIC", public.to_string());
        }
        command.env("PORTCULLIS__LISTEN__PRIVATE", private.to_string());
        let log = File::create(dir.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, dir, public, private }
    }

    /// Whether `/health/ready` says so.
    #[must_use]
    pub fn ready(&self) -> bool {
        raw::try_get(self.private, "/health/ready").is_some_and(|answer| answer.status == 200)
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// The log as JSON, line by line.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        String::from_utf8(raw::get(self.private, "/metrics").body).unwrap()
    }

    /// `/metrics`, by name and labels as printed: `portcullis_handshakes_total{code="ok"}`.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.metrics_text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, n)| (name.to_owned(), n.parse().unwrap())).collect()
    }

    /// One metric, 0 when it is not there.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or_default()
    }

    /// `/health`.
    #[must_use]
    pub fn health(&self) -> Value {
        raw::get(self.private, "/health").json()
    }

    /// `/health`, if the node answers already.
    #[must_use]
    pub fn try_health(&self) -> Option<Value> {
        raw::try_get(self.private, "/health").filter(|answer| answer.status == 200).map(|answer| answer.json())
    }

    /// Sends a signal by name, as in `TERM`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name}");
        if name == "STOP" {
            // a busy machine takes its time to stop the threads, and a thread that runs answers
            wait::until("every thread to stand", || self.stands().then_some(()));
        }
    }

    /// Writes a setup's files over the running gateway's; its variables stay what they were.
    pub fn rewrite(&self, setup: &Setup) {
        let _ = setup.write(self.dir.path());
    }

    /// Asks for a reload and waits for its outcome: `rules` of `/health`.
    pub fn reload(&self) -> Value {
        let asked = |gateway: &Self| {
            let of = |outcome: &str| gateway.metric(&format!("portcullis_reloads_total{{outcome=\"{outcome}\"}}"));
            of("ok") + of("refused")
        };
        let before = asked(self);
        self.signal("HUP");
        wait::until("the reload to be answered", || (asked(self) > before).then_some(()));
        self.health()["rules"].take()
    }

    /// Whether every thread of the process is stopped (`T` in proc(5)).
    fn stands(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let stat =
            |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("stat")).ok();
        tasks.filter_map(stat).all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }

    /// The exit status, if the process has ended.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the process to end.
    pub fn wait_exit(&mut self, patience: Duration) -> ExitStatus {
        wait::until_within(patience, "the gateway to end", || self.exited())
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit(wait::PATIENCE)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the end of the gateway's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that nobody listens on at the moment.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> SocketAddr {
    let [port] = free_ports();
    port
}

/// `N` different addresses on loopback that nobody listens on at the moment, none of them given to another test of this
/// process: whoever looks whether its gateway is ready must not hear another's. All are held until the last is found.
///
/// # Panics
/// When there are not so many.
#[must_use]
pub fn free_ports<const N: usize>() -> [SocketAddr; N] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut held = Vec::new();
    [(); N].map(|()| {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            held.push(listener);
            if given.insert(address.port()) {
                return address;
            }
        }
    })
}

/// The gateway's program with no `PORTCULLIS__` variables; arguments are up to the caller.
#[must_use]
pub fn command() -> Command {
    programs::without_variables(binary())
}

/// The program, built once a process.
pub fn binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| programs::built("portcullis-gateway", "portcullis-gateway"))
}
