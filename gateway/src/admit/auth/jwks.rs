//! Keys of an issuer with a JWKS URL: fetched in the background, used until the hard limit.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use portcullis_common::clock::{Clock, Mono};
use portcullis_common::config::model::Algorithm;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::failures::AuthError;
use super::fetch::Fetch;
use super::header::Token;
use super::jwk::read_set;
use super::keys::{KeySet, Verdict};
use super::plan::{Demand, Plan};

/// Keys older than this are not used: the issuer may long have withdrawn them.
pub const HARD_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long things may take in real time; tests shorten it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A token with an unknown key id waits so long for a fetch.
    pub(super) token: Duration,
    /// One fetch, all in all.
    pub(super) fetch: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { token: Duration::from_secs(2), fetch: Duration::from_secs(10) }
    }
}

/// What a fetch brought, and when.
struct Stamped {
    keys: KeySet,
    at: Mono,
}

/// One issuer's remote keys. Readers never wait for each other; one task fetches (see [`Remote::run`]).
pub(super) struct Remote {
    /// For logs.
    pub(super) issuer: String,
    pub(super) url: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) patience: Patience,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    current: ArcSwapOption<Stamped>,
    plan: Mutex<Plan>,
    /// Wakes the task before the next fetch is due.
    wake: Notify,
    /// Counts the fetches that ended, for those who wait for one.
    rounds: watch::Sender<u64>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) fn new(
        issuer: &str,
        url: &str,
        algorithms: &[Algorithm],
        fetch: Arc<dyn Fetch>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            issuer: issuer.to_owned(),
            url: url.to_owned(),
            algorithms: algorithms.to_vec(),
            patience: Patience::default(),
            fetch,
            clock,
            current: ArcSwapOption::empty(),
            plan: Mutex::default(),
            wake: Notify::new(),
            rounds: watch::Sender::new(0),
        }
    }

    /// Whether there are keys that may be used.
    pub(super) fn ready(&self) -> bool {
        let now = self.clock.mono();
        self.current.load().as_ref().is_some_and(|stamped| now.since(stamped.at) <= HARD_LIMIT)
    }

    /// What the keys say about a token. Awaits only when it names a key that is not there and a fetch may bring it, and
    /// then for two seconds at most. Dropping the future leaves the fetch running for the others.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] when there are no keys that may be used.
    pub(super) async fn judge(&self, token: &Token<'_>) -> Result<Verdict, AuthError> {
        let verdict = self.judge_now(token)?;
        let (Verdict::UnknownKey, Some(kid)) = (verdict, token.header.kid.as_deref()) else {
            return Ok(verdict);
        };
        let mut rounds = self.rounds.subscribe();
        let demand = self.plan().demand(kid, self.clock.mono());
        match demand {
            // a fetch may have ended between the look and the question
            Demand::Refuse => return self.judge_now(token),
            Demand::Wake => self.wake.notify_one(),
            Demand::Join => {}
        }
        let ended = timeout(self.patience.token, rounds.changed()).await.is_ok();
        let verdict = self.judge_now(token)?;
        if ended && verdict == Verdict::UnknownKey {
            self.plan().missed(kid, self.clock.mono());
        }
        Ok(verdict)
    }

    fn judge_now(&self, token: &Token<'_>) -> Result<Verdict, AuthError> {
        match self.current.load().as_ref() {
            None => Err(AuthError::Unavailable("the issuer's keys have not been fetched yet")),
            Some(stamped) if self.clock.mono().since(stamped.at) > HARD_LIMIT => {
                Err(AuthError::Unavailable("the issuer's keys are older than a day"))
            }
            Some(stamped) => Ok(stamped.keys.judge(token)),
        }
    }

    /// Fetches whenever it is time to; never returns.
    pub(super) async fn run(&self) {
        loop {
            self.fetch_if_due().await;
            let pause = self.plan().due().since(self.clock.mono());
            // either way the plan is asked again
            let _woken = timeout(pause, self.wake.notified()).await.is_ok();
        }
    }

    /// One fetch, if the plan asks for one. Keys that are there stay until better ones are.
    pub(super) async fn fetch_if_due(&self) {
        if !self.plan().begin(self.clock.mono()) {
            return;
        }
        let outcome = self.fetch_once().await;
        let now = self.clock.mono();
        let outcome = match outcome {
            Ok((keys, max_age)) => {
                self.current.store(Some(Arc::new(Stamped { keys, at: now })));
                Ok(max_age)
            }
            Err(reason) => {
                let usable = self.ready();
                tracing::warn!(issuer = %self.issuer, reason, usable, "an issuer's keys could not be refreshed");
                Err(())
            }
        };
        let next = self.plan().finish(now, outcome);
        tracing::debug!(issuer = %self.issuer, ok = outcome.is_ok(), next_s = next.as_secs(), "keys fetched");
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }

    async fn fetch_once(&self) -> Result<(KeySet, Option<Duration>), &'static str> {
        let fetched = timeout(self.patience.fetch, self.fetch.fetch(&self.url)).await;
        let fetched = fetched.map_err(|_| "the fetch took too long")?.map_err(|failed| failed.0)?;
        Ok((read_set(&fetched.body, &self.algorithms)?, fetched.max_age))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // no code panics while it holds the lock, and every state of the plan is a legal one
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
