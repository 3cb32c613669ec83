//! Fields that name files: what passes leads nowhere but down, however often it is decoded and whoever reads it.

use std::path::{Component, Path};

use portcullis_gateway::pipeline::sanitise::path::check;

/// What a careless reader may do to a name before it opens the file.
const READERS: [fn(&str) -> String; 6] = [
    str::to_owned,
    |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned(),
    |text| text.replace('\\', "/"),
    |text| text.replace(['\u{ff0f}', '\u{2215}', '\u{2044}'], "/").replace('\u{ff3c}', "\\").replace('\u{ff0e}', "."),
    |text| text.replace('\u{2025}', ".."),
    |text| text.trim().to_owned(),
];

/// One name.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if check(text).is_err() {
        return;
    }
    // every two readers in a row, and the first once more
    for first in READERS {
        for second in READERS {
            let read = first(&second(&first(text)));
            assert!(!read.contains('\0'), "{read:?} of {text:?}");
            for seen in [read.clone(), read.replace('\\', "/")] {
                harmless(&seen, text);
            }
        }
    }
}

fn harmless(seen: &str, text: &str) {
    for part in Path::new(seen).components() {
        assert!(matches!(part, Component::Normal(_) | Component::CurDir), "{part:?}: {seen:?} of {text:?}");
    }
    let bytes = seen.as_bytes();
    let drive = bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.get(1) == Some(&b':');
    assert!(!drive, "{seen:?} of {text:?}");
    for segment in seen.split('/') {
        // Windows drops blanks and dots at the end, and everything behind the first dot of a device's name
        assert_ne!(segment.trim_end(), "..", "{seen:?} of {text:?}");
        let stem = segment.split(['.', ':']).next().unwrap_or_default().trim().to_ascii_lowercase();
        assert!(!["con", "prn", "aux", "nul", "com1", "lpt1"].contains(&stem.as_str()), "{seen:?} of {text:?}");
    }
}
