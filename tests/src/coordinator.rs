//! The coordinator as a child process.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::{Setup, free_port};
use crate::{programs, raw, wait};

/// A running coordinator; killed when dropped.
pub struct Coordinator {
    child: Child,
    dir: TempDir,
    /// Health and metrics.
    pub private: SocketAddr,
}

impl Coordinator {
    /// Starts one with a fleet's configuration, under this name, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; its log is in the message.
    #[must_use]
    pub fn start(setup: &Setup, id: &str) -> Self {
        // a port that was free a moment ago may be taken by a neighbour; then the process ends at once
        for _ in 0..5 {
            let mut coordinator = Self::launch(setup, id);
            let ready = wait::until("the coordinator to start", || match coordinator.child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => coordinator.ready().then_some(true),
            });
            if ready {
                return coordinator;
            }
            let log = coordinator.log();
            assert!(log.contains("cannot listen"), "the coordinator does not start:\n{log}");
        }
        panic!("no free ports");
    }

    fn launch(setup: &Setup, id: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = setup.write(dir.path());
        let private = free_port();
        let mut command = command();
        command.arg("run").arg("--config").arg(file).envs(setup.variables());
        command.env("PORTCULLIS__COORDINATOR__ID", id).env("PORTCULLIS__COORDINATOR__LISTEN", private.to_string());
        let log = File::create(dir.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, dir, private }
    }

    /// Whether `/health/ready` says so.
    #[must_use]
    pub fn ready(&self) -> bool {
        raw::try_get(self.private, "/health/ready").is_some_and(|answer| answer.status == 200)
    }

    /// Everything logged so far.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// The logged events of this name.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.log();
        let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == name).collect()
    }

    /// `/health`.
    #[must_use]
    pub fn health(&self) -> Value {
        raw::get(self.private, "/health").json()
    }

    /// The number of its term, if it leads.
    #[must_use]
    pub fn term(&self) -> Option<u64> {
        self.health()["term"].as_u64()
    }

    /// What it knows of the lives of nodes: names and states, sorted.
    ///
    /// # Panics
    /// When `/health` has another form.
    #[must_use]
    pub fn members(&self) -> Vec<(String, String)> {
        let health = self.health();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let members = health["members"].as_array().unwrap().iter();
        let mut members: Vec<_> = members.map(|member| (text(&member["node"]), text(&member["state"]))).collect();
        members.sort();
        members
    }

    /// `/metrics`, by name and labels as printed.
    ///
    /// # Panics
    /// When a number is none.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let text = String::from_utf8(raw::get(self.private, "/metrics").body).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, n)| (name.to_owned(), n.parse().unwrap())).collect()
    }

    /// One metric, 0 when it is not there.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or_default()
    }

    /// Sends a signal by name, as in `TERM`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        wait::until("the coordinator to end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the end of the coordinator's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        // SIGKILL ends a stopped process too
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The coordinator's program with no `PORTCULLIS__` variables; arguments are up to the caller.
#[must_use]
pub fn command() -> Command {
    programs::without_variables(binary())
}

/// The program, built once a process.
pub fn binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| programs::built("portcullis-coordinator", "portcullis-coordinator"))
}
