//! How it is found out who serves what: the masters that answer are asked, then the seeds.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{AsyncConnectionConfig, Cmd, Value};

use super::masters::{Inner, Node};
use crate::store::redis::ConnectFault;
use crate::store::redis::endpoint::{Address, Endpoint};
use crate::store::redis::link::unreachable;
use crate::store::redis::slots::{SLOTS, Stretch, stretches};

/// How often it is asked who serves what: when nothing happened, when a master does not answer, and at most.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_DOWN: Duration = Duration::from_millis(500);
const LOOK_LEAST: Duration = Duration::from_millis(100);

/// How long one node may take to say it.
const ASK: Duration = Duration::from_secs(2);

impl Inner {
    /// Asks who serves what: the masters that answer, then the seeds.
    async fn look(&self) {
        let map = self.map();
        let mut turn: Vec<&Arc<Node>> = map.nodes.iter().filter(|node| node.wire.is_up()).collect();
        if !turn.is_empty() {
            // none is asked always: what one believes that is cut off must not stand
            let first = rand::random_range(0..turn.len());
            turn.rotate_left(first);
        }
        for node in turn {
            let answer = tokio::time::timeout(ASK, node.wire.command(&question())).await;
            if let Ok(Ok(answer)) = answer
                && let Some(found) = stretches(answer, &node.address)
            {
                return self.adopt(&found);
            }
        }
        if let Ok(found) = first_view(&self.endpoint).await {
            self.adopt(&found);
        }
    }
}

fn question() -> Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    question
}

/// Asks the seeds in turn.
pub(super) async fn first_view(endpoint: &Endpoint) -> Result<Vec<Stretch>, ConnectFault> {
    let mut fault = ConnectFault::Url;
    for seed in &endpoint.seeds {
        match ask(endpoint, seed).await {
            Ok(found) => return Ok(found),
            Err(new) => fault = new,
        }
    }
    Err(fault)
}

async fn ask(endpoint: &Endpoint, seed: &Address) -> Result<Vec<Stretch>, ConnectFault> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(ASK)).set_response_timeout(Some(ASK));
    let client = endpoint.client(seed).map_err(|error| unreachable(&error))?;
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.map_err(|error| unreachable(&error))?;
    let answer = question().query_async::<Value>(&mut connection).await.map_err(|error| unreachable(&error))?;
    let incomplete = || ConnectFault::Unreachable(Arc::from("no node of the cluster says who serves every slot"));
    let found = stretches(answer, seed).ok_or_else(incomplete)?;
    let covered: usize = found.iter().map(|stretch| usize::from(stretch.last - stretch.first) + 1).sum();
    if covered == usize::from(SLOTS) { Ok(found) } else { Err(incomplete()) }
}

pub(super) async fn keep_looking(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let wait = if strong.has_silent_masters() { LOOK_DOWN } else { LOOK };
        let _ = tokio::time::timeout(wait, strong.stale.notified()).await;
        strong.look().await;
        drop(strong);
        tokio::time::sleep(LOOK_LEAST).await;
    }
}

pub(super) async fn keep_healing(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        strong.shards.keep_up(&strong).await;
    }
}
