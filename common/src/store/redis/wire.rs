//! One connection: multiplexed, pipelined, RESP3, that comes back by itself for as long as it is wanted.
//!
//! Whose connection it is may change: with sentinels the master is asked for whenever the connection was lost, a
//! command was refused as by a replica, or a sentinel tells of a switch. A call is never sent twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::Rng;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::batch::{Order, on_server};
use super::endpoint::{Address, Endpoint};
use super::health::Pulse;
use super::sentinel::Sentinels;
use super::server::{About, about};

/// Commands that wait for the socket; more wait in their callers.
const PIPELINE: usize = 1_024;

/// Shortest and longest wait between two tries to connect; between them it doubles, with jitter.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How often a server that did not answer in time is asked whether it does again.
const PROBE: Duration = Duration::from_millis(250);

/// How long the answer is waited for before the question is put again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the sentinels are asked although nothing happened.
const LOOK: Duration = Duration::from_secs(30);

static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// Which server it is to be.
pub(super) enum Dial {
    /// Always the same.
    Fixed(Arc<Endpoint>, Address),
    /// The master.
    Sentinel(Arc<Sentinels>),
}

/// Who is told what happens on a wire.
pub(super) trait Ear: Send + Sync + 'static {
    /// The server pushed something.
    fn heard(&self, push: PushInfo);
    /// There is a connection, on which nothing is subscribed yet.
    fn stands(&self, live: Live) -> BoxFuture<'_, ()>;
    /// The connection is gone, and what was subscribed on it.
    fn lost(&self);
}

/// A connection, as long as it lasts.
#[derive(Clone)]
pub(super) struct Live {
    /// Which one of all that this process ever had.
    pub(super) generation: u64,
    pub(super) address: Address,
    /// Of the server; a connection never gets to another.
    pub(super) run: Arc<str>,
    pub(super) connection: MultiplexedConnection,
    over: Arc<AtomicBool>,
    /// The server was sent the text of what [`Wire::batch`] runs by its hash. Never taken for granted of a server that
    /// others teach too: of a batch it may then know the end and not the beginning.
    taught: Arc<AtomicBool>,
}

struct Shared {
    current: watch::Sender<Option<Live>>,
    /// The connection is lost, or may be to the wrong server, or the server is silent.
    doubt: Notify,
    pulse: Pulse,
    ear: Option<Arc<dyn Ear>>,
}

/// See the module. Its task ends when it is dropped.
pub(super) struct Wire {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// Begins to connect, on the present runtime.
    pub(super) fn new(dial: Dial, connect_timeout: Duration, pulse: Pulse, ear: Option<Arc<dyn Ear>>) -> Self {
        let shared = Arc::new(Shared { current: watch::Sender::new(None), doubt: Notify::new(), pulse, ear });
        let task = tokio::spawn(keep(Arc::clone(&shared), dial, connect_timeout));
        Self { shared, task }
    }

    /// The connection, waited for without end: whoever calls watches the time.
    pub(super) async fn live(&self) -> Result<Live, RedisError> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let mut current = self.shared.current.subscribe();
        let live = current.wait_for(Option::is_some).await.ok().and_then(|live| live.clone());
        live.ok_or_else(|| RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    }

    /// The connection, if there is one.
    pub(super) fn current(&self) -> Option<Live> {
        self.shared.current.borrow().clone()
    }

    /// Whether the server answers, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.shared.pulse.is_up()
    }

    /// One command. An error of the server is an error.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut live = self.live().await?;
        let answer = command.query_async::<Value>(&mut live.connection).await;
        self.judge(&live, answer.as_ref().err());
        answer
    }

    /// Several commands in one write; each has its own answer or error of the server. The first with scripts on a
    /// connection teaches them.
    pub(super) async fn batch(
        &self,
        orders: impl ExactSizeIterator<Item = &Order> + Clone,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let live = self.live().await?;
        let taught = Arc::clone(&live.taught);
        let pipeline = on_server(orders.clone(), &live.run, taught.load(Ordering::Acquire));
        let answers = self.pipeline_on(live, &pipeline).await?;
        if !taught.load(Ordering::Acquire) && orders.clone().any(Order::is_told) {
            taught.store(true, Ordering::Release);
        }
        Ok(answers)
    }

    /// The same on this connection and no other.
    pub(super) async fn pipeline_on(
        &self,
        mut live: Live,
        commands: &Pipeline,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let answers = live.connection.req_packed_commands(commands, 0, commands.len()).await;
        self.judge(&live, answers.as_ref().err());
        let own = |value| match value {
            Value::ServerError(error) => Err(RedisError::from(error)),
            value => Ok(value),
        };
        let answers: Vec<_> = answers?.into_iter().map(own).collect();
        if answers.iter().filter_map(|answer| answer.as_ref().err()).any(of_a_replica) {
            self.doubt();
        }
        Ok(answers)
    }

    /// Subscribes to plain channels.
    pub(super) async fn subscribe(&self, channels: &[String]) -> Result<(), RedisError> {
        let mut live = self.live().await?;
        let done = live.connection.subscribe(channels).await;
        self.judge(&live, done.as_ref().err());
        done
    }

    /// Unsubscribes from plain channels.
    pub(super) async fn unsubscribe(&self, channels: &[String]) -> Result<(), RedisError> {
        let mut live = self.live().await?;
        let done = live.connection.unsubscribe(channels).await;
        self.judge(&live, done.as_ref().err());
        done
    }

    /// This may be the wrong server: it is looked after soon.
    pub(super) fn doubt(&self) {
        self.shared.doubt.notify_one();
    }

    /// The same from afar.
    pub(super) fn doubter(&self) -> impl Fn() + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.doubt.notify_one();
            }
        }
    }

    /// This connection is not to be used any more.
    pub(super) fn give_up(&self, live: &Live) {
        live.over.store(true, Ordering::Release);
        self.shared.doubt.notify_one();
    }

    /// A call got no answer in time.
    pub(super) fn silent(&self) {
        if self.is_up() {
            self.shared.pulse.beat(false);
            self.doubt();
        }
    }

    fn judge(&self, live: &Live, error: Option<&RedisError>) {
        match error {
            None => self.shared.pulse.beat(true),
            Some(error) if error.is_unrecoverable_error() => {
                self.shared.pulse.beat(false);
                self.give_up(live);
            }
            Some(error) => {
                self.shared.pulse.beat(true);
                if of_a_replica(error) {
                    self.doubt();
                }
            }
        }
    }
}

/// What a replica answers, or a master that lost its replicas.
fn of_a_replica(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "NOREPLICAS" | "MASTERDOWN"))
}

async fn keep(shared: Arc<Shared>, dial: Dial, connect_timeout: Duration) {
    let mut pause = RETRY.0;
    loop {
        match tokio::time::timeout(connect_timeout, shared.connect(&dial)).await {
            Ok(Ok(live)) => {
                pause = RETRY.0;
                shared.serve(live, &dial).await;
            }
            _ => shared.pulse.beat(false),
        }
        let jitter = rand::rng().random_range(0.5..=1.0);
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

impl Dial {
    async fn resolve(&self) -> Result<(Address, Client), RedisError> {
        let (endpoint, address) = match self {
            Self::Fixed(endpoint, address) => (endpoint, address.clone()),
            Self::Sentinel(sentinels) => (&sentinels.endpoint, sentinels.master().await?),
        };
        let client = endpoint.client(&address)?;
        Ok((address, client))
    }

    /// Whether it is the right server still.
    async fn holds(&self, live: &mut Live) -> bool {
        match self {
            Self::Fixed(..) => true,
            Self::Sentinel(sentinels) => match sentinels.master().await {
                Ok(address) => address == live.address && super::sentinel::is_master(&mut live.connection).await,
                // nobody to ask is no reason to leave
                Err(_) => true,
            },
        }
    }
}

impl Shared {
    async fn connect(self: &Arc<Self>, dial: &Dial) -> Result<Live, RedisError> {
        let (address, client) = dial.resolve().await?;
        let over = Arc::new(AtomicBool::new(false));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            // the caller's is around every command, also around those that wait for a connection
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE)
            .set_push_sender(pushes(Arc::downgrade(self), Arc::clone(&over)));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        if matches!(dial, Dial::Sentinel(_)) && !super::sentinel::is_master(&mut connection).await {
            return Err(RedisError::from((redis::ErrorKind::Client, "not a master yet")));
        }
        let About { run, evicts } = about(&mut connection).await?;
        self.pulse.evicts(evicts);
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Live { generation, address, run: run.into(), connection, over, taught: Arc::default() })
    }

    /// Until the connection is over.
    async fn serve(&self, live: Live, dial: &Dial) {
        self.pulse.beat(true);
        self.current.send_replace(Some(live.clone()));
        let subscribing = async {
            if let Some(ear) = &self.ear {
                ear.stands(live.clone()).await;
            }
            std::future::pending::<()>().await;
        };
        let mut watched = live.clone();
        tokio::select! {
            () = self.watch(&mut watched, &live.over, dial) => {}
            () = subscribing => {}
        }
        // nobody is told any more of what comes on it
        live.over.store(true, Ordering::Release);
        self.current.send_replace(None);
        self.pulse.beat(false);
        if let Some(ear) = &self.ear {
            ear.lost();
        }
    }

    async fn watch(&self, live: &mut Live, over: &AtomicBool, dial: &Dial) {
        let look = match dial {
            Dial::Fixed(..) => None,
            Dial::Sentinel(_) => Some(LOOK),
        };
        loop {
            let told = self.doubt.notified();
            let wait = if self.pulse.is_up() { look } else { Some(PROBE) };
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, told).await),
                None => told.await,
            }
            if over.load(Ordering::Acquire) {
                return;
            }
            if !self.pulse.is_up() {
                self.probe(live).await;
            }
            if over.load(Ordering::Acquire) || !dial.holds(live).await {
                return;
            }
        }
    }

    /// Asks whether it answers again; a paused server may take its time, a connection that broke says so.
    async fn probe(&self, live: &mut Live) {
        let ping = redis::cmd("PING");
        let answer = tokio::select! {
            answer = tokio::time::timeout(PATIENCE, ping.query_async::<Value>(&mut live.connection)) => answer,
            () = self.doubt.notified() => return,
        };
        match answer {
            Ok(Err(error)) if error.is_unrecoverable_error() => live.over.store(true, Ordering::Release),
            Ok(_) => self.pulse.beat(true),
            Err(_) => {}
        }
    }
}

fn pushes(
    shared: Weak<Shared>,
    over: Arc<AtomicBool>,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    move |push| {
        let shared = shared.upgrade().ok_or(redis::aio::SendError)?;
        if over.load(Ordering::Acquire) {
            return Ok(());
        }
        if push.kind == PushKind::Disconnection {
            over.store(true, Ordering::Release);
            shared.pulse.beat(false);
            shared.doubt.notify_one();
        } else if let Some(ear) = &shared.ear {
            ear.heard(push);
        }
        Ok(())
    }
}
