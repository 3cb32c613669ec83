//! Whether the bus works, judged by the only thing that tells: what this process publishes on a channel of its own comes
//! back to it. A connection that answers commands may have lost its subscriptions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::hub::{Hub, busy, gone};
use super::outbound::{Job, Mail};
use super::subscriptions::Wish;
use crate::clock::Mono;
use crate::store::StoreFault;
use crate::store::watch::Probe;

/// How often the process speaks to itself.
const PERIOD: Duration = Duration::from_secs(1);

/// The bus is silent when nothing came back for so long after the store had taken it.
const SILENCE: Duration = Duration::from_secs(3);

/// What was said and what was heard. No clock, no I/O.
#[derive(Debug, Default)]
pub(super) struct Probes {
    said: u64,
    heard: u64,
    /// When the first that the store took, and that has not come back, was sent.
    waiting: Option<Mono>,
}

impl Probes {
    /// The next number to say.
    fn next(&mut self) -> u64 {
        self.said += 1;
        self.said
    }

    /// The store took that number, which was sent then.
    fn taken(&mut self, number: u64, sent: Mono) {
        if self.heard < number {
            self.waiting.get_or_insert(sent);
        }
    }

    /// The store did not answer: that proves nothing about the bus.
    fn unanswered(&mut self) {
        self.waiting = None;
    }

    /// That number came back. One that was never said is somebody else's.
    fn heard(&mut self, number: u64) {
        if number <= self.said && number > self.heard {
            self.heard = number;
            self.waiting = None;
        }
    }

    pub(super) fn state(&self, now: Mono) -> Probe {
        match self.waiting.map(|since| now.since(since)).filter(|silent| *silent >= SILENCE) {
            Some(silent) => Probe::Silent(silent),
            None if self.heard == 0 => Probe::Pending,
            None => Probe::Returns,
        }
    }
}

impl Hub {
    /// Something came on the probe's channel: this life's own words, or nothing.
    pub(super) fn probe_message(&self, channel: &str, payload: &Bytes) {
        let Some((header, body)) = self.open(channel, payload) else { return };
        let number = body.first_chunk().filter(|_| body.len() == 8 && header.issuer == self.issuer);
        if let Some(number) = number {
            self.probes().heard(u64::from_be_bytes(*number));
        }
    }

    async fn probe(&self) {
        let (number, sent) = (self.probes().next(), self.clock.mono());
        let taken = self.say_to_itself(number).await;
        let mut probes = self.probes();
        match taken {
            Ok(()) => probes.taken(number, sent),
            Err(_) => probes.unanswered(),
        }
        let lost = probes.waiting.is_some_and(|since| self.clock.mono().since(since) >= PERIOD);
        drop(probes);
        if lost {
            self.wish(Wish::Subscribe(self.probe_channel.clone(), None));
        }
    }

    async fn say_to_itself(&self, number: u64) -> Result<(), StoreFault> {
        let (reply, answer) = oneshot::channel();
        let job = Mail { channel: self.probe_channel.clone(), body: number.to_be_bytes().to_vec(), reply };
        self.jobs.try_send(Job::Mail(job)).map_err(busy)?;
        answer.await.map_err(gone)?.map(drop)
    }
}

/// Speaks and listens until the bus is gone.
pub(super) async fn run(hub: Weak<Hub>) {
    let mut listening = false;
    loop {
        let Some(hub) = hub.upgrade() else { return };
        if !listening {
            listening = hub.listen(&hub.probe_channel).await.is_ok();
        }
        // also where the subscription was refused: that is what the probe is there to tell
        hub.probe().await;
        drop(hub);
        tokio::time::sleep(PERIOD).await;
    }
}

/// Starts to probe, on the present runtime.
pub(super) fn start(hub: &Arc<Hub>) {
    hub.runtime.spawn(run(Arc::downgrade(hub)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000)
    }

    #[test]
    fn a_bus_is_silent_when_the_store_takes_what_does_not_come_back() {
        let mut probes = Probes::default();
        assert_eq!(probes.state(at(0)), Probe::Pending);
        let first = probes.next();
        probes.heard(first);
        probes.taken(first, at(1));
        assert_eq!(probes.state(at(100)), Probe::Returns, "it came back before the answer");
        for second in 10..13 {
            let number = probes.next();
            probes.taken(number, at(second));
        }
        assert_eq!(probes.state(Mono(12_999)), Probe::Returns);
        assert_eq!(probes.state(at(13)), Probe::Silent(Duration::from_secs(3)), "since the first that is missing");
        probes.heard(4);
        assert_eq!(probes.state(at(13)), Probe::Returns);
    }

    #[test]
    fn a_store_that_does_not_answer_proves_nothing_about_the_bus() {
        let mut probes = Probes::default();
        probes.next();
        probes.heard(1);
        let number = probes.next();
        probes.taken(number, at(1));
        probes.unanswered();
        assert_eq!(probes.state(at(60)), Probe::Returns);
    }

    #[test]
    fn what_was_never_said_and_what_was_heard_before_is_nothing() {
        let mut probes = Probes::default();
        let number = probes.next();
        probes.taken(number, at(0));
        probes.heard(number + 1);
        assert_eq!(probes.state(at(5)), Probe::Silent(Duration::from_secs(5)));
        probes.heard(number);
        let next = probes.next();
        probes.taken(next, at(6));
        probes.heard(number);
        assert_eq!(probes.state(at(9)), Probe::Silent(Duration::from_secs(3)), "an old one again");
    }
}
