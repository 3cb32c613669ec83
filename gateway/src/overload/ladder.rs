//! Which step of the overload ladder a node is on: plain state, told the time and how loaded the node is.
//!
//! ```text
//! 0 nothing ─► 1 no new sessions ─► 2 messages of low priority are refused too ─► 3 the largest queues are closed too
//! ```
//! Up: one step for each [`RISE`] at or above a limit. Down: below [`CALM`] of every limit for long enough. How long
//! depends on whether the load has gone: where far fewer are turned away than were on this step it is [`OVER`] and all steps
//! at once; where as many still are, what was given up would come back at once, so it is one step after [`TRY`], and twice as long
//! after each such try that failed, up to [`LONGEST`]. Between [`CALM`] and the limit nothing moves, nor while workers turn away
//! only what they can't carry, and do turn it away ([`Shed::Behind`]): there is nothing to try.

use std::time::Duration;

use portcullis_common::clock::Mono;

/// The highest step.
pub const STEPS: u8 = 3;
/// From which step on messages of low priority are turned away.
const SHEDS: u8 = 2;
/// What processor lag alone leads to: a queue that is closed does not make a worker faster.
const OF_LAG: u8 = 2;
/// How long a limit is met for each step up.
pub const RISE: Duration = Duration::from_secs(1);
/// The part of a limit below which it is calm.
pub const CALM: f64 = 0.8;
/// How long it is calm, with far fewer turned away, until all is over.
pub const OVER: Duration = Duration::from_secs(5);
/// How long it is calm, with many turned away, until one step is tried without.
pub const TRY: Duration = Duration::from_secs(10);
/// The longest wait between two such tries.
pub const LONGEST: Duration = Duration::from_secs(80);
/// Turned away a second: fewer are few, whatever it was before.
pub const FEW: f64 = 10.0;
/// The part of the most that were turned away on a step, below which they are few.
const FEWER: f64 = 1.0 / 3.0;
/// How much the latest look says about how many are turned away.
const LATEST: f64 = 0.25;

/// How loaded a node is: parts of its limits, 1.0 is at the limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Memory.
    pub memory: f64,
    /// Bytes that wait for clients.
    pub queues: f64,
    /// How late workers are.
    pub lag: f64,
    /// Sessions and messages that were refused for it, a second.
    pub turned_away: f64,
    /// The messages among them.
    pub shed: f64,
}

impl Load {
    /// The largest of the three.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.memory.max(self.queues).max(self.lag)
    }
}

/// What happens to messages of low priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shed {
    /// They are carried.
    #[default]
    None,
    /// Each worker turns away as many as it can't carry, in need others too: what is short is time, and time that is not used
    /// is lost.
    Behind,
    /// All are turned away: what is short is memory, and each of them may need some.
    All,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Ladder {
    step: u8,
    /// Memory or queues were at their limit since messages of low priority are turned away.
    full: bool,
    /// Since when a limit is met.
    high: Option<Mono>,
    /// Since when it is calm.
    calm: Option<Mono>,
    /// How many are turned away a second, smoothed; and the most that were, by step.
    away: f64,
    most: [f64; STEPS as usize + 1],
    /// Since when it is calm and few are turned away.
    over: Option<Mono>,
    /// When the step last changed.
    moved: Mono,
    /// How long the next try without a step waits.
    wait: Duration,
    /// The last change was such a try.
    tried: bool,
}

impl Default for Ladder {
    fn default() -> Self {
        let most = [0.0; STEPS as usize + 1];
        let (moved, wait, tried) = (Mono(0), TRY, false);
        Self { step: 0, full: false, high: None, calm: None, away: 0.0, most, over: None, moved, wait, tried }
    }
}

impl Ladder {
    /// The step it is on.
    #[must_use]
    pub fn step(&self) -> u8 {
        self.step
    }

    /// What happens to messages of low priority: on the step for that, all are turned away from when memory or queues were at
    /// their limit, until the step is left.
    #[must_use]
    pub fn shed(&self) -> Shed {
        match (self.step >= SHEDS, self.full) {
            (false, _) => Shed::None,
            (true, false) => Shed::Behind,
            (true, true) => Shed::All,
        }
    }

    /// Looks at the load at `now`; the step before, where it is another one now.
    pub fn look(&mut self, load: &Load, now: Mono) -> Option<u8> {
        let before = self.step;
        self.away += (load.turned_away - self.away) * LATEST;
        if let Some(most) = self.most.get_mut(usize::from(self.step)) {
            *most = most.max(self.away);
        }
        if load.worst() >= 1.0 {
            (self.calm, self.over) = (None, None);
            self.rise(load, now);
        } else if load.worst() < CALM && !self.holds(load) {
            self.high = None;
            self.fall(now);
        } else {
            (self.high, self.calm, self.over) = (None, None, None);
        }
        self.full &= self.step >= SHEDS;
        (self.step != before).then_some(before)
    }

    /// Whether it is calm because of what is turned away: workers that turn away what they can't carry would have to do it.
    fn holds(&self, load: &Load) -> bool {
        self.shed() == Shed::Behind && load.shed > FEW
    }

    fn rise(&mut self, load: &Load, now: Mono) {
        let since = (*self.high.get_or_insert(now)).max(self.moved);
        let full = load.memory.max(load.queues) >= 1.0;
        let highest = if full { STEPS } else { OF_LAG };
        self.full |= full;
        if self.step < highest && now.since(since) >= RISE {
            if self.tried {
                self.wait = (self.wait * 2).min(LONGEST);
            }
            (self.step, self.moved, self.tried) = (self.step + 1, now, false);
        }
    }

    fn fall(&mut self, now: Mono) {
        let calm = (*self.calm.get_or_insert(now)).max(self.moved);
        let most = self.most.get(usize::from(self.step)).copied().unwrap_or_default();
        if self.away > FEW.max(most * FEWER) {
            self.over = None;
        } else {
            self.over.get_or_insert(now);
        }
        if self.over.is_some_and(|over| now.since(over.max(self.moved)) >= OVER) {
            if self.step > 0 {
                (self.step, self.moved) = (0, now);
            }
            (self.wait, self.tried, self.most) = (TRY, false, Self::default().most);
        } else if self.step > 0 && now.since(calm) >= self.wait {
            (self.step, self.moved, self.tried) = (self.step - 1, now, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    fn at(seconds: f64) -> Mono {
        Mono(1).after(Duration::from_secs_f64(seconds))
    }

    fn queues(part: f64) -> Load {
        Load { queues: part, ..Load::default() }
    }

    fn climb(ladder: &mut Ladder, load: Load, seconds: std::ops::Range<u32>) {
        for second in seconds {
            ladder.look(&load, at(f64::from(second)));
        }
    }

    #[test]
    fn it_takes_a_second_at_the_limit_for_each_step_and_a_moment_is_none() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.look(&queues(3.0), at(0.0)), None);
        assert_eq!(ladder.look(&queues(0.9), at(0.9)), None, "a moment");
        assert_eq!(ladder.look(&queues(1.0), at(1.0)), None);
        assert_eq!(ladder.look(&queues(1.0), at(1.9)), None);
        assert_eq!(ladder.look(&queues(1.0), at(2.0)), Some(0));
        assert_eq!(ladder.look(&queues(1.0), at(2.9)), None);
        assert_eq!(ladder.look(&queues(1.0), at(3.0)), Some(1));
        assert_eq!((ladder.look(&queues(9.0), at(4.0)), ladder.look(&queues(9.0), at(9.0))), (Some(2), None));
        assert_eq!(ladder.step(), STEPS);
        for second in 10..100 {
            assert_eq!(ladder.look(&queues(0.9), at(f64::from(second))), None, "nothing moves in between");
        }
    }

    #[test]
    fn processor_lag_alone_closes_no_queue() {
        let mut ladder = Ladder::default();
        climb(&mut ladder, Load { lag: 5.0, ..Load::default() }, 0..20);
        assert_eq!(ladder.step(), OF_LAG);
        climb(&mut ladder, Load { lag: 5.0, memory: 1.0, ..Load::default() }, 20..24);
        assert_eq!(ladder.step(), STEPS);
    }

    #[test]
    fn memory_turns_all_of_low_priority_away_and_lag_only_what_is_too_much() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.shed(), Shed::None);
        climb(&mut ladder, Load { lag: 5.0, ..Load::default() }, 0..20);
        assert_eq!(ladder.shed(), Shed::Behind);
        ladder.look(&queues(1.0), at(20.0));
        assert_eq!(ladder.shed(), Shed::All);
        ladder.look(&Load { lag: 5.0, ..queues(0.5) }, at(20.5));
        assert_eq!(ladder.shed(), Shed::All, "what would come back is not taken in at once");
        climb(&mut ladder, queues(0.1), 21..30);
        assert_eq!((ladder.step(), ladder.shed()), (0, Shed::None));
        climb(&mut ladder, Load { lag: 5.0, ..Load::default() }, 30..40);
        assert_eq!(ladder.shed(), Shed::Behind, "that was another time");
    }

    #[test]
    fn what_is_over_ends_at_once_and_what_comes_back_is_tried_less_and_less() {
        let mut ladder = Ladder::default();
        climb(&mut ladder, queues(2.0), 0..5);
        assert_eq!((ladder.look(&queues(0.1), at(5.0)), ladder.look(&queues(0.1), at(9.9))), (None, None));
        assert_eq!((ladder.look(&queues(0.1), at(10.0)), ladder.step()), (Some(3), 0));
        // the load stays, and only what is refused keeps it away
        let mut ladder = Ladder::default();
        climb(&mut ladder, queues(2.0), 0..4);
        let held = Load { queues: 0.3, turned_away: 1_000.0, ..Load::default() };
        let (mut now, mut tries) = (4.0, Vec::new());
        for _ in 0..4 {
            let began = now;
            while ladder.look(&held, at(now)).is_none() {
                now += 1.0;
            }
            tries.push(now - began);
            while ladder.look(&queues(1.5), at(now)).is_none() {
                now += 1.0;
            }
        }
        assert!(tries.windows(2).all(|pair| pair[1] >= pair[0] * 1.8), "{tries:?}");
    }

    /// A node that can do so much, and what is asked of it.
    struct Plant {
        rng: StdRng,
        /// Messages that wait, in parts of what a second can do.
        backlog: f64,
        ladder: Ladder,
        changes: Vec<(f64, u8)>,
        done: f64,
        offered: f64,
        now: f64,
        largest: f64,
        /// Which part of what is said is of low priority, and whether what waits takes up memory or only time.
        low: f64,
        fills: bool,
    }

    /// The queue's limit, in seconds of work.
    const LIMIT: f64 = 2.0;

    impl Plant {
        fn new(seed: u64) -> Self {
            let rng = StdRng::seed_from_u64(seed);
            Self {
                rng,
                backlog: 0.0,
                ladder: Ladder::default(),
                changes: Vec::new(),
                done: 0.0,
                offered: 0.0,
                now: 0.0,
                largest: 0.0,
                low: 0.5,
                fills: true,
            }
        }

        /// So many times its capacity is asked for, a fifth of it by newcomers.
        fn tick(&mut self, times: f64) {
            let dt = TICK.as_secs_f64();
            let asked = times * dt * self.rng.random_range(0.7..1.3);
            self.offered += asked;
            let newcomers = if self.ladder.step() >= 1 { asked * 0.2 } else { 0.0 };
            let low = (asked - newcomers) * self.low;
            let low = match self.ladder.shed() {
                Shed::None => 0.0,
                Shed::Behind => (self.backlog + asked - newcomers - dt * 0.9).clamp(0.0, low),
                Shed::All => low,
            };
            let mut away = newcomers + low;
            let mut work = self.backlog + asked - away;
            if self.ladder.step() >= 3 && work > LIMIT * CALM * 0.5 {
                // the largest queues go, with what waited in them, and some of those who asked
                away += work * 0.25;
                work *= 0.75;
            }
            // refusing costs a twentieth of doing
            let can = (dt - away * 0.05).max(0.0);
            let done = work.min(can);
            self.done += done;
            self.backlog = work - done;
            self.largest = self.largest.max(self.backlog);
            self.now += dt;
            let turned_away = away * 1_000.0 / dt;
            let (lag, shed) = (self.backlog / LIMIT, low * 1_000.0 / dt);
            let queues = if self.fills { lag } else { 0.0 };
            let load = Load { queues, lag, memory: 0.2, turned_away, shed };
            if self.ladder.look(&load, at(self.now)).is_some() {
                self.changes.push((self.now, self.ladder.step()));
            }
        }
    }

    #[test]
    fn where_only_time_is_short_nothing_swings_and_nobody_is_turned_away_for_nothing() {
        for seed in 0..200 {
            let mut plant = Plant { low: 0.8, fills: false, ..Plant::new(seed) };
            (0..80).for_each(|_| plant.tick(0.3));
            let (done, began) = (plant.done, plant.now);
            (0..240).for_each(|_| plant.tick(3.0));
            let goodput = (plant.done - done) / (plant.now - began);
            assert!(goodput >= 0.8, "seed {seed}: {goodput}");
            let steps: Vec<u8> = plant.changes.iter().map(|(_, step)| *step).collect();
            assert_eq!(steps, [1, 2], "seed {seed}: {:?}", plant.changes);
            assert!(plant.largest <= LIMIT * 4.0, "seed {seed}: {}", plant.largest);
            (0..40).for_each(|_| plant.tick(0.3));
            assert_eq!(plant.ladder.step(), 0, "seed {seed}: {:?}", plant.changes);
        }
    }

    #[test]
    fn three_times_its_capacity_for_a_minute_is_served_in_bounds_without_swinging_and_is_over_in_ten_seconds() {
        for seed in 0..200 {
            let mut plant = Plant::new(seed);
            (0..80).for_each(|_| plant.tick(0.6));
            assert_eq!(plant.changes, [], "seed {seed}: nothing happens below");
            let (done, began) = (plant.done, plant.now);
            (0..240).for_each(|_| plant.tick(3.0));
            let (goodput, ended) = ((plant.done - done) / (plant.now - began), plant.now);
            assert!(goodput >= 0.8, "seed {seed}: {goodput}");
            assert!(plant.largest <= LIMIT * 4.0, "seed {seed}: {}", plant.largest);
            let ups_and_downs = plant.changes.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
            assert!(ups_and_downs <= 3, "seed {seed}: {:?}", plant.changes);
            (0..40).for_each(|_| plant.tick(0.6));
            assert_eq!(plant.ladder.step(), 0, "seed {seed}: {:?} since {ended}", plant.changes);
            let last = plant.changes.len();
            (0..400).for_each(|_| plant.tick(0.6));
            assert_eq!(plant.changes.len(), last, "seed {seed}: it stays over");
        }
    }
}
