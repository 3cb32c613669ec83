//! The election of the leading coordinator: one string for the fleet, and a fence in every partition.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::FromRedisValue;

use super::Base;
use super::answer::Words;
use super::keys::{Kind, PARTITIONS};
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::millis;
use crate::store::leader::{Candidate, Fence, Leadership, Stood, Term};
use crate::store::{StoreFault, StoreFuture};

/// Partitions told at once.
const AHEAD: usize = 32;

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            Script::new(Does::$does, &[include_str!("lua/leader.lua"), include_str!(concat!("lua/", $file))])
        })
    };
}

// none of them needs more memory than its predecessor's term did
static STAND: LazyLock<Script> = script!(Shrinks, "leader_stand.lua");
static RENEW: LazyLock<Script> = script!(Shrinks, "leader_renew.lua");
static RESIGN: LazyLock<Script> = script!(Shrinks, "leader_resign.lua");
static TERM: LazyLock<Script> = script!(Reads, "leader_term.lua");
static PROCLAIM: LazyLock<Script> = LazyLock::new(|| {
    let fence = concat!(include_str!("lua/fence.lua"), "fence(KEYS[1], ARGV[1])\nreturn 1");
    Script::new(Does::Shrinks, &[fence])
});

pub(super) struct RedisLeadership {
    base: Arc<Base>,
}

impl RedisLeadership {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }

    async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        who: Option<&Candidate>,
        fence: Fence,
        ttl: Duration,
    ) -> Result<T, StoreFault> {
        let Base { link, keys, keep, .. } = &*self.base;
        let (id, life) = who.map_or(("", String::new()), |who| (who.id.as_str(), who.life.to_string()));
        let args = Args::new().with(id).with(life).with(fence.0).with(millis(ttl.min(*keep)));
        script.run(link, &[keys.fleet().key(Kind::Leader)], &args).await
    }

    async fn tell(&self, partition: u8, fence: Fence) -> Result<(), StoreFault> {
        let key = self.base.keys.of_partition(partition, Kind::Fence);
        PROCLAIM.run::<u64>(&self.base.link, &[key], &Args::new().with(fence.0)).await.map(|_| ())
    }
}

fn term(words: &mut Words) -> Result<Term, StoreFault> {
    let (id, fence) = (words.node()?, Fence(words.number()?));
    Ok(Term { id, fence, remaining: Duration::from_millis(words.number()?) })
}

impl Leadership for RedisLeadership {
    fn stand(&self, who: Candidate, ttl: Duration) -> StoreFuture<'_, Stood> {
        Box::pin(async move {
            let mut words = Words::new(self.call(&STAND, Some(&who), Fence(0), ttl).await?);
            match words.number()? {
                1 => Ok(Stood::Elected(Fence(words.number()?))),
                0 => Ok(Stood::Led(term(&mut words)?)),
                _ => Err(garbled()),
            }
        })
    }

    fn renew(&self, who: Candidate, fence: Fence, ttl: Duration) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.call(&RENEW, Some(&who), fence, ttl).await })
    }

    fn resign(&self, who: Candidate, fence: Fence) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.call(&RESIGN, Some(&who), fence, Duration::ZERO).await })
    }

    fn term(&self) -> StoreFuture<'_, Option<Term>> {
        Box::pin(async move {
            let mut words = Words::new(self.call(&TERM, None, Fence(0), Duration::ZERO).await?);
            if words.is_empty() { Ok(None) } else { term(&mut words).map(Some) }
        })
    }

    fn proclaim(&self, fence: Fence) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let partitions: Vec<u8> = (0..PARTITIONS).filter_map(|partition| u8::try_from(partition).ok()).collect();
            for some in partitions.chunks(AHEAD) {
                try_join_all(some.iter().map(|partition| self.tell(*partition, fence))).await?;
            }
            Ok(())
        })
    }
}
