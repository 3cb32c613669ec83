//! The list of stages, in one place, and what runs it.
//!
//! A stage is a plain function over a [`Run`]: it passes, refuses or parks. It may refuse in two ways. [`Halt::Reject`]
//! is policy: where the operator has the stage in `dry_run`, the refusal is noted and the message goes on.
//! [`Halt::Hard`] is what nobody could carry further, and is refused all the same.

use portcullis_common::stage::{Stage, Stages};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::envelope::{ClientMessage, Refused};
use portcullis_common::wire::reject::Reject;

use super::action::Address;
use super::payload::Payload;
use super::policy::{Policy, TypePolicy};
use super::rate::Key;
use super::role::Terms;
use super::{
    Arrival, ConnState, Frame, Now, Pass, Passed, Scratch, Who, action, csrf, decode, flow, rate, role, sanitise,
    schema, score, signature, size,
};

/// What looks at one decoded message.
type Check = for<'r, 'm> fn(&mut Run<'r, 'm>) -> Result<(), Halt>;

/// Every stage that looks at a decoded message, in order. What comes before it, size, flow and decode of the frame, is in
/// [`run`], because there is no message yet.
const LIST: &[(Stage, Check)] = &[
    (Stage::Size, size::check),
    (Stage::Decode, decode::fresh),
    (Stage::Score, score::gate),
    (Stage::Csrf, csrf::check),
    (Stage::Role, role::check),
    (Stage::Rate, rate::check),
    (Stage::Schema, schema::check),
    (Stage::Signatures, signature::check),
    (Stage::Sanitise, sanitise::check),
    (Stage::Signatures, signature::check_changed),
    (Stage::Score, score::check),
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
    /// Whether it has not waited yet.
    pub patient: bool,
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
    /// What speaks against the connection.
    pub found: score::Found,
    /// What was changed in the payload.
    pub cleaned: sanitise::Cleaned,
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
    /// The node is overloaded, and turns its type away.
    Shed,
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
    Arrival { now, pass, sheds }: Arrival,
    scratch: &'m mut Scratch,
    notes: &mut Vec<Note>,
) -> Result<Passed<'m>, Stopped<'m>> {
    let len = frame.len();
    let early = |stage| move |halt| Stopped { stage, halt, id: None };
    if policy.runs(Stage::Size) {
        size::frame(len, policy.frame).map_err(Halt::Hard).map_err(early(Stage::Size))?;
    }
    if policy.runs(Stage::Flow) && pass == Pass::First {
        let taken = flow::take(&policy.flow, &mut state.flow, len, now).map_err(Halt::Reject);
        heed(Stage::Flow, taken, policy.dry, notes).map_err(early(Stage::Flow))?;
    }
    #[cfg(test)]
    let frame = if policy.runs(Stage::Decode) { frame } else { Frame::Text(r#"{"type":"health-check"}"#) };
    let decoded = decode::decode(frame, policy.bounds(), policy.frame, scratch).map_err(|Refused { reject, id }| {
        if policy.runs(Stage::Flow) && reject.code == Code::Malformed {
            flow::charge_malformed(&policy.flow, &mut state.flow, now);
        }
        let shown =
            score::Shown { found: score::Found::default(), address: &Address::Nowhere, refused: Some(reject.code) };
        let over = settle(policy, &mut state.score, shown, policy.dry, now, notes);
        Stopped { stage: Stage::Decode, halt: Halt::Hard(over.err().unwrap_or(reject)), id }
    })?;
    let kind = policy.kind(&decoded.message.kind);
    if kind.is_some_and(|kind| kind.is_shed(sheds)) {
        return Err(Stopped { stage: Stage::Decode, halt: Halt::Shed, id: decoded.message.id });
    }
    let dry = kind.map_or(policy.dry, |kind| kind.dry);
    let decode::Decoded { message, payload } = decoded;
    let (address, terms) = (Address::Nowhere, Terms::default());
    let (found, cleaned) = Default::default();
    let patient = pass != Pass::Last;
    let mut run =
        Run { policy, kind, state, who, now, patient, len, message, payload, address, terms, found, cleaned, notes };
    let halted = walk(&mut run, dry).err();
    let Run { kind, state, mut message, payload, address, terms, found, cleaned, notes, .. } = run;
    let refused = match &halted {
        // it comes again, and is looked at then
        Some((_, Halt::Park(_) | Halt::Shed)) | None => None,
        Some((_, Halt::Reject(reject) | Halt::Hard(reject))) => Some(reject.code),
    };
    if !matches!(halted, Some((_, Halt::Park(_)))) {
        let shown = score::Shown { found, address: &address, refused };
        if let Err(over) = settle(policy, &mut state.score, shown, dry, now, notes) {
            return Err(Stopped { stage: Stage::Score, halt: Halt::Hard(over), id: message.id });
        }
    }
    if let Some((stage, halt)) = halted {
        return Err(Stopped { stage, halt, id: message.id });
    }
    message.payload = payload.raw();
    match action::action(kind, &message, address, terms) {
        Ok(action) => Ok(Passed { message, action, cleaned }),
        Err(reject) => Err(Stopped { stage: Stage::Schema, halt: Halt::Hard(reject), id: message.id }),
    }
}

/// Through the list, to the first stage that halts.
fn walk(run: &mut Run<'_, '_>, dry: Stages) -> Result<(), (Stage, Halt)> {
    for (stage, check) in LIST {
        if run.policy.runs(*stage) {
            let answer = check(run);
            heed(*stage, answer, dry, run.notes).map_err(|halt| (*stage, halt))?;
        }
    }
    Ok(())
}

/// Takes in what a message has shown.
///
/// # Errors
/// What ends the connection, where the score is too high and its stage not in `dry_run`.
fn settle(
    policy: &Policy,
    score: &mut Option<Box<score::Score>>,
    shown: score::Shown<'_>,
    dry: Stages,
    now: Now,
    notes: &mut Vec<Note>,
) -> Result<(), Reject> {
    if !policy.runs(Stage::Score) {
        return Ok(());
    }
    match score::settle(&policy.anomaly, score, shown, now) {
        Err(reject) if dry.has(Stage::Score) => {
            notes.push(Note { stage: Stage::Score, reject });
            Ok(())
        }
        other => other,
    }
}
