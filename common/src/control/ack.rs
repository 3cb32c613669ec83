//! What nodes answer to a command, and what the answers of a fleet come to.
//!
//! An answer is sealed like every record of the cluster (`store/record.rs`), on a channel that the command's nonce names:
//! whoever holds the cluster key can tell a node's answer from an invention, and an answer to one command is none to
//! another. An operator holds no cluster key and believes the store's word for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sign::{Nonce, Refusal};
use crate::ids::NodeId;
use crate::store::record::{Header, Refused, Sealer, read_unverified};

/// The longest answer on the wire. A node cuts its lists to fit.
pub const MAX: usize = 128 << 10;

/// How a node fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It obeyed.
    Done,
    /// It tried, and could not.
    Failed,
    /// It would not: see [`Refusal::name`].
    Refused,
    /// Something that happened while it is watched; more may come.
    Event,
}

/// One node's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// How it went.
    pub outcome: Outcome,
    /// Why it failed or was refused: a fixed text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What was asked for; `null` where nothing was.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// The list goes on behind its last entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl Answer {
    /// It obeyed, and this is what it has to say.
    #[must_use]
    pub fn done(data: Value) -> Self {
        Self { outcome: Outcome::Done, detail: None, data, more: false }
    }

    /// It could not.
    #[must_use]
    pub fn failed(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, detail: Some(detail.into()), data: Value::Null, more: false }
    }

    /// It would not.
    #[must_use]
    pub fn refused(why: Refusal) -> Self {
        Self { outcome: Outcome::Refused, detail: Some(why.name().to_owned()), data: Value::Null, more: false }
    }

    /// Something happened.
    #[must_use]
    pub fn event(data: Value) -> Self {
        Self { outcome: Outcome::Event, detail: None, data, more: false }
    }
}

fn channel(nonce: Nonce) -> Vec<u8> {
    let mut channel = b"answers:".to_vec();
    channel.extend_from_slice(&nonce.0);
    channel
}

/// The answer on the wire.
#[must_use]
pub fn seal(sealer: &Sealer, nonce: Nonce, header: &Header, answer: &Answer) -> Bytes {
    // an answer has nothing that JSON cannot say
    let body = serde_json::to_vec(answer).unwrap_or_default();
    Bytes::from(sealer.seal(&channel(nonce), header, &body))
}

/// An answer to the command of that nonce. Without a sealer (an operator has none) its MAC is not checked.
///
/// # Errors
/// Everything that is wrong with the record; [`Refused::Malformed`] for one that is too long or of another form.
pub fn open(sealer: Option<&Sealer>, nonce: Nonce, record: &Bytes) -> Result<(NodeId, Answer), Refused> {
    if record.len() > MAX + 512 {
        return Err(Refused::Malformed);
    }
    let opened = match sealer {
        Some(sealer) => sealer.open(&channel(nonce), record)?,
        None => read_unverified(record)?,
    };
    let answer = serde_json::from_slice(&opened.body).map_err(|_| Refused::Malformed)?;
    Ok((opened.header.issuer.node, answer))
}

/// How many nodes fared how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// They obeyed.
    pub done: Vec<NodeId>,
    /// They could not, or would not.
    pub failed: Vec<NodeId>,
    /// They said nothing in time.
    pub silent: Vec<NodeId>,
}

/// Gathers the answers of an expected set of nodes. The first answer of a node counts, further ones do not; events are
/// no answers. Nodes that nobody expected are taken too, up to [`Gathering::UNEXPECTED`]: they joined a moment ago.
#[derive(Debug, Clone, Default)]
pub struct Gathering {
    answers: BTreeMap<NodeId, Option<Answer>>,
    unexpected: usize,
}

impl Gathering {
    /// Nodes taken although nobody expected them.
    pub const UNEXPECTED: usize = 64;

    /// Waits for these.
    #[must_use]
    pub fn of(expected: impl IntoIterator<Item = NodeId>) -> Self {
        Self { answers: expected.into_iter().map(|node| (node, None)).collect(), unexpected: 0 }
    }

    /// Takes an answer; false when it changes nothing.
    pub fn take(&mut self, node: NodeId, answer: Answer) -> bool {
        if answer.outcome == Outcome::Event {
            return false;
        }
        match self.answers.get_mut(&node) {
            Some(Some(_)) => false,
            Some(empty) => {
                *empty = Some(answer);
                true
            }
            None if self.unexpected < Self::UNEXPECTED => {
                self.unexpected += 1;
                self.answers.insert(node, Some(answer));
                true
            }
            None => false,
        }
    }

    /// Whether all have answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.answers.values().all(Option::is_some)
    }

    /// Every node with its answer, `None` for silence.
    pub fn answers(&self) -> impl Iterator<Item = (&NodeId, Option<&Answer>)> {
        self.answers.iter().map(|(node, answer)| (node, answer.as_ref()))
    }

    /// What it comes to.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (node, answer) in self.answers() {
            let list = match answer.map(|answer| answer.outcome) {
                Some(Outcome::Done | Outcome::Event) => &mut tally.done,
                Some(Outcome::Failed | Outcome::Refused) => &mut tally.failed,
                None => &mut tally.silent,
            };
            list.push(node.clone());
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::clock::UnixMs;
    use crate::ids::NodeEpoch;
    use crate::store::keyring::Keyring;
    use crate::store::record::Issuer;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    fn sealer(key: &str) -> Sealer {
        Sealer::new("blue", Arc::new(Keyring::parse(key).unwrap()))
    }

    const KEY: &str = "k:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    const OTHER: &str = "k:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    #[test]
    fn an_answer_is_its_nodes_to_whoever_has_the_cluster_key_and_is_read_by_whoever_has_not() {
        let (one, two) = (Nonce([1; 16]), Nonce([2; 16]));
        let issuer = Issuer { node: node("a"), epoch: NodeEpoch(1) };
        let header = Header { issuer, sequence: 1, at: UnixMs(5) };
        let answer = Answer { more: true, ..Answer::done(json!([{"id": 1}])) };
        let sealed = seal(&sealer(KEY), one, &header, &answer);
        assert_eq!(open(Some(&sealer(KEY)), one, &sealed), Ok((node("a"), answer.clone())));
        assert_eq!(open(None, one, &sealed), Ok((node("a"), answer)));
        assert_eq!(open(Some(&sealer(KEY)), two, &sealed), Err(Refused::Forged), "an answer to another command");
        assert_eq!(open(Some(&sealer(OTHER)), one, &sealed), Err(Refused::Forged));
        assert_eq!(open(None, one, &Bytes::from_static(b"\x01short")), Err(Refused::Malformed));
    }

    #[test]
    fn answers_are_counted_once_a_node_and_silence_is_told() {
        let mut gathering = Gathering::of([node("a"), node("b"), node("c")]);
        assert!(!gathering.take(node("a"), Answer::event(Value::Null)), "no answer");
        assert!(gathering.take(node("a"), Answer::done(Value::Null)));
        assert!(!gathering.take(node("a"), Answer::failed("a second thought")));
        assert!(gathering.take(node("b"), Answer::refused(Refusal::Role)));
        assert!(!gathering.is_complete());
        assert!(gathering.take(node("d"), Answer::done(Value::Null)), "a newcomer");
        let names = |list: &[NodeId]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let tally = gathering.tally();
        assert_eq!((&*names(&tally.done), &*names(&tally.failed), &*names(&tally.silent)), ("a d", "b", "c"));
        assert!(gathering.take(node("c"), Answer::failed("full")));
        assert!(gathering.is_complete());
    }

    #[test]
    fn strangers_cannot_fill_the_memory_of_who_gathers() {
        let mut gathering = Gathering::of([]);
        let taken = (0..1_000).filter(|n| gathering.take(node(&format!("n{n}")), Answer::done(Value::Null))).count();
        assert_eq!(taken, Gathering::UNEXPECTED);
    }
}
