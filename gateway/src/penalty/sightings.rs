//! What this node sees of logins, for whoever judges it over the fleet: [`portcullis_common::stuffing`].
//!
//! A process whose store nobody shares has no coordinator: it judges for itself.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::config::model::{StoreUrl, Stuffing};
use portcullis_common::ids::UserId;
use portcullis_common::store::report::Reports;
use portcullis_common::stuffing::detector::Detector;
use portcullis_common::stuffing::tally::{Claimed, Tally};
use portcullis_common::stuffing::verdict::Judgement;

use super::lock;
use crate::admit::auth::{BadToken, claimed};
use crate::events::{StoreFailed, StuffingFound, StuffingWithheld};
use crate::node::Node;

/// Between two reports, while there is something to report.
const PERIOD: Duration = Duration::from_secs(1);

/// Of accounts whose token is refused and not forged (expired, of a key that was replaced), one in so many counts: whole
/// offices come back in the morning with tokens of yesterday.
const HARMLESS: u64 = 8;

/// What was seen since the last report. A call costs a short lock, and a keyed hash or two before it.
#[derive(Default)]
pub struct Sightings(Mutex<Tally>);

impl Sightings {
    /// A login without a token to speak of was refused.
    pub fn refused(&self, rules: &Stuffing, client: IpAddr) {
        if rules.enabled {
            lock(&self.0).refused(client, None);
        }
    }

    /// A token was refused.
    pub fn token_refused(&self, rules: &Stuffing, names: &dyn Reports, client: IpAddr, bad: BadToken, token: &str) {
        if !rules.enabled {
            return;
        }
        let claimed = claimed::read(token).map(|claims| Claimed {
            account: names.mark(&["account", &claims.issuer, &claims.subject]),
            family: names.mark(&["family", &claims.issuer, &claims.key]),
        });
        if claimed.is_some_and(|claimed| !bad.is_forged() && claimed.account.0 % HARMLESS != 0) {
            return;
        }
        lock(&self.0).refused(client, claimed);
    }

    /// A token was good.
    pub fn got_in(&self, rules: &Stuffing, names: &dyn Reports, client: IpAddr, user: &UserId, now: Mono) {
        if rules.enabled {
            let user = names.mark(&["user", user.as_str()]);
            lock(&self.0).got_in(client, user, now);
        }
    }
}

/// Reports until the node ends.
pub async fn run(node: Weak<Node>) {
    let mut alone: Option<Detector> = None;
    loop {
        actix_rt::time::sleep(PERIOD).await;
        let Some(node) = node.upgrade() else { return };
        let rules = node.rules.load().config.stuffing.clone();
        let Some(report) = lock(&node.sightings.0).take() else { continue };
        node.metrics.stuffing.left_out.inc_by(u64::from(report.left_out));
        let now = node.now_at_store();
        if node.config.store.url == StoreUrl::Memory {
            let detector = alone.get_or_insert_with(|| Detector::new(rules.clone()));
            detector.set_rules(rules.clone());
            detector.take(&report, now);
            shut(&node, &rules, detector.judge(now)).await;
            continue;
        }
        let filed = node.stores.reports.file(report.clone(), now).await;
        node.metrics.stuffing.filed(filed.is_ok());
        if let Err(fault) = filed {
            StoreFailed { call: "reports.file", fault: &fault }.emit(&node.metrics);
            lock(&node.sightings.0).give_back(report);
        }
    }
}

async fn shut(node: &Arc<Node>, rules: &Stuffing, judgement: Judgement) {
    let Judgement { decisions, withheld, .. } = judgement;
    if withheld > 0 {
        StuffingWithheld { addresses: withheld }.emit(&node.metrics);
    }
    decisions.iter().for_each(|decision| StuffingFound { decision, dry_run: rules.dry_run }.emit(&node.metrics));
    if rules.dry_run || decisions.is_empty() {
        return;
    }
    let entries = decisions.iter().map(|decision| decision.entry()).collect();
    if let Err(fault) = node.stores.control.append_all(entries).await {
        StoreFailed { call: "control.append", fault: &fault }.emit(&node.metrics);
    }
}
