//! MessagePack: what is taken becomes JSON within the same bounds, and going there and back changes nothing any more.

use portcullis_common::wire::msgpack::{from_json, to_json};
use portcullis_common::wire::scan::{Bounds, Scratch, scan};
use serde_json::Value;

const MOST: usize = 4_096;

/// One message, read as MessagePack and as JSON.
pub fn msgpack(data: &[u8]) {
    let mut json = String::new();
    if to_json(data, Bounds::default(), MOST, &mut json).is_ok() {
        assert!(json.len() <= MOST);
        settled(&json);
    }
    let mut packed = Vec::new();
    if let Ok(text) = std::str::from_utf8(data)
        && scan(text, Bounds::default(), &mut Scratch::default()).is_ok()
    {
        from_json(text, Bounds::default(), &mut packed).expect("what the scan takes can be packed");
        let mut back = String::new();
        // numbers are written in their shortest form, and `$bin` may be unpacked: only longer texts may be refused
        if to_json(&packed, Bounds::default(), 2 * text.len() + MOST, &mut back).is_ok() {
            settled(&back);
        }
    }
}

fn settled(json: &str) {
    let judged: Value = serde_json::from_str(json).expect("JSON");
    match scan(json, Bounds::default(), &mut Scratch::default()) {
        Ok(_) => {}
        // what a key says is for the scan alone to judge
        Err(reject) if ["json: duplicate key", "json: forbidden key"].contains(&&*reject.detail) => return,
        Err(reject) => panic!("not within the bounds: {reject:?}"),
    }
    let (mut packed, mut again) = (Vec::new(), String::new());
    from_json(json, Bounds::default(), &mut packed).expect("can be packed");
    to_json(&packed, Bounds::default(), 2 * json.len() + MOST, &mut again).expect("can be unpacked");
    assert_eq!(serde_json::from_str::<Value>(&again).expect("JSON"), judged);
    assert_eq!(json, again);
}
