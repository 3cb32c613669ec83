//! Penalties: what a user or a network has on its account, over all nodes, sessions and tokens.
//!
//! Evidence adds its weight to a score that halves every `half_life`. Crossing a threshold is a step of the ladder
//! (restrict, disconnect, ban), each step a strike, and a strike keeps its holder out for twice as long as the one before,
//! up to a bound. Nothing but time lowers a score: there is no call for it, so nobody who reconnects can reach one.
//!
//! Plain arithmetic, told the time; stores run exactly this, the Redis store as `lua/penalty.lua`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::clock::{UnixMs, millis};
use crate::config::model::address_key;
use crate::ids::UserId;
use crate::store::control::Target;

/// A score is never higher than so many times the threshold of a ban: otherwise who is patient enough to be hated would
/// never come back.
pub const CEILING: f64 = 2.0;

/// Strikes are counted up to here; the delay has long reached its bound.
pub const STRIKES: u32 = 32;

/// The network that an address has its account with: itself, or its /64 for IPv6.
#[must_use]
pub fn network_of(ip: IpAddr) -> IpNet {
    let key = address_key(ip);
    let length = if key.is_ipv4() { 32 } else { 64 };
    IpNet::new(key, length).unwrap_or_else(|_| IpNet::from(key))
}

/// Whose account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A user: only of what its own authenticated sessions did.
    User(UserId),
    /// An address, or its /64 for IPv6; see [`Subject::network`].
    Network(IpNet),
}

impl Subject {
    /// The account that an address is on.
    #[must_use]
    pub fn network(ip: IpAddr) -> Self {
        Self::Network(network_of(ip))
    }

    /// Whom entries of the control log about it name.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::User(user) => Target::User(user.clone()),
            Self::Network(network) => Target::Network(*network),
        }
    }
}

/// What has been crossed, or stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Step {
    /// Nothing.
    #[default]
    None,
    /// Messages and handshakes are refused for a while.
    Restrict,
    /// Live sessions end besides.
    Disconnect,
    /// A ban.
    Ban,
}

impl Step {
    /// Every one, from the lowest.
    pub const ALL: [Self; 4] = [Self::None, Self::Restrict, Self::Disconnect, Self::Ban];

    /// Its name, in answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Restrict => "restrict",
            Self::Disconnect => "disconnect",
            Self::Ban => "ban",
        }
    }
}

/// The ladder. All points are above zero and in order, `first ≤ longest`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ladder {
    /// In which time a score halves.
    pub half_life: Duration,
    /// Points from which on each step is taken.
    pub restrict: f64,
    /// See [`Self::restrict`].
    pub disconnect: f64,
    /// See [`Self::restrict`].
    pub ban: f64,
    /// How long the first strike keeps out, at least.
    pub first: Duration,
    /// How long any does, at most.
    pub longest: Duration,
    /// A strike is forgotten for each such time without a new one.
    pub memory: Duration,
}

impl Ladder {
    /// The same with thresholds `factor` times as high: for accounts that many people share.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { restrict: self.restrict * factor, disconnect: self.disconnect * factor, ban: self.ban * factor, ..self }
    }

    /// Where a score stands when its holder is let back in: half the way to the next strike.
    fn calm(&self) -> f64 {
        self.restrict / 2.0
    }

    /// The step that a score is worth.
    #[must_use]
    pub fn step(&self, points: f64) -> Step {
        match points {
            p if p >= self.ban => Step::Ban,
            p if p >= self.disconnect => Step::Disconnect,
            p if p >= self.restrict => Step::Restrict,
            _ => Step::None,
        }
    }

    /// How long a score takes to fall from `points` to `to`, in ms, rounded up.
    fn falls(&self, points: f64, to: f64) -> u64 {
        let halves = (points / to).log2().max(0.0);
        (halves * millis(self.half_life) as f64).ceil() as u64
    }

    /// How long a strike keeps out: the delay of its number, or until the score is calm, at most [`Self::longest`]; ms.
    #[must_use]
    pub fn keeps_out(&self, points: f64, strikes: u32) -> u64 {
        let doublings = strikes.clamp(1, STRIKES) - 1;
        let delay = millis(self.first).saturating_mul(1 << doublings);
        delay.max(self.falls(points, self.calm())).min(millis(self.longest))
    }
}

/// One account, as a store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Account {
    /// Points at [`Self::at`].
    pub points: f64,
    /// When they were; the store's time, like all here.
    pub at: UnixMs,
    /// Strikes that were not forgotten then.
    pub strikes: u32,
    /// The last strike, or when the last one was forgotten.
    pub struck: UnixMs,
    /// Until when its holder is kept out.
    pub until: UnixMs,
    /// The highest step since it was last let in.
    pub step: Step,
}

impl Account {
    /// Points at a moment. A clock that was set back makes nobody worse.
    #[must_use]
    pub fn points_at(&self, ladder: &Ladder, now: UnixMs) -> f64 {
        let age = now.0.saturating_sub(self.at.0) as f64;
        self.points * (-age / millis(ladder.half_life).max(1) as f64).exp2()
    }

    /// Strikes that are not forgotten.
    #[must_use]
    pub fn strikes_at(&self, ladder: &Ladder, now: UnixMs) -> u32 {
        let since = self.struck.max(self.until);
        let forgotten = now.0.saturating_sub(since.0) / millis(ladder.memory).max(1);
        self.strikes.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    /// Until when its holder is kept out; `None`: it is not.
    #[must_use]
    pub fn kept_out(&self, now: UnixMs) -> Option<UnixMs> {
        (now < self.until).then_some(self.until)
    }

    /// The highest step since its holder was last let in.
    #[must_use]
    pub fn step_at(&self, now: UnixMs) -> Step {
        if self.kept_out(now).is_some() { self.step } else { Step::None }
    }

    /// Adds evidence; answers the step that it took now.
    pub fn charge(&mut self, ladder: &Ladder, weight: f64, now: UnixMs) -> Step {
        let points = (self.points_at(ladder, now) + weight.max(0.0)).min(ladder.ban * CEILING);
        let strikes = self.strikes_at(ladder, now);
        if strikes < self.strikes {
            // the rest of the time that is running
            let times = u64::from(self.strikes - strikes).saturating_mul(millis(ladder.memory));
            self.struck = UnixMs(self.struck.max(self.until).0.saturating_add(times));
        }
        let stands = self.step_at(now);
        (self.points, self.at, self.strikes, self.step) = (points, self.at.max(now), strikes, stands);
        let worth = ladder.step(points);
        if worth <= stands {
            return Step::None;
        }
        self.strikes = (self.strikes + 1).min(STRIKES);
        self.struck = now;
        self.until = self.until.max(UnixMs(now.0.saturating_add(ladder.keeps_out(points, self.strikes))));
        self.step = worth;
        worth
    }

    /// How long from now it says anything, in ms: after that it equals a new one.
    #[must_use]
    pub fn matters(&self, ladder: &Ladder, now: UnixMs) -> u64 {
        let strikes = u64::from(self.strikes_at(ladder, now));
        let remembered =
            self.struck.max(self.until).0.saturating_add((strikes + 1).saturating_mul(millis(ladder.memory)));
        let remembered = if strikes == 0 { 0 } else { remembered.saturating_sub(now.0) };
        let decays = ladder.falls(self.points_at(ladder, now).max(0.5), 0.5);
        decays.max(self.until.0.saturating_sub(now.0)).max(remembered)
    }
}

#[cfg(test)]
mod tests;
