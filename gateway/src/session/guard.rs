//! What a session owes the rest of the node and the fleet, paid back by `Drop`: whatever ends a session, a close, a
//! broken socket, a panic, every count is right afterwards.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::ids::{NodeEpoch, RoomName, UserId};
use portcullis_common::store::bus::NodeMail;
use portcullis_common::store::era::Era;
use portcullis_common::store::session::Holder;

use super::peer::Peer;
use super::talk::Work;
use crate::events::{Ended, SessionClosed, SlotReleased, StoreFailed};
use crate::node::Node;
use crate::route;
use crate::worker::Worker;

/// Work that goes on when its session is gone.
type Epilogue = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `work` as far as it goes now, and the rest on the node's background runtime. With the memory store everything
/// is done on return.
pub(super) fn conclude(worker: &Worker, work: impl Future<Output = ()> + Send + 'static) {
    let mut work: Epilogue = Box::pin(work);
    let polled = worker.with_bus(|| work.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    if polled.is_pending() {
        worker.node.background(work);
    }
}

/// What becomes of a slot when its session is over.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It was not given yet: the newcomer may still be waiting for a victim. Whether the ledger has answered at all: if
    /// not, it may yet give it, when nobody waits for it any more.
    Withdraw { answered: bool },
    /// It is free again.
    Release,
    /// It is kept so long for whoever shows this token.
    Detach([u8; 32], Duration),
}

/// In which times a slot was asked for: taken before the call, so that what ends under way does not look like what
/// follows it.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// The generation of the node's fence.
    fence: u64,
    /// The store's era.
    era: Option<Era>,
}

impl Asking {
    /// Now.
    #[must_use]
    pub fn now(node: &Node) -> Self {
        Self { fence: node.fence.generation(), era: node.stores.eras.era() }
    }
}

/// A slot of the ledger, given back or detached when dropped.
pub struct Slot {
    worker: Rc<Worker>,
    user: UserId,
    holder: Holder,
    fate: Fate,
    asked: Asking,
    /// Asked for in the name of a new life of the node, and not answered yet.
    renaming: Option<Box<Holder>>,
}

impl Slot {
    /// A slot that is about to be asked for.
    #[must_use]
    pub fn asked(worker: &Rc<Worker>, user: UserId, holder: Holder) -> Self {
        Self::new(worker, user, holder, Fate::Withdraw { answered: false }, Asking::now(&worker.node))
    }

    /// A slot that was won with a resume token of this name, which wins it again if the session does not begin.
    #[must_use]
    pub fn resumed(worker: &Rc<Worker>, user: UserId, holder: Holder, shown: [u8; 32], asked: Asking) -> Self {
        let window = worker.node.config.session.resume_window;
        Self::new(worker, user, holder, Fate::Detach(shown, window), asked)
    }

    fn new(worker: &Rc<Worker>, user: UserId, holder: Holder, fate: Fate, asked: Asking) -> Self {
        worker.node.registry.expect(&holder);
        Self { worker: Rc::clone(worker), user, holder, fate, asked, renaming: None }
    }

    /// The ledger has said something, and is not asked for it behind the session's back.
    pub fn answered(&mut self) {
        self.fate = Fate::Withdraw { answered: true };
    }

    /// The ledger has given it.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.worker.node.bus.forget_slot(self.holder.sid);
        self.fate = Fate::Release;
        self
    }

    /// The session begins, and its client is about to be told the token of this name.
    pub fn begins(&mut self, token: Option<[u8; 32]>) {
        let window = self.worker.node.config.session.resume_window;
        self.fate = token.map_or(Fate::Release, |token| Fate::Detach(token, window));
    }

    /// The session is over for good.
    pub fn ends(&mut self) {
        self.fate = Fate::Release;
    }

    /// The session can be resumed so long when it is over, if it can at all.
    fn detach(&mut self, window: Duration) {
        self.fate = match self.fate {
            Fate::Detach(token, _) if !window.is_zero() => Fate::Detach(token, window),
            _ => Fate::Release,
        };
    }

    /// Who holds it.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The generation of the node's fence that its session belongs to.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.asked.fence
    }

    /// In which era of the store.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        self.asked.era
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if matches!(self.fate, Fate::Withdraw { .. }) {
            self.worker.node.bus.forget_slot(self.holder.sid);
        }
        self.worker.node.registry.forget(&self.holder);
        for holder in self.renaming.take().map(|holder| *holder).into_iter().chain([self.holder.clone()]) {
            let node = Arc::clone(&self.worker.node);
            conclude(&self.worker, give_back(node, self.user.clone(), holder, self.fate));
        }
    }
}

/// Waits before further tries to give something back, in seconds: a store that was away for a minute leaks no slot.
pub(crate) const RETRIES: [u64; 6] = [1, 2, 4, 8, 16, 30];

/// The wait before what was withdrawn is withdrawn again whose asking was never answered: it may have been on its way on a
/// connection that is given up, and overtaken by its own withdrawal.
const OVERTAKEN: Duration = Duration::from_secs(5);

async fn give_back(node: Arc<Node>, user: UserId, holder: Holder, fate: Fate) {
    if matches!(fate, Fate::Withdraw { answered: false }) {
        let (again, user, holder) = (Arc::clone(&node), user.clone(), holder.clone());
        node.errand(Box::pin(async move {
            actix_rt::time::sleep(OVERTAKEN).await;
            try_give_back(&again, &user, &holder, fate).await;
        }));
    }
    if !try_give_back(&node, &user, &holder, fate).await {
        let again = Arc::clone(&node);
        // its timers have to be the background's own, and not a worker's
        node.background(Box::pin(async move {
            for wait in RETRIES {
                actix_rt::time::sleep(Duration::from_secs(wait)).await;
                if try_give_back(&again, &user, &holder, fate).await {
                    return;
                }
            }
        }));
    }
}

/// Frees a slot that no session of this node has.
pub(super) async fn free(node: &Node, user: &UserId, holder: &Holder) {
    // one that fails stays until this node's life is reaped
    try_give_back(node, user, holder, Fate::Release).await;
}

/// False when the store did not answer.
async fn try_give_back(node: &Node, user: &UserId, holder: &Holder, fate: Fate) -> bool {
    // the store forgot meanwhile, and the session has come here again in the same name: its slot is not this one
    if node.registry.knows(holder) {
        return true;
    }
    let ledger = &node.stores.ledger;
    let answer = match fate {
        Fate::Withdraw { .. } => ledger.withdraw(user.clone(), holder.clone()).await,
        Fate::Release => ledger.release(user.clone(), holder.clone()).await,
        Fate::Detach(token, window) => ledger.detach(user.clone(), holder.clone(), token, window).await,
    };
    match answer {
        Ok(released) => {
            let passed_to = released.passed.as_ref().map(|p| p.to.sid);
            if let Some(seq) = released.seq {
                let detached = matches!(fate, Fate::Detach(..)) && passed_to.is_none();
                SlotReleased { session: holder.sid, user, seq, passed_to, detached }.emit();
            }
            if let Some(passed) = released.passed
                && let Err(fault) = node.stores.bus.send(passed.to.node.clone(), NodeMail::Passed(passed)).await
            {
                StoreFailed { call: "bus.send", fault: &fault }.emit(&node.metrics);
            }
            true
        }
        // the slot stays until the next try, and after the last one until this node's life is reaped
        Err(fault) => {
            StoreFailed { call: "ledger.release", fault: &fault }.emit(&node.metrics);
            false
        }
    }
}

/// A live session's place on this node: hub, registry, presence, slot.
pub struct Place {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    opened: Mono,
    ended: Cell<Ended>,
    /// Store calls that the session did not live to see answered, and the rooms that they enter or leave.
    owed: RefCell<Vec<(Option<RoomName>, Work)>>,
    // last: with a store that answers at once the slot is free only after everything above it is undone
    slot: Slot,
}

impl Place {
    /// Takes a place for `peer`; until told otherwise, its end counts as abrupt.
    #[must_use]
    pub fn new(worker: &Rc<Worker>, peer: Rc<Peer>, slot: Slot) -> Self {
        let opened = worker.node.clock.mono();
        Self {
            worker: Rc::clone(worker),
            peer,
            opened,
            ended: Cell::new(Ended::Abrupt),
            owed: RefCell::default(),
            slot,
        }
    }

    /// How long it has been there.
    #[must_use]
    pub fn lived(&self) -> Duration {
        self.worker.node.clock.mono().since(self.opened)
    }

    /// How it ends, for the record.
    pub fn ending(&self, ended: Ended) {
        self.ended.set(ended);
    }

    /// A store call that is to be carried to its end after the session's; it enters or leaves `room`, if any.
    pub(crate) fn owe(&self, room: Option<RoomName>, work: Work) {
        self.owed.borrow_mut().push((room, work));
    }

    /// The slot's holder.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        self.slot.holder()
    }

    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.slot.user
    }

    /// What the ledger knows the session's resume token by.
    #[must_use]
    pub fn token(&self) -> Option<[u8; 32]> {
        match self.slot.fate {
            Fate::Detach(token, _) => Some(token),
            Fate::Withdraw { .. } | Fate::Release => None,
        }
    }

    /// How long the session can be resumed when it is over; `None`: not at all.
    pub fn outlived_by(&mut self, window: Option<Duration>) {
        self.slot.detach(window.unwrap_or_default());
    }

    /// The node's life changed: the holder to ask the ledger for, unless that is done or under way.
    pub fn rename(&mut self, epoch: NodeEpoch) -> Option<Holder> {
        if self.slot.renaming.is_some() || self.slot.holder.epoch == epoch {
            return None;
        }
        let holder = Holder { epoch, ..self.slot.holder.clone() };
        self.slot.renaming = Some(Box::new(holder.clone()));
        Some(holder)
    }

    /// What the ledger said: the new holder holds the slot, or it could not be asked and the manager asks again.
    pub fn renamed(&mut self, held: bool) {
        if let Some(holder) = self.slot.renaming.take()
            && held
        {
            self.worker.node.registry.rename(&holder);
            self.slot.holder = *holder;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let node = &self.worker.node;
        let rooms = self.peer.rooms.take();
        // before the registry forgets it: whoever resumes the session enters rooms behind this
        let parting = (!rooms.is_empty()).then(|| node.registry.part(self.peer.sid));
        node.registry.remove(&self.slot.user, self.slot.holder());
        let mut owed = self.owed.take();
        for room in rooms {
            let last = self.worker.hub.leave(&room, &self.peer);
            let joining = owed.iter().position(|(of, _)| of.as_ref() == Some(&room));
            let after = joining.map(|at| owed.swap_remove(at).1);
            let epoch = self.slot.holder.epoch;
            let leaving = route::room::Leaving { node: Arc::clone(node), worker: self.worker.id, last, epoch, after };
            let (leaving, parting) = (leaving.run(room, self.peer.sid, self.slot.user.clone()), parting.clone());
            conclude(&self.worker, async move {
                leaving.await;
                drop(parting);
            });
        }
        for (_, work) in owed {
            conclude(&self.worker, async move { drop(work.await) });
        }
        let lived = self.lived();
        SessionClosed { session: self.peer.sid, user: &self.slot.user, ended: self.ended.get(), lived }
            .emit(&node.metrics);
    }
}
