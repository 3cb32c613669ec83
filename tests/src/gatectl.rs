//! `gatectl` as a child process, and operators with keys of all roles.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Store;
use portcullis_common::control::ack::{Answer, open};
use portcullis_common::control::command::Command as Order;
use portcullis_common::control::key::OperatorKey;
use portcullis_common::control::sign::{Nonce, sign};
use portcullis_common::store::command::{AnswerPlace, Commands};
use portcullis_common::store::redis::RedisOperator;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fleet::RedisServer;
use crate::{programs, wait};

/// The operators of [`operators`], and one whom no node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Who {
    Admin,
    Operator,
    Viewer,
    Stranger,
}

impl Who {
    /// The private key.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn key(self) -> OperatorKey {
        OperatorKey::generate(&mut StdRng::seed_from_u64(self as u64)).unwrap()
    }
}

/// `[[operator]]` for all but the stranger.
#[must_use]
pub fn operators() -> String {
    [(Who::Admin, "admin"), (Who::Operator, "operator"), (Who::Viewer, "viewer")]
        .map(|(who, role)| {
            let key = who.key().public();
            format!("[[operator]]\nname = \"the-{role}\"\nrole = \"{role}\"\npublic_key = \"{key}\"\n")
        })
        .concat()
}

/// What a run said.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// stdout
    pub out: String,
    /// stderr
    pub err: String,
}

impl Said {
    /// stdout as the array that `--json` promises.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn rows(&self) -> Vec<Value> {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        value.as_array().unwrap_or_else(|| panic!("no array: {self:?}")).clone()
    }
}

/// An operator at a machine that has the store's address and the operator's key, and nothing else.
pub struct Gatectl(TempDir);

impl Gatectl {
    /// Of this person.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn of(who: Who, redis: &RedisServer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("operator.key");
        std::fs::write(dir.path().join("gatectl.toml"), format!("[store]\nurl = \"{}\"\n", redis.url())).unwrap();
        std::fs::write(&key, who.key().to_pem().unwrap()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self(dir)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = command();
        command.arg("--config").arg(self.0.path().join("gatectl.toml")).args(words);
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Said {
        said(&mut self.command(words))
    }

    /// The same with `--json`, and patient with a busy machine; the exit code, and the array.
    #[must_use]
    pub fn json(&self, words: &[&str]) -> (i32, Vec<Value>) {
        let said = self.run(&[words, &["--json", "--timeout", "20s"]].concat());
        (said.code, said.rows())
    }

    /// Starts it and leaves it running; its stdout is a file.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn start(&self, words: &[&str]) -> Running {
        let out = self.0.path().join("out");
        let file = std::fs::File::create(&out).unwrap();
        let child = self.command(words).stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn().unwrap();
        Running { child, out }
    }
}

/// A run that goes on; killed when dropped.
pub struct Running {
    child: Child,
    out: PathBuf,
}

impl Running {
    /// What it said so far, line by line, as JSON.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The program with none of its variables.
#[must_use]
pub fn command() -> Command {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let program = PATH.get_or_init(|| programs::built("portcullis-coordinator", "gatectl"));
    let mut command = programs::without_variables(program);
    command.env_remove("GATECTL_CONFIG").env_remove("GATECTL_KEY");
    command
}

/// Somebody who writes into the command stream by hand, good commands and bad ones.
pub struct Scribe {
    commands: Arc<dyn Commands>,
    runtime: Runtime,
}

impl Scribe {
    /// At this store.
    ///
    /// # Panics
    /// When the store is not there.
    #[must_use]
    pub fn at(redis: &RedisServer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let env = [("PORTCULLIS__STORE__URL".to_owned(), redis.url())];
        let store = Store::load(None, env.into_iter()).unwrap();
        let operator = runtime.block_on(RedisOperator::connect(&store, Duration::from_secs(5))).expect("the store");
        Self { commands: operator.commands(), runtime }
    }

    /// The store's time.
    ///
    /// # Panics
    /// When the store is not there.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.runtime.block_on(self.commands.now()).unwrap()
    }

    /// A command of this person, issued so many ms from now and good for so many.
    ///
    /// # Panics
    /// When the store is not there.
    #[must_use]
    pub fn sign(&self, who: Who, issued: i64, good_for: u64, nonce: Nonce, order: &Order) -> Bytes {
        let issued = UnixMs(self.now().0.saturating_add_signed(issued));
        sign(&who.key(), "portcullis", (issued, UnixMs(issued.0 + good_for)), nonce, order)
    }

    /// Writes it.
    ///
    /// # Panics
    /// When the store does not take it.
    pub fn write(&self, bytes: impl Into<Bytes>) {
        self.runtime.block_on(self.commands.dispatch(bytes.into())).expect("written");
    }

    /// Waits for so many answers.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn answers(&self, nonce: Nonce, count: usize) -> Vec<(String, Answer)> {
        wait::until("the answers", || {
            let all = self.commands.answers(nonce, AnswerPlace::default(), Duration::from_millis(50));
            let all = self.runtime.block_on(all).unwrap();
            let read = all.iter().map(|(_, bytes)| open(None, nonce, bytes).expect("an answer"));
            let read: Vec<_> = read.map(|(node, answer)| (node.to_string(), answer)).collect();
            (read.len() >= count).then_some(read)
        })
    }
}
