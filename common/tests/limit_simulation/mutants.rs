//! Parts that misbehave, each in one way, to show that the simulation would notice.

use portcullis_common::limit::{Order, Plan};
use portcullis_common::store::limit::{Ask, Leased};
use std::time::Duration;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store forgets a count now and then: its theoretical arrival time is reset.
    TatReset,
    /// The store grants tokens without charging them.
    LeaseNotDebited,
    /// The store charges one token of a grant of several.
    OneTokenDebited,
    /// What was let in on credit is never charged.
    CreditForgotten,
    /// The store takes the caller's clock for its own.
    ClockOfTheNode,
    /// Each node has a count of its own.
    CountOfTheNode,
    /// A token that was given back counts twice.
    DoubleReturn,
    /// A refusal is remembered far too long.
    RefusalCachedTooLong,
    /// A refusal is forgotten at once: a call a message.
    RefusalNotCached,
    /// After an outage a node never believes the store again.
    ShareNeverRestored,
    /// While the store is away every node has the whole limit.
    ShareIsTheWhole,
    /// A node holds as much as if it were alone.
    BatchIgnoresTheFleet,
    /// Tokens do not lapse.
    LeaseWithoutEnd,
}

impl Fault {
    pub const ALL: [Self; 13] = [
        Self::TatReset,
        Self::LeaseNotDebited,
        Self::OneTokenDebited,
        Self::CreditForgotten,
        Self::ClockOfTheNode,
        Self::CountOfTheNode,
        Self::DoubleReturn,
        Self::RefusalCachedTooLong,
        Self::RefusalNotCached,
        Self::ShareNeverRestored,
        Self::ShareIsTheWhole,
        Self::BatchIgnoresTheFleet,
        Self::LeaseWithoutEnd,
    ];

    /// What reaches the store.
    pub fn ask(self, ask: &mut Ask, call: u64, node: usize) {
        match self {
            Self::TatReset if call.is_multiple_of(7) => ask.key.counted.push_str(&call.to_string()),
            Self::LeaseNotDebited => ask.key.counted = call.to_string(),
            Self::OneTokenDebited => ask.want = ask.want.min(1),
            Self::CreditForgotten => ask.paid = 0,
            Self::CountOfTheNode => ask.key.counted = node.to_string(),
            _ => {}
        }
    }

    /// What comes back.
    pub fn leased(self, order: &mut Order, leased: &mut Leased) {
        match self {
            Self::RefusalNotCached if leased.granted == 0 => {
                leased.wait = Duration::ZERO;
                order.want = 0;
            }
            Self::OneTokenDebited if leased.granted > 0 => leased.granted = order.want,
            Self::RefusalCachedTooLong if !leased.wait.is_zero() => {
                leased.wait = leased.wait * 20 + Duration::from_secs(2)
            }
            _ => {}
        }
    }

    /// What a node makes of the limit.
    pub fn plan(self, plan: Plan) -> Plan {
        let alone = Plan::new(plan.limit, 1);
        match self {
            Self::ShareIsTheWhole => Plan { share: plan.limit, ..plan },
            Self::BatchIgnoresTheFleet => Plan { held: alone.held.max(plan.held * 8), ..plan },
            Self::LeaseWithoutEnd => Plan { lease: u64::MAX / 2, ..plan },
            _ => plan,
        }
    }
}
