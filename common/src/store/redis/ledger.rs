//! The session ledger: one hash a user, one script a call, one round trip. The rules are in `lua/slots.lua`.
//!
//! Cost of a call in Redis: a read of all slots of one user and a write of the changed one, about 20 µs.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::FromRedisValue;

use super::answer::Words;
use super::era::When;
use super::keys::{Kind, Name, Place};
use super::link::garbled;
use super::script::{Args, Does, Script};
use super::{Base, reap};
use crate::clock::millis;
use crate::config::model::OnLimit;
use crate::ids::{NodeEpoch, NodeId, SessionId, UserId};
use crate::store::leader::Fence;
use crate::store::session::{Acquire, Acquired, Holder, Passed, Released, Resumed, SessionLedger, Slot, SlotState};
use crate::store::{StoreFault, StoreFuture};

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            Script::in_era(Does::$does, &[include_str!("lua/slots.lua"), include_str!(concat!("lua/", $file))])
        })
    };
}

static ACQUIRE: LazyLock<Script> = script!(Grows, "ledger_acquire.lua");
static CONFIRM: LazyLock<Script> = script!(Shrinks, "ledger_confirm.lua");
static WITHDRAW: LazyLock<Script> = script!(Shrinks, "ledger_withdraw.lua");
static RELEASE: LazyLock<Script> = script!(Shrinks, "ledger_release.lua");
static DETACH: LazyLock<Script> = script!(Shrinks, "ledger_detach.lua");
static ARM: LazyLock<Script> = script!(Shrinks, "ledger_arm.lua");
static SPEND: LazyLock<Script> = script!(Shrinks, "ledger_spend.lua");
static RESUME: LazyLock<Script> = script!(Shrinks, "ledger_resume.lua");
static REMOVE: LazyLock<Script> = script!(Shrinks, "ledger_remove.lua");
static LIST: LazyLock<Script> = script!(Reads, "ledger_list.lua");
static REAP: LazyLock<Script> = script!(Shrinks, "ledger_reap.lua");
static REAP_FENCED: LazyLock<Script> = LazyLock::new(|| {
    let fence = concat!(include_str!("lua/fence.lua"), "fence(KEYS[4], ARGV[6])");
    Script::in_era(Does::Shrinks, &[fence, include_str!("lua/slots.lua"), include_str!("lua/ledger_reap.lua")])
});

pub(super) struct RedisLedger {
    base: Arc<Base>,
}

impl RedisLedger {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }

    /// Runs a script on a user's slots. `life`: whose index it keeps.
    async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        user: &UserId,
        life: Option<NodeEpoch>,
        more: impl FnOnce(Args) -> Args,
    ) -> Result<T, StoreFault> {
        self.call_when(When::Any, script, user, life, more).await
    }

    /// The same, where it gives somebody something new.
    async fn call_when<T: FromRedisValue>(
        &self,
        when: When,
        script: &Script,
        user: &UserId,
        life: Option<NodeEpoch>,
        more: impl FnOnce(Args) -> Args,
    ) -> Result<T, StoreFault> {
        let keys = &self.base.keys;
        let place = keys.user(user);
        let args = Args::new().with(place.name().as_str()).with(millis(self.base.keep));
        let held = life.map(|epoch| keys.life(epoch));
        self.base.decide(script, when, place, |place| slots_of(place, held.as_ref()), &more(args)).await
    }

    /// A script whose own argument is first of all a holder, in that holder's life.
    async fn by_holder<T: FromRedisValue>(
        &self,
        script: &Script,
        user: &UserId,
        holder: &Holder,
        more: impl FnOnce(Args) -> Args,
    ) -> Result<T, StoreFault> {
        self.call(script, user, Some(holder.epoch), |args| more(holder_first(args, holder))).await
    }

    async fn acquire_when(&self, when: When, request: Acquire) -> Result<Acquired, StoreFault> {
        let Acquire { user, holder, cap, on_limit } = request;
        let on_limit = match on_limit {
            OnLimit::Reject => "reject",
            OnLimit::EvictOldest => "evict_oldest",
        };
        let more = |args: Args| holder_first(args, &holder).with(cap).with(on_limit);
        let mut words = Words::new(self.call_when(when, &ACQUIRE, &user, Some(holder.epoch), more).await?);
        Ok(match words.word()?.as_str() {
            "held" => Acquired::Held { seq: words.number()? },
            "evicting" => Acquired::Evicting { seq: words.number()?, victim: words.holder()? },
            "full" => Acquired::Full { retry_after: Duration::from_millis(words.number()?) },
            _ => return Err(garbled()),
        })
    }

    /// A window as scripts take it: what is longer than anything is kept ends with it anyway.
    fn window(&self, window: Duration) -> u64 {
        millis(window.min(self.base.keep))
    }

    async fn list(&self, user: &UserId) -> Result<Vec<Slot>, StoreFault> {
        let slots: Vec<Vec<String>> = self.call(&LIST, user, None, |args| args).await?;
        slots.into_iter().map(|words| slot(Words::new(words))).collect()
    }

    /// Frees at most `limit` slots of a life, in the name of a leader or of a node.
    pub(super) async fn reap_by(
        &self,
        by: Option<Fence>,
        node: &NodeId,
        epoch: NodeEpoch,
        limit: usize,
    ) -> Result<usize, StoreFault> {
        reap::walk(&self.base, Kind::Held, node, epoch, limit, |life, limit| self.reap_one(by, life, limit)).await
    }

    /// Frees at most `limit` slots of one user.
    async fn reap_one(&self, by: Option<Fence>, life: reap::Life<'_>, limit: usize) -> Result<usize, StoreFault> {
        let keys = &self.base.keys;
        let place = keys.known(life.partition, life.name.clone());
        let held = keys.life(life.epoch);
        let args = Args::new().with(life.name.as_str()).with(millis(self.base.keep));
        let args = args.with(life.node.as_str()).with(text(&life.epoch)).with(limit);
        let Some(Fence(term)) = by else {
            return self.base.decide(&REAP, When::Any, place, |place| slots_of(place, Some(&held)), &args).await;
        };
        let named = |place: &Place<'_>| {
            let mut named = slots_of(place, Some(&held));
            named.push(place.shared(Kind::Fence));
            named
        };
        self.base.decide(&REAP_FENCED, When::Any, place, named, &args.with(term)).await
    }
}

/// The keys of a script on a user's slots, with the index of a life where it keeps one.
fn slots_of(place: &Place<'_>, held: Option<&Name>) -> Vec<String> {
    let mut named = vec![place.key(Kind::Slots), place.shared(Kind::Seq)];
    named.extend(held.map(|life| place.beside(Kind::Held, life)));
    named
}

fn holder_first(args: Args, holder: &Holder) -> Args {
    let args = args.with(text(&holder.sid)).with(holder.node.as_str());
    args.with(text(&holder.epoch)).with(holder.generation)
}

/// The first half of a token's keyed hash: 128 bits nobody can aim at.
fn short(token: &[u8; 32]) -> String {
    token.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn text(id: &impl ToString) -> String {
    id.to_string()
}

fn released(answer: Vec<String>) -> Result<Released, StoreFault> {
    let mut words = Words::new(answer);
    if words.is_empty() {
        return Ok(Released::default());
    }
    let seq = words.number()?;
    let passed = if words.is_empty() { None } else { Some(Passed { to: words.holder()?, seq }) };
    Ok(Released { seq: Some(seq), passed })
}

fn slot(mut words: Words) -> Result<Slot, StoreFault> {
    let holder = words.holder()?;
    let state = words.word()?;
    let (until, since) = (words.time()?, words.time()?);
    let state = match state.as_str() {
        "L" => SlotState::Live,
        "D" => SlotState::Detached { until },
        "E" => SlotState::Evicting { by: words.holder()? },
        _ => return Err(garbled()),
    };
    Ok(Slot { holder, state, since })
}

impl SessionLedger for RedisLedger {
    fn acquire(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        Box::pin(self.acquire_when(When::Whole, request))
    }

    fn reassert(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        Box::pin(self.acquire_when(When::Any, Acquire { on_limit: OnLimit::Reject, ..request }))
    }

    fn confirm(&self, user: UserId, victim: Holder) -> StoreFuture<'_, Option<Passed>> {
        Box::pin(async move {
            let answer = self.by_holder(&CONFIRM, &user, &victim, |args| args).await?;
            Ok(released(answer)?.passed)
        })
    }

    fn withdraw(&self, user: UserId, newcomer: Holder) -> StoreFuture<'_, Released> {
        Box::pin(async move { released(self.by_holder(&WITHDRAW, &user, &newcomer, |args| args).await?) })
    }

    fn release(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        Box::pin(async move { released(self.by_holder(&RELEASE, &user, &holder, |args| args).await?) })
    }

    fn detach(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        Box::pin(async move {
            let more = |args: Args| args.with(short(&token)).with(self.window(window));
            released(self.by_holder(&DETACH, &user, &holder, more).await?)
        })
    }

    fn arm(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        Box::pin(async move {
            let more = |args: Args| args.with(short(&token)).with(self.window(window));
            released(self.by_holder(&ARM, &user, &holder, more).await?)
        })
    }

    fn spend(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        Box::pin(async move { released(self.by_holder(&SPEND, &user, &holder, |args| args).await?) })
    }

    fn resume(
        &self,
        user: UserId,
        token: [u8; 32],
        node: NodeId,
        epoch: NodeEpoch,
    ) -> StoreFuture<'_, Option<Resumed>> {
        Box::pin(async move {
            let more = |args: Args| args.with(short(&token)).with(node.as_str()).with(text(&epoch));
            let mut words = Words::new(self.call_when(When::Whole, &RESUME, &user, Some(epoch), more).await?);
            if words.is_empty() {
                return Ok(None);
            }
            let seq = words.number()?;
            let previous = words.holder()?;
            let was_live = words.word()? == "L";
            Ok(Some(Resumed { previous, was_live, holder: words.holder()?, since: words.time()?, seq }))
        })
    }

    fn remove(&self, user: UserId, sid: SessionId) -> StoreFuture<'_, Option<Slot>> {
        Box::pin(async move {
            let words = Words::new(self.call(&REMOVE, &user, None, |args| args.with(text(&sid))).await?);
            if words.is_empty() { Ok(None) } else { Ok(Some(slot(words)?)) }
        })
    }

    fn holds(&self, user: UserId, holder: Holder) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let is = |slot: &Slot| {
                let Holder { sid, node: _, epoch, generation } = &slot.holder;
                (*sid, *epoch, *generation) == (holder.sid, holder.epoch, holder.generation)
                    && !matches!(slot.state, SlotState::Detached { .. })
            };
            Ok(self.list(&user).await?.iter().any(is))
        })
    }

    fn slots(&self, user: UserId) -> StoreFuture<'_, Vec<Slot>> {
        Box::pin(async move { self.list(&user).await })
    }

    fn nodes(&self, user: UserId) -> StoreFuture<'_, Vec<NodeId>> {
        Box::pin(async move {
            let mut nodes: Vec<NodeId> = Vec::new();
            for slot in self.list(&user).await? {
                if !matches!(slot.state, SlotState::Detached { .. }) && !nodes.contains(&slot.holder.node) {
                    nodes.push(slot.holder.node);
                }
            }
            Ok(nodes)
        })
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        Box::pin(async move { self.reap_by(None, &node, epoch, limit).await })
    }
}
