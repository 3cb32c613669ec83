//! Node leases: one hash for the fleet, so that the members are one answer. Cost: a renewal touches one field.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::FromRedisValue;

use super::Base;
use super::answer::Words;
use super::keys::Kind;
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::millis;
use crate::ids::{NodeEpoch, NodeId};
use crate::store::lease::{Leases, Member};
use crate::store::{StoreFault, StoreFuture};

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            Script::new(Does::$does, &[include_str!("lua/leases.lua"), include_str!(concat!("lua/", $file))])
        })
    };
}

static TAKE: LazyLock<Script> = script!(Grows, "lease_take.lua");
static RENEW: LazyLock<Script> = script!(Shrinks, "lease_renew.lua");
static RELEASE: LazyLock<Script> = script!(Shrinks, "lease_release.lua");
static MEMBERS: LazyLock<Script> = script!(Reads, "lease_members.lua");

/// At most so many nodes have a lease.
pub(super) const NODES: usize = 1_024;
/// At most so many lives are remembered until somebody has cleared up after them.
const LIVES: usize = 4_096;

pub(super) struct RedisLeases {
    base: Arc<Base>,
}

impl RedisLeases {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }

    async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        node: &str,
        epoch: &str,
        ttl: Duration,
    ) -> Result<T, StoreFault> {
        script.run(&self.base.link, &keys(&self.base), &args(&self.base, node, epoch, ttl)).await
    }
}

/// `KEYS` of every script about leases.
pub(super) fn keys(base: &Base) -> Vec<String> {
    let fleet = base.keys.fleet();
    vec![fleet.key(Kind::Leases), fleet.key(Kind::Lives)]
}

/// `ARGV` of every script about leases.
pub(super) fn args(base: &Base, node: &str, epoch: &str, ttl: Duration) -> Args {
    let args = Args::new().with(node).with(epoch).with(millis(ttl.min(base.keep))).with(millis(base.keep));
    args.with(NODES).with(LIVES)
}

impl Leases for RedisLeases {
    fn take(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            match self.call(&TAKE, node.as_str(), &epoch.to_string(), ttl).await? {
                1 => Ok(true),
                0 => Ok(false),
                -1 => Err(StoreFault::Full("nodes")),
                _ => Err(garbled()),
            }
        })
    }

    fn renew(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.call(&RENEW, node.as_str(), &epoch.to_string(), ttl).await })
    }

    fn release(&self, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.call(&RELEASE, node.as_str(), &epoch.to_string(), Duration::ZERO).await })
    }

    fn members(&self) -> StoreFuture<'_, Vec<Member>> {
        Box::pin(async move {
            let mut words = Words::new(self.call(&MEMBERS, "", "", Duration::ZERO).await?);
            let mut members = Vec::new();
            while !words.is_empty() {
                let (node, epoch) = (words.node()?, words.epoch()?);
                members.push(Member { node, epoch, remaining: Duration::from_millis(words.number()?) });
            }
            members.sort_by(|a, b| a.node.cmp(&b.node));
            Ok(members)
        })
    }
}
