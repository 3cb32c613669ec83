//! Whether the sender may send this type.

use std::sync::Arc;

use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

/// The role that every authenticated user has.
pub const ANYBODY: &str = "*";

/// Whether `held` has any of `wanted`. Nobody has any of none: what names no role is allowed to nobody.
#[must_use]
pub fn any(wanted: &[String], held: &[Arc<str>]) -> bool {
    wanted.iter().any(|role| role == ANYBODY || held.iter().any(|h| **h == **role))
}

/// # Errors
/// `forbidden`.
pub fn check(wanted: &[String], held: &[Arc<str>]) -> Result<(), Reject> {
    if any(wanted, held) { Ok(()) } else { Err(Reject::new(Code::Forbidden, "role: none that may send this type")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::any;

    #[test]
    fn any_one_role_is_enough_and_none_is_never() {
        let roles = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>();
        for (wanted, held, allowed) in [
            (&["member", "admin"][..], &["admin"][..], true),
            (&["member"], &["admin"], false),
            (&["member"], &[], false),
            (&["*"], &[], true),
            (&[], &["member", "*"], false),
            (&["member"], &["*"], false),
            (&["member"], &["Member"], false),
        ] {
            let held: Vec<Arc<str>> = held.iter().map(|role| Arc::from(*role)).collect();
            assert_eq!(any(&roles(wanted), &held), allowed, "{wanted:?} {held:?}");
        }
    }
}
