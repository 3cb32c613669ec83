//! The bus: order, delivery, mail, dedupe.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Fixture, Step, checks, life, node, room, user};
use crate::ids::{ClientId, RoomName, SessionId};
use crate::store::bus::{BusSink, Dedupe, Delivery, NodeMail, Position, Published, Record};
use crate::store::session::{Holder, Passed};

checks![
    a_message_reaches_every_subscribed_node_once,
    a_node_that_is_not_subscribed_gets_nothing,
    subscribing_twice_delivers_once,
    subscribe_answers_the_position_and_everything_later_is_delivered,
    nothing_comes_after_unsubscribe,
    nothing_comes_to_a_detached_node_and_a_new_sink_begins_anew,
    a_delivery_is_the_record_as_published_in_its_place,
    offsets_count_each_room_from_one_and_rooms_do_not_mix,
    the_offset_counts_on_while_nobody_listens,
    concurrent_publishers_are_delivered_in_one_order_to_all_nodes,
    a_senders_messages_keep_their_order,
    the_same_id_is_taken_once_and_answers_the_first_place,
    ids_are_per_user_and_per_room,
    of_many_equal_ids_at_once_one_is_delivered,
    direct_ids_are_per_user_and_per_receiver,
    mail_reaches_its_node_alone_and_the_answer_says_whether_there_is_one,
    ; long:
    an_id_is_new_again_after_five_minutes,
    a_room_that_nobody_used_for_long_begins_a_new_epoch,
    a_room_with_a_subscriber_keeps_its_epoch_however_long_it_is_quiet,
];

/// A node's sink that remembers.
#[derive(Default)]
pub(super) struct Inbox {
    deliveries: Mutex<Vec<Delivery>>,
    mails: Mutex<Vec<NodeMail>>,
}

impl BusSink for Inbox {
    fn deliver(&self, delivery: Delivery) {
        self.deliveries.lock().unwrap().push(delivery);
    }

    fn mail(&self, mail: NodeMail) {
        self.mails.lock().unwrap().push(mail);
    }
}

impl Inbox {
    fn offsets(&self, name: &str) -> Vec<u64> {
        let deliveries = self.deliveries.lock().unwrap();
        deliveries.iter().filter(|d| d.room.as_str() == name).map(|d| d.position.offset).collect()
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.deliveries.lock().unwrap().iter().map(|delivery| delivery.record.body.clone()).collect()
    }

    fn count(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }
}

pub(super) fn record(text: &str) -> Record {
    Record { body: Bytes::from(format!("{{\"t\":\"{text}\"}}")), exclude: None }
}

pub(super) fn dedupe(who: &str, id: &str) -> Option<Dedupe> {
    Some(Dedupe { user: user(who), id: ClientId::parse(id).unwrap() })
}

impl Fixture {
    fn inbox(&self, on: u128) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        self.stores.bus.attach(node(on), Arc::clone(&inbox) as Arc<dyn BusSink>);
        inbox
    }

    pub(super) async fn subscribe(&self, on: u128, name: &str) -> Position {
        self.stores.bus.subscribe(node(on), room(name)).await.unwrap()
    }

    async fn subscribed(&self, on: u128, name: &str) -> Arc<Inbox> {
        let inbox = self.inbox(on);
        self.subscribe(on, name).await;
        inbox
    }

    async fn say(&self, name: &str, text: &str) -> Position {
        let published = self.stores.bus.publish(room(name), record(text), None, None).await.unwrap();
        assert!(!published.duplicate);
        published.position
    }

    async fn say_once(&self, name: &str, who: &str, id: &str) -> Published {
        self.stores.bus.publish(room(name), record(id), dedupe(who, id), None).await.unwrap()
    }

    /// Waits until the inbox has `count` deliveries, then a moment longer for what must not come.
    async fn settled(&self, inbox: &Inbox, count: usize) {
        for _ in 0..500 {
            if inbox.count() >= count {
                break;
            }
            self.advance(10).await;
        }
        self.advance(30).await;
        assert_eq!(inbox.count(), count);
    }
}

async fn a_message_reaches_every_subscribed_node_once(f: Fixture) {
    let (one, two) = (f.subscribed(1, "r").await, f.subscribed(2, "r").await);
    f.say("r", "hello").await;
    f.settled(&one, 1).await;
    f.settled(&two, 1).await;
}

async fn a_node_that_is_not_subscribed_gets_nothing(f: Fixture) {
    let (one, two) = (f.subscribed(1, "r").await, f.subscribed(2, "s").await);
    f.say("r", "hello").await;
    f.settled(&one, 1).await;
    f.settled(&two, 0).await;
}

async fn subscribing_twice_delivers_once(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    f.subscribe(1, "r").await;
    f.say("r", "hello").await;
    f.settled(&one, 1).await;
}

async fn subscribe_answers_the_position_and_everything_later_is_delivered(f: Fixture) {
    f.subscribed(1, "r").await;
    let last = f.say("r", "before").await;
    let late = f.inbox(2);
    assert_eq!(f.subscribe(2, "r").await, last);
    f.say("r", "after").await;
    f.settled(&late, 1).await;
    assert_eq!(late.offsets("r"), [last.offset + 1]);
}

async fn nothing_comes_after_unsubscribe(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    f.say("r", "hello").await;
    f.settled(&one, 1).await;
    for _ in 0..2 {
        f.stores.bus.unsubscribe(node(1), room("r")).await.unwrap();
    }
    f.say("r", "nobody").await;
    f.settled(&one, 1).await;
}

async fn nothing_comes_to_a_detached_node_and_a_new_sink_begins_anew(f: Fixture) {
    let (one, two) = (f.subscribed(1, "r").await, f.subscribed(2, "r").await);
    f.stores.bus.detach(node(1));
    f.say("r", "hello").await;
    f.settled(&two, 1).await;
    f.settled(&one, 0).await;
    let again = f.inbox(1);
    f.say("r", "not subscribed").await;
    f.settled(&two, 2).await;
    f.settled(&again, 0).await;
    f.subscribe(1, "r").await;
    f.say("r", "subscribed").await;
    f.settled(&again, 1).await;
}

async fn a_delivery_is_the_record_as_published_in_its_place(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    let sent = Record { exclude: Some(SessionId(7)), ..record("x") };
    let published = f.stores.bus.publish(room("r"), sent.clone(), None, None).await.unwrap();
    f.settled(&one, 1).await;
    let got = one.deliveries.lock().unwrap()[0].clone();
    assert_eq!((got.room, got.position, got.record), (room("r"), published.position, sent));
    assert!(got.position.epoch > 0 && got.position.epoch < 1 << 53, "exact in every JSON reader");
}

async fn offsets_count_each_room_from_one_and_rooms_do_not_mix(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    f.subscribe(1, "s").await;
    for offset in 1..=3 {
        assert_eq!(f.say("r", "x").await.offset, offset);
        assert_eq!(f.say("s", "x").await.offset, offset);
    }
    assert_ne!(f.say("r", "x").await.epoch, f.say("s", "x").await.epoch);
    f.settled(&one, 8).await;
    assert_eq!((one.offsets("r"), one.offsets("s")), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
}

async fn the_offset_counts_on_while_nobody_listens(f: Fixture) {
    f.subscribed(1, "r").await;
    let first = f.say("r", "x").await;
    f.stores.bus.unsubscribe(node(1), room("r")).await.unwrap();
    f.say("r", "missed").await;
    let position = f.subscribe(1, "r").await;
    assert_eq!(position, Position { offset: first.offset + 1, epoch: first.epoch });
}

async fn concurrent_publishers_are_delivered_in_one_order_to_all_nodes(f: Fixture) {
    let (one, two) = (f.subscribed(1, "r").await, f.subscribed(2, "r").await);
    let work = (0..20).map(|publisher| {
        let bus = Arc::clone(&f.stores.bus);
        Box::pin(async move {
            for n in 0..20 {
                bus.publish(room("r"), record(&format!("{publisher}-{n}")), None, None).await.unwrap();
            }
        }) as Step<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    f.settled(&one, 400).await;
    f.settled(&two, 400).await;
    assert_eq!(one.offsets("r"), (1..=400).collect::<Vec<_>>());
    assert_eq!(two.offsets("r"), one.offsets("r"));
    assert_eq!(two.bodies(), one.bodies());
}

async fn a_senders_messages_keep_their_order(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    for n in 0..50 {
        f.say("r", &n.to_string()).await;
    }
    f.settled(&one, 50).await;
    assert_eq!(one.bodies(), (0..50).map(|n: u32| record(&n.to_string()).body).collect::<Vec<_>>());
}

async fn the_same_id_is_taken_once_and_answers_the_first_place(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    let first = f.say_once("r", "ada", "m1").await;
    let next = f.say_once("r", "ada", "m2").await;
    let again = f.say_once("r", "ada", "m1").await;
    assert_eq!((first.duplicate, next.duplicate), (false, false));
    assert_eq!(again, Published { position: first.position, duplicate: true });
    assert_eq!(f.say("r", "x").await.offset, 3, "a duplicate does not count");
    f.settled(&one, 3).await;
}

async fn ids_are_per_user_and_per_room(f: Fixture) {
    for (name, who) in [("r", "ada"), ("r", "bob"), ("s", "ada")] {
        assert!(!f.say_once(name, who, "m1").await.duplicate, "{name} {who}");
    }
    for (name, who) in [("r", "ada"), ("r", "bob"), ("s", "ada")] {
        assert!(f.say_once(name, who, "m1").await.duplicate, "{name} {who}");
    }
}

async fn of_many_equal_ids_at_once_one_is_delivered(f: Fixture) {
    let one = f.subscribed(1, "r").await;
    let answers = Arc::new(Mutex::new(Vec::new()));
    let work = (0..50).map(|_| {
        let (bus, answers) = (Arc::clone(&f.stores.bus), Arc::clone(&answers));
        Box::pin(async move {
            let answer = bus.publish(room("r"), record("x"), dedupe("ada", "m"), None).await.unwrap();
            answers.lock().unwrap().push(answer);
        }) as Step<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    f.settled(&one, 1).await;
    let answers = answers.lock().unwrap();
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert!(answers.iter().all(|answer| answer.position == answers[0].position));
}

async fn direct_ids_are_per_user_and_per_receiver(f: Fixture) {
    let first = async |who: &str, to: &str| f.stores.bus.first(dedupe(who, "m").unwrap(), user(to)).await.unwrap();
    assert!(first("ada", "bob").await);
    assert!(!first("ada", "bob").await);
    assert!(first("ada", "eve").await && first("eve", "bob").await);
    assert!(!f.say_once("bob", "ada", "m").await.duplicate, "a room of the receiver's name is not the receiver");
}

async fn mail_reaches_its_node_alone_and_the_answer_says_whether_there_is_one(f: Fixture) {
    let (one, two) = (f.inbox(1), f.inbox(2));
    let victim = Holder { sid: SessionId(1), node: node(1), epoch: life(1), generation: 0 };
    let mail = NodeMail::Evict { user: user("u"), victim: victim.clone() };
    assert!(f.stores.bus.send(node(1), mail.clone()).await.unwrap());
    assert!(f.stores.bus.send(node(1), NodeMail::Passed(Passed { to: victim.clone(), seq: 7 })).await.unwrap());
    assert!(!f.stores.bus.send(node(9), mail).await.unwrap());
    for _ in 0..500 {
        if one.mails.lock().unwrap().len() == 2 {
            break;
        }
        f.advance(10).await;
    }
    let mails = one.mails.lock().unwrap();
    assert!(matches!(&mails[0], NodeMail::Evict { victim: v, .. } if *v == victim), "{mails:?}");
    assert!(matches!(&mails[1], NodeMail::Passed(passed) if passed.to == victim && passed.seq == 7), "{mails:?}");
    assert!(two.mails.lock().unwrap().is_empty());
}

async fn an_id_is_new_again_after_five_minutes(f: Fixture) {
    f.subscribed(1, "r").await;
    f.say_once("r", "ada", "m").await;
    assert!(f.stores.bus.first(dedupe("ada", "m").unwrap(), user("bob")).await.unwrap());
    f.advance(299_000).await;
    assert!(f.say_once("r", "ada", "m").await.duplicate);
    assert!(!f.stores.bus.first(dedupe("ada", "m").unwrap(), user("bob")).await.unwrap());
    f.advance(2_000).await;
    assert!(!f.say_once("r", "ada", "m").await.duplicate, "a repetition does not prolong the window");
    assert!(f.stores.bus.first(dedupe("ada", "m").unwrap(), user("bob")).await.unwrap());
}

async fn a_room_that_nobody_used_for_long_begins_a_new_epoch(f: Fixture) {
    f.subscribed(1, "r").await;
    let old = f.say("r", "x").await;
    f.stores.bus.unsubscribe(node(1), room("r")).await.unwrap();
    f.advance(540_000).await;
    assert_eq!(f.subscribe(1, "r").await, old, "ten minutes it is remembered");
    f.stores.bus.unsubscribe(node(1), room("r")).await.unwrap();
    for _ in 0..4 {
        f.advance(600_000).await;
        f.stores.bus.recover(room("r"), old, 1).await.unwrap();
    }
    let new = f.subscribe(1, "r").await;
    assert_eq!(new.offset, 0);
    assert_ne!(new.epoch, old.epoch);
}

async fn a_room_with_a_subscriber_keeps_its_epoch_however_long_it_is_quiet(f: Fixture) {
    f.subscribed(1, "r").await;
    let old = f.say("r", "x").await;
    let names: Vec<RoomName> = (0..300).map(|n| room(&format!("other{n}"))).collect();
    for _ in 0..6 {
        f.advance(3_600_000).await;
        for name in &names {
            f.stores.bus.recover(name.clone(), old, 1).await.unwrap();
        }
    }
    assert_eq!(f.say("r", "x").await, Position { offset: 2, ..old });
}
