//! Scripts: one file of Lua, one atomic decision, one partition.
//!
//! Sent by hash; a server that does not know the hash (restarted, failed over, flushed) is sent the text. Lua sees
//! time as Redis `TIME` and writes integers with `string.format('%.0f')`: its numbers are doubles, exact to 2^53, and
//! microseconds since 1970 stay below that until 2255.

use redis::{Cmd, FromRedisValue, ToRedisArgs};

use super::batch::Order;
use super::link::Link;
use crate::store::StoreFault;
use crate::store::era::Era;

/// What a script does, as the server is told by its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Only reads.
    Reads,
    /// May need memory; refused as a whole when there is none, and that is [`StoreFault::Full`].
    Grows,
    /// Gives memory back, or hardly needs any: runs on a full server too, else nobody could leave it.
    Shrinks,
}

/// A script's text and hash.
pub(super) struct Script {
    text: String,
    sha: String,
    /// By hash and by text: one that only reads says so, and runs for a user who may do no more.
    verbs: [&'static str; 2],
}

impl Script {
    /// Joins `parts`, libraries first.
    pub(super) fn new(does: Does, parts: &[&str]) -> Self {
        let first = match does {
            Does::Reads => "#!lua flags=no-writes",
            Does::Grows => "#!lua",
            Does::Shrinks => "#!lua flags=allow-oom",
        };
        let text = std::iter::once(first).chain(parts.iter().copied()).collect::<Vec<_>>().join("\n");
        let sha = redis::Script::new(&text).get_hash().to_owned();
        let verbs = if does == Does::Reads { ["EVALSHA_RO", "EVAL_RO"] } else { ["EVALSHA", "EVAL"] };
        Self { text, sha, verbs }
    }

    /// The same for a script that decides in the caller's era: it is run by [`Script::run_in`] only.
    pub(super) fn in_era(does: Does, parts: &[&str]) -> Self {
        let gate = [include_str!("lua/server.lua"), include_str!("lua/era.lua")];
        let parts: Vec<&str> = gate.into_iter().chain(parts.iter().copied()).collect();
        Self::new(does, &parts)
    }

    /// Runs it; one round trip, two when the server has to be sent the text. All `keys` are of one partition.
    ///
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        link: &Link,
        keys: &[String],
        args: &Args,
    ) -> Result<T, StoreFault> {
        match link.command(&self.call(false, keys, args)).await {
            Err(fault) if fault.is_no_script() => Ok(link.command(&self.call(true, keys, args)).await?),
            other => Ok(other?),
        }
    }

    /// Runs one that was made by [`Script::in_era`]. Scripts count their keys and arguments from the front: so what all of
    /// them are told, the partition's stamp and the caller's era, goes behind the last.
    pub(super) async fn run_in<T: FromRedisValue>(
        &self,
        link: &Link,
        era: Era,
        stamp: &str,
        mut keys: Vec<String>,
        args: &Args,
    ) -> Result<T, StoreFault> {
        keys.push(stamp.to_owned());
        let args = Args(args.0.iter().cloned().chain([era.to_string().into_bytes()]).collect());
        self.run(link, &keys, &args).await
    }

    /// A run for a batch: by hash, and for those that were answered [`LinkFault::is_no_script`] by its text. Its last
    /// argument says which server carries it out.
    ///
    /// [`LinkFault::is_no_script`]: super::link::LinkFault::is_no_script
    pub(super) fn told(&'static self, by_text: bool, keys: &[String], args: &Args) -> Order {
        Order::told(self, self.call(by_text, keys, args))
    }

    /// The beginning of a run by its text.
    pub(super) fn by_text(&self) -> Cmd {
        let mut command = redis::cmd(self.verbs[1]);
        command.arg(&self.text);
        command
    }

    fn call(&self, by_text: bool, keys: &[String], args: &Args) -> Cmd {
        let [hashed, spelt] = self.verbs;
        let (verb, script) = if by_text { (spelt, &self.text) } else { (hashed, &self.sha) };
        let mut command = redis::cmd(verb);
        command.arg(script).arg(keys.len()).arg(keys);
        for arg in &args.0 {
            command.arg(arg.as_slice());
        }
        command
    }
}

/// What a script is told besides its keys, in the order of `ARGV`.
#[derive(Default)]
pub(super) struct Args(Vec<Vec<u8>>);

impl Args {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// One more; a number as decimal text.
    pub(super) fn with(mut self, arg: impl ToRedisArgs) -> Self {
        arg.write_redis_args(&mut self.0);
        self
    }
}
