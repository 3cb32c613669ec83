//! What a connection has done lately, as one number: evidence adds its weight, and the sum halves every `half_life`.
//!
//! Above one threshold messages are refused until the score has decayed, above the next the connection ends. The score
//! says why: the latest pieces of evidence are kept with their weights and times. A refusal that the score itself decided
//! is no evidence, or it would never decay; and what only the limits refuse is none, because they deal with it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use portcullis_common::config::model::Anomaly;
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;

use super::action::Address;
use super::policy::{Body, TypePolicy};
use super::signature::book::Signature;
use super::stages::{Halt, Run};
use super::{Now, nanos};

/// Pieces of evidence that one message can give.
const A_MESSAGE: usize = 8;
/// Pieces of evidence that a score remembers.
const REMEMBERED: usize = 8;
/// Messages over which the share of refused ones is looked at.
const WINDOW: u32 = 32;

/// What speaks against a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A signature fits; its id.
    Signature(Box<str>),
    /// A message was refused; the code's name.
    Refused(&'static str),
    /// More than half of the last messages were refused.
    ErrorRatio,
    /// One room after the other refused it.
    RoomScan,
    /// It goes from type to type.
    TypeSwitching,
    /// A message far longer than those before.
    SizeJump,
}

impl What {
    /// In words; a signature by its id.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Signature(id) => id,
            Self::Refused(code) => code,
            Self::ErrorRatio => "error ratio",
            Self::RoomScan => "room scan",
            Self::TypeSwitching => "type switching",
            Self::SizeJump => "size jump",
        }
    }
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What.
    pub what: What,
    /// Points.
    pub weight: f32,
    /// When, on the clock of [`Now::mono_ns`].
    pub at: u64,
}

/// Evidence of one message; bounded, the first pieces count.
#[derive(Debug, Default)]
pub struct Found(Vec<(What, f32)>);

impl Found {
    /// A signature fits; false when it was found in this message already.
    pub fn signature(&mut self, signature: &Signature) -> bool {
        self.add(What::Signature(signature.id.clone()), signature.weight as f32)
    }

    fn add(&mut self, what: What, weight: f32) -> bool {
        if self.0.iter().any(|(known, _)| *known == what) {
            return false;
        }
        if self.0.len() < A_MESSAGE {
            self.0.push((what, weight));
        }
        true
    }
}

/// `[anomaly]`, compiled.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    half_life_ns: f64,
    restrict: f64,
    disconnect: f64,
}

impl Thresholds {
    /// As configured.
    #[must_use]
    pub fn new(config: &Anomaly) -> Self {
        Self {
            half_life_ns: nanos(config.half_life).max(1) as f64,
            restrict: f64::from(config.restrict),
            disconnect: f64::from(config.disconnect),
        }
    }
}

/// One connection's score, made with its first application message: about 200 bytes.
#[derive(Debug, Default)]
pub struct Score {
    points: f64,
    at: u64,
    recent: VecDeque<Evidence>,
    /// Of the types used last.
    kinds: [u32; 4],
    switches: u8,
    mean_size: u32,
    messages: u32,
    refused: u32,
    /// Of rooms that refused it last.
    rooms: [u32; 4],
    /// How many of `recent` nobody has taken from here yet.
    fresh: u8,
    /// The fleet keeps its user or network out until then (ns, as [`Evidence::at`]); 0: it does not.
    held: u64,
}

impl Score {
    /// Points at a moment.
    #[must_use]
    pub fn points(&self, thresholds: &Thresholds, now: u64) -> f64 {
        let halves = now.saturating_sub(self.at) as f64 / thresholds.half_life_ns;
        self.points * (-halves).exp2()
    }

    /// The latest evidence, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &Evidence> {
        self.recent.iter()
    }

    /// The score in words, for the log: what the latest evidence is, its weight, and how many seconds ago.
    fn why(&self, head: &str, now: u64) -> String {
        std::iter::once(head.to_owned()).chain(self.words(now)).collect::<Vec<_>>().join("; ")
    }

    /// The latest evidence in words, oldest first: what, its weight, how many seconds ago.
    #[must_use]
    pub fn words(&self, now: u64) -> Vec<String> {
        let words = |Evidence { what, weight, at }: &Evidence| {
            format!("{} {weight} {}s ago", what.name(), now.saturating_sub(*at) / 1_000_000_000)
        };
        self.recent.iter().map(words).collect()
    }

    /// Hands over evidence that was not handed over yet, oldest first.
    pub fn take_fresh(&mut self, mut take: impl FnMut(&Evidence)) {
        let fresh = usize::from(std::mem::take(&mut self.fresh));
        let known = self.recent.len().saturating_sub(fresh);
        self.recent.iter().skip(known).for_each(&mut take);
    }

    /// The fleet keeps the user or the network out until then, on the clock of [`Now::mono_ns`]; `None`: not any more.
    pub fn hold(&mut self, until: Option<u64>) {
        self.held = until.unwrap_or(0);
    }

    /// How long the fleet keeps it out, in whole milliseconds.
    fn held(&self, now: u64) -> Option<Duration> {
        let left = self.held.checked_sub(now).filter(|left| *left > 0)?;
        Some(Duration::from_millis(left.div_ceil(1_000_000)))
    }

    fn add(&mut self, what: What, weight: f32, thresholds: &Thresholds, now: u64) {
        self.points = self.points(thresholds, now) + f64::from(weight);
        self.at = now.max(self.at);
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(Evidence { what, weight, at: now });
        self.fresh = (self.fresh + 1).min(REMEMBERED as u8);
    }

    /// How long until the points are below a threshold; `None` where they are.
    fn until_below(&self, bound: f64, thresholds: &Thresholds, now: u64) -> Option<Duration> {
        // it only ever decays: nearly every message ends here
        if self.points < bound {
            return None;
        }
        let points = self.points(thresholds, now);
        if points < bound {
            return None;
        }
        let ns = (points / bound).log2() * thresholds.half_life_ns;
        // whole milliseconds, one more than needed: at that moment it is below
        Some(Duration::from_millis((ns / 1e6).floor() as u64 + 1))
    }

    /// What the way in which messages follow each other says.
    fn behaviour(&mut self, kind: &str, len: usize, found: &mut Found) {
        let kind = mark(kind);
        if !self.kinds.contains(&kind) {
            self.kinds.rotate_right(1);
            self.kinds[0] = kind;
            self.switches = self.switches.saturating_add(1);
            if self.switches > 12 {
                self.switches = 6;
                found.add(What::TypeSwitching, 4.0);
            }
        } else if self.messages.is_multiple_of(8) {
            self.switches = self.switches.saturating_sub(1);
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        if self.messages >= 8 && len > 8_192 && len / 32 > self.mean_size {
            found.add(What::SizeJump, 3.0);
        }
        let mean = u64::from(self.mean_size);
        self.mean_size = u32::try_from((mean * 7 + u64::from(len)) / 8).unwrap_or(u32::MAX);
    }

    /// A message was refused.
    fn refusal(&mut self, code: Code, room: Option<&str>, found: &mut Found) {
        if matches!(code, Code::RateLimited | Code::Restricted | Code::StoreUnavailable | Code::Internal) {
            return;
        }
        self.refused += 1;
        found.add(What::Refused(code.info().name), 0.5);
        if let Some(room) = room.filter(|_| matches!(code, Code::Forbidden | Code::NotMember)) {
            let room = mark(room);
            if !self.rooms.contains(&room) {
                self.rooms.rotate_right(1);
                self.rooms[0] = room;
                found.add(What::RoomScan, 2.0);
            }
        }
    }

    /// Ends a message: looks at the share of refused ones, then takes the evidence in.
    fn settle(&mut self, mut found: Found, thresholds: &Thresholds, now: u64) {
        self.messages += 1;
        if self.messages >= WINDOW {
            if self.refused * 2 > self.messages {
                found.add(What::ErrorRatio, 6.0);
            }
            (self.messages, self.refused) = (self.messages / 2, self.refused / 2);
        }
        for (what, weight) in found.0 {
            self.add(what, weight, thresholds, now);
        }
    }
}

/// A short mark of a text; chance that two have the same one is nothing to build on, for either side: the key is random.
fn mark(text: &str) -> u32 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    (KEY.hash_one(text) as u32) | 1
}

fn application(kind: Option<&TypePolicy>) -> bool {
    kind.is_some_and(|kind| matches!(kind.body, Body::Application(_)))
}

/// Whether the connection may send at all: application messages of a restricted one are refused. The gateway's own types
/// are answered, so that it can leave, ask and refresh.
pub(super) fn gate(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let Some(score) = run.state.score.as_ref().filter(|_| application(run.kind)) else { return Ok(()) };
    if let Some(wait) = score.held(run.now.mono_ns) {
        // decided, and tried out, by the fleet: this stage's dry run is not asked
        return Err(Halt::Hard(
            Reject::new(Code::Restricted, "score: the fleet restricts its user or network").retry(wait),
        ));
    }
    let thresholds = &run.policy.anomaly;
    match score.until_below(thresholds.restrict, thresholds, run.now.mono_ns) {
        Some(wait) => {
            let why = score.why("score: over anomaly.restrict", run.now.mono_ns);
            Err(Reject::new(Code::Restricted, why).retry(wait).into())
        }
        None => Ok(()),
    }
}

/// How this message fits to those before it.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    if application(run.kind) {
        let score = run.state.score.get_or_insert_default();
        score.behaviour(&run.message.kind, run.len, &mut run.found);
    }
    Ok(())
}

/// What one message has shown.
pub(super) struct Shown<'a> {
    /// On its way through the stages.
    pub(super) found: Found,
    /// Where it was to go.
    pub(super) address: &'a Address,
    /// How it was refused.
    pub(super) refused: Option<Code>,
}

/// Takes in what one message has shown, whether it passed or not.
///
/// # Errors
/// `restricted`, and the connection ends, once the score is over `anomaly.disconnect`.
pub(super) fn settle(
    thresholds: &Thresholds,
    score: &mut Option<Box<Score>>,
    Shown { mut found, address, refused }: Shown<'_>,
    now: Now,
) -> Result<(), Reject> {
    if score.is_none() && found.0.is_empty() && refused.is_none() {
        return Ok(());
    }
    let score = score.get_or_insert_default();
    if let Some(code) = refused {
        let room = match address {
            Address::Room(room) => Some(room.as_str()),
            _ => None,
        };
        score.refusal(code, room, &mut found);
    }
    score.settle(found, thresholds, now.mono_ns);
    match score.until_below(thresholds.disconnect, thresholds, now.mono_ns) {
        Some(_) => {
            let why = score.why("score: over anomaly.disconnect", now.mono_ns);
            Err(Reject::new(Code::Restricted, why).closing(Close::Forbidden))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn thresholds() -> Thresholds {
        Thresholds::new(&Anomaly { half_life: Duration::from_secs(60), restrict: 10, disconnect: 100 })
    }

    #[test]
    fn a_score_halves_in_its_half_life_and_forgets_nothing_sooner() {
        let (t, mut score) = (thresholds(), Score::default());
        score.add(What::ErrorRatio, 8.0, &t, 0);
        assert!((score.points(&t, 60 * SECOND) - 4.0).abs() < 1e-9);
        score.add(What::SizeJump, 4.0, &t, 60 * SECOND);
        assert!((score.points(&t, 60 * SECOND) - 8.0).abs() < 1e-9);
        assert_eq!(score.recent().map(|e| e.at).collect::<Vec<_>>(), [0, 60 * SECOND]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest() {
        let (t, mut score) = (thresholds(), Score::default());
        (0..100).for_each(|n| score.add(What::Refused("malformed"), 0.5, &t, n));
        assert_eq!(score.recent().map(|e| e.at).collect::<Vec<_>>(), (92..100).collect::<Vec<_>>());
    }

    #[test]
    fn steady_use_of_a_few_types_is_no_behaviour() {
        let (t, mut score) = (thresholds(), Score::default());
        for n in 0..1_000_u64 {
            let mut found = Found::default();
            score.behaviour(["chat", "typing", "read", "react"][n as usize % 4], 100 + n as usize % 400, &mut found);
            assert!(found.0.is_empty(), "{n}");
            score.settle(found, &t, n * SECOND);
        }
        let mut found = Found::default();
        score.behaviour("chat", 60_000, &mut found);
        assert_eq!(found.0.first().map(|(what, _)| what), Some(&What::SizeJump));
    }

    #[test]
    fn going_through_types_and_rooms_shows() {
        let mut score = Score::default();
        let mut found = Found::default();
        (0..40).for_each(|n| score.behaviour(&format!("t{n}"), 10, &mut found));
        assert!(found.0.iter().any(|(what, _)| *what == What::TypeSwitching));
        let mut scans = 0;
        for n in 0..10 {
            let mut found = Found::default();
            score.refusal(Code::NotMember, Some(&format!("room.{n}")), &mut found);
            scans += found.0.iter().filter(|(what, _)| *what == What::RoomScan).count();
        }
        assert_eq!(scans, 10);
    }

    #[test]
    fn evidence_is_handed_over_once() {
        let (t, mut score, mut taken) = (thresholds(), Score::default(), Vec::new());
        score.add(What::ErrorRatio, 8.0, &t, 1);
        score.add(What::SizeJump, 8.0, &t, 2);
        score.take_fresh(|evidence| taken.push(evidence.at));
        score.take_fresh(|evidence| taken.push(evidence.at));
        (0..20).for_each(|n| score.add(What::RoomScan, 1.0, &t, 100 + n));
        score.take_fresh(|evidence| taken.push(evidence.at));
        assert_eq!(taken, [1, 2].into_iter().chain(112..120).collect::<Vec<u64>>());
    }

    #[test]
    fn whoever_is_held_is_held_to_the_millisecond() {
        let mut score = Score::default();
        assert_eq!(score.held(0), None);
        score.hold(Some(5_000_001));
        assert_eq!(score.held(0), Some(Duration::from_millis(6)));
        assert_eq!(score.held(5_000_000), Some(Duration::from_millis(1)));
        assert_eq!(score.held(5_000_001), None);
        score.hold(None);
        assert_eq!(score.held(0), None);
    }

    #[test]
    fn limits_and_the_score_itself_are_no_evidence() {
        let mut score = Score::default();
        for code in [Code::RateLimited, Code::Restricted, Code::StoreUnavailable, Code::Internal] {
            let mut found = Found::default();
            score.refusal(code, None, &mut found);
            assert!(found.0.is_empty());
        }
    }

    proptest! {
        #[test]
        fn the_time_to_wait_is_exact_to_a_millisecond(weights in proptest::collection::vec(0.5f32..50.0, 1..20), at in 0u64..1_000) {
            let (t, mut score) = (thresholds(), Score::default());
            weights.iter().for_each(|weight| score.add(What::ErrorRatio, *weight, &t, at * SECOND));
            if let Some(wait) = score.until_below(t.restrict, &t, at * SECOND) {
                let then = at * SECOND + wait.as_nanos() as u64;
                prop_assert!(score.points(&t, then) < t.restrict);
                prop_assert!(score.points(&t, then - 2_000_000) >= t.restrict);
            }
        }
    }
}
