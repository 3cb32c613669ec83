//! Payloads against schemas: the version that the payload names, and the same answer as from the validator's own
//! representation, which has a tree.

use std::sync::LazyLock;

use jsonschema::{Draft, PatternOptions, Validator};
use portcullis_common::stage::Stage;
use portcullis_gateway::pipeline::{Frame, Verdict};
use serde_json::Value;

use crate::rules::put;

static JUDGES: LazyLock<[Validator; 2]> = LazyLock::new(|| {
    [include_str!("../data/form.json"), include_str!("../data/form-2.json")].map(|text| {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .build(&serde_json::from_str(text).expect("JSON"))
            .expect("a schema")
    })
});

/// One payload.
pub fn schema(data: &[u8]) {
    let Ok(payload) = std::str::from_utf8(data) else { return };
    let text = format!(r#"{{"type":"form","to":{{"room":"r"}},"payload":{payload}}}"#);
    put(Frame::Text(&text), |checked| {
        let fits = match checked.verdict {
            Verdict::Pass(_) => true,
            Verdict::Reject { stage: Stage::Schema, .. } => false,
            Verdict::Reject { .. } => return,
            Verdict::Park(key) => panic!("{key:?}"),
            Verdict::Shed { id } => panic!("{id:?}"),
        };
        let judged: Value = serde_json::from_str(&text).expect("what was decoded is JSON");
        let payload = &judged["payload"];
        let judge = match payload.get("version") {
            None => Some(&JUDGES[0]),
            // as written: 2.0 and 2e0 are no versions
            Some(Value::Number(number)) if number.to_string() == "2" => Some(&JUDGES[1]),
            Some(_) => None,
        };
        assert_eq!(fits, judge.is_some_and(|judge| judge.is_valid(payload)), "{payload}");
    });
}
