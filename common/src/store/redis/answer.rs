//! What scripts answer: lists of words. The store is a shared medium, so every word is parsed like a stranger's.

use super::link::garbled;
use crate::clock::UnixMs;
use crate::ids::{NodeEpoch, NodeId, SessionId};
use crate::store::StoreFault;
use crate::store::session::Holder;

/// Reads words one after the other; a missing or illegal one is a fault.
pub(super) struct Words(std::vec::IntoIter<String>);

impl Words {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self(words.into_iter())
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    pub(super) fn word(&mut self) -> Result<String, StoreFault> {
        self.0.next().ok_or_else(garbled)
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreFault> {
        self.word()?.parse().map_err(|_| garbled())
    }

    pub(super) fn time(&mut self) -> Result<UnixMs, StoreFault> {
        self.number().map(UnixMs)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, StoreFault> {
        NodeId::parse(&self.word()?).map_err(|_| garbled())
    }

    pub(super) fn epoch(&mut self) -> Result<NodeEpoch, StoreFault> {
        NodeEpoch::parse(&self.word()?).ok_or_else(garbled)
    }

    /// Four words: session, node, epoch, generation.
    pub(super) fn holder(&mut self) -> Result<Holder, StoreFault> {
        let sid = SessionId::parse(&self.word()?).ok_or_else(garbled)?;
        let (node, epoch) = (self.node()?, self.epoch()?);
        let generation = self.word()?.parse().map_err(|_| garbled())?;
        Ok(Holder { sid, node, epoch, generation })
    }
}
