//! What strings of an application's payload may hold, and what is taken out of them. The last look before routing: what
//! comes out is scanned and measured again like anything a client sends.
//!
//! Characters that make text lie are taken out of every string (or refused, or kept, as the type says) and refused in
//! keys; fields that hold HTML are cleaned; fields that name files lead nowhere but down. A declared field that is not a
//! string is refused: what is inside of it would not be looked at.

/// Controls and overrides of the reading direction.
pub mod text;

/// Fields that hold HTML.
pub mod html;

/// Fields that hold HTML, with all that is asked of strings.
mod markup;

/// Fields that name files.
pub mod path;

use std::borrow::Cow;

use portcullis_common::config::model::{Controls, HtmlField, MessageRule};
use portcullis_common::stage::Stage;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::tape::{Item, Kind};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::payload::Payload;
use super::policy::Body;
use super::stages::{Halt, Run};

/// What was changed in one message, in strings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Characters that lie were taken out.
    pub controls: u32,
    /// HTML was cleaned.
    pub html: u32,
    /// Brought to Unicode's normal form C.
    pub nfc: u32,
}

impl Cleaned {
    /// Whether anything was changed.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

fn refused(detail: &'static str) -> Reject {
    Reject::new(Code::SchemaInvalid, detail)
}

/// Looks at every key and string of an application's payload, and changes what is to be changed.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let Some(kind) = run.kind else { return Ok(()) };
    let Body::Application(rule) = &kind.body else { return Ok(()) };
    let cleaned = clean(rule, &mut run.payload)?;
    if !cleaned.any() {
        return Ok(());
    }
    if kind.dry.has(Stage::Sanitise) {
        run.payload.forget();
        return Err(refused("sanitise: would be changed").into());
    }
    run.cleaned = cleaned;
    // what a change has made too large or too deep is refused whatever the mode
    run.payload.apply(run.policy.bounds(), kind.max_size).map_err(Halt::Hard)
}

/// Looks at every key and string of a payload; what is to be changed is noted in it, for [`Payload::apply`].
pub(super) fn clean(rule: &MessageRule, payload: &mut Payload<'_>) -> Result<Cleaned, Reject> {
    let mut cleaned = Cleaned::default();
    let Some(root) = payload.root() else { return Ok(cleaned) };
    if rule.html.is_empty() && rule.path_fields.is_empty() && text::is_plain(root.raw()) {
        return Ok(cleaned);
    }
    for item in root.subtree() {
        let own = item.place() != root.place();
        if own && rule.controls != Controls::Keep && item.key().is_some_and(text::lies_somewhere) {
            return Err(refused("sanitise: a control or override in a key"));
        }
        if let Some(changed) = value(rule, root, item, &mut cleaned)? {
            payload.replace(item, changed);
        }
    }
    Ok(cleaned)
}

/// What a value is to be instead; `None` where it may stay.
fn value(rule: &MessageRule, root: Item<'_>, item: Item<'_>, cleaned: &mut Cleaned) -> Result<Option<String>, Reject> {
    let names_file = rule.path_fields.iter().any(|field| field.matches(root, item));
    let html = rule.html.iter().find(|HtmlField { field, .. }| field.matches(root, item)).map(|html| html.mode);
    let Some(said) = item.text() else {
        let declared = names_file || html.is_some();
        return if declared && item.kind() != Kind::Null {
            Err(refused("sanitise: a field that is no text"))
        } else {
            Ok(None)
        };
    };
    let mut now: Cow<'_, str> = said;
    if names_file {
        // judged as it was sent: what is taken out could hide what it was
        path::check(&now).map_err(refused)?;
    }
    if let Some(mode) = html {
        now = markup::rest(rule, mode, now, cleaned).map_err(refused)?;
    } else {
        match rule.controls {
            Controls::Keep => {}
            Controls::Refuse if text::lies_somewhere(&now) => return Err(refused("sanitise: a control or override")),
            Controls::Refuse => {}
            Controls::Strip => replace(&mut now, text::honest, &mut cleaned.controls),
        }
        if rule.nfc {
            replace(&mut now, composed, &mut cleaned.nfc);
        }
    }
    if names_file && matches!(now, Cow::Owned(_)) {
        // and as it goes on: what was taken out may have stood before a drive, or inside a `..`
        path::check(&now).map_err(refused)?;
    }
    Ok(match now {
        Cow::Owned(changed) if item.text().as_deref() != Some(&*changed) => Some(changed),
        _ => None,
    })
}

fn replace(now: &mut Cow<'_, str>, change: impl FnOnce(&str) -> Option<String>, count: &mut u32) {
    if let Some(changed) = change(now) {
        *now = Cow::Owned(changed);
        *count += 1;
    }
}

/// Unicode's normal form C (UAX #15); `None` for what is in it already.
fn composed(text: &str) -> Option<String> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return None;
    }
    let composed: String = text.nfc().collect();
    (composed != text).then_some(composed)
}
