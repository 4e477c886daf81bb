//! `millrace run`: the host until a signal, or until a folder is empty.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{CUT_OFF, DEVICE_LOST, FAILED, FileArguments, MISTAKEN, check, output};
use crate::config::PipelineConfig;
use crate::progress::{Progress, Summary};
use crate::run::{Host, RunOptions, RunOutcome};
use crate::transport::{REGISTRY, Until};

/// How often the bar moves.
const BAR_STEP: Duration = Duration::from_millis(100);

/// A start that takes longer says what it does.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long a run that ends by itself waits for a plugin that fails for everything: it cannot be replaced, and the
/// breaker has tried some three messages by then.
const ONCE_PATIENCE: Duration = Duration::from_secs(15);

/// Signals this close together are one.
const ONE_WISH: Duration = Duration::from_millis(300);

/// `millrace run`
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    file: FileArguments,
    /// Ends when the source folders are empty, and prints a summary. Gives up (exit code 1) when a plugin or the model has
    /// failed for every message for 15 s; the remaining files stay where they are
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(options: Options, progress: &Progress) -> anyhow::Result<ExitCode> {
    let until = if options.once { Until::Empty } else { Until::Stopped };
    let run_options = RunOptions {
        until,
        drain: CancellationToken::new(),
        leave: CancellationToken::new(),
        reload: Arc::default(),
    };
    // Before anything is loaded: a supervisor that changes its mind meanwhile wants an orderly end, too.
    listen(&run_options)?;
    let since = SystemTime::now();
    let (read, sandbox) = match check::open(&options.file) {
        Ok(opened) => opened,
        Err(code) => return Ok(code),
    };
    let is_endless = |pipeline: &PipelineConfig| !pipeline.source.capabilities().ends;
    let config = read.as_ref().ok().map(|(config, _)| config);
    if options.once
        && let Some(endless) = config.and_then(|config| config.pipelines.values().find(|pipeline| is_endless(pipeline)))
    {
        let kinds = REGISTRY.sources().filter(|kind| kind.capabilities.ends);
        let kinds: Vec<String> = kinds.map(|kind| format!("`{}`", kind.key)).collect();
        anyhow::bail!(
            "--once needs sources that can tell when they are empty ({}): the source of pipeline `{}` cannot tell when it is empty",
            kinds.join(", "),
            endless.name
        );
    }
    let opened = match config {
        Some(config) => Some(Host::open(config, Arc::clone(&sandbox), &run_options).await?),
        None => None, // its mistakes are reported with those of the files that it names
    };
    let mut loading = tokio::task::spawn_blocking(move || check::load_config(read, &sandbox));
    let loaded = async {
        match tokio::time::timeout(PATIENCE, &mut loading).await {
            Ok(loaded) => loaded,
            Err(_) => {
                info!("still compiling plugins and loading models");
                loading.await
            }
        }
    };
    let loaded = tokio::select! {
        loaded = loaded => loaded?,
        () = run_options.drain.cancelled() => {
            info!("stopped before the first message was received");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let (loaded_config, mut host) = match (loaded, opened) {
        (Ok(loaded_config), Some(host)) => (loaded_config, host),
        (Err(code), _) => return Ok(code),
        (Ok(_), None) => return Ok(ExitCode::from(MISTAKEN)), // a file that was not read gathers nothing
    };
    tokio::select! {
        started = host.start(loaded_config, since) => started?,
        () = run_options.drain.cancelled() => return Ok(ExitCode::SUCCESS), // nothing was taken yet
    }
    let all_counters = host.all_counters();
    let (began, backlog, opened) = (Instant::now(), host.backlog(), host.opened());
    let ended = if options.once {
        progress.show();
        let mut gave_up = None;
        let moving = async {
            let mut patience = Patience::new();
            loop {
                let n_finished = all_counters.iter().map(|counters| counters.n_finished()).sum();
                progress.update(n_finished, backlog());
                let n_processed = all_counters.iter().map(|counters| counters.n_processed()).sum();
                if gave_up.is_none() && patience.is_over(n_processed, || opened().map(|(_, opened)| opened.lasts)) {
                    gave_up = opened();
                    run_options.drain.cancel();
                }
                tokio::time::sleep(BAR_STEP).await;
            }
        };
        let ended = tokio::select! {
            ended = host.run(&run_options) => ended,
            ended = moving => ended,
        };
        progress.finish();
        output::print(Summary::new(&all_counters, began.elapsed()))?;
        if let Some((pipeline, opened)) = gave_up {
            anyhow::bail!(
                "{} fails for every message of pipeline `{pipeline}` ({}): giving up; the remaining files stay in their folder",
                opened.failing_component,
                opened.class
            );
        }
        ended
    } else {
        host.run(&run_options).await
    };
    let code = match ended {
        RunOutcome::Drained => 0,
        RunOutcome::SourceFailed | RunOutcome::Unaccounted => FAILED,
        RunOutcome::CutOff => CUT_OFF,
        RunOutcome::DeviceLost => DEVICE_LOST,
    };
    match code {
        0 => info!(exit_code = code, "stopped: {ended}"),
        _ => warn!(exit_code = code, "stopped: {ended}"),
    }
    Ok(ExitCode::from(code))
}

/// How long nothing has come of a run's messages.
struct Patience {
    n_processed: u64,
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        Self {
            n_processed: 0,
            since: Instant::now(),
        }
    }

    /// Whether no message was processed for so long as there is patience, and a breaker was open all the time.
    fn is_over(&mut self, n_processed: u64, opened: impl Fn() -> Option<Duration>) -> bool {
        if n_processed != self.n_processed {
            (self.n_processed, self.since) = (n_processed, Instant::now());
        }
        self.since.elapsed() >= ONCE_PATIENCE && opened().is_some_and(|lasts| lasts >= ONCE_PATIENCE)
    }
}

/// The first SIGINT or SIGTERM drains, the second leaves at once; SIGHUP reads the file again.
fn listen(run_options: &RunOptions) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (drain, leave) = (run_options.drain.clone(), run_options.leave.clone());
    let (mut hangup, reload) = (signal(SignalKind::hangup())?, Arc::clone(&run_options.reload));
    tokio::spawn(async move {
        while let Some(()) = hangup.recv().await {
            reload.notify_one();
        }
    });
    tokio::spawn(async move {
        for again in [false, true] {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if again {
                warn!(
                    signal = name,
                    "second signal: stopping at once; messages in flight return to their source"
                );
                leave.cancel();
            } else {
                info!(
                    signal = name,
                    "stopping: draining; send the signal again to stop at once"
                );
                drain.cancel();
                // One wish to stop may come as two signals: `timeout` sends one to the process and one to its group.
                tokio::time::sleep(ONE_WISH).await;
                while let Some(Some(())) = interrupt.recv().now_or_never() {}
                while let Some(Some(())) = terminate.recv().now_or_never() {}
            }
        }
    });
    Ok(())
}
