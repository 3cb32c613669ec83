//! Limits that nodes share: never more than the rate and the burst, whoever asks and however.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Fixture, Step, checks, ms};
use crate::config::model::{Limit, Rate};
use crate::gcra::Gcra;
use crate::store::limit::{Ask, Leased, LimitKey};

checks![
    a_burst_is_leased_and_the_next_token_comes_after_one_interval,
    what_was_refused_costs_nothing,
    what_was_used_is_charged_whatever_the_count_says,
    near_the_limit_a_grant_is_a_share_of_what_is_left_and_one_in_the_end,
    counts_do_not_mix,
    of_many_who_ask_at_once_all_together_get_the_burst,
    another_rate_forgives_nothing,
    a_rate_that_no_unit_of_time_divides_loses_no_token,
    ; long:
    a_minute_gives_back_what_a_minute_gives,
];

fn limit(count: u32, period: u64, burst: u32) -> Gcra {
    Gcra::new(Limit { rate: Rate { count, period: ms(period) }, burst })
}

fn ask(counted: &str, limit: Gcra, want: u32) -> Ask {
    let key = LimitKey { limit: "heavy".to_owned(), per: "user", counted: counted.to_owned() };
    Ask { key, limit, paid: 0, want, nodes: 1 }
}

impl Fixture {
    async fn lease(&self, ask: Ask) -> Leased {
        self.stores.limits.lease(ask).await.unwrap()
    }
}

/// A token each ten seconds: slower than any check.
const SLOW: u64 = 10_000;

async fn a_burst_is_leased_and_the_next_token_comes_after_one_interval(f: Fixture) {
    let slow = limit(1, SLOW, 5);
    let first = f.lease(ask("ada", slow, 3)).await;
    assert_eq!((first.granted, first.wait), (3, Duration::ZERO));
    let rest = f.lease(ask("ada", slow, 3)).await;
    assert_eq!(rest.granted, 2, "no more than there is");
    assert!(rest.wait > ms(SLOW - 5_000) && rest.wait <= ms(SLOW), "{:?}", rest.wait);
    let fast = limit(1, 200, 1);
    assert_eq!(f.lease(ask("bob", fast, 1)).await.granted, 1);
    assert_eq!(f.lease(ask("bob", fast, 1)).await.granted, 0);
    f.advance(210).await;
    assert_eq!(f.lease(ask("bob", fast, 1)).await.granted, 1);
}

async fn what_was_refused_costs_nothing(f: Fixture) {
    let limit = limit(1, 200, 1);
    assert_eq!(f.lease(ask("ada", limit, 1)).await.granted, 1);
    for _ in 0..20 {
        f.lease(ask("ada", limit, 9)).await;
    }
    f.advance(210).await;
    assert_eq!(f.lease(ask("ada", limit, 1)).await.granted, 1);
}

async fn what_was_used_is_charged_whatever_the_count_says(f: Fixture) {
    let slow = limit(1, SLOW, 4);
    let paid = |paid| Ask { paid, want: 0, nodes: 3, ..ask("ada", slow, 0) };
    assert_eq!(f.lease(paid(3)).await, Leased { granted: 0, wait: Duration::ZERO }, "one is left");
    let over = f.lease(paid(2)).await;
    assert_eq!(over.granted, 0);
    assert!(over.wait > ms(SLOW) && over.wait <= ms(2 * SLOW), "one is owed: {:?}", over.wait);
    assert_eq!(f.lease(Ask { want: 5, ..paid(0) }).await.granted, 0);
}

async fn near_the_limit_a_grant_is_a_share_of_what_is_left_and_one_in_the_end(f: Fixture) {
    let slow = limit(1, SLOW, 20);
    let mut granted = Vec::new();
    loop {
        let leased = f.lease(Ask { nodes: 3, ..ask("ada", slow, 5) }).await;
        if leased.granted == 0 {
            break;
        }
        granted.push(leased.granted);
    }
    assert_eq!(granted, [5, 5, 3, 2, 1, 1, 1, 1, 1]);
}

async fn counts_do_not_mix(f: Fixture) {
    let slow = limit(1, SLOW, 1);
    assert_eq!(f.lease(ask("ada", slow, 1)).await.granted, 1);
    assert_eq!(f.lease(ask("bob", slow, 1)).await.granted, 1);
    let mut other = ask("ada", slow, 1);
    other.key.limit = "other".to_owned();
    assert_eq!(f.lease(other).await.granted, 1);
    let mut other = ask("ada", slow, 1);
    other.key.per = "tenant";
    assert_eq!(f.lease(other).await.granted, 1);
    assert_eq!(f.lease(ask("ada", slow, 1)).await.granted, 0);
}

async fn of_many_who_ask_at_once_all_together_get_the_burst(f: Fixture) {
    let slow = limit(1, 1_000 * SLOW, 100);
    let got = Arc::new(Mutex::new(0));
    let many = (0..40).map(|_| {
        let (stores, got) = (f.stores.clone(), Arc::clone(&got));
        Box::pin(async move {
            for _ in 0..5 {
                let leased = stores.limits.lease(ask("ada", slow, 3)).await.unwrap();
                *got.lock().unwrap() += leased.granted;
            }
        }) as Step<'static, ()>
    });
    f.together(many.collect::<Vec<_>>()).await;
    assert_eq!(*got.lock().unwrap(), 100);
}

async fn another_rate_forgives_nothing(f: Fixture) {
    assert_eq!(f.lease(ask("ada", limit(1, SLOW, 2), 2)).await.granted, 2);
    assert_eq!(f.lease(ask("ada", limit(2, SLOW, 2), 1)).await.granted, 0);
    assert_eq!(f.lease(ask("ada", limit(1, SLOW, 3), 2)).await.granted, 1, "one more at once, and no more");
}

async fn a_rate_that_no_unit_of_time_divides_loses_no_token(f: Fixture) {
    // three in 70 s: an interval of 23.333… s
    let odd = limit(3, 70_000, 1_000);
    let mut granted = 0;
    for _ in 0..1_010 {
        granted += f.lease(ask("ada", odd, 1)).await.granted;
    }
    assert_eq!(granted, 1_000);
}

/// Gets at the server beside the store, as the checks of eras do, and is listed with them.
pub(super) async fn a_count_outlives_an_era(f: Fixture) {
    let world = f.harness.forgetful().await;
    let (one, two) = (world.process().await, world.process().await);
    one.eras.open(Vec::new(), Duration::ZERO).await.unwrap();
    let slow = limit(1, SLOW, 1);
    assert_eq!(one.limits.lease(ask("ada", slow, 1)).await.unwrap().granted, 1);
    world.copy().await;
    world.fail_over().await;
    one.limits.lease(ask("ada", slow, 1)).await.expect_err("a server that nobody told of an era decides nothing");
    one.eras.open(Vec::new(), Duration::ZERO).await.unwrap();
    for stores in [&one, &two] {
        assert_eq!(stores.limits.lease(ask("ada", slow, 1)).await.unwrap().granted, 0, "it was used before");
    }
}

async fn a_minute_gives_back_what_a_minute_gives(f: Fixture) {
    let limit = limit(10, 60_000, 30);
    assert_eq!(f.lease(ask("ada", limit, 30)).await.granted, 30);
    assert_eq!(f.lease(ask("ada", limit, 30)).await.granted, 0);
    f.advance(60_000).await;
    assert_eq!(f.lease(ask("ada", limit, 30)).await.granted, 10);
    f.advance(3_600_000).await;
    assert_eq!(f.lease(ask("ada", limit, 90)).await.granted, 30, "what is not used does not pile up");
}
