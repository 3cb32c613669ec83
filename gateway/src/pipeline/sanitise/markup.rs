//! A field that holds HTML, with everything that its type asks of strings: brought to rest.
//!
//! What one step takes out another may bring back: a character reference (`&#x202e;`) becomes the character that it means
//! when HTML is cleaned, and two characters that are joined (normal form C) may have been the end of a tag. So all steps are
//! taken again until none changes anything, and a text that will not come to rest is refused.

use std::borrow::Cow;

use portcullis_common::config::model::{Controls, HtmlMode, MessageRule};

use super::{Cleaned, composed, html, text};

/// How often the steps are taken. Two are enough for text that nobody has built to need more.
const ROUNDS: usize = 4;

/// The field's text as it goes on, and what was changed in it, counted once.
///
/// # Errors
/// What is wrong with it: a character that lies where such are refused, or that it does not come to rest.
pub(super) fn rest<'t>(
    rule: &MessageRule,
    mode: HtmlMode,
    said: Cow<'t, str>,
    cleaned: &mut Cleaned,
) -> Result<Cow<'t, str>, &'static str> {
    let (mut now, mut seen) = (said, Cleaned::default());
    for _ in 0..ROUNDS {
        let mut changed = false;
        let mut step = |next: Option<String>, count: &mut u32, now: &mut Cow<'t, str>| {
            if let Some(next) = next {
                *now = Cow::Owned(next);
                *count = 1;
                changed = true;
            }
        };
        match rule.controls {
            Controls::Keep => {}
            Controls::Refuse if text::lies_somewhere(&now) || without_references(&now).is_some() => {
                return Err("sanitise: a control or override");
            }
            Controls::Refuse => {}
            Controls::Strip => {
                step(without_references(&now), &mut seen.controls, &mut now);
                step(text::honest(&now), &mut seen.controls, &mut now);
            }
        }
        if rule.nfc {
            step(composed(&now), &mut seen.nfc, &mut now);
        }
        step(html::clean(mode, &now), &mut seen.html, &mut now);
        if !changed {
            cleaned.controls += seen.controls;
            cleaned.nfc += seen.nfc;
            cleaned.html += seen.html;
            return Ok(now);
        }
    }
    Err("sanitise: HTML that does not come to rest")
}

/// The text without references to characters that lie (HTML, 13.2.5.80); `None` where there are none. One pass: what
/// stands around a reference may be one itself afterwards.
fn without_references(text: &str) -> Option<String> {
    if !text.contains("&#") {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = rest.find("&#") {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let length = lying(reference).unwrap_or(0);
        changed |= length > 0;
        let (kept, after) = if length > 0 { ("", length) } else { ("&#", 2) };
        out.push_str(kept);
        rest = reference.get(after..).unwrap_or_default();
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// How long the reference is that a text begins with, where the character that it means lies.
fn lying(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("&#")?;
    let (radix, digits) = digits.strip_prefix(['x', 'X']).map_or((10, digits), |hex| (16, hex));
    let count = digits.bytes().take_while(|b| char::from(*b).is_digit(radix)).count();
    let (number, after) = digits.split_at_checked(count)?;
    // leading zeros mean nothing, and what does not fit is no character
    let number = u32::from_str_radix(number, radix).ok()?;
    // a browser reads those of Windows' code page 1252 as what they are there, and five of them are nothing there
    let shown = matches!(number, 0 | 0x80..=0x9f) && !matches!(number, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d);
    let lies = char::from_u32(number).is_some_and(text::lies) && !shown;
    lies.then(|| text.len() - after.len() + usize::from(after.starts_with(';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_what_lies_go_and_all_others_stay() {
        for (text, clean) in [
            ("a&#x202e;b", Some("ab")),
            ("a&#8238b", Some("ab")),
            ("&#X00000202E;&#7;&#x9d;x", Some("x")),
            ("&#x20&#x10;2e;", Some("&#x202e;")),
            ("&#39;&#x41;&#128;&#0;&#9;&#10;", None),
            ("&#;&#x;&#xg&#99999999999;&#", None),
            ("&amp;#x202e; & #x202e;", None),
        ] {
            assert_eq!(without_references(text).as_deref(), clean, "{text}");
        }
    }
}
