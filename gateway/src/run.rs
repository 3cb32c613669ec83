//! A node's life: assemble, listen, wait for the end, drain.

use std::future::Future;
use std::sync::Arc;

use portcullis_common::clock::Clock;
use portcullis_common::config::model::Config;

use crate::drain;
use crate::events::NodeState;
use crate::node::{Node, StartError};
use crate::serve::{self, Listening};
use crate::store::{self, Opened};

/// Runs a node inside the current actix system until `end` is ready or the control log asks it to drain, then drains.
/// `started` is told once both ports are bound.
///
/// # Errors
/// What keeps it from starting; nothing listens then.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    started: impl FnOnce(&Arc<Node>, &Listening),
    end: impl Future<Output = ()>,
) -> Result<(), StartError> {
    futures_util::pin_mut!(end);
    let Some(opened) = store::open(&config, &clock, end.as_mut()).await? else { return Ok(()) };
    run_on(opened, config, clock, started, end).await
}

/// The same on stores of the caller's.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    opened: Opened,
    config: Config,
    clock: Arc<dyn Clock>,
    started: impl FnOnce(&Arc<Node>, &Listening),
    end: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let node = Node::assemble(config, clock, opened).await?;
    let listening = serve::listen(&node)?;
    started(&node, &listening);
    NodeState { node: node.id(), state: "started" }.emit(&node.metrics.draining);
    futures_util::pin_mut!(end);
    let asked = node.drain_asked();
    futures_util::pin_mut!(asked);
    futures_util::future::select(end, asked).await;
    drain::drain(&node, &listening).await;
    Ok(())
}
