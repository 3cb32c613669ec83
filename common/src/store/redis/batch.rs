//! What goes out in one write. Which connection, and so which server, is settled when it is written; a command that
//! depends on that is told then.

use redis::{Arg, Cmd, Pipeline};

use super::script::Script;

/// A command of a batch.
pub(super) struct Order {
    command: Cmd,
    told: Option<&'static Script>,
}

impl Order {
    /// As it stands.
    pub(super) fn plain(command: Cmd) -> Self {
        Self { command, told: None }
    }

    /// A run of this script, with one more argument behind its last: the run id of the server that carries it out.
    pub(super) fn told(script: &'static Script, command: Cmd) -> Self {
        Self { command, told: Some(script) }
    }

    /// Whether it is the run of a script.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// For whom the key decides which server that is.
    pub(super) fn command(&self) -> &Cmd {
        &self.command
    }
}

/// All of them, for the server with this run id. To one that was `taught` nothing on this connection the first run of
/// every script goes by its text, and teaches it: what comes behind it goes by the hash, and is not carried out without it.
pub(super) fn on_server<'a>(orders: impl ExactSizeIterator<Item = &'a Order>, run: &str, taught: bool) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(orders.len());
    let mut spelt: Vec<&Script> = Vec::new();
    for Order { command, told } in orders {
        let mut command = match told {
            Some(script) if !taught && !spelt.iter().any(|known| std::ptr::eq(*known, *script)) => {
                spelt.push(script);
                in_words(script, command)
            }
            _ => command.clone(),
        };
        if told.is_some() {
            command.arg(run);
        }
        pipeline.add_command(command);
    }
    pipeline
}

/// The same run, by the script's text.
fn in_words(script: &Script, command: &Cmd) -> Cmd {
    let mut spelt = script.by_text();
    let arguments = command.args_iter().skip(2);
    arguments.for_each(|arg| {
        if let Arg::Simple(arg) = arg {
            spelt.arg(arg);
        }
    });
    spelt
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::script::{Args, Does};
    use super::*;

    static ONE: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Grows, &["return 1"]));
    static TWO: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Grows, &["return 2"]));

    fn words(pipeline: &Pipeline) -> Vec<Vec<String>> {
        let word = |arg: Arg<&[u8]>| match arg {
            Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        };
        pipeline.cmd_iter().map(|command| command.args_iter().map(word).collect()).collect()
    }

    #[test]
    fn a_connection_is_taught_each_script_by_its_first_run_and_what_follows_needs_it() {
        let run = |script: &'static Script, key: &str| script.told(false, &[key.to_owned()], &Args::new().with("a"));
        let orders = [run(&ONE, "x"), Order::plain(redis::cmd("PING")), run(&ONE, "y"), run(&TWO, "x"), run(&TWO, "y")];
        let first = words(&on_server(orders.iter(), "r", false));
        let later = words(&on_server(orders.iter(), "r", true));
        let verbs = |all: &[Vec<String>]| all.iter().map(|command| command[0].clone()).collect::<Vec<_>>();
        assert_eq!(verbs(&first), ["EVAL", "PING", "EVALSHA", "EVAL", "EVALSHA"]);
        assert_eq!(verbs(&later), ["EVALSHA", "PING", "EVALSHA", "EVALSHA", "EVALSHA"]);
        assert_eq!(first[0], ["EVAL", "#!lua\nreturn 1", "1", "x", "a", "r"]);
        assert_eq!(later[0][2..], first[0][2..], "the same run in other words");
        assert_eq!(first[2], later[2]);
    }
}
