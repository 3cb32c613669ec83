//! Live sessions.

/// What waits to be written to one client.
pub mod outbox;

/// A connection as its worker's hub sees it.
pub mod peer;

/// Every live session of the node, outside any actor.
pub mod registry;

/// What one session says and hears.
pub mod talk;

/// A message that waits for the fleet.
pub mod park;

/// What a session owes when it ends.
pub mod guard;

/// Ping, pong and the deadlines of a session.
pub mod liveness;

/// The actor of one connection.
pub mod connection;

/// A slot for a newcomer.
pub mod acquire;

/// What resumes a session.
pub mod resume;

/// Slots that nobody knows of.
pub mod orphans;

/// Sessions that hold no slot any more.
pub mod verify;

/// Detached sessions that the control log ends.
pub mod purge;

/// Which lives of nodes are over.
pub mod membership;

/// The node's part in the store's eras.
pub mod era;

/// Looks through all sessions.
pub mod sweep;

/// What only a session itself knows.
pub mod describe;

/// The supervised actor that kicks, evicts, drains, renews.
pub mod manager;

/// The supervisor that survives a panic.
pub mod supervise;

#[cfg(test)]
mod tests {
    use super::connection::Connection;
    use super::talk::Session;

    #[test]
    fn what_every_idle_session_has_stays_small() {
        let (actor, session) = (size_of::<Connection<Session>>(), size_of::<Session>());
        // with the runtime's and the framework's own parts the actor's task fits into 640 bytes
        assert!(actor <= 192 && session <= 640, "{actor} {session}");
    }
}
