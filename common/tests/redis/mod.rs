//! A `redis-server` of a test's own: on a free port, in a directory of its own, gone with the test; and several that
//! belong together.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; no test uses all of it"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The users that the documents recommend.
pub mod acl;

/// Three masters that share the keys.
pub mod cluster;

/// A master, its replica, and who watches them.
pub mod sentinel;

/// Ports tried, because another process may take a free one first.
const TRIES: usize = 10;

/// A running server; killed by its process id when dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    dir: TempDir,
    settings: Vec<String>,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk and evicts nothing.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more settings (`--name value …`).
    pub fn start_with(settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..TRIES {
            let port = free_port();
            let settings: Vec<String> = settings.iter().map(|word| (*word).to_owned()).collect();
            if let Some(child) = launch(port, &dir, &settings) {
                return Self { child, port, dir, settings };
            }
        }
        panic!("redis-server did not start on any of {TRIES} ports");
    }

    /// Starts one that is a whole Redis Cluster by itself: it refuses a script that is given, or reaches for, keys of
    /// two hash slots.
    pub fn start_cluster() -> Self {
        let server = Self::start_with(&["--cluster-enabled", "yes"]);
        server.cli(&["cluster", "addslotsrange", "0", "16383"]);
        // it waits two seconds before it believes itself
        for _ in 0..TRIES * 1_000 {
            if server.cli(&["cluster", "info"]).contains("cluster_state:ok") {
                return server;
            }
        }
        panic!("the cluster of one never came up");
    }

    /// What `redis-cli` prints.
    pub fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output();
        let output = output.expect("redis-cli comes with redis-server (Debian: redis-tools)");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes a user as `docs/OPERATIONS.md` says, for keys that begin with `prefix`.
    pub fn allow(&self, user: &str, prefix: &str, password: &str) {
        for rules in acl::documented(user) {
            let rules: Vec<String> =
                rules.iter().map(|rule| rule.replace("PASSWORD", password).replace("portcullis:", prefix)).collect();
            let words: Vec<&str> =
                ["acl", "setuser", user].into_iter().chain(rules.iter().map(String::as_str)).collect();
            assert_eq!(self.cli(&words).trim(), "OK", "{words:?}");
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it at once; what it held is lost.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Kills it if it runs, and starts an empty one of the same settings on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = launch(self.port, &self.dir, &self.settings).expect("the port is ours");
    }

    /// Stops it from answering without closing anything, until [`RedisServer::go_on`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a pause.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // it may be gone already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Answers when the server says that it accepts connections; `None` when it ended instead.
fn launch(port: u16, dir: &TempDir, settings: &[String]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--maxmemory-policy", "noeviction", "--daemonize", "no", "--dir"]).arg(dir.path()).args(settings);
    spawn(command, "Ready to accept connections")
}

/// Answers when it has said so; `None` when it ended instead.
fn spawn(mut command: Command, said: &str) -> Option<Child> {
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            panic!("redis-server is needed for this test and could not be run ({error}): apt-get install redis-server")
        }
    };
    let mut log = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line.contains(said) {
            // whatever it says from now on is read and dropped, or the pipe would fill
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(child);
        }
        line.clear();
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
