//! What swaps cost the messages beside them: the latency at 70 % of the drain rate, with and without them, in turn; and
//! whether ten thousand of them leave anything behind. Knows the host by its file and its control socket alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, QueueKind};
use millrace_tests::control::{CONTROL, Control};
use millrace_tests::figures::{SWAPS_MAX, Spread, Swaps, median, quantile};
use millrace_tests::host::{Host, Mill};
use millrace_tests::process::Usage;
use millrace_tests::samples::{guest, model};
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::versions::version;
use tempfile::TempDir;

use crate::clock;
use crate::measure::Bench;
use crate::open::{Course, Flow, LOAD, Pace};
use crate::subject::LENET;
use crate::undone;

/// How long latency is measured, and swaps in that time.
const BLOCK: Duration = Duration::from_secs(60);
const SWAPS: u32 = 100;

/// As long as that, in a whole run, and what is swapped there.
const SHORT_BLOCK: Duration = Duration::from_secs(20);
const SOME: [Beside; 3] = [Beside::Nothing, Beside::KnownVersions, Beside::NewVersions];

/// Swaps to what was never seen, which compile or warm up, in the same time.
const NEW_SWAPS: u32 = 10;

/// What is changed beside the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    Nothing,
    KnownVersions,
    NewVersions,
    NewModels,
}

impl Beside {
    const ALL: [Self; 4] = [Self::Nothing, Self::KnownVersions, Self::NewVersions, Self::NewModels];

    fn n_swaps(self, long: Duration) -> u32 {
        let in_a_block = match self {
            Self::Nothing => 0,
            Self::KnownVersions => SWAPS,
            Self::NewVersions | Self::NewModels => NEW_SWAPS,
        };
        (f64::from(in_a_block) * long.as_secs_f64() / BLOCK.as_secs_f64()) as u32
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::KnownVersions => "a plugin, compiled before",
            Self::NewVersions => "a plugin, never seen",
            Self::NewModels => "the model",
        }
    }
}

/// A host whose plugin and model are files of its own, to be replaced.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) control: Control,
    plugin: PathBuf,
    model: PathBuf,
    bytes: Vec<u8>,
    n_versions: u64,
    // Dropped last: the folders of it all.
    _mill: Mill,
    _folder: TempDir,
}

impl Stage {
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        let bytes = fs::read(guest("wasm32-wasip2", "decode-image")?)?;
        let folder = tempfile::tempdir()?;
        let (plugin, own_model) = (folder.path().join("decode-image.wasm"), folder.path().join("model"));
        fs::write(&plugin, &bytes)?;
        copy_folder(&model(), &own_model)?;
        let scene = Scene {
            preprocess: Plugin {
                path: plugin.clone(),
                lines: scene.preprocess.lines.clone(),
            },
            tables: format!("[host]\nwatch = false\n{CONTROL}\n"),
            ..scene.clone()
        };
        let mill = scene.mill_with(|text| {
            text.replace(
                &format!("{:?}", model().display().to_string()),
                &format!("{:?}", own_model.display().to_string()),
            )
        })?;
        let host = mill.start_ready()?;
        let control = Control(mill.path("control.sock"));
        Ok(Self {
            host,
            control,
            plugin,
            model: own_model,
            bytes,
            n_versions: 0,
            _mill: mill,
            _folder: folder,
        })
    }

    /// Swaps to another version of the plugin, or the model; gives how long it took.
    fn swap(&mut self, beside: Beside) -> Result<Duration> {
        self.n_versions += 1;
        match beside {
            Beside::Nothing => {}
            Beside::KnownVersions => self.replace(self.n_versions % 2)?,
            Beside::NewVersions => self.replace(1000 + self.n_versions)?,
            Beside::NewModels => {
                let path = self.model.join("model.toml");
                let text = fs::read_to_string(&path)?;
                let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("# version")).collect();
                fs::write(&path, format!("{}\n# version {}\n", text.join("\n"), self.n_versions))?;
            }
        }
        let began = Instant::now();
        let change = self.control.reload()?;
        ensure!(
            change.get("outcome").and_then(serde_json::Value::as_str) == Some("done"),
            "{change}"
        );
        Ok(began.elapsed())
    }

    fn replace(&self, number: u64) -> Result<()> {
        self.put(&version(&self.bytes, number))
    }

    /// Puts a file in the plugin's place.
    pub(crate) fn put(&self, wasm: &[u8]) -> Result<()> {
        let new = self.plugin.with_extension("new");
        fs::write(&new, wasm)?;
        Ok(fs::rename(&new, &self.plugin)?)
    }
}

/// Measures latency beside each kind of swap, in every round, and prints the medians.
pub(crate) async fn run(bench: &Bench<'_>, rounds: usize) -> Result<()> {
    let seen = measure(bench, &Beside::ALL, rounds, BLOCK).await?;
    println!(
        "\n{:<30}{:>10}{:>10}{:>12}{:>10}",
        "beside", "p50 ms", "p99 ms", "of steady", "a swap"
    );
    let of = |beside: Beside, pick: fn(&Swaps) -> f64| {
        let rounds = seen.iter().filter(|one| one.beside == beside.shown());
        median(rounds.map(pick).collect())
    };
    let steady = of(Beside::Nothing, |one| one.p99_us.into());
    for beside in Beside::ALL {
        let ratio = of(beside, |one| one.p99_us.into()) / steady;
        let verdict = match beside {
            Beside::KnownVersions if ratio <= SWAPS_MAX => "kept",
            Beside::KnownVersions => "NOT KEPT",
            _ => "",
        };
        println!(
            "{:<30}{:>10.1}{:>10.1}{ratio:>12.2}{:>10}  {verdict}",
            beside.shown(),
            of(beside, |one| f64::from(one.p50_us) / 1000.0),
            of(beside, |one| f64::from(one.p99_us) / 1000.0),
            shown_ms(of(beside, |one| one.swap_ms.unwrap_or(f64::NAN)))
        );
    }
    undone::run(bench).await
}

/// Measures what matters most, in less time.
pub(crate) async fn some(bench: &Bench<'_>, rounds: usize) -> Result<Vec<Swaps>> {
    measure(bench, &SOME, rounds, SHORT_BLOCK).await
}

/// Latency beside some kinds of swaps.
async fn measure(bench: &Bench<'_>, kinds: &[Beside], rounds: usize, long: Duration) -> Result<Vec<Swaps>> {
    // The client and the broker share the machine with the host: the drain of a queue that was filled before is faster.
    // The lower of two: beside a rate that is too high a queue grows, and every latency is that of the queue.
    let mut drained = f64::INFINITY;
    for _ in 0..2 {
        let (flow, ..) = block(bench, 3 * bench.messages, Pace::Window, (Beside::Nothing, long)).await?;
        drained = drained.min(flow.rate);
    }
    let rate = drained * LOAD;
    println!("published and drained at {drained:.0} messages/s; messages come at {rate:.0}/s");
    let n_messages = (rate * long.as_secs_f64()) as usize;
    let mut seen = Vec::new();
    for round in 0..rounds {
        for beside in kinds {
            let (flow, swaps, marks) = block(bench, n_messages, Pace::Rate(rate), (*beside, long))
                .await
                .with_context(|| beside.shown())?;
            let mut sorted = flow.latencies_us;
            sorted.sort_unstable();
            let one = Swaps {
                round,
                beside: beside.shown().to_owned(),
                n_swaps: u32::try_from(swaps.len())?,
                seconds: long.as_secs_f64(),
                messages: sorted.len(),
                p50_us: quantile(&sorted, 0.5),
                p99_us: quantile(&sorted, 0.99),
                marks,
                swap_ms: Spread::of(swaps.iter().map(|took| took.as_secs_f64() * 1000.0).collect())
                    .map(|spread| spread.median),
            };
            println!(
                "round {} beside {}: {} messages, p50 {:.1} ms, p99 {:.1} ms, a swap {} {}",
                round + 1,
                one.beside,
                one.messages,
                f64::from(one.p50_us) / 1000.0,
                f64::from(one.p99_us) / 1000.0,
                shown_ms(one.swap_ms.unwrap_or(f64::NAN)),
                one.marks.join(", ")
            );
            seen.push(one);
        }
    }
    Ok(seen)
}

/// What became of a block's messages, and how long its swaps took.
async fn block(
    bench: &Bench<'_>,
    n_messages: usize,
    pace: Pace,
    (beside, long): (Beside, Duration),
) -> Result<(Flow, Vec<Duration>, Vec<String>)> {
    let n_swaps = beside.n_swaps(long);
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = Scene {
        prefetch: bench.prefetch,
        source: vec!["type = \"passive\""],
        ..Scene::new(bench.broker)?
    };
    for queue in [&scene.input, &scene.results] {
        client.declare(queue, bench.kind).await?;
    }
    let mut stage = Stage::start(&scene)?;
    if beside == Beside::KnownVersions {
        // Both are compiled before.
        for _ in 0..2 {
            stage.swap(beside)?;
        }
    }
    let pid = stage.host.pid();
    let before = bench.busy(clock::cpu_with_children(pid)?)?;
    let began = Instant::now();
    let swapping = std::thread::spawn(move || {
        let mut took = Vec::new();
        for n in 0..n_swaps {
            let due = began + long / n_swaps * n;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            took.push(stage.swap(beside)?);
        }
        Ok::<_, anyhow::Error>((stage, took))
    });

    let mut course = Course::open(bench, &LENET, &scene).await?;
    let flow = course.flow(n_messages, pace).await?;
    let mut marks = bench.busy(clock::cpu_with_children(pid)?)?.marks_since(&before);
    if flow.is_saturated(pace) {
        marks.push("saturated".to_owned());
    }
    course.close().await?;
    let swapped = tokio::task::spawn_blocking(move || swapping.join()).await?;
    let (stage, swaps) = swapped.map_err(|_| anyhow::anyhow!("the swapping thread panicked"))??;
    stage.host.stop()?;
    ensure!(
        client.count(&scene.dead).await.unwrap_or(0) == 0,
        "there are dead letters"
    );
    for queue in [&scene.input, &scene.results, &scene.dead] {
        client.delete(queue).await?;
    }
    Ok((flow, swaps, marks))
}

/// Swaps many times under a light load, and prints what the host takes of the machine meanwhile.
///
/// # Errors
/// When a message is lost or done twice, or something grows.
pub(crate) async fn soak(bench: &Bench<'_>, n_swaps: usize) -> Result<()> {
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = Scene::new(bench.broker)?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    let mut stage = Stage::start(&scene)?;
    let items = bench.supplies.items(LENET.body)?;
    println!(
        "{:>8}{:>10}{:>10}{:>8}{:>10}",
        "swaps", "MiB", "threads", "files", "swaps/s"
    );
    let (mut first, mut n_sent, began) = (None, 0, Instant::now());
    let step = (n_swaps / 20).max(1);
    for n in 1..=n_swaps {
        // Ninety-nine to versions that were there before, and one to a new one, which compiles.
        let beside = if n % 100 == 0 {
            Beside::NewVersions
        } else {
            Beside::KnownVersions
        };
        stage.swap(beside)?;
        if n % 5 == 0
            && let Some(item) = items.get(n_sent % items.len())
        {
            client.publish(&scene.input, &item.parcel(n_sent)).await?;
            n_sent += 1;
        }
        if n % step == 0 {
            let usage = Usage::of(stage.host.pid())?;
            let mebibytes = usage.resident_bytes >> 20;
            let rate = n as f64 / began.elapsed().as_secs_f64();
            println!(
                "{n:>8}{mebibytes:>10}{:>10}{:>8}{rate:>10.0}",
                usage.threads, usage.files
            );
            // The first fifth fills caches.
            if n * 5 >= n_swaps {
                first.get_or_insert(usage);
            }
        }
    }
    client.wait_count(&scene.results, u32::try_from(n_sent)?).await?;
    let (first, last) = (first.context("no swaps")?, Usage::of(stage.host.pid())?);
    stage.host.stop()?;
    ensure!(
        client
            .take(&scene.results, n_sent + 1, Duration::from_secs(1))
            .await?
            .len()
            == n_sent
    );
    ensure!(
        last.threads <= first.threads + 2,
        "threads grew from {} to {}",
        first.threads,
        last.threads
    );
    ensure!(
        last.files <= first.files + 4,
        "open files grew from {} to {}",
        first.files,
        last.files
    );
    let allowed = first.resident_bytes + (24 << 20);
    ensure!(last.resident_bytes <= allowed, "memory grew from {first:?} to {last:?}");
    println!("{n_sent} messages, each done once; nothing grew");
    Ok(())
}

/// A time; nothing where nothing was timed.
fn shown_ms(ms: f64) -> String {
    if ms.is_nan() {
        "-".to_owned()
    } else {
        format!("{ms:.0} ms")
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
