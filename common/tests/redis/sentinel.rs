//! A master, a replica of it and three sentinels, processes of the test's own.

use std::process::{Child, Command};

use tempfile::TempDir;

use super::cluster::until;
use super::{RedisServer, TRIES, free_port, spawn};

/// What the master is called.
pub const MASTER: &str = "main";

/// All of them.
pub struct Watched {
    /// The master at the start.
    pub first: RedisServer,
    /// Its replica at the start.
    pub second: RedisServer,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // it may be gone already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watched {
    /// Starts them, and waits until the sentinels know each other and the replica.
    pub fn start() -> Self {
        let settings = ["--repl-diskless-sync-delay", "0"];
        let (first, second) = (RedisServer::start_with(&settings), RedisServer::start_with(&settings));
        second.cli(&["replicaof", "127.0.0.1", &first.port().to_string()]);
        let sentinels = (0..3).map(|_| Sentinel::start(first.port())).collect();
        let watched = Self { first, second, sentinels };
        let replica_in_step = || watched.second.cli(&["info", "replication"]).contains("master_link_status:up");
        until("the replica is in step", replica_in_step);
        until("the sentinels agree", || watched.sentinels.iter().all(Sentinel::knows_all));
        watched
    }

    /// `redis-sentinel://` and all of them.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis-sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// Makes a user of the sentinels as `docs/OPERATIONS.md` says.
    pub fn allow(&self, user: &str, password: &str) {
        for sentinel in &self.sentinels {
            for rules in super::acl::documented(user) {
                let rules: Vec<String> = rules.iter().map(|rule| rule.replace("PASSWORD", password)).collect();
                let words = ["acl", "setuser", user].into_iter().chain(rules.iter().map(String::as_str));
                assert_eq!(sentinel.cli(&words.collect::<Vec<_>>()).trim(), "OK");
            }
        }
    }

    /// Waits until every sentinel says that this is the master.
    pub fn wait_for_master(&self, port: u16) {
        let says = |sentinel: &Sentinel| {
            sentinel.cli(&["sentinel", "get-master-addr-by-name", MASTER]).lines().nth(1) == Some(&port.to_string())
        };
        until("the replica is promoted", || self.sentinels.iter().all(says));
    }

    /// Ends a sentinel at once.
    pub fn kill_sentinel(&mut self, which: usize) {
        drop(self.sentinels.remove(which));
    }

    /// Has the sentinels promote the replica although the master lives.
    pub fn fail_over(&self) {
        self.sentinels[0].cli(&["sentinel", "failover", MASTER]);
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..TRIES {
            let port = free_port();
            let file = dir.path().join("sentinel.conf");
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 6000\n",
                dir.path().display()
            );
            std::fs::write(&file, config).expect("a file");
            let mut command = Command::new("redis-server");
            command.arg(&file).arg("--sentinel");
            if let Some(child) = spawn(command, "+monitor master") {
                return Self { child, port, _dir: dir };
            }
        }
        panic!("no sentinel started");
    }

    fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output();
        String::from_utf8_lossy(&output.expect("redis-cli").stdout).into_owned()
    }

    fn knows_all(&self) -> bool {
        let about = self.cli(&["sentinel", "master", MASTER]);
        let words: Vec<&str> = about.lines().collect();
        let is = |name: &str, value: &str| words.windows(2).any(|pair| pair == [name, value]);
        is("num-slaves", "1") && is("num-other-sentinels", "2")
    }
}
