//! Operators' commands on this node: taken from the store, checked, carried out, answered.
//!
//! ```text
//! store ─► Inbox (bounded) ─► verify ─► apply ─► ack ─► store
//!                               │          └─ state for the fleet: one node writes it into the control log, and every
//!                               └─ refused    node answers when the log has brought it
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::{Limit, Rate};
use portcullis_common::control::ack::{Answer, Outcome};
use portcullis_common::control::sign::{Authentic, Refusal, Refused, Verifier};
use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::store::StoreFault;
use portcullis_common::store::command::{CommandSink, Received};
use portcullis_common::store::record::Sealer;
use tokio::sync::mpsc;

use self::ack::Acks;
use self::apply::Which;
use crate::events::{CommandRefused, CommandSettled, CommandTaken, PanicCaught};
use crate::metrics::Metrics;
use crate::node::Node;

/// What each command does.
mod apply;

/// What changes the state of the fleet.
mod state;

/// What the store has not taken yet.
pub mod pending;

/// What the node answers.
mod ack;

/// Waiting for what a command wrote into the control log.
pub mod settle;

/// What happens on the node, for those who watch.
pub mod watch;

/// Commands that wait to be checked; more are dropped and counted.
const INBOX: usize = 256;
/// Commands that are being carried out; more are refused.
const UNDER_WAY: usize = 64;
/// Commands that a node looks at: a hundred a second, after twice as many at once. A check costs 50 µs.
const PACE: Limit = Limit { rate: Rate { count: 100, period: Duration::from_secs(1) }, burst: 200 };

/// Where the store puts commands.
struct Inbox {
    sender: mpsc::Sender<Received>,
    metrics: Arc<Metrics>,
}

impl CommandSink for Inbox {
    fn take(&self, received: Received) {
        if self.sender.try_send(received).is_err() {
            CommandRefused { why: Refusal::Busy, operator: None, nonce: None }.emit(&self.metrics);
        }
    }
}

/// Begins to listen, on the present arbiter. Ends with the node.
///
/// # Errors
/// The store's.
pub async fn start(node: &Arc<Node>, sealer: Sealer) -> Result<(), StoreFault> {
    let (sender, inbox) = mpsc::channel(INBOX);
    let sink = Arc::new(Inbox { sender, metrics: Arc::clone(&node.metrics) });
    let since = node.stores.desk.follow(sink).await?;
    let rules = node.rules.load();
    let verifier = Verifier::new(&node.config.store.prefix, &rules.config.operator, since);
    let desk = Desk {
        node: Arc::downgrade(node),
        acks: Arc::new(Acks::new(sealer)),
        under_way: Arc::default(),
        pace: Gcra::new(PACE),
        paid: Tat::default(),
        rules: rules.version,
    };
    actix_rt::spawn(watch::report(Weak::clone(&desk.node), Arc::clone(&desk.acks)));
    actix_rt::spawn(desk.run(verifier, inbox));
    Ok(())
}

struct Desk {
    node: Weak<Node>,
    acks: Arc<Acks>,
    under_way: Arc<AtomicUsize>,
    pace: Gcra,
    paid: Tat,
    /// The version of the rules that the verifier has its operators from.
    rules: u64,
}

/// One command that is being carried out.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Desk {
    async fn run(mut self, mut verifier: Verifier, mut inbox: mpsc::Receiver<Received>) {
        while let Some(received) = inbox.recv().await {
            let Some(node) = self.node.upgrade() else { return };
            self.look_at(&node, &mut verifier, &received);
        }
    }

    fn look_at(&mut self, node: &Arc<Node>, verifier: &mut Verifier, received: &Received) {
        let busy = |nonce, operator| Refused { why: Refusal::Busy, nonce, operator };
        let rules = node.rules.load();
        if rules.version != self.rules {
            self.rules = rules.version;
            verifier.know(&rules.config.operator);
        }
        let checked = match self.pace.take(&mut self.paid, node.clock.nanos(), 1) {
            Ok(()) => verifier.verify(&received.bytes, received.at),
            Err(_) => Err(busy(None, None)),
        };
        match checked {
            Ok(Authentic { nonce, operator, .. }) if self.under_way.load(Ordering::Acquire) >= UNDER_WAY => {
                self.refuse(node, busy(Some(nonce), Some(operator)));
            }
            Ok(authentic) => self.obey(node, authentic, received.at),
            Err(refused) => self.refuse(node, refused),
        }
    }

    fn refuse(&self, node: &Arc<Node>, refused: Refused) {
        let Refused { why, nonce, operator } = refused;
        CommandRefused { why, operator: operator.as_deref(), nonce }.emit(&node.metrics);
        if let Some(nonce) = nonce {
            let (node, acks) = (Arc::clone(node), Arc::clone(&self.acks));
            actix_rt::spawn(async move { acks.send(&node, nonce, &Answer::refused(why)).await });
        }
    }

    fn obey(&self, node: &Arc<Node>, authentic: Authentic, now: UnixMs) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        let (node, acks) = (Arc::clone(node), Arc::clone(&self.acks));
        actix_rt::spawn(async move {
            let _under_way = under_way;
            let Authentic { nonce, operator, command, issued } = authentic;
            let verb = command.verb();
            CommandTaken { verb, operator: &operator, nonce }.emit();
            let work = AssertUnwindSafe(apply::apply(&node, Which { nonce, issued }, command, now)).catch_unwind();
            let answer = work.await.unwrap_or_else(|_| {
                PanicCaught { part: "control" }.emit(&node.metrics);
                Some(Answer::failed("a fault of the node's own"))
            });
            // a command about another node needs no answer of this one
            let Some(answer) = answer else { return };
            let done = answer.outcome == Outcome::Done;
            CommandSettled { verb, operator: &operator, nonce, done, detail: answer.detail.as_deref() }
                .emit(&node.metrics);
            acks.send(&node, nonce, &answer).await;
        });
    }
}
