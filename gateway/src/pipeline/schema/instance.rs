//! The scan's tape as the validator sees it: no tree, and no copy of a string that was written without escapes.

use std::borrow::Cow;
use std::cell::Cell;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object, unique};
use portcullis_common::wire::tape::{Children, Item, Kind};
use serde_json::{Number, Value};

/// The representation.
pub struct TapeJson;

/// What one validation may still look at. A schema that refers to itself in more than one alternative can ask about one
/// value again and again, and about what is in it twice as often at each level. Once nothing is left, every value seems
/// empty, so that the validator comes to its end; what it says then is worth nothing.
#[derive(Debug)]
pub struct Work {
    left: Cell<u32>,
    used: Cell<u32>,
}

impl Work {
    /// So many values, each time that one is given out; long strings and look-ups by name count as several.
    pub fn of(left: usize) -> Self {
        Self { left: Cell::new(u32::try_from(left).unwrap_or(u32::MAX)), used: Cell::new(0) }
    }

    fn take(&self, n: usize) -> bool {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.used.set(self.used.get().saturating_add(n));
        let left = self.left.get().saturating_sub(n);
        self.left.set(left);
        left > 0
    }

    /// Whether it was too little.
    pub fn spent(&self) -> bool {
        self.left.get() == 0
    }

    /// What was asked for.
    #[cfg(test)]
    pub fn used(&self) -> u32 {
        self.used.get()
    }
}

/// One value of an instance.
#[derive(Debug, Clone)]
pub enum Instance<'a> {
    /// A value of the tape.
    Item(Item<'a>, &'a Work),
    /// A key, where the schema asks about keys.
    Name(&'a str),
    /// The payload that is not there.
    Absent,
}

impl<'a> Instance<'a> {
    /// A payload; one that was not sent means `null`.
    pub fn payload(root: Option<Item<'a>>, work: &'a Work) -> Self {
        root.map_or(Self::Absent, |item| Self::Item(item, work))
    }

    /// It as a tree, to be compared.
    fn value(&self) -> Value {
        match self {
            Self::Name(name) => Value::String((*name).to_owned()),
            Self::Absent => Value::Null,
            // what the scan has taken, serde takes
            Self::Item(item, _) => serde_json::from_str(item.raw()).unwrap_or_default(),
        }
    }

    fn of_kind(&self, kind: Kind) -> Option<Inner<'a>> {
        match self {
            Self::Item(item, work) if item.kind() == kind && !work.spent() => Some(Inner(*item, work)),
            _ => None,
        }
    }
}

impl Json for TapeJson {
    type Node<'a> = Instance<'a>;
    type PreparedKey = String;
    type StringBuffer = ();

    /// A look-up walks the members, so one walk over all of them is always cheaper than several.
    const KEYS_PER_LOOKUP: usize = 1 << 16;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(Instance<'_>) -> T) -> T {
        f(Instance::Name(string))
    }
}

/// A number as written.
pub struct Written<'a>(&'a str);

impl Written<'_> {
    fn literal(&self) -> bool {
        !self.0.contains(['.', 'e', 'E'])
    }
}

impl JsonNumber for Written<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok()
    }

    fn as_str(&self) -> Cow<'_, str> {
        self.0.into()
    }

    fn to_number(&self) -> Cow<'_, Number> {
        Cow::Owned(serde_json::from_str(self.0).unwrap_or_else(|_| Number::from(0)))
    }

    fn is_integer(&self) -> bool {
        match self.0.split_once('.') {
            _ if self.literal() => true,
            // without an exponent the text says it exactly
            Some((_, fraction)) if !fraction.contains(['e', 'E']) => fraction.bytes().all(|digit| digit == b'0'),
            _ => self.as_f64().is_some_and(|value| value.fract() == 0.0),
        }
    }

    fn is_written_as_integer(&self) -> bool {
        self.literal()
    }
}

impl<'a> Node<'a, TapeJson> for Instance<'a> {
    type Object = Inner<'a>;
    type Array = Inner<'a>;
    type Number = Written<'a>;

    fn as_object(&self) -> Option<Inner<'a>> {
        self.of_kind(Kind::Object)
    }

    fn as_array(&self) -> Option<Inner<'a>> {
        self.of_kind(Kind::Array)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            // a pattern reads all of it
            Self::Item(item, work) if item.kind() == Kind::String => {
                work.take(item.raw().len() / 64);
                item.text()
            }
            Self::Item(..) => None,
            Self::Name(name) => Some((*name).into()),
            Self::Absent => None,
        }
    }

    fn as_number(&self) -> Option<Written<'a>> {
        self.of_kind(Kind::Number).map(|Inner(item, _)| Written(item.raw()))
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Item(item, _) if item.kind() == Kind::True => Some(true),
            Self::Item(item, _) if item.kind() == Kind::False => Some(false),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.json_type() == JsonType::Null
    }

    fn is_number(&self) -> bool {
        self.json_type() == JsonType::Number
    }

    fn json_type(&self) -> JsonType {
        match self {
            Self::Absent => JsonType::Null,
            Self::Name(_) => JsonType::String,
            Self::Item(item, _) => match item.kind() {
                Kind::Object => JsonType::Object,
                Kind::Array => JsonType::Array,
                Kind::String => JsonType::String,
                Kind::Number => JsonType::Number,
                Kind::True | Kind::False => JsonType::Boolean,
                Kind::Null => JsonType::Null,
            },
        }
    }

    fn string_length_within(&self, min: u64, max: u64) -> Option<bool> {
        let text = self.as_string()?;
        // a character takes one to four bytes: often the length in bytes decides
        let bytes = text.len() as u64;
        if bytes < min || bytes.div_ceil(4) > max {
            return Some(false);
        }
        if min <= bytes.div_ceil(4) && bytes <= max {
            return Some(true);
        }
        Some((min..=max).contains(&(text.chars().count() as u64)))
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.as_string(), expected) {
            (Some(text), Value::String(other)) => text == *other,
            (Some(_), _) | (None, Value::String(_)) => false,
            _ => jsonschema::json::cmp::equal(&self.value(), expected),
        }
    }

    /// What an error would show of the payload: nothing, and nothing is built for it.
    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Value::Null)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(match self {
            Self::Item(item, _) => NodeIdentity::tagged(item.raw().as_ptr().addr(), item.place()),
            Self::Name(name) => NodeIdentity::tagged(name.as_ptr().addr(), u32::MAX),
            Self::Absent => NodeIdentity::tagged(0, u32::MAX),
        })
    }
}

/// An object or an array.
#[derive(Debug, Clone, Copy)]
pub struct Inner<'a>(Item<'a>, &'a Work);

impl<'a> Object<'a, TapeJson> for Inner<'a> {
    type Node = Instance<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.0.members()
    }

    fn get(&self, key: &String) -> Option<Instance<'a>> {
        self.1.take(1 + self.0.members() / 16);
        self.0.get(key).map(|item| Instance::Item(item, self.1))
    }

    fn members(&self) -> Members<'a> {
        Members(self.0.children(), self.1)
    }
}

/// The members of an object.
pub struct Members<'a>(Children<'a>, &'a Work);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Instance<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.next().filter(|_| self.1.take(1))?;
        Some((item.key().unwrap_or_default(), Instance::Item(item, self.1)))
    }
}

impl<'a> Array<'a, TapeJson> for Inner<'a> {
    type Node = Instance<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.0.members()
    }

    fn is_unique(&self) -> bool {
        self.1.take(self.0.raw().len() / 16);
        let values: Vec<Value> = self.elements().map(|element| element.value()).collect();
        unique::is_unique(&values)
    }

    fn elements(&self) -> Elements<'a> {
        Elements(self.0.children(), self.1)
    }
}

/// The items of an array.
pub struct Elements<'a>(Children<'a>, &'a Work);

impl<'a> Iterator for Elements<'a> {
    type Item = Instance<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.next().filter(|_| self.1.take(1))?;
        Some(Instance::Item(item, self.1))
    }
}
