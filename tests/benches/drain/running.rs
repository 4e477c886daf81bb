//! Starts a subject on two queues, and asks what it takes of the machine while it runs.

use std::fmt::Write as _;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::host::{Host, Mill, native_binary};
use millrace_tests::process::Usage;
use millrace_tests::samples::{guest, model};
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::wait_at_most;
use serde::Deserialize;

use crate::clock;
use crate::subject::{Network, Pipeline, Preprocess, Runs, Subject};
use crate::supplies::{Supplies, peers};

/// What a plugin's author builds.
const TARGET: &str = "wasm32-unknown-unknown";
/// What the pipelines are bounded by: these messages need no more, so that the bound of their memory says something.
const BOUNDS: &str = "max_message = \"256KiB\"\nmax_results = \"64KiB\"";
/// The same of larger messages, up to the largest picture that `--edges` takes.
const LARGE_BOUNDS: &str = "max_message = \"3MiB\"\nmax_results = \"64KiB\"";
/// The largest message within the usual bounds, in bytes.
const USUAL_MAX: u32 = 256 << 10;
/// The memory of a plugin whose runtime is none.
const PLUGIN_MEMORY: &str = "memory = \"64MiB\"";
/// Why a pipeline cannot run without the sandbox.
pub(crate) const NO_NATIVE_HOST: &str = "MILLRACE_NATIVE_HOST names no host that preprocesses natively";
/// What such a host logs, and no other.
const RUNS_NATIVELY: &str = "plugin runs natively";
/// How long a peer may take to close its connection.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What differs from the usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variation {
    /// Messages in flight.
    pub(crate) prefetch: u16,
    /// Lines of the model's table.
    pub(crate) model: String,
    /// Lines of `[host]`.
    pub(crate) host: String,
    /// Pipelines on the same queue.
    pub(crate) pipelines: usize,
    /// Hosts on the same queue.
    pub(crate) hosts: usize,
    /// More tables of the file.
    pub(crate) tables: String,
}

/// A subject that runs, until it is dropped.
pub(crate) enum Running {
    /// A program that is told by its arguments what to do: the echo, or a peer.
    Program(Child),
    /// Hosts; their folders live as long.
    Hosts(Vec<(Host, Mill)>),
}

/// What a peer says at its end.
#[derive(Debug, Deserialize)]
struct Said {
    peak_rss_bytes: u64,
}

impl Variation {
    /// What is usual.
    pub(crate) fn usual(prefetch: u16) -> Self {
        Self {
            prefetch,
            model: String::new(),
            host: String::new(),
            pipelines: 1,
            hosts: 1,
            tables: String::new(),
        }
    }
}

impl Running {
    /// Starts a subject on the queues of a scene. A peer ends by itself after `n` messages.
    pub(crate) fn start(
        subject: &Subject,
        scene: &Scene,
        supplies: &Supplies,
        variation: &Variation,
        n: usize,
    ) -> Result<Self> {
        let (url, input, results) = (&scene.url, &scene.input, &scene.results);
        let mut command = match subject.runs {
            Runs::Host(pipeline) => {
                let hosts = (0..variation.hosts).map(|_| {
                    let mill = mill(pipeline, scene, supplies, variation)?;
                    Ok((mill.start()?, mill))
                });
                return Ok(Self::Hosts(hosts.collect::<Result<_>>()?));
            }
            Runs::Echo => {
                let mut echo = Command::new(std::env::current_exe()?);
                echo.args(["echo", url, input, results, &variation.prefetch.to_string()]);
                echo
            }
            Runs::Peer(name) => {
                let mut peer = Command::new(supplies.python.as_ref().context("no Python")?);
                peer.arg(peers().join(format!("{name}.py")));
                peer.args([url, input, results, &n.to_string()]);
                if name == "strong" {
                    peer.arg("--model").arg(supplies.onnx());
                }
                // A library that asks neither of the two would still start a thread for each core.
                peer.env("OMP_NUM_THREADS", "1");
                peer
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self::Program(command.spawn()?))
    }

    /// CPU time so far, of all its processes.
    pub(crate) fn cpu(&self) -> Result<f64> {
        self.pids().into_iter().map(clock::cpu).sum()
    }

    /// Whether every host of it receives messages; a program's first result says so.
    pub(crate) fn serves(&self) -> bool {
        match self {
            Self::Program(_) => true,
            Self::Hosts(hosts) => hosts.iter().all(|(host, _)| host.n_lines("ready") > 0),
        }
    }

    /// Fails when a process of it has ended with an error.
    pub(crate) fn must_live(&mut self) -> Result<()> {
        match self {
            Self::Program(child) => {
                let ended = child.try_wait()?;
                ensure!(ended.is_none_or(|status| status.success()), "it ended with {ended:?}");
            }
            Self::Hosts(hosts) => {
                for (host, _) in hosts {
                    ensure!(host.is_running(), "the host ended:\n{}", host.log());
                }
            }
        }
        Ok(())
    }

    /// Demands that each host preprocesses natively where it should, and in the sandbox everywhere else.
    pub(crate) fn must_be(&self, subject: &Subject) -> Result<()> {
        let Self::Hosts(hosts) = self else { return Ok(()) };
        for (host, _) in hosts {
            let is_native = host.n_lines(RUNS_NATIVELY) > 0;
            ensure!(
                is_native == subject.needs_native_host(),
                "{subject} is another build of the host:\n{}",
                host.log()
            );
        }
        Ok(())
    }

    /// Memory at its height, where it still runs.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let peaks = self.pids().into_iter().filter_map(|pid| Usage::of(pid).ok());
        peaks.map(|usage| usage.peak_bytes).sum()
    }

    /// Messages in a batch on average, as the metrics of the hosts say.
    pub(crate) fn mean_batch(&mut self) -> Result<Option<f64>> {
        let Self::Hosts(hosts) = self else { return Ok(None) };
        let (mut messages, mut batches) = (0.0, 0.0);
        for (host, _) in hosts {
            let (_, page) = Admin::of(host)?.get("/metrics")?;
            messages += sum(&page, "millrace_batch_size_sum");
            batches += sum(&page, "millrace_batch_size_count");
        }
        Ok(Some(messages / batches))
    }

    /// Ends it: a peer by itself, which says its memory at its height; the others by force, since all results are there.
    pub(crate) fn end(mut self, subject: &Subject) -> Result<Option<u64>> {
        let (Self::Program(child), Runs::Peer(_)) = (&mut self, subject.runs) else {
            return Ok(None);
        };
        let status = wait_at_most(END_LIMIT, "the end of a peer", || child.try_wait().ok().flatten())?;
        ensure!(status.success(), "it ended with {status}");
        let mut line = String::new();
        child.stdout.take().context("no output")?.read_to_string(&mut line)?;
        let said: Said = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        Ok(Some(said.peak_rss_bytes))
    }

    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Program(child) => vec![child.id()],
            Self::Hosts(hosts) => hosts.iter().map(|(host, _)| host.pid()).collect(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Program(child) = self
            && child.kill().is_ok()
        {
            child.wait().ok();
        }
    }
}

/// The folder of a host, and its file in it.
///
/// # Errors
/// When a plugin is not built.
pub(crate) fn mill(pipeline: Pipeline, scene: &Scene, supplies: &Supplies, variation: &Variation) -> Result<Mill> {
    let isolation = format!("isolation = \"{}\"", pipeline.isolation);
    let lines = format!("{isolation}\n{PLUGIN_MEMORY}");
    let (path, preprocess) = match pipeline.preprocess {
        Preprocess::DecodeImage | Preprocess::Native => (guest(TARGET, "decode-image")?, lines.clone()),
        Preprocess::Passthrough => (
            guest(TARGET, "tensor-passthrough")?,
            format!("{lines}\nsettings = {{ format = \"raw\" }}"),
        ),
        Preprocess::Python => (supplies.python_plugin(), isolation),
    };
    let mut tables = format!(
        "[host]\nadmin = \"127.0.0.1:0\"\nwatch = false\n{}\n{}",
        variation.host, variation.tables
    );
    let scene = Scene {
        prefetch: variation.prefetch,
        preprocess: Plugin {
            path,
            lines: preprocess,
        },
        pipeline: match pipeline.network {
            Network::Mean(edge) if 3 * edge * edge > USUAL_MAX => LARGE_BOUNDS,
            _ => BOUNDS,
        },
        route: Plugin {
            path: guest(TARGET, "by-label")?,
            lines,
        },
        ..scene.clone()
    };
    for number in 1..variation.pipelines {
        another(&mut tables, &scene, number)?;
    }
    let scene = Scene { tables, ..scene };
    let network = supplies.network(pipeline.network);
    let quoted = |path: &std::path::Path| format!("{:?}", path.display().to_string());
    let mill = scene.mill_with(|text| {
        let text = text.replacen(&quoted(&model()), &quoted(&network), 1);
        let text = text.replacen("device = \"cpu\"", &format!("device = \"cpu\"\n{}", variation.model), 1);
        // The queue of results is declared already, of the kind that is measured.
        let line = format!("routing_key = \"{}\"", scene.results);
        text.replace(&line, &format!("{line}\ntype = \"passive\""))
    })?;
    match pipeline.preprocess {
        Preprocess::Native => Ok(mill.with_binary(native_binary().context(NO_NATIVE_HOST)?)),
        Preprocess::DecodeImage | Preprocess::Passthrough | Preprocess::Python => Ok(mill),
    }
}

/// One more pipeline of the same plugins between the same queues.
fn another(tables: &mut String, scene: &Scene, number: usize) -> Result<()> {
    Ok(write!(
        tables,
        "\n[pipeline.images-{number}]\nsource = {{ queue = \"{}\", prefetch = {}, type = \"passive\" }}\n\
         preprocess = \"{}\"\nmodel = \"shapes\"\nroute = \"{}\"\ndead_letter = \"{}\"\n{BOUNDS}\n\n\
         [pipeline.images-{number}.destination.results]\nexchange = \"\"\nrouting_key = \"{}\"\n",
        scene.input,
        scene.prefetch,
        scene.preprocess.name(),
        scene.route.name(),
        scene.dead,
        scene.results
    )?)
}

/// The sum of all lines of a metric, whatever their labels.
fn sum(page: &str, name: &str) -> f64 {
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    lines.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}
