use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::ids::{NodeId, UserId};
use crate::store::control::Target;
use crate::store::record::Issuer;

#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl ControlSink for Told {
    fn apply(&self, logged: &Logged) {
        self.0.lock().unwrap().push(logged.id.0);
    }
}

fn opened(at: u64, sequence: u64, entry: &ControlEntry, lifted: Option<Lifted>) -> Opened {
    let issuer = Issuer { node: NodeId::parse("n").unwrap(), epoch: NodeEpoch(1) };
    let body = serde_json::to_vec(&Sealed { entry: entry.clone(), lifted }).unwrap();
    Opened { header: Header { issuer, sequence, at: UnixMs(at) }, body: Bytes::from(body) }
}

fn ada() -> Target {
    Target::User(UserId::parse("ada").unwrap())
}

fn ban(until: Option<u64>) -> ControlEntry {
    ControlEntry::Ban { target: ada(), until: until.map(UnixMs), reason: String::new() }
}

fn lift() -> ControlEntry {
    ControlEntry::Lift { target: ada() }
}

fn kick() -> ControlEntry {
    ControlEntry::Kick { target: ada(), reason: String::new() }
}

struct World {
    log: Log,
    told: Arc<Told>,
    counters: Counters,
    now: u64,
}

impl World {
    fn new() -> Self {
        let told = Arc::new(Told::default());
        let mut log = Log::default();
        log.tell(Arc::clone(&told) as Arc<dyn ControlSink>, UnixMs(0)).unwrap();
        Self { log, told, counters: Counters::default(), now: 1_000 }
    }

    fn time(&self) -> Now {
        Now { least: UnixMs(self.now), most: UnixMs(self.now) }
    }

    fn read(&mut self, id: u64, opened: &Opened) {
        self.log.read(LogId(id), &opened.body, opened, self.time(), &self.counters);
        self.log.expire(UnixMs(self.now));
    }

    fn in_force(&mut self) -> Vec<u64> {
        let late = Arc::new(Told::default());
        self.log.tell(Arc::clone(&late) as Arc<dyn ControlSink>, UnixMs(self.now)).unwrap();
        late.0.lock().unwrap().clone()
    }

    fn told(&self) -> Vec<u64> {
        self.told.0.lock().unwrap().clone()
    }
}

#[test]
fn an_entry_that_is_written_again_is_told_once() {
    let mut world = World::new();
    for (id, entry) in [(1, ban(None)), (2, ban(None)), (3, kick()), (4, kick())] {
        let sequence = if id < 3 { 1 } else { 2 };
        world.read(id, &opened(500, sequence, &entry, None));
    }
    assert_eq!((world.told(), world.in_force()), (vec![1, 3], vec![1, 3]));
    assert_eq!((world.counters.read().replayed, world.log.dead(1)), (2, vec![LogId(2), LogId(4)]));
}

#[test]
fn an_old_ban_that_is_written_again_does_not_come_back_and_neither_does_an_old_lift() {
    let mut world = World::new();
    let (first, lifted, second) =
        (opened(500, 1, &ban(None), None), opened(600, 2, &lift(), None), opened(700, 3, &ban(Some(9_000)), None));
    world.read(1, &first);
    world.read(2, &lifted);
    world.read(3, &first);
    assert_eq!((world.told(), world.in_force()), (vec![1, 2], vec![2]));
    world.read(4, &second);
    world.read(5, &lifted);
    assert_eq!((world.told(), world.in_force()), (vec![1, 2, 4], vec![4]));
}

#[test]
fn a_lift_read_without_its_ban_is_remembered_as_long_as_the_ban_would_have_lasted() {
    let mut world = World::new();
    world.now = 200_000;
    world.read(2, &opened(600, 2, &lift(), Some(Lifted { until: Some(UnixMs(300_000)) })));
    world.read(3, &opened(500, 1, &ban(Some(300_000)), None));
    assert_eq!(world.in_force(), [2]);
    world.now = 300_000;
    assert!(world.in_force().is_empty());
}

#[test]
fn what_has_ended_is_not_told() {
    let mut world = World::new();
    world.now = 10_000_000;
    world.read(1, &opened(500, 1, &kick(), None));
    world.read(2, &opened(500, 2, &ban(Some(99_999)), None));
    assert_eq!((world.told(), world.in_force()), (vec![], vec![]));
    assert_eq!(world.log.dead(1), [LogId(1), LogId(2)]);
}

#[test]
fn an_entry_from_the_future_is_refused() {
    let mut world = World::new();
    world.read(1, &opened(31_001, 1, &ban(None), None));
    assert_eq!((world.told(), world.counters.read().future), (vec![], 1));
}

#[test]
fn a_log_that_was_lost_is_told_nothing_twice_and_what_is_missing_is_known() {
    let mut world = World::new();
    let entries = [opened(500, 1, &ban(None), None), opened(600, 2, &kick(), None)];
    world.read(1, &entries[0]);
    world.read(2, &entries[1]);
    let before = world.log.begin_anew(UnixMs(world.now));
    assert!(world.in_force().is_empty());
    world.read(1, &entries[1]);
    assert_eq!(world.log.missing(&before), [entries[0].body.clone()]);
    world.read(2, &entries[0]);
    assert_eq!((world.told(), world.in_force()), (vec![1, 2], vec![1, 2]));
}

#[test]
fn an_entry_is_issued_later_than_everything_that_was_read() {
    let mut world = World::new();
    world.read(1, &opened(5_000, 1, &ban(None), None));
    let (at, sealed) = world.log.prepare(lift(), &[], UnixMs(1_000)).unwrap();
    assert_eq!(at, UnixMs(5_001));
    assert_eq!(sealed.lifted, Some(Lifted { until: None }));
}

#[test]
fn rubbish_under_a_right_mac_is_counted() {
    let mut world = World::new();
    let mut entry = opened(500, 1, &kick(), None);
    entry.body = Bytes::from_static(b"{\"entry\":{\"entry\":\"sing\"}}");
    world.read(1, &entry);
    assert_eq!((world.told(), world.counters.read().unreadable), (vec![], 1));
}

#[test]
fn a_snapshot_gives_what_was_not_read_yet_and_keeps_what_is_in_force_in_its_order() {
    let mut world = World::new();
    let (banned, kicked, old) =
        (opened(900, 1, &ban(None), None), opened(950, 2, &kick(), None), opened(1, 3, &kick(), None));
    world.read(1, &banned);
    let now = world.time();
    for (id, opened) in [(1, &banned), (2, &kicked)] {
        world.log.recall(LogId(id), &opened.body, opened, now, &world.counters);
    }
    assert_eq!(world.told(), [1, 2], "what was read is not told again");
    let kept: Vec<(u64, &Bytes)> = world.log.kept().map(|(id, sealed)| (id.0, sealed)).collect();
    assert_eq!(kept, [(1, &banned.body), (2, &kicked.body)]);
    world.now = 10_000_000;
    world.read(3, &old);
    assert_eq!(world.told(), [1, 2], "a kick of long ago is over");
    let mut dead: Vec<u64> = world.log.dead(1).iter().map(|id| id.0).collect();
    dead.sort_unstable();
    assert_eq!(dead, [2, 3], "and the stream can do without it");
    assert!(world.log.dead(1).is_empty());
}

#[test]
fn the_furthest_revocation_counts_in_whatever_order_they_come() {
    let mut world = World::new();
    let revoke = |until| ControlEntry::Revoke { user: UserId::parse("ada").unwrap(), issued_until: UnixMs(until) };
    world.read(1, &opened(500, 1, &revoke(900), None));
    world.read(2, &opened(600, 2, &revoke(800), None));
    assert_eq!(world.in_force(), [1], "a revocation that says less");
    world.read(3, &opened(700, 3, &revoke(950), None));
    assert_eq!(world.in_force(), [3]);
}

#[test]
fn sinks_are_bounded() {
    let mut world = World::new();
    let told = || Arc::new(Told::default()) as Arc<dyn ControlSink>;
    for _ in 1..SINKS {
        world.log.tell(told(), UnixMs(1)).unwrap();
    }
    assert!(world.log.tell(told(), UnixMs(1)).is_err());
}

#[test]
fn a_shorter_ban_that_is_over_ends_the_longer_one_for_who_reads_them_late_and_for_good() {
    let mut world = World::new();
    let (longer, shorter) = (opened(500, 1, &ban(Some(900_000)), None), opened(600, 2, &ban(Some(9_000)), None));
    world.now = 20_000;
    world.read(1, &longer);
    world.read(2, &shorter);
    assert_eq!(world.told(), [1, 2], "who acts on the first has to know of the second");
    assert!(world.in_force().is_empty());
    world.read(3, &longer);
    assert!(world.in_force().is_empty(), "whatever comes again");
    assert_eq!(world.log.kept().map(|(id, _)| id.0).collect::<Vec<_>>(), [2], "until the longer one would have ended");
    world.now = 900_000;
    assert!(world.in_force().is_empty());
    assert_eq!(world.log.len(), 0);
}

#[test]
fn a_restriction_that_was_lifted_stays_lifted_when_a_ban_came_after_the_lift() {
    let restrict =
        |until| ControlEntry::Restrict { target: ada(), until: UnixMs(until), close: false, reason: String::new() };
    let mut world = World::new();
    let old = opened(500, 1, &restrict(900_000), None);
    world.read(1, &old);
    world.read(2, &opened(600, 2, &lift(), None));
    world.read(3, &opened(700, 3, &ban(None), None));
    world.read(4, &old);
    assert_eq!(world.in_force(), [3]);
    // and one that is newer than the lift outlives it, in whatever order they come
    let mut world = World::new();
    world.read(1, &opened(700, 3, &restrict(900_000), None));
    world.read(2, &opened(600, 2, &lift(), None));
    assert_eq!(world.in_force(), [1]);
    assert_eq!(world.told(), [1, 2, 2], "and is told again behind the lift");
}

#[test]
fn what_the_log_lacks_is_what_nothing_newer_outlives() {
    let mut world = World::new();
    world.read(1, &opened(500, 2, &ban(Some(9_000)), None));
    let lacks = |at, entry: &ControlEntry, lifted| world.log.lacks(&opened(at, 1, entry, lifted));
    assert!(!lacks(400, &ban(Some(8_000)), None), "the newer ban ends later");
    assert!(!lacks(400, &ban(Some(9_000)), None), "and here at the same time");
    assert!(lacks(400, &ban(Some(9_001)), None), "an older one that lasts longer has to be known, to stay ended");
    assert!(lacks(400, &ban(None), None));
    assert!(lacks(600, &ban(Some(8_000)), None), "what is newer says something");
    assert!(lacks(400, &ban(Some(8_000)), Some(Lifted { until: None })), "it ended what lasts longer");
    assert!(lacks(400, &lift(), None), "nothing is known of a restriction, which a lift ends too");
    assert!(lacks(400, &kick(), None), "an event is newer than nothing");
    let rubbish = Opened { body: Bytes::from_static(b"{"), ..opened(400, 1, &kick(), None) };
    assert!(!world.log.lacks(&rubbish));
}

#[test]
fn of_revocations_the_log_lacks_what_says_more() {
    let revoke = |until| ControlEntry::Revoke { user: UserId::parse("ada").unwrap(), issued_until: UnixMs(until) };
    let mut world = World::new();
    world.read(1, &opened(500, 1, &revoke(900), None));
    assert!(!world.log.lacks(&opened(600, 2, &revoke(800), None)));
    assert!(world.log.lacks(&opened(400, 2, &revoke(901), None)));
}

#[test]
fn a_lift_of_a_network_opens_its_door_and_says_nothing_of_another() {
    let shut = |network: &str, until| ControlEntry::Shut {
        network: network.parse().unwrap(),
        until: UnixMs(until),
        reason: String::new(),
    };
    let mut world = World::new();
    world.read(1, &opened(500, 1, &shut("192.0.2.7/32", 9_000), None));
    world.read(2, &opened(500, 2, &shut("198.51.100.0/24", 9_000), None));
    let target = Target::Network("192.0.2.7/32".parse().unwrap());
    world.read(3, &opened(600, 3, &ControlEntry::Lift { target }, None));
    assert_eq!((world.told(), world.in_force()), (vec![1, 2, 3], vec![2, 3]));
    world.now = 9_000;
    assert!(world.in_force().is_empty());
    world.read(4, &opened(500, 9, &shut("203.0.113.1/32", 9_000), None));
    assert_eq!(world.told(), [1, 2, 3], "a door that was open again before this node knew of it");
}

#[test]
fn what_is_sealed_says_how_long_what_it_ends_would_have_lasted() {
    let mut world = World::new();
    let now = UnixMs(world.now);
    let (_, alone) = world.log.prepare(lift(), &[], now).unwrap();
    assert!(alone.lifted.is_none(), "it ends nothing");
    let (issued, behind) = world.log.prepare(lift(), &[Sealed { entry: ban(Some(9_000)), lifted: None }], now).unwrap();
    assert_eq!(behind.lifted.unwrap().until, Some(UnixMs(9_000)), "a ban that goes in front of it in the same write");
    assert!(issued > now, "each is issued later than the one before");
    world.read(1, &opened(500, 1, &ban(None), None));
    let (_, shorter) = world.log.prepare(ban(Some(5_000)), &[], now).unwrap();
    assert_eq!(shorter.lifted.unwrap().until, None, "what has no end");
    let longest = Sealed { entry: ban(Some(4_000)), lifted: Some(Lifted { until: Some(UnixMs(7_000)) }) };
    let mut other = World::new();
    let (_, last) = other.log.prepare(lift(), &[longest], now).unwrap();
    assert_eq!(last.lifted.unwrap().until, Some(UnixMs(7_000)), "what the one in front of it ended");
}

#[test]
fn no_two_entries_of_one_log_have_a_place_in_common() {
    let mut world = World::new();
    let other =
        ControlEntry::Ban { target: Target::User(UserId::parse("eve").unwrap()), until: None, reason: String::new() };
    world.read(1, &opened(900, 1, &ban(None), None));
    let (foreign, now) = (opened(900, 2, &other, None), world.time());
    world.log.recall(LogId(1), &foreign.body, &foreign, now, &world.counters);
    assert_eq!((world.told(), world.in_force(), world.counters.read().replayed), (vec![1], vec![1], 1));
}

#[test]
fn an_authentic_entry_is_shown_while_it_lasts_and_rubbish_never() {
    let banned = opened(500, 1, &ban(Some(9_000)), None);
    let shown = decode(LogId(3), &banned).unwrap();
    assert_eq!((shown.id, shown.at, shown.entry), (LogId(3), UnixMs(500), ban(Some(9_000))));
    assert!(lasts(&banned, UnixMs(8_999)) && !lasts(&banned, UnixMs(9_000)));
    assert!(
        lasts(&opened(500, 1, &ban(Some(9_000)), Some(Lifted { until: None })), UnixMs(9_000)),
        "against the older"
    );
    assert!(lasts(&opened(500, 1, &lift(), None), UnixMs(u64::MAX)), "a ban may be in force somewhere");
    let ends = |entry: &ControlEntry, kept: Duration| {
        let (entry, end) = (opened(500, 1, entry, None), UnixMs(500).after(kept));
        assert!(lasts(&entry, UnixMs(end.0 - 1)) && !lasts(&entry, end));
    };
    ends(&kick(), KICK_KEPT);
    ends(&ControlEntry::Drain { node: NodeId::parse("n").unwrap() }, EVENT_KEPT);
    let rubbish = Opened { body: Bytes::from_static(b"[]"), ..banned };
    assert!(decode(LogId(3), &rubbish).is_none() && !lasts(&rubbish, UnixMs(0)));
}

#[test]
fn a_full_log_lets_events_go_first_then_restrictions_then_what_only_remembers() {
    let named = |n: u64| Target::User(UserId::parse(&format!("u{n}")).unwrap());
    let logged = |id, entry| Logged { id: LogId(id), at: UnixMs(500), entry };
    let banned = |n| ControlEntry::Ban { target: named(n), until: None, reason: String::new() };
    let restrict =
        ControlEntry::Restrict { target: named(2), until: UnixMs(9_000), close: false, reason: String::new() };
    let mut merged = Merged::default();
    let put = |merged: &mut Merged, logged: &Logged, lifted| {
        let mut gone = Vec::new();
        let put = merged.put(logged, lifted, 3, |_| false, |id| gone.push(id.0));
        (put.is_ok(), gone)
    };
    let remembered = ControlEntry::Lift { target: named(1) };
    assert_eq!(put(&mut merged, &logged(1, remembered), Some(Lifted { until: None })), (true, vec![]));
    assert_eq!(put(&mut merged, &logged(2, restrict), None), (true, vec![]));
    assert_eq!(put(&mut merged, &logged(3, kick()), None), (true, vec![]));
    for (n, goes) in [(4, 3), (5, 2), (6, 1)] {
        assert!(merged.has_room(&banned(n), 3));
        assert_eq!(put(&mut merged, &logged(n, banned(n)), None), (true, vec![goes]));
    }
    assert!(!merged.has_room(&banned(7), 3));
    assert_eq!(put(&mut merged, &logged(7, banned(7)), None), (false, vec![]), "bans stay");
    assert!(merged.has_room(&banned(6), 3), "what takes another's place needs none");
    assert_eq!(put(&mut merged, &logged(8, banned(6)), None), (true, vec![6]));
}
