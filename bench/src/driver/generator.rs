//! A generator process: this binary again, on the other CPU.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::plan::ED25519_FILE;
use super::server::{FIRST, Server, pinned};
use super::{Run, say, setting};
use crate::finding::Finding;
use crate::{Outcome, proc};

/// A running generator. Killed by its process id when dropped.
#[derive(Debug)]
pub struct Generator {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
}

impl Generator {
    /// Starts `gen` with `arguments` and what it must know of the server.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start(options: &Run, server: &Server, arguments: &[String], name: &str) -> Outcome<Self> {
        Self::start_at(FIRST, options, server, arguments, name)
    }

    /// The same with a priority of its own, which counts with `--realtime`.
    ///
    /// # Errors
    /// As [`Generator::start`].
    pub fn start_at(priority: u8, options: &Run, server: &Server, arguments: &[String], name: &str) -> Outcome<Self> {
        let me = std::env::current_exe()?;
        let mut command = pinned(options.generator_cpu, options.realtime.then_some(priority), &me);
        command.arg("gen");
        for argument in arguments {
            if argument == ED25519_FILE {
                command.arg(&server.ed25519_file);
            } else {
                command.arg(argument);
            }
        }
        command.args(["--target", &server.ports.public.to_string(), "--server-pid", &server.pid().to_string()]);
        command.arg("--secret-file").arg(&server.secret_file);
        if proc::can_pin() {
            command.arg("--awake");
        }
        if let Some(file) = &server.ca_file {
            command.arg("--ca-file").arg(file);
        }
        if server.is_gateway {
            command.args(["--private", &server.ports.private.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines(), name: name.to_owned() })
    }

    fn next(&mut self) -> Outcome<Option<Value>> {
        match self.lines.next() {
            Some(line) => Ok(Some(serde_json::from_str(&line?)?)),
            None => Ok(None),
        }
    }

    /// Waits for `{"event": name}`.
    ///
    /// # Errors
    /// The generator ended before.
    pub fn until(&mut self, event: &str) -> Outcome<()> {
        loop {
            match self.next()? {
                Some(line) if line.get("event").is_some_and(|name| name == event) => return Ok(()),
                Some(_) => {}
                None => return Err(format!("{} ended before it was {event}", self.name).into()),
            }
        }
    }

    /// Tells it a phase.
    ///
    /// # Errors
    /// It no longer listens.
    pub fn tell(&mut self, phase: &str) -> Outcome<()> {
        let stdin = self.child.stdin.as_mut().ok_or("no pipe")?;
        writeln!(stdin, "{phase}")?;
        Ok(stdin.flush()?)
    }

    /// Takes its findings until it ends.
    ///
    /// # Errors
    /// It ended with a failure; the reason is on standard error.
    pub fn finish(mut self, take: &mut dyn FnMut(Finding)) -> Outcome<()> {
        while let Some(line) = self.next()? {
            if line.get("event").is_some() {
                say(&format!("   {line}"));
            } else {
                take(setting::told(serde_json::from_value(line)?));
            }
        }
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the generator {} failed ({status})", self.name).into()) }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The healthy alone for `quiet` seconds, then beside the attacker for `up` seconds once that stands.
///
/// # Errors
/// Either generator failed.
pub fn hostile(
    options: &Run,
    server: &Server,
    (healthy, attack): (&[String], &[String]),
    (quiet, up): (f64, f64),
    take: &mut dyn FnMut(Finding),
) -> Outcome<()> {
    let mut well = Generator::start(options, server, healthy, "healthy")?;
    well.until("ready")?;
    std::thread::sleep(Duration::from_secs(1));
    well.tell("quiet")?;
    std::thread::sleep(Duration::from_secs_f64(quiet));
    well.tell("pause")?;
    let mut bad = Generator::start(options, server, attack, "attack")?;
    bad.until("up")?;
    well.tell("attack")?;
    std::thread::sleep(Duration::from_secs_f64(up));
    well.tell("end")?;
    let ended = bad.finish(take);
    well.finish(take)?;
    ended
}
