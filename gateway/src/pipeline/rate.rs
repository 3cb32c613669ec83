//! How often one connection may send one type.

use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::ids::TypeName;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::Now;

/// The limited types that one connection has sent: nothing until it sends the first. By name, so that a reload of the
/// policy neither mixes them up nor resets them. At most one entry for each type with a limit.
#[derive(Debug, Default)]
pub struct Used(Vec<(TypeName, Tat)>);

/// Takes one message of the type `kind`, which has been found in the policy.
///
/// # Errors
/// `rate_limited` with the exact time after which the same call would succeed.
pub fn take(gcra: &Gcra, used: &mut Used, kind: &str, now: Now) -> Result<(), Reject> {
    let found = used.0.iter_mut().find(|(name, _)| name.as_str() == kind);
    let taken = match found {
        Some((_, tat)) => gcra.take(tat, now.mono_ns, 1),
        None => {
            let mut tat = Tat::default();
            let taken = gcra.take(&mut tat, now.mono_ns, 1);
            if let Ok(name) = TypeName::parse(kind) {
                used.0.push((name, tat));
            }
            taken
        }
    };
    taken.map_err(|wait| Reject::new(Code::RateLimited, "rate: over the type's own limit").retry(wait))
}
