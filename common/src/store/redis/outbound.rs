//! What this process says on the bus: one queue, one writer. The order of the calls is the order of the sequences is the
//! order in the store; everything that waits while a write is under way goes out with the next one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use redis::Value;
use tokio::sync::{mpsc, oneshot};

use super::Base;
use super::batch::Order;
use super::history::position;
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::{Clock, millis};
use crate::config::model::History;
use crate::store::StoreFault;
use crate::store::bus::{DEDUPE_WINDOW, Published};
use crate::store::record::{Header, Issuer, Sealer};

/// What waits to be written. At the bound a call fails at once.
pub(super) const QUEUE: usize = 8_192;

/// The most in one write.
const BATCH: usize = 128;

/// Channels whose sequence is remembered; see [`Sequences`].
const CHANNELS: usize = 65_536;

static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    let parts = [include_str!("lua/order.lua"), include_str!("lua/bus.lua"), include_str!("lua/publish.lua")];
    Script::new(Does::Grows, &parts)
});

type Reply<T> = oneshot::Sender<Result<T, StoreFault>>;

/// A message for a room.
pub(super) struct Publish {
    /// Room, history, once.
    pub(super) keys: [String; 3],
    pub(super) channel: String,
    pub(super) body: Vec<u8>,
    pub(super) dedupe: bool,
    pub(super) keep: Option<History>,
    /// The room's epoch, should it be new.
    pub(super) epoch: u64,
    pub(super) reply: Reply<Published>,
}

/// Mail for a node; the answer says whether anybody got it.
pub(super) struct Mail {
    pub(super) channel: String,
    pub(super) body: Vec<u8>,
    pub(super) reply: Reply<bool>,
}

pub(super) enum Job {
    Publish(Publish),
    Mail(Mail),
}

/// Counts the records of each channel. When too many are remembered all are forgotten, and every channel goes on behind
/// the highest: receivers see a jump, never a repetition.
#[derive(Default)]
pub(super) struct Sequences {
    last: HashMap<String, u64>,
    floor: u64,
}

impl Sequences {
    pub(super) fn next(&mut self, channel: &str) -> u64 {
        if let Some(last) = self.last.get_mut(channel) {
            *last += 1;
            return *last;
        }
        if self.last.len() >= CHANNELS {
            self.floor = self.last.values().copied().max().unwrap_or(self.floor);
            self.last.clear();
        }
        self.last.insert(channel.to_owned(), self.floor + 1);
        self.floor + 1
    }
}

/// The writer.
pub(super) struct Outbound {
    pub(super) base: Arc<Base>,
    pub(super) sealer: Sealer,
    pub(super) issuer: Issuer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) linger_ms: u64,
    pub(super) sequences: Sequences,
}

impl Outbound {
    /// Writes until nobody is left who could say anything.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    async fn write(&mut self, batch: Vec<Job>) {
        let unknown = self.attempt(batch, false).await;
        if !unknown.is_empty() {
            // sealed anew: others of the batch may have gone before them
            drop(self.attempt(unknown, true).await);
        }
    }

    /// Writes all and answers all, but for those whose script the server does not know, if this was sent by its hash:
    /// it was made to forget, since what is sent by hash was taught on this connection.
    async fn attempt(&mut self, batch: Vec<Job>, by_text: bool) -> Vec<Job> {
        let orders: Vec<Order> = batch.iter().map(|job| self.order(job, by_text)).collect();
        let answers = match self.base.link.batch(&orders).await {
            Ok(answers) => answers,
            Err(fault) => {
                let fault = fault.into();
                batch.into_iter().for_each(|job| job.fail(&fault));
                return Vec::new();
            }
        };
        let mut answers = answers.into_iter();
        let mut unknown = Vec::new();
        for job in batch {
            match answers.next() {
                Some(Ok(answer)) => {
                    fail_overtaken(&mut unknown, &job);
                    job.answer(answer);
                }
                Some(Err(fault)) if !by_text && fault.is_no_script() => unknown.push(job),
                Some(Err(fault)) => job.fail(&fault.into()),
                None => job.fail(&garbled()),
            }
        }
        unknown
    }

    fn order(&mut self, job: &Job, by_text: bool) -> Order {
        match job {
            Job::Publish(publish) => {
                let sealed = self.seal(&publish.channel, &publish.body);
                let window = if publish.dedupe { millis(DEDUPE_WINDOW) } else { 0 };
                let keep = publish.keep.filter(|keep| keep.count > 0);
                let args = Args::new().with(&publish.channel).with(sealed).with(publish.epoch).with(self.linger_ms);
                let args = args.with(window).with(keep.map_or(0, |keep| keep.count));
                let args = args.with(keep.map_or(0, |keep| millis(keep.age))).with(self.base.link.publish_verb());
                PUBLISH.told(by_text, &publish.keys, &args)
            }
            Job::Mail(mail) => {
                let sealed = self.seal(&mail.channel, &mail.body);
                let mut command = redis::cmd(self.base.link.publish_verb());
                command.arg(&mail.channel).arg(sealed);
                Order::plain(command)
            }
        }
    }

    fn seal(&mut self, channel: &str, body: &[u8]) -> Vec<u8> {
        let sequence = self.sequences.next(channel);
        let header = Header { issuer: self.issuer.clone(), sequence, at: self.clock.wall() };
        self.sealer.seal(channel.as_bytes(), &header, body)
    }
}

/// Of a batch the server knew the script for `done`, and not for what went before it: somebody made it forget, somebody
/// else taught it again in between. What was overtaken in its channel is not written after it: its sender hears of it.
fn fail_overtaken(unknown: &mut Vec<Job>, done: &Job) {
    if unknown.is_empty() {
        return;
    }
    let overtaken = unknown.extract_if(.., |job| job.channel() == done.channel());
    let fault = StoreFault::Unavailable(Arc::from("a later message of the channel came before it"));
    overtaken.for_each(|job| job.fail(&fault));
}

impl Job {
    fn channel(&self) -> &str {
        match self {
            Self::Publish(publish) => &publish.channel,
            Self::Mail(mail) => &mail.channel,
        }
    }

    /// Whoever asked may be gone.
    pub(super) fn fail(self, fault: &StoreFault) {
        match self {
            Self::Publish(publish) => drop(publish.reply.send(Err(fault.clone()))),
            Self::Mail(mail) => drop(mail.reply.send(Err(fault.clone()))),
        }
    }

    fn answer(self, answer: Value) {
        match self {
            Self::Publish(publish) => {
                let place = redis::from_redis_value::<(u8, Vec<u8>)>(answer).ok();
                let published = place.and_then(|(duplicate, place)| {
                    Some(Published { position: position(&place)?, duplicate: duplicate == 1 })
                });
                drop(publish.reply.send(published.ok_or_else(garbled)));
            }
            Self::Mail(mail) => {
                let receivers = redis::from_redis_value::<u64>(answer);
                drop(mail.reply.send(receivers.map(|receivers| receivers > 0).map_err(|_| garbled())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_count_each_channel_from_one() {
        let mut sequences = Sequences::default();
        let said: Vec<u64> = ["a", "a", "b", "a"].iter().map(|channel| sequences.next(channel)).collect();
        assert_eq!(said, [1, 2, 1, 3]);
    }

    #[test]
    fn a_forgotten_channel_never_repeats_a_sequence() {
        let mut sequences = Sequences::default();
        let before = (0..5).map(|_| sequences.next("a")).max().unwrap();
        for other in 0..CHANNELS {
            sequences.next(&other.to_string());
        }
        assert!(sequences.last.len() <= CHANNELS);
        assert!(sequences.next("a") > before);
    }
}
