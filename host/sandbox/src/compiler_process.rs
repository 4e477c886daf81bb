//! A process that compiles one file: started, limited, listened to, and killed when it takes too long. Knows nothing of
//! what it compiles.
//!
//! Compilers are built for speed on programs, and no bound holds on what a file of a few megabytes can cost them. So
//! the host starts itself once more for each file, and what the file can reach there is its own end.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::load_error::LoadProblem;
use super::text::sanitize_to;

/// The verb of the binary that compiles.
const VERB: &str = "compile-plugin";

/// Has it say what a file holds, and compile nothing.
const DESCRIBE: &str = "--describe";

/// The default limits of compiling. Real plugins take a tenth of a second to a few, and tens of megabytes.
const LIMITS: CompileLimits = CompileLimits {
    cpu: Duration::from_secs(60),
    wall: Duration::from_secs(300),
    memory_bytes: 1 << 30,
    code_bytes: 256 << 20,
};

/// CPU time between the signal for its end and the one that nothing survives.
const CPU_GRACE_S: u64 = 5;

/// Serving goes first: a compiler gets a quarter of a core that something else would have whole. At 10 it would be a
/// tenth, and a plugin of half a megabyte that compiles in 0.7 s took 15 s on a busy machine.
const NICER: i32 = 5;

/// Bytes of its last words that are read; a compiler that ends well says nothing.
const LAST_WORDS_MAX_BYTES: u64 = 4 << 10;

/// Bytes of its last words that are shown.
const SHOWN_MAX_BYTES: usize = 200;

/// The message of Rust's runtime before it aborts for want of memory.
const NO_MEMORY: &str = "memory allocation of";

/// The exit code of a program that the loader could not start.
const NOT_STARTED: i32 = 127;

/// The limits of compiling one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time.
    pub cpu: Duration,
    /// Wall-clock time: on a busy machine the process gets only what serving leaves.
    pub wall: Duration,
    /// Memory of the process.
    pub memory_bytes: u64,
    /// The limit of its code.
    pub code_bytes: u64,
}

/// How a process that compiles is started: by default as another run of this very program, with the usual limits.
#[derive(Debug, Clone, Default)]
pub struct CompilerProcess {
    /// Another copy of Millrace, for programs that do not know the verb.
    pub program: Option<PathBuf>,
    /// The limits of each.
    pub limits: CompileLimits,
    /// Whether the code counts fuel: for measuring, and never for serving.
    pub counts_fuel: bool,
}

/// A process that is not left behind.
struct Running(Child);

impl Default for CompileLimits {
    fn default() -> Self {
        LIMITS
    }
}

impl CompileLimits {
    /// Sets them for this process, which must have begun no other thread yet.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn apply(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let cpu_s = self.cpu.as_secs().max(1);
        limit(Resource::Cpu, cpu_s, cpu_s.saturating_add(CPU_GRACE_S))?;
        // Data and not address space: an allocator reserves much that it never touches.
        limit(Resource::Data, self.memory_bytes, self.memory_bytes)?;
        limit(Resource::Core, 0, 0)?;
        limit(Resource::Fsize, 0, 0)?;
        rustix::process::nice(NICER)?;
        Ok(())
    }
}

/// Sets a limit, or leaves a lower one that the host was given.
fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(maximum, |given| given.min(maximum));
    let limit = Rlimit {
        current: Some(current.min(maximum)),
        maximum: Some(maximum),
    };
    Ok(setrlimit(resource, limit)?)
}

impl CompilerProcess {
    /// Lets a process compile what a file holds, and gives its answer.
    ///
    /// # Errors
    /// When it exceeds its limits, when it crashes, or when the process cannot start.
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<Vec<u8>, LoadProblem> {
        self.answer(bytes, &[])
    }

    /// Lets a process say what a file holds, within the same limits, and gives its answer.
    ///
    /// # Errors
    /// As [`CompilerProcess::compile`].
    pub(super) fn describe(&self, bytes: &[u8]) -> Result<Vec<u8>, LoadProblem> {
        self.answer(bytes, &[DESCRIBE])
    }

    fn answer(&self, bytes: &[u8], arguments: &[&str]) -> Result<Vec<u8>, LoadProblem> {
        let mut running = Running(
            self.command(arguments)
                .and_then(|mut command| command.spawn())
                .map_err(LoadProblem::Compiler)?,
        );
        let child = &mut running.0;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(LoadProblem::Compiler(io::ErrorKind::BrokenPipe.into()));
        };
        let code_bytes = self.limits.code_bytes;
        let (done, answered) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            let talk = move || {
                // Where it took too long, the answer is not awaited any more.
                done.send(converse(stdin, stdout, bytes, code_bytes)).ok();
            };
            let talking = thread::Builder::new().name("compiler".to_owned());
            talking.spawn_scoped(scope, talk).map_err(LoadProblem::Compiler)?;
            let Ok(answer) = answered.recv_timeout(self.limits.wall) else {
                // Ends the conversation, too.
                child.kill().map_err(LoadProblem::Compiler)?;
                return Err(LoadProblem::CompileStalled(self.limits.wall));
            };
            let answer = answer.map_err(LoadProblem::Compiler)?;
            if answer.len() as u64 > code_bytes {
                return Err(LoadProblem::CodeSize { allowed: code_bytes });
            }
            let status = child.wait().map_err(LoadProblem::Compiler)?;
            self.judge(status, stderr)?;
            Ok(answer)
        })
    }

    fn command(&self, arguments: &[&str]) -> io::Result<Command> {
        let program = match &self.program {
            Some(program) => program.clone(),
            // The binary that runs, even when another version is in its place by now.
            None if cfg!(target_os = "linux") => PathBuf::from("/proc/self/exe"),
            None => std::env::current_exe()?,
        };
        let mut command = Command::new(program);
        let CompileLimits { cpu, memory_bytes, .. } = self.limits;
        command
            .arg0("millrace")
            .arg(VERB)
            .args(["--cpu-s", &cpu.as_secs().to_string()])
            .args(["--memory-bytes", &memory_bytes.to_string()])
            .args(arguments)
            .args(self.counts_fuel.then_some("--fuel"))
            .env_clear()
            .current_dir("/")
            // Ctrl-C is for the host, which then ends what it began.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// The meaning of the process's exit.
    fn judge(&self, status: ExitStatus, stderr: ChildStderr) -> Result<(), LoadProblem> {
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        // It has ended, so this does not wait; output that is not text is left out.
        stderr.take(LAST_WORDS_MAX_BYTES).read_to_string(&mut said).ok();
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => Err(LoadProblem::CompileTime(self.limits.cpu)),
            Some(_) if said.contains(NO_MEMORY) => Err(self.out_of_memory()),
            // The system's loader ends a program so that it cannot start.
            None if status.code() == Some(NOT_STARTED) => {
                let said = sanitize_to(said.trim(), SHOWN_MAX_BYTES);
                Err(LoadProblem::Compiler(io::Error::other(format!(
                    "it could not start: {said}"
                ))))
            }
            _ => Err(LoadProblem::CompilerCrashed {
                how: status.to_string(),
                said: sanitize_to(said.trim(), SHOWN_MAX_BYTES),
            }),
        }
    }

    /// Says that the process had too little memory.
    pub(super) fn out_of_memory(&self) -> LoadProblem {
        LoadProblem::CompileMemory {
            allowed: self.limits.memory_bytes,
        }
    }
}

/// Gives the file and takes the answer, and one byte more than it may have when it has more.
fn converse(mut stdin: ChildStdin, stdout: ChildStdout, bytes: &[u8], code_bytes: u64) -> io::Result<Vec<u8>> {
    match stdin.write_all(bytes) {
        // It ended before it had read everything: how, its status says.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    drop(stdin);
    let mut answer = Vec::new();
    stdout.take(code_bytes.saturating_add(1)).read_to_end(&mut answer)?;
    Ok(answer)
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both say only that it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A compiler that does what the file says, in the words of a shell.
    fn obedient() -> (tempfile::TempDir, CompilerProcess) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("compiler");
        std::fs::write(&program, "#!/bin/sh\neval \"$(cat)\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        // A child that another test began meanwhile holds the file until it is another program.
        let is_busy = || {
            let tried = Command::new(&program).stdin(Stdio::null()).status();
            tried.is_err_and(|error| error.kind() == io::ErrorKind::ExecutableFileBusy)
        };
        while is_busy() {
            thread::yield_now();
        }
        let limits = CompileLimits {
            wall: Duration::from_secs(60),
            code_bytes: 8,
            ..CompileLimits::default()
        };
        let program = Some(program);
        (
            folder,
            CompilerProcess {
                program,
                limits,
                counts_fuel: false,
            },
        )
    }

    #[test]
    fn every_end_of_the_compiler_is_told_for_what_it_is() {
        let (_folder, compiler) = obedient();
        #[track_caller]
        fn check(compiler: &CompilerProcess, script: &str, expected: &str) {
            let found = match compiler.compile(script.as_bytes()) {
                Ok(answer) => String::from_utf8(answer).unwrap(),
                Err(problem) => problem.to_string(),
            };
            assert_eq!(found, expected, "{script}");
        }
        check(&compiler, "printf Ccode", "Ccode");
        check(&compiler, "printf 12345678", "12345678");
        check(
            &compiler,
            "kill -XCPU $$",
            "compiling it took more than 60 s of CPU time",
        );
        check(
            &compiler,
            "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
            "compiling it needed more than 1 GiB of memory",
        );
        check(
            &compiler,
            "kill -SEGV $$",
            "the compiler crashed on it (signal: 11 (SIGSEGV))",
        );
        check(
            &compiler,
            "printf 'oh \\033[31m' >&2; exit 9",
            "the compiler crashed on it (exit status: 9): oh \\u{1b}[31m",
        );
        check(
            &compiler,
            "echo 'libc.so.6: cannot open shared object file: Error 24' >&2; exit 127",
            "cannot run the compiler: it could not start: libc.so.6: cannot open shared object file: Error 24",
        );
        check(
            &compiler,
            "printf 123456789",
            "it compiles to more than 8 bytes of machine code",
        );
        check(
            &compiler,
            "while :; do echo code; done",
            "it compiles to more than 8 bytes of machine code",
        );
        let hasty = CompilerProcess {
            limits: CompileLimits {
                wall: Duration::from_millis(50),
                ..compiler.limits
            },
            ..compiler.clone()
        };
        check(&hasty, "exec sleep 600", "compiling it took longer than 0.05 s");
        let missing = CompilerProcess {
            program: Some("/no/such/compiler".into()),
            ..compiler
        };
        check(
            &missing,
            "",
            "cannot run the compiler: No such file or directory (os error 2)",
        );
    }

    #[test]
    fn a_compiler_finds_no_environment_and_no_files_of_the_host() {
        let (_folder, mut compiler) = obedient();
        compiler.limits.code_bytes = 1 << 12;
        let secret = tempfile::Builder::new().prefix("secret").tempfile().unwrap();
        let answer = compiler.compile(b"env; pwd; ls -l /proc/self/fd").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        // The variables that a shell sets by itself.
        let variables = answer.lines().take_while(|line| *line != "/");
        assert!(variables.into_iter().all(|line| line == "PWD=/"), "{answer}");
        assert!(answer.contains("pipe:") && !answer.contains("secret"), "{answer}");
        drop(secret);
    }
}
