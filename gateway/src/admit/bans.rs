//! What the control log says, looked up locally: bans of users, sessions, tokens, networks; revocations.
//!
//! One writer, the reader of the control log; many readers, at handshakes and refreshes. A look-up costs a hash probe for
//! each target, and for an address a walk down a trie ([`NetworkSet`]). Restrictions are looked up like bans, by the user
//! and by the address's own network ([`network_of`]).
//!
//! **Merge.** Entries merge by target: the newest (time of append, place in the log) wins, and a lift is kept as a
//! tombstone until what it lifted would have ended, a day at most, so that a log read again from its start bans nobody anew.
//!
//! **Bound.** [`ENTRIES`] of each kind, as many as a store's control log takes. What has ended goes now and then, at the
//! bound at once; else whatever ends soonest gives way, which may be the newcomer. [`BanTable::lost`] counts those that
//! were still in force; more than zero belongs into `/health`.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::penalty::network_of;
use portcullis_common::store::control::{ControlEntry, ControlSink, LogId, Logged, Target};
use portcullis_common::trie::{NetworkSet, canonical};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

/// Entries of each kind: users, sessions, tokens, networks, revocations.
pub const ENTRIES: usize = 200_000;

/// Entries of one kind.
mod kind;

/// What is told of entries in force.
mod listed;

/// Lists, page by page.
mod pages;

use self::kind::{Entry, Kind, NEVER};
pub use self::listed::{Listed, Restriction};
use self::pages::Pages;

/// The table's contents.
struct Inner {
    users: Kind<UserId>,
    sessions: Kind<SessionId>,
    tokens: Kind<String>,
    networks: Kind<IpNet>,
    revoked: Kind<UserId>,
    /// Those of `networks`, to find them by an address.
    prefixes: NetworkSet,
    restricted_users: Kind<UserId>,
    /// By [`network_of`].
    restricted_networks: Kind<IpNet>,
    shut: Kind<IpNet>,
    /// Those of `shut`, to find them by an address.
    doors: NetworkSet,
}

/// Bans and revocations that this node knows of.
pub struct BanTable {
    inner: RwLock<Inner>,
    pages: Pages,
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
            prefixes: NetworkSet::default(),
            restricted_users: Kind::new(room),
            restricted_networks: Kind::new(room),
            shut: Kind::new(room),
            doors: NetworkSet::default(),
        };
        Self { inner: RwLock::new(inner), pages: Pages::default(), token_life }
    }

    /// A table that bans these targets for good, for it is never told anything.
    #[must_use]
    pub fn fixed(targets: impl Iterator<Item = Target>) -> Self {
        let table = Self::new(Duration::ZERO);
        let stamp = (UnixMs(0), LogId::default());
        let entry = Entry { until: NEVER, ends: NEVER, stamp, lifted: false, close: false, reason: None };
        {
            let mut inner = table.inner.write().unwrap_or_else(PoisonError::into_inner);
            targets.for_each(|target| inner.ban(&target, entry.clone()));
        }
        table
    }

    /// Takes an entry that the log has not brought yet: it stands in the place of what is known of its target, and
    /// whatever the log brings takes that from it.
    pub fn apply_provisionally(&self, logged: &Logged) {
        let stamp = {
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            inner.stamp(&logged.entry).unwrap_or((UnixMs(0), LogId::default()))
        };
        self.take(&logged.entry, stamp);
    }

    /// Takes what the log says next; kicks and drains are not state and pass by. Costs a hash insertion; at the bound
    /// one pass over the kind's entries.
    pub fn apply(&self, logged: &Logged) {
        self.take(&logged.entry, (logged.at, logged.id));
    }

    fn take(&self, entry: &ControlEntry, stamp: (UnixMs, LogId)) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match entry {
            ControlEntry::Ban { target, until, reason } => {
                let until = until.unwrap_or(NEVER);
                let reason = (!reason.is_empty()).then(|| Arc::from(reason.as_str()));
                inner.ban(target, Entry { until, ends: until, stamp, lifted: false, close: false, reason });
            }
            ControlEntry::Restrict { target, until, close, reason } => {
                let (until, reason) = (*until, Some(Arc::from(reason.as_str())));
                inner.restrict(target, Entry { until, ends: until, stamp, lifted: false, close: *close, reason });
            }
            ControlEntry::Shut { network, until, reason } => {
                let (until, reason) = (*until, Some(Arc::from(reason.as_str())));
                inner.shut(*network, Entry { until, ends: until, stamp, lifted: false, close: false, reason });
            }
            ControlEntry::Lift { target } => inner.lift(target, stamp),
            ControlEntry::Revoke { user, issued_until } => {
                let ends = issued_until.after(self.token_life);
                inner.revoke(
                    user,
                    Entry { until: *issued_until, ends, stamp, lifted: false, close: false, reason: None },
                );
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

    /// The restriction of a user or of the network that an address is in, whichever lasts longer.
    #[must_use]
    pub fn restriction(&self, user: Option<&UserId>, ip: Option<IpAddr>, now: UnixMs) -> Option<Restriction> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let of_user = user.and_then(|user| inner.restricted_users.entries.get(user));
        let of_network = ip.and_then(|ip| inner.restricted_networks.entries.get(&network_of(ip)));
        let both = [of_user, of_network].into_iter().flatten().filter(|e| e.in_force(now));
        both.map(Restriction::of).reduce(Restriction::and)
    }

    /// The door that is shut to an address: of several networks around it the widest.
    #[must_use]
    pub fn shut(&self, ip: IpAddr, now: UnixMs) -> Option<Listed> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        inner.doors.any(ip.to_canonical(), |network| {
            let entry = inner.shut.entries.get(&network).filter(|e| e.in_force(now));
            found = entry.map(|entry| Listed::of(Target::Network(network), entry));
            found.is_some()
        });
        found
    }

    /// Doors that are shut. Cost: a look at each.
    #[must_use]
    pub fn doors_shut(&self, now: UnixMs) -> usize {
        let i = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        i.shut.entries.values().filter(|e| e.in_force(now)).count()
    }

    /// Whether a ban of exactly this target is in force.
    #[must_use]
    pub fn is_banned(&self, target: &Target, now: UnixMs) -> bool {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.banned(target).is_some_and(|e| e.in_force(now))
    }

    /// The first `limit` bans in force behind `after`, in the order of [`ban_key`], and whether there are more. Cost: of a
    /// list's first page a text for each ban, of any other its own rows ([`Pages::page`]).
    ///
    /// [`ban_key`]: portcullis_common::control::command::ban_key
    #[must_use]
    pub fn page(&self, after: Option<&str>, limit: usize, now: UnixMs) -> (Vec<Listed>, bool) {
        let all = || {
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            let mut targets = Vec::new();
            inner.each(&mut |target, entry| targets.extend(entry.in_force(now).then_some(target)));
            targets
        };
        let listed = |target: &Target| {
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            let entry = inner.banned(target).filter(|entry| entry.in_force(now))?;
            Some(Listed::of(target.clone(), entry))
        };
        self.pages.page((after, limit, now), all, listed)
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

    /// Restrictions in force, of users and of networks. Cost: a look at each.
    #[must_use]
    pub fn restricted(&self, now: UnixMs) -> usize {
        let i = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let users = i.restricted_users.entries.values().filter(|e| e.in_force(now)).count();
        users + i.restricted_networks.entries.values().filter(|e| e.in_force(now)).count()
    }

    /// The ban that refuses a user or an address: of several networks around it the widest.
    #[must_use]
    pub fn banned_by(&self, user: Option<&UserId>, ip: Option<IpAddr>, now: UnixMs) -> Option<Listed> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = user.and_then(|user| Some((Target::User(user.clone()), inner.users.entries.get(user)?)));
        found = found.filter(|(_, e)| e.in_force(now));
        if let (None, Some(ip)) = (&found, ip) {
            inner.prefixes.any(ip.to_canonical(), |network| {
                let entry = inner.networks.entries.get(&network).filter(|e| e.in_force(now));
                found = entry.map(|entry| (Target::Network(network), entry));
                found.is_some()
            });
        }
        found.map(|(target, entry)| Listed::of(target, entry))
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

impl Inner {
    fn each(&self, see: &mut dyn FnMut(Target, &Entry)) {
        self.users.entries.iter().for_each(|(user, e)| see(Target::User(user.clone()), e));
        self.sessions.entries.iter().for_each(|(session, e)| see(Target::Session(*session), e));
        self.tokens.entries.iter().for_each(|(id, e)| see(Target::Token(id.clone()), e));
        self.networks.entries.iter().for_each(|(network, e)| see(Target::Network(*network), e));
    }

    /// What is known of a ban of exactly this target.
    fn banned(&self, target: &Target) -> Option<&Entry> {
        match target {
            Target::User(user) => self.users.entries.get(user),
            Target::Session(session) => self.sessions.entries.get(session),
            Target::Token(id) => self.tokens.entries.get(id),
            Target::Network(network) => self.networks.entries.get(&canonical(*network)),
        }
    }

    /// The stamp of what is known about the target of a ban or restriction.
    fn stamp(&self, entry: &ControlEntry) -> Option<(UnixMs, LogId)> {
        let known = match entry {
            ControlEntry::Ban { target, .. } => self.banned(target),
            ControlEntry::Restrict { target: Target::User(user), .. } => self.restricted_users.entries.get(user),
            ControlEntry::Restrict { target: Target::Network(network), .. } => {
                self.restricted_networks.entries.get(&canonical(*network))
            }
            _ => None,
        };
        known.map(|known| known.stamp)
    }

    fn ban(&mut self, target: &Target, entry: Entry) {
        match target {
            Target::User(user) => self.users.put(user.clone(), entry, |_| {}),
            Target::Session(session) => self.sessions.put(*session, entry, |_| {}),
            Target::Token(id) => self.tokens.put(id.clone(), entry, |_| {}),
            Target::Network(network) => {
                let network = canonical(*network);
                self.prefixes.insert(network);
                let prefixes = &mut self.prefixes;
                self.networks.put(network, entry, |gone| {
                    prefixes.remove(*gone);
                });
            }
        }
    }

    /// Of sessions and tokens there is none: whoever writes one means their user.
    fn restrict(&mut self, target: &Target, entry: Entry) {
        match target {
            Target::User(user) => self.restricted_users.put(user.clone(), entry, |_| {}),
            Target::Network(network) => self.restricted_networks.put(canonical(*network), entry, |_| {}),
            Target::Session(_) | Target::Token(_) => {}
        }
    }

    fn shut(&mut self, network: IpNet, entry: Entry) {
        let network = canonical(network);
        self.doors.insert(network);
        let doors = &mut self.doors;
        self.shut.put(network, entry, |gone| {
            doors.remove(*gone);
        });
    }

    fn lift(&mut self, target: &Target, stamp: (UnixMs, LogId)) {
        match target {
            Target::User(user) => {
                self.users.lift(user, stamp, |_| {});
                self.restricted_users.lift(user, stamp, |_| {});
            }
            Target::Session(session) => self.sessions.lift(session, stamp, |_| {}),
            Target::Token(id) => self.tokens.lift(id, stamp, |_| {}),
            Target::Network(network) => {
                let (network, prefixes) = (canonical(*network), &mut self.prefixes);
                self.networks.lift(&network, stamp, |gone| {
                    prefixes.remove(*gone);
                });
                self.restricted_networks.lift(&network, stamp, |_| {});
                let doors = &mut self.doors;
                self.shut.lift(&network, stamp, |gone| {
                    doors.remove(*gone);
                });
            }
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
        self.revoked.put(user.clone(), entry, |_| {});
    }

    fn address_banned(&self, ip: IpAddr, now: UnixMs) -> bool {
        self.prefixes.any(ip, |network| self.networks.entries.get(&network).is_some_and(|e| e.in_force(now)))
    }
}

fn banned(detail: &'static str) -> Reject {
    Reject::new(Code::Banned, detail)
}

#[cfg(test)]
mod tests;
