//! The command line: one file a verb. Knows how to ask and how to print, and nothing else.

mod check;
mod compile_plugin;
mod control;
mod devices;
mod dlq;
mod model;
mod online;
mod output;
mod pace;
mod plugin;
mod receive;
mod replay;
mod run;
mod schema;
mod send;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Secret, without_line_break};
use crate::journal;
use crate::progress::Progress;
use crate::streams::{self, AtEnd, Format, LogWriter, Severity, StderrMode};
use crate::transport::amqp::BrokerAccess;

/// Stands between a message broker and a neural network: takes messages, lets a sandboxed plugin turn each into a
/// tensor, runs a model over batches of them, lets a second plugin route each result, publishes it, and only then
/// acknowledges the message.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Arguments {
    /// How the log is written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// The log level: `info`, `debug`, or a filter such as `info,millrace::pipeline=debug` [default: info for `run`,
    /// else warn]
    #[arg(long, global = true, env = "MILLRACE_LOG")]
    log: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  millrace check plugins.toml             every mistake in the file, at once
  millrace check --online plugins.toml    what the broker has against it, too
  millrace run plugins.toml               until SIGINT or SIGTERM, which drain
  millrace run plugins.toml --once        over the files in a folder, then a summary
  millrace status                         of the host that runs plugins.toml
  millrace ready                          an exit code, for health checks
  millrace reload --wait                  its plugins, models and pipelines, while messages flow
  millrace send image_queue *.png         with --amqp or AMQP_URL
  millrace receive result_queue --count 3
  millrace model import resnet18.onnx --out models/resnet18 --normalisation imagenet --labels imagenet1k
  millrace model run models/resnet18 --resize 256 cat.jpg
  millrace plugin new crop --role preprocess
  millrace plugin check crop.wasm         whether a host would take it, and what it costs
  millrace dlq ls                         the dead letters of plugins.toml
  millrace dlq requeue --reason refused   back into their queue, with what they had
  millrace dlq save order-7 dark-cat      as a case: a folder with what it had
  millrace replay dark-cat                through the pipeline of plugins.toml, without broker or GPU
  millrace plugin test                    the plugin in this folder, on its cases";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Runs the pipelines of a file
    Run(run::Options),
    /// Shows the state of a running host
    Status(control::StatusOptions),
    /// Checks whether a running host can receive messages: exit code 0, or 1 and why not
    Ready(control::ReadyOptions),
    /// Makes a running host reload its file, and what the file names
    Reload(control::ReloadOptions),
    /// Makes a running host go back to the version before of a plugin, or of a model on trial
    Rollback(control::RollbackOptions),
    /// Makes a pipeline of a running host stop receiving messages
    Pause(control::PipelineOptions),
    /// Makes a paused pipeline receive messages again
    Resume(control::PipelineOptions),
    /// Lists the changes of a running host: when, by whom, and the outcome
    History(control::HistoryOptions),
    /// Checks a file and everything it names, and reports every mistake at once (exit code 2)
    Check(check::Options),
    /// Lists the devices that models can run on
    Devices,
    /// Prints the JSON Schema of a file, for editors that complete and check TOML
    Schema(schema::Options),
    /// Publishes files to a queue, confirmed
    Send(send::Options),
    /// Prints what arrives in a queue, and acknowledges it
    Receive(receive::Options),
    /// Lists dead letters, shows and saves them, and puts their messages back
    Dlq(dlq::Options),
    /// Runs a saved dead letter, or a case, through a pipeline without broker or GPU, and shows what each stage does
    Replay(replay::Options),
    /// Shows, imports, tries, measures and compares models
    #[command(subcommand)]
    Model(model::Verb),
    /// Makes, builds, tries, tests, measures, checks and shows plugins, and swaps them into a running host at every save
    #[command(subcommand)]
    Plugin(plugin::Verb),
    /// Compiles one plugin for the host that started it
    #[command(hide = true)]
    CompilePlugin(compile_plugin::Options),
}

/// Where the broker is.
#[derive(Debug, Args)]
struct BrokerArguments {
    /// The broker
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f"
    )]
    amqp: String,
    /// For `amqps`: a PEM file with the authority that signed the broker's certificate [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl BrokerArguments {
    fn access(&self) -> BrokerAccess {
        BrokerAccess {
            // The variable may have been read from a file with a line break at its end.
            amqp: Secret::new(without_line_break(&self.amqp).to_owned()),
            ca: self.ca.clone(),
            answer_timeout: BrokerAccess::ANSWER_TIMEOUT,
        }
    }
}

/// The exit code for a file with mistakes.
const MISTAKEN: u8 = 2;

/// The exit code of a run that failed.
const FAILED: u8 = 1;

/// The exit code when a drain was cut off at its deadline: what was left went back to its source.
const CUT_OFF: u8 = 3;

/// The exit code when a device is lost: `EX_TEMPFAIL` of sysexits.h, which supervisors restart.
const DEVICE_LOST: u8 = 75;

/// The most of a panic's text that is logged.
const PANIC_CHARS: usize = 1000;

/// Does what was asked.
///
/// # Errors
/// The error, for people.
pub fn execute(verb: Verb, progress: &Progress) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Run(options) => block_on(run::run(options, progress)),
        Verb::Check(options) => block_on(check::check(&options)),
        Verb::Status(options) => block_on(control::status(options)),
        Verb::Ready(options) => block_on(control::ready(options)),
        Verb::Reload(options) => block_on(control::reload(options)),
        Verb::Rollback(options) => block_on(control::rollback(options)),
        Verb::Pause(options) => block_on(control::pause(options)),
        Verb::Resume(options) => block_on(control::resume(options)),
        Verb::History(options) => block_on(control::history(options)),
        Verb::Devices => devices::devices(),
        Verb::Schema(options) => schema::schema(&options),
        Verb::Send(options) => block_on(send::send(options)),
        Verb::Receive(options) => block_on(receive::receive(options)),
        Verb::Dlq(options) => block_on(dlq::dlq(options)),
        Verb::Replay(options) => block_on(replay::replay(options)),
        Verb::Model(verb) => model::execute(verb),
        Verb::Plugin(verb) => plugin::execute(verb),
        // Without a runtime: its limits are for every thread.
        Verb::CompilePlugin(options) => compile_plugin::compile(&options),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        // A limit on the size of files (`ulimit -f`) ends a process that knows nothing of it: here it is an error of that
        // one write.
        let _noticed = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        work.await
    });
    // A blocking call that does not end (a device, a disk) must not keep a finished process.
    runtime.shutdown_background();
    code
}

/// Reads the command line. What is wrong with it, and what it asks clap for, is said here.
///
/// # Errors
/// The exit code of the process, where there is nothing else to do.
pub fn arguments() -> Result<Arguments, ExitCode> {
    let error = match Arguments::try_parse() {
        Ok(arguments) => return Ok(arguments),
        Err(error) => error,
    };
    let format = match asks_for_json(std::env::args_os()) {
        true => Format::Json,
        false => Format::Text,
    };
    let _at_end = streams::start(format, StderrMode::Direct);
    let text = error.render().ansi().to_string();
    let text = text.trim_end();
    if error.use_stderr() {
        streams::say(Severity::Error, text);
    } else if let Err(error) = streams::print(text) {
        streams::error(error);
        return Err(ExitCode::FAILURE);
    }
    Err(u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Whether a command line that cannot be read asks for a log in JSON.
fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    const OPTION: &str = "--log-format";
    let arguments: Vec<OsString> = arguments.collect();
    let is_two_words = arguments
        .windows(2)
        .any(|pair| matches!(pair, [name, value] if name == OPTION && value == "json"));
    is_two_words || arguments.iter().any(|argument| argument == "--log-format=json")
}

/// Starts the log, on stderr, above the bar where one is shown.
pub fn start_log(arguments: &Arguments) -> (Progress, AtEnd) {
    // lapin logs whole messages that come back, and device libraries log what only their authors read.
    const QUIET: &str = "lapin=off,wgpu=error,wgpu_core=error,wgpu_hal=off,naga=error,cubecl=error";
    let (default, delivery) = match arguments.verb {
        Verb::Run(_) => ("info", StderrMode::Queued),
        // A bar is drawn by who writes the log.
        Verb::Model(_) => ("warn", StderrMode::Queued),
        // Also of the child that compiles, whose limits are for every thread.
        _ => ("warn", StderrMode::Direct),
    };
    let format = match arguments.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let at_end = streams::start(format, delivery);
    let asked = arguments.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(format!("{QUIET},{asked}")).unwrap_or_else(|error| {
        streams::error(format_args!("--log: {error}"));
        EnvFilter::new(format!("{QUIET},{default}"))
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogWriter::default)
        // It would print what it cannot write, and panic when it cannot print.
        .log_internal_errors(false);
    match arguments.log_format {
        LogFormat::Text => {
            let log = log.with_ansi(streams::is_terminal()).with_target(false);
            log.finish().with(journal::Keeper).init();
        }
        LogFormat::Json => log.json().flatten_event(true).finish().with(journal::Keeper).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
    (Progress::hidden(), at_end)
}

/// A panic is our bug, or one of a library that is caught where it is called; it is logged like everything else. Its
/// text may hold what a message or a file held. Nothing in here panics: that would end the process.
fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let text = info.payload_as_str().unwrap_or_default();
    let text: String = text.chars().take(PANIC_CHARS).flat_map(char::escape_debug).collect();
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(thread = thread.name(), at, text, "panicked");
    streams::flush_panic();
}

/// The file that a verb works on.
#[derive(Debug, Args)]
struct FileArguments {
    /// The file to run
    #[arg(value_name = "FILE", default_value = "plugins.toml")]
    file: PathBuf,
}
