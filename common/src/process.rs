//! What the programs that run for long do alike: their log, and their end.

use std::io::IsTerminal as _;

use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use crate::config::model::Log;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The configuration's filter is none.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is one already.
    #[error("{0}")]
    Started(Box<dyn std::error::Error + Send + Sync>),
}

/// Writes events to stderr from now on, through a queue of `lines`: a flood of events loses lines rather than blocking
/// whoever reports them. The guard writes out what waits when it is dropped; the counter counts the lines that were lost.
///
/// # Errors
/// A filter that cannot be read; a log that was started before.
pub fn start_logging(log: &Log, lines: usize) -> Result<(WorkerGuard, ErrorCounter), LogError> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.filter)?;
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(lines).finish(std::io::stderr());
    let lost = writer.error_counter();
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    let result = if log.json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    result.map(|()| (guard, lost)).map_err(LogError::Started)
}

/// Waits for SIGTERM or SIGINT; a second one ends the process at once, with exit code `failed`. To be awaited in a
/// runtime. Where signals cannot be had, it is over at once.
pub async fn asked_to_end(failed: u8) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(i32::from(failed));
    });
}
