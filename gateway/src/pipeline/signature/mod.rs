//! Whether an application's payload looks like an attack. Every signature is looked for in one pass over each string as
//! it is meant, not as it was spelled: JSON escapes are gone, and a percent-encoded string is looked at decoded too.
//! Where neither is in a payload, one pass over the whole of it says first whether anything could fit.
//!
//! A match is evidence for the connection's score; some signatures refuse besides, and a type may have all of them refuse.
//! Signatures find clumsy attacks and scanners. They are no wall: schemas, sanitising and the backend's own care are.

/// Signatures, compiled.
pub mod book;

/// What most payloads do not even have a trace of.
mod gate;

/// Their patterns, rewritten for the passes that look for them.
mod pattern;

use std::borrow::Cow;

use portcullis_common::config::model::SignatureUse;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use self::book::{Action, On};
use super::payload::Said;
use super::percent;
use super::policy::Body;
use super::stages::{Halt, Run};

/// Looks through every key and string of an application's payload.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let Some(Body::Application(rule)) = run.kind.map(|kind| &kind.body) else { return Ok(()) };
    let Some(root) = run.payload.root().filter(|_| rule.signatures != SignatureUse::Off) else { return Ok(()) };
    let book = &run.policy.signatures;
    if !book.may_find_in(root.raw()) {
        return Ok(());
    }
    let mut refused = None;
    for Said { item, key, text } in run.payload.strings() {
        for text in [Some(Cow::Borrowed(&*text)), unescaped(&text).map(Cow::Owned)].into_iter().flatten() {
            for signature in book.find(&text) {
                let place = (signature.on == On::Keys) == key;
                let field =
                    key || signature.fields.is_empty() || signature.fields.iter().any(|f| f.matches(root, item));
                if place && field && run.found.signature(signature) {
                    let refuses = rule.signatures == SignatureUse::Refuse || signature.action == Action::Refuse;
                    refused = refused.or(refuses.then_some(&signature.id));
                }
            }
        }
    }
    match refused {
        Some(id) => Err(Reject::new(Code::Forbidden, format!("signatures: {id}")).into()),
        None => Ok(()),
    }
}

/// The same once more where the payload was changed: what was taken out may have stood between the parts of an attack, as in
/// `${jn<i></i>di:`.
pub(super) fn check_changed(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    if run.cleaned.any() { check(run) } else { Ok(()) }
}

/// A percent-encoded text as it is meant; `None` where nothing is encoded.
fn unescaped(text: &str) -> Option<String> {
    let bytes = percent::decode(text, false).ok().flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
