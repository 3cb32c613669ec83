//! Who the master is, asked of the sentinels (Redis Sentinel's protocol for clients).
//!
//! All are asked at once and the highest configuration epoch wins, so that one that was cut off with an old master does
//! not lead us back to it. What they say of a switch is a reason to ask, never an answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::endpoint::{Address, Endpoint};

/// How long one sentinel may take, and how long others are waited for when one has answered.
const ASK: Duration = Duration::from_secs(2);
const OTHERS: Duration = Duration::from_millis(200);

/// Between two tries to listen to a sentinel.
const PAUSE: Duration = Duration::from_secs(1);

/// What a sentinel publishes when it has a new master.
const SWITCHED: &str = "+switch-master";

/// The sentinels of one master.
pub(super) struct Sentinels {
    pub(super) endpoint: Arc<Endpoint>,
    /// The master's name.
    pub(super) name: Arc<str>,
}

/// What one said: its configuration epoch, and where the master is.
type Word = (u64, Address);

impl Sentinels {
    /// Where the master is.
    pub(super) async fn master(&self) -> Result<Address, RedisError> {
        let mut asked: FuturesUnordered<_> = self.endpoint.seeds.iter().map(|seed| self.ask(seed)).collect();
        let (mut best, mut fault) = (None::<Word>, None);
        let enough = self.endpoint.seeds.len() / 2 + 1;
        let mut answers = 0;
        loop {
            let patience = if best.is_some() { OTHERS } else { ASK };
            match tokio::time::timeout(patience, asked.next()).await {
                Ok(Some(Ok(word))) => {
                    answers += 1;
                    best = best.filter(|best| best.0 >= word.0).or(Some(word));
                    if answers >= enough {
                        break;
                    }
                }
                Ok(Some(Err(error))) => fault = Some(error),
                Ok(None) | Err(_) => break,
            }
        }
        best.map(|(_, address)| address).ok_or_else(|| fault.unwrap_or_else(nobody))
    }

    async fn ask(&self, sentinel: &Address) -> Result<Word, RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(ASK)).set_response_timeout(Some(ASK));
        let client = self.endpoint.sentinel(sentinel)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let name = &*self.name;
        let mut question = redis::pipe();
        question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).cmd("SENTINEL").arg("MASTER").arg(name);
        let (place, about): (Option<(String, u16)>, Value) = question.query_async(&mut connection).await?;
        let (host, port) = place.ok_or_else(nobody)?;
        let about = std::collections::HashMap::<String, String>::from_redis_value(about)?;
        let epoch = about.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok((epoch, Address { host: Arc::from(host), port }))
    }

    /// Listens to every sentinel, and calls `doubt` whenever the master may be another.
    pub(super) fn watch(self: &Arc<Self>, doubt: impl Fn() + Send + Sync + 'static) -> Watch {
        let doubt = Arc::new(doubt);
        let listen = |seed: &Address| {
            let (sentinels, seed, doubt) = (Arc::clone(self), seed.clone(), Arc::clone(&doubt));
            tokio::spawn(async move {
                loop {
                    // one that cannot be heard is tried again; the others are heard
                    let _ = sentinels.listen(&seed, &*doubt).await;
                    tokio::time::sleep(PAUSE).await;
                }
            })
        };
        Watch(self.endpoint.seeds.iter().map(listen).collect())
    }

    async fn listen(&self, sentinel: &Address, doubt: &(dyn Fn() + Send + Sync)) -> Result<(), RedisError> {
        let (sender, mut pushes) = mpsc::unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ASK))
            .set_response_timeout(Some(ASK))
            .set_push_sender(sender);
        let client = self.endpoint.sentinel(sentinel)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        connection.subscribe(SWITCHED).await?;
        // what was said while nobody listened
        doubt();
        while let Some(push) = pushes.recv().await {
            match push.kind {
                PushKind::Message if self.is_about_us(&push) => doubt(),
                PushKind::Disconnection => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// `name old-host old-port new-host new-port`
    fn is_about_us(&self, push: &PushInfo) -> bool {
        let Some(Value::BulkString(text)) = push.data.get(1) else { return false };
        text.strip_prefix(self.name.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
    }
}

fn nobody() -> RedisError {
    RedisError::from((ErrorKind::Client, "no sentinel knows the master"))
}

/// Whether this server calls itself a master.
pub(super) async fn is_master(connection: &mut MultiplexedConnection) -> bool {
    let role = tokio::time::timeout(ASK, redis::cmd("ROLE").query_async::<Vec<Value>>(connection)).await;
    let Ok(Ok(role)) = role else { return false };
    matches!(role.first(), Some(Value::BulkString(role)) if role == b"master")
}

/// The tasks that listen; they end when it is dropped.
pub(super) struct Watch(Vec<JoinHandle<()>>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
