//! The largest messages that are let in: what people send, and what makes the gateway work hardest. A hostile one may cost
//! ten times a benign one of its size, and no more.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_gateway::pipeline::Frame;

use crate::case::Case;
use crate::message::Bench;

/// Bytes of each, but for a little.
const SIZE: usize = 65_536;

/// Values, items of an array, keys of an object: a little less than may be by default.
const NODES: usize = 4_000;
const ITEMS: usize = 1_000;
const KEYS: usize = 250;

/// The rows that are allowed most.
pub const BENIGN: [&str; 3] = ["64 KiB, a long text", "64 KiB, records", "64 KiB, many short texts"];

/// How many times the dearest benign one.
pub const FACTOR: f64 = 10.0;

const HEAD: &str = r#"{"type":"large","to":{"room":"lobby.red"},"payload":{"#;

/// Many of something: what opens and closes a group of them, how many a group takes, and how many values each is.
struct Many {
    key: &'static str,
    group: (&'static str, &'static str),
    most: usize,
    values: usize,
}

/// Items of arrays.
const LISTED: Many = Many { key: "any", group: ("[", "]"), most: ITEMS, values: 1 };

/// Members of objects, the last of which closes with `close`.
const fn members(close: &'static str) -> Many {
    Many { key: "any", group: ("{\"x\":1,", close), most: KEYS, values: 1 }
}

impl Many {
    /// `unit` as often as it fits, each numbered where it has `#`.
    fn of(&self, unit: &str) -> String {
        let (open, close) = self.group;
        let mut out = format!("{HEAD}\"{}\":[{open}", self.key);
        for n in 0..NODES / self.values {
            let next = unit.replace('#', &n.to_string());
            if out.len() + next.len() + 2 * (open.len() + close.len()) + 8 > SIZE {
                break;
            }
            if n > 0 && n % self.most == 0 {
                // the groups between may not end as the last one does
                out.push_str(if open.starts_with('{') { "},{" } else { "],[" });
            } else if n > 0 {
                out.push(',');
            }
            out.push_str(&next);
        }
        format!("{out}{close}]}}}}")
    }
}

/// One array of records, under its own key.
fn records(unit: &str, values: usize) -> String {
    let most = NODES / values;
    let mut out = format!("{HEAD}\"records\":[");
    for n in 0..most.min(ITEMS) {
        let next = unit.replace('#', &n.to_string());
        if out.len() + next.len() + 8 > SIZE {
            break;
        }
        if n > 0 {
            out.push(',');
        }
        out.push_str(&next);
    }
    format!("{out}]}}}}")
}

/// One string as long as may be.
fn long(key: &str, unit: &str) -> String {
    let count = (SIZE - HEAD.len() - key.len() - 8) / unit.len();
    format!("{HEAD}\"{key}\":\"{}\"}}}}", unit.repeat(count))
}

fn benign() -> [(&'static str, String); 3] {
    let record = r##"{"id":#,"name":"a name, as people have","about":"and a line of text, as people write it","file":"dir/file-#.txt"}"##;
    [
        (BENIGN[0], long("text", "the quick brown fox jumps over the lazy dog. ")),
        (BENIGN[1], records(record, 5)),
        (BENIGN[2], LISTED.of(r#""a text, #""#)),
    ]
}

fn hostile() -> Vec<(&'static str, String)> {
    let deep = format!("{}1{}", "[".repeat(12), "]".repeat(12));
    let nested = Many { values: 13, ..LISTED };
    let prefixed = format!(r##""{}#":1"##, "p".repeat(12));
    vec![
        ("hostile: deep", nested.of(&deep)),
        ("hostile: keys", members("}").of(r##""a key #":1"##)),
        ("hostile: keys with one beginning", members("}").of(&prefixed)),
        ("hostile: keys in escapes", members("}").of(r##""\u006b#":1"##)),
        ("hostile: one key twice, at the end", members(",\"x\":1}").of(r##""a key #":1"##)),
        ("hostile: escapes", long("any", "\\u0041")),
        ("hostile: percent signs", long("any", "%")),
        ("hostile: percent encodings", long("any", "%25")),
        ("hostile: percent encodings in many", LISTED.of(r##""%25%2e%u002e#""##)),
        ("hostile: paths encoded", records(r##"{"file":"dir/%252525%252e%252e%2525#"}"##, 2)),
        ("hostile: markup", long("text", "<a><b ")),
        ("hostile: markup, as much as is parsed", long_text(&"<b><i><a href=x>".repeat(80))),
        ("hostile: brackets", long("text", "<")),
        ("hostile: markup in many", records(r##"{"about":"<b><i><a href=http://a.b>x</b>#"}"##, 2)),
        ("hostile: near a signature", long("any", "' or 1 union all selec ")),
        ("hostile: near many signatures", long("any", "<scrip ${jnd {{7* ../.. $whe ;ca /et ' o (|( ")),
        ("hostile: signatures in many", LISTED.of(r#""' or 1=1 --""#)),
        ("hostile: against a pattern", long("note", "ab")),
        ("hostile: against a repeated pattern", long("slug", "a-")),
        (
            "hostile: against a pattern in many",
            records(r##"{"name":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!#"}"##, 2),
        ),
        ("hostile: combining characters", long("any", "a\u{323}\u{307}")),
        ("hostile: other scripts", long("any", "日本語のテキスト、")),
        ("hostile: controls", long("any", "\u{202e}")),
        ("hostile: numbers", LISTED.of("1.234567890#e-30")),
        ("hostile: blanks", format!("{}{HEAD}}}}}", " ".repeat(SIZE - HEAD.len() - 2))),
        ("hostile: not closed", long("any", "[{").replace("\"}}", "")),
    ]
}

/// A long text that begins with markup.
fn long_text(markup: &str) -> String {
    let rest = SIZE - HEAD.len() - markup.len() - 16;
    format!("{HEAD}\"text\":\"{markup}{}\"}}}}", "x".repeat(rest))
}

/// The rows of large messages, each the first of its connection. Whether a hostile one passes is not what is measured.
pub fn cases() -> Vec<Case> {
    let bench = Rc::new(RefCell::new(Bench::new()));
    let one = |name: &str, text: String, passes: bool| {
        assert!(text.len() <= SIZE, "{name}: {}", text.len());
        let bench = Rc::clone(&bench);
        Case::one(name, move || {
            let mut bench = bench.borrow_mut();
            bench.reconnect();
            let passed = bench.check(Frame::Text(&text));
            assert!(passed || !passes, "what people send is refused");
        })
    };
    let benign = benign().into_iter().map(|(name, text)| one(name, text, true));
    let hostile = hostile().into_iter().map(|(name, text)| one(name, text, false));
    benign.chain(hostile).collect()
}
