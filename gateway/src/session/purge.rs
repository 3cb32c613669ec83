//! Detached sessions have no actor that an operator's word could reach: their records are deleted from the ledger.
//! Every node does it, and none minds the others.

use std::sync::Arc;
use std::task::{Context, Waker};

use portcullis_common::clock::UnixMs;
use portcullis_common::ids::UserId;
use portcullis_common::store::StoreFault;
use portcullis_common::store::session::{SessionLedger, SlotState};

use crate::events::StoreFailed;
use crate::metrics::Metrics;

/// Deletes a user's detached sessions that count since then or before. What the store does not do now it does not do
/// later: [`crate::admit::kicks`] keeps them from being resumed all the same, and their window ends.
pub fn purge(ledger: &Arc<dyn SessionLedger>, metrics: &Arc<Metrics>, user: UserId, until: UnixMs) {
    let (ledger, metrics) = (Arc::clone(ledger), Arc::clone(metrics));
    let mut work = Box::pin(async move {
        if let Err(fault) = delete(&*ledger, user, until).await {
            StoreFailed { call: "ledger.remove", fault: &fault }.emit(&metrics);
        }
    });
    // with the memory store everything is done on return
    if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
    {
        runtime.spawn(work);
    }
}

async fn delete(ledger: &dyn SessionLedger, user: UserId, until: UnixMs) -> Result<(), StoreFault> {
    for slot in ledger.slots(user.clone()).await? {
        if matches!(slot.state, SlotState::Detached { .. }) && slot.since <= until {
            ledger.remove(user.clone(), slot.holder.sid).await?;
        }
    }
    Ok(())
}
