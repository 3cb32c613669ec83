//! Every live session of the node. Shared by all workers and outside any actor, so that a panic loses no count.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Addr;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{SessionId, TenantId, UserId};
use portcullis_common::store::era::Era;
use portcullis_common::store::session::Holder;
use tokio::sync::Notify;

use super::connection::Connection;
use super::peer::PeerId;
use super::talk::Session;

/// What the node knows of a session, whoever asks.
#[derive(Debug, Clone)]
pub struct SessionEntry {
    /// Whose it is.
    pub user: UserId,
    /// The tenant, if the issuer names one.
    pub tenant: Option<TenantId>,
    /// The slot it holds.
    pub holder: Holder,
    /// The store's era in which the slot was given or claimed.
    pub era: Option<Era>,
    /// The client's address.
    pub client: IpAddr,
    /// The client's `User-Agent`, cut to 150 bytes.
    pub user_agent: Option<Box<str>>,
    /// Since when.
    pub opened: UnixMs,
    /// Which worker has the socket, and where.
    pub peer: PeerId,
    /// The actor.
    pub address: Addr<Connection<Session>>,
}

#[derive(Default)]
struct Tables {
    sessions: HashMap<SessionId, Arc<SessionEntry>>,
    users: HashMap<UserId, Vec<SessionId>>,
    /// Sessions, by generation, that may have a slot already and have no socket yet; true: it is to end as soon as it
    /// begins.
    coming: BTreeMap<(SessionId, u32), bool>,
    /// Connections that are over and have not left their rooms yet.
    parting: HashMap<SessionId, u32>,
}

impl Tables {
    /// Whether an earlier generation of this holder's session is still in the way.
    fn is_busy(&self, holder: &Holder) -> bool {
        let Holder { sid, generation, .. } = holder;
        self.sessions.get(sid).is_some_and(|entry| entry.holder.generation < *generation)
            || self.parting.contains_key(sid)
            || self.coming.range((*sid, 0)..(*sid, *generation)).next().is_some()
    }
}

/// Sessions by id and by user, and those under way. Bound: the connection cap of the node. Every call holds the one lock for the length of
/// its own look-ups; handshakes, kicks and direct messages meet here, room messages never do.
///
/// A session that is resumed on the node that has it already has two connections for a moment, told apart by the
/// holder's generation.
#[derive(Default)]
pub struct Registry {
    tables: Mutex<Tables>,
    /// A connection came to its end.
    ended: Notify,
}

impl Registry {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // a panic elsewhere must not take the registry with it
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session asks for its slot: it can be doomed from now on.
    pub fn expect(&self, holder: &Holder) {
        self.tables().coming.insert((holder.sid, holder.generation), false);
    }

    /// The session does not come, or is gone.
    pub fn forget(&self, holder: &Holder) {
        self.tables().coming.remove(&(holder.sid, holder.generation));
        self.ended.notify_waiters();
    }

    /// Waits until no earlier connection of this session has a socket, a handshake or a room to leave on this node.
    pub async fn settled(&self, holder: &Holder) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if !self.tables().is_busy(holder) {
                return;
            }
            ended.await;
        }
    }

    /// A connection is over; until every clone of the answer is dropped, [`Registry::settled`] waits for it.
    #[must_use]
    pub fn part(self: &Arc<Self>, sid: SessionId) -> Parting {
        *self.tables().parting.entry(sid).or_default() += 1;
        Parting { registry: Arc::clone(self), sid }
    }

    /// The holder lost its slot: the entry to tell if it lives; if it is still coming, [`Registry::insert`] says so. A
    /// connection of an earlier generation lost its own before, and nobody may have been left to say so.
    pub fn doom(&self, holder: &Holder) -> Option<Arc<SessionEntry>> {
        let mut tables = self.tables();
        for (_, doomed) in tables.coming.range_mut((holder.sid, 0)..=(holder.sid, holder.generation)) {
            *doomed = true;
        }
        // the life may differ: the session may just be claiming its slot in a new one
        tables.sessions.get(&holder.sid).filter(|e| e.holder.generation <= holder.generation).cloned()
    }

    /// Adds a session; true when it was doomed on its way here, or a later connection of it is here before it.
    #[must_use]
    pub fn insert(&self, entry: Arc<SessionEntry>) -> bool {
        let mut tables = self.tables();
        let Holder { sid, generation, .. } = entry.holder;
        let doomed = tables.coming.remove(&(sid, generation)).unwrap_or(false);
        if tables.sessions.get(&sid).is_some_and(|present| present.holder.generation > generation) {
            return true;
        }
        let of_user = tables.users.entry(entry.user.clone()).or_insert_with(|| Vec::with_capacity(1));
        if !of_user.contains(&sid) {
            of_user.push(sid);
        }
        tables.sessions.insert(sid, entry);
        doomed
    }

    /// Removes a session if this holder has it.
    pub fn remove(&self, user: &UserId, holder: &Holder) {
        let mut tables = self.tables();
        if tables.sessions.get(&holder.sid).is_none_or(|e| e.holder != *holder) {
            return;
        }
        tables.sessions.remove(&holder.sid);
        if let Some(list) = tables.users.get_mut(user) {
            list.retain(|&sid| sid != holder.sid);
            if list.is_empty() {
                tables.users.remove(user);
            }
        }
        drop(tables);
        self.ended.notify_waiters();
    }

    /// Whether the connection of this session and generation is here, or on its way. One of an earlier generation is
    /// another: it has no claim to this holder's slot.
    #[must_use]
    pub fn knows(&self, holder: &Holder) -> bool {
        let tables = self.tables();
        let here = tables.sessions.get(&holder.sid).is_some_and(|e| e.holder.generation == holder.generation);
        here || tables.coming.contains_key(&(holder.sid, holder.generation))
    }

    /// The session goes on in another life of the node.
    pub fn rename(&self, holder: &Holder) {
        if let Some(entry) = self.tables().sessions.get_mut(&holder.sid) {
            *entry = Arc::new(SessionEntry { holder: holder.clone(), ..SessionEntry::clone(entry) });
        }
    }

    /// The session has its slot in this era; false when this holder does not live here any more.
    #[must_use]
    pub fn claim(&self, holder: &Holder, era: Era) -> bool {
        match self.tables().sessions.get_mut(&holder.sid).filter(|e| e.holder == *holder) {
            Some(entry) => {
                *entry = Arc::new(SessionEntry { era: Some(era), ..SessionEntry::clone(entry) });
                true
            }
            None => false,
        }
    }

    /// The session, if it lives here.
    #[must_use]
    pub fn get(&self, sid: SessionId) -> Option<Arc<SessionEntry>> {
        self.tables().sessions.get(&sid).cloned()
    }

    /// The user's sessions on this node.
    #[must_use]
    pub fn of_user(&self, user: &UserId) -> Vec<Arc<SessionEntry>> {
        let tables = self.tables();
        let ids = tables.users.get(user).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|sid| tables.sessions.get(sid).cloned()).collect()
    }

    /// At most `limit` sessions for which `wanted` holds, in no order.
    #[must_use]
    pub fn select(&self, limit: usize, wanted: impl Fn(&SessionEntry) -> bool) -> Vec<Arc<SessionEntry>> {
        self.tables().sessions.values().filter(|e| wanted(e)).take(limit).cloned().collect()
    }

    /// The first `limit` sessions behind `after`, in the order of their ids, and whether there are more. Cost: a look at
    /// every session, or at every one of the user's.
    #[must_use]
    pub fn page(
        &self,
        user: Option<&UserId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> (Vec<Arc<SessionEntry>>, bool) {
        let tables = self.tables();
        let behind = |sid: &SessionId| after.is_none_or(|after| *sid > after);
        // the largest on top, to give way to smaller ones
        let mut first = BinaryHeap::new();
        let mut more = false;
        let mut see = |sid: SessionId| {
            first.push(sid);
            if first.len() > limit {
                first.pop();
                more = true;
            }
        };
        match user {
            Some(user) => {
                tables.users.get(user).into_iter().flatten().filter(|sid| behind(sid)).for_each(|sid| see(*sid))
            }
            None => tables.sessions.keys().filter(|sid| behind(sid)).for_each(|sid| see(*sid)),
        }
        let entries = first.into_sorted_vec();
        (entries.iter().filter_map(|sid| tables.sessions.get(sid).cloned()).collect(), more)
    }

    /// How many sessions are under way here.
    #[must_use]
    pub fn coming(&self) -> usize {
        self.tables().coming.len()
    }

    /// How many sessions live here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tables().sessions.len()
    }
}

/// See [`Registry::part`].
pub struct Parting {
    registry: Arc<Registry>,
    sid: SessionId,
}

impl Clone for Parting {
    fn clone(&self) -> Self {
        self.registry.part(self.sid)
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        let mut tables = self.registry.tables();
        if let Some(left) = tables.parting.get_mut(&self.sid) {
            *left -= 1;
            if *left == 0 {
                tables.parting.remove(&self.sid);
            }
        }
        drop(tables);
        self.registry.ended.notify_waiters();
    }
}
