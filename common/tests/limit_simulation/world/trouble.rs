//! What is done to the fleet, and what it has to show for it afterwards.

use rand::Rng;
use rand::rngs::StdRng;

use super::{BEGIN, Event, MS, PLOT, Plot, S, Stream, USERS, World, seconds};
use crate::told::Told;

/// The plot, the limit (count, period in seconds, burst), and how many nodes there are.
pub(super) fn draw(rng: &mut StdRng) -> (Plot, u32, u64, u32, u32) {
    let plot = match rng.random_range(0..40) {
        0 | 1 => Plot::Drips,
        2 | 3 => Plot::Hoards,
        _ => Plot::Any,
    };
    let count = [1, 2, 5, 20, 50, 100][rng.random_range(0..6)];
    let period = if rng.random_bool(0.2) { 60 } else { 1 };
    let burst = [1, 3, 10, count, 2 * count, 4 * count][rng.random_range(0..6)];
    let size = rng.random_range(1..=4u32);
    match plot {
        Plot::Any => (plot, count, period, burst, size),
        Plot::Drips => (plot, 2, 1, 16, 4),
        Plot::Hoards => (plot, 5, 1, 100, 2),
    }
}

impl World {
    /// Trouble, and then the proof that it is over.
    pub fn run(mut self) -> Result<Told, String> {
        self.at(0, Event::NewStreams);
        match self.plot {
            Plot::Any => {}
            Plot::Drips => (0..self.nodes.len()).for_each(|node| self.at(S, Event::Drip { node })),
            Plot::Hoards => self.hoard(),
        }
        if self.plot != Plot::Any {
            self.until(BEGIN + PLOT)?;
        }
        let troubles = self.rng.random_range(0..6);
        for _ in 0..troubles {
            let after = self.rng.random_range(0..6 * S);
            self.at(after, Event::Copy);
            let then = after + self.rng.random_range(0..2 * S);
            self.at(then, Event::Incident);
        }
        let end = self.t + self.rng.random_range(3 * S..8 * S);
        self.until(end)?;
        if self.rng.random_bool(0.4) && self.promise.rate >= 1.0 {
            self.heals()?;
        }
        for user in 0..USERS {
            let all = &self.admitted[user];
            self.promise.keeps(all, &self.forgot).map_err(|why| format!("user {user}: {why}; {:?}", self.promise))?;
        }
        Ok(self.told)
    }

    pub(super) fn hoard(&mut self) {
        for (from, long, count) in [(0, 2 * S, 70), (40 * S, S, 400)] {
            for _ in 0..count {
                let (after, node) = (self.rng.random_range(0..long), self.rng.random_range(0..self.nodes.len()));
                self.at(from + after, Event::Single { node });
            }
        }
    }

    /// Once troubles are over a user who wants too much gets what the limit allows, on one node or on all.
    pub(super) fn heals(&mut self) -> Result<(), String> {
        self.calm = true;
        self.lag = 300;
        self.other = 0.0;
        self.until(self.t + 8 * S)?;
        let size = self.nodes.len();
        let node = self.rng.random_range(0..size);
        let all = self.rng.random_bool(0.5);
        for stream in &mut self.streams {
            let here = stream.user == 0 && (all || stream.node == node);
            stream.rate = if here { 3.0 * self.promise.rate / if all { size as f64 } else { 1.0 } } else { 0.0 };
            stream.round += 1;
        }
        self.start_streams();
        // what had piled up is used
        self.until(self.t + 2 * S)?;
        self.until(self.t + self.limit.tolerance().min(8 * S))?;
        let (before, attempts, calls) = (self.admitted[0].len(), self.told.attempts, self.told.calls);
        let long = 6.0f64.max(20.0 / self.promise.rate);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds")]
        self.until(self.t + (long * S as f64) as u64)?;
        let got = (self.admitted[0].len() - before) as f64;
        // with hardly a burst, what is not asked for in its moment is gone
        let (usable, spare) = if self.promise.burst >= 10.0 { (0.9, 1.0) } else { (0.6, 3.0) };
        let due = self.promise.rate * (usable * long - 0.5) - spare;
        if got < due {
            let on = if all { "all nodes" } else { "one node" };
            return Err(format!("{got} let in on {on} in {long} s, at least {due} should be; {:?}", self.promise));
        }
        let (attempts, calls) = (self.told.attempts - attempts, self.told.calls - calls);
        if self.promise.rate >= 100.0 && self.promise.burst >= 2.0 * self.promise.rate && calls * 20 > attempts + 40 {
            return Err(format!("{calls} calls for {attempts} messages"));
        }
        Ok(())
    }

    pub(super) fn new_streams(&mut self) {
        if self.calm {
            return;
        }
        let plotted = self.plot != Plot::Any && self.t < BEGIN + PLOT;
        if self.streams.is_empty() {
            for node in 0..self.nodes.len() {
                for user in 0..USERS {
                    self.streams.push(Stream { node, user, rate: 0.0, round: 0 });
                }
            }
        }
        for n in 0..self.streams.len() {
            let (rate, size) = (self.promise.rate, self.nodes.len() as f64);
            let often = [0.0, 0.2, rate / size / 2.0, rate / size, rate, 2.0 * rate];
            let kinds = if plotted {
                1
            } else if n % USERS == 0 {
                6
            } else {
                3
            };
            self.streams[n].rate = often[self.rng.random_range(0..kinds)];
            self.streams[n].round += 1;
        }
        self.start_streams();
        let after = self.rng.random_range(S..5 * S);
        self.at(after, Event::NewStreams);
    }

    pub(super) fn start_streams(&mut self) {
        for stream in 0..self.streams.len() {
            self.next_attempt(stream);
        }
    }

    pub(super) fn next_attempt(&mut self, stream: usize) {
        let Stream { rate, round, .. } = self.streams[stream];
        if rate > 0.0 {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a moment")]
            let after = (-self.rng.random::<f64>().max(1e-9).ln() / rate * S as f64) as u64;
            // now and then some come in one read
            let after = if self.rng.random_bool(0.1) { 0 } else { after };
            self.at(after, Event::Attempt { stream, round });
        }
    }

    pub(super) fn incident(&mut self) {
        if self.calm {
            return;
        }
        match self.rng.random_range(0..4) {
            0 => {
                self.told.pauses += 1;
                let long = self.rng.random_range(100 * MS..3 * S);
                self.paused = self.paused.max(self.t + long);
                for node in 0..self.nodes.len() {
                    if self.rng.random_bool(0.7) {
                        let notice = self.rng.random_range(0..S);
                        self.at(notice, Event::Believe { node, up: false });
                        let again = self.rng.random_range(0..S / 2);
                        self.at(notice.max(long) + again, Event::Believe { node, up: true });
                    }
                }
            }
            1 => {
                self.told.forgot += 1;
                self.memory.fail_over();
                self.skew = self.rng.random_range(0..S / 2);
                self.lost();
            }
            2 => {
                self.told.forgot += 1;
                self.memory.forget();
                self.lost();
            }
            _ => {
                self.told.deaths += 1;
                let node = self.rng.random_range(0..self.nodes.len());
                if self.nodes[node].alive {
                    self.nodes[node].alive = false;
                    self.forgot.nodes.push(seconds(self.t));
                    let after = self.rng.random_range(100 * MS..3 * S);
                    self.at(after, Event::Rebirth { node });
                }
            }
        }
    }

    /// The store forgot what it counted; somebody opens the next era.
    pub(super) fn lost(&mut self) {
        self.forgot.store.push(seconds(self.t));
        let after = self.rng.random_range(50 * MS..2 * S);
        self.at(after, Event::Reopen);
    }
}
