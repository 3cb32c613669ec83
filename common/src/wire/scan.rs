//! JSON guarded before anything is built from it: one pass, strict RFC 8259, bounded depth, counts and lengths, no
//! duplicate keys, no keys that poison a JavaScript prototype. What it saw stays on a [`Tape`] for those who look closer.
//!
//! Cost: linear in the bytes. Duplicates are found by comparing with at most [`FEW`] keys of the same object, and beyond
//! that in a hash table whose hasher is keyed at random, so that no client can aim at a collision.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use super::code::Code;
use super::json::{Lexer, Rule, Text};
use super::reject::Reject;
use super::tape::{Kind, Node, Tape};

/// The bounds of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Containers inside each other; a scalar alone has depth 0.
    pub depth: usize,
    /// Values in all: containers, strings, numbers, literals; keys are not counted.
    pub nodes: usize,
    /// Keys of one object.
    pub keys: usize,
    /// Items of one array.
    pub items: usize,
    /// Bytes of one string or key as written, between its quotes.
    pub string: usize,
}

impl Bounds {
    /// No bound at all: for text that was checked before.
    pub const NONE: Self =
        Self { depth: usize::MAX, nodes: usize::MAX, keys: usize::MAX, items: usize::MAX, string: usize::MAX };
}

impl Default for Bounds {
    /// What the contract promises: depth 16, 4,096 values; nothing further about any one of them.
    fn default() -> Self {
        Self { depth: 16, nodes: 4_096, ..Self::NONE }
    }
}

/// A member of the top-level object, as byte ranges of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key as written, without its quotes.
    pub key: Range<usize>,
    /// Whether the key contains an escape.
    pub escaped: bool,
    /// The value, without white space around it.
    pub value: Range<usize>,
}

/// What the scan saw at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline<'s> {
    /// Whether the text is an object.
    pub object: bool,
    /// Its members in order; empty for anything but an object.
    pub members: &'s [Member],
}

/// Keys of one object that are compared one by one before the table is used.
const FEW: usize = 8;

/// Working memory, one a worker: grows to what the largest message needed (bounded by [`Bounds::nodes`]) and stays.
#[derive(Debug, Default)]
pub struct Scratch {
    frames: Vec<Frame>,
    keys: Vec<Key>,
    members: Vec<Member>,
    /// Every value of the text, in order.
    pub(super) nodes: Vec<Node>,
    /// Keys that were written with escapes.
    pub(super) decoded: String,
    table: Table,
}

/// An open container.
#[derive(Debug, Clone, Copy)]
struct Frame {
    object: bool,
    /// Its place among the values.
    node: u32,
    /// Members so far.
    members: usize,
    /// Tells this object's keys from those of others in the table; never 0.
    serial: u32,
    first_key: usize,
    hashed: bool,
}

/// A key: a range of the text, or of `decoded` when it was written with escapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Key {
    start: u32,
    len: u32,
    decoded: bool,
}

/// Open addressing, linear probing, at most half full.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    used: usize,
    hasher: RandomState,
    #[cfg(test)]
    probes: usize,
}

/// Empty when `serial` is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    serial: u32,
    hash: u32,
    key: Key,
}

/// Scans one JSON text. Allocates nothing once `scratch` has grown to its working size.
///
/// # Errors
/// `malformed` with the broken rule as detail.
pub fn scan<'s>(text: &str, bounds: Bounds, scratch: &'s mut Scratch) -> Result<Outline<'s>, Reject> {
    scratch.clear();
    if u32::try_from(text.len()).is_err() {
        return Err(Reject::new(Code::TooLarge, "json: over 4 GiB"));
    }
    let mut pass = Pass { lexer: Lexer::new(text), text, bounds, key: None, serial: 0, scratch: &mut *scratch };
    let object = pass.run().map_err(|rule| Reject::new(Code::Malformed, rule))?;
    Ok(Outline { object, members: &scratch.members })
}

struct Pass<'t, 's> {
    lexer: Lexer<'t>,
    text: &'t str,
    bounds: Bounds,
    /// Of the value that comes next.
    key: Option<Key>,
    serial: u32,
    scratch: &'s mut Scratch,
}

impl Pass<'_, '_> {
    /// Says whether the text is an object.
    fn run(&mut self) -> Result<bool, Rule> {
        let object = self.lexer.token() == Some(b'{');
        loop {
            if self.value()? {
                continue;
            }
            if !self.next_value()? {
                return Ok(object);
            }
        }
    }

    /// Reads one value, or opens a container. True when the next thing to read is the container's first value.
    fn value(&mut self) -> Result<bool, Rule> {
        if self.scratch.nodes.len() >= self.bounds.nodes {
            return Err("json: too many values");
        }
        self.count_member()?;
        let first = self.lexer.token();
        let start = self.lexer.at();
        match first {
            Some(b'{') => {
                self.open(true, start)?;
                if self.lexer.token() != Some(b'}') {
                    self.key()?;
                    return Ok(true);
                }
            }
            Some(b'[') => {
                self.open(false, start)?;
                return Ok(self.lexer.token() != Some(b']'));
            }
            Some(b'"') => {
                let token = self.lexer.string()?;
                self.measure(token)?;
                self.leaf(Kind::String, token.escaped, start);
            }
            Some(b't') => self.word("true", Kind::True, start)?,
            Some(b'f') => self.word("false", Kind::False, start)?,
            Some(b'n') => self.word("null", Kind::Null, start)?,
            Some(_) => {
                self.lexer.number()?.exact()?;
                self.leaf(Kind::Number, false, start);
            }
            None => return Err("json: ends too early"),
        }
        Ok(false)
    }

    /// A value begins in the innermost container.
    fn count_member(&mut self) -> Result<(), Rule> {
        let Some(frame) = self.scratch.frames.last_mut() else { return Ok(()) };
        frame.members += 1;
        match frame.object {
            true if frame.members > self.bounds.keys => Err("json: too many keys in one object"),
            false if frame.members > self.bounds.items => Err("json: too many items in one array"),
            _ => Ok(()),
        }
    }

    fn measure(&self, token: Text<'_>) -> Result<(), Rule> {
        if token.raw.len() > self.bounds.string { Err("json: a string is too long") } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str, kind: Kind, start: usize) -> Result<(), Rule> {
        self.lexer.literal(word)?;
        self.leaf(kind, false, start);
        Ok(())
    }

    fn leaf(&mut self, kind: Kind, escaped: bool, start: usize) {
        let node = self.note(kind, escaped, start);
        self.close(node);
    }

    /// Puts a value on the tape; its end is not known yet.
    fn note(&mut self, kind: Kind, escaped: bool, start: usize) -> u32 {
        let at = self.scratch.nodes.len() as u32;
        let parent = self.scratch.frames.last().map(|frame| frame.node);
        let key = self.key.take();
        self.scratch.nodes.push(Node { kind, escaped, key, parent, start: start as u32, end: 0, next: 0, members: 0 });
        at
    }

    fn close(&mut self, node: u32) {
        let (end, next) = (self.lexer.at() as u32, self.scratch.nodes.len() as u32);
        if let Some(node) = self.scratch.nodes.get_mut(node as usize) {
            (node.end, node.next) = (end, next);
        }
    }

    /// After a value: closes what ends here and steps to where the next value begins. False at the end of the text.
    fn next_value(&mut self) -> Result<bool, Rule> {
        loop {
            self.note_end();
            let Some(&frame) = self.scratch.frames.last() else {
                return match self.lexer.token() {
                    None => Ok(false),
                    Some(_) => Err("json: something after the value"),
                };
            };
            match (self.lexer.token(), frame.object) {
                (Some(b','), true) => {
                    self.lexer.bump();
                    return self.key().map(|()| true);
                }
                (Some(b','), false) => {
                    self.lexer.bump();
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.lexer.bump();
                    self.scratch.frames.pop();
                    self.scratch.keys.truncate(frame.first_key);
                    if let Some(node) = self.scratch.nodes.get_mut(frame.node as usize) {
                        node.members = frame.members as u32;
                    }
                    self.close(frame.node);
                }
                (None, _) => return Err("json: ends too early"),
                _ => return Err("json: neither a comma nor an end"),
            }
        }
    }

    fn open(&mut self, object: bool, start: usize) -> Result<(), Rule> {
        if self.scratch.frames.len() >= self.bounds.depth {
            return Err("json: nested too deep");
        }
        self.lexer.bump();
        self.serial += 1;
        let first_key = self.scratch.keys.len();
        let node = self.note(if object { Kind::Object } else { Kind::Array }, false, start);
        let frame = Frame { object, node, members: 0, serial: self.serial, first_key, hashed: false };
        self.scratch.frames.push(frame);
        Ok(())
    }

    /// A top-level member's value ends here, if one is open.
    fn note_end(&mut self) {
        if let ([Frame { object: true, .. }], Some(member)) =
            (self.scratch.frames.as_slice(), self.scratch.members.last_mut())
            && member.value.end == 0
        {
            member.value.end = self.lexer.at();
        }
    }

    fn key(&mut self) -> Result<(), Rule> {
        self.lexer.token();
        let start = self.lexer.at() + 1;
        let token = self.lexer.string().map_err(|_| "json: not a legal key")?;
        self.measure(token)?;
        if self.lexer.token() != Some(b':') {
            return Err("json: key without a colon");
        }
        self.lexer.bump();
        self.check_key(token, start)?;
        if self.scratch.frames.len() == 1 {
            self.lexer.token();
            let value = self.lexer.at()..0;
            let key = start..start + token.raw.len();
            self.scratch.members.push(Member { key, escaped: token.escaped, value });
        }
        Ok(())
    }

    fn check_key(&mut self, token: Text<'_>, start: usize) -> Result<(), Rule> {
        let mut key = Key { start: start as u32, len: token.raw.len() as u32, decoded: false };
        if token.escaped {
            key.start = self.scratch.decoded.len() as u32;
            token.unescape(&mut self.scratch.decoded)?;
            key.len = self.scratch.decoded.len() as u32 - key.start;
            key.decoded = true;
        }
        if matches!(key.of(self.text, &self.scratch.decoded), b"__proto__" | b"constructor" | b"prototype") {
            return Err("json: forbidden key");
        }
        self.key = Some(key);
        if self.scratch.seen(self.text, key) { Err("json: duplicate key") } else { Ok(()) }
    }
}

impl Key {
    /// What the key means, of a tape's text.
    pub(super) fn meaning<'k>(self, text: &'k str, decoded: &'k str) -> &'k str {
        let source = if self.decoded { decoded } else { text };
        let start = self.start as usize;
        source.get(start..start + self.len as usize).unwrap_or_default()
    }

    fn of<'k>(self, text: &'k str, decoded: &'k str) -> &'k [u8] {
        let source = if self.decoded { decoded } else { text };
        let start = self.start as usize;
        source.as_bytes().get(start..start + self.len as usize).unwrap_or_default()
    }
}

impl Scratch {
    /// Every value of the text that was scanned last, which has to be `text`.
    #[must_use]
    pub fn tape<'t>(&'t self, text: &'t str) -> Tape<'t> {
        Tape::new(text, self)
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.frames.clear();
        self.keys.clear();
        self.members.clear();
        self.decoded.clear();
        if self.table.used > 0 {
            self.table.slots.fill(Slot::default());
            self.table.used = 0;
        }
    }

    /// Whether the innermost object has this key already; remembers it if not.
    fn seen(&mut self, text: &str, key: Key) -> bool {
        let Self { frames, keys, decoded, table, .. } = self;
        let Some(frame) = frames.last_mut() else { return false };
        if !frame.hashed {
            let own = keys.get(frame.first_key..).unwrap_or_default();
            if own.iter().any(|k| k.of(text, decoded) == key.of(text, decoded)) {
                return true;
            }
            if own.len() < FEW {
                keys.push(key);
                return false;
            }
            frame.hashed = true;
            for &old in own {
                table.insert(text, decoded, frame.serial, old);
            }
            keys.truncate(frame.first_key);
        }
        !table.insert(text, decoded, frame.serial, key)
    }
}

impl Table {
    /// False when it was there.
    fn insert(&mut self, text: &str, decoded: &str, serial: u32, key: Key) -> bool {
        if self.slots.len() < (self.used + 1) * 2 {
            self.grow();
        }
        let bytes = key.of(text, decoded);
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(serial);
        hasher.write(bytes);
        let hash = hasher.finish() as u32;
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(place) {
            #[cfg(test)]
            {
                self.probes += 1;
            }
            if slot.serial == 0 {
                *slot = Slot { serial, hash, key };
                self.used += 1;
                return true;
            }
            if slot.serial == serial && slot.hash == hash && slot.key.of(text, decoded) == bytes {
                return false;
            }
            place = (place + 1) & mask;
        }
        false
    }

    /// Doubles the table.
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        for slot in old.into_iter().filter(|s| s.serial != 0) {
            let mut place = slot.hash as usize & (size - 1);
            while self.slots.get(place).is_some_and(|s| s.serial != 0) {
                place = (place + 1) & (size - 1);
            }
            if let Some(free) = self.slots.get_mut(place) {
                *free = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests;
