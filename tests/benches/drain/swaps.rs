//! What swaps cost the messages beside them: the latency at 70 % of the drain rate, with and without them, in turn; and
//! whether ten thousand of them leave anything behind. Knows the host by its file and its control socket alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::control::{CONTROL, Control};
use millrace_tests::host::{Host, Mill};
use millrace_tests::process::Usage;
use millrace_tests::samples::{guest, model};
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::versions::version;

use crate::measure::Bench;
use crate::report::median;
use crate::subject::{Body, Subject};
use crate::undone;

/// The part of the rate that everything here keeps up with, at which messages come. The client and the broker share the
/// machine with the host: the drain of a queue that was filled before is faster than that.
const LOAD: f64 = 0.7;

/// How long latency is measured, and swaps in that time.
const BLOCK: Duration = Duration::from_secs(60);
const SWAPS: u32 = 100;

/// Swaps to what was never seen, which compile or warm up, in the same time.
const NEW_SWAPS: u32 = 10;

/// How often messages are sent.
const TICK: Duration = Duration::from_millis(5);

/// What is promised: a factor of the steady latency.
const PROMISED: f64 = 1.5;

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

    fn n_swaps(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::KnownVersions => SWAPS,
            Self::NewVersions | Self::NewModels => NEW_SWAPS,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::KnownVersions => "100 swaps, compiled before",
            Self::NewVersions => "10 swaps, never seen",
            Self::NewModels => "10 swaps of the model",
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
    // Dropped last: the folder of it all.
    _mill: Mill,
}

impl Stage {
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        let bytes = fs::read(guest("wasm32-wasip2", "decode-image")?)?;
        let folder = tempfile::tempdir()?.keep();
        let (plugin, own_model) = (folder.join("decode-image.wasm"), folder.join("model"));
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
    let began = Instant::now();
    let (drained, _) = block(bench, bench.messages, f64::INFINITY, Beside::Nothing).await?;
    let drained = drained.len() as f64 / began.elapsed().as_secs_f64();
    let rate = drained * LOAD;
    println!("published and drained at {drained:.0} messages/s; messages come at {rate:.0}/s");
    let n_messages = (rate * BLOCK.as_secs_f64()) as usize;
    let mut seen: BTreeMap<Beside, Vec<(f64, f64, f64)>> = BTreeMap::new();
    for round in 0..rounds {
        for beside in Beside::ALL {
            let (latencies, swaps) = block(bench, n_messages, rate, beside)
                .await
                .with_context(|| beside.shown())?;
            let (p50, p99) = (percentile(&latencies, 0.5), percentile(&latencies, 0.99));
            let swap = median(swaps.iter().map(|took| took.as_secs_f64() * 1000.0).collect());
            println!(
                "round {} beside {}: {} messages, p50 {p50:.1} ms, p99 {p99:.1} ms, a swap {}",
                round + 1,
                beside.shown(),
                latencies.len(),
                shown_ms(swap)
            );
            seen.entry(beside).or_default().push((p50, p99, swap));
        }
    }
    println!(
        "\n{:<30}{:>10}{:>10}{:>12}{:>10}",
        "beside", "p50 ms", "p99 ms", "of steady", "a swap"
    );
    let steady = seen
        .get(&Beside::Nothing)
        .map_or(f64::NAN, |runs| median(runs.iter().map(|run| run.1).collect()));
    for (beside, runs) in &seen {
        let of = |pick: fn(&(f64, f64, f64)) -> f64| median(runs.iter().map(pick).collect());
        let ratio = of(|run| run.1) / steady;
        let verdict = match beside {
            Beside::KnownVersions if ratio <= PROMISED => "kept",
            Beside::KnownVersions => "NOT KEPT",
            _ => "",
        };
        println!(
            "{:<30}{:>10.1}{:>10.1}{ratio:>12.2}{:>10}  {verdict}",
            beside.shown(),
            of(|run| run.0),
            of(|run| run.1),
            shown_ms(of(|run| run.2))
        );
    }
    undone::run(bench).await
}

/// The latencies in milliseconds of a block's messages, and how long its swaps took.
async fn block(bench: &Bench<'_>, n_messages: usize, rate: f64, beside: Beside) -> Result<(Vec<f64>, Vec<Duration>)> {
    let client = Arc::new(Client::connect(&bench.broker.url()).await?);
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
    let subject = Subject::PerMessage(Body::Raw);
    let parcels = bench.parcels(subject)?;
    let sent: Arc<Mutex<Vec<Option<Instant>>>> = Arc::new(Mutex::new(vec![None; n_messages]));
    let began = Instant::now();

    let sending = {
        let (client, sent, queue) = (Arc::clone(&client), Arc::clone(&sent), scene.input.clone());
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            let mut publishing = tokio::task::JoinSet::new();
            let mut n_sent = 0;
            while n_sent < n_messages {
                tick.tick().await;
                let due = ((began.elapsed().as_secs_f64() * rate) as usize).min(n_messages);
                let chunk: Vec<Parcel> = (n_sent..due)
                    .filter_map(|n| {
                        let like = parcels.get(n % parcels.len())?;
                        Some(Parcel {
                            content_type: like.content_type.clone(),
                            ..Parcel::new(&n.to_string(), like.body.clone())
                        })
                    })
                    .collect();
                if let Some(sent) = sent.lock().ok().as_mut().and_then(|sent| sent.get_mut(n_sent..due)) {
                    sent.fill(Some(Instant::now()));
                }
                n_sent = due;
                let (client, queue) = (Arc::clone(&client), queue.clone());
                publishing.spawn(async move { client.publish_all(&queue, chunk).await });
            }
            while let Some(published) = publishing.join_next().await {
                published??;
            }
            Ok::<_, anyhow::Error>(())
        })
    };
    let swapping = std::thread::spawn(move || {
        let mut took = Vec::new();
        for n in 0..beside.n_swaps() {
            let due = began + BLOCK / beside.n_swaps() * n;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            took.push(stage.swap(beside)?);
        }
        Ok::<_, anyhow::Error>((stage, took))
    });

    let mut taker = client.taker(&scene.results).await?;
    let mut latencies: Vec<Option<f64>> = vec![None; n_messages];
    let mut n_left = n_messages;
    while n_left > 0 {
        let result = taker.next(Duration::from_secs(30)).await?;
        let result = result.with_context(|| format!("{n_left} results do not come"))?;
        let n: usize = result.correlation_id.parse()?;
        let at = sent
            .lock()
            .ok()
            .and_then(|sent| *sent.get(n)?)
            .context("a result before its message")?;
        let latency = latencies.get_mut(n).context("a result of no message")?;
        ensure!(
            latency.replace(at.elapsed().as_secs_f64() * 1000.0).is_none(),
            "message {n} has two results"
        );
        n_left -= 1;
    }
    taker.close().await?;
    sending.await??;
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
    Ok((latencies.into_iter().flatten().collect(), swaps))
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
    let parcels = bench.parcels(Subject::PerMessage(Body::Raw))?;
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
            && let Some(parcel) = parcels.get(n_sent % parcels.len())
        {
            let parcel = Parcel {
                content_type: parcel.content_type.clone(),
                ..Parcel::new(&n_sent.to_string(), parcel.body.clone())
            };
            client.publish(&scene.input, &parcel).await?;
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

fn percentile(latencies: &[f64], part: f64) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
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
