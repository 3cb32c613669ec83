//! Who a server is, and whether it will do, as it says itself.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// Another one after every start; a replica's is not its master's.
    pub(super) run: String,
    /// It drops keys when memory is short: a slot, a ban.
    pub(super) evicts: bool,
}

/// Asks it. One round trip.
pub(super) async fn about(connection: &mut MultiplexedConnection) -> Result<About, RedisError> {
    let info = redis::cmd("INFO").arg("server").arg("memory").query_async::<String>(connection).await?;
    read(&info).ok_or_else(|| RedisError::from((ErrorKind::Client, "it does not say which server it is")))
}

fn read(info: &str) -> Option<About> {
    let field = |name| info.lines().find_map(|line| line.strip_prefix(name));
    let run = field("run_id:").filter(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let policy = field("maxmemory_policy:").unwrap_or("unknown");
    Some(About { run: run.to_owned(), evicts: policy != "noeviction" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_who_it_is_and_whether_it_forgets() {
        let info = |policy: &str| format!("# Server\r\nrun_id:00ab\r\n\r\n# Memory\r\nmaxmemory_policy:{policy}\r\n");
        assert_eq!(read(&info("noeviction")), Some(About { run: "00ab".to_owned(), evicts: false }));
        for policy in ["allkeys-lru", "volatile-ttl", ""] {
            assert_eq!(read(&info(policy)), Some(About { run: "00ab".to_owned(), evicts: true }), "{policy}");
        }
        // what it does not say is not believed to be well
        assert_eq!(read("run_id:1\r\n"), Some(About { run: "1".to_owned(), evicts: true }));
        for nobody in ["", "run_id:\r\n", "run_id:1 2\r\n", "maxmemory_policy:noeviction\r\n"] {
            assert_eq!(read(nobody), None, "{nobody:?}");
        }
    }
}
