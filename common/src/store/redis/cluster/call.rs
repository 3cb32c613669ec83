//! What is asked of the masters: which one a command goes to, and what is done where it says that it is not the one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, RedisError, Value};

use super::masters::{Inner, Node};
use crate::store::redis::batch::Order;
use crate::store::redis::endpoint::Address;
use crate::store::redis::link::LinkFault;
use crate::store::redis::slots::{Redirect, key_of, redirect, slot_of};

/// Redirects that one command follows.
pub(super) const HOPS: usize = 4;

/// How long a command waits for a slot that is on its way or has no master, the first time; then twice as long.
const WAIT: Duration = Duration::from_millis(20);

/// A command and its place; its answer and the place.
pub(super) type Question<'a> = (usize, &'a Order);
pub(super) type Placed = (usize, Result<Value, LinkFault>);

impl Inner {
    pub(super) async fn owner(&self, slot: u16) -> Arc<Node> {
        let mut wait = WAIT;
        loop {
            if let Some(node) = self.map().owner(slot) {
                return Arc::clone(node);
            }
            self.stale.notify_one();
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    pub(super) async fn command(
        &self,
        command: &Cmd,
        slot: u16,
        last: &mut Option<Arc<Node>>,
    ) -> Result<Value, LinkFault> {
        let (mut asked, mut wait, mut hops) = (None, WAIT, 0);
        loop {
            let node = match &asked {
                Some(asked) => Arc::clone(asked),
                None => self.owner(slot).await,
            };
            *last = Some(Arc::clone(&node));
            let answer = match asked.take() {
                None => node.wire.command(command).await,
                Some(_) => node.asking(&Order::plain(command.clone())).await,
            };
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            hops += 1;
            match redirect(&error, &node.address) {
                _ if hops > HOPS && error.code() != Some("TRYAGAIN") => return Err(error.into()),
                Some(Redirect::Moved(slot, address)) => self.moved(slot, &address),
                Some(Redirect::Ask(address)) => asked = Some(self.node(&address)),
                None if error.code() == Some("TRYAGAIN") => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                None => {
                    self.doubted(&error);
                    return Err(error.into());
                }
            }
        }
    }

    /// Sends each command to its master. What was redirected has no answer yet.
    pub(super) async fn round(&self, orders: Vec<Question<'_>>, timeout: Duration) -> Vec<Placed> {
        let map = self.map();
        let mut groups = BTreeMap::<Option<&Address>, (Option<&Arc<Node>>, Vec<Question<'_>>)>::new();
        for (place, order) in orders {
            let owner = map.owner(slot_of(key_of(order.command()).unwrap_or_default()));
            let group = groups.entry(owner.map(|node| &node.address)).or_insert((owner, Vec::new()));
            group.1.push((place, order));
        }
        let work = groups.into_values().map(|(node, group)| async move {
            match node {
                Some(node) => self.write(node, group, timeout).await,
                None => {
                    self.stale.notify_one();
                    let nobody = |(place, _)| (place, Err(LinkFault::Silent("its slot has no master")));
                    group.into_iter().map(nobody).collect()
                }
            }
        });
        join_all(work).await.into_iter().flatten().collect()
    }

    async fn write(&self, node: &Node, group: Vec<Question<'_>>, timeout: Duration) -> Vec<Placed> {
        let silent = |why| move |(place, _)| (place, Err(LinkFault::Silent(why)));
        // a master that is known to be silent keeps nobody from the others; it is being asked whether it answers again
        if !node.wire.is_up() {
            self.stale.notify_one();
            return group.into_iter().map(silent("its master does not answer")).collect();
        }
        let orders = group.iter().map(|(_, order)| *order);
        let answers = match tokio::time::timeout(timeout, node.wire.batch(orders)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) => {
                self.stale.notify_one();
                return group.into_iter().map(silent("the connection was lost")).collect();
            }
            Err(_) => {
                node.wire.silent();
                self.stale.notify_one();
                return group.into_iter().map(silent("no answer in time")).collect();
            }
        };
        let mut placed = Vec::with_capacity(group.len());
        for ((place, order), answer) in group.into_iter().zip(answers) {
            match answer {
                Ok(value) => placed.push((place, Ok(value))),
                Err(error) => match redirect(&error, &node.address) {
                    Some(Redirect::Moved(slot, address)) => self.moved(slot, &address),
                    Some(Redirect::Ask(address)) => {
                        let there = self.node(&address);
                        let asked = tokio::time::timeout(timeout, there.asking(order)).await;
                        let late = |_| Err(LinkFault::Silent("no answer in time"));
                        placed.push((place, asked.map_or_else(late, |answer| answer.map_err(LinkFault::from))));
                    }
                    None => {
                        self.doubted(&error);
                        placed.push((place, Err(error.into())));
                    }
                },
            }
        }
        placed
    }

    /// Not a redirect, but a sign that the map is old.
    fn doubted(&self, error: &RedisError) {
        if !matches!(error.code(), Some("NOSCRIPT" | "ERR" | "OOM" | "NOPERM" | "WRONGTYPE")) {
            self.stale.notify_one();
        }
    }
}

impl Node {
    /// One command for a slot that is on its way here.
    async fn asking(&self, order: &Order) -> Result<Value, RedisError> {
        let asking = Order::plain(redis::cmd("ASKING"));
        let mut answers = self.wire.batch([&asking, order].into_iter()).await?;
        answers.pop().unwrap_or_else(|| Err(RedisError::from((redis::ErrorKind::Client, "no answer"))))
    }
}
