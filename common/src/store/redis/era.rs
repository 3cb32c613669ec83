//! The store's era as this process knows it, and the gate that every decision passes.
//!
//! A decision is made in one era: that era is part of the names of the keys it touches, so what an older one left is
//! out of reach, and every script compares it with the partition's (`lua/era.lua`). The fleet's era is one record, with
//! the members that are waited for; an era is opened when all partitions have been told of it, so a partition that does
//! not know an open era has lost something.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::RngCore;
use redis::FromRedisValue;
use tokio::sync::{Notify, watch};

use super::Base;
use super::answer::Words;
use super::keys::{Kind, PARTITIONS, Place};
use super::lease::NODES;
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::millis;
use crate::ids::NodeId;
use crate::store::era::{Era, EraView, Eras, Mark, PATIENCE};
use crate::store::{StoreFault, StoreFuture};

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            let (server, fleet) = (include_str!("lua/server.lua"), include_str!("lua/fleet_era.lua"));
            Script::new(Does::$does, &[server, fleet, include_str!(concat!("lua/", $file))])
        })
    };
}

static LOOK: LazyLock<Script> = script!(Reads, "era_look.lua");
static OPEN: LazyLock<Script> = script!(Shrinks, "era_open.lua");
static OPENED: LazyLock<Script> = script!(Shrinks, "era_opened.lua");
static MARK: LazyLock<Script> = script!(Shrinks, "era_mark.lua");
static STAMP: LazyLock<Script> =
    LazyLock::new(|| Script::new(Does::Shrinks, &[include_str!("lua/server.lua"), include_str!("lua/era_stamp.lua")]));

/// An opening that takes longer is given up, and the next era is opened instead.
const OPENING: Duration = Duration::from_secs(5);

/// Partitions that are told of an era at once.
const AHEAD: usize = 64;

/// When a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// In whatever era it is.
    Any,
    /// Once the era is whole: it gives somebody something new.
    Whole,
}

/// What this process knows.
pub(super) struct Present {
    view: watch::Sender<Option<EraView>>,
    alarm: Notify,
    /// Looks that have begun, and the number of the last one that ended: callers share them.
    begun: AtomicU64,
    ended: tokio::sync::Mutex<u64>,
    /// The [`Era::number`] of the era that a partition was found to have lost; 0: none.
    lost: AtomicU64,
}

impl Default for Present {
    fn default() -> Self {
        Self {
            view: watch::Sender::default(),
            alarm: Notify::new(),
            begun: AtomicU64::new(0),
            ended: tokio::sync::Mutex::default(),
            lost: AtomicU64::new(0),
        }
    }
}

impl Present {
    fn view(&self) -> Option<EraView> {
        *self.view.borrow()
    }

    /// A view that came from the store; older ones may come late.
    fn learn(&self, seen: EraView) {
        self.view.send_if_modified(|present| {
            let changed = match *present {
                Some(known) if known.era > seen.era => false,
                // what is whole stays so
                Some(known) if known.era == seen.era && known.whole => false,
                known => known != Some(seen),
            };
            if changed {
                *present = Some(seen);
            }
            changed
        });
    }
}

/// The fleet's record as a script showed it.
struct Sight {
    view: EraView,
    open: bool,
}

fn sight(answer: Vec<String>) -> Result<Option<Sight>, StoreFault> {
    let mut words = Words::new(answer);
    if words.is_empty() {
        return Ok(None);
    }
    let era = Era::parse(&words.word()?).ok_or_else(garbled)?;
    let open = match words.word()?.as_str() {
        "open" => true,
        "opening" => false,
        _ => return Err(garbled()),
    };
    let whole = words.number()? == 1;
    let waiting = usize::try_from(words.number()?).map_err(|_| garbled())?;
    Ok(Some(Sight { view: EraView { era, whole, waiting }, open }))
}

fn args() -> Args {
    Args::new().with(millis(PATIENCE)).with(millis(OPENING))
}

impl Base {
    fn record(&self) -> String {
        self.keys.fleet().shared(Kind::FleetEra)
    }

    async fn ask(&self, script: &Script, args: &Args) -> Result<Option<Sight>, StoreFault> {
        sight(script.run(&self.link, &[self.record()], args).await?)
    }

    /// What the store says now; an open era that is new becomes the present one.
    async fn look(&self) -> Result<Option<EraView>, StoreFault> {
        self.era.begun.fetch_add(1, Ordering::AcqRel);
        let seen = self.ask(&LOOK, &args()).await?.filter(|sight| sight.open).map(|sight| sight.view);
        let Some(seen) = seen else { return Ok(None) };
        self.era.learn(seen);
        Ok(Some(seen).filter(|view| view.era.number != self.era.lost.load(Ordering::Acquire)))
    }

    /// A look that began after this call did, one for all who ask at a time.
    async fn look_together(&self) -> Result<(), StoreFault> {
        let noted = self.era.begun.load(Ordering::Acquire);
        let mut ended = self.era.ended.lock().await;
        if *ended <= noted {
            let number = self.era.begun.load(Ordering::Acquire) + 1;
            self.look().await?;
            *ended = number;
        }
        Ok(())
    }

    /// The era in which a decision is made now.
    pub(super) async fn era_for(&self, when: When) -> Result<Era, StoreFault> {
        let fits = |view: &EraView| when == When::Any || view.whole;
        if let Some(view) = self.era.view().filter(fits) {
            return Ok(view.era);
        }
        self.look_together().await?;
        match self.era.view() {
            Some(view) if fits(&view) => Ok(view.era),
            Some(_) => Err(StoreFault::Era),
            None => {
                self.era.alarm.notify_one();
                Err(StoreFault::Era)
            }
        }
    }

    /// Runs a script that decides, on `place`, with the keys that `named` gives it in the era in which it is made. One
    /// round trip; where the era has changed, another three at most.
    pub(super) async fn decide<'a, T: FromRedisValue>(
        &self,
        script: &Script,
        when: When,
        place: Place<'a>,
        named: impl Fn(&Place<'a>) -> Vec<String>,
        args: &Args,
    ) -> Result<T, StoreFault> {
        let era = self.era_for(when).await?;
        let place = place.in_era(era);
        let stamp = place.shared(Kind::Era);
        let first = script.run_in(&self.link, era, &stamp, named(&place), args).await;
        if !matches!(first, Err(StoreFault::Era)) {
            return first;
        }
        self.look_together().await?;
        let next = self.era_for(When::Any).await?;
        if next == era {
            self.lost(era);
        }
        // whoever gets something new keeps in mind in which era that was: it is not changed under their hands
        if next == era || when == When::Whole {
            return Err(StoreFault::Era);
        }
        let place = place.in_era(next);
        script.run_in(&self.link, next, &stamp, named(&place), args).await
    }

    /// A partition does not know an era that is open: the next one is due.
    fn lost(&self, era: Era) {
        self.era.lost.store(era.number, Ordering::Release);
        self.era.alarm.notify_one();
    }

    async fn open_era(&self, members: Vec<NodeId>, strangers: Duration) -> Result<EraView, StoreFault> {
        let fleet = self.keys.fleet();
        let before = self.era.view().map(|view| view.era.to_string()).unwrap_or_default();
        let nonce = format!("{:08x}", rand::rng().next_u32());
        let named = args().with(before).with(nonce).with(millis(strangers)).with(NODES);
        let named = members.iter().fold(named, |named, node| named.with(node.as_str()));
        let keys = [self.record(), fleet.key(Kind::Leases)];
        let sight = sight(OPEN.run(&self.link, &keys, &named).await?)?.ok_or_else(garbled)?;
        let view = if sight.open { sight.view } else { self.tell_partitions(sight.view.era).await? };
        self.era.learn(view);
        Ok(view)
    }

    /// Tells every partition of an era, and then the fleet's record that they were told.
    async fn tell_partitions(&self, era: Era) -> Result<EraView, StoreFault> {
        let until = Args::new().with(era.to_string()).with(era.number / 1_000 + millis(OPENING));
        let partitions: Vec<u8> = (0..PARTITIONS).filter_map(|partition| u8::try_from(partition).ok()).collect();
        for some in partitions.chunks(AHEAD) {
            let told = some.iter().map(|partition| async {
                let key = [self.keys.of_partition(*partition, Kind::Era)];
                STAMP.run::<u8>(&self.link, &key, &until).await
            });
            for told in join_all(told).await {
                if told? == 0 {
                    return Err(StoreFault::Era);
                }
            }
        }
        let opened = self.ask(&OPENED, &args().with(era.to_string())).await?;
        opened.filter(|sight| sight.open).map(|sight| sight.view).ok_or(StoreFault::Era)
    }
}

/// The eras of one store, to this process.
pub(super) struct RedisEras {
    base: Arc<Base>,
}

impl RedisEras {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }
}

impl Eras for RedisEras {
    fn current(&self) -> Option<EraView> {
        self.base.era.view()
    }

    fn watch(&self) -> watch::Receiver<Option<EraView>> {
        self.base.era.view.subscribe()
    }

    fn alarm(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.base.era.alarm.notified().await;
            Ok(())
        })
    }

    fn look(&self) -> StoreFuture<'_, Option<EraView>> {
        Box::pin(self.base.look())
    }

    fn open(&self, members: Vec<NodeId>, strangers: Duration) -> StoreFuture<'_, EraView> {
        Box::pin(self.base.open_era(members, strangers))
    }

    fn mark(&self, era: Era, node: NodeId, mark: Mark) -> StoreFuture<'_, EraView> {
        Box::pin(async move {
            let word = match mark {
                Mark::Waiting => "w",
                Mark::Done => "d",
            };
            let args = args().with(era.to_string()).with(node.as_str()).with(word);
            let view = self.base.ask(&MARK, &args).await?.ok_or(StoreFault::Era)?.view;
            self.base.era.learn(view);
            Ok(view)
        })
    }
}
