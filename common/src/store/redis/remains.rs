//! What lives of nodes leave behind: found in the fleet's list of lives, freed as ledger and presence free it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::Base;
use super::answer::Words;
use super::keys::Kind;
use super::lease;
use super::ledger::RedisLedger;
use super::presence::RedisPresence;
use super::script::{Args, Does, Script};
use crate::ids::{NodeEpoch, NodeId};
use crate::store::leader::{Fence, Remains};
use crate::store::{StoreFault, StoreFuture};

static LAPSED: LazyLock<Script> =
    LazyLock::new(|| Script::new(Does::Reads, &[include_str!("lua/leases.lua"), include_str!("lua/lives_lapsed.lua")]));
static BURY: LazyLock<Script> =
    LazyLock::new(|| Script::new(Does::Shrinks, &[include_str!("lua/leases.lua"), include_str!("lua/lives_bury.lua")]));
static BURY_FENCED: LazyLock<Script> = LazyLock::new(|| {
    let fence = concat!(include_str!("lua/fence.lua"), "fence(KEYS[3], ARGV[7])");
    Script::new(Does::Shrinks, &[fence, include_str!("lua/leases.lua"), include_str!("lua/lives_bury.lua")])
});

pub(super) struct RedisRemains {
    base: Arc<Base>,
    ledger: RedisLedger,
    presence: RedisPresence,
}

impl RedisRemains {
    pub(super) fn new(base: Arc<Base>) -> Self {
        let (ledger, presence) = (RedisLedger::new(Arc::clone(&base)), RedisPresence::new(Arc::clone(&base)));
        Self { base, ledger, presence }
    }

    fn args(&self, node: &str, epoch: &str) -> Args {
        lease::args(&self.base, node, epoch, Duration::ZERO)
    }

    async fn forget(&self, by: Option<Fence>, node: &NodeId, epoch: NodeEpoch) -> Result<bool, StoreFault> {
        let (args, mut keys) = (self.args(node.as_str(), &epoch.to_string()), lease::keys(&self.base));
        let Some(Fence(term)) = by else { return BURY.run(&self.base.link, &keys, &args).await };
        keys.push(self.base.keys.fleet().shared(Kind::Fence));
        BURY_FENCED.run(&self.base.link, &keys, &args.with(term)).await
    }
}

impl Remains for RedisRemains {
    fn lapsed(&self) -> StoreFuture<'_, Vec<(NodeId, NodeEpoch)>> {
        Box::pin(async move {
            let answer = LAPSED.run(&self.base.link, &lease::keys(&self.base), &self.args("", "")).await?;
            let mut words = Words::new(answer);
            let mut lives = Vec::new();
            while !words.is_empty() {
                lives.push((words.node()?, words.epoch()?));
            }
            lives.sort();
            Ok(lives)
        })
    }

    fn reap_slots(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        Box::pin(async move { self.ledger.reap_by(by, &node, epoch, limit).await })
    }

    fn reap_members(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        Box::pin(async move { self.presence.reap_by(by, &node, epoch, limit).await })
    }

    fn bury(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.forget(by, &node, epoch).await })
    }
}
