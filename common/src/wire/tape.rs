//! Every value of a scanned text, without a tree: a flat list in the text's order that the scan fills while it checks.
//! Later readers walk it instead of parsing again; nothing is built, and an unescaped string is never copied.
//!
//! Cost: 40 bytes of the worker's memory for each value of the largest message, no allocation once that has grown.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{Number, Text};
use super::scan::{Key, Scratch};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

/// One value of the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// A string with an escape in it.
    pub(super) escaped: bool,
    /// Its key, where it is a member of an object.
    pub(super) key: Option<Key>,
    /// The container it stands in.
    pub(super) parent: Option<u32>,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The place of what follows it and all that it contains.
    pub(super) next: u32,
    pub(super) members: u32,
}

/// The values of one text.
#[derive(Debug, Clone, Copy)]
pub struct Tape<'t> {
    text: &'t str,
    scratch: &'t Scratch,
}

/// One value of a tape; cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Item<'t> {
    tape: Tape<'t>,
    at: u32,
}

impl<'t> Tape<'t> {
    pub(super) fn new(text: &'t str, scratch: &'t Scratch) -> Self {
        Self { text, scratch }
    }

    /// The outermost value.
    #[must_use]
    pub fn root(self) -> Option<Item<'t>> {
        self.item(0)
    }

    /// The value at a place of the list.
    #[must_use]
    pub fn item(self, at: u32) -> Option<Item<'t>> {
        self.scratch.nodes.get(at as usize).map(|_| Item { tape: self, at })
    }
}

impl<'t> Item<'t> {
    fn node(self) -> Option<&'t Node> {
        self.tape.scratch.nodes.get(self.at as usize)
    }

    /// Its place in the list: unique in the tape, and in the text's order.
    #[must_use]
    pub fn place(self) -> u32 {
        self.at
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.node().map_or(Kind::Null, |node| node.kind)
    }

    /// What its key means; `None` for an array's item and for the outermost value.
    #[must_use]
    pub fn key(self) -> Option<&'t str> {
        let key = self.node()?.key?;
        Some(key.meaning(self.tape.text, &self.tape.scratch.decoded))
    }

    /// The container it stands in.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        self.tape.item(self.node()?.parent?)
    }

    /// Members of an object or items of an array.
    #[must_use]
    pub fn members(self) -> usize {
        self.node().map_or(0, |node| node.members as usize)
    }

    /// Where it stands in the text, a string with its quotes.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.node().map_or(0..0, |node| node.start as usize..node.end as usize)
    }

    /// It as written.
    #[must_use]
    pub fn raw(self) -> &'t str {
        self.tape.text.get(self.range()).unwrap_or_default()
    }

    /// What a string means; allocates only where it was written with an escape.
    #[must_use]
    pub fn text(self) -> Option<Cow<'t, str>> {
        let node = self.node().filter(|node| node.kind == Kind::String)?;
        let raw = self.tape.text.get(node.start as usize + 1..(node.end as usize).checked_sub(1)?)?;
        Text { raw, escaped: node.escaped }.meaning().ok()
    }

    /// A number as written.
    #[must_use]
    pub fn number(self) -> Option<Number<'t>> {
        let raw = (self.kind() == Kind::Number).then(|| self.raw())?;
        Some(Number { raw, integer: !raw.contains(['.', 'e', 'E']) })
    }

    /// Members of an object, or items of an array, in their order.
    #[must_use]
    pub fn children(self) -> Children<'t> {
        Children { next: Self { at: self.at + 1, ..self }, end: self.node().map_or(0, |node| node.next) }
    }

    /// Itself and everything in it, in the text's order.
    pub fn subtree(self) -> impl Iterator<Item = Self> + use<'t> {
        let end = self.node().map_or(0, |node| node.next);
        (self.at..end).map(move |at| Self { at, ..self })
    }

    /// The member of an object with this key. Linear in the members.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        self.children().find(|item| item.key() == Some(key))
    }
}

/// The members of an object, or the items of an array.
#[derive(Debug, Clone)]
pub struct Children<'t> {
    next: Item<'t>,
    end: u32,
}

impl<'t> Iterator for Children<'t> {
    type Item = Item<'t>;

    fn next(&mut self) -> Option<Item<'t>> {
        if self.next.at >= self.end {
            return None;
        }
        let item = self.next;
        self.next.at = item.node()?.next;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::scan::{Bounds, scan};
    use super::*;

    /// The tree that the tape describes.
    fn tree(item: Item<'_>) -> Value {
        match item.kind() {
            Kind::Object => item.children().map(|c| (c.key().unwrap().to_owned(), tree(c))).collect(),
            Kind::Array => item.children().map(tree).collect(),
            Kind::String => Value::String(item.text().unwrap().into_owned()),
            Kind::Number => serde_json::from_str(item.number().unwrap().raw).unwrap(),
            Kind::True => true.into(),
            Kind::False => false.into(),
            Kind::Null => Value::Null,
        }
    }

    fn on<R>(text: &str, look: impl FnOnce(Item<'_>) -> R) -> R {
        let mut scratch = Scratch::default();
        scan(text, Bounds::default(), &mut scratch).unwrap();
        look(scratch.tape(text).root().unwrap())
    }

    #[test]
    fn what_stands_in_the_text_is_found_on_the_tape() {
        on(r#" {"a":[1,{"b\u0021":"x\ny"},[],{}], "c" : -0.5e1 } "#, |root| {
            assert_eq!((root.kind(), root.members(), root.key()), (Kind::Object, 2, None));
            let a = root.get("a").unwrap();
            assert_eq!((a.members(), a.raw()), (4, r#"[1,{"b\u0021":"x\ny"},[],{}]"#));
            let b = a.children().nth(1).unwrap().get("b!").unwrap();
            assert_eq!(b.text().as_deref(), Some("x\ny"));
            assert_eq!(b.parent().unwrap().parent().unwrap().place(), a.place());
            assert_eq!(root.get("c").unwrap().number().unwrap().raw, "-0.5e1");
            assert_eq!(root.subtree().count(), 8);
            assert!(root.get("b!").is_none(), "only its own members");
        });
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}|[\"\\\\\n]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let key = "[a-c\"\\\\é]{0,3}";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map(key, inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_tape_holds_what_serde_reads(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(on(&text, tree), value);
        }
    }
}
