//! Rooms and node mail over Redis (STATE §7).
//!
//! A publish is one script: known id, offset, history, `PUBLISH`. This process's own members get their message from the
//! channel like everybody: one order for all. `hub.rs` takes what the channels bring, `inbound.rs` puts it in order and
//! says when to ask the history, `outbound.rs` writes, `subscriptions.rs` listens, `upkeep.rs` mends after a loss of the
//! connection.

use std::sync::Arc;

use rand::RngCore;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::Base;
use super::counts::Counts;
use super::history::PAGE;
use super::hub::{Hub, LINGER_MS, Port, busy, gone};
use super::inbound::Arrival;
use super::keys::Kind;
use super::outbound::{self, Job, Outbound, Publish, Sequences};
use super::probe;
use super::subscriptions::{self, Wish};
use super::trust::Trust;
use super::upkeep;
use crate::clock::millis;
use crate::config::model::History;
use crate::ids::{NodeId, RoomName, UserId};
use crate::store::StoreFuture;
use crate::store::bus::{
    Bus, BusSink, DEDUPE_WINDOW, Dedupe, Delivery, NodeMail, Position, Published, Record, Recovery,
};
use crate::store::letter::{Message, write_mail};
use crate::store::watch::Probe;

/// The bus of one process. Its tasks end when it is dropped.
pub struct RedisBus(pub(super) Arc<Hub>);

impl RedisBus {
    /// Starts its tasks on the present runtime. `rng` names room epochs, nothing secret.
    pub(super) fn start(
        base: Arc<Base>,
        pushes: mpsc::Receiver<redis::PushInfo>,
        trust: &Trust,
        rng: Box<dyn RngCore + Send>,
    ) -> Self {
        let (jobs, todo) = mpsc::channel(outbound::QUEUE);
        let (wishes, wanted) = mpsc::channel(subscriptions::QUEUE);
        let runtime = Handle::current();
        let outbound = Outbound {
            base: Arc::clone(&base),
            sealer: trust.sealer.clone(),
            issuer: trust.issuer.clone(),
            clock: Arc::clone(&trust.clock),
            linger_ms: LINGER_MS,
            sequences: Sequences::default(),
        };
        runtime.spawn(outbound.run(todo));
        runtime.spawn(subscriptions::run(Arc::clone(&base), wanted));
        let hub = Arc::new(Hub::new(base, trust, rng, jobs, wishes));
        runtime.spawn(upkeep::dispatch(Arc::downgrade(&hub), pushes));
        runtime.spawn(upkeep::renew(Arc::downgrade(&hub)));
        Self(hub)
    }

    /// From now on the process sees whether the bus brings back what it says; on the present runtime.
    pub(super) fn start_probe(&self) {
        probe::start(&self.0);
    }

    /// Whether the bus brings back what is said.
    pub(super) fn probe(&self) -> Probe {
        self.0.probes().state(self.0.clock.mono())
    }

    /// What was refused, lost and mended so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counters.read()
    }
}

impl Bus for RedisBus {
    fn attach(&self, node: NodeId, sink: Arc<dyn BusSink>) {
        let hub = &self.0;
        let mut state = hub.lock();
        let here = &mut state.here;
        if let Some(port) = here.ports.get_mut(&node) {
            port.sink = sink;
            return;
        }
        here.births += 1;
        let channel = hub.base.keys.node(&node).key(Kind::Mail);
        let (birth, ready) = (here.births, watch::Sender::new(false));
        here.ports.insert(node.clone(), Port { sink, channel: channel.clone(), birth, ready });
        drop(state);
        let waiting = Arc::clone(hub);
        hub.runtime.spawn(async move { waiting.open_mailbox(node, channel, birth).await });
    }

    fn detach(&self, node: NodeId) {
        let hub = &self.0;
        let mut state = hub.lock();
        if let Some(port) = state.here.ports.remove(&node) {
            hub.wish(Wish::Unsubscribe(port.channel));
        }
        state.here.rooms.retain(|channel, room| {
            room.leave(&node);
            let deserted = room.is_deserted();
            if deserted {
                hub.wish(Wish::Unsubscribe(channel.clone()));
            }
            !deserted
        });
    }

    fn subscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, Position> {
        // on a task of its own: a caller that goes away must not leave the room waiting
        let hub = Arc::clone(&self.0);
        let task = self.0.runtime.spawn(async move { hub.subscribe(node, room).await });
        Box::pin(async move { task.await.map_err(gone)? })
    }

    fn unsubscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, ()> {
        let (_, channel) = self.0.room_keys(&room);
        self.0.with_room(&channel, None, |room, _| room.leave(&node));
        Box::pin(std::future::ready(Ok(())))
    }

    fn publish(
        &self,
        room: RoomName,
        record: Record,
        dedupe: Option<Dedupe>,
        keep: Option<History>,
    ) -> StoreFuture<'static, Published> {
        let hub = &self.0;
        let until = keep.map(|keep| hub.clock.wall().after(keep.age));
        let (reply, answer) = oneshot::channel();
        let place = hub.base.keys.room(&room);
        let once = match &dedupe {
            Some(dedupe) => place.beside(Kind::Once, &hub.base.keys.once(dedupe, &place)),
            // a key that is not used has to be of the partition
            None => place.key(Kind::Room),
        };
        let job = Publish {
            keys: [place.key(Kind::Room), place.key(Kind::History), once],
            channel: place.key(Kind::Bus),
            body: Message::write(&record, until),
            dedupe: dedupe.is_some(),
            keep,
            epoch: hub.epoch(),
            reply,
        };
        let queued = hub.jobs.try_send(Job::Publish(job)).map_err(busy);
        Box::pin(async move {
            queued?;
            answer.await.map_err(gone)?
        })
    }

    fn recover(&self, room: RoomName, since: Position, limit: usize) -> StoreFuture<'_, Recovery> {
        Box::pin(async move {
            let mut found = self.0.reader().after(&room, since, limit).await?;
            let Some(position) = found.position else {
                let position = Position { offset: 0, epoch: 0 };
                return Ok(Recovery { records: Vec::new(), complete: false, position });
            };
            let (mut records, mut page) = (Vec::new(), PAGE.min(limit));
            // a page that is not full was the last
            while found.records.len() == page && records.len() + page < limit {
                records.append(&mut found.records);
                page = PAGE.min(limit - records.len());
                let Some(last) = records.last().map(|arrival: &Arrival| arrival.position) else { break };
                found = self.0.reader().after(&room, last, page).await?;
            }
            records.append(&mut found.records);
            Ok(recovery(&room, records, found.position.unwrap_or(position), since, limit))
        })
    }

    fn send(&self, node: NodeId, mail: NodeMail) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            self.0.mailbox_ready(&node).await?;
            let channel = self.0.base.keys.node(&node).key(Kind::Mail);
            let (reply, answer) = oneshot::channel();
            let job = outbound::Mail { channel, body: write_mail(&mail), reply };
            self.0.jobs.try_send(Job::Mail(job)).map_err(busy)?;
            answer.await.map_err(gone)?
        })
    }

    fn first(&self, dedupe: Dedupe, to: UserId) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let base = &self.0.base;
            let key = {
                let place = base.keys.user(&to);
                place.beside(Kind::Once, &base.keys.once(&dedupe, &place))
            };
            let mut command = redis::cmd("SET");
            command.arg(key).arg(1).arg("NX").arg("PX").arg(millis(DEDUPE_WINDOW));
            let set: Option<String> = base.link.command(&command).await?;
            Ok(set.is_some())
        })
    }
}

/// What `records` are to one who was there until `since`.
fn recovery(room: &RoomName, records: Vec<Arrival>, position: Position, since: Position, limit: usize) -> Recovery {
    if since.epoch != position.epoch || since.offset > position.offset {
        return Recovery { records: Vec::new(), complete: false, position };
    }
    let (mut next, mut gapless) = (since.offset, true);
    let cut = records.len() == limit && limit > 0;
    let mut deliveries = Vec::with_capacity(records.len());
    for Arrival { position, record, .. } in records {
        gapless &= position.offset == next + 1;
        next = position.offset;
        deliveries.push(Delivery { room: room.clone(), position, record });
    }
    Recovery { records: deliveries, complete: gapless && (cut || next == position.offset), position }
}
