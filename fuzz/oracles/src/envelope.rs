//! The JSON envelope: what is taken is JSON to another parser too, and means the same there.

use portcullis_common::ids::ClientId;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::{To, decode};
use portcullis_common::wire::scan::{Bounds, Scratch};
use portcullis_common::wire::tape::{Item, Kind};
use serde_json::Value;

/// Small, so that short inputs meet them.
const BOUNDS: Bounds = Bounds { depth: 8, nodes: 64, keys: 16, items: 16, string: 256 };

/// One text.
pub fn envelope(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for bounds in [Bounds::default(), BOUNDS] {
        let mut scratch = Scratch::default();
        match decode(text, bounds, &mut scratch) {
            Ok(message) => {
                let judged: Value = serde_json::from_str(text).expect("what was taken is JSON");
                assert_eq!(judged["type"], *message.kind);
                let payload = message.payload.map(|raw| serde_json::from_str::<Value>(raw.get()).expect("JSON too"));
                assert_eq!(judged.get("payload"), payload.as_ref());
                assert_eq!(judged.get("id").and_then(Value::as_str), message.id.as_deref());
                assert_eq!(judged.get("csrfToken").and_then(Value::as_str), message.csrf_token.as_deref());
                assert_eq!(judged.get("timestamp").and_then(Value::as_u64), message.timestamp);
                let to = message.to.as_ref().map(|to| match to {
                    To::Room(room) => serde_json::json!({ "room": &**room }),
                    To::User(user) => serde_json::json!({ "user": &**user }),
                });
                assert_eq!(judged.get("to"), to.as_ref());
                same(scratch.tape(text).root().expect("a root"), &judged);
            }
            Err(refused) => {
                assert!(matches!(refused.reject.code, Code::Malformed | Code::TooLarge), "{:?}", refused.reject);
                assert!(refused.id.is_none_or(|id| ClientId::check(&id).is_ok()));
            }
        }
    }
}

/// The tape says of every value what the judge says.
pub(crate) fn same(item: Item<'_>, judged: &Value) {
    match judged {
        Value::Null => assert_eq!(item.kind(), Kind::Null),
        Value::Bool(true) => assert_eq!(item.kind(), Kind::True),
        Value::Bool(false) => assert_eq!(item.kind(), Kind::False),
        Value::Number(number) => {
            let ours = item.number().expect("a number");
            assert_eq!(&serde_json::from_str::<serde_json::Number>(ours.raw).expect("a number"), number);
        }
        Value::String(text) => assert_eq!(item.text().as_deref(), Some(text.as_str())),
        Value::Array(items) => {
            assert_eq!((item.kind(), item.children().count()), (Kind::Array, items.len()));
            item.children().zip(items).for_each(|(item, judged)| same(item, judged));
        }
        Value::Object(members) => {
            assert_eq!((item.kind(), item.children().count()), (Kind::Object, members.len()));
            for child in item.children() {
                same(child, &members[child.key().expect("a member has a key")]);
            }
        }
    }
}
