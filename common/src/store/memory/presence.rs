//! Room members. A membership costs one entry by session and a share of one by user: about 150 bytes in a large room.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::era::{MemoryEras, Part, Told, When};
use super::shard::Shards;
use super::{Bounds, ready};
use crate::ids::{NodeEpoch, NodeId, RoomName, SessionId, UserId};
use crate::store::presence::{Change, Occupant, Presence};
use crate::store::{StoreFault, StoreFuture};

/// A node's life as one room knows it: most rooms know one, so members carry its index.
#[derive(Clone)]
struct Life {
    node: NodeId,
    epoch: NodeEpoch,
    members: usize,
}

#[derive(Clone)]
struct Member {
    user: UserId,
    life: u32,
}

#[derive(Clone, Default)]
struct Room {
    members: HashMap<SessionId, Member>,
    /// Sessions of each user in the room.
    users: HashMap<UserId, u32>,
    /// Those without members are free for reuse.
    lives: Vec<Life>,
}

#[derive(Clone, Default)]
struct Rooms(HashMap<RoomName, Room>, Told);

/// One process's way to the rooms. Cost of a call: one lock and a few look-ups, but for `reap`.
pub(super) struct MemoryPresence {
    all: Arc<AllRooms>,
    eras: Arc<MemoryEras>,
}

/// All rooms with members.
pub(super) struct AllRooms {
    rooms: Shards<Rooms>,
    copied: Shards<Rooms>,
    room_count: AtomicUsize,
    occupant_count: AtomicUsize,
    bounds: Bounds,
}

impl Room {
    fn life(&mut self, node: NodeId, epoch: NodeEpoch) -> u32 {
        let known = |life: &Life| life.members > 0 && life.epoch == epoch && life.node == node;
        let place = self.lives.iter().position(known).or_else(|| self.lives.iter().position(|life| life.members == 0));
        let index = place.unwrap_or(self.lives.len());
        match self.lives.get_mut(index) {
            Some(life) if life.members > 0 => life.members += 1,
            Some(life) => *life = Life { node, epoch, members: 1 },
            None => self.lives.push(Life { node, epoch, members: 1 }),
        }
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn leave_life(&mut self, index: u32) {
        if let Some(life) = self.lives.get_mut(index as usize) {
            life.members -= 1;
        }
    }

    fn enter(&mut self, occupant: Occupant) -> Change {
        let Occupant { sid, user, node, epoch } = occupant;
        let life = self.life(node, epoch);
        let before = self.members.insert(sid, Member { user: user.clone(), life });
        let known_as = before.map(|before| {
            self.leave_life(before.life);
            before.user
        });
        if known_as.as_ref() == Some(&user) {
            return self.change(false);
        }
        if let Some(other) = known_as {
            self.uncount(&other);
        }
        let sessions = self.users.entry(user).or_insert(0);
        *sessions += 1;
        let first = *sessions == 1;
        self.change(first)
    }

    fn exit(&mut self, sid: SessionId) -> Change {
        let Some(member) = self.members.remove(&sid) else { return self.change(false) };
        self.leave_life(member.life);
        let last = self.uncount(&member.user);
        self.shrink();
        self.change(last)
    }

    /// One session of the user less; true: it was the last.
    fn uncount(&mut self, user: &UserId) -> bool {
        let Some(sessions) = self.users.get_mut(user) else { return false };
        *sessions -= 1;
        let last = *sessions == 0;
        if last {
            self.users.remove(user);
        }
        last
    }

    /// Gives memory back once a room is much emptier than it was.
    fn shrink(&mut self) {
        if self.members.capacity() > 64 && self.members.len() * 4 < self.members.capacity() {
            self.members.shrink_to(self.members.len() * 2);
            self.users.shrink_to(self.users.len() * 2);
        }
    }

    fn change(&self, user_changed: bool) -> Change {
        Change { sessions: self.members.len(), user_changed }
    }

    fn is_here(&self, sid: SessionId, epoch: NodeEpoch) -> bool {
        let life = self.members.get(&sid).and_then(|member| self.lives.get(member.life as usize));
        life.is_some_and(|life| life.epoch == epoch)
    }

    /// At most `limit` members of a life.
    fn of_life(&self, node: &NodeId, epoch: NodeEpoch, limit: usize) -> Vec<SessionId> {
        let known = |life: &Life| life.members > 0 && life.epoch == epoch && life.node == *node;
        let Some(index) = self.lives.iter().position(known) else { return Vec::new() };
        let members = self.members.iter().filter(|(_, member)| member.life as usize == index);
        members.map(|(sid, _)| *sid).take(limit).collect()
    }
}

impl MemoryPresence {
    pub(super) fn new(all: Arc<AllRooms>, eras: Arc<MemoryEras>) -> Self {
        Self { all, eras }
    }
}

impl AllRooms {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (room_count, occupant_count) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { rooms: Shards::new(), copied: Shards::new(), room_count, occupant_count, bounds }
    }

    fn replace(&self, rooms: &mut Rooms, by: Rooms) {
        let occupants = |rooms: &Rooms| -> usize { rooms.0.values().map(|room| room.members.len()).sum() };
        self.room_count.fetch_sub(rooms.0.len(), Ordering::Relaxed);
        self.occupant_count.fetch_sub(occupants(rooms), Ordering::Relaxed);
        self.room_count.fetch_add(by.0.len(), Ordering::Relaxed);
        self.occupant_count.fetch_add(occupants(&by), Ordering::Relaxed);
        *rooms = by;
    }

    fn admit(&self, rooms: &mut Rooms, name: RoomName, occupant: Occupant) -> Result<Change, StoreFault> {
        let room = rooms.0.get(&name);
        if room.is_none() && self.room_count.load(Ordering::Relaxed) >= self.bounds.rooms {
            return Err(StoreFault::Full("rooms"));
        }
        if !room.is_some_and(|room| room.members.contains_key(&occupant.sid)) {
            if self.occupant_count.load(Ordering::Relaxed) >= self.bounds.occupants {
                return Err(StoreFault::Full("occupants"));
            }
            self.occupant_count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(rooms
            .0
            .entry(name)
            .or_insert_with(|| {
                self.room_count.fetch_add(1, Ordering::Relaxed);
                Room::default()
            })
            .enter(occupant))
    }
}

impl AllRooms {
    fn exit(&self, rooms: &mut Rooms, name: &RoomName, sid: SessionId, epoch: NodeEpoch) -> Change {
        let Some(found) = rooms.0.get_mut(name) else { return Change { sessions: 0, user_changed: false } };
        if !found.is_here(sid, epoch) {
            return found.change(false);
        }
        let change = found.exit(sid);
        self.occupant_count.fetch_sub(1, Ordering::Relaxed);
        if change.sessions == 0 {
            rooms.0.remove(name);
            self.room_count.fetch_sub(1, Ordering::Relaxed);
        }
        change
    }

    fn reap(&self, rooms: &mut Rooms, node: &NodeId, epoch: NodeEpoch, limit: usize) -> usize {
        let mut freed = 0;
        rooms.0.retain(|_, room| {
            for sid in room.of_life(node, epoch, limit - freed) {
                room.exit(sid);
                freed += 1;
            }
            if room.members.is_empty() {
                self.room_count.fetch_sub(1, Ordering::Relaxed);
            }
            !room.members.is_empty()
        });
        self.occupant_count.fetch_sub(freed, Ordering::Relaxed);
        freed
    }
}

impl Part for AllRooms {
    fn tell(&self, told: Told) {
        for mut rooms in self.rooms.each() {
            if told.follows(rooms.1) {
                self.replace(&mut rooms, Rooms(HashMap::new(), told));
            }
        }
    }

    fn forget(&self) {
        for mut rooms in self.rooms.each() {
            self.replace(&mut rooms, Rooms::default());
        }
    }

    fn copy(&self) {
        for (rooms, mut copied) in self.rooms.each().zip(self.copied.each()) {
            *copied = rooms.clone();
        }
    }

    fn go_back(&self) {
        for (mut rooms, copied) in self.rooms.each().zip(self.copied.each()) {
            self.replace(&mut rooms, copied.clone());
        }
    }
}

impl Presence for MemoryPresence {
    fn enter(&self, room: RoomName, occupant: Occupant) -> StoreFuture<'_, Change> {
        let mut rooms = self.all.rooms.lock(&room);
        ready(self.eras.check(rooms.1, When::Any).and_then(|()| self.all.admit(&mut rooms, room, occupant)))
    }

    fn exit(&self, room: RoomName, sid: SessionId, epoch: NodeEpoch) -> StoreFuture<'_, Change> {
        let mut rooms = self.all.rooms.lock(&room);
        ready(self.eras.check(rooms.1, When::Any).map(|()| self.all.exit(&mut rooms, &room, sid, epoch)))
    }

    fn list(&self, room: RoomName, limit: usize) -> StoreFuture<'_, (Vec<UserId>, usize)> {
        let rooms = self.all.rooms.lock(&room);
        let answer = |()| {
            rooms.0.get(&room).map_or_else(Default::default, |room| {
                (room.users.keys().take(limit).cloned().collect(), room.members.len())
            })
        };
        ready(self.eras.check(rooms.1, When::Any).map(answer))
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        let mut freed = 0;
        for mut rooms in self.all.rooms.each() {
            if let Err(fault) = self.eras.check(rooms.1, When::Any) {
                return ready(Err(fault));
            }
            freed += self.all.reap(&mut rooms, &node, epoch, limit - freed);
            if freed == limit {
                break;
            }
        }
        ready(Ok(freed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupant(sid: u128, user: &str, node: &str, epoch: u128) -> Occupant {
        Occupant {
            sid: SessionId(sid),
            user: UserId::parse(user).unwrap(),
            node: NodeId::parse(node).unwrap(),
            epoch: NodeEpoch(epoch),
        }
    }

    #[test]
    fn lives_that_ended_do_not_pile_up_in_a_room_that_stays() {
        let mut room = Room::default();
        room.enter(occupant(0, "stays", "a", 1));
        for life in 2..1_000 {
            room.enter(occupant(life, "goes", "b", life));
            room.exit(SessionId(life));
        }
        assert_eq!(room.lives.len(), 2);
        assert_eq!(room.of_life(&NodeId::parse("a").unwrap(), NodeEpoch(1), 9), [SessionId(0)]);
    }

    #[test]
    fn a_session_that_resumes_elsewhere_is_counted_for_its_new_node_alone() {
        let mut room = Room::default();
        room.enter(occupant(7, "u", "a", 1));
        let change = room.enter(occupant(7, "u", "b", 2));
        assert_eq!(change, Change { sessions: 1, user_changed: false });
        assert!(room.of_life(&NodeId::parse("a").unwrap(), NodeEpoch(1), 9).is_empty());
        assert!(room.is_here(SessionId(7), NodeEpoch(2)) && !room.is_here(SessionId(7), NodeEpoch(1)));
    }

    #[test]
    fn the_bound_on_occupants_refuses_newcomers_and_lets_the_present_come_again() {
        let presence = AllRooms::new(Bounds { occupants: 2, rooms: 2, ..Bounds::default() });
        let enter = |room: &str, sid| {
            let room = RoomName::parse(room).unwrap();
            let answer = presence.admit(&mut presence.rooms.lock(&room), room, occupant(sid, "u", "a", 1));
            answer.map_err(|fault| fault.to_string())
        };
        assert!(enter("r", 1).is_ok() && enter("r", 2).is_ok() && enter("r", 2).is_ok());
        assert_eq!(enter("s", 3).unwrap_err(), "the store is full: occupants");
    }
}
