//! What only a session itself knows of itself, for an operator who asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::Order;
use super::registry::SessionEntry;
use super::talk::Stop;

/// How long a session may take to answer; a worker that is busier than that is told of by silence.
const PATIENCE: Duration = Duration::from_secs(1);

/// What it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The rooms that it is in, sorted.
    pub rooms: Vec<String>,
    /// Its connection's score.
    pub score: f64,
    /// The latest evidence: what, weight, age.
    pub evidence: Vec<String>,
}

/// A question on its way to a session: the first who has it answers.
#[derive(Clone)]
pub struct Question(Arc<Mutex<Option<oneshot::Sender<Described>>>>);

impl Question {
    /// Answers, if nobody has and somebody still waits.
    pub fn answer(&self, describe: impl FnOnce() -> Described) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender.filter(|sender| !sender.is_closed()) {
            // who does not wait any more need not be told
            let _ = sender.send(describe());
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Question {}

/// Asks a session; `None`: it is over, or does not answer in a second.
pub async fn ask(entry: &SessionEntry) -> Option<Described> {
    let (sender, answer) = oneshot::channel();
    let question = Question(Arc::new(Mutex::new(Some(sender))));
    entry.address.try_send(Order(Stop::Describe(question))).ok()?;
    actix_rt::time::timeout(PATIENCE, answer).await.ok()?.ok()
}
