//! The host as it is, in this process and on one thread of a runtime, with a broker outside. It is told by stdin, while it is
//! idle, when to begin and to end counting.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use millrace::cli;
use millrace::config::{Config, Rendering};
use millrace::reload;
use millrace::run::{Host, RunOptions};
use millrace::sandbox::{Compiler, Sandbox};
use millrace::transport::{REGISTRY, Until};

use crate::meter;

/// Runs the host of a file until stdin ends.
///
/// # Errors
/// When it cannot start, or ends.
pub(crate) fn run(file: &Path) -> Result<()> {
    // As `millrace run` logs by itself: spans of messages are made at its level.
    let arguments = ["millrace", "run", "--log", "info"].map(AsRef::as_ref);
    let arguments = cli::Arguments::try_parse_from(arguments.into_iter().chain([file.as_os_str()]))?;
    let (_progress, _at_end) = cli::start_log(&arguments);
    // One thread: which of several takes a task is chance.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // In this process: a child that compiles is not under valgrind, and sees another processor.
        let sandbox = Arc::new(Sandbox::start_small(Compiler::InProcess)?);
        let loaded = reload::load_config(Config::load(file, &REGISTRY), &sandbox)
            .map_err(|errors| anyhow!("{}", errors.render(Rendering::of_stderr())))?;
        let options = RunOptions {
            until: Until::Stopped,
            drain: Default::default(),
            leave: Default::default(),
            reload: Arc::default(),
        };
        let mut host = Host::open(&loaded.config, sandbox, &options).await?;
        host.start(loaded, SystemTime::now()).await?;
        // A thread of its own: the runtime has nothing to do with it.
        std::thread::spawn(|| {
            let obeyed = obey();
            if let Err(error) = &obeyed {
                eprintln!("{error:#}");
            }
            std::process::exit(i32::from(obeyed.is_err()));
        });
        bail!("the host ended: {}", host.run(&options).await)
    })
}

/// `begin`, or `end NAME`, which is answered by the line of [`meter::end`].
fn obey() -> Result<()> {
    let (stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in stdin.lines() {
        match line?.split_once(' ') {
            None => {
                meter::begin();
                writeln!(stdout, "begun")?;
            }
            Some((_, name)) => {
                writeln!(stdout, "{}", meter::end(name)?)?;
            }
        }
        stdout.flush()?;
    }
    Ok(())
}
