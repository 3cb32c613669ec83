//! Penalties: a hash an account, a script for each partition of a batch.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::try_join_all;

use super::Base;
use super::answer::Words;
use super::era::When;
use super::keys::{Kind, Place};
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::{UnixMs, millis};
use crate::ids::NodeId;
use crate::penalty::{Account, CEILING, STRIKES, Step, Subject};
use crate::store::penalty::{Charge, Fact, Noted, Penalties, REMEMBERED, Standing, Statement};
use crate::store::{StoreFault, StoreFuture};

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            Script::in_era(Does::$does, &[include_str!("lua/penalty.lua"), include_str!(concat!("lua/", $file))])
        })
    };
}

static CHARGE: LazyLock<Script> = script!(Grows, "penalty_charge.lua");
static STATEMENT: LazyLock<Script> = script!(Reads, "penalty_statement.lua");

/// The longest name of a fact that is kept, in bytes.
const WHAT: usize = 64;

pub(super) struct RedisPenalties {
    base: Arc<Base>,
}

impl RedisPenalties {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }

    fn place(&self, subject: &Subject) -> Place<'_> {
        match subject {
            Subject::User(user) => self.base.keys.user(user),
            Subject::Network(network) => self.base.keys.network(*network),
        }
    }

    /// The charges of one partition that are held against one notion of time.
    async fn charge_some(&self, by: &NodeId, some: Vec<(usize, Place<'_>, Charge)>) -> Result<Charged, StoreFault> {
        let Some((_, first, Charge { ladder, .. })) = some.first() else { return Ok(Charged::default()) };
        let (place, times) = (first.clone(), [ladder.half_life, ladder.first, ladder.longest, ladder.memory]);
        let args =
            times.iter().fold(Args::new(), |args, time| args.with(millis((*time).max(Duration::from_millis(1)))));
        let args = args.with(by.as_str()).with(REMEMBERED).with(CEILING).with(STRIKES);
        let args = some.iter().fold(args, |args, (_, _, Charge { weight, ladder, facts, .. })| {
            let args = args.with(ladder.restrict).with(ladder.disconnect).with(ladder.ban).with(*weight);
            args.with(facts.iter().take(REMEMBERED).map(written).collect::<Vec<_>>().join("\n"))
        });
        let names: Vec<_> = some.iter().map(|(_, place, _)| place.name().clone()).collect();
        let named = |place: &Place<'_>| names.iter().map(|name| place.beside(Kind::Penalty, name)).collect();
        let answer: Vec<String> = self.base.decide(&CHARGE, When::Any, place, named, &args).await?;
        let mut words = Words::new(answer);
        let now = words.time()?;
        let standing = |at| Ok((at, Standing { account: account(&mut words)?, step: step(&words.word()?)? }));
        let standings = some.iter().map(|(at, ..)| *at).map(standing).collect::<Result<Vec<_>, StoreFault>>()?;
        Ok(Charged { now, standings })
    }
}

/// What one script answered.
#[derive(Default)]
struct Charged {
    now: UnixMs,
    standings: Vec<(usize, Standing)>,
}

fn written(Fact { what, weight, count }: &Fact) -> String {
    let legal = |c: char| if c == '|' || c.is_control() { '?' } else { c };
    let what: String = what.chars().map(legal).collect();
    format!("{}|{weight}|{count}", what.get(..what.floor_char_boundary(WHAT)).unwrap_or_default())
}

fn read_fact(line: &str) -> Option<Noted> {
    let mut parts = line.split('|');
    let (at, node, what) = (UnixMs(parts.next()?.parse().ok()?), parts.next()?.to_owned(), parts.next()?.to_owned());
    let fact = Fact { what, weight: parts.next()?.parse().ok()?, count: parts.next()?.parse().ok()? };
    parts.next().is_none().then_some(Noted { at, node, fact })
}

fn step(word: &str) -> Result<Step, StoreFault> {
    word.parse::<usize>().ok().and_then(|at| Step::ALL.get(at).copied()).ok_or_else(garbled)
}

fn account(words: &mut Words) -> Result<Account, StoreFault> {
    let points: f64 = words.word()?.parse().map_err(|_| garbled())?;
    Ok(Account {
        points: Some(points).filter(|points| points.is_finite() && *points >= 0.0).ok_or_else(garbled)?,
        at: words.time()?,
        strikes: u32::try_from(words.number()?).map_err(|_| garbled())?,
        struck: words.time()?,
        until: words.time()?,
        step: step(&words.word()?)?,
    })
}

impl Penalties for RedisPenalties {
    fn charge(&self, by: NodeId, charges: Vec<Charge>) -> StoreFuture<'_, (UnixMs, Vec<Standing>)> {
        Box::pin(async move {
            let count = charges.len();
            let mut partitions: BTreeMap<String, Vec<(usize, Place<'_>, Charge)>> = BTreeMap::new();
            for (at, charge) in charges.into_iter().enumerate() {
                let place = self.place(&charge.subject);
                // one key a partition: what is in front of it is the same for all
                partitions.entry(place.shared(Kind::Era)).or_default().push((at, place, charge));
            }
            let all = try_join_all(partitions.into_values().map(|some| self.charge_some(&by, some))).await?;
            let now = all.iter().map(|some| some.now).max().unwrap_or_default();
            let standings: BTreeMap<usize, Standing> = all.into_iter().flat_map(|some| some.standings).collect();
            if standings.len() == count { Ok((now, standings.into_values().collect())) } else { Err(garbled()) }
        })
    }

    fn statement(&self, subject: Subject) -> StoreFuture<'_, (UnixMs, Option<Statement>)> {
        Box::pin(async move {
            let named = |place: &Place<'_>| vec![place.key(Kind::Penalty)];
            let place = self.place(&subject);
            let answer: Vec<String> = self.base.decide(&STATEMENT, When::Any, place, named, &Args::new()).await?;
            let mut words = Words::new(answer);
            let now = words.time()?;
            if words.is_empty() {
                return Ok((now, None));
            }
            let account = account(&mut words)?;
            let facts =
                words.word()?.lines().map(|line| read_fact(line).ok_or_else(garbled)).collect::<Result<_, _>>()?;
            Ok((now, Some(Statement { account, facts })))
        })
    }

    fn clear(&self, subject: Subject) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let mut delete = redis::cmd("DEL");
            delete.arg(self.place(&subject).key(Kind::Penalty));
            let _gone: u64 = self.base.link.command(&delete).await?;
            Ok(())
        })
    }
}
