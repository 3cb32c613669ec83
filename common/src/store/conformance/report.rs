//! Reports: in order, once, and bounded.

use std::sync::Arc;

use super::{Fixture, checks};
use crate::clock::UnixMs;
use crate::store::report::{KEPT, PAGE, Page, Place};
use crate::stuffing::{Mark, Report, Seen};

checks![
    reports_are_read_in_order_page_by_page_and_once,
    what_is_filed_later_is_read_later,
    the_oldest_reports_give_way,
    a_mark_is_the_same_every_time_and_another_for_other_words,
    ; long:
];

fn report(n: u32) -> Report {
    let from = std::net::Ipv4Addr::from_bits(n).into();
    let seen = Seen { from, refused: n, accounts: vec![Mark(1)], families: vec![], users: vec![Mark(2), Mark(3)] };
    Report { seen: vec![seen], left_out: n }
}

impl Fixture {
    async fn file(&self, n: u32) {
        let now = self.stores.commands.now().await.unwrap();
        self.stores.reports.file(report(n), now).await.unwrap();
    }

    /// Everything behind a place.
    async fn reports_behind(&self, place: Place) -> (Vec<u32>, Place) {
        let (mut all, mut last) = (Vec::new(), place);
        loop {
            let Page { filed, last: next, more, refused, now } = self.stores.reports.read(last).await.unwrap();
            assert!(filed.len() <= PAGE && refused == 0, "{refused}");
            for one in filed {
                assert_eq!(one.report, report(one.report.left_out));
                assert!(one.at <= now.after(super::ms(1_000)) && one.at > UnixMs(0));
                all.push(one.report.left_out);
            }
            last = next;
            if !more {
                return (all, last);
            }
        }
    }
}

async fn reports_are_read_in_order_page_by_page_and_once(f: Fixture) {
    let count = u32::try_from(PAGE).unwrap() * 2 + 5;
    for n in 1..=count {
        f.file(n).await;
    }
    let (all, last) = f.reports_behind(Place::default()).await;
    assert_eq!(all, (1..=count).collect::<Vec<_>>());
    assert_eq!(f.reports_behind(last).await, (vec![], last));
}

async fn what_is_filed_later_is_read_later(f: Fixture) {
    let (none, place) = f.reports_behind(Place::default()).await;
    assert!(none.is_empty());
    f.file(7).await;
    let (one, place) = f.reports_behind(place).await;
    f.file(8).await;
    assert_eq!((one, f.reports_behind(place).await.0), (vec![7], vec![8]));
}

async fn the_oldest_reports_give_way(f: Fixture) {
    let extra = 300;
    let total = u32::try_from(KEPT).unwrap() + extra;
    let filing = (0..8_u32).map(|part| {
        let stores = f.stores.clone();
        Box::pin(async move {
            let now = stores.commands.now().await.unwrap();
            for n in (0..total).filter(|n| n % 8 == part) {
                stores.reports.file(report(n + 1), now).await.unwrap();
            }
        }) as super::Step<'static, ()>
    });
    f.together(filing.collect::<Vec<_>>()).await;
    let page = f.stores.reports.read(Place::default()).await.unwrap();
    assert!(page.filed.iter().all(|filed| filed.report.left_out > 1), "the first is gone");
}

async fn a_mark_is_the_same_every_time_and_another_for_other_words(f: Fixture) {
    let reports = Arc::clone(&f.stores.reports);
    assert_eq!(reports.mark(&["a", "b"]), reports.mark(&["a", "b"]));
    assert_ne!(reports.mark(&["a", "b"]), reports.mark(&["ab", ""]));
    assert_ne!(reports.mark(&["a", "b"]), reports.mark(&["a", "c"]));
}
