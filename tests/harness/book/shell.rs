//! A shell that types one command after another, in a folder of its own, and everything that it started ends with it.
//! Knows no page.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long one command may take: a plugin is built by some.
const COMMAND_LIMIT: Duration = Duration::from_secs(240);
/// What ends a command's output; no page prints it.
const MARK: &str = "-- the command ended with ";

/// A shell. Dropping it kills its process group.
pub(super) struct Shell {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

/// What a command came to.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code, as the shell says it.
    pub(super) code: i32,
    /// What it printed on both streams, without blank lines at the end.
    pub(super) lines: Vec<String>,
}

impl Shell {
    /// Starts a shell in a folder, with these variables beside those of this process.
    ///
    /// # Errors
    /// When there is no bash.
    pub(super) fn start(folder: &Path, variables: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(folder);
        // What cargo and `cargo xtask` say to a test is not for the plugins that a page builds.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if (text.starts_with("CARGO") && text != "CARGO_HOME") || text.starts_with("MILLRACE") {
                command.env_remove(name);
            }
        }
        // What authors' verbs keep for the next time is the page's own.
        command.env("XDG_CACHE_HOME", folder.join(".cache"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("cannot start bash")?;
        let stdin = child.stdin.take().context("no way into the shell")?;
        let stdout = child.stdout.take().context("no way out of the shell")?;
        let (to, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if to.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let mut shell = Self { child, stdin, lines };
        // If this process is killed, the shell reads the end of its input, and takes along what it started.
        shell.run("exec 2>&1; trap 'trap - TERM; kill -9 0' EXIT")?;
        Ok(shell)
    }

    /// Types a command and waits until it ends.
    ///
    /// # Errors
    /// When it does not end, with what it printed until then.
    pub(super) fn run(&mut self, command: &str) -> Result<Ended> {
        self.type_in(command, "</dev/null")
    }

    /// Types a command that goes on in the background and writes into a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn run_behind(&mut self, command: &str, log: &Path) -> Result<Ended> {
        self.type_in(
            command,
            &format!("</dev/null >>{} 2>&1", quoted(&log.display().to_string())),
        )
    }

    /// By `eval`, so that a quote that is not closed is a mistake of this command and of no other.
    fn type_in(&mut self, command: &str, streams: &str) -> Result<Ended> {
        writeln!(
            self.stdin,
            "eval {} {streams}; printf '\\n{MARK}%d\\n' $?",
            quoted(command)
        )?;
        self.stdin.flush()?;
        let deadline = Instant::now() + COMMAND_LIMIT;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(MARK) {
                    Some(code) => {
                        while lines.last().is_some_and(String::is_empty) {
                            lines.pop();
                        }
                        return Ok(Ended {
                            code: code.parse()?,
                            lines,
                        });
                    }
                    None => lines.push(line),
                },
                Err(RecvTimeoutError::Timeout) => bail!(
                    "it did not end within {} s:\n{}",
                    COMMAND_LIMIT.as_secs(),
                    lines.join("\n")
                ),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended the shell:\n{}", lines.join("\n")),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Errors here say that all of it is gone already, which is what is wanted.
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

/// A text as one word of the shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::Shell;

    #[test]
    fn a_shell_goes_on_where_the_last_command_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Shell::start(folder.path(), &[("WHO", "a page".to_owned())]).unwrap();
        let mut say = |command: &str| {
            let ended = shell.run(command).unwrap();
            (ended.code, ended.lines.join("\n"))
        };
        assert_eq!(say("mkdir a; cd a; x=$WHO"), (0, String::new()));
        assert_eq!(say("basename \"$PWD\"; echo \"$x\""), (0, "a\na page".to_owned()));
        assert_eq!(
            say("printf 'no end'; echo bad >&2; (exit 3)"),
            (3, "no endbad".to_owned())
        );
        assert_eq!(say("cat"), (0, String::new()));
        assert_ne!(say("echo 'open").0, 0);
        assert_eq!(say("echo on"), (0, "on".to_owned()));
    }
}
