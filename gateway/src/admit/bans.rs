//! What the control log says, looked up locally: bans of users, sessions, tokens, networks; revocations.
//!
//! One writer, the reader of the control log; many readers, at handshakes and refreshes. Every look-up costs at most a
//! hash probe for each target, and for an address one for each prefix length in use.
//!
//! **Merge.** Entries merge by target: the newest (time of append, place in the log) wins, and a lift is kept as a
//! tombstone until what it lifted would have ended, a day at most, so that a log read again from its start bans nobody anew.
//!
//! **Bound.** [`ENTRIES`] of each kind. At the bound what has ended goes first; else whatever ends soonest gives way,
//! which may be the newcomer. [`BanTable::lost`] counts those that were still in force; more than zero belongs into
//! `/health`.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::control::command::ban_key;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::control::{ControlEntry, ControlSink, LogId, Logged, Target};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

/// Entries of each kind: users, sessions, tokens, networks, revocations.
pub const ENTRIES: usize = 65_536;

/// The longest that a tombstone is kept; a log that is read again is read in minutes.
const TOMBSTONE: Duration = Duration::from_hours(24);

/// The end of what has none.
const NEVER: UnixMs = UnixMs(u64::MAX);

/// What is known of one target.
#[derive(Debug, Clone)]
struct Entry {
    /// Refuses before then; in a revocation the latest `iat` that is refused.
    until: UnixMs,
    /// When the entry says nothing any more and may be forgotten.
    ends: UnixMs,
    /// Orders entries of one target.
    stamp: (UnixMs, LogId),
    /// A tombstone.
    lifted: bool,
    /// What was said when it was made.
    reason: Option<Arc<str>>,
}

impl Entry {
    fn in_force(&self, now: UnixMs) -> bool {
        !self.lifted && now < self.until
    }
}

/// Entries of one kind, bounded.
struct Kind<K> {
    entries: HashMap<K, Entry>,
    room: usize,
    lost: u64,
}

impl<K: Eq + Hash + Clone> Kind<K> {
    fn new(room: usize) -> Self {
        Self { entries: HashMap::new(), room, lost: 0 }
    }

    /// Takes an entry if it is newer than what is known.
    fn put(&mut self, key: K, entry: Entry) {
        if let Some(known) = self.entries.get_mut(&key) {
            if known.stamp <= entry.stamp {
                *known = entry;
            }
            return;
        }
        if self.entries.len() >= self.room {
            let now = entry.stamp.0;
            self.entries.retain(|_, e| e.ends > now);
        }
        if self.entries.len() >= self.room {
            let soonest =
                self.entries.iter().min_by_key(|(_, e)| (e.ends, e.stamp)).map(|(k, e)| (k.clone(), e.clone()));
            match soonest {
                Some((key, gone)) if gone.ends <= entry.ends => {
                    self.lost += u64::from(!gone.lifted);
                    self.entries.remove(&key);
                }
                _ => {
                    self.lost += u64::from(!entry.lifted);
                    return;
                }
            }
        }
        self.entries.insert(key, entry);
    }

    fn lift(&mut self, key: &K, stamp: (UnixMs, LogId)) {
        let known = self.entries.get(key);
        let ends = known.map_or(NEVER, |e| e.ends).min(stamp.0.after(TOMBSTONE));
        self.put(key.clone(), Entry { until: UnixMs(0), ends, stamp, lifted: true, reason: None });
    }
}

/// The table's contents.
struct Inner {
    users: Kind<UserId>,
    sessions: Kind<SessionId>,
    tokens: Kind<String>,
    networks: Kind<IpNet>,
    revoked: Kind<UserId>,
    /// Prefix lengths that ever had an entry, so that a look-up probes no other.
    lengths_v4: u64,
    lengths_v6: [u64; 3],
}

/// Bans and revocations that this node knows of.
pub struct BanTable {
    inner: RwLock<Inner>,
    token_life: Duration,
}

impl BanTable {
    /// An empty table. `token_life`: `auth.max_token_life` and the leeway; a revocation is forgotten when no token that
    /// it is about can be alive.
    #[must_use]
    pub fn new(token_life: Duration) -> Self {
        Self::with_room(token_life, ENTRIES)
    }

    /// A table with at most `room` entries of each kind.
    #[must_use]
    pub fn with_room(token_life: Duration, room: usize) -> Self {
        let inner = Inner {
            users: Kind::new(room),
            sessions: Kind::new(room),
            tokens: Kind::new(room),
            networks: Kind::new(room),
            revoked: Kind::new(room),
            lengths_v4: 0,
            lengths_v6: [0; 3],
        };
        Self { inner: RwLock::new(inner), token_life }
    }

    /// A table that bans these targets for good, for it is never told anything.
    #[must_use]
    pub fn fixed(targets: impl Iterator<Item = Target>) -> Self {
        let table = Self::new(Duration::ZERO);
        let entry =
            Entry { until: NEVER, ends: NEVER, stamp: (UnixMs(0), LogId::default()), lifted: false, reason: None };
        {
            let mut inner = table.inner.write().unwrap_or_else(PoisonError::into_inner);
            targets.for_each(|target| inner.ban(&target, entry.clone()));
        }
        table
    }

    /// Takes what the log says next; kicks and drains are not state and pass by. Costs a hash insertion; at the bound
    /// one pass over the kind's entries.
    pub fn apply(&self, logged: &Logged) {
        let stamp = (logged.at, logged.id);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match &logged.entry {
            ControlEntry::Ban { target, until, reason } => {
                let until = until.unwrap_or(NEVER);
                let reason = (!reason.is_empty()).then(|| Arc::from(reason.as_str()));
                inner.ban(target, Entry { until, ends: until, stamp, lifted: false, reason });
            }
            ControlEntry::Lift { target } => inner.lift(target, stamp),
            ControlEntry::Revoke { user, issued_until } => {
                let ends = issued_until.after(self.token_life);
                inner.revoke(user, Entry { until: *issued_until, ends, stamp, lifted: false, reason: None });
            }
            ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => {}
        }
    }

    /// Whether an address is in a banned network; any match counts, not only the longest.
    ///
    /// # Errors
    /// `banned`.
    pub fn check_address(&self, ip: IpAddr, now: UnixMs) -> Result<(), Reject> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if inner.address_banned(ip.to_canonical(), now) { Err(banned("the address is banned")) } else { Ok(()) }
    }

    /// Whether a user, and the token that says who it is, are still good. `issued` is the token's `iat`.
    ///
    /// # Errors
    /// `unauthenticated` for a token that is banned or revoked, `banned` for a user.
    pub fn check_identity(
        &self,
        user: &UserId,
        token_id: Option<&str>,
        issued: UnixMs,
        now: UnixMs,
    ) -> Result<(), Reject> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let token = token_id.and_then(|id| inner.tokens.entries.get(id));
        if token.is_some_and(|e| e.in_force(now)) {
            return Err(Reject::new(Code::Unauthenticated, "the token is revoked by its id"));
        }
        if inner.revoked.entries.get(user).is_some_and(|e| issued <= e.until) {
            return Err(Reject::new(Code::Unauthenticated, "the user's tokens of that time are revoked"));
        }
        if inner.users.entries.get(user).is_some_and(|e| e.in_force(now)) {
            return Err(banned("the user is banned"));
        }
        Ok(())
    }

    /// Whether a session may be resumed.
    ///
    /// # Errors
    /// `banned`.
    pub fn check_session(&self, session: SessionId, now: UnixMs) -> Result<(), Reject> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let entry = inner.sessions.entries.get(&session);
        if entry.is_some_and(|e| e.in_force(now)) { Err(banned("the session is banned")) } else { Ok(()) }
    }

    /// Whether a ban of exactly this target is in force.
    #[must_use]
    pub fn is_banned(&self, target: &Target, now: UnixMs) -> bool {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let entry = match target {
            Target::User(user) => inner.users.entries.get(user),
            Target::Session(session) => inner.sessions.entries.get(session),
            Target::Token(id) => inner.tokens.entries.get(id),
            Target::Network(network) => inner.networks.entries.get(&canonical(*network)),
        };
        entry.is_some_and(|e| e.in_force(now))
    }

    /// The first `limit` bans in force behind `after`, in the order of [`ban_key`], and whether there are more. Cost: a
    /// look at every ban, with a text made of each.
    #[must_use]
    pub fn page(&self, after: Option<&str>, limit: usize, now: UnixMs) -> (Vec<Listed>, bool) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut first: BTreeMap<String, Listed> = BTreeMap::new();
        let mut more = false;
        inner.each(&mut |target, entry| {
            let key = ban_key(&target);
            if !entry.in_force(now) || after.is_some_and(|after| *key <= *after) {
                return;
            }
            let until = (entry.until != NEVER).then_some(entry.until);
            first.insert(key, Listed { target, until, since: entry.stamp.0, reason: entry.reason.clone() });
            if first.len() > limit {
                first.pop_last();
                more = true;
            }
        });
        (first.into_values().collect(), more)
    }

    /// Entries held, tombstones included; for a metric.
    #[must_use]
    pub fn len(&self) -> usize {
        let i = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        i.users.entries.len()
            + i.sessions.entries.len()
            + i.tokens.entries.len()
            + i.networks.entries.len()
            + i.revoked.entries.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries in force that were given up at the bound.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let i = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        i.users.lost + i.sessions.lost + i.tokens.lost + i.networks.lost + i.revoked.lost
    }
}

impl ControlSink for BanTable {
    fn apply(&self, logged: &Logged) {
        Self::apply(self, logged);
    }
}

/// A ban in force, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who is banned.
    pub target: Target,
    /// Until when; `None`: until lifted.
    pub until: Option<UnixMs>,
    /// Since when.
    pub since: UnixMs,
    /// What was said when it was made.
    pub reason: Option<Arc<str>>,
}

impl Inner {
    fn each(&self, see: &mut dyn FnMut(Target, &Entry)) {
        self.users.entries.iter().for_each(|(user, e)| see(Target::User(user.clone()), e));
        self.sessions.entries.iter().for_each(|(session, e)| see(Target::Session(*session), e));
        self.tokens.entries.iter().for_each(|(id, e)| see(Target::Token(id.clone()), e));
        self.networks.entries.iter().for_each(|(network, e)| see(Target::Network(*network), e));
    }

    fn ban(&mut self, target: &Target, entry: Entry) {
        match target {
            Target::User(user) => self.users.put(user.clone(), entry),
            Target::Session(session) => self.sessions.put(*session, entry),
            Target::Token(id) => self.tokens.put(id.clone(), entry),
            Target::Network(network) => {
                let network = canonical(*network);
                self.remember_length(network);
                self.networks.put(network, entry);
            }
        }
    }

    fn lift(&mut self, target: &Target, stamp: (UnixMs, LogId)) {
        match target {
            Target::User(user) => self.users.lift(user, stamp),
            Target::Session(session) => self.sessions.lift(session, stamp),
            Target::Token(id) => self.tokens.lift(id, stamp),
            Target::Network(network) => self.networks.lift(&canonical(*network), stamp),
        }
    }

    /// Revocations only ever reach further: an entry that is later in the log and says an earlier time takes nothing
    /// back.
    fn revoke(&mut self, user: &UserId, mut entry: Entry) {
        if let Some(known) = self.revoked.entries.get(user) {
            if known.until >= entry.until {
                return;
            }
            entry.stamp = entry.stamp.max(known.stamp);
        }
        self.revoked.put(user.clone(), entry);
    }

    fn remember_length(&mut self, network: IpNet) {
        let length = network.prefix_len();
        match network {
            IpNet::V4(_) => self.lengths_v4 |= 1 << (length & 63),
            IpNet::V6(_) => {
                if let Some(word) = self.lengths_v6.get_mut(usize::from(length >> 6)) {
                    *word |= 1 << (length & 63);
                }
            }
        }
    }

    fn address_banned(&self, ip: IpAddr, now: UnixMs) -> bool {
        let (words, longest): (&[u64], u8) = match ip {
            IpAddr::V4(_) => (std::slice::from_ref(&self.lengths_v4), 32),
            IpAddr::V6(_) => (&self.lengths_v6, 128),
        };
        (0..=longest).any(|length| {
            let used = words.get(usize::from(length >> 6)).is_some_and(|word| word >> (length & 63) & 1 == 1);
            used && IpNet::new(ip, length)
                .ok()
                .and_then(|network| self.networks.entries.get(&network.trunc()))
                .is_some_and(|e| e.in_force(now))
        })
    }
}

/// Host bits zero, and a network of IPv4-mapped addresses as the IPv4 network that it is.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    if let (IpAddr::V4(v4), Some(length)) = (network.addr().to_canonical(), network.prefix_len().checked_sub(96))
        && matches!(network, IpNet::V6(_))
        && let Ok(mapped) = IpNet::new(IpAddr::V4(v4), length)
    {
        return mapped.trunc();
    }
    network.trunc()
}

fn banned(detail: &'static str) -> Reject {
    Reject::new(Code::Banned, detail)
}

#[cfg(test)]
mod tests;
