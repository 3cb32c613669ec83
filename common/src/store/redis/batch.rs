//! What goes out in one write. Which connection, and so which server, is settled when it is written; a command that
//! depends on that is told then.

use redis::{Cmd, Pipeline};

/// A command of a batch.
pub(super) struct Order {
    command: Cmd,
    told: bool,
}

impl Order {
    /// As it stands.
    pub(super) fn plain(command: Cmd) -> Self {
        Self { command, told: false }
    }

    /// With one more argument behind its last: the run id of the server that carries it out.
    pub(super) fn told(command: Cmd) -> Self {
        Self { command, told: true }
    }

    /// For whom the key decides which server that is.
    pub(super) fn command(&self) -> &Cmd {
        &self.command
    }
}

/// All of them, for the server with this run id.
pub(super) fn on_server<'a>(orders: impl ExactSizeIterator<Item = &'a Order>, run: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(orders.len());
    for Order { command, told } in orders {
        let mut command = command.clone();
        if *told {
            command.arg(run);
        }
        pipeline.add_command(command);
    }
    pipeline
}
