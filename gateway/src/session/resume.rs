//! Sessions that outlive their connection: what a resume token is, how one is shown, and which ends leave something to
//! resume.
//!
//! A token is 256 random bits. The ledger knows it by a hash that is the token's and the tenant's, so neither a copy of
//! the store nor a token of the same user in another tenant resumes anything. It is worth nothing without a bearer token
//! of the user whose session it is.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{NodeId, TenantId};
use portcullis_common::store::bus::NodeMail;
use portcullis_common::store::session::{Holder, Resumed};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use rand::RngCore;

use super::acquire::{Seat, arm, lost};
use super::connection::End;
use super::guard::{Asking, Place, Slot, conclude};
use super::manager::tell;
use super::orphans::Asked;
use super::talk::Stop;
use crate::admit::auth::Identity;
use crate::admit::facts::Facts;
use crate::admit::kicks::Claim;
use crate::events::{ResumeShown, Shown, StoreFailed};
use crate::node::Node;
use crate::worker::Worker;

/// How long the connection before may take to leave this node.
const SETTLE: Duration = Duration::from_secs(1);
/// When a node that may still have the connection before is told again: mail may be lost. The second time is later than
/// a lease: a node that was cut off for longer has begun another life by then, and claims its sessions in it in vain.
const REMIND: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// A token on its way to its client. No `Debug`: it is a secret.
pub struct Grant {
    /// What the client is told: 43 characters of base64url.
    pub text: String,
    /// What the ledger knows it by.
    pub name: [u8; 32],
}

impl Grant {
    /// A token of this identity; `None` where sessions are not resumed.
    #[must_use]
    pub fn fresh(node: &Node, identity: &Identity, rng: &mut dyn RngCore) -> Option<Self> {
        if node.config.session.resume_window.is_zero() {
            return None;
        }
        let mut token = [0; 32];
        rng.fill_bytes(&mut token);
        Some(Self { text: URL_SAFE_NO_PAD.encode(token), name: name(&token, identity.tenant.as_ref()) })
    }
}

/// One-way, and different for every tenant (BLAKE3 key derivation).
fn name(token: &[u8; 32], tenant: Option<&TenantId>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("portcullis 2026-11 resume token");
    hasher.update(token);
    hasher.update(&[u8::from(tenant.is_some())]);
    hasher.update(tenant.map(|tenant| tenant.as_str().as_bytes()).unwrap_or_default());
    *hasher.finalize().as_bytes()
}

/// What the ledger knows a shown token by, if it is one.
fn parse(shown: &str, tenant: Option<&TenantId>) -> Option<[u8; 32]> {
    let token: [u8; 32] = URL_SAFE_NO_PAD.decode(shown).ok()?.try_into().ok()?;
    Some(name(&token, tenant))
}

/// The seat of the session that the shown token resumes; `None`: nothing to resume, a new session begins. At most two
/// round trips to the store.
///
/// # Errors
/// `banned` (the session); `conflict`: another connection of the session was later; `store_unavailable`.
pub async fn seat(worker: &Rc<Worker>, identity: &Identity, facts: &Facts) -> Result<Option<Seat>, Reject> {
    let (node, user) = (&worker.node, &identity.user);
    let Some(shown) = facts.resume.as_deref().filter(|_| !node.config.session.resume_window.is_zero()) else {
        return Ok(None);
    };
    let won = match parse(shown, identity.tenant.as_ref()) {
        Some(name) => win(worker, identity, name).await?,
        None => None,
    };
    let Some((slot, resumed)) = won else {
        ResumeShown { user, session: None, seq: None, shown: Shown::Unknown }.emit(&node.metrics);
        return Ok(None);
    };
    let (session, seq) = (Some(slot.holder().sid), Some(resumed.seq));
    let report = |shown| ResumeShown { user, session, seq, shown }.emit(&node.metrics);
    match go_on(worker, identity, facts, slot, resumed).await {
        Ok(Some(seat)) => {
            report(Shown::Resumed);
            Ok(Some(seat))
        }
        Ok(None) => {
            report(Shown::Ended);
            Ok(None)
        }
        Err(reject) => {
            match reject.code {
                Code::Conflict => report(Shown::Overtaken),
                Code::Banned => report(Shown::Ended),
                _ => {}
            }
            Err(reject)
        }
    }
}

/// The slot that this token wins, if any.
async fn win(worker: &Rc<Worker>, identity: &Identity, name: [u8; 32]) -> Result<Option<(Slot, Resumed)>, Reject> {
    let (node, user) = (&worker.node, &identity.user);
    // whoever does not live to hear the answer may hold a slot without knowing it
    let (asked, times) = (Asked::new(node, user), Asking::now(node));
    let answer = node.stores.ledger.resume(user.clone(), name, node.config.node.id.clone(), node.epoch()).await;
    let won = answer.map_err(lost(node, "ledger.resume"))?.map(|resumed| {
        let slot = Slot::resumed(worker, user.clone(), resumed.holder.clone(), name, times);
        (slot, resumed)
    });
    asked.answered();
    Ok(won)
}

/// The session's new connection, unless it is over; the one before is told to go, and waited for where it is on this
/// node.
async fn go_on(
    worker: &Rc<Worker>,
    identity: &Identity,
    facts: &Facts,
    mut slot: Slot,
    resumed: Resumed,
) -> Result<Option<Seat>, Reject> {
    let (node, user) = (&worker.node, &identity.user);
    let Resumed { previous, was_live, holder, since, seq } = resumed;
    if was_live {
        displace(node, identity, previous).await;
    }
    if let Err(reject) = still_good(node, identity, facts, &holder, since) {
        slot.ends();
        node.stores.ledger.remove(user.clone(), holder.sid).await.map_err(lost(node, "ledger.remove"))?;
        return reject.map_or(Ok(None), Err);
    }
    let grant = Grant::fresh(node, identity, &mut rand::rng());
    if !arm(node, user, &holder, grant.as_ref()).await? {
        return Err(Reject::new(Code::Conflict, "another connection resumed the session after this one"));
    }
    if actix_rt::time::timeout(SETTLE, node.registry.settled(&holder)).await.is_err() {
        return Err(Reject::new(Code::StoreUnavailable, "the connection before is not gone yet").retry(SETTLE));
    }
    Ok(Some(Seat { slot, seq, grant, resumed: Some(since) }))
}

/// The connection before, if it still is one, ends with 4409.
async fn displace(node: &Arc<Node>, identity: &Identity, previous: Holder) {
    if previous.node == node.config.node.id {
        return tell(node.registry.doom(&previous).as_slice(), &Stop::Evicted);
    }
    let (to, mail) = (previous.node.clone(), NodeMail::Evict { user: identity.user.clone(), victim: previous });
    post(node, to.clone(), mail.clone()).await;
    let again = Arc::clone(node);
    node.errand(Box::pin(async move {
        for wait in REMIND {
            actix_rt::time::sleep(wait).await;
            post(&again, to.clone(), mail.clone()).await;
        }
    }));
}

async fn post(node: &Node, to: NodeId, mail: NodeMail) {
    if let Err(fault) = node.stores.bus.send(to, mail).await {
        StoreFailed { call: "bus.send", fault: &fault }.emit(&node.metrics);
    }
}

/// What this node knows of the session's end, whatever the ledger says: `Err(None)` for one that is over,
/// `Err(Some(_))` for one that is banned.
fn still_good(
    node: &Node,
    identity: &Identity,
    facts: &Facts,
    holder: &Holder,
    since: UnixMs,
) -> Result<(), Option<Reject>> {
    let now = node.clock.wall();
    node.bans.check_session(holder.sid, now).map_err(Some)?;
    let old = since.after(node.config.session.absolute_timeout) <= now;
    if old || is_ended(node, identity, facts, holder, since) { Err(None) } else { Ok(()) }
}

/// Whether an operator has ended a session that counts since then.
pub fn is_ended(node: &Node, identity: &Identity, facts: &Facts, holder: &Holder, since: UnixMs) -> bool {
    node.kicks.has_ended(&Claim {
        session: holder.sid,
        user: &identity.user,
        token: identity.token_id.as_deref(),
        client: facts.client,
        since,
    })
}

/// Whether a session outlives its connection. One rule: where the registry of close codes says "may resume", and where
/// nobody said anything. `over`: it has used up the time that it had. `told`: it was asked to leave by a drain, so a
/// close without a word about it (no 1000) is that.
#[must_use]
pub fn outlives(end: End, over: bool, told: bool) -> bool {
    match end {
        End::Broken | End::Panic | End::Fenced => !over,
        End::Ours(close) => close.info().resume && !over,
        End::Peer(code) => code == Some(1001) || (told && code != Some(1000)),
        End::Violation(_) => false,
    }
}

/// The client has shown that it has read `welcome`: the token that it came with is spent.
pub fn spend(place: &Place, worker: &Worker) {
    let (node, user, holder) = (Arc::clone(&worker.node), place.user().clone(), place.holder().clone());
    conclude(worker, async move {
        // one that is not spent lapses by itself
        if let Err(fault) = node.stores.ledger.spend(user, holder).await {
            StoreFailed { call: "ledger.spend", fault: &fault }.emit(&node.metrics);
        }
    });
}

#[cfg(test)]
mod tests {
    use portcullis_common::wire::code::Close;

    use super::*;

    #[test]
    fn the_ledgers_name_of_a_token_is_neither_the_token_nor_another_tenants() {
        let (red, blue) = (TenantId::parse("red").unwrap(), TenantId::parse("blue").unwrap());
        let names =
            [name(&[7; 32], None), name(&[7; 32], Some(&red)), name(&[7; 32], Some(&blue)), name(&[8; 32], None)];
        for (at, one) in names.iter().enumerate() {
            assert_ne!(one, &[7; 32]);
            assert!(!names[..at].contains(one));
        }
        let text = URL_SAFE_NO_PAD.encode([7; 32]);
        assert_eq!(parse(&text, Some(&red)), Some(names[1]));
    }

    #[test]
    fn what_is_no_token_is_not_looked_up() {
        let good = URL_SAFE_NO_PAD.encode([7; 32]);
        for bad in ["", "stale", &good[1..], &format!("{good}="), &format!("{good}A"), &good.replace('B', "+")] {
            assert_eq!(parse(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_session_outlives_what_the_registry_calls_resumable_and_a_broken_connection_and_nothing_else() {
        for close in Close::ALL {
            assert_eq!(outlives(End::Ours(*close), false, false), close.info().resume, "{close:?}");
            assert!(!outlives(End::Ours(*close), true, false), "{close:?}");
        }
        assert!([End::Broken, End::Panic, End::Fenced].into_iter().all(|end| outlives(end, false, false)));
        assert!(!outlives(End::Broken, true, false));
        for code in [None, Some(1000), Some(1002), Some(1012), Some(3000), Some(4999)] {
            assert!(!outlives(End::Peer(code), false, false), "{code:?}");
            assert_eq!(outlives(End::Peer(code), false, true), code != Some(1000), "{code:?}");
        }
        assert!(outlives(End::Peer(Some(1001)), false, false));
    }
}
