//! A message that waits for the fleet's answer about a limit. Its connection is not read meanwhile.

use std::time::Duration;

use portcullis_common::limit::PATIENCE;
use tokio::sync::oneshot;

use crate::pipeline::{Frame, Pass};
use crate::route::{Done, Outcome};

/// How long a message waits, whatever for.
const WAIT: Duration = Duration::from_nanos(PATIENCE);

/// The message, kept: at most `size.message`, one a connection.
pub struct Parked {
    frame: Kept,
    /// When it came first, monotonic ns.
    pub since: u64,
    /// What it comes back as.
    pub pass: Pass,
}

enum Kept {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Parked {
    /// Keeps a frame that came first at `since`.
    #[must_use]
    pub fn new(frame: Frame<'_>, since: u64) -> Self {
        let frame = match frame {
            Frame::Text(text) => Kept::Text(text.into()),
            Frame::Binary(bytes) => Kept::Binary(bytes.into()),
        };
        Self { frame, since, pass: Pass::Again }
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        match &self.frame {
            Kept::Text(text) => Frame::Text(text),
            Kept::Binary(bytes) => Frame::Binary(bytes),
        }
    }

    /// Waits for the answer, or until the message has waited for 100 ms in all; `now` is monotonic ns.
    pub async fn wait(mut self: Box<Self>, answer: Option<oneshot::Receiver<()>>, now: u64) -> Done {
        let left = WAIT.saturating_sub(Duration::from_nanos(now.saturating_sub(self.since)));
        let answered = match answer {
            // whether it was answered or dropped, it is over
            Some(answer) => actix_rt::time::timeout(left, answer).await.is_ok(),
            None => !left.is_zero(),
        };
        if !answered {
            self.pass = Pass::Last;
        }
        Done { id: None, room: None, outcome: Outcome::Unparked(self) }
    }
}
