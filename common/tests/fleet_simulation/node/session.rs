//! Sessions of a node: how they come, come again, and go.

use std::collections::BTreeSet;
use std::rc::Rc;

use portcullis_common::fence::Standing;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::membership::Life;
use portcullis_common::store::era::Era;
use portcullis_common::store::session::{Acquired, Holder, SlotState};

use super::{Fate, Node, Session};
use crate::mutants::Fault;
use crate::net::{Token, now};

/// What was withdrawn and never answered is withdrawn once more: on another connection it may have been overtaken.
const OVERTAKEN: u64 = 5_000;
/// Waits before further tries to give something back.
const RETRIES: [u64; 6] = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000];

impl Node {
    pub fn close(self: &Rc<Self>, sid: u128, resumable: bool) {
        let Some(session) = self.sessions.borrow_mut().remove(&sid) else { return };
        self.net().say(|| format!("{} closes {sid} ({resumable})", self.id.as_str()));
        let fate = if resumable { Fate::Detach(session.token) } else { Fate::Release };
        self.give_back(session.user, session.holder, fate);
    }

    /// An operator has ended a session: its connection goes, and where it has none, its record.
    pub fn told(self: &Rc<Self>, user: UserId, sid: u128) {
        if !self.net().is(Fault::EndedCanResume) {
            self.ended.borrow_mut().insert(sid);
        }
        self.close(sid, false);
        let node = Rc::clone(self);
        self.spawn(async move {
            let who = user.clone();
            let Ok(slots) = node.call(move |store| now(store.stores.ledger.slots(who))).await else { return };
            let waits = |state: &SlotState| matches!(state, SlotState::Detached { .. });
            if slots.iter().any(|slot| slot.holder.sid.0 == sid && waits(&slot.state)) {
                // what the store does not do now, it does not do later
                let _ = node.call(move |store| store.end(&user, sid)).await;
            }
        });
    }

    pub(super) fn give_back(self: &Rc<Self>, user: UserId, holder: Holder, fate: Fate) {
        self.net().say(|| format!("{} gives back {holder:?} {fate:?}", self.id.as_str()));
        let node = Rc::clone(self);
        self.spawn(async move {
            for wait in [0].into_iter().chain(RETRIES) {
                if wait > 0 {
                    node.sleep(wait).await;
                }
                // the store forgot meanwhile, and the session has come here again in the same name
                if node.sessions.borrow().get(&holder.sid.0).is_some_and(|s| s.holder == holder) {
                    return;
                }
                let (user, holder) = (user.clone(), holder.clone());
                let answer = node.call(move |store| match fate {
                    Fate::Withdraw => store.withdraw(&user, &holder),
                    Fate::Release => store.release(&user, &holder),
                    Fate::Detach(token) => store.detach(&user, &holder, token),
                });
                if answer.await.is_ok() {
                    return;
                }
            }
        });
    }

    fn may_admit(&self) -> bool {
        self.joined.get() && self.fence.standing(self.mono()) == Standing::Held
    }

    /// In which times a slot is asked for.
    fn asking(&self) -> (u64, Option<Era>) {
        (self.fence.generation(), self.store.stores.eras.era())
    }

    /// A newcomer; the token that it was told, if it was let in.
    pub async fn admit(self: &Rc<Self>, user: UserId) -> Option<(u128, Token)> {
        if !self.may_admit() {
            return None;
        }
        let (sid, asked) = (self.fleet.fresh(), self.asking());
        let holder = Holder { sid: SessionId(sid), node: self.id.clone(), epoch: self.life.get(), generation: 0 };
        let mut tries = 0;
        loop {
            let request = self.request(&user, &holder);
            match self.call(move |store| store.acquire(&request)).await {
                Ok(Acquired::Held { .. }) => break,
                Ok(_) if tries == 0 && self.free_dead(&user).await => tries = 1,
                Ok(_) => return None,
                Err(_) => {
                    let (node, who, whose) = (Rc::clone(self), user.clone(), holder.clone());
                    self.spawn(async move {
                        node.sleep(OVERTAKEN).await;
                        // once
                        let _ = node.call(move |store| store.withdraw(&who, &whose)).await;
                    });
                    self.give_back(user, holder, Fate::Withdraw);
                    return None;
                }
            }
        }
        self.seat(user, holder, asked, Fate::Release).await
    }

    async fn seat(
        self: &Rc<Self>,
        user: UserId,
        holder: Holder,
        (fence, era): (u64, Option<Era>),
        otherwise: Fate,
    ) -> Option<(u128, Token)> {
        let (sid, token) = (holder.sid.0, self.fleet.fresh_token());
        let (who, whose) = (user.clone(), holder.clone());
        self.expected.borrow_mut().insert(sid);
        let armed = self.call(move |store| store.arm(&who, &whose, token)).await;
        self.expected.borrow_mut().remove(&sid);
        let current = self.store.stores.eras.era();
        let same_era = era == current;
        let fenced = self.is_cut(fence) || self.fence.standing(self.mono()) != Standing::Held;
        let overtaken = self.sessions.borrow().get(&sid).is_some_and(|s| s.holder.generation > holder.generation);
        if !armed.is_ok_and(|armed| armed) || !same_era || fenced || overtaken || self.ended.borrow().contains(&sid) {
            self.give_back(user, holder, otherwise);
            return None;
        }
        // an earlier connection of it goes first
        self.close(sid, false);
        self.net().say(|| format!("{} opens {sid} of {}: {holder:?}", self.id.as_str(), user.as_str()));
        let session = Session { user, holder, token, fence, era, renaming: false };
        self.sessions.borrow_mut().insert(sid, session);
        self.fleet.count("a session opened");
        Some((sid, token))
    }

    /// Whether lives that are proved dead held slots of this user.
    async fn free_dead(self: &Rc<Self>, user: &UserId) -> bool {
        let who = user.clone();
        let Ok(slots) = self.call(move |store| now(store.stores.ledger.slots(who))).await else { return false };
        let gone = self.membership.borrow().gone();
        let lives: BTreeSet<Life> = slots.into_iter().map(|slot| (slot.holder.node, slot.holder.epoch)).collect();
        let mut freed = false;
        for (node, epoch) in lives.into_iter().filter(|life| gone.contains(life)) {
            let fleet = Rc::clone(&self.fleet);
            freed |= self.call(move |store| store.reap(&fleet, &node, epoch)).await.is_ok();
        }
        freed
    }

    /// Somebody shows a token.
    pub async fn resume(self: &Rc<Self>, user: UserId, shown: Token) -> Option<(u128, Token)> {
        if !self.may_admit() {
            return None;
        }
        let asked = self.asking();
        let (who, id, epoch) = (user.clone(), self.id.clone(), self.life.get());
        let Ok(resumed) = self.call(move |store| store.resume(&who, shown, id, epoch)).await else {
            // whoever does not live to hear the answer may hold a slot without knowing it
            let node = Rc::clone(self);
            self.spawn(async move { node.look_after(&user).await });
            return None;
        };
        let resumed = resumed?;
        let sid = resumed.holder.sid.0;
        if resumed.was_live {
            self.fleet.mail_eviction(self.number, resumed.previous);
        }
        if self.ended.borrow().contains(&sid) {
            let who = user.clone();
            // what cannot be deleted now is given back with its session
            let _ = self.call(move |store| store.end(&who, sid)).await;
            return None;
        }
        // the connection before is on this node, and goes first
        self.close(sid, false);
        self.seat(user, resumed.holder, asked, Fate::Detach(shown)).await
    }

    /// A slot that stands in this life's name twice, and that no session or handshake here has, is nobody's.
    async fn look_after(self: &Rc<Self>, user: &UserId) {
        let mut seen: Option<Vec<Holder>> = None;
        for _ in 0..5 {
            let who = user.clone();
            if let Ok(slots) = self.call(move |store| now(store.stores.ledger.slots(who))).await {
                let live = slots.into_iter().filter(|slot| !matches!(slot.state, SlotState::Detached { .. }));
                let strays: Vec<Holder> = live.map(|slot| slot.holder).filter(|h| self.is_stray(h)).collect();
                if let Some(before) = seen.replace(strays) {
                    for stray in seen.into_iter().flatten().filter(|stray| before.contains(stray)) {
                        self.displace(&stray);
                        let who = user.clone();
                        // one that fails stays until this life is reaped
                        let _ = self.call(move |store| store.release(&who, &stray)).await;
                    }
                    return;
                }
            }
            self.sleep(6_000).await;
        }
    }

    /// The connection of this generation, or an earlier one, is over.
    pub fn displace(self: &Rc<Self>, holder: &Holder) {
        let sid = holder.sid.0;
        let earlier = |s: &Session| s.holder.generation <= holder.generation;
        if self.sessions.borrow().get(&sid).is_some_and(earlier) {
            self.close(sid, false);
        }
    }

    fn is_stray(&self, holder: &Holder) -> bool {
        let any = self.net().is(Fault::StraysAreKnownBySession);
        let same = |s: &Session| any || s.holder.generation == holder.generation;
        let known = self.sessions.borrow().get(&holder.sid.0).is_some_and(same);
        let own = holder.node == self.id && holder.epoch == self.life.get();
        own && !known && !self.expected.borrow().contains(&holder.sid.0)
    }

    /// The client has read what it was told.
    pub fn heard(self: &Rc<Self>, sid: u128) {
        let Some(session) = self.sessions.borrow().get(&sid).cloned() else { return };
        let node = Rc::clone(self);
        self.spawn(async move {
            let Session { user, holder, .. } = session;
            // one that is not spent lapses by itself
            let _ = node.call(move |store| store.spend(&user, &holder)).await;
        });
    }
}
