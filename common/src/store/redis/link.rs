//! What the store is reached by. The roles do not know which servers there are: they give a command, and all keys of a
//! command, or channels of a script, are of one partition.
//!
//! Commands of all callers share one socket and one pipeline a server (`wire.rs`); with a single server what it pushes
//! comes over the same socket. The tasks run on the runtime on which [`Link::connect`] was awaited.

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, ServerErrorKind,
    Value,
};
use tokio::sync::{mpsc, watch};

use super::ConnectFault;
use super::batch::Order;
use super::cluster::Cluster;
use super::endpoint::{Address, Endpoint, Topology};
use super::health::{Health, LinkState, Pulse};
use super::options::RedisOptions;
use super::sentinel::{Sentinels, Watch};
use super::server::about;
use super::wire::{Dial, Ear, Live, Wire};
use crate::store::StoreFault;

/// Channels in one command when all are subscribed to again.
const BATCH: usize = 512;

/// Cheap to clone; clones are the same connections.
#[derive(Clone)]
pub(super) struct Link {
    shape: Shape,
    endpoint: Arc<Endpoint>,
    timeout: Duration,
    connect_timeout: Duration,
    health: Arc<Health>,
}

#[derive(Clone)]
enum Shape {
    /// One server at a time, perhaps found by sentinels.
    One(Arc<One>),
    Cluster(Arc<Cluster>),
}

struct One {
    wire: Wire,
    channels: Arc<Channels>,
    _watch: Option<Watch>,
}

/// Why a command has no value.
#[derive(Debug)]
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

impl From<RedisError> for LinkFault {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
                Self::Refused(error)
            }
            _ => Self::Silent("the connection was lost"),
        }
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
                Some("ERA") => Self::Era,
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

/// A connection of one's own, for reads that block: it does not come back by itself, and whoever has it watches the
/// time, and whether it [`Link::leads`] to the right server still.
pub(super) struct Own {
    /// The connection.
    pub(super) connection: MultiplexedConnection,
    address: Address,
    key: String,
}

impl Link {
    /// Connects and asks the servers whether they will do; the receiver gets every push.
    ///
    /// # Errors
    /// See [`ConnectFault`].
    pub(super) async fn connect(
        url: &str,
        options: &RedisOptions,
    ) -> Result<(Self, mpsc::Receiver<PushInfo>), ConnectFault> {
        let endpoint = Arc::new(Endpoint::parse(url, options)?);
        let (health, pushes) = Health::new(options.may_evict);
        let shape = tokio::time::timeout(options.connect_timeout, shape(&endpoint, options, &health))
            .await
            .map_err(|_| ConnectFault::Unreachable(Arc::from("no answer in time")))??;
        let (timeout, connect_timeout) = (options.command_timeout, options.connect_timeout);
        Ok((Self { shape, endpoint, timeout, connect_timeout, health }, pushes))
    }

    /// How long a command may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the store answers, now and from now on.
    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.health.state()
    }

    /// Whether a server drops keys when memory is short, and may not; as it said when the present connection began.
    pub(super) fn evicts(&self) -> bool {
        self.health.evicts()
    }

    /// How many pushes were dropped because their reader was too slow.
    pub(super) fn pushes_lost(&self) -> u64 {
        self.health.pushes_lost()
    }

    /// The command by which a message reaches those who [`subscribe`](Self::subscribe)d. On a cluster it stays within
    /// the master of the channel's slot instead of going to every node.
    pub(super) fn publish_verb(&self) -> &'static str {
        match self.shape {
            Shape::One(_) => "PUBLISH",
            Shape::Cluster(_) => "SPUBLISH",
        }
    }

    /// A connection to the server that has this key.
    pub(super) async fn own_connection(&self, key: &str) -> Result<Own, StoreFault> {
        let connect = async {
            let address = match &self.shape {
                Shape::One(one) => one.wire.live().await?.address,
                Shape::Cluster(cluster) => cluster.address_of(key).await,
            };
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            let client = self.endpoint.client(&address)?;
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok::<_, RedisError>(Own { connection, address, key: key.to_owned() })
        };
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(own) => Ok(own.map_err(LinkFault::from)?),
            Err(_) => Err(LinkFault::Silent("no connection in time").into()),
        }
    }

    /// Whether the server of this connection is the one that has its key; also while that is not known.
    pub(super) fn leads(&self, own: &Own) -> bool {
        match &self.shape {
            Shape::One(one) => one.wire.current().is_none_or(|live| live.address == own.address),
            Shape::Cluster(cluster) => cluster.owner_of(&own.key).is_none_or(|address| address == own.address),
        }
    }

    /// One command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkFault> {
        let value = match &self.shape {
            Shape::One(one) => self.timed(&one.wire, one.wire.command(command)).await?,
            Shape::Cluster(cluster) => cluster.command(command, self.timeout).await?,
        };
        redis::from_redis_value(value).map_err(|error| LinkFault::Refused(error.into()))
    }

    /// Several commands, in one write for each server; each has its own answer. Those of one partition are carried out
    /// in their order. An error: none was answered.
    pub(super) async fn batch(&self, orders: &[Order]) -> Result<Vec<Result<Value, LinkFault>>, LinkFault> {
        match &self.shape {
            Shape::One(one) => {
                let answers = self.timed(&one.wire, one.wire.batch(orders.iter())).await?;
                Ok(answers.into_iter().map(|answer| answer.map_err(LinkFault::from)).collect())
            }
            Shape::Cluster(cluster) => Ok(cluster.batch(orders, self.timeout).await),
        }
    }

    /// Subscribes; after a loss of the connection it is done again until it is undone. One answer a channel.
    pub(super) async fn subscribe(&self, channels: &[String]) -> Vec<Result<(), StoreFault>> {
        match &self.shape {
            Shape::One(one) => {
                one.channels.want(channels);
                let done = self.timed(&one.wire, one.wire.subscribe(channels)).await.map_err(StoreFault::from);
                vec![done; channels.len()]
            }
            Shape::Cluster(cluster) => cluster.subscribe(channels, self.timeout).await,
        }
    }

    /// Unsubscribes.
    pub(super) async fn unsubscribe(&self, channels: &[String]) {
        match &self.shape {
            Shape::One(one) => {
                one.channels.forget(channels);
                // what still comes is stray, and a reminder
                let _ = self.timed(&one.wire, one.wire.unsubscribe(channels)).await;
            }
            Shape::Cluster(cluster) => cluster.unsubscribe(channels, self.timeout).await,
        }
    }

    async fn timed<T>(&self, wire: &Wire, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, LinkFault> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                wire.silent();
                Err(LinkFault::Silent("no answer in time"))
            }
        }
    }
}

async fn shape(endpoint: &Arc<Endpoint>, options: &RedisOptions, health: &Arc<Health>) -> Result<Shape, ConnectFault> {
    let first = endpoint.seeds.first().ok_or(ConnectFault::Url)?;
    let (dial, sentinels) = match &endpoint.topology {
        Topology::Cluster => return Ok(Shape::Cluster(Cluster::connect(endpoint, options, health).await?)),
        Topology::Standalone => {
            suits(&endpoint.client(first).map_err(|error| unreachable(&error))?, options).await?;
            (Dial::Fixed(Arc::clone(endpoint), first.clone()), None)
        }
        Topology::Sentinel(name) => {
            let sentinels = Arc::new(Sentinels { endpoint: Arc::clone(endpoint), name: Arc::clone(name) });
            let master = sentinels.master().await.map_err(|error| unreachable(&error))?;
            suits(&endpoint.client(&master).map_err(|error| unreachable(&error))?, options).await?;
            (Dial::Sentinel(Arc::clone(&sentinels)), Some(sentinels))
        }
    };
    let channels = Arc::new(Channels { wanted: Mutex::default(), health: Arc::clone(health) });
    let ear = Arc::clone(&channels) as Arc<dyn Ear>;
    let wire = Wire::new(dial, options.connect_timeout, Pulse::of(health), Some(ear));
    let watch = sentinels.map(|sentinels| sentinels.watch(wire.doubter()));
    Ok(Shape::One(Arc::new(One { wire, channels, _watch: watch })))
}

/// What is subscribed to on the one connection.
struct Channels {
    /// As many as the rooms and nodes of this process.
    wanted: Mutex<HashSet<String>>,
    health: Arc<Health>,
}

impl Channels {
    fn want(&self, channels: &[String]) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).extend(channels.iter().cloned());
    }

    fn forget(&self, channels: &[String]) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        channels.iter().for_each(|channel| {
            wanted.remove(channel);
        });
    }
}

impl Ear for Channels {
    fn heard(&self, push: PushInfo) {
        self.health.hand_on(push);
    }

    fn stands(&self, mut live: Live) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let wanted: Vec<String> =
                self.wanted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
            for batch in wanted.chunks(BATCH) {
                // where it fails, the connection does, or the bus asks again
                let _ = live.connection.subscribe(batch).await;
            }
        })
    }

    fn lost(&self) {
        self.health.hand_on(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
    }
}

/// Of what went wrong only what cannot quote a secret.
pub(super) fn unreachable(error: &RedisError) -> ConnectFault {
    if let Some(tls) = of_tls(error) {
        return ConnectFault::Unreachable(Arc::from(format!("TLS failed: {tls}")));
    }
    let why = error.code().map_or_else(|| error.category().to_owned(), |code| format!("it refused with {code}"));
    ConnectFault::Unreachable(Arc::from(why))
}

fn of_tls(error: &RedisError) -> Option<&rustls::Error> {
    // the library wraps twice
    let cause = error.source()?;
    let cause: &(dyn Error + 'static) = match cause.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(cause) => &**cause,
        None => cause,
    };
    cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// Asks a server, on a connection of its own: the lasting one would hide a refusal behind its retries.
pub(super) async fn suits(client: &Client, options: &RedisOptions) -> Result<(), ConnectFault> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.map_err(|error| unreachable(&error))?;
    let about = about(&mut connection).await.map_err(|error| unreachable(&error))?;
    if about.evicts && !options.may_evict {
        return Err(ConnectFault::Evicts);
    }
    Ok(())
}
