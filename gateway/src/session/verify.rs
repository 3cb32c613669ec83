//! Whether live sessions hold their slots still. Whoever takes a slot over tells the connection before; where that mail,
//! or the answer to the resume itself, was lost, nobody is left who knows of that connection: it would go on without a
//! slot until its client leaves. So every session asks, now and then, in its node's name.
//!
//! A session has lost its slot when the ledger said so twice, a while apart, and nothing about the session changed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis_common::store::session::Holder;

use super::manager::{Estate, tell};
use super::registry::SessionEntry;
use super::talk::Stop;

/// Every session is asked about once in so many turns; a turn is a second.
pub const TURNS: u128 = 30;
/// Sessions of one turn; beyond it some wait for their next.
const AT_ONCE: usize = 1_024;
/// Between the two questions.
const AGAIN: Duration = Duration::from_secs(1);

/// One turn: a small script for one session in [`TURNS`].
pub async fn look_over(estate: &Estate, turn: u64) {
    let due = |holder: &Holder| holder.sid.0 % TURNS == u128::from(turn) % TURNS;
    let asked = estate.registry.select(AT_ONCE, |entry| due(&entry.holder) && is_settled(estate, entry));
    let lost = without_slot(estate, asked).await;
    if lost.is_empty() {
        return;
    }
    actix_rt::time::sleep(AGAIN).await;
    let same = |entry: &Arc<SessionEntry>| {
        let present = estate.registry.get(entry.holder.sid);
        present.is_some_and(|present| present.holder == entry.holder) && is_settled(estate, entry)
    };
    let lost = without_slot(estate, lost.into_iter().filter(same).collect()).await;
    tell(&lost, &Stop::Evicted);
}

/// It has claimed its slot in this life and era: before that there may be none, and that is nobody's loss.
fn is_settled(estate: &Estate, entry: &SessionEntry) -> bool {
    let era = estate.stores.eras.era();
    entry.holder.epoch == estate.life.epoch() && entry.era == era
}

async fn without_slot(estate: &Estate, entries: Vec<Arc<SessionEntry>>) -> Vec<Arc<SessionEntry>> {
    let ledger = &estate.stores.ledger;
    let asked = entries.iter().map(|entry| ledger.holds(entry.user.clone(), entry.holder.clone()));
    let answers = join_all(asked.collect::<Vec<_>>()).await;
    // what is not answered is not known
    entries.into_iter().zip(answers).filter(|(_, holds)| matches!(holds, Ok(false))).map(|(entry, _)| entry).collect()
}
