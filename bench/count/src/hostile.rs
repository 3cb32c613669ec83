//! The largest messages that are let in: what people send, and what makes the gateway work hardest. A hostile one may cost
//! ten times a benign one of its size, and no more.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_gateway::pipeline::Frame;

use crate::case::Case;
use crate::message::Bench;

/// Bytes of each, but for a little.
const SIZE: usize = 65_536;

/// Values at most, as everywhere.
const NODES: usize = 4_000;

/// The rows that are allowed most.
pub const BENIGN: [&str; 3] = ["64 KiB, a long text", "64 KiB, records", "64 KiB, many short texts"];

/// How many times the dearest benign one.
pub const FACTOR: f64 = 10.0;

/// `unit` as often as it fits, each numbered where it has `#`.
fn filled(open: &str, close: &str, separator: &str, unit: &str) -> String {
    let head = r#"{"type":"large","to":{"room":"lobby.red"},"payload":{"#;
    let mut out = format!("{head}{open}");
    for n in 0..NODES {
        let next = unit.replace('#', &n.to_string());
        if out.len() + separator.len() + next.len() + close.len() + 2 > SIZE {
            break;
        }
        if n > 0 {
            out.push_str(separator);
        }
        out.push_str(&next);
    }
    format!("{out}{close}}}}}")
}

/// One string as long as may be.
fn long(key: &str, unit: &str) -> String {
    let head = format!(r#"{{"type":"large","to":{{"room":"lobby.red"}},"payload":{{"{key}":""#);
    let count = (SIZE - head.len() - 3) / unit.len();
    format!("{head}{}\"}}}}", unit.repeat(count))
}

fn messages() -> Vec<(&'static str, String)> {
    let deep = format!("{}1{}", "[".repeat(12), "]".repeat(12));
    vec![
        (BENIGN[0], long("text", "the quick brown fox jumps over the lazy dog. ")),
        (
            BENIGN[1],
            filled(
                r#""records":["#,
                "]",
                ",",
                r##"{"id":#,"name":"a name, as people have","about":"and a line of text, as people write it","file":"dir/file-#.txt"}"##,
            ),
        ),
        (BENIGN[2], filled(r#""any":["#, "]", ",", r#""text #""#)),
        ("hostile: deep", filled(r#""any":["#, "]", ",", &deep)),
        ("hostile: keys", filled(r#""any":{"#, "}", ",", r##""k#":1"##)),
        ("hostile: keys with one beginning", filled(r#""any":{"#, "}", ",", &format!(r##""{}#":1"##, "p".repeat(40)))),
        ("hostile: keys in escapes", filled(r#""any":{"#, "}", ",", r##""\u006b\u006b#":1"##)),
        ("hostile: one key twice, at the end", filled(r#""any":{"#, r#","k0":1}"#, ",", r##""k#":1"##)),
        ("hostile: escapes", long("any", "\\u0041")),
        ("hostile: percent signs", long("any", "%")),
        ("hostile: percent encodings", long("any", "%25")),
        ("hostile: percent encodings in many", filled(r#""any":["#, "]", ",", r##""%25%2e%u#""##)),
        ("hostile: paths encoded", filled(r#""records":["#, "]", ",", r##"{"file":"%252525%2e%252e#"}"##)),
        ("hostile: markup", long("text", "<a><b ")),
        ("hostile: markup, as much as is parsed", long_text(&"<b><i><a href=x>".repeat(80))),
        ("hostile: brackets", long("text", "<")),
        ("hostile: markup in many", filled(r#""records":["#, "]", ",", r##"{"about":"<b><i>x</b>#"}"##)),
        ("hostile: near a signature", long("any", "' or 1 union all selec ")),
        ("hostile: near many signatures", long("any", "<scrip ${jnd {{7* ../.. $whe ;ca /et ' o (|( ")),
        ("hostile: signatures in many", filled(r#""any":["#, "]", ",", r#""' or 1=1 --""#)),
        ("hostile: against a pattern", long("note", "ab")),
        ("hostile: against a repeated pattern", long("slug", "a-")),
        ("hostile: against a pattern in many", filled(r#""labels":["#, "]", ",", r#""aaaaaaaaaaaaaaaa!""#)),
        ("hostile: combining characters", long("any", "a\u{323}\u{307}")),
        ("hostile: controls", long("any", "\u{202e}")),
        ("hostile: numbers", filled(r#""any":["#, "]", ",", "1.234567890#e-30")),
        (
            "hostile: blanks",
            format!("{}{}", " ".repeat(SIZE - 70), r#"{"type":"large","to":{"room":"lobby.red"},"payload":{}}"#),
        ),
        ("hostile: not closed", long("any", "[{").replace("\"}}", "")),
    ]
}

fn long_text(markup: &str) -> String {
    let head = r#"{"type":"large","to":{"room":"lobby.red"},"payload":{"text":""#;
    let rest = SIZE - head.len() - markup.len() - 3;
    format!("{head}{markup}{}\"}}}}", "x".repeat(rest))
}

/// The rows of large messages, each the first of its connection. Whether they pass is not what is measured here.
pub fn cases() -> Vec<Case> {
    let bench = Rc::new(RefCell::new(Bench::new()));
    let one = |(name, text): (&'static str, String)| {
        assert!(text.len() <= SIZE, "{name}: {}", text.len());
        let bench = Rc::clone(&bench);
        Case::one(name, move || {
            let mut bench = bench.borrow_mut();
            bench.reconnect();
            bench.check(Frame::Text(&text));
        })
    };
    messages().into_iter().map(one).collect()
}
