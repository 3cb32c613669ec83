//! What a client may say: the typed envelope, its payload kept raw.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::code::Code;
use super::json::{Lexer, Rule, Text};
use super::reject::Reject;
use super::scan::{Bounds, Scratch, scan};
use super::tape::Item;
use crate::clock::{UnixMs, millis};
use crate::ids::{ClientId, RoomName, TypeName, UserId};

/// How far a message's `timestamp` may be from the gateway's clock, either way.
pub const FRESHNESS: Duration = Duration::from_secs(120);

/// The largest integer that every JSON reader holds exactly (RFC 8259 §6): 2^53.
pub const MAX_SAFE_INTEGER: u64 = 1 << 53;

/// Where a message is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To<'a> {
    /// `{"room": R}`; a legal [`RoomName`].
    Room(Cow<'a, str>),
    /// `{"user": U}`; a legal [`UserId`].
    User(Cow<'a, str>),
}

/// JSON text that has passed the scan: one value, legal wherever a value may stand. `Debug` shows its length only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawJson<'a>(&'a str);

impl<'a> RawJson<'a> {
    /// The text, without white space around it.
    #[must_use]
    pub fn get(self) -> &'a str {
        self.0
    }

    /// Scans `text` and keeps it.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn check(text: &'a str, bounds: Bounds, scratch: &mut Scratch) -> Result<Self, Reject> {
        scan(text, bounds, scratch).map(|_| Self(text))
    }
}

impl<'a> From<Item<'a>> for RawJson<'a> {
    /// A tape's text has passed the scan.
    fn from(item: Item<'a>) -> Self {
        Self(item.raw())
    }
}

impl fmt::Debug for RawJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes of JSON]", self.0.len())
    }
}

/// One client message, decoded and legal in form; policy has not looked at it yet.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientMessage<'a> {
    /// `type`: a legal [`TypeName`], declared or not.
    pub kind: Cow<'a, str>,
    /// `payload`, exactly as sent; absent means `null`.
    pub payload: Option<RawJson<'a>>,
    /// `id`: the client's own; a legal [`ClientId`].
    pub id: Option<Cow<'a, str>>,
    /// `to`
    pub to: Option<To<'a>>,
    /// `csrfToken`
    pub csrf_token: Option<Cow<'a, str>>,
    /// `timestamp`, milliseconds since the epoch.
    pub timestamp: Option<u64>,
}

/// Shows what a log may hold: neither payload nor token.
impl fmt::Debug for ClientMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMessage")
            .field("kind", &self.kind)
            .field("payload", &self.payload)
            .field("has_id", &self.id.is_some())
            .field("has_csrf_token", &self.csrf_token.is_some())
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

/// A message that is not legal in form, and the `id` to answer, where that much could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Why.
    pub reject: Reject,
    /// The client's own id; legal.
    pub id: Option<Cow<'a, str>>,
}

impl From<Refused<'_>> for Reject {
    fn from(refused: Refused<'_>) -> Self {
        refused.reject
    }
}

/// The members as found, not looked at yet.
#[derive(Default)]
struct Parts<'a> {
    kind: Option<&'a str>,
    payload: Option<&'a str>,
    id: Option<&'a str>,
    to: Option<&'a str>,
    csrf_token: Option<&'a str>,
    timestamp: Option<&'a str>,
}

/// Scans and decodes one client message; the text is read once, plus its short members. Allocates only for members that
/// were written with escapes.
///
/// # Errors
/// `malformed`, with the broken rule as detail: whatever [`scan`] refuses, a member that is unknown, of the wrong JSON
/// type or not a legal name, `to` with anything but exactly one of `room` and `user`.
pub fn decode<'a>(text: &'a str, bounds: Bounds, scratch: &mut Scratch) -> Result<ClientMessage<'a>, Refused<'a>> {
    let mut parts = Parts::default();
    let gathered = gather(text, bounds, scratch, &mut parts);
    let id = parts.id.map(|raw| name(raw, |t| ClientId::check(t).is_ok(), "id: not a legal id")).transpose();
    let (id, bad_id) = id.map_or_else(|rule| (None, Some(rule)), |id| (id, None));
    let decoded = gathered.and_then(|()| match bad_id {
        Some(rule) => Err(malformed(rule)),
        None => assemble(&parts).map_err(malformed),
    });
    match decoded {
        Ok(message) => Ok(ClientMessage { id, ..message }),
        Err(reject) => Err(Refused { reject, id }),
    }
}

fn malformed(rule: Rule) -> Reject {
    Reject::new(Code::Malformed, rule)
}

fn gather<'a>(text: &'a str, bounds: Bounds, scratch: &mut Scratch, parts: &mut Parts<'a>) -> Result<(), Reject> {
    let outline = scan(text, bounds, scratch)?;
    if !outline.object {
        return Err(malformed("envelope: not an object"));
    }
    let mut unknown = false;
    for member in outline.members {
        let key = Text { raw: text.get(member.key.clone()).unwrap_or_default(), escaped: member.escaped };
        let place = match &*key.meaning().map_err(malformed)? {
            "type" => &mut parts.kind,
            "payload" => &mut parts.payload,
            "id" => &mut parts.id,
            "to" => &mut parts.to,
            "csrfToken" => &mut parts.csrf_token,
            "timestamp" => &mut parts.timestamp,
            _ => {
                unknown = true;
                continue;
            }
        };
        *place = text.get(member.value.clone());
    }
    if unknown { Err(malformed("envelope: unknown member")) } else { Ok(()) }
}

/// Everything but the `id`.
fn assemble<'a>(parts: &Parts<'a>) -> Result<ClientMessage<'a>, Rule> {
    let kind = parts.kind.ok_or("type: missing")?;
    Ok(ClientMessage {
        kind: name(kind, |t| TypeName::check(t).is_ok(), "type: not a legal name")?,
        payload: parts.payload.map(RawJson),
        id: None,
        to: parts.to.map(to).transpose()?,
        csrf_token: parts.csrf_token.map(|raw| name(raw, |_| true, "csrfToken: not a string")).transpose()?,
        timestamp: parts.timestamp.map(timestamp).transpose()?,
    })
}

/// A string member with a rule of its own.
fn name<'a>(raw: &'a str, legal: impl Fn(&str) -> bool, rule: Rule) -> Result<Cow<'a, str>, Rule> {
    let meaning = Lexer::new(raw).string().and_then(Text::meaning).map_err(|_| rule)?;
    if legal(&meaning) { Ok(meaning) } else { Err(rule) }
}

/// `raw` has been scanned: it is one legal value, its keys are unique.
fn to(raw: &str) -> Result<To<'_>, Rule> {
    const RULE: Rule = "to: not exactly one of room and user";
    let mut lexer = Lexer::new(raw);
    if !lexer.eat(b'{') || lexer.token() != Some(b'"') {
        return Err(RULE);
    }
    let key = lexer.string()?.meaning()?;
    lexer.token();
    lexer.bump();
    if lexer.token() != Some(b'"') {
        return Err("to: not a string");
    }
    let value = lexer.string()?.meaning()?;
    if lexer.token() != Some(b'}') {
        return Err(RULE);
    }
    match &*key {
        "room" if RoomName::check(&value).is_ok() => Ok(To::Room(value)),
        "user" if UserId::check(&value).is_ok() => Ok(To::User(value)),
        "room" | "user" => Err("to: not a legal name"),
        _ => Err(RULE),
    }
}

fn timestamp(raw: &str) -> Result<u64, Rule> {
    // the scan has seen a legal number or something else; digits alone are a non-negative integer
    if !raw.bytes().all(|b| b.is_ascii_digit()) {
        return Err("timestamp: not a non-negative integer");
    }
    raw.parse().ok().filter(|&ms| ms <= MAX_SAFE_INTEGER).ok_or("timestamp: beyond 2^53")
}

/// What a message's `timestamp` says about its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The client did not say when it wrote the message: nothing is known, and nothing may be concluded from it.
    Unstated,
    /// Within the window.
    Fresh,
    /// Outside the window, in the past or in the future.
    Stale,
}

/// Compares a `timestamp` with the gateway's clock; exactly `window` away is still fresh.
#[must_use]
pub fn freshness(timestamp: Option<u64>, now: UnixMs, window: Duration) -> Freshness {
    match timestamp {
        None => Freshness::Unstated,
        Some(ms) if ms.abs_diff(now.0) <= millis(window) => Freshness::Fresh,
        Some(_) => Freshness::Stale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<ClientMessage<'_>, Refused<'_>> {
        decode(text, Bounds::default(), &mut Scratch::default())
    }

    #[test]
    fn every_member_is_read() {
        let text = r#"{"type":"chat.text","payload":{"text":"h\u00e9"} ,"id":"m-1","to":{"room":"team.red"},
            "csrfToken":"tok","timestamp":1700000000000}"#;
        let m = decoded(text).unwrap();
        assert_eq!(m.kind, "chat.text");
        assert_eq!(m.payload.unwrap().get(), r#"{"text":"h\u00e9"}"#);
        assert_eq!(m.id.as_deref(), Some("m-1"));
        assert_eq!(m.to, Some(To::Room("team.red".into())));
        assert_eq!(m.csrf_token.as_deref(), Some("tok"));
        assert_eq!(m.timestamp, Some(1_700_000_000_000));
        assert!(matches!(m.kind, Cow::Borrowed(_)), "nothing is copied that has no escape");
    }

    #[test]
    fn escapes_are_another_spelling_of_the_same_message() {
        let m = decoded(r#"{"ty\u0070e":"ch\u0061t","t\u006f":{ "us\u0065r" : "\u0061da" }}"#).unwrap();
        assert_eq!((&*m.kind, m.to), ("chat", Some(To::User("ada".into()))));
    }

    #[test]
    fn each_broken_rule_is_named_and_the_input_never_is() {
        for (bad, rule) in [
            (r#"[]"#, "envelope: not an object"),
            (r#""type""#, "envelope: not an object"),
            (r#"{}"#, "type: missing"),
            (r#"{"type":1}"#, "type: not a legal name"),
            (r#"{"type":null}"#, "type: not a legal name"),
            (r#"{"type":""}"#, "type: not a legal name"),
            (r#"{"type":"a b"}"#, "type: not a legal name"),
            (r#"{"type":"a\u0000"}"#, "type: not a legal name"),
            (r#"{"type":"chat","extra":1}"#, "envelope: unknown member"),
            (r#"{"type":"chat","Type":"x"}"#, "envelope: unknown member"),
            (r#"{"type":"chat","id":7}"#, "id: not a legal id"),
            (r#"{"type":"chat","id":"a b"}"#, "id: not a legal id"),
            (r#"{"type":"chat","id":null}"#, "id: not a legal id"),
            (r#"{"type":"chat","csrfToken":1}"#, "csrfToken: not a string"),
            (r#"{"type":"chat","to":"r"}"#, "to: not exactly one of room and user"),
            (r#"{"type":"chat","to":{}}"#, "to: not exactly one of room and user"),
            (r#"{"type":"chat","to":[]}"#, "to: not exactly one of room and user"),
            (r#"{"type":"chat","to":{"room":"r","user":"u"}}"#, "to: not exactly one of room and user"),
            (r#"{"type":"chat","to":{"node":"n"}}"#, "to: not exactly one of room and user"),
            (r#"{"type":"chat","to":{"room":["r"]}}"#, "to: not a string"),
            (r#"{"type":"chat","to":{"room":"r r"}}"#, "to: not a legal name"),
            (r#"{"type":"chat","to":{"user":"\u202e"}}"#, "to: not a legal name"),
            (r#"{"type":"chat","timestamp":-1}"#, "timestamp: not a non-negative integer"),
            (r#"{"type":"chat","timestamp":1.0}"#, "timestamp: not a non-negative integer"),
            (r#"{"type":"chat","timestamp":1e3}"#, "timestamp: not a non-negative integer"),
            (r#"{"type":"chat","timestamp":"1"}"#, "timestamp: not a non-negative integer"),
            (r#"{"type":"chat","timestamp":9007199254740993}"#, "timestamp: beyond 2^53"),
            (r#"{"type":"chat","timestamp":99999999999999999999999}"#, "json: integer beyond 64 bits"),
            (r#"{"type":"chat","payload":{"a":1,"a":2}}"#, "json: duplicate key"),
            (r#"{"type":"chat","type":"chat"}"#, "json: duplicate key"),
        ] {
            let refused = decoded(bad).expect_err(bad);
            assert_eq!((refused.reject.code, &*refused.reject.detail), (Code::Malformed, rule), "{bad}");
        }
    }

    #[test]
    fn a_refusal_carries_the_id_it_answers() {
        let id = |text| decoded(text).unwrap_err().id;
        assert_eq!(id(r#"{"to":{},"id":"m-1","type":"chat"}"#).as_deref(), Some("m-1"));
        assert_eq!(id(r#"{"x":{},"id":"m-1"}"#).as_deref(), Some("m-1"));
        assert_eq!(id(r#"{"id":"m-1","type":"chat"#), None, "what did not scan was not read");
    }

    #[test]
    fn debug_shows_neither_payload_nor_token() {
        let text = r#"{"type":"chat","payload":"hush","csrfToken":"hush","id":"hush","to":{"user":"hush"}}"#;
        assert!(!format!("{:?}", decoded(text).unwrap()).contains("hush"));
    }

    #[test]
    fn freshness_is_inclusive_on_both_sides_and_silence_is_not_freshness() {
        let now = UnixMs(1_000_000);
        assert_eq!(freshness(None, now, FRESHNESS), Freshness::Unstated);
        for (ms, expected) in [
            (1_000_000 - 120_000, Freshness::Fresh),
            (1_000_000 + 120_000, Freshness::Fresh),
            (1_000_000 - 120_001, Freshness::Stale),
            (1_000_000 + 120_001, Freshness::Stale),
            (0, Freshness::Stale),
            (MAX_SAFE_INTEGER, Freshness::Stale),
        ] {
            assert_eq!(freshness(Some(ms), now, FRESHNESS), expected, "{ms}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_decoded_serde_reads_the_same(kind in "[a-z]{1,4}", id in "[!-~]{1,64}", room in "[a-z.]{1,9}", ms in 0u64..=MAX_SAFE_INTEGER) {
            let value = serde_json::json!({"type": kind, "id": id, "to": {"room": room}, "timestamp": ms, "payload": [id]});
            let text = serde_json::to_string_pretty(&value).unwrap();
            let m = decoded(&text).unwrap();
            proptest::prop_assert_eq!(&*m.kind, kind.as_str());
            proptest::prop_assert_eq!(m.id.as_deref(), Some(id.as_str()));
            proptest::prop_assert_eq!(m.to, Some(To::Room(room.into())));
            proptest::prop_assert_eq!(m.timestamp, Some(ms));
            proptest::prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(m.payload.unwrap().get()).unwrap(), &value["payload"]);
        }

        #[test]
        fn noise_never_panics(text in "\\{(\"(type|to|id|payload)\":[\\[\\]{}\":,a1]{0,6},?){0,4}\\}?") {
            let _ = decoded(&text);
        }
    }
}
