//! A node inside the test's own process, for what no client and no operator can ask of it: injected panics, a look at the
//! ledger, entries of the control log.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use portcullis_common::clock::{Clock, SystemClock};
use portcullis_common::config::model::Config;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::Stores;
use portcullis_common::store::control::ControlEntry;
use portcullis_gateway::node::Node;
use portcullis_gateway::run::run_on;
use portcullis_gateway::session::registry::SessionEntry;
use portcullis_gateway::store::Opened;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{tokens, wait};

/// What every node of these tests has: an issuer, generous limits, rooms and types of each kind.
const BASE: &str = r#"
[node]
id = "inside"
workers = 2
drain_spread = "1s"
[tls]
mode = "off"
[origin]
missing = "allow"
[overload]
lag = "1m"
[[auth.issuer]]
name = "tests"
issuer = "https://app.test"
audience = "portcullis"
algorithms = ["HS256"]
secret = "SECRET"
tenant_claim = "tenant"
[limit.connect]
rate = "100000/s"
burst = 100000
[limit.message]
rate = "100000/s"
burst = 100000
[limit.bytes]
rate = "64MiB/s"
burst = "1GiB"
[limit.control]
rate = "100000/s"
burst = 100000

[[room]]
pattern = "lobby"
join = ["member"]
publish = ["member"]
presence = true
history = { count = 5, age = "10m" }
[[room]]
pattern = "plain.*"
join = ["member"]
publish = ["member"]
[[room]]
pattern = "kept.*"
join = ["member"]
publish = ["member"]
history = { count = 5, age = "10m" }
[[room]]
pattern = "team.{t}"
where = "t in claims.teams"
join = ["member"]
publish = ["member"]
[[room]]
pattern = "news.*"
join = ["member"]
publish = ["editor"]

[message.chat]
roles = ["member"]
route = "room"
[message.quiet]
roles = ["member"]
route = "room"
echo = false
[message.notice]
roles = ["editor"]
route = "room"
[message.direct]
roles = ["member"]
route = "user"
users = "same_tenant"
"#;

/// A running node; stopped when dropped.
pub struct Inside {
    /// The node itself.
    pub node: Arc<Node>,
    /// Where clients connect.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Inside {
    /// Starts a node on ports that the kernel chooses, on a thread of its own. `changes` are key paths and values over
    /// the base of these tests, as in `("session.max_per_user", "2")`. Its log goes to [`logged`], from `debug` on.
    ///
    /// # Panics
    /// When the configuration is wrong or the node does not start.
    #[must_use]
    pub fn start(changes: &[(&str, &str)]) -> Self {
        Self::start_on(changes, |stores| stores)
    }

    /// The same on stores that `change` makes of the memory store.
    ///
    /// # Panics
    /// As [`Inside::start`].
    #[must_use]
    pub fn start_on(changes: &[(&str, &str)], change: impl FnOnce(Stores) -> Stores) -> Self {
        capture();
        let name = |path: &str| format!("PORTCULLIS__{}", path.replace('.', "__").to_uppercase());
        let env = changes.iter().map(|(path, value)| (name(path), (*value).to_owned()));
        let mut config = Config::parse(Some(&BASE.replace("SECRET", tokens::SECRET)), env, Path::new("/"))
            .expect("a legal configuration");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        (config.listen.public, config.listen.private) = (any, any);
        let (end, ended) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut opened = Opened::memory(&clock, 1_000);
        opened.stores = change(opened.stores);
        let serve = move || {
            actix_rt::System::new().block_on(async {
                let started = |node: &Arc<Node>, listening: &portcullis_gateway::serve::Listening| {
                    let _ = tell.send((Arc::clone(node), listening.public, listening.private));
                };
                let end = ended.map(drop);
                run_on(opened, config, clock, started, end).await.expect("the node starts");
            });
        };
        let thread = std::thread::Builder::new().name("inside".to_owned()).spawn(serve).expect("a thread");
        let (node, public, private) = told.recv().expect("the node starts");
        Self { node, public, private, end: Some(end), thread: Some(thread) }
    }

    /// Has the node drain, as a signal would.
    pub fn end(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }

    /// Waits until the node is no more.
    ///
    /// # Panics
    /// When it panicked.
    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the node ends in order");
        }
    }

    /// What a call of the memory store answers, which is always ready.
    ///
    /// # Panics
    /// When the store refuses or has to wait.
    pub fn store<T, E: std::fmt::Debug>(call: impl Future<Output = Result<T, E>>) -> T {
        call.now_or_never().expect("the memory store never waits").expect("the store takes it")
    }

    /// The registry's entry of a session, by the text of its id, while it lives.
    #[must_use]
    pub fn entry(&self, session: &str) -> Option<Arc<SessionEntry>> {
        self.node.registry.get(SessionId::parse(session)?)
    }

    /// Appends to the control log, as an operator's command would.
    pub fn control(&self, entry: ControlEntry) {
        Self::store(self.node.stores.control.append(entry));
    }

    /// How many slots a user has in the ledger.
    ///
    /// # Panics
    /// When `user` is no legal name.
    #[must_use]
    pub fn slots(&self, user: &str) -> usize {
        let user = UserId::parse(user).expect("a legal user");
        Self::store(self.node.stores.ledger.slots(user)).len()
    }

    /// Whether registry, gauge and `/health` all count this many sessions.
    #[must_use]
    pub fn counts(&self, sessions: usize) -> bool {
        let (_, health) = self.get("/health");
        let health: Value = serde_json::from_str(&health).unwrap_or_default();
        self.node.registry.count() == sessions
            && usize::try_from(self.node.metrics.sessions.get()) == Ok(sessions)
            && health["sessions"] == sessions
    }

    /// What the private port answers: status and body.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.private).expect("the private port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.get(9..12).and_then(|s| s.parse().ok()).expect("a status"), body.to_owned())
    }

    /// The value of one line of `/metrics`, named with its labels; 0 where there is none.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.node.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }
}

/// Waits until `condition` holds; see [`wait::until`].
///
/// # Panics
/// When it does not.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    wait::until(what, || condition().then_some(()));
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // a test that failed already need not fail twice
            let _ = thread.join();
        }
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Tape;

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("portcullis_gateway=debug");
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Tape);
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    });
}

/// Every event of this name that any node of this process has logged so far, in the order of the log. Nodes of one
/// process share it: tell them apart by user.
#[must_use]
pub fn logged(event: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
    let lines = text.lines().filter(|line| line.contains(event));
    lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|v| v["event"] == event).collect()
}
