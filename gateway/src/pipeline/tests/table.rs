//! Hostile messages with the exact answer of each, benign ones that pass byte for byte, and the proof that every stage is
//! needed: without it rows fail.

use std::collections::BTreeMap;

use portcullis_common::stage::Stage;

use super::inspection::TYPES;
use super::*;

const HOSTILE: &str = include_str!("hostile.txt");
const BENIGN: &str = include_str!("benign.txt");

/// What rows need beyond the base.
const MORE: &str = r#"
[message.vote]
roles = ["member"]
route = "room"
where = "claims.level > 3"
[message.form]
roles = ["member"]
route = "room"
schema = "chat.json"
versions = ["2:form-2.json"]
[message.vip]
roles = ["member"]
route = "room"
[message.bulk]
roles = ["member"]
route = "room"
[message.note]
roles = ["member"]
route = "room"
schema = "note.json"
html = ["text"]
path_fields = ["file"]
max_size = 120
outbound = ["size", "schema", "sanitise"]
leaks = "as_written"
[message.masked]
roles = ["member"]
route = "room"
leaks = "mask"
[message.sealed]
roles = ["member"]
route = "room"
leaks = "block"
[limit.vip]
rate = "2/min"
burst = 1
per = "user"
types = ["vip"]
[limit.bulk]
rate = "1/min"
burst = 1
per = "tenant"
types = ["bulk"]
"#;

struct Row<'t> {
    line: usize,
    stage: &'t str,
    set_up: &'t str,
    message: String,
    answer: &'t str,
}

fn rows() -> Vec<Row<'static>> {
    let lines = HOSTILE.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|(n, line)| {
            let (head, answer) = line.rsplit_once(" | ").unwrap();
            let mut cells = head.splitn(3, " | ");
            let (stage, set_up) = (cells.next().unwrap(), cells.next().unwrap());
            Row { line: n + 1, stage, set_up, message: expanded(cells.next().unwrap()), answer }
        })
        .collect()
}

/// `{N×x}` is `x` N times.
fn expanded(text: &str) -> String {
    let keys = (0..257).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    let text = text.replace("{MANY_KEYS}", &format!("{{{keys}}}")).replace("{EMPTY}", "");
    let text = text.replace("NOW", &WALL.to_string());
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('×') {
        let open = rest[..at].rfind('{').unwrap();
        let count: usize = rest[open + 1..at].parse().unwrap();
        let after = &rest[at + '×'.len_utf8()..];
        // the last brace of a repeated brace closes the repetition
        let end = after.char_indices().skip(1).find(|(n, c)| *c == '}' && *n > 0).unwrap().0;
        out.push_str(&rest[..open]);
        out.push_str(&after[..end].repeat(count));
        rest = &after[end + 1..];
    }
    out + rest
}

/// Every type that rows use, and what one row needs besides.
fn rules(more: &str) -> String {
    format!("{MORE}{TYPES}{more}")
}

/// A connection in the state that a row speaks of.
fn set_up(name: &str, off: Stages) -> Bench {
    let short = "[size]\njson_string = 64\n";
    let bytes = "[limit.bytes]\nrate = \"1024/s\"\nburst = 1024\n";
    let mut bench = Bench::with(&match name {
        "short" => rules(short),
        "bytes" => rules(bytes),
        "leaks" => rules("[leaks]\ndefault = \"mask\"\n"),
        _ => rules(scoring(name)),
    });
    bench.policy.off = off;
    match name {
        "-" | "short" => {}
        "20 health" => send(&mut bench, 20, r#"{"type":"health-check"}"#),
        "25 health" => send(&mut bench, 25, r#"{"type":"health-check"}"#),
        "20 chat" => send(&mut bench, 20, r#"{"type":"chat","to":{"room":"r"},"csrfToken":"TOKEN"}"#),
        "20 forged" => send(&mut bench, 20, r#"{"type":"chat","to":{"room":"r"},"csrfToken":"forged"}"#),
        "4 malformed" => send(&mut bench, 4, "{"),
        "5 malformed" => send(&mut bench, 5, "{"),
        "bytes" => send(&mut bench, 2, &format!(r#"{{"type":"health-check","payload":"{}"}}"#, "x".repeat(960))),
        "no token" => bench.state.csrf = csrf::Tokens::default(),
        "rotated twice" => rotate(&mut bench, 2),
        "past grace" => {
            rotate(&mut bench, 1);
            bench.wait(Duration::from_secs(60));
        }
        "stranger" => bench.roles.clear(),
        "case" => bench.roles = vec!["Member".into()],
        "leaks" => {}
        "star" => bench.roles = vec!["*".into()],
        "writer" => bench.roles.push("writer".into()),
        "claims lie" => bench.claims = r#"{"level":"4"}"#.to_owned(),
        other if !scoring(other).is_empty() => return scored(other, bench, off),
        other => return counted(other, bench, off),
    }
    bench
}

/// What a score does in set-ups that are about it; nothing for others.
fn scoring(name: &str) -> &'static str {
    match name {
        "switched types" => "[anomaly]\nhalf_life = \"10s\"\nrestrict = 3\ndisconnect = 100\n",
        "grew" => "[anomaly]\nhalf_life = \"10s\"\nrestrict = 2\ndisconnect = 100\n",
        "refused often" => {
            "[anomaly]\nhalf_life = \"10s\"\nrestrict = 20\ndisconnect = 100\n\
             [limit.message]\nrate = \"1000/s\"\nburst = 1000\n"
        }
        "nearly over" => "[anomaly]\nhalf_life = \"10s\"\nrestrict = 5\ndisconnect = 8\n",
        "scanned rooms" => "[anomaly]\nhalf_life = \"10s\"\nrestrict = 5\ndisconnect = 100\n",
        _ if name.starts_with("attacked") => "[anomaly]\nhalf_life = \"10s\"\nrestrict = 5\ndisconnect = 100\n",
        _ => "",
    }
}

/// A connection that has shown something.
fn scored(name: &str, mut bench: Bench, off: Stages) -> Bench {
    let to_room = |kind: &str, room: &str, payload: &str| {
        format!(r#"{{"type":"{kind}","to":{{"room":"{room}"}},"csrfToken":"TOKEN","payload":{payload}}}"#)
    };
    let chat = |payload: &str| to_room("chat", "r", payload);
    // sql.union and xss.script, three points each
    let attack = chat(r#""1 UNION SELECT password, <script>x</script>""#);
    match name {
        "attacked" => send(&mut bench, 1, &attack),
        "attacked, a little later" => {
            send(&mut bench, 1, &attack);
            bench.wait(Duration::from_millis(2_600));
        }
        "attacked reloaded" => {
            send(&mut bench, 1, &attack);
            bench.reload(&rules(scoring(name)));
            bench.policy.off = off;
        }
        "attacked refreshed" => {
            send(&mut bench, 1, &attack);
            bench.state.memo.forget();
        }
        "scanned rooms" => (0..3).for_each(|n| send(&mut bench, 1, &to_room("join", &format!("team.x{n}"), "{}"))),
        "switched types" => {
            let kinds = ["chat", "open", "post", "free", "composed"];
            kinds.iter().cycle().take(13).for_each(|kind| send(&mut bench, 1, &to_room(kind, "r", "{}")));
        }
        "grew" => {
            send(&mut bench, 8, &chat("{}"));
            send(&mut bench, 1, &chat(&format!("\"{}\"", "x".repeat(20_000))));
        }
        "refused often" => send(&mut bench, 32, "{"),
        "nearly over" => {
            send(&mut bench, 1, &attack);
            send(&mut bench, 3, "{");
        }
        other => panic!("no such set-up: {other}"),
    }
    bench
}

fn send(bench: &mut Bench, count: usize, text: &str) {
    (0..count).for_each(|_| drop(bench.text(text)));
}

/// A connection, or its user elsewhere, that has used up a limit.
fn counted(name: &str, mut bench: Bench, off: Stages) -> Bench {
    let typing = r#"{"type":"typing","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    let vip = r#"{"type":"vip","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    match name {
        "typing" => send(&mut bench, 1, typing),
        "typing, a little later" => {
            send(&mut bench, 1, typing);
            bench.wait(Duration::from_millis(499));
        }
        "typing reloaded" => {
            send(&mut bench, 1, typing);
            bench.reload(&rules(""));
            bench.policy.off = off;
        }
        "typing stale" => {
            send(&mut bench, 1, typing);
            bench.state.memo.forget();
        }
        "vip" => send(&mut bench, 1, vip),
        "vip elsewhere" => send(&mut bench, 1, r#"{"type":"vip","to":{"room":"other"},"csrfToken":"TOKEN"}"#),
        "vip reconnected" => {
            send(&mut bench, 1, vip);
            bench = Bench { policy: bench.policy, ..Bench::on(&rules(""), Arc::clone(&bench.allowance)) };
        }
        "vip refreshed" => {
            send(&mut bench, 1, vip);
            bench.state.memo.forget();
            bench.claims = r#"{"level":9}"#.to_owned();
        }
        "tenant" => {
            bench.tenant = TenantId::parse("acme").ok();
            send(&mut bench, 1, r#"{"type":"bulk","to":{"room":"r"},"csrfToken":"TOKEN"}"#);
            bench.user = UserId::parse("bob").unwrap();
        }
        other => panic!("no such set-up: {other}"),
    }
    bench
}

fn rotate(bench: &mut Bench, times: usize) {
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..times {
        let next = bench.policy.csrf();
        drop(bench.state.csrf.rotate(next, &mut rng, bench.now));
    }
}

/// What becomes of a row's message on its way out.
fn delivered(bench: &Bench, body: &str) -> String {
    match outbound::check(&bench.policy, body.as_bytes(), &mut outbound::Scratch::default()).map(|seen| seen.outcome) {
        None => "passed".to_owned(),
        Some(outbound::Outcome::Changed(body)) => String::from_utf8(body).unwrap(),
        Some(other) => format!("{other:?}").to_lowercase(),
    }
}

/// What a row's message gets: stage and answer.
fn answered(row: &Row<'_>, off: Stages) -> (String, String) {
    let mut bench = set_up(row.set_up, off);
    if row.stage == Stage::Outbound.name() {
        return (row.stage.to_owned(), delivered(&bench, &row.message));
    }
    let mut other = csrf::Tokens::default();
    let stale = other.rotate(bench.policy.csrf(), &mut StdRng::seed_from_u64(9), bench.now);
    let text = row.message.replace("TOKEN", &bench.token).replace("STALE", &stale);
    match bench.check(Frame::Text(&text)).verdict {
        Verdict::Reject { stage, reject, .. } => {
            let close = if reject.close.is_some() { " close" } else { "" };
            let wait = reject.retry_after.map(|wait| format!(" {}", wait.as_millis())).unwrap_or_default();
            (stage.name().to_owned(), format!("{}{close}{wait}", reject.code.info().name))
        }
        Verdict::Pass(passed) if passed.cleaned.any() => {
            (String::new(), passed.message.payload.map(|raw| raw.get().to_owned()).unwrap_or_default())
        }
        Verdict::Pass(_) => (String::new(), "passed".to_owned()),
        Verdict::Park(_) => (String::new(), "parked".to_owned()),
        Verdict::Shed { .. } => (String::new(), "shed".to_owned()),
    }
}

#[test]
fn every_hostile_message_gets_exactly_its_answer() {
    let mut wrong = Vec::new();
    let mut each: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows() {
        *each.entry(row.stage).or_default() += 1;
        let (_, answer) = answered(&row, Stages::NONE);
        if answer != row.answer {
            wrong.push(format!("line {}: {answer}, not {}", row.line, row.answer));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(each.values().sum::<usize>() >= 200);
    for stage in Stage::ALL {
        assert!(each[stage.name()] >= 12, "{stage}: {} rows", each[stage.name()]);
    }
}

#[test]
fn without_any_one_stage_rows_of_it_fail() {
    for stage in Stage::ALL {
        let failed = |row: &&Row<'_>| answered(row, Stages::NONE.with(*stage)).1 != row.answer;
        let rows = rows();
        let failed = rows.iter().filter(|row| row.stage == stage.name()).filter(failed).count();
        assert!(failed >= 5, "only {failed} rows need {stage}");
    }
}

#[test]
fn in_a_dry_run_what_payloads_hold_passes_unchanged_and_is_noted() {
    let inspected = |row: &Row<'_>| row.set_up == "-" && ["signatures", "sanitise"].contains(&row.stage);
    for row in rows().into_iter().filter(inspected) {
        let mut bench = Bench::with(&rules(&format!("[pipeline]\ndry_run = [\"{}\"]", row.stage)));
        let text = row.message.replace("TOKEN", &bench.token);
        let checked = bench.check(Frame::Text(&text));
        let code = if row.answer.starts_with('{') { "schema_invalid" } else { row.answer };
        let noted = |note: &Note| note.stage.name() == row.stage && note.reject.code.info().name == code;
        assert!(checked.notes.iter().any(noted), "line {}: {checked:?}", row.line);
        let Verdict::Pass(passed) = checked.verdict else { panic!("line {}", row.line) };
        assert!(text.contains(passed.message.payload.unwrap().get()), "line {}", row.line);
    }
}

#[test]
fn benign_payloads_pass_byte_for_byte_in_both_encodings() {
    assert!(BENIGN.lines().count() >= 80);
    for line in BENIGN.lines() {
        let (kind, payload) = line.strip_prefix("FREE ").map_or(("form", line), |payload| ("chat", payload));
        let mut bench = Bench::with(&rules(""));
        let text = format!(
            r#"{{"type":"{kind}","to":{{"room":"r"}},"csrfToken":"{}","id":"m","payload":{payload}}}"#,
            bench.token
        );
        let mut packed = Vec::new();
        portcullis_common::wire::msgpack::from_json(&text, Bounds::default(), &mut packed).unwrap();
        match bench.check(Frame::Text(&text)).verdict {
            Verdict::Pass(passed) => assert_eq!(passed.message.payload.unwrap().get(), payload),
            other => panic!("{payload}: {other:?}"),
        }
        let checked = bench.check(Frame::Binary(&packed));
        assert!(matches!(checked.verdict, Verdict::Pass(_)), "{payload}: {checked:?}");
    }
}
