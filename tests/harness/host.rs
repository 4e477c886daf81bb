//! The real host as a child process: started on a `plugins.toml`, listened to, signalled, outlived. Knows its command
//! line and its log, nothing of its code.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, unique, wait_at_most};

/// Loading plugins and warming up a model on the CPU backend takes seconds; this is for a machine that compiles beside.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A folder with a `plugins.toml` in it, for one host after another.
pub struct Mill {
    folder: TempDir,
    // The host that is started; nothing: the one that every test runs.
    binary: Option<PathBuf>,
}

/// A host that runs. Dropping it kills it.
pub struct Host {
    child: Child,
    log: PathBuf,
}

/// What a command that ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Mill {
    /// Makes a folder and writes its `plugins.toml`.
    ///
    /// # Errors
    /// When there is no place for temporary files.
    pub fn new(config: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("millrace-test-").tempdir()?;
        std::fs::write(folder.path().join("plugins.toml"), config)?;
        Ok(Self { folder, binary: None })
    }

    /// The same folder for another build of the host.
    #[must_use]
    pub fn with_binary(self, binary: PathBuf) -> Self {
        Self {
            binary: Some(binary),
            ..self
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The names of the files directly in a folder of it, sorted; none where there is no such folder.
    pub fn files(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let mut names: Vec<String> = files
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Starts `millrace run plugins.toml`.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn start(&self) -> Result<Host> {
        self.start_with(&["run", "plugins.toml", "--log-format", "json"])
    }

    /// Starts `millrace` with these arguments in the folder.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn start_with(&self, arguments: &[&str]) -> Result<Host> {
        self.spawn(arguments, &[])
    }

    fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Host> {
        let log = self.path(&format!("{}.log", unique("host")));
        let file = File::create(&log)?;
        let mut command = self.command(arguments)?;
        command.stdout(file.try_clone()?).stderr(file);
        command.envs(variables.iter().copied());
        Ok(Host {
            child: command.spawn()?,
            log,
        })
    }

    /// Starts it with failpoints, such as `preprocess(poison)=abort`. Only a host that was built with them has any.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn start_failing(&self, failpoints: &str) -> Result<Host> {
        self.spawn(
            &["run", "plugins.toml", "--log-format", "json"],
            &[("MILLRACE_FAILPOINTS", failpoints)],
        )
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// With the host's log when it does not become ready.
    pub fn start_ready(&self) -> Result<Host> {
        let mut host = self.start()?;
        host.wait_ready()?;
        Ok(host)
    }

    /// Runs `millrace` with these arguments in the folder until it ends.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn run(&self, arguments: &[&str]) -> Result<Ended> {
        self.run_failing(arguments, "")
    }

    /// As [`Mill::run`], with failpoints.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn run_failing(&self, arguments: &[&str], failpoints: &str) -> Result<Ended> {
        let (stdout, stderr) = (self.path(&unique("stdout")), self.path(&unique("stderr")));
        let mut command = self.command(arguments)?;
        command.env("MILLRACE_FAILPOINTS", failpoints);
        let mut child = command
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()?;
        let what = format!("the end of `millrace {}`", arguments.join(" "));
        let ended = wait_at_most(READY_LIMIT, &what, || child.try_wait().ok().flatten());
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let (stdout, stderr) = (read(stdout), read(stderr));
        match ended {
            Ok(status) => Ok(Ended {
                code: status.code(),
                stdout,
                stderr,
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.context(format!("{stdout}\n{stderr}")))
            }
        }
    }

    /// `millrace` with these arguments in the folder, for who runs it in their own way.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let binary = self.binary.clone().map_or_else(binary, Ok)?;
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            // What authors' verbs keep for the next time is the test's own.
            .env("XDG_CACHE_HOME", self.path("cache"))
            .stdin(Stdio::null());
        Ok(command)
    }
}

impl Host {
    /// Waits until a pipeline takes messages; for scenes, which have one.
    ///
    /// # Errors
    /// With the host's log.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_line(READY_LIMIT, "ready").map(drop)
    }

    /// Waits until one of several pipelines takes messages.
    ///
    /// # Errors
    /// With the host's log.
    pub fn wait_pipeline(&mut self, name: &str) -> Result<()> {
        let is_it = |line: &Value| said(line) == Some("ready") && field(line, "pipeline") == Some(name);
        self.wait_line_that(READY_LIMIT, &format!("pipeline `{name}`"), is_it)
            .map(drop)
    }

    /// Waits for a log line with this message and gives it.
    ///
    /// # Errors
    /// With the host's log, when the line does not come or the host ends before.
    pub fn wait_line(&mut self, limit: Duration, message: &str) -> Result<Value> {
        self.wait_line_that(limit, &format!("the log line {message:?}"), |line| says(line, message))
    }

    /// How many log lines with this message there are.
    pub fn n_lines(&self, message: &str) -> usize {
        self.lines().iter().filter(|line| says(line, message)).count()
    }

    /// Waits until there are `n` log lines with this message.
    ///
    /// # Errors
    /// With the host's log.
    pub fn wait_lines(&mut self, limit: Duration, n: usize, message: &str) -> Result<()> {
        let waited = wait_at_most(limit, &format!("{n} log lines {message:?}"), || {
            (self.n_lines(message) >= n).then_some(())
        });
        waited.with_context(|| format!("the host's log:\n{}", self.log()))
    }

    /// Waits for a log line that is as it should be, and gives it.
    ///
    /// # Errors
    /// With the host's log, when the line does not come or the host ends before.
    pub fn wait_line_that(&mut self, limit: Duration, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let waited = wait_at_most(limit, what, || {
            let ended = self.child.try_wait();
            match (self.lines().into_iter().find(&is_it), ended) {
                (Some(line), _) => Some(Ok(line)),
                (None, Ok(None)) => None,
                (None, Ok(Some(status))) => Some(Err(anyhow!("the host ended with {status} before {what}"))),
                (None, Err(error)) => Some(Err(error.into())),
            }
        });
        waited
            .and_then(|line| line)
            .with_context(|| format!("the host's log:\n{}", self.log()))
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Every log line so far.
    pub fn lines(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The log so far, as it was written.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to drain and end.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Presses Ctrl-C.
    ///
    /// # Errors
    /// When it is gone.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Asks it to read its file again.
    ///
    /// # Errors
    /// When it is gone.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a child without a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it at once, as a power cut would.
    ///
    /// # Errors
    /// When it had ended by itself: then the test did not test what it meant to.
    pub fn kill(mut self) -> Result<()> {
        ensure!(
            self.child.try_wait()?.is_none(),
            "the host had ended by itself:\n{}",
            self.log()
        );
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// With the host's log when it does not end.
    pub fn wait_end(mut self) -> Result<ExitStatus> {
        let ended = wait_at_most(PATIENCE, "the host's end", || self.child.try_wait().ok().flatten());
        ended.with_context(|| format!("the host's log:\n{}", self.log()))
    }

    /// Asks it to drain, and gives its log and how it ended.
    ///
    /// # Errors
    /// With the host's log when it does not end.
    pub fn stop_with_log(self) -> Result<(String, ExitStatus)> {
        let log = self.log.clone();
        self.terminate()?;
        let status = self.wait_end()?;
        Ok((String::from_utf8_lossy(&std::fs::read(log)?).into_owned(), status))
    }

    /// Asks it to drain, and demands exit code 0 and no panic in its log.
    ///
    /// # Errors
    /// With the host's log otherwise.
    pub fn stop(self) -> Result<()> {
        let log = self.log.clone();
        self.terminate()?;
        let status = self.wait_end()?;
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        // A plugin's panic is told in a JSON line; the host's own is not.
        let panicked = text
            .lines()
            .any(|line| !line.starts_with('{') && line.contains("panicked"));
        ensure!(status.success() && !panicked, "the host ended with {status}:\n{text}");
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Errors here say that it is gone already, which is what is wanted.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// Whether a log line has this message, or this one and after a colon what to do.
fn says(line: &Value, message: &str) -> bool {
    said(line).is_some_and(|said| {
        said.strip_prefix(message)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
    })
}

/// The message of a log line, whether the fields are nested or not.
pub fn said(line: &Value) -> Option<&str> {
    field(line, "message")
}

/// A text field of a log line.
pub fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get("fields").unwrap_or(line).get(name)?.as_str()
}

/// The host's binary: `MILLRACE_HOST`, or the one beside this test.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("MILLRACE_HOST") {
        Some(path) => PathBuf::from(path),
        None => profile_folder()?.join("millrace"),
    };
    if !path.exists() {
        bail!(
            "{} is missing: run `cargo build --package millrace`, or `cargo xtask test`",
            path.display()
        );
    }
    Ok(path)
}

/// The host that preprocesses natively, which the bench compares with: `MILLRACE_NATIVE_HOST`, where it is set.
pub fn native_binary() -> Option<PathBuf> {
    std::env::var_os("MILLRACE_NATIVE_HOST").map(PathBuf::from)
}

/// Cargo's target folder.
///
/// # Errors
/// When this program lies elsewhere.
pub(crate) fn target_folder() -> Result<PathBuf> {
    Ok(profile_folder()?.parent().context("no target folder")?.to_owned())
}

/// `TARGET/PROFILE` of the running test, which lies in its `deps`, or in `examples`.
fn profile_folder() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable
        .parent()
        .and_then(Path::parent)
        .context("this program lies in no target folder")?;
    Ok(folder.to_owned())
}
