//! What a message has to pass on its way out, once for each node that delivers it: what backends and other nodes send was
//! not looked at here, and a node may have other rules than the one that took it.
//!
//! Only the payload is looked at, and only of types for which something is configured: size, schema and sanitising as for
//! what clients send, and leaks, which are masked or keep the message from being delivered. Plain code like every stage:
//! no clock, no I/O. What is blocked is missing in the room's order, and members see the jump in the offsets.

/// What must not leave.
pub mod leak;

/// Numbers of payment cards.
pub mod card;

use std::borrow::Cow;
use std::ops::Range;

use portcullis_common::config::model::LeakUse;
use portcullis_common::ids::TypeName;
use portcullis_common::stage::{Stage, Stages};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::scan::{self, Bounds};
use portcullis_common::wire::tape::{Item, Kind};

use self::leak::{Action, Book, Found};
use super::payload::{self, Payload};
use super::policy::{Body, Policy, TypePolicy};
use super::sanitise::{self, Cleaned};

/// Places masked in one message; with more it is not delivered.
pub const PLACES: usize = 256;

/// What any node may have put around a payload.
const WIDE: Bounds = Bounds { depth: 24, nodes: 1 << 16, ..Bounds::NONE };

/// Values of the envelope itself: what a payload may have is counted without them.
const ENVELOPE: usize = 16;

/// What a type has to pass on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Size, schema, sanitise.
    pub checks: Stages,
    /// What a leak does.
    pub leaks: LeakUse,
}

impl Guard {
    /// Nothing.
    pub const NONE: Self = Self { checks: Stages::NONE, leaks: LeakUse::Off };

    /// Whether there is nothing to look at.
    #[must_use]
    pub fn idle(self) -> bool {
        self == Self::NONE
    }
}

/// Working memory: grows to the largest message that was looked at.
#[derive(Debug, Default)]
pub struct Scratch {
    scan: scan::Scratch,
    spare: payload::Spare,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes out as it is.
    Same,
    /// This goes out instead.
    Changed(Vec<u8>),
    /// Nothing goes out.
    Blocked,
}

/// What was found in a message about which there is something to say.
#[derive(Debug)]
pub struct Checked {
    /// What becomes of it.
    pub outcome: Outcome,
    /// What was seen.
    pub report: Report,
}

/// What log and metrics get to know. Nothing of the payload is in it.
#[derive(Debug, Default)]
pub struct Report {
    /// The message's type, where it is one of the configuration's.
    pub kind: Option<TypeName>,
    /// The stage is in `dry_run`: what is in `refused` did not happen.
    pub dry: bool,
    /// Why it is not delivered; in a dry run what would have been done, at most one for each check.
    pub refused: Vec<Reject>,
    /// Strings that were cleaned.
    pub cleaned: Cleaned,
    /// Places that were masked.
    pub masked: u32,
    /// What was found in them, each once.
    pub leaks: Vec<Box<str>>,
}

/// The message goes nowhere; the report says why.
struct Blocked;

impl Report {
    /// Ends it, or notes what would have.
    fn refuse(&mut self, reject: Reject) -> Result<(), Blocked> {
        self.refused.push(reject);
        if self.dry { Ok(()) } else { Err(Blocked) }
    }
}

/// Looks at one message, a JSON object as it goes to clients. `None`: it goes out as it is, and there is nothing to say.
/// Cost: a look-up for types of which nothing is configured, a flag where nothing is for any; else a scan and each check.
#[must_use]
pub fn check(policy: &Policy, body: &[u8], scratch: &mut Scratch) -> Option<Checked> {
    if !policy.guards || !policy.runs(Stage::Outbound) {
        return None;
    }
    let name = name(body, &mut scratch.scan);
    let kind = name.as_deref().and_then(|name| policy.kind(name));
    let guard = kind.map_or(policy.undeclared, |kind| kind.guard);
    // whoever does not say what it is could be of any type
    if guard.idle() && name.is_some() {
        return None;
    }
    let declared = kind.and(name.as_deref()).and_then(|name| TypeName::parse(name).ok());
    let dry = kind.map_or(policy.dry, |kind| kind.dry).has(Stage::Outbound);
    let mut report = Report { kind: declared, dry, ..Report::default() };
    let outcome = if name.is_none() {
        report.refuse(malformed("outbound: no message with a type")).map(|()| None)
    } else {
        inspect(policy, (kind, guard), body, scratch, &mut report)
    };
    let outcome = match outcome {
        Err(Blocked) => Outcome::Blocked,
        Ok(Some(changed)) => Outcome::Changed(changed),
        Ok(None) => Outcome::Same,
    };
    let silent = outcome == Outcome::Same && report.refused.is_empty();
    (!silent).then_some(Checked { outcome, report })
}

fn malformed(detail: &'static str) -> Reject {
    Reject::new(Code::Malformed, detail)
}

/// The message's type: what this version writes has it in front; another may not.
fn name<'b>(body: &'b [u8], scan: &mut scan::Scratch) -> Option<Cow<'b, str>> {
    let first = body.strip_prefix(br#"{"type":""#).and_then(|rest| {
        let name = rest.get(..memchr::memchr2(b'"', b'\\', rest)?)?;
        // with an escape in it, it means something else
        (rest.get(name.len()) == Some(&b'"')).then_some(name)
    });
    if let Some(name) = first.and_then(|name| std::str::from_utf8(name).ok()) {
        return Some(name.into());
    }
    let text = std::str::from_utf8(body).ok()?;
    scan::scan(text, WIDE, scan).ok()?;
    scan.tape(text).root()?.get("type")?.text().map(|name| name.into_owned().into())
}

/// Every check in order; what goes out instead, where something was changed.
fn inspect(
    policy: &Policy,
    (kind, guard): (Option<&TypePolicy>, Guard),
    body: &[u8],
    scratch: &mut Scratch,
    report: &mut Report,
) -> Result<Option<Vec<u8>>, Blocked> {
    let Scratch { scan, spare } = scratch;
    let narrow = policy.bounds();
    let narrow = Bounds { nodes: narrow.nodes.saturating_add(ENVELOPE), ..narrow };
    let bounds = if guard.checks.has(Stage::Size) { narrow } else { WIDE };
    let Ok(text) = std::str::from_utf8(body) else {
        return report.refuse(malformed("outbound: not UTF-8")).map(|()| None);
    };
    if let Err(reject) = scan::scan(text, bounds, scan) {
        return report.refuse(reject).map(|()| None);
    }
    let root = scan.tape(text).root().and_then(|root| root.get("payload"));
    let mut payload = Payload::new(root, spare);
    if let Some(kind) = kind {
        held_against(policy, kind, guard.checks, &mut payload, bounds, report)?;
    }
    let masked = mask(&policy.leaks, guard.leaks, payload.root(), report)?;
    let changed = report.cleaned.any().then(|| payload.raw().map(|raw| raw.get().to_owned())).flatten();
    let (Some(new), Some(old)) = (masked.or(changed), root.map(Item::range)) else { return Ok(None) };
    let around = (body.get(..old.start).unwrap_or_default(), body.get(old.end..).unwrap_or_default());
    Ok(Some([around.0, new.as_bytes(), around.1].concat()))
}

/// Size, schema, sanitise.
fn held_against(
    policy: &Policy,
    kind: &TypePolicy,
    checks: Stages,
    payload: &mut Payload<'_>,
    bounds: Bounds,
    report: &mut Report,
) -> Result<(), Blocked> {
    let Body::Application(rule) = &kind.body else { return Ok(()) };
    let long = payload.raw().is_some_and(|raw| raw.get().len() > kind.max_size);
    if checks.has(Stage::Size) && long {
        report.refuse(Reject::new(Code::TooLarge, "size: over the type's max_size"))?;
    }
    if checks.has(Stage::Schema)
        && let Err(reject) = kind.schema.judge(payload.root())
    {
        report.refuse(reject)?;
    }
    if !checks.has(Stage::Sanitise) {
        return Ok(());
    }
    match sanitise::clean(rule, payload) {
        Err(reject) => {
            payload.forget();
            report.refuse(reject)
        }
        Ok(cleaned) if !cleaned.any() => Ok(()),
        Ok(_) if report.dry => {
            payload.forget();
            report.refuse(Reject::new(Code::SchemaInvalid, "sanitise: would be changed"))
        }
        Ok(cleaned) => {
            report.cleaned = cleaned;
            let max = if checks.has(Stage::Size) { kind.max_size } else { policy.frame_limit().max(kind.max_size) };
            payload.apply(bounds, max).or_else(|reject| report.refuse(reject))
        }
    }
}

/// The payload with every leak made unreadable; `None` where there is nothing to change.
fn mask(book: &Book, leaks: LeakUse, root: Option<Item<'_>>, report: &mut Report) -> Result<Option<String>, Blocked> {
    let Some(root) = root.filter(|_| leaks != LeakUse::Off) else { return Ok(None) };
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for item in root.subtree() {
        let own = item.place() != root.place();
        if let Some(found) = item.key().filter(|_| own).and_then(|key| book.find(key).into_iter().next()) {
            // masked, two keys could become one
            return report.refuse(leaking(book, &found)).map(|()| None);
        }
        let (found, edit) = look(book, item);
        let Some(edit) = edit else { continue };
        for one in &found {
            let written = book.leak(one.leak).map(|leak| leak.action);
            let block = leaks == LeakUse::Block || leaks == LeakUse::AsWritten && written == Some(Action::Block);
            report.masked += 1;
            if block || report.dry || report.masked as usize > PLACES {
                report.masked = 0;
                return report.refuse(leaking(book, one)).map(|()| None);
            }
            note(book, one, report);
        }
        edits.push(edit);
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let (whole, from) = (root.raw(), root.range().start);
    let mut out = String::with_capacity(whole.len());
    let mut done = 0;
    for (range, text) in edits {
        out.push_str(whole.get(done..range.start.saturating_sub(from)).unwrap_or_default());
        out.push_str(&text);
        done = range.end.saturating_sub(from);
    }
    out.push_str(whole.get(done..).unwrap_or_default());
    Ok(Some(out))
}

/// What is found in one value, and what is to stand in which place of the text instead.
fn look(book: &Book, item: Item<'_>) -> (Vec<Found>, Option<(Range<usize>, String)>) {
    let text = match item.kind() {
        Kind::String => item.text(),
        Kind::Number => Some(item.raw().into()),
        _ => None,
    };
    let Some(text) = text else { return (Vec::new(), None) };
    let found = book.find(&text);
    if found.is_empty() {
        return (found, None);
    }
    let Range { start, end } = item.range();
    let edit = if item.kind() == Kind::Number {
        (start..end, leak::zeroed(&text, &found))
    } else {
        let inner = item.raw().get(1..item.raw().len().saturating_sub(1)).unwrap_or_default();
        (start + 1..end - 1, leak::masked(inner, &text, &found))
    };
    (found, Some(edit))
}

fn leaking(book: &Book, found: &Found) -> Reject {
    let id = book.leak(found.leak).map(|leak| &*leak.id).unwrap_or_default();
    Reject::new(Code::Forbidden, format!("leaks: {id}"))
}

fn note(book: &Book, found: &Found, report: &mut Report) {
    if let Some(leak) = book.leak(found.leak)
        && !report.leaks.contains(&leak.id)
    {
        report.leaks.push(leak.id.clone());
    }
}

#[cfg(test)]
mod tests;
