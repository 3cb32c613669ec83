//! One room as a process receives it: what came in the order of offsets, what has to wait for an answer of the store,
//! and which nodes of this process want it. No clock, no I/O: what to do next is an answer.

use std::collections::VecDeque;

use super::counts::Counters;
use crate::clock::UnixMs;
use crate::ids::{NodeId, RoomName};
use crate::store::bus::{Delivery, Position, Record};
use crate::store::record::{Header, Refused};
use crate::store::replay::{ChannelId, ReplayGuard};

/// Messages of one room that wait for an answer of the store. At the bound they are delivered as they are: members see
/// the gap by the offsets.
const HELD: usize = 1_024;

/// A message whose MAC was right.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) position: Position,
    pub(super) header: Header,
    pub(super) record: Record,
}

/// What has to be done after an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Ask for what the room kept since then, and call [`Room::answered`].
    Recover(Position),
}

struct Listener {
    node: NodeId,
    /// The earliest that a `subscribe` of it answered: it gets what is later. `None`: not answered yet.
    after: Option<Position>,
    /// Its subscribes that are not answered yet.
    joining: u32,
}

/// What the room's methods need from the bus.
pub(super) struct Desk<'a> {
    pub(super) guard: &'a mut ReplayGuard,
    pub(super) counters: &'a Counters,
    pub(super) now: UnixMs,
    pub(super) deliver: &'a dyn Fn(&NodeId, Delivery),
}

pub(super) struct Room {
    pub(super) name: RoomName,
    channel: ChannelId,
    /// Tells this object from others of the same room: an answer that comes late is for the one that asked.
    pub(super) birth: u64,
    listeners: Vec<Listener>,
    /// Where it began here: earlier messages are nobody's.
    start: Option<Position>,
    /// The last that was delivered, or `start`.
    place: Option<Position>,
    /// Answers of the store that are outstanding.
    waits: u32,
    held: VecDeque<Arrival>,
    /// The subscription may have been interrupted.
    pub(super) unsure: bool,
}

/// `a` is of the same epoch as `b` and not later.
fn not_after(a: Position, b: Option<Position>) -> bool {
    b.is_some_and(|b| a.not_after(b))
}

/// The earlier of two places; of two epochs the one that was known.
fn earlier(known: Option<Position>, other: Position) -> Position {
    known.filter(|known| known.epoch != other.epoch || known.offset <= other.offset).unwrap_or(other)
}

impl Room {
    pub(super) fn new(name: RoomName, channel: ChannelId, birth: u64) -> Self {
        let (listeners, held) = (Vec::new(), VecDeque::new());
        Self { name, channel, birth, listeners, start: None, place: None, waits: 0, held, unsure: false }
    }

    /// A node begins to listen, or asks again; everything waits until [`Self::joined`].
    pub(super) fn join(&mut self, node: &NodeId) {
        self.waits += 1;
        match self.listeners.iter_mut().find(|listener| listener.node == *node) {
            Some(listener) => listener.joining += 1,
            None => self.listeners.push(Listener { node: node.clone(), after: None, joining: 1 }),
        }
    }

    /// The subscription that the node asked for stands since `position`; `None`: it failed, and the node is gone from
    /// here unless another stands or is under way.
    pub(super) fn joined(&mut self, node: &NodeId, position: Option<Position>, desk: &mut Desk<'_>) {
        if let Some(position) = position {
            // of two that were under way the later may have been answered first
            let untouched = self.place == self.start;
            self.start = Some(earlier(self.start, position));
            self.place = if untouched { self.start } else { self.place };
        }
        if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.node == *node) {
            listener.joining = listener.joining.saturating_sub(1);
            listener.after = position.map(|position| earlier(listener.after, position)).or(listener.after);
            if listener.after.is_none() && listener.joining == 0 {
                self.leave(node);
            }
        }
        self.end_wait(desk);
    }

    pub(super) fn leave(&mut self, node: &NodeId) {
        self.listeners.retain(|listener| listener.node != *node);
    }

    pub(super) fn is_deserted(&self) -> bool {
        self.listeners.is_empty()
    }

    /// A message came from the channel.
    pub(super) fn arrive(&mut self, arrival: Arrival, desk: &mut Desk<'_>) -> Next {
        if let Err(why) = desk.guard.check(self.channel, &arrival.header) {
            self.refuse(arrival.position, why, desk);
            return Next::Nothing;
        }
        if self.waits > 0 {
            if self.held.len() >= HELD {
                self.release(desk);
            }
            self.held.push_back(arrival);
            return Next::Nothing;
        }
        if not_after(arrival.position, self.place) && !not_after(arrival.position, self.start) {
            Counters::add(&desk.counters.late, 1);
            // or a repetition of it would raise the same doubt; that it is new was checked above
            let _ = desk.guard.take(self.channel, &arrival.header, desk.now);
            return self.doubt();
        }
        match self.gap_before(arrival.position) {
            Some(since) => {
                self.held.push_back(arrival);
                self.waits += 1;
                Next::Recover(since)
            }
            None => {
                self.pass(arrival, desk);
                Next::Nothing
            }
        }
    }

    /// Something may have been missed, and no arrival tells.
    pub(super) fn doubt(&mut self) -> Next {
        match self.place {
            Some(place) => {
                self.waits += 1;
                Next::Recover(place)
            }
            None => Next::Nothing,
        }
    }

    /// What was kept, in order, or nothing when the store gave no answer.
    pub(super) fn answered(&mut self, kept: Vec<Arrival>, desk: &mut Desk<'_>) {
        for arrival in kept {
            if self.pass(arrival, desk) {
                Counters::add(&desk.counters.mended, 1);
            }
        }
        self.end_wait(desk);
    }

    /// Where what was missed before `position` begins, if anything was.
    fn gap_before(&self, position: Position) -> Option<Position> {
        let place = self.place?;
        let last = if place.epoch == position.epoch { place } else { Position { offset: 0, ..position } };
        (position.offset > last.offset + 1).then_some(last)
    }

    fn end_wait(&mut self, desk: &mut Desk<'_>) {
        self.waits = self.waits.saturating_sub(1);
        if self.waits == 0 {
            self.release(desk);
        }
    }

    fn release(&mut self, desk: &mut Desk<'_>) {
        while let Some(arrival) = self.held.pop_front() {
            self.pass(arrival, desk);
        }
    }

    /// What came from history comes from the channel too, and is no replay.
    fn refuse(&self, position: Position, why: Refused, desk: &Desk<'_>) {
        if why == Refused::Replayed && not_after(position, self.place) {
            Counters::add(&desk.counters.repeated, 1);
        } else {
            desk.counters.refused(why);
        }
    }

    /// Delivers, unless it was delivered before. True: it was delivered.
    fn pass(&mut self, arrival: Arrival, desk: &mut Desk<'_>) -> bool {
        let Arrival { position, header, record } = arrival;
        let known = not_after(position, self.place);
        match desk.guard.take(self.channel, &header, desk.now) {
            Ok(taken) => Counters::add(&desk.counters.lost, taken.lost),
            Err(why) => {
                self.refuse(position, why, desk);
                return false;
            }
        }
        if known {
            return false;
        }
        Counters::add(&desk.counters.taken, 1);
        for listener in self.listeners.iter().filter(|listener| !not_after(position, listener.after)) {
            (desk.deliver)(&listener.node, Delivery { room: self.name.clone(), position, record: record.clone() });
        }
        self.place = Some(position);
        true
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
