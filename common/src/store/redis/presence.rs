//! Room members: a hash by session, one by user, and for every life of a node the sessions it has in the room, so that
//! a dead life is taken out without looking at anybody else. Every call is one script of constant cost, but for `list`
//! (its limit) and `reap`.

use std::sync::{Arc, LazyLock};

use redis::FromRedisValue;

use super::answer::Words;
use super::era::When;
use super::keys::{Kind, Name, Place};
use super::link::garbled;
use super::script::{Args, Does, Script};
use super::{Base, reap};
use crate::clock::millis;
use crate::ids::{NodeEpoch, NodeId, RoomName, SessionId, UserId};
use crate::store::leader::Fence;
use crate::store::presence::{Change, Occupant, Presence};
use crate::store::{StoreFault, StoreFuture};

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            Script::in_era(Does::$does, &[include_str!("lua/room.lua"), include_str!(concat!("lua/", $file))])
        })
    };
}

static ENTER: LazyLock<Script> = script!(Grows, "presence_enter.lua");
static EXIT: LazyLock<Script> = script!(Shrinks, "presence_exit.lua");
static LIST: LazyLock<Script> = script!(Reads, "presence_list.lua");
static REAP: LazyLock<Script> = script!(Shrinks, "presence_reap.lua");
static REAP_FENCED: LazyLock<Script> = LazyLock::new(|| {
    let fence = concat!(include_str!("lua/fence.lua"), "fence(KEYS[5], ARGV[6])");
    Script::in_era(Does::Shrinks, &[fence, include_str!("lua/room.lua"), include_str!("lua/presence_reap.lua")])
});

pub(super) struct RedisPresence {
    base: Arc<Base>,
}

impl RedisPresence {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }

    /// Runs a script on a room, with the keys of one life where there is one.
    async fn call<'a, T: FromRedisValue>(
        &self,
        script: &Script,
        place: Place<'a>,
        life: Option<NodeEpoch>,
        more: impl FnOnce(Args) -> Args,
    ) -> Result<T, StoreFault> {
        let args = more(self.args(&place));
        let lives = life.map(|epoch| self.lives(&place, epoch));
        self.base.decide(script, When::Any, place, |place| named(place, lives.as_ref()), &args).await
    }

    /// The names of a life's indexes about a room: its sessions there, and its rooms.
    fn lives(&self, place: &Place<'_>, epoch: NodeEpoch) -> (Name, Name) {
        let keys = &self.base.keys;
        (keys.room_life(place.name(), epoch), keys.life(epoch))
    }

    /// The first of `ARGV` of every script.
    fn args(&self, place: &Place<'_>) -> Args {
        Args::new().with(place.name().as_str()).with(millis(self.base.keep))
    }

    /// Takes at most `limit` members of a life out of their rooms, in the name of a leader or of a node.
    pub(super) async fn reap_by(
        &self,
        by: Option<Fence>,
        node: &NodeId,
        epoch: NodeEpoch,
        limit: usize,
    ) -> Result<usize, StoreFault> {
        reap::walk(&self.base, Kind::Rooms, node, epoch, limit, |life, limit| self.reap_one(by, life, limit)).await
    }

    /// Takes at most `limit` members of a life out of one room.
    async fn reap_one(&self, by: Option<Fence>, life: reap::Life<'_>, limit: usize) -> Result<usize, StoreFault> {
        let place = self.base.keys.known(life.partition, life.name.clone());
        let lives = self.lives(&place, life.epoch);
        let args = self.args(&place).with(life.node.as_str()).with(life.epoch.to_string()).with(limit);
        let Some(Fence(term)) = by else {
            return self.base.decide(&REAP, When::Any, place, |place| named(place, Some(&lives)), &args).await;
        };
        let fenced = |place: &Place<'_>| {
            let mut named = named(place, Some(&lives));
            named.push(place.shared(Kind::Fence));
            named
        };
        self.base.decide(&REAP_FENCED, When::Any, place, fenced, &args.with(term)).await
    }
}

/// `KEYS` of every script.
fn named(place: &Place<'_>, lives: Option<&(Name, Name)>) -> Vec<String> {
    let mut named = vec![place.key(Kind::Members), place.key(Kind::Users)];
    if let Some((here, rooms)) = lives {
        named.extend([place.beside(Kind::Here, here), place.beside(Kind::Rooms, rooms)]);
    }
    named
}

fn change((sessions, user_changed): (usize, bool)) -> Change {
    Change { sessions, user_changed }
}

impl Presence for RedisPresence {
    fn enter(&self, room: RoomName, occupant: Occupant) -> StoreFuture<'_, Change> {
        Box::pin(async move {
            let Occupant { sid, user, node, epoch } = occupant;
            let more =
                |args: Args| args.with(sid.to_string()).with(node.as_str()).with(epoch.to_string()).with(user.as_str());
            self.call(&ENTER, self.base.keys.room(&room), Some(epoch), more).await.map(change)
        })
    }

    fn exit(&self, room: RoomName, sid: SessionId, epoch: NodeEpoch) -> StoreFuture<'_, Change> {
        Box::pin(async move {
            let more = |args: Args| args.with(sid.to_string()).with(epoch.to_string());
            self.call(&EXIT, self.base.keys.room(&room), Some(epoch), more).await.map(change)
        })
    }

    fn list(&self, room: RoomName, limit: usize) -> StoreFuture<'_, (Vec<UserId>, usize)> {
        Box::pin(async move {
            // a hash has no more fields, and the command takes no larger number
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            let answer = self.call(&LIST, self.base.keys.room(&room), None, |args| args.with(limit)).await?;
            let mut words = Words::new(answer);
            let sessions = usize::try_from(words.number()?).map_err(|_| garbled())?;
            let mut users = Vec::new();
            while !words.is_empty() {
                users.push(UserId::parse(&words.word()?).map_err(|_| garbled())?);
            }
            Ok((users, sessions))
        })
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        Box::pin(async move { self.reap_by(None, &node, epoch, limit).await })
    }
}
