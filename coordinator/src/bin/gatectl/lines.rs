//! Bans as lines of a file: what `ban import` reads and `ban export` writes.
//!
//! ```text
//! 10.0.0.0/8                                    an address or a network, as in `[bans] file` and in netsets
//! user app:eve  for=7d  reason=spam, again      until so long after the import; the reason goes to the end of the line
//! token "a b"   until=1795000000000             until then, in ms since 1970; what has blanks stands in quotes, as in JSON
//! session 01JD…                                 `#` begins a comment
//! ```

use std::fmt::Write as _;

use portcullis_common::clock::UnixMs;
use portcullis_common::control::command::{BanItem, Command, target_words};
use portcullis_common::store::control::Target;

use super::arguments::{Kind, Whom, duration};

/// The most bans that one file may name: as many as a fleet keeps.
pub const MOST: usize = 200_000;

/// Problems that are told; more are counted.
const TOLD: usize = 10;

/// Every ban of a text, at the store's time `now`.
///
/// # Errors
/// Every line that is none, by its number.
pub fn parse(text: &str, now: UnixMs) -> Result<Vec<BanItem>, String> {
    let (mut bans, mut wrong) = (Vec::new(), Vec::new());
    for (n, line) in text.lines().enumerate() {
        match item(line, now) {
            Ok(Some(ban)) => bans.push(ban),
            Ok(None) => {}
            Err(problem) => wrong.push(format!("line {}: {problem}", n + 1)),
        }
    }
    if bans.len() > MOST {
        return Err(format!("there are {} bans, and no more than {MOST} can be in force", bans.len()));
    }
    if wrong.is_empty() {
        return Ok(bans);
    }
    let more = wrong.len().saturating_sub(TOLD);
    wrong.truncate(TOLD);
    if more > 0 {
        wrong.push(format!("and {more} more lines"));
    }
    Err(wrong.join("\n"))
}

/// The next word and the rest; a word in quotes is read as JSON.
fn word(text: &str) -> Result<(String, &str), String> {
    let text = text.trim_start();
    if text.starts_with('"') {
        let mut words = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let word = words.next().and_then(Result::ok).ok_or("has a quote without an end")?;
        return Ok((word, text.get(words.byte_offset()..).unwrap_or_default()));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    Ok((word.to_owned(), rest))
}

fn item(line: &str, now: UnixMs) -> Result<Option<BanItem>, String> {
    let (first, mut rest) = word(line)?;
    if first.is_empty() || first.starts_with('#') {
        return Ok(None);
    }
    let kind = match first.as_str() {
        "user" => Some(Kind::User),
        "session" => Some(Kind::Session),
        "token" => Some(Kind::Token),
        "network" | "ip" => Some(Kind::Ip),
        _ => None,
    };
    let whom = match kind {
        Some(kind) => {
            let (value, behind) = word(rest)?;
            rest = behind;
            Whom { kind, value }
        }
        None => Whom { kind: Kind::Ip, value: first },
    };
    let target =
        whom.target().map_err(|problem| format!("{problem} (begin with user, session or token, or a network)"))?;
    let mut ban = BanItem { target, until: None, reason: String::new() };
    loop {
        rest = rest.trim_start();
        if let Some(reason) = rest.strip_prefix("reason=") {
            ban.reason = reason.trim().to_owned();
            break;
        }
        let (option, behind) = word(rest)?;
        if option.is_empty() || option.starts_with('#') {
            break;
        }
        ban.until = Some(match option.split_once('=') {
            Some(("until", ms)) => UnixMs(ms.parse().map_err(|_| "until= is not a time in ms since 1970")?),
            Some(("for", time)) => now.after(duration(time).map_err(|problem| format!("for= {problem}"))?),
            _ => return Err("has something that is neither until=, for= nor reason=".to_owned()),
        });
        rest = behind;
    }
    let check = Command::Import { bans: vec![ban.clone()] };
    check.check().map_err(|bad| bad.to_string())?;
    Ok(Some(ban))
}

/// A ban as a line that [`parse`] reads back as it is.
#[must_use]
pub fn write(target: &Target, until: Option<u64>, reason: &str) -> String {
    let (kind, value) = target_words(target);
    let bare = !value.is_empty() && !value.starts_with(['#', '"']) && !value.contains(char::is_whitespace);
    let value = if bare { value } else { serde_json::Value::from(value).to_string() };
    let mut line = if kind == "network" { value } else { format!("{kind} {value}") };
    // to a String nothing can fail
    if let Some(until) = until {
        let _ = write!(line, " until={until}");
    }
    if !reason.is_empty() {
        let _ = write!(line, " reason={reason}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000);

    #[test]
    fn a_file_says_whom_until_when_and_why() {
        let text = "# a list\n\n10.0.0.0/8 # ours\n2001:db8::1\nuser app:eve for=2s reason=spam, # again \n\
                    token \"a b\" until=77\n  network 192.0.2.1   reason=x\n";
        let bans = parse(text, NOW).unwrap();
        let said: Vec<_> = bans.iter().map(|ban| write(&ban.target, ban.until.map(|u| u.0), &ban.reason)).collect();
        assert_eq!(
            said,
            [
                "10.0.0.0/8",
                "2001:db8::1",
                "user app:eve until=3000 reason=spam, # again",
                "token \"a b\" until=77",
                "192.0.2.1 reason=x",
            ]
        );
        assert_eq!(parse(&said.join("\n"), UnixMs(0)).unwrap(), bans, "what is written is read back");
    }

    #[test]
    fn every_bad_line_is_named_and_none_of_the_file_is_taken() {
        let bad = ["10.0.0.0/33", "eve", "user", "user a for=5", "user a until=x", "token \"a", "10.0.0.1 what"];
        let problem = parse(&bad.join("\n"), NOW).unwrap_err();
        for n in 1..=bad.len() {
            assert!(problem.contains(&format!("line {n}: ")), "{n}: {problem}");
        }
        assert!(parse(&format!("10.0.0.1 reason={}", "r".repeat(257)), NOW).is_err());
        assert!(parse(&"x\n".repeat(12), NOW).unwrap_err().ends_with("and 2 more lines"));
        assert!(parse(&"10.0.0.1\n".repeat(MOST + 1), NOW).is_err());
    }
}
