//! This program under callgrind, and what that wrote: the instructions of each thread between two requests. Knows no host.

use std::collections::BTreeMap;
use std::fs::{File, read_dir, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where callgrind writes, and valgrind its log.
pub(crate) struct Callgrind<'a> {
    folder: &'a Path,
    /// The beginning of its files' names.
    name: &'static str,
}

/// What was counted between two requests.
pub(crate) struct Dump {
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
    /// Instructions of each thread, by its name.
    pub(crate) threads: Vec<(String, u64)>,
}

impl<'a> Callgrind<'a> {
    /// Of one process.
    pub(crate) fn new(folder: &'a Path, name: &'static str) -> Self {
        Self { folder, name }
    }

    /// A command that runs this program with these arguments. Nothing is counted before the first request.
    ///
    /// # Errors
    /// When there is no place for its log.
    pub(crate) fn command<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Command> {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"])
            // Threads take turns: none waits by chance.
            .args(["--fair-sched=yes", "--quiet"])
            .arg(format!("--callgrind-out-file={}", self.path("callgrind").display()))
            .arg(format!("--log-file={}", self.path("valgrind").display()))
            .arg(std::env::current_exe()?)
            .args(arguments)
            .stderr(Stdio::from(File::create(self.path("log"))?))
            // With room for everything, what a thread frees it has again: else what `malloc` costs depends on where the first
            // allocations of the process came to lie.
            .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=65535")
            // What it prints is no part of what it is measured for.
            .envs([("RUST_BACKTRACE", "0"), ("RUST_LIB_BACKTRACE", "0")]);
        Ok(valgrind)
    }

    /// What the program and valgrind said.
    pub(crate) fn log(&self) -> String {
        let texts = ["log", "valgrind"].map(|kind| read_to_string(self.path(kind)).unwrap_or_default());
        texts.concat()
    }

    /// What was counted under a name, with the line that [`meter::end`](crate::meter::end) gave.
    ///
    /// # Errors
    /// When there is no such dump, or it cannot be read.
    pub(crate) fn dump(&self, name: &str, line: &str) -> Result<Dump> {
        let mut words = line.trim_end().split('\t');
        let mut number = || anyhow::Ok(words.next().context("too few words")?.parse()?);
        let (allocations, bytes) = (number()?, number()?);
        let names: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let system = self.system_threads()?;
        let threads = self.by_thread(name)?.into_iter().filter_map(|(thread, instructions)| {
            let name = names.get(system.get(&thread)?.as_str())?;
            Some(((*name).to_owned(), instructions))
        });
        Ok(Dump {
            allocations,
            bytes,
            threads: threads.collect(),
        })
    }

    /// Instructions by valgrind's numbers of the threads.
    fn by_thread(&self, dump: &str) -> Result<BTreeMap<u32, u64>> {
        let trigger = format!("desc: Trigger: dump {dump}");
        let mut threads = BTreeMap::new();
        for path in self.dumps()? {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            if !text.lines().any(|line| line == trigger) {
                continue;
            }
            let number = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key));
                line.with_context(|| format!("no `{key}` in {}", path.display()))
            };
            let thread = number("thread: ")?.trim().parse()?;
            threads.insert(thread, number("totals: ")?.trim().parse()?);
        }
        ensure!(!threads.is_empty(), "callgrind wrote no dump {dump:?}\n{}", self.log());
        Ok(threads)
    }

    /// The system's number of each of valgrind's threads, as its log lists them.
    fn system_threads(&self) -> Result<BTreeMap<u32, String>> {
        let log = read_to_string(self.path("valgrind"))?;
        // `Thread 4: status = VgTs_WaitSys syscall 202 (lwpid 4711)`
        let threads = log.lines().filter_map(|line| {
            let (thread, rest) = line.strip_prefix("Thread ")?.split_once(": status = ")?;
            let (_, lwp) = rest.rsplit_once("(lwpid ")?;
            Some((thread.parse().ok()?, lwp.trim_end_matches(')').to_owned()))
        });
        let threads: BTreeMap<u32, String> = threads.collect();
        ensure!(!threads.is_empty(), "valgrind listed no threads\n{log}");
        Ok(threads)
    }

    fn dumps(&self) -> Result<Vec<PathBuf>> {
        let prefix = format!("{}.callgrind.", self.name);
        let files = read_dir(self.folder)?.map(|file| anyhow::Ok(file?.path()));
        let files = files.collect::<Result<Vec<_>>>()?;
        let is_dump = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        Ok(files.into_iter().filter(is_dump).collect())
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.name))
    }
}

/// The tools that the number of instructions depends on.
///
/// # Errors
/// When one of them cannot be asked.
pub(crate) fn tools() -> Result<String> {
    let said = |program: &str, argument: &str| -> Result<String> {
        let output = Command::new(program).arg(argument).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = said(&rustc, "--version")?;
    // Without the commit and its date.
    let rustc = rustc.split(" (").next().unwrap_or_default();
    let (valgrind, libc) = (said("valgrind", "--version")?, said("getconf", "GNU_LIBC_VERSION")?);
    Ok(format!("{rustc}, {valgrind}, {libc}, {}", vectors()))
}

/// Valgrind passes AVX2 on where the processor has it, and nothing newer.
#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    match std::arch::is_x86_feature_detected!("avx2") {
        true => "x86-64 with AVX2",
        false => "x86-64 without AVX2",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    std::env::consts::ARCH
}
