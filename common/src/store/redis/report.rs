//! Reports: a stream of sealed records beside the control log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;

use super::keys::Kind;
use super::link::garbled;
use super::script::{Args, Does, Script};
use super::trust::Trust;
use super::{Base, RedisStore};
use crate::clock::{UnixMs, millis};
use crate::store::record::{AHEAD, Header};
use crate::store::replay::ReplayGuard;
use crate::store::report::{AGE, Filed, KEPT, PAGE, Page, Place, Reports};
use crate::store::{StoreFault, StoreFuture};
use crate::stuffing::{Mark, Report};

static FILE: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Grows, &[include_str!("lua/report_file.lua")]));
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Reads, &[include_str!("lua/report_read.lua")]));

/// Lives of nodes whose reports are remembered, so that none counts twice.
const ISSUERS: usize = 4_096;

/// The reports of a fleet, for one process.
pub struct RedisReports {
    base: Arc<Base>,
    key: String,
    trust: Trust,
    sequence: AtomicU64,
    taken: Mutex<ReplayGuard>,
}

impl RedisStore {
    /// The reports, for a process that signs like this.
    #[must_use]
    pub fn reports(&self, trust: &Trust) -> RedisReports {
        RedisReports {
            base: Arc::clone(&self.base),
            key: self.base.keys.fleet().shared(Kind::Reports),
            trust: trust.clone(),
            sequence: AtomicU64::new(0),
            taken: Mutex::new(ReplayGuard::new(ISSUERS)),
        }
    }
}

impl RedisReports {
    /// A record of the stream; `None`: nobody of the cluster wrote it, or it was taken already.
    fn open(&self, sealed: Bytes, now: UnixMs) -> Option<Filed> {
        let opened = self.trust.sealer.open(self.key.as_bytes(), &sealed).ok()?;
        let Header { issuer, at, .. } = &opened.header;
        if now.after(AHEAD) < *at {
            return None;
        }
        let report = Report::read(&opened.body)?;
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take(0, &opened.header, now).ok()?;
        Some(Filed { node: issuer.node.clone(), at: *at, report })
    }
}

fn place(id: &[u8]) -> Option<Place> {
    let (ms, number) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some(Place(ms.parse().ok()?, number.parse().ok()?))
}

impl Reports for RedisReports {
    fn mark(&self, words: &[&str]) -> Mark {
        self.base.keys.mark(words)
    }

    fn file(&self, report: Report, at: UnixMs) -> StoreFuture<'_, ()> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let header = Header { issuer: self.trust.issuer.clone(), sequence, at };
        let sealed = self.trust.sealer.seal(self.key.as_bytes(), &header, &report.write());
        Box::pin(async move {
            let args = Args::new().with(sealed).with(KEPT).with(millis(AGE));
            FILE.run::<u64>(&self.base.link, std::slice::from_ref(&self.key), &args).await.map(|_| ())
        })
    }

    fn read(&self, after: Place) -> StoreFuture<'_, Page> {
        Box::pin(async move {
            let args = Args::new().with(after.0).with(after.1).with(PAGE).with(millis(AHEAD) * 2);
            let answer: Vec<Vec<u8>> = READ.run(&self.base.link, std::slice::from_ref(&self.key), &args).await?;
            self.page(answer, after)
        })
    }
}

impl RedisReports {
    fn page(&self, answer: Vec<Vec<u8>>, after: Place) -> Result<Page, StoreFault> {
        let mut words = answer.into_iter();
        let now = words.next().and_then(|now| std::str::from_utf8(&now).ok()?.parse().ok()).ok_or_else(garbled)?;
        let mut page = Page { now: UnixMs(now), last: after, ..Page::default() };
        let mut count = 0;
        while let (Some(id), Some(sealed)) = (words.next(), words.next()) {
            page.last = place(&id).ok_or_else(garbled)?;
            count += 1;
            match self.open(Bytes::from(sealed), page.now) {
                Some(filed) if filed.at.after(AGE) >= page.now => page.filed.push(filed),
                Some(_) => {}
                None => page.refused += 1,
            }
        }
        page.more = count == PAGE;
        Ok(page)
    }
}
