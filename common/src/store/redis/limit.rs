//! Limits that the fleet shares: a key a count, gone when it says nothing any more.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::Base;
use super::answer::Words;
use super::era::When;
use super::keys::{Kind, Place};
use super::script::{Args, Does, Script};
use crate::store::StoreFuture;
use crate::store::limit::{Ask, Leased, LimitCounts};

static LEASE: LazyLock<Script> = LazyLock::new(|| Script::in_era(Does::Grows, &[include_str!("lua/limit_lease.lua")]));

pub(super) struct RedisCounts {
    base: Arc<Base>,
}

impl RedisCounts {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }
}

impl LimitCounts for RedisCounts {
    fn lease(&self, ask: Ask) -> StoreFuture<'_, Leased> {
        Box::pin(async move {
            let args = Args::new().with(ask.limit.interval()).with(ask.limit.tolerance());
            let args = args.with(ask.paid).with(ask.want).with(ask.nodes.max(1));
            let (place, named) = (self.base.keys.limit(&ask.key), |place: &Place<'_>| vec![place.key(Kind::Limit)]);
            let answer: Vec<String> = self.base.decide(&LEASE, When::Any, place, named, &args).await?;
            let mut words = Words::new(answer);
            let granted = u32::try_from(words.number()?).unwrap_or(u32::MAX);
            Ok(Leased { granted, wait: Duration::from_micros(words.number()?) })
        })
    }
}
