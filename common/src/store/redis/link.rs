//! The connection: one multiplexed, pipelined, RESP3, that comes back by itself for ever.
//!
//! Commands of all callers share one socket and one pipeline; pushes (pub/sub, the loss of the connection) come over
//! the same socket. The driver runs on the runtime on which [`Link::connect`] was awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisError, ServerErrorKind, Value,
};
use tokio::sync::{mpsc, watch};

use super::{ConnectFault, RedisOptions};
use crate::store::StoreFault;

/// Pushes that wait for their reader. At the bound new ones are dropped and counted ([`Link::pushes_lost`]): the
/// reader sees a gap, as after a lost connection.
const PUSHES: usize = 8_192;

/// Commands that wait for the socket; more wait in their callers.
const PIPELINE: usize = 1_024;

/// Shortest and longest wait between two tries to connect; between them it doubles, with full jitter.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A peer that acknowledges nothing for so long is gone, though nobody closed the connection.
const SILENT: Duration = Duration::from_secs(5);

/// Whether the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// The last command was answered.
    Up,
    /// The connection was lost, or the last command was not answered in time.
    Down,
}

/// Cheap to clone; clones are the same connection.
#[derive(Clone)]
pub(super) struct Link {
    manager: ConnectionManager,
    client: Client,
    timeout: Duration,
    connect_timeout: Duration,
    seen: Arc<Seen>,
}

struct Seen {
    /// The state again, for the path of every command.
    up: AtomicBool,
    state: watch::Sender<LinkState>,
    pushes_lost: AtomicU64,
}

/// Why a command has no value.
pub(super) enum LinkFault {
    /// No connection, or no answer in time. It may have been carried out all the same.
    Silent(&'static str),
    /// The server refused it.
    Refused(RedisError),
}

impl LinkFault {
    /// The server does not have the script.
    pub(super) fn is_no_script(&self) -> bool {
        matches!(self, Self::Refused(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }
}

impl From<LinkFault> for StoreFault {
    /// Of what the server said only the code is kept: the rest may quote arguments.
    fn from(fault: LinkFault) -> Self {
        match fault {
            LinkFault::Silent(why) => Self::Unavailable(Arc::from(why)),
            LinkFault::Refused(error) => match error.code() {
                Some("OOM") => Self::Full("memory"),
                Some("FENCED") => Self::Fenced,
                Some(code) => Self::Unavailable(Arc::from(format!("it refused with {code}"))),
                None => Self::Unavailable(Arc::from(error.category())),
            },
        }
    }
}

/// What a script or command answered is not what it answers: another version, or not our store.
pub(super) fn garbled() -> StoreFault {
    StoreFault::Unavailable(Arc::from("an answer of another form than expected"))
}

impl Link {
    /// Connects and asks the server whether it will do; the receiver gets every push.
    ///
    /// # Errors
    /// The URL is none, the server was not reached in `options.connect_timeout`, refused us, or may evict keys.
    pub(super) async fn connect(
        url: &str,
        options: &RedisOptions,
    ) -> Result<(Self, mpsc::Receiver<PushInfo>), ConnectFault> {
        let client = client(url)?;
        tokio::time::timeout(options.connect_timeout, suits(&client, options))
            .await
            .map_err(|_| ConnectFault::Unreachable(Arc::from("no answer in time")))??;
        let seen = Arc::new(Seen {
            up: AtomicBool::new(true),
            state: watch::Sender::new(LinkState::Up),
            pushes_lost: AtomicU64::new(0),
        });
        let (sender, pushes) = mpsc::channel(PUSHES);
        let receiver = Arc::clone(&seen);
        let push = move |push: PushInfo| receiver.hand_on(push, &sender);
        let config = ConnectionManagerConfig::new()
            .set_min_delay(RETRY.0)
            .set_max_delay(RETRY.1)
            .set_exponent_base(2.0)
            .set_number_of_retries(usize::MAX)
            .set_connection_timeout(Some(options.connect_timeout))
            // ours is around every command, also around those that wait for a connection
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE)
            .set_push_sender(push)
            .set_automatic_resubscription();
        let manager =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(|error| unreachable(&error))?;
        let (timeout, connect_timeout) = (options.command_timeout, options.connect_timeout);
        Ok((Self { manager, client, timeout, connect_timeout, seen }, pushes))
    }

    /// How long a command may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection of its own, for reads that block: it does not come back by itself, and whoever has it watches the
    /// time.
    pub(super) async fn own_connection(&self) -> Result<MultiplexedConnection, StoreFault> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.connect_timeout, connection).await {
            Ok(connection) => Ok(connection.map_err(LinkFault::Refused)?),
            Err(_) => Err(LinkFault::Silent("no connection in time").into()),
        }
    }

    /// One command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkFault> {
        let mut manager = self.manager.clone();
        self.timed(command.query_async(&mut manager)).await
    }

    /// Several commands in one write; an error of one is the error of all, though the others were carried out. On a
    /// cluster they must be of one partition.
    #[allow(dead_code, reason = "for the bus")]
    pub(super) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, LinkFault> {
        let mut manager = self.manager.clone();
        self.timed(commands.query_async(&mut manager)).await
    }

    /// Subscribes; after a loss of the connection the library does it again.
    #[allow(dead_code, reason = "for the bus")]
    pub(super) async fn subscribe(&self, channels: &[String]) -> Result<(), LinkFault> {
        let mut manager = self.manager.clone();
        self.timed(manager.subscribe(channels)).await
    }

    /// Unsubscribes.
    #[allow(dead_code, reason = "for the bus")]
    pub(super) async fn unsubscribe(&self, channels: &[String]) -> Result<(), LinkFault> {
        let mut manager = self.manager.clone();
        self.timed(manager.unsubscribe(channels)).await
    }

    /// Whether the store answers, now and from now on.
    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.seen.state.subscribe()
    }

    /// How many pushes were dropped because their reader was too slow.
    pub(super) fn pushes_lost(&self) -> u64 {
        self.seen.pushes_lost.load(Ordering::Relaxed)
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, LinkFault> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(answer)) => {
                self.seen.set(LinkState::Up);
                Ok(answer)
            }
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                self.seen.set(LinkState::Up);
                Err(LinkFault::Refused(error))
            }
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse) => {
                Err(LinkFault::Refused(error))
            }
            Ok(Err(_)) => {
                self.seen.set(LinkState::Down);
                Err(LinkFault::Silent("the connection was lost"))
            }
            Err(_) => {
                self.seen.set(LinkState::Down);
                Err(LinkFault::Silent("no answer in time"))
            }
        }
    }
}

impl Seen {
    fn set(&self, state: LinkState) {
        let up = state == LinkState::Up;
        if self.up.load(Ordering::Relaxed) != up {
            self.up.store(up, Ordering::Relaxed);
            self.state.send_replace(state);
        }
    }

    fn hand_on(&self, push: PushInfo, sender: &mpsc::Sender<PushInfo>) -> Result<(), redis::aio::SendError> {
        if push.kind == PushKind::Disconnection {
            self.set(LinkState::Down);
        }
        match sender.try_send(push) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.pushes_lost.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(redis::aio::SendError),
        }
    }
}

fn client(url: &str) -> Result<Client, ConnectFault> {
    if url.starts_with("rediss:") {
        // whoever came first has installed one, and there is but one to install
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    // the library's error quotes the URL, which may hold a password
    let info = url.into_connection_info().map_err(|_| ConnectFault::Url)?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(SILENT);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp)).map_err(|_| ConnectFault::Url)
}

fn unreachable(error: &RedisError) -> ConnectFault {
    let why = error.code().map_or_else(|| error.category().to_owned(), |code| format!("it refused with {code}"));
    ConnectFault::Unreachable(Arc::from(why))
}

/// Asks the server, on a connection of its own: the lasting one would hide a refusal behind its retries.
async fn suits(client: &Client, options: &RedisOptions) -> Result<(), ConnectFault> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.map_err(|error| unreachable(&error))?;
    let info = redis::cmd("INFO").arg("memory").query_async::<Value>(&mut connection).await;
    let info: String = info
        .and_then(|value| redis::from_redis_value(value).map_err(RedisError::from))
        .map_err(|error| unreachable(&error))?;
    let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or("unknown");
    if policy != "noeviction" && !options.may_evict {
        return Err(ConnectFault::Evicts);
    }
    Ok(())
}
