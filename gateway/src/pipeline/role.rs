//! Whether the sender may send this type, and there: roles and conditions from the token's claims, of the type and of the
//! room, joining and publishing apart. What no rule allows is refused.
//!
//! Conditions cost microseconds, so their answers are remembered for each connection, until its token or the policy
//! changes: nothing else can change them.

use std::sync::Arc;

use portcullis_common::config::model::{History, RoomRule};
use portcullis_common::ids::RoomName;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::action::{self, Address, Builtin};
use super::policy::Body;
use super::stages::{Halt, Run};
use crate::route::rooms::Verb;

/// The role that every authenticated user has.
pub const ANYBODY: &str = "*";

/// Answers that one connection remembers; beyond them it begins anew.
const REMEMBERED: usize = 128;

/// Whether `held` has any of `wanted`. Nobody has any of none: what names no role is allowed to nobody.
#[must_use]
pub fn any(wanted: &[String], held: &[Arc<str>]) -> bool {
    wanted.iter().any(|role| role == ANYBODY || held.iter().any(|h| **h == **role))
}

/// What the rule of a message's room says; nothing where it goes to no room.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'m> {
    /// The rule's pattern.
    pub pattern: Option<&'m str>,
    /// Members may know who is there.
    pub presence: bool,
    /// What is kept for those who come back.
    pub history: Option<History>,
}

impl<'m> From<&'m RoomRule> for Terms<'m> {
    fn from(rule: &'m RoomRule) -> Self {
        Self { pattern: Some(&rule.pattern), presence: rule.presence, history: rule.history }
    }
}

/// What was asked of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Of a type's.
    Type(Box<str>),
    /// Of a room's; a rule has one condition for both verbs.
    Room(RoomName),
}

/// Answers of conditions for one connection. On the heap: without conditions there are none.
#[derive(Debug, Default)]
pub struct Memo(Option<Box<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    serial: u64,
    known: Vec<(Asked, bool)>,
}

impl Memo {
    /// The claims changed: every condition is evaluated anew.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// The answer under the policy `serial`, evaluated where it is not known.
    pub fn ask(&mut self, serial: u64, asked: Asked, evaluate: impl FnOnce() -> bool) -> bool {
        let answers = self.0.get_or_insert_default();
        if answers.serial != serial || answers.known.len() >= REMEMBERED {
            answers.known.clear();
            answers.serial = serial;
        }
        if let Some((_, answer)) = answers.known.iter().find(|(known, _)| *known == asked) {
            return *answer;
        }
        let answer = evaluate();
        answers.known.push((asked, answer));
        answer
    }
}

/// The type's rule, then the room's. What a declared type cannot be addressed to is `malformed` whoever sends it.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let undeclared = || Halt::Hard(Reject::new(Code::TypeUnknown, "type: not declared"));
    let kind = run.kind.ok_or_else(undeclared)?;
    run.address = action::address(&kind.body, &run.message).map_err(Halt::Hard)?;
    let (subject, serial) = (&run.who.subject, run.policy.serial);
    let verb = match &kind.body {
        Body::Application(_) => Some(Verb::Publish),
        Body::Builtin(Builtin::Join) => Some(Verb::Join),
        Body::Builtin(_) => None,
    };
    let mut refused = Ok(());
    if let Body::Application(rule) = &kind.body
        && !any(&rule.roles, subject.roles)
    {
        refused = Err(Reject::new(Code::Forbidden, "role: none that may send this type"));
    }
    if let (Ok(()), Some(condition)) = (&refused, &kind.condition) {
        let asked = Asked::Type(run.message.kind.as_ref().into());
        if !run.state.memo.ask(serial, asked, || condition.holds(subject, None, &[])) {
            refused = Err(Reject::new(Code::Forbidden, "role: the type's condition is not true"));
        }
    }
    if let (Address::Room(room), Some(verb)) = (&run.address, verb) {
        match run.policy.rooms.rule(room) {
            // known to later stages even where a dry run lets the message pass
            Some(rule) => run.terms = Terms::from(rule),
            None => return Err(refused.err().unwrap_or_else(|| Reject::new(Code::Forbidden, "room: no rule")).into()),
        }
        refused?;
        run.policy.rooms.decide(room, subject, verb, serial, &mut run.state.memo)?;
        return Ok(());
    }
    Ok(refused?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Asked, Memo, REMEMBERED, any};

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

    #[test]
    fn an_answer_is_remembered_until_the_claims_or_the_policy_change() {
        let mut memo = Memo::default();
        let asked = || Asked::Type("chat".into());
        assert!(memo.ask(1, asked(), || true));
        assert!(memo.ask(1, asked(), || false), "remembered");
        assert!(!memo.ask(2, asked(), || false), "another policy");
        memo.forget();
        assert!(memo.ask(2, asked(), || true), "another token");
        for n in 0..3 * REMEMBERED {
            memo.ask(2, Asked::Type(n.to_string().into()), || false);
        }
        assert!(memo.0.unwrap().known.len() <= REMEMBERED);
    }
}
