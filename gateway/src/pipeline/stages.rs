//! The list of stages, in one place, and what runs it.
//!
//! A stage is a plain function over a [`Run`]: it passes, refuses or parks. It may refuse in two ways. [`Halt::Reject`]
//! is policy: where the operator has the stage in `dry_run`, the refusal is noted and the message goes on.
//! [`Halt::Hard`] is what nobody could carry further, and is refused all the same.

use portcullis_common::stage::{Stage, Stages};
use portcullis_common::wire::envelope::{ClientMessage, Refused};
use portcullis_common::wire::reject::Reject;

use super::action::Address;
use super::payload::Payload;
use super::policy::{Policy, TypePolicy};
use super::rate::Key;
use super::role::Terms;
use super::{ConnState, Frame, Now, Passed, Scratch, Who, action, csrf, decode, flow, rate, role, schema, size};

/// What looks at one decoded message.
type Check = for<'r, 'm> fn(&mut Run<'r, 'm>) -> Result<(), Halt>;

/// Every stage that looks at a decoded message, in order. What comes before it, size, flow and decode of the frame, is in
/// [`run`], because there is no message yet.
const LIST: &[(Stage, Check)] = &[
    (Stage::Size, size::check),
    (Stage::Decode, decode::fresh),
    (Stage::Csrf, csrf::check),
    (Stage::Role, role::check),
    (Stage::Rate, rate::check),
    (Stage::Schema, schema::check),
];

/// One message on its way, and all that a stage may look at.
pub struct Run<'r, 'm> {
    /// The rules.
    pub policy: &'m Policy,
    /// The rules of its type; `None` until [`role`] has refused what is not declared.
    pub kind: Option<&'m TypePolicy>,
    /// What the connection carries through its life.
    pub state: &'r mut ConnState,
    /// Who sends it.
    pub who: &'r Who<'r>,
    /// When it came.
    pub now: Now,
    /// Bytes on the wire, after decompression.
    pub len: usize,
    /// The envelope.
    pub message: ClientMessage<'m>,
    /// The payload; a stage may change it.
    pub payload: Payload<'m>,
    /// Where it goes; known from [`role`] on.
    pub address: Address,
    /// What the room's rule says about it; known from [`role`] on.
    pub terms: Terms<'m>,
    /// What dry runs would have refused.
    pub(super) notes: &'r mut Vec<Note>,
}

/// Why a message goes no further.
#[derive(Debug)]
pub enum Halt {
    /// Policy: noted instead where the stage is in `dry_run`.
    Reject(Reject),
    /// Cannot be carried whatever policy says.
    Hard(Reject),
    /// A limit that more nodes share has to be asked.
    Park(Key),
}

impl From<Reject> for Halt {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

/// What a stage in `dry_run` would have refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The stage.
    pub stage: Stage,
    /// The refusal that was not made.
    pub reject: Reject,
}

/// A halt, the stage that decided it, and the `id` to answer.
pub(super) struct Stopped<'m> {
    pub(super) stage: Stage,
    pub(super) halt: Halt,
    pub(super) id: Option<std::borrow::Cow<'m, str>>,
}

impl Run<'_, '_> {
    /// Notes what `stage` would have refused, for a part of a stage that is in `dry_run` by itself.
    pub fn note(&mut self, stage: Stage, reject: Reject) {
        self.notes.push(Note { stage, reject });
    }
}

/// A stage's answer, where `dry` says which stages only note.
fn heed(stage: Stage, answer: Result<(), Halt>, dry: Stages, notes: &mut Vec<Note>) -> Result<(), Halt> {
    match answer {
        Err(Halt::Reject(reject)) if dry.has(stage) => {
            notes.push(Note { stage, reject });
            Ok(())
        }
        other => other,
    }
}

/// Puts one frame through every stage.
pub(super) fn run<'m>(
    policy: &'m Policy,
    state: &mut ConnState,
    who: &Who<'_>,
    frame: Frame<'m>,
    now: Now,
    scratch: &'m mut Scratch,
    notes: &mut Vec<Note>,
) -> Result<Passed<'m>, Stopped<'m>> {
    let len = frame.len();
    let early = |stage| move |halt| Stopped { stage, halt, id: None };
    if policy.runs(Stage::Size) {
        size::frame(len, policy.frame).map_err(Halt::Hard).map_err(early(Stage::Size))?;
    }
    if policy.runs(Stage::Flow) {
        let taken = flow::take(&policy.flow, &mut state.flow, len, now).map_err(Halt::Reject);
        heed(Stage::Flow, taken, policy.dry, notes).map_err(early(Stage::Flow))?;
    }
    let decoded = decode::decode(frame, policy.bounds(), policy.frame, scratch).map_err(|Refused { reject, id }| {
        if policy.runs(Stage::Flow) && reject.code == portcullis_common::wire::code::Code::Malformed {
            flow::charge_malformed(&policy.flow, &mut state.flow, now);
        }
        Stopped { stage: Stage::Decode, halt: Halt::Hard(reject), id }
    })?;
    let kind = policy.kind(&decoded.message.kind);
    let dry = kind.map_or(policy.dry, |kind| kind.dry);
    let decode::Decoded { message, payload } = decoded;
    let (address, terms) = (Address::Nowhere, Terms::default());
    let mut run = Run { policy, kind, state, who, now, len, message, payload, address, terms, notes };
    for (stage, check) in LIST {
        if policy.runs(*stage) {
            let answer = check(&mut run);
            if let Err(halt) = heed(*stage, answer, dry, run.notes) {
                return Err(Stopped { stage: *stage, halt, id: run.message.id });
            }
        }
    }
    let Run { kind, mut message, payload, address, terms, .. } = run;
    message.payload = payload.raw();
    match action::action(kind, &message, address, terms) {
        Ok(action) => Ok(Passed { message, action }),
        Err(reject) => Err(Stopped { stage: Stage::Schema, halt: Halt::Hard(reject), id: message.id }),
    }
}
