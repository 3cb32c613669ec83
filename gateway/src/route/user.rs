//! Messages to users: through the ledger's nodes, to every session the user has there.

use std::sync::Arc;

use portcullis_common::config::model::{MessageRule, Route, UserReach};
use portcullis_common::ids::{TenantId, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::{Dedupe, NodeMail, Record};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::ClientMessage;
use portcullis_common::wire::reject::Reject;

use super::room::{dedupe, record};
use super::{Done, Outcome};
use crate::node::Node;
use crate::session::connection::{Next, Turn};
use crate::session::talk::{Session, Sort};

/// An application message to a user. Whether the user exists, is connected or is of another tenant, the answer is the
/// same.
pub fn send(
    session: &mut Session,
    message: &ClientMessage<'_>,
    rule: &MessageRule,
    to: UserId,
    id: Option<Box<str>>,
    turn: &mut Turn<'_, '_>,
) -> Result<Next, Reject> {
    let tenant = match rule.route {
        Route::User(UserReach::Any) => None,
        Route::User(UserReach::SameTenant) => {
            let own = session.identity.tenant.clone();
            Some(own.ok_or_else(|| Reject::new(Code::Forbidden, "the sender has no tenant"))?)
        }
        Route::Room => return Err(Reject::new(Code::Internal, "a room's type at the user route")),
    };
    let record = record(session, message, rule, None, turn);
    let dedupe = dedupe(session, id.as_deref())?;
    let node = Arc::clone(&turn.worker.node);
    let work = async move {
        let sent = carry(&node, to, tenant, record, dedupe).await;
        Done { id, room: None, outcome: Outcome::Sent(sent) }
    };
    Ok(session.call(work, Sort::Message, turn))
}

/// True: it was sent before.
async fn carry(
    node: &Node,
    to: UserId,
    tenant: Option<TenantId>,
    record: Record,
    dedupe: Option<Dedupe>,
) -> Result<bool, StoreFault> {
    // the id is taken last before the mail goes out: what fails before it can be sent again
    let targets = node.stores.ledger.nodes(to.clone()).await?;
    if let Some(dedupe) = dedupe
        && !node.stores.bus.first(dedupe, to.clone()).await?
    {
        return Ok(true);
    }
    for target in targets {
        let mail = NodeMail::ToUser { user: to.clone(), tenant: tenant.clone(), record: record.clone() };
        node.stores.bus.send(target, mail).await?;
    }
    Ok(false)
}
