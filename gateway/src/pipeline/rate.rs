//! How often: a type's own limit for each connection, and the operator's `[limit.NAME]`, counted by connection, user,
//! address, tenant or node.
//!
//! A message takes from every limit that concerns it or from none, and `retryAfter` is when all of them would let it pass.
//! What connections share is kept behind [`Allowance`]: by [`Buckets`] on a node of its own, by [`FleetLimits`] where a
//! fleet shares it. That one may have to ask the store; then it says [`Taken::Ask`], and the message parks instead of
//! waiting here.
//!
//! [`Buckets`]: super::buckets::Buckets
//! [`FleetLimits`]: crate::limits::FleetLimits

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::config::model::{Auth, NamedLimit, Per, address_key};
use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::stage::Stage;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use tokio::sync::oneshot;

use super::policy::TypePolicy;
use super::stages::{Halt, Run};
use super::{Who, flow, role};

/// What a shared count is of: a limit, and whoever it counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Whom it counts.
    pub counted: Counted,
}

/// Whom a limit counts. The names are short strings behind an `Arc` or plain numbers: a key is cheap to make.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Counted {
    /// One user.
    User(Box<str>),
    /// One address, /64 for v6.
    Ip(IpAddr),
    /// One tenant, or all who have none.
    Tenant(Option<Box<str>>),
    /// One message type.
    Type(Box<str>),
    /// Everybody on this node.
    Node,
}

/// What became of a request to a shared count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was granted and counted.
    Yes,
    /// It was refused, and would be granted after this long.
    Wait(Duration),
    /// Nothing is known here: the message has to wait for an answer.
    Ask,
}

/// Counts that connections share.
pub trait Allowance: Send + Sync {
    /// Takes one message at `now` (monotonic ns). Must not block beyond a short lock. [`Taken::Ask`] only for a message
    /// that is `patient`: one that has not waited yet.
    fn take(&self, key: &Key, gcra: &Gcra, now: u64, patient: bool) -> Taken;
    /// How long until [`Self::take`] would grant one; takes nothing.
    fn wait(&self, key: &Key, gcra: &Gcra, now: u64) -> Duration;
    /// Gives back what was taken for a message that another limit refused.
    fn give_back(&self, key: &Key, gcra: &Gcra, now: u64);
    /// A message parks for another count and will come for this one too: what has to be asked about it is asked now, so
    /// that it waits once.
    fn prepare(&self, _: &Key, _: &Gcra, _: u64) {}
    /// Ends when the call that is under way for a count is over; `None` where none is.
    fn answer(&self, _: &Key) -> Option<oneshot::Receiver<()>> {
        None
    }
    /// Whether this node decided what the fleet should have, a moment ago.
    fn decides_alone(&self, _: u64) -> bool {
        false
    }
    /// By how many nodes the counts are shared, as far as this one knows.
    fn nodes(&self, _: u64) -> u32 {
        1
    }
}

/// `[limit.NAME]`, compiled.
#[derive(Debug)]
pub struct NamedRule {
    name: Arc<str>,
    id: u64,
    gcra: Gcra,
    /// The most that a token may carry.
    most: Gcra,
    per: Per,
    rooms: Vec<String>,
    roles: Vec<String>,
    /// Places in `auth.issuer`; none: all.
    issuers: Option<Vec<usize>>,
    dry_run: bool,
}

impl NamedRule {
    /// Compiles a limit.
    #[must_use]
    pub fn new(name: &str, rule: &NamedLimit, auth: &Auth) -> Self {
        let place = |wanted: &String| auth.issuer.iter().position(|issuer| issuer.name == *wanted);
        Self {
            name: name.into(),
            id: id(("limit", name)),
            gcra: Gcra::new(rule.limit),
            most: Gcra::new(rule.claim_max.unwrap_or(rule.limit)),
            per: rule.per,
            rooms: rule.rooms.clone(),
            roles: rule.roles.clone(),
            issuers: (!rule.issuers.is_empty()).then(|| rule.issuers.iter().filter_map(place).collect()),
            dry_run: rule.dry_run,
        }
    }

    /// Whether it counts a message of a type that it concerns.
    fn concerns(&self, who: &Who<'_>, pattern: Option<&str>) -> bool {
        (self.rooms.is_empty() || pattern.is_some_and(|pattern| self.rooms.iter().any(|room| room == pattern)))
            && (self.roles.is_empty() || role::any(&self.roles, who.subject.roles))
            && self.issuers.as_ref().is_none_or(|issuers| issuers.contains(&who.issuer))
    }

    /// What holds for a sender: what its token carries, where that may be, or the rule.
    fn gcra(&self, who: &Who<'_>) -> Gcra {
        let personal = matches!(self.per, Per::Connection | Per::User | Per::Tenant);
        let carried = who.limits.filter(|_| personal).and_then(|carried| carried.of(&self.name));
        carried.map_or(self.gcra, |limit| Gcra::new(limit).at_most(&self.most))
    }

    /// `None`: each connection by itself.
    fn key(&self, who: &Who<'_>, kind: &str) -> Option<Key> {
        let counted = match self.per {
            Per::Connection => return None,
            Per::User => Counted::User(who.subject.user.as_str().into()),
            Per::Ip => Counted::Ip(address_key(who.address)),
            Per::Tenant => Counted::Tenant(who.subject.tenant.map(|tenant| tenant.as_str().into())),
            Per::Type => Counted::Type(kind.into()),
            Per::Node => Counted::Node,
        };
        Some(Key { limit: Arc::clone(&self.name), counted })
    }
}

/// The same name has the same number under every policy, so that a reload neither mixes counts up nor resets them.
pub(super) fn id(name: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// What one connection used of limits that count it by itself: nothing until it meets the first.
#[derive(Debug, Default)]
pub struct Used(Vec<(u64, Tat)>);

/// Entries beyond which those that say nothing any more are forgotten: reloads may have renamed limits.
const ENTRIES: usize = 64;

impl Used {
    fn with<R>(&mut self, id: u64, now: u64, f: impl FnOnce(&mut Tat) -> R) -> R {
        if let Some((_, tat)) = self.0.iter_mut().find(|(known, _)| *known == id) {
            return f(tat);
        }
        let mut tat = Tat::default();
        let answer = f(&mut tat);
        if tat.0 > now {
            if self.0.len() >= ENTRIES {
                self.0.retain(|(_, tat)| tat.0 > now);
            }
            self.0.push((id, tat));
        }
        answer
    }
}

/// One limit that concerns a message.
struct Bucket<'m> {
    /// The operator's name for it; none: the type's own.
    name: Option<&'m str>,
    gcra: Gcra,
    place: Place,
    dry_run: bool,
}

enum Place {
    /// Of this connection.
    Own(u64),
    /// Shared.
    Shared(Key),
}

impl Bucket<'_> {
    fn take(&self, run: &mut Run<'_, '_>) -> Taken {
        let now = run.now.mono_ns;
        match &self.place {
            Place::Own(id) => {
                let taken = run.state.rates.with(*id, now, |tat| self.gcra.take(tat, now, 1));
                taken.map_or_else(Taken::Wait, |()| Taken::Yes)
            }
            Place::Shared(key) => run.policy.allowance.take(key, &self.gcra, now, run.patient),
        }
    }

    fn wait(&self, run: &mut Run<'_, '_>) -> Duration {
        let now = run.now.mono_ns;
        match &self.place {
            Place::Own(id) => run.state.rates.with(*id, now, |tat| self.gcra.wait(*tat, now, 1)),
            Place::Shared(key) => run.policy.allowance.wait(key, &self.gcra, now),
        }
    }

    fn give_back(&self, run: &mut Run<'_, '_>) {
        match &self.place {
            Place::Own(id) => run.state.rates.with(*id, run.now.mono_ns, |tat| self.gcra.give_back(tat, 1)),
            Place::Shared(key) => run.policy.allowance.give_back(key, &self.gcra, run.now.mono_ns),
        }
    }

    fn refusal(&self, wait: Duration) -> Reject {
        let reject = match self.name {
            None => Reject::new(Code::RateLimited, "rate: over the type's own limit"),
            Some(name) => Reject::new(Code::RateLimited, format!("rate: over limit.{name}")),
        };
        reject.retry(wait)
    }
}

/// Every limit that concerns the message, the type's own first. Made anew for each pass: passes are one but for messages
/// that are refused.
fn buckets<'m>(kind: &'m TypePolicy, run: &Run<'_, 'm>) -> impl Iterator<Item = Bucket<'m>> + use<'m> {
    let (policy, who, pattern) = (run.policy, run.who, run.terms.pattern);
    let own =
        kind.rate.as_ref().map(|(id, gcra)| Bucket { name: None, gcra: *gcra, place: Place::Own(*id), dry_run: false });
    let mut named = Vec::new();
    for rule in kind.limits.iter().filter_map(|at| policy.limits.get(*at)).filter(|rule| rule.concerns(who, pattern)) {
        let place = rule.key(who, &run.message.kind).map_or(Place::Own(rule.id), Place::Shared);
        named.push(Bucket { name: Some(&rule.name), gcra: rule.gcra(who), place, dry_run: rule.dry_run });
    }
    own.into_iter().chain(named)
}

/// Application messages take from their type's own limit and from every named one that concerns them.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let Some(kind) = run.kind else { return Ok(()) };
    for (n, bucket) in buckets(kind, run).filter(|bucket| !bucket.dry_run).enumerate() {
        match bucket.take(run) {
            Taken::Yes => {}
            // nobody waits for rules that are tried out: what has to be asked first is not counted
            Taken::Ask if kind.dry.has(Stage::Rate) => {}
            Taken::Wait(_) => return Err(refuse(kind, n, &bucket, run).into()),
            Taken::Ask => {
                undo(kind, n, run);
                for later in buckets(kind, run).filter(|bucket| !bucket.dry_run).skip(n + 1) {
                    if let Place::Shared(key) = &later.place {
                        run.policy.allowance.prepare(key, &later.gcra, run.now.mono_ns);
                    }
                }
                return Err(match bucket.place {
                    Place::Shared(key) => Halt::Park(key),
                    Place::Own(_) => Halt::Hard(Reject::new(Code::Internal, "rate: a count of this connection parked")),
                });
            }
        }
    }
    for bucket in buckets(kind, run).filter(|bucket| bucket.dry_run) {
        if let Taken::Wait(wait) = bucket.take(run) {
            run.note(Stage::Rate, bucket.refusal(wait));
        }
    }
    Ok(())
}

/// Gives back what the first `n` limits granted.
fn undo(kind: &TypePolicy, n: usize, run: &mut Run<'_, '_>) {
    for bucket in buckets(kind, run).filter(|bucket| !bucket.dry_run).take(n) {
        bucket.give_back(run);
    }
}

/// The refusal of the limit at place `n`, with the time after which every limit lets the message pass, those of the
/// connection included.
fn refuse(kind: &TypePolicy, n: usize, over: &Bucket<'_>, run: &mut Run<'_, '_>) -> Reject {
    undo(kind, n, run);
    let mut wait = flow::wait(&run.policy.flow, &run.state.flow, run.len, run.now);
    for bucket in buckets(kind, run).filter(|bucket| !bucket.dry_run) {
        wait = wait.max(bucket.wait(run));
    }
    over.refusal(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_forgets_limits_that_no_longer_say_anything() {
        let gcra = Gcra::new(portcullis_common::config::model::Limit {
            rate: portcullis_common::config::model::Rate { count: 1, period: Duration::from_secs(1) },
            burst: 1,
        });
        let mut used = Used::default();
        for id in 0..10_000 {
            let now = 1_000_000_000 * (1 + id);
            assert!(used.with(id, now, |tat| gcra.take(tat, now, 1)).is_ok());
            assert!(used.with(id, now, |tat| gcra.take(tat, now, 1)).is_err());
        }
        assert!(used.0.len() <= ENTRIES);
    }

    #[test]
    fn a_limit_keeps_its_number_and_shares_it_with_no_type() {
        assert_eq!(id(("limit", "chat")), id(("limit", "chat")));
        assert_ne!(id(("limit", "chat")), id(("type", "chat")));
    }
}
