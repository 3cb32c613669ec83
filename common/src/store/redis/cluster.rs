//! Several masters that share the keys: which of them is asked, and what is done when that changes.
//!
//! Each has a wire for commands and one for what it pushes, of its own (ADR 8): one that is gone keeps nobody from the
//! others. Who serves a slot is learnt from `CLUSTER SLOTS` and from redirects. What was sent is never sent again, but
//! where the server said that it had not carried it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::task::JoinHandle;

use super::ConnectFault;
use super::batch::Order;
use super::endpoint::{Address, Endpoint};
use super::health::Health;
use super::link::{LinkFault, suits, unreachable};
use super::options::RedisOptions;
use super::slots::{key_of, slot_of};
use crate::store::StoreFault;

/// Who serves what.
mod masters;

/// What is asked of them.
mod call;

/// How that is found out.
mod look;

pub(super) use masters::{Inner, Map, Node};

/// See the module. Its tasks end when it is dropped.
pub(super) struct Cluster {
    inner: Arc<Inner>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Cluster {
    /// Finds the masters and asks each whether it will do.
    pub(super) async fn connect(
        endpoint: &Arc<Endpoint>,
        options: &RedisOptions,
        health: &Arc<Health>,
    ) -> Result<Arc<Self>, ConnectFault> {
        let found = look::first_view(endpoint).await?;
        let masters: BTreeMap<&Address, ()> = found.iter().map(|stretch| (&stretch.master, ())).collect();
        let judged = masters.into_keys().map(|master| async {
            suits(&endpoint.client(master).map_err(|error| unreachable(&error))?, options).await
        });
        join_all(judged).await.into_iter().collect::<Result<Vec<()>, _>>()?;
        let inner = Arc::new(Inner::new(endpoint, options.connect_timeout, health));
        inner.adopt(&found);
        let (looker, healer) = (Arc::downgrade(&inner), Arc::downgrade(&inner));
        let tasks = [tokio::spawn(look::keep_looking(looker)), tokio::spawn(look::keep_healing(healer))];
        Ok(Arc::new(Self { inner, tasks }))
    }

    /// Where a key is, waited for without end.
    pub(super) async fn address_of(&self, key: &str) -> Address {
        self.inner.owner(slot_of(key.as_bytes())).await.address.clone()
    }

    /// Where a key is; `None`: nowhere, at the moment.
    pub(super) fn owner_of(&self, key: &str) -> Option<Address> {
        self.inner.map().owner(slot_of(key.as_bytes())).map(|node| node.address.clone())
    }

    /// One command.
    pub(super) async fn command(&self, command: &Cmd, timeout: Duration) -> Result<Value, LinkFault> {
        let slot = slot_of(key_of(command).unwrap_or_default());
        let mut last = None;
        let work = self.inner.command(command, slot, &mut last);
        match tokio::time::timeout(timeout, work).await {
            Ok(answer) => answer,
            Err(_) => {
                if let Some(node) = last {
                    node.wire.silent();
                }
                self.inner.stale.notify_one();
                Err(LinkFault::Silent("no answer in time"))
            }
        }
    }

    /// Several commands, one write a master; those of one slot in their order. What is redirected has the time again.
    pub(super) async fn batch(&self, orders: &[Order], timeout: Duration) -> Vec<Result<Value, LinkFault>> {
        let mut answers: Vec<Option<Result<Value, LinkFault>>> = orders.iter().map(|_| None).collect();
        for _ in 0..call::HOPS {
            let open: Vec<call::Question<'_>> =
                orders.iter().enumerate().filter(|(i, _)| answers.get(*i).is_some_and(Option::is_none)).collect();
            if open.is_empty() {
                break;
            }
            for (place, answer) in self.inner.round(open, timeout).await {
                if let Some(answers) = answers.get_mut(place) {
                    *answers = Some(answer);
                }
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(LinkFault::Silent("its slot is on its way")))).collect()
    }

    /// One answer a channel.
    pub(super) async fn subscribe(&self, channels: &[String], timeout: Duration) -> Vec<Result<(), StoreFault>> {
        let inner = &self.inner;
        inner.shards.want(channels);
        // the time runs for each master by itself; those that have confirmed have
        let confirmed = inner.shards.subscribe(inner, channels, timeout).await;
        let fault = || StoreFault::from(LinkFault::Silent("no subscription in time"));
        channels.iter().map(|channel| confirmed.contains(channel).then_some(()).ok_or_else(fault)).collect()
    }

    pub(super) async fn unsubscribe(&self, channels: &[String], timeout: Duration) {
        self.inner.shards.unsubscribe(&self.inner.map(), channels, timeout).await;
    }
}
