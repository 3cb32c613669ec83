//! What a schema leaves out is closed, and what it misspells is found.
//!
//! JSON Schema lets an object have any member that the schema does not name, and ignores any keyword that it does not
//! know. For a gateway both are holes. So wherever a schema describes an object and does not say `additionalProperties` or
//! `unevaluatedProperties`, it is given one that is `false`; and a keyword that is not one of Draft 2020-12 is an error,
//! unless it begins with `x-`.
//!
//! Where a schema is put together (`allOf`, `anyOf`, `oneOf`, `then`, `else`, `dependentSchemas`, `$ref`) the whole is
//! closed, by `unevaluatedProperties`, and not its parts, each of which knows only some of the members. What is beneath
//! `not`, `if`, `contains` is left as it is: stricter there would mean laxer outside.

use serde_json::{Map, Value};

/// Keywords of Draft 2020-12 (its core and validation vocabularies), and where they hold schemas.
const KEYWORDS: &[(&str, Holds)] = &[
    ("$schema", Holds::Nothing),
    ("$id", Holds::Nothing),
    ("$ref", Holds::Nothing),
    ("$anchor", Holds::Nothing),
    ("$dynamicRef", Holds::Nothing),
    ("$dynamicAnchor", Holds::Nothing),
    ("$vocabulary", Holds::Nothing),
    ("$comment", Holds::Nothing),
    ("$defs", Holds::Named(Place::Part)),
    ("allOf", Holds::List(Place::Part)),
    ("anyOf", Holds::List(Place::Part)),
    ("oneOf", Holds::List(Place::Part)),
    ("not", Holds::One(Place::Asked)),
    ("if", Holds::One(Place::Asked)),
    ("then", Holds::One(Place::Part)),
    ("else", Holds::One(Place::Part)),
    ("dependentSchemas", Holds::Named(Place::Part)),
    ("prefixItems", Holds::List(Place::Whole)),
    ("items", Holds::One(Place::Whole)),
    ("contains", Holds::One(Place::Asked)),
    ("properties", Holds::Named(Place::Whole)),
    ("patternProperties", Holds::Named(Place::Whole)),
    ("additionalProperties", Holds::One(Place::Whole)),
    ("propertyNames", Holds::One(Place::Asked)),
    ("unevaluatedItems", Holds::One(Place::Whole)),
    ("unevaluatedProperties", Holds::One(Place::Whole)),
    ("type", Holds::Nothing),
    ("const", Holds::Nothing),
    ("enum", Holds::Nothing),
    ("multipleOf", Holds::Nothing),
    ("maximum", Holds::Nothing),
    ("exclusiveMaximum", Holds::Nothing),
    ("minimum", Holds::Nothing),
    ("exclusiveMinimum", Holds::Nothing),
    ("maxLength", Holds::Nothing),
    ("minLength", Holds::Nothing),
    ("pattern", Holds::Nothing),
    ("maxItems", Holds::Nothing),
    ("minItems", Holds::Nothing),
    ("uniqueItems", Holds::Nothing),
    ("maxContains", Holds::Nothing),
    ("minContains", Holds::Nothing),
    ("maxProperties", Holds::Nothing),
    ("minProperties", Holds::Nothing),
    ("required", Holds::Nothing),
    ("dependentRequired", Holds::Nothing),
    ("format", Holds::Nothing),
    ("title", Holds::Nothing),
    ("description", Holds::Nothing),
    ("default", Holds::Nothing),
    ("deprecated", Holds::Nothing),
    ("readOnly", Holds::Nothing),
    ("writeOnly", Holds::Nothing),
    ("examples", Holds::Nothing),
];

/// What puts a schema together from parts that look at the same value.
const TOGETHER: &[&str] = &["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"];

/// What says that a schema is about an object.
const OBJECT: &[&str] = &[
    "properties",
    "patternProperties",
    "required",
    "minProperties",
    "maxProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
];

/// The draft that schemas are written in; what names none is.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

#[derive(Clone, Copy)]
enum Holds {
    Nothing,
    One(Place),
    List(Place),
    Named(Place),
}

/// What a schema is to the value it looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All that is said about the value: to be closed.
    Whole,
    /// One part of what is said about it: only what is inside is closed.
    Part,
    /// A question whose answer may be no: not touched.
    Asked,
}

/// The schema with every object closed that it does not open itself.
///
/// # Errors
/// A sentence with the place (a JSON pointer): an unknown keyword, another draft, a schema that is neither an object nor a
/// boolean.
pub fn closed(schema: &Value) -> Result<Value, String> {
    let mut schema = schema.clone();
    close(&mut schema, Place::Whole, "")?;
    Ok(schema)
}

fn close(schema: &mut Value, place: Place, at: &str) -> Result<(), String> {
    let here = || if at.is_empty() { "/" } else { at };
    let members = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(members) => members,
        _ => return Err(format!("is not a schema at {}: neither an object nor true or false", here())),
    };
    if members.get("$schema").is_some_and(|draft| draft.as_str().map(|d| d.trim_end_matches('#')) != Some(DRAFT)) {
        return Err(format!("names another draft at {}: schemas are of {DRAFT}", here()));
    }
    for (keyword, value) in members.iter_mut() {
        let known = KEYWORDS.iter().find(|(name, _)| name == keyword);
        let Some((name, holds)) = known else {
            if keyword.starts_with("x-") {
                continue;
            }
            return Err(format!("has the keyword {keyword:?} at {}, which Draft 2020-12 does not know", here()));
        };
        let inner = |of: Place| if place == Place::Asked { Place::Asked } else { of };
        let at = format!("{at}/{name}");
        match (*holds, value) {
            (Holds::One(of), value) => close(value, inner(of), &at)?,
            (Holds::List(of), Value::Array(parts)) => {
                for (n, part) in parts.iter_mut().enumerate() {
                    close(part, inner(of), &format!("{at}/{n}"))?;
                }
            }
            (Holds::Named(of), Value::Object(named)) => {
                for (key, part) in named {
                    close(part, inner(of), &format!("{at}/{key}"))?;
                }
            }
            // of another form: the compiler holds it against the meta-schema
            _ => {}
        }
    }
    if place == Place::Whole {
        shut(members);
    }
    Ok(())
}

/// Closes one object schema.
fn shut(members: &mut Map<String, Value>) {
    let says = |keywords: &[&str]| keywords.iter().any(|keyword| members.contains_key(*keyword));
    if says(&["additionalProperties", "unevaluatedProperties"]) {
        return;
    }
    let object = |kind: &Value| kind == "object";
    let typed = match members.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(object),
        Some(kind) => object(kind),
        None => false,
    };
    if says(TOGETHER) {
        members.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
    } else if typed || says(OBJECT) {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_describes_an_object_is_closed_at_every_depth() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"properties": {"b": {"type": ["object", "null"]}}},
                "list": {"type": "array", "items": {"required": ["x"]}},
                "open": {"type": "object", "additionalProperties": true},
                "any": {},
                "text": {"type": "string"},
            },
        });
        let closed = closed(&schema).unwrap();
        let says = |at: &str| closed.pointer(&format!("{at}/additionalProperties")).cloned();
        for at in ["", "/properties/a", "/properties/a/properties/b", "/properties/list/items"] {
            assert_eq!(says(at), Some(json!(false)), "{at}");
        }
        assert_eq!(says("/properties/open"), Some(json!(true)));
        for at in ["/properties/any", "/properties/text", "/properties/list"] {
            assert_eq!(says(at), None, "{at}");
        }
    }

    #[test]
    fn what_is_put_together_is_closed_as_a_whole() {
        let schema = json!({
            "allOf": [{"properties": {"a": {"type": "object"}}}, {"$ref": "#/$defs/b"}],
            "not": {"type": "object", "properties": {"c": {"type": "object"}}},
            "$defs": {"b": {"properties": {"b": {"type": "object"}}}},
        });
        let closed = closed(&schema).unwrap();
        assert_eq!(closed["unevaluatedProperties"], json!(false));
        assert_eq!(closed["allOf"][0].get("additionalProperties"), None);
        assert_eq!(closed["allOf"][0]["properties"]["a"]["additionalProperties"], json!(false));
        assert_eq!(closed["$defs"]["b"].get("additionalProperties"), None);
        assert_eq!(closed["$defs"]["b"]["properties"]["b"]["additionalProperties"], json!(false));
        assert_eq!(closed["not"], schema["not"]);
    }

    #[test]
    fn slips_and_other_drafts_are_errors_with_their_place() {
        for (schema, place) in [
            (json!({"propertys": {}}), "\"propertys\" at /,"),
            (json!({"properties": {"a": {"maxlength": 3}}}), "\"maxlength\" at /properties/a,"),
            (json!({"additionalItems": false}), "\"additionalItems\" at /,"),
            (json!({"definitions": {}}), "\"definitions\" at /,"),
            (json!({"items": [{"type": "string"}]}), "at /items:"),
            (json!({"properties": {"a": 1}}), "at /properties/a:"),
            (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "another draft at /:"),
            (json!("object"), "at /:"),
        ] {
            let error = closed(&schema).unwrap_err();
            assert!(error.contains(place), "{schema}: {error}");
        }
        assert!(closed(&json!({"$schema": DRAFT, "x-note": 1, "properties": {"maxlength": {}}})).is_ok());
        assert!(closed(&json!(true)).is_ok());
    }
}
