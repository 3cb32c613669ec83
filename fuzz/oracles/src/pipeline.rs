//! A whole message: what passes is legal, within its bounds, and passes again unchanged; JSON and MessagePack are judged
//! alike; what is refused shows nothing of what was sent.

use portcullis_common::wire::msgpack;
use portcullis_common::wire::scan::Bounds;
use portcullis_gateway::pipeline::{Frame, Verdict};

use crate::rules::put;

/// What became of it: the payload that goes on and whether it was changed, or the code.
type Seen = Result<(String, bool), &'static str>;

fn seen(frame: Frame<'_>) -> Seen {
    put(frame, |checked| match checked.verdict {
        Verdict::Pass(passed) => {
            let payload = passed.message.payload.map_or("null", |raw| raw.get()).to_owned();
            Ok((payload, passed.cleaned.any()))
        }
        Verdict::Reject { reject, .. } => Err(reject.code.info().name),
        Verdict::Park(key) => panic!("{key:?}"),
        Verdict::Shed { id } => panic!("{id:?}"),
    })
}

/// One payload of a type whose strings are cleaned; or, where it is no payload, one message.
pub fn pipeline(data: &[u8]) {
    let _ = seen(Frame::Binary(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = seen(Frame::Text(text));
    let wrap = |payload: &str| format!(r#"{{"type":"post","to":{{"room":"r"}},"payload":{payload}}}"#);
    let message = wrap(text);
    let first = seen(Frame::Text(&message));
    if let Ok((payload, changed)) = &first {
        serde_json::from_str::<serde_json::Value>(payload).expect("what goes on is JSON");
        assert!(*changed || payload == text.trim_matches([' ', '\t', '\r', '\n']), "changed and not said so");
        match seen(Frame::Text(&wrap(payload))) {
            Ok((again, changed)) => assert!(!changed && again == *payload, "{payload} became {again}"),
            Err(code) => panic!("{code}: {payload} of {text}"),
        }
    }
    let mut packed = Vec::new();
    if msgpack::from_json(&message, Bounds::default(), &mut packed).is_ok() {
        let value = |seen: Seen| {
            seen.map(|(text, changed)| (serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), changed))
        };
        let (json, packed) = (value(first), value(seen(Frame::Binary(&packed))));
        // packing writes numbers anew, and so takes ones that are too exact to be taken as text
        if matches!(json, Err("malformed")) {
            return;
        }
        assert_eq!(json.is_ok(), packed.is_ok(), "{json:?} {packed:?}: {message}");
    }
}
