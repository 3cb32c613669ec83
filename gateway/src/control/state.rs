//! Commands that change what is in force in the fleet: written once into the control log, done when the log has brought it.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::control::ack::Answer;
use portcullis_common::control::command::BanItem;
use portcullis_common::penalty::Subject;
use portcullis_common::store::StoreFault;
use portcullis_common::store::control::{ControlEntry, Target};
use serde_json::json;

use super::apply::Which;
use crate::events::StoreFailed;
use crate::node::Node;

/// How long the control log may take to bring what a node wrote. Then, if another node took it upon itself to write, it
/// is gone, and this one does.
const SETTLE: Duration = Duration::from_secs(2);

/// A ban.
pub(super) async fn ban(node: &Arc<Node>, which: Which, ban: BanItem, now: UnixMs) -> Answer {
    let BanItem { target, until, reason } = ban;
    if until.is_some_and(|until| until <= now) {
        return Answer::failed("the ban would be over already");
    }
    enter(node, which, vec![ControlEntry::Ban { target, until, reason }]).await
}

/// Many.
pub(super) async fn import(node: &Arc<Node>, which: Which, mut bans: Vec<BanItem>, now: UnixMs) -> Answer {
    let all = bans.len();
    // by the time of its issue, or nodes would wait for unlike entries
    bans.retain(|ban| ban.until.is_none_or(|until| until > which.issued));
    let taken = bans.len();
    if bans.iter().all(|ban| ban.until.is_some_and(|until| until <= now)) {
        return Answer::done(json!({"bans": 0, "over": all}));
    }
    let entry = |BanItem { target, until, reason }| ControlEntry::Ban { target, until, reason };
    let answer = enter(node, which, bans.into_iter().map(entry).collect()).await;
    if answer.data.is_null() { answer } else { Answer { data: json!({"bans": taken, "over": all - taken}), ..answer } }
}

/// The end of a ban.
pub(super) async fn lift(node: &Arc<Node>, which: Which, target: Target, now: UnixMs) -> Answer {
    let banned = node.bans.is_banned(&target, now);
    // pardoned for good: what is on the account would have it back at once
    let account = match &target {
        Target::User(user) => Some(Subject::User(user.clone())),
        Target::Network(network) => Some(Subject::network(network.addr())),
        Target::Session(_) | Target::Token(_) => None,
    };
    if let Some(account) = account
        && let Err(why) = node.stores.penalties.clear(account).await
    {
        StoreFailed { call: "penalties.clear", fault: &why }.emit(&node.metrics);
    }
    let answer = enter(node, which, vec![ControlEntry::Lift { target }]).await;
    if answer.data.is_null() { answer } else { Answer { data: json!({"banned": banned}), ..answer } }
}

/// Has the entries written once for the fleet, and waits until the last, and with it all of them, is in force here.
pub(super) async fn enter(node: &Arc<Node>, which: Which, entries: Vec<ControlEntry>) -> Answer {
    let Which { nonce, issued } = which;
    let told = entries.last().and_then(|last| node.settled.expect(last.clone(), issued));
    let Some(mut told) = told else { return Answer::failed("too much is under way") };
    let mine = match node.stores.desk.claim(nonce).await {
        Ok(mine) => mine,
        Err(why) => return untaken(node, entries, &why),
    };
    // the second round is for nodes that waited for one that is gone
    for write in [mine, !mine] {
        if write && let Err(why) = node.stores.control.append_all(entries.clone()).await {
            return untaken(node, entries, &why);
        }
        if let Ok(Ok(sessions)) = actix_rt::time::timeout(SETTLE, &mut told).await {
            return Answer::done(json!({"sessions": sessions}));
        }
        if mine {
            break;
        }
    }
    Answer::failed("the control log did not bring it in time")
}

/// The store did not take the entries. Bans hold here all the same, and are written when it answers again.
fn untaken(node: &Arc<Node>, entries: Vec<ControlEntry>, fault: &StoreFault) -> Answer {
    match fault {
        StoreFault::Full(_) => Answer::failed("the control log is full"),
        StoreFault::Unavailable(_) | StoreFault::Era | StoreFault::Fenced => {
            let bans = entries.into_iter().filter(|entry| matches!(entry, ControlEntry::Ban { .. }));
            if node.pending.hold(bans, node.now_at_store()) {
                Answer::failed(
                    "the store did not take it: it holds on this node, which writes it when the store answers",
                )
            } else {
                Answer::failed("the store did not take it")
            }
        }
    }
}
