//! The control log: one order, what is in force, tombstones.

use std::sync::{Arc, Mutex};

use super::{Fixture, Step, checks, node, user};
use crate::clock::UnixMs;
use crate::ids::SessionId;
use crate::store::StoreFault;
use crate::store::control::{ControlEntry, ControlSink, LogId, Logged, Target};
use crate::store::leader::Fence;

checks![
    a_follower_gets_everything_that_is_appended_in_order,
    a_late_follower_gets_what_is_in_force_in_order_and_then_the_rest,
    whoever_comes_after_many_bans_knows_them_all,
    an_empty_log_begins_at_zero_and_places_grow,
    the_newest_ban_of_a_target_replaces_the_older_ones,
    a_lift_replaces_the_ban_and_stays_as_a_tombstone,
    a_ban_is_kept_until_it_ends,
    a_tombstone_is_kept_until_the_ban_would_have_ended,
    the_widest_revocation_of_a_user_stands_whatever_comes_later,
    targets_do_not_mix,
    several_are_appended_with_nothing_between_them,
    a_restriction_stands_beside_a_ban_the_newest_counts_and_it_ends,
    a_lift_ends_ban_and_restriction_and_outlives_both,
    a_shut_door_stands_beside_a_restriction_the_newest_counts_and_a_lift_ends_both,
    what_an_old_leader_appends_is_refused_and_not_there,
    concurrent_appends_reach_all_followers_in_one_order,
    ; long:
    drains_are_kept_for_a_minute_and_kicks_as_long_as_a_session_can_be_resumed,
    a_revocation_is_kept_as_long_as_a_token_can_live,
    a_ban_without_an_end_is_kept,
];

#[derive(Default)]
struct Reader(Mutex<Vec<Logged>>);

impl ControlSink for Reader {
    fn apply(&self, logged: &Logged) {
        self.0.lock().unwrap().push(logged.clone());
    }
}

impl Reader {
    fn entries(&self) -> Vec<ControlEntry> {
        self.0.lock().unwrap().iter().map(|logged| logged.entry.clone()).collect()
    }

    fn ids(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|logged| logged.id.0).collect()
    }
}

fn target(who: &str) -> Target {
    Target::User(user(who))
}

fn kick(who: &str) -> ControlEntry {
    ControlEntry::Kick { target: target(who), reason: "test".to_owned() }
}

fn ban(who: &str, until: Option<UnixMs>) -> ControlEntry {
    ControlEntry::Ban { target: target(who), until, reason: "test".to_owned() }
}

fn lift(who: &str) -> ControlEntry {
    ControlEntry::Lift { target: target(who) }
}

fn revoke(who: &str, until: u64) -> ControlEntry {
    ControlEntry::Revoke { user: user(who), issued_until: UnixMs(until) }
}

impl Fixture {
    async fn follow(&self) -> (Arc<Reader>, LogId) {
        let reader = Arc::new(Reader::default());
        let at = self.stores.control.follow(Arc::clone(&reader) as Arc<dyn ControlSink>).await.unwrap();
        (reader, at)
    }

    async fn append(&self, entry: ControlEntry) -> LogId {
        self.stores.control.append(entry).await.unwrap()
    }

    /// What a reader that comes now is told.
    async fn told(&self) -> Vec<ControlEntry> {
        self.follow().await.0.entries()
    }

    /// The store's wall time, from the log itself.
    async fn store_time(&self) -> UnixMs {
        let (reader, _) = self.follow().await;
        self.append(kick("clock")).await;
        self.has(&reader, |reader| reader.entries().contains(&kick("clock"))).await;
        reader.0.lock().unwrap().last().unwrap().at
    }

    async fn has(&self, reader: &Reader, enough: impl Fn(&Reader) -> bool) {
        for _ in 0..500 {
            if enough(reader) {
                return;
            }
            self.advance(10).await;
        }
        panic!("the reader never got it: {:?}", reader.entries());
    }
}

async fn a_follower_gets_everything_that_is_appended_in_order(f: Fixture) {
    let (one, _) = f.follow().await;
    let entries = [kick("a"), ban("a", None), lift("a"), revoke("a", 5), ControlEntry::Drain { node: node(1) }];
    let mut ids = Vec::new();
    for entry in &entries {
        ids.push(f.append(entry.clone()).await.0);
    }
    f.has(&one, |reader| reader.entries().len() == entries.len()).await;
    assert_eq!(one.entries(), entries);
    assert_eq!(one.ids(), ids);
}

async fn a_late_follower_gets_what_is_in_force_in_order_and_then_the_rest(f: Fixture) {
    f.append(ban("a", None)).await;
    f.append(ban("b", None)).await;
    let last = f.append(kick("c")).await;
    let (late, at) = f.follow().await;
    assert_eq!(at, last);
    assert_eq!(late.entries(), [ban("a", None), ban("b", None), kick("c")]);
    f.append(ban("d", None)).await;
    f.has(&late, |reader| reader.entries().len() == 4).await;
    assert!(late.ids().is_sorted_by(|a, b| a < b));
}

/// Many enough that a store which keeps snapshots of its log has written one.
async fn whoever_comes_after_many_bans_knows_them_all(f: Fixture) {
    let bans: Vec<ControlEntry> = (0..600).map(|n| ban(&format!("u{n}"), None)).collect();
    let (first, _) = f.follow().await;
    for entry in &bans {
        f.append(entry.clone()).await;
    }
    f.has(&first, |reader| reader.entries().len() == bans.len()).await;
    assert_eq!(first.entries(), bans);
    assert_eq!(f.told().await, bans);
}

async fn an_empty_log_begins_at_zero_and_places_grow(f: Fixture) {
    let (_, at) = f.follow().await;
    assert_eq!(at, LogId(0));
    let (first, second) = (f.append(kick("a")).await, f.append(kick("a")).await);
    assert!(LogId(0) < first && first < second);
}

async fn the_newest_ban_of_a_target_replaces_the_older_ones(f: Fixture) {
    let now = f.store_time().await.0;
    f.append(ban("a", None)).await;
    f.append(ban("b", None)).await;
    let shorter = ban("a", Some(UnixMs(now + 60_000)));
    f.append(shorter.clone()).await;
    assert_eq!(f.told().await, [kick("clock"), ban("b", None), shorter]);
}

async fn a_lift_replaces_the_ban_and_stays_as_a_tombstone(f: Fixture) {
    f.append(ban("a", None)).await;
    f.append(lift("a")).await;
    assert_eq!(f.told().await, [lift("a")]);
    f.append(ban("a", None)).await;
    assert_eq!(f.told().await, [ban("a", None)]);
}

async fn a_ban_is_kept_until_it_ends(f: Fixture) {
    let now = f.store_time().await.0;
    let short = ban("a", Some(UnixMs(now + 500)));
    f.append(short.clone()).await;
    assert!(f.told().await.contains(&short));
    f.advance(600).await;
    assert!(!f.told().await.contains(&short));
}

async fn a_tombstone_is_kept_until_the_ban_would_have_ended(f: Fixture) {
    let now = f.store_time().await.0;
    f.append(ban("a", Some(UnixMs(now + 500)))).await;
    f.append(lift("a")).await;
    f.append(lift("a")).await;
    assert_eq!(f.told().await, [kick("clock"), lift("a")]);
    f.advance(600).await;
    assert_eq!(f.told().await, [kick("clock")]);
}

async fn the_widest_revocation_of_a_user_stands_whatever_comes_later(f: Fixture) {
    let now = f.store_time().await.0;
    let (one, _) = f.follow().await;
    f.append(revoke("a", now - 1_000)).await;
    f.append(revoke("a", now)).await;
    f.append(revoke("a", now - 2_000)).await;
    assert_eq!(f.told().await, [kick("clock"), revoke("a", now)]);
    f.has(&one, |reader| reader.entries().len() == 4).await;
}

async fn targets_do_not_mix(f: Fixture) {
    let sid = SessionId(1);
    let network = "10.0.0.0/8".parse().unwrap();
    let targets = [target("a"), Target::Session(sid), Target::Token("a".to_owned()), Target::Network(network)];
    for target in &targets {
        f.append(ControlEntry::Ban { target: target.clone(), until: None, reason: String::new() }).await;
    }
    f.append(lift("a")).await;
    f.append(revoke("a", f.store_time().await.0)).await;
    let told = f.told().await;
    let bans = told.iter().filter(|entry| matches!(entry, ControlEntry::Ban { .. })).count();
    assert_eq!((bans, told.contains(&lift("a"))), (3, true));
}

fn restrict(who: &str, until: u64) -> ControlEntry {
    ControlEntry::Restrict { target: target(who), until: UnixMs(until), close: false, reason: "test".to_owned() }
}

async fn several_are_appended_with_nothing_between_them(f: Fixture) {
    let (reader, _) = f.follow().await;
    let work = (0..8).map(|n| {
        let control = Arc::clone(&f.stores.control);
        Box::pin(async move {
            let bans = (0..50).map(|m| ban(&format!("{n}-{m}"), None)).collect();
            control.append_all(bans).await.unwrap();
        }) as Step<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    f.has(&reader, |reader| reader.entries().len() == 400).await;
    for some in reader.entries().chunks(50) {
        let ControlEntry::Ban { target: Target::User(first), .. } = &some[0] else { panic!("{some:?}") };
        let n = first.as_str().split('-').next().unwrap();
        let expected: Vec<_> = (0..50).map(|m| ban(&format!("{n}-{m}"), None)).collect();
        assert_eq!(some, expected);
    }
    let last = f.stores.control.append_all(vec![kick("a"), kick("b")]).await.unwrap();
    assert_eq!(last, LogId(402));
}

async fn a_restriction_stands_beside_a_ban_the_newest_counts_and_it_ends(f: Fixture) {
    let now = f.store_time().await.0;
    f.append(restrict("a", now + 60_000)).await;
    f.append(ban("a", None)).await;
    f.append(restrict("a", now + 600)).await;
    f.append(restrict("b", now + 60_000)).await;
    assert_eq!(f.told().await[1..], [ban("a", None), restrict("a", now + 600), restrict("b", now + 60_000)]);
    f.advance(700).await;
    assert_eq!(f.told().await[1..], [ban("a", None), restrict("b", now + 60_000)]);
}

async fn a_lift_ends_ban_and_restriction_and_outlives_both(f: Fixture) {
    let now = f.store_time().await.0;
    f.append(ban("a", Some(UnixMs(now + 300)))).await;
    f.append(restrict("a", now + 1_000)).await;
    f.append(lift("a")).await;
    assert_eq!(f.told().await[1..], [lift("a")]);
    f.advance(400).await;
    assert_eq!(f.told().await[1..], [lift("a")], "whoever still has the restriction must hear of it");
    f.advance(700).await;
    assert!(f.told().await[1..].is_empty());
}

fn shut(until: u64) -> ControlEntry {
    let network = "192.0.2.0/24".parse().unwrap();
    ControlEntry::Shut { network, until: UnixMs(until), reason: "test".to_owned() }
}

async fn a_shut_door_stands_beside_a_restriction_the_newest_counts_and_a_lift_ends_both(f: Fixture) {
    let now = f.store_time().await.0;
    let network = || Target::Network("192.0.2.0/24".parse().unwrap());
    let restrict = ControlEntry::Restrict {
        target: network(),
        until: UnixMs(now + 60_000),
        close: false,
        reason: "test".to_owned(),
    };
    f.append(restrict.clone()).await;
    f.append(shut(now + 60_000)).await;
    f.append(shut(now + 600)).await;
    assert_eq!(f.told().await[1..], [restrict.clone(), shut(now + 600)]);
    f.advance(700).await;
    assert_eq!(f.told().await[1..], [restrict], "it ends by itself");
    f.append(shut(now + 60_000)).await;
    f.append(ControlEntry::Lift { target: network() }).await;
    assert_eq!(f.told().await[1..], [ControlEntry::Lift { target: network() }]);
}

async fn what_an_old_leader_appends_is_refused_and_not_there(f: Fixture) {
    let control = &f.stores.control;
    control.append_by(Fence(3), vec![ban("a", None), ban("b", None)]).await.unwrap();
    control.append_by(Fence(3), vec![ban("c", None)]).await.unwrap();
    f.stores.leadership.proclaim(Fence(4)).await.unwrap();
    assert!(matches!(control.append_by(Fence(3), vec![ban("d", None)]).await, Err(StoreFault::Fenced)));
    control.append(ban("e", None)).await.unwrap();
    control.append_by(Fence(5), vec![ban("f", None)]).await.unwrap();
    assert!(matches!(f.stores.leadership.proclaim(Fence(4)).await, Err(StoreFault::Fenced)), "it was proclaimed so");
    let bans: Vec<_> = ["a", "b", "c", "e", "f"].map(|who| ban(who, None)).into();
    assert_eq!(f.told().await, bans);
}

async fn concurrent_appends_reach_all_followers_in_one_order(f: Fixture) {
    let ((one, _), (two, _)) = (f.follow().await, f.follow().await);
    let work = (0..20).map(|n| {
        let control = Arc::clone(&f.stores.control);
        Box::pin(async move {
            for m in 0..10 {
                control.append(kick(&format!("{n}-{m}"))).await.unwrap();
            }
        }) as Step<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    for reader in [&one, &two] {
        f.has(reader, |reader| reader.entries().len() == 200).await;
        assert!(reader.ids().is_sorted_by(|a, b| a < b));
    }
    assert_eq!(one.entries(), two.entries());
    let (late, _) = f.follow().await;
    assert_eq!(late.entries(), one.entries());
}

async fn drains_are_kept_for_a_minute_and_kicks_as_long_as_a_session_can_be_resumed(f: Fixture) {
    f.append(kick("a")).await;
    f.append(ControlEntry::Drain { node: node(1) }).await;
    f.append(lift("nobody")).await;
    f.advance(59_000).await;
    assert_eq!(f.told().await.len(), 3);
    f.advance(2_000).await;
    assert_eq!(f.told().await, [kick("a")]);
    f.advance(3_600_000 - 2_000).await;
    assert_eq!(f.told().await, [kick("a")], "`session.resume_window` may be an hour");
    f.advance(2_000).await;
    assert!(f.told().await.is_empty());
}

async fn a_revocation_is_kept_as_long_as_a_token_can_live(f: Fixture) {
    let now = f.store_time().await.0;
    f.append(revoke("a", now)).await;
    f.advance(24 * 3_600_000).await;
    assert_eq!(f.told().await, [revoke("a", now)]);
    f.advance(31_000).await;
    assert!(f.told().await.is_empty());
}

async fn a_ban_without_an_end_is_kept(f: Fixture) {
    f.append(ban("a", None)).await;
    f.advance(400 * 24 * 3_600_000).await;
    assert_eq!(f.told().await, [ban("a", None)]);
}
