//! Asking nodes, and gathering their answers.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::{Store, StoreUrl};
use portcullis_common::config::{self};
use portcullis_common::control::ack::{Answer, Gathering, Outcome, open};
use portcullis_common::control::command::Command;
use portcullis_common::control::key::OperatorKey;
use portcullis_common::control::sign::{LIFE, Nonce, sign};
use portcullis_common::ids::NodeId;
use portcullis_common::store::StoreFault;
use portcullis_common::store::command::{AnswerPlace, Commands};
use portcullis_common::store::lease::Leases;
use portcullis_common::store::redis::RedisOperator;

use super::arguments::Common;
use super::show::complain;
use super::{End, Trouble};

/// How long the store may take for anything.
const STORE: Duration = Duration::from_secs(3);

/// The fleet behind a store, and who speaks to it.
pub struct Fleet {
    commands: Arc<dyn Commands>,
    members: Arc<dyn Leases>,
    key: OperatorKey,
    /// The cluster's id.
    cluster: String,
    timeout: Duration,
}

impl From<StoreFault> for Trouble {
    fn from(fault: StoreFault) -> Self {
        Self::Unreached(fault.to_string())
    }
}

/// A command that was sent.
pub struct Asked {
    nonce: Nonce,
    place: AnswerPlace,
}

impl Fleet {
    /// Reads the key, opens the store.
    pub async fn open(common: &Common) -> Result<Self, Trouble> {
        let file = common.config.as_deref();
        let store = Store::load(file, config::environment()).map_err(|e| Trouble::Usage(e.to_string()))?;
        if store.url == StoreUrl::Memory {
            let problem = "store.url: is \"memory:\": such a gateway has no store to be reached through";
            return Err(Trouble::Usage(problem.to_owned()));
        }
        let key = super::keys::read(&super::keys::path(common))?;
        let operator =
            RedisOperator::connect(&store, STORE).await.map_err(|fault| Trouble::Unreached(fault.to_string()))?;
        Ok(Self {
            commands: operator.commands(),
            members: operator.members(),
            key,
            cluster: store.prefix,
            timeout: common.timeout,
        })
    }

    /// Waits at least so long for answers.
    #[must_use]
    pub fn patient(self, least: Duration) -> Self {
        Self { timeout: self.timeout.max(least), ..self }
    }

    /// The store's time.
    pub async fn now(&self) -> Result<UnixMs, Trouble> {
        Ok(self.commands.now().await?)
    }

    /// Every node with a lease.
    pub async fn nodes(&self) -> Result<Vec<NodeId>, Trouble> {
        Ok(self.members.members().await?.into_iter().map(|member| member.node).collect())
    }

    /// Signs and sends.
    pub async fn send(&self, command: &Command) -> Result<Asked, Trouble> {
        command.check().map_err(|bad| Trouble::Usage(bad.to_string()))?;
        let issued = self.now().await?;
        let nonce = Nonce::random(&mut rand::rng());
        let times = (issued, issued.after(LIFE.min(self.timeout)));
        self.commands.dispatch(sign(&self.key, &self.cluster, times, nonce, command)).await?;
        Ok(Asked { nonce, place: AnswerPlace::default() })
    }

    /// What came since the last call; waits up to `wait` for something.
    pub async fn answers(&self, asked: &mut Asked, wait: Duration) -> Result<Vec<(NodeId, Answer)>, Trouble> {
        let answers = self.commands.answers(asked.nonce, asked.place, wait).await?;
        asked.place = answers.last().map_or(asked.place, |(place, _)| *place);
        // what is not an answer is nobody's
        Ok(answers.iter().filter_map(|(_, bytes)| open(None, asked.nonce, bytes).ok()).collect())
    }

    /// Sends a command to these nodes and waits until all have answered, or the time is over.
    pub async fn ask(&self, command: &Command, expected: Vec<NodeId>) -> Result<Gathering, Trouble> {
        let mut gathering = Gathering::of(expected);
        let mut asked = self.send(command).await?;
        let gather = async {
            while !gathering.is_complete() {
                for (node, answer) in self.answers(&mut asked, Duration::from_millis(500)).await? {
                    gathering.take(node, answer);
                }
            }
            Ok(())
        };
        match tokio::time::timeout(self.timeout, gather).await {
            Ok(Err(trouble)) => Err(trouble),
            Ok(Ok(())) | Err(_) => Ok(gathering),
        }
    }

    /// [`Fleet::ask`] of everybody.
    pub async fn ask_all(&self, command: &Command) -> Result<Gathering, Trouble> {
        let nodes = self.nodes().await?;
        if nodes.is_empty() {
            complain("no node has a lease in this store, under this prefix");
        }
        self.ask(command, nodes).await
    }
}

/// What a gathering comes to. Whoever did not do it is named on stderr.
pub fn end(gathering: &Gathering) -> End {
    for (node, answer) in gathering.answers() {
        match answer {
            None => complain(&format!("{node}: silent")),
            Some(Answer { outcome: outcome @ (Outcome::Failed | Outcome::Refused), detail, .. }) => {
                let what = if *outcome == Outcome::Failed { "failed" } else { "refused" };
                complain(&format!("{node}: {what}: {}", detail.as_deref().unwrap_or("no reason given")));
            }
            Some(_) => {}
        }
    }
    let tally = gathering.tally();
    match (tally.done.is_empty(), tally.failed.is_empty() && tally.silent.is_empty()) {
        (true, _) => End::None,
        (false, true) => End::All,
        (false, false) => End::Partly,
    }
}
