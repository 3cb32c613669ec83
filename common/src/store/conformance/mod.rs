//! The suite that every store has to pass: one file a role, one named check a promise, one table. An implementation is
//! plugged in by a [`Harness`] alone.
//!
//! Every check gets a store of its own, empty. Windows are short, so that a store on a real clock can sleep through
//! them; checks of windows of a minute and more run where time can be made to jump.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code"
)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::Stores;
use crate::ids::{NodeEpoch, NodeId, RoomName, UserId};

mod bus;
mod bus_history;
mod command;
mod control;
mod era;
mod leader;
mod lease;
mod limit;
mod penalty;
mod presence;
mod report;
mod session;
mod session_race;
mod session_resume;
mod ticket;

/// A future of the suite.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an implementation supplies.
pub trait Harness: Send + Sync {
    /// A store that nobody has used, with bounds far above what the checks need, in an era that is whole.
    fn fresh(&self) -> Step<'_, Stores>;

    /// The same in no era, for several processes, with ways to make it lose what it has.
    fn forgetful(&self) -> Step<'_, Arc<dyn Forgetful>>;

    /// Lets the store's time pass: a jump, or a sleep.
    fn advance(&self, d: Duration) -> Step<'_, ()>;

    /// Whether `advance` jumps, so that minutes cost nothing.
    fn jumps(&self) -> bool;

    /// Begins to run a future beside the caller, on another thread where the implementation has threads; the answer
    /// ends when the future has.
    fn spawn(&self, work: Step<'static, ()>) -> Step<'static, ()>;
}

/// A store that can be made to forget.
pub trait Forgetful: Send + Sync {
    /// One more process on it, which knows no era yet.
    fn process(&self) -> Step<'_, Stores>;

    /// Everything is lost.
    fn forget(&self) -> Step<'_, ()>;

    /// A replica has everything up to now, and gets no more.
    fn copy(&self) -> Step<'_, ()>;

    /// The replica becomes the server.
    fn fail_over(&self) -> Step<'_, ()>;
}

/// What a check works with.
pub struct Fixture {
    stores: Stores,
    harness: Arc<dyn Harness>,
}

impl Fixture {
    async fn advance(&self, ms: u64) {
        self.harness.advance(Duration::from_millis(ms)).await;
    }

    /// Runs all at once and waits for all.
    async fn together(&self, work: impl IntoIterator<Item = Step<'static, ()>>) {
        let running: Vec<_> = work.into_iter().map(|one| self.harness.spawn(one)).collect();
        for one in running {
            one.await;
        }
    }
}

/// One promise.
pub struct Check {
    /// A sentence.
    pub name: &'static str,
    /// Needs a clock that jumps.
    pub long: bool,
    run: fn(Fixture) -> Step<'static, ()>,
}

/// Makes a role's table from its async functions; the functions' names are the checks' names.
macro_rules! checks {
    ($($name:ident),* $(,)? ; long: $($long:ident),* $(,)?) => {
        pub(super) const CHECKS: &[super::Check] = &[
            $(super::Check { name: stringify!($name), long: false, run: |fixture| Box::pin($name(fixture)) },)*
            $(super::Check { name: stringify!($long), long: true, run: |fixture| Box::pin($long(fixture)) },)*
        ];
    };
}
use checks;

/// Every check of every role.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Check)> {
    let roles: [(&str, &'static [Check]); 15] = [
        ("session", session::CHECKS),
        ("session_resume", session_resume::CHECKS),
        ("session_race", session_race::CHECKS),
        ("era", era::CHECKS),
        ("lease", lease::CHECKS),
        ("leader", leader::CHECKS),
        ("bus", bus::CHECKS),
        ("bus_history", bus_history::CHECKS),
        ("presence", presence::CHECKS),
        ("control", control::CHECKS),
        ("command", command::CHECKS),
        ("ticket", ticket::CHECKS),
        ("limit", limit::CHECKS),
        ("penalty", penalty::CHECKS),
        ("report", report::CHECKS),
    ];
    roles.into_iter().flat_map(|(role, checks)| checks.iter().map(move |check| (role, check)))
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Checks that passed.
    pub passed: usize,
    /// Checks that need a clock that jumps, where there is none.
    pub skipped: usize,
    /// `role::check: what was wrong`.
    pub failed: Vec<String>,
}

/// Runs every check whose `role::name` contains `filter`, each on a store of its own. A check that fails does not keep
/// the others from running.
pub async fn run_matching(harness: Arc<dyn Harness>, filter: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for (role, check) in all() {
        let name = format!("{role}::{}", check.name);
        if !name.contains(filter) {
            continue;
        }
        if check.long && !harness.jumps() {
            outcome.skipped += 1;
            continue;
        }
        let fixture = Fixture { stores: harness.fresh().await, harness: Arc::clone(&harness) };
        match caught((check.run)(fixture)).await {
            Ok(()) => outcome.passed += 1,
            Err(why) => outcome.failed.push(format!("{name}: {why}")),
        }
    }
    outcome
}

/// Runs every check.
///
/// # Panics
/// With the list of the checks that failed.
pub async fn run_all(harness: Arc<dyn Harness>) -> Outcome {
    let outcome = run_matching(harness, "").await;
    assert!(outcome.failed.is_empty(), "{} checks failed:\n{}", outcome.failed.len(), outcome.failed.join("\n"));
    outcome
}

/// The panic of a future as a text.
async fn caught(mut work: Step<'static, ()>) -> Result<(), String> {
    std::future::poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Poll::Ready(Err(text.unwrap_or_else(|| "panicked".to_owned())))
        }
    })
    .await
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

/// The node `n`; its first life is `life(n)`.
fn node(n: u128) -> NodeId {
    NodeId::parse(&format!("node-{n}")).unwrap()
}

fn life(n: u128) -> NodeEpoch {
    NodeEpoch(0x1000 + n)
}
