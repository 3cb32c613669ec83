//! The scan's tape as the validator sees it: no tree, and no copy of a string that was written without escapes.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use portcullis_common::wire::tape::{Children, Item, Kind};
use serde_json::{Number, Value};

/// The representation.
pub struct TapeJson;

/// One value of an instance.
#[derive(Debug, Clone)]
pub enum Instance<'a> {
    /// A value of the tape.
    Item(Item<'a>),
    /// A key, where the schema asks about keys.
    Name(&'a str),
    /// The payload that is not there.
    Absent,
}

impl<'a> Instance<'a> {
    /// A payload; one that was not sent means `null`.
    pub fn payload(root: Option<Item<'a>>) -> Self {
        root.map_or(Self::Absent, Self::Item)
    }

    fn of_kind(&self, kind: Kind) -> Option<Item<'a>> {
        match self {
            Self::Item(item) if item.kind() == kind => Some(*item),
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
    type Object = Item<'a>;
    type Array = Items<'a>;
    type Number = Written<'a>;

    fn as_object(&self) -> Option<Item<'a>> {
        self.of_kind(Kind::Object)
    }

    fn as_array(&self) -> Option<Items<'a>> {
        self.of_kind(Kind::Array).map(Items)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Item(item) => item.text(),
            Self::Name(name) => Some((*name).into()),
            Self::Absent => None,
        }
    }

    fn as_number(&self) -> Option<Written<'a>> {
        self.of_kind(Kind::Number).map(|item| Written(item.raw()))
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Item(item) if item.kind() == Kind::True => Some(true),
            Self::Item(item) if item.kind() == Kind::False => Some(false),
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
            Self::Item(item) => match item.kind() {
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
            _ => jsonschema::json::cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(match self {
            Self::Name(name) => Value::String((*name).to_owned()),
            Self::Absent => Value::Null,
            // what the scan has taken, serde takes
            Self::Item(item) => serde_json::from_str(item.raw()).unwrap_or_default(),
        })
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(match self {
            Self::Item(item) => NodeIdentity::tagged(item.raw().as_ptr().addr(), item.place()),
            Self::Name(name) => NodeIdentity::tagged(name.as_ptr().addr(), u32::MAX),
            Self::Absent => NodeIdentity::tagged(0, u32::MAX),
        })
    }
}

impl<'a> Object<'a, TapeJson> for Item<'a> {
    type Node = Instance<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        Item::members(*self)
    }

    fn get(&self, key: &String) -> Option<Instance<'a>> {
        Item::get(*self, key).map(Instance::Item)
    }

    fn members(&self) -> Members<'a> {
        Members(self.children())
    }
}

/// The members of an object.
pub struct Members<'a>(Children<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Instance<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.next()?;
        Some((item.key().unwrap_or_default(), Instance::Item(item)))
    }
}

/// An array.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a>(Item<'a>);

impl<'a> Array<'a, TapeJson> for Items<'a> {
    type Node = Instance<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.0.members()
    }

    fn elements(&self) -> Elements<'a> {
        Elements(self.0.children())
    }
}

/// The items of an array.
pub struct Elements<'a>(Children<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Instance<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Instance::Item)
    }
}
