//! What keeps the bus true: hands on what the server pushes, notes when something may have been missed, listens again,
//! and keeps the rooms that are listened to from being forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use super::batch::Order;
use super::hub::{Hub, LINGER_MS};
use super::keys::Kind;
use super::subscriptions::Wish;

/// How often it is looked whether a subscription is still in doubt.
const LOOK: Duration = Duration::from_secs(1);

/// Looks between two renewals of the rooms' lives: 200 s.
const RENEWAL: u32 = 200;

/// Rooms renewed by one write, and channels listened to again by one look.
const BATCH: usize = 512;

/// Reads the pushes until the connection or the bus is gone.
pub(super) async fn dispatch(hub: Weak<Hub>, mut pushes: mpsc::Receiver<PushInfo>) {
    let mut lost = 0;
    while let Some(push) = pushes.recv().await {
        let Some(hub) = hub.upgrade() else { return };
        let lost_now = hub.base.link.pushes_lost();
        if lost_now != lost {
            lost = lost_now;
            hub.all_unsure();
        }
        hub.pushed(push);
    }
}

fn text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

impl Hub {
    fn pushed(self: &Arc<Self>, push: PushInfo) {
        let mut data = push.data.into_iter();
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let (Some(channel), Some(Value::BulkString(payload))) = (text(data.next()), data.next()) {
                    self.message(&channel, &Bytes::from(payload));
                }
            }
            PushKind::Subscribe | PushKind::SSubscribe => {
                if let Some(channel) = text(data.next()) {
                    self.confirmed(&channel);
                }
            }
            // nobody asked for it: on a cluster, the master of the channel is gone or another
            PushKind::SUnsubscribe => {
                let channel = text(data.next()).unwrap_or_default();
                if let Some(room) = self.lock().here.rooms.get_mut(&channel) {
                    room.unsure = true;
                }
            }
            PushKind::Disconnection => self.all_unsure(),
            _ => {}
        }
    }

    fn all_unsure(&self) {
        self.lock().here.rooms.values_mut().for_each(|room| room.unsure = true);
    }

    /// Listens again where it is in doubt; a confirmation ends the doubt.
    fn listen_again(&self) {
        let channels: Vec<String> = {
            let state = self.lock();
            let doubtful = state.here.rooms.iter().filter(|(_, room)| room.unsure).take(BATCH);
            let doubtful: Vec<String> = doubtful.map(|(channel, _)| channel.clone()).collect();
            // while rooms are in doubt, so are the nodes' own channels, which carry nothing that could tell
            let ports = if doubtful.is_empty() { Vec::new() } else { state.here.ports.values().collect() };
            let own: Vec<String> = ports.into_iter().map(|port| port.channel.clone()).collect();
            doubtful.into_iter().chain(own).collect()
        };
        for channel in channels {
            self.wish(Wish::Subscribe(channel, None));
        }
    }

    /// Puts off the end of every room that is listened to.
    async fn renew_rooms(&self) {
        let names: Vec<_> = self.lock().here.rooms.values().map(|room| room.name.clone()).collect();
        for batch in names.chunks(BATCH) {
            let put_off = |name| {
                let mut command = redis::cmd("PEXPIRE");
                command.arg(self.base.keys.room(name).key(Kind::Room)).arg(LINGER_MS).arg("GT");
                Order::plain(command)
            };
            let orders: Vec<Order> = batch.iter().map(put_off).collect();
            // a store that is gone is asked again in time
            let _ = self.base.link.batch(&orders).await;
        }
    }
}

/// Looks after subscriptions and rooms until the bus is gone.
pub(super) async fn renew(hub: Weak<Hub>) {
    let mut looks = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(hub) = hub.upgrade() else { return };
        hub.listen_again();
        looks += 1;
        if looks >= RENEWAL {
            looks = 0;
            hub.renew_rooms().await;
        }
    }
}
