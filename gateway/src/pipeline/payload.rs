//! The payload as the later stages see it: every value with its place, strings as they are meant, and one way to change
//! it.
//!
//! Nothing is parsed a second time and no tree is built: the scan has left a [`Tape`] of what it read. A stage that
//! changes something calls [`Payload::replace`] for each string and [`Payload::apply`] once it is done; what comes out is
//! scanned like anything a client sends, and is what later stages, and in the end the members of the room, get.
//!
//! [`Tape`]: portcullis_common::wire::tape::Tape

use std::borrow::Cow;
use std::ops::Range;

use portcullis_common::wire::envelope::RawJson;
use portcullis_common::wire::json::put_string;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::scan::{self, Bounds};
use portcullis_common::wire::tape::{Item, Kind};

use super::size;

/// Where a changed payload is put together; one a worker.
#[derive(Debug, Default)]
pub struct Spare {
    text: String,
    scan: scan::Scratch,
}

/// One string of a payload.
#[derive(Debug, Clone)]
pub struct Said<'m> {
    /// The value it is, or whose key it is.
    pub item: Item<'m>,
    /// Whether it is the key.
    pub key: bool,
    /// What it means.
    pub text: Cow<'m, str>,
}

/// The payload of one message on its way.
#[derive(Debug)]
pub struct Payload<'m> {
    root: Option<Item<'m>>,
    edits: Vec<(Range<usize>, String)>,
    spare: Option<&'m mut Spare>,
}

impl<'m> Payload<'m> {
    /// A payload as the client sent it; `None` where it sent none, which means `null`.
    pub(super) fn new(root: Option<Item<'m>>, spare: &'m mut Spare) -> Self {
        Self { root, edits: Vec::new(), spare: Some(spare) }
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Option<Item<'m>> {
        self.root
    }

    /// The text that goes on.
    #[must_use]
    pub fn raw(&self) -> Option<RawJson<'m>> {
        self.root.map(RawJson::from)
    }

    /// Every key and every string in the text's order. Allocates only for strings written with an escape.
    pub fn strings(&self) -> impl Iterator<Item = Said<'m>> + use<'m> {
        let root = self.root.map(Item::place);
        self.root.into_iter().flat_map(Item::subtree).flat_map(move |item| {
            let key = item.key().filter(|_| Some(item.place()) != root);
            let key = key.map(|text| Said { item, key: true, text: text.into() });
            let value = (item.kind() == Kind::String).then(|| item.text()).flatten();
            key.into_iter().chain(value.map(|text| Said { item, key: false, text }))
        })
    }

    /// Replaces a string value, from [`Self::apply`] on.
    pub fn replace(&mut self, item: Item<'m>, text: String) {
        self.edits.push((item.range(), text));
    }

    /// Nothing is replaced after all.
    pub fn forget(&mut self) {
        self.edits.clear();
    }

    /// Carries out what was replaced, and checks the result as a message of at most `max` bytes is checked.
    ///
    /// # Errors
    /// `malformed` or `too_large` for what broke a bound by being changed; the payload is unusable then.
    pub fn apply(&mut self, bounds: Bounds, max: usize) -> Result<(), Reject> {
        let mut edits = std::mem::take(&mut self.edits);
        let (Some(root), false) = (self.root, edits.is_empty()) else { return Ok(()) };
        // one change a message: the list has one stage that changes
        let Some(spare) = self.spare.take() else { return Err(size::changed_twice()) };
        edits.sort_by_key(|(range, _)| range.start);
        let (whole, from) = (root.raw(), root.range().start);
        let mut out = std::mem::take(&mut spare.text).into_bytes();
        out.clear();
        let mut done = 0;
        for (range, text) in edits {
            let (start, end) = (range.start.saturating_sub(from), range.end.saturating_sub(from));
            out.extend_from_slice(whole.as_bytes().get(done..start).unwrap_or_default());
            put_string(&mut out, &text);
            done = end;
        }
        out.extend_from_slice(whole.as_bytes().get(done..).unwrap_or_default());
        size::changed(out.len(), max)?;
        spare.text = String::from_utf8(out).map_err(|_| size::changed_twice())?;
        scan::scan(&spare.text, bounds, &mut spare.scan)?;
        let spare: &'m Spare = spare;
        self.root = spare.scan.tape(&spare.text).root();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<R>(text: &str, look: impl FnOnce(&mut Payload<'_>) -> R) -> R {
        let (mut scratch, mut spare) = (scan::Scratch::default(), Spare::default());
        scan::scan(text, Bounds::default(), &mut scratch).unwrap();
        let root = scratch.tape(text).root().unwrap().get("payload");
        look(&mut Payload::new(root, &mut spare))
    }

    #[test]
    fn keys_and_strings_come_in_order_and_as_they_are_meant() {
        let said = with(r#"{"id":"x","payload":{"a":"1\n","b\u0021":["2",{"c":"3"}],"d":4}}"#, |payload| {
            payload.strings().map(|s| format!("{}{}", if s.key { "key " } else { "" }, s.text)).collect::<Vec<_>>()
        });
        assert_eq!(said, ["key a", "1\n", "key b!", "2", "key c", "3", "key d"]);
        assert_eq!(with(r#"{"id":"x"}"#, |payload| payload.strings().count()), 0);
    }

    #[test]
    fn a_change_is_what_later_stages_and_the_receivers_see() {
        with(r#"{"payload": {"text":"<b>","n":[1, "<i>"]} }"#, |payload| {
            assert!(payload.apply(Bounds::default(), 100).is_ok(), "nothing to do");
            for said in payload.strings().filter(|s| s.text.starts_with('<')) {
                payload.replace(said.item, format!("\"{}\"", said.text.len()));
            }
            payload.apply(Bounds::default(), 100).unwrap();
            assert_eq!(payload.raw().unwrap().get(), r#"{"text":"\"3\"","n":[1, "\"3\""]}"#);
            assert_eq!(payload.root().unwrap().get("text").unwrap().text().as_deref(), Some("\"3\""));
        });
    }

    #[test]
    fn what_grows_beyond_a_bound_is_refused() {
        let grown = |bounds, max| {
            with(r#"{"payload":["x"]}"#, |payload| {
                let item = payload.root().unwrap().children().next().unwrap();
                payload.replace(item, "y".repeat(100));
                payload.apply(bounds, max).map_err(|reject| reject.code.info().name)
            })
        };
        assert_eq!(grown(Bounds::default(), 104), Ok(()));
        assert_eq!(grown(Bounds::default(), 103), Err("too_large"));
        assert_eq!(grown(Bounds { string: 99, ..Bounds::default() }, 104), Err("malformed"));
    }
}
