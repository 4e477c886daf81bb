//! `millrace model bench`: what a model costs, by device, threads and batch size. Knows no pictures: the numbers are drawn.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use millrace_models::{DeviceChoice, Element, Model, Precision, Runner, Tensor, TensorData};
use serde::Serialize;

use super::chart::bar;
use super::place::{self, Choice};
use super::steps::Steps;
use super::subject;
use crate::cli::output::{self, harmless, plain};
use crate::streams;

/// Runs before those that count, and how long they may take: caches fill, and kernels are chosen.
const WARM_RUNS: usize = 3;
const WARM_TIME: Duration = Duration::from_secs(10);
/// Runs that count, at least; one that takes longer than all the time counts alone.
const RUNS_MIN: usize = 3;
/// Most runs: enough for a tenth and a half of them to be known.
const RUNS_MAX: usize = 100_000;
/// How long a bar of the chart is.
const BAR_CHARS: usize = 32;
const NAME_CHARS: usize = 60;

const EXAMPLES: &str = "\
Examples:
  millrace model bench models/shapes-lenet
  millrace model bench resnet18.onnx --device cpu --threads 1,2 --batch 1,16
  millrace model bench models/resnet50 --device cpu --device gpu --batch 1,8,32 --seconds 5
  millrace model bench models/resnet50 --device gpu --f16 --json

One thread at a time runs batches of drawn numbers, one behind the other; decoding pictures is not in it. Latency is that of a
batch. Memory is the most that the whole process had while it ran, the weights as they were read included; of a GPU's own
memory nothing is seen.";

/// `millrace model bench`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A model folder, or an .onnx file
    #[arg(value_name = "FOLDER|FILE")]
    model: PathBuf,
    /// `cpu`, `gpu`, `gpu:1`, `auto`, or a part of a name that `millrace devices` lists; may be given more than once
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Vec<Choice>,
    /// Numbers of threads on the CPU [default: one for each core]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Vec<u16>,
    /// Batch sizes
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,4,16,64", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: Vec<u16>,
    /// How long to measure each combination
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Half precision on GPUs
    #[arg(long)]
    f16: bool,
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

/// The cost of one combination.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    device: String,
    /// Nothing where the device has its own.
    threads: Option<u16>,
    batch: u16,
    runs: usize,
    median_ms: f64,
    p90_ms: f64,
    images_per_second: f64,
    /// Nothing where the system does not say.
    memory_bytes: Option<u64>,
}

/// One way to run it.
#[derive(Debug, Clone)]
struct Way {
    device: DeviceChoice,
    threads: Option<u16>,
    batch: u16,
}

pub(super) fn bench(options: &Options) -> anyhow::Result<ExitCode> {
    if !(options.seconds > 0.0 && options.seconds <= 3600.0) {
        anyhow::bail!("--seconds: {} is not above 0 and at most 3600", options.seconds);
    }
    let steps = Steps::begin("loading the model");
    let model = match subject::load(&options.model) {
        Ok(model) => model,
        Err(code) => return Ok(code),
    };
    let ways = ways(options);
    let steps = match options.json {
        true => steps.beside_output(),
        false => Some(steps),
    };
    let (mut rows, mut n_failed) = (Vec::new(), 0);
    for (index, way) in ways.iter().enumerate() {
        let threads = way.threads.map_or_else(String::new, |n| format!(", {n} threads"));
        if let Some(steps) = &steps {
            steps.now(&format!("batch {}{threads}", way.batch), ways.len());
            steps.at(index);
        }
        match measure(&model, way, options) {
            Ok(row) if options.json => {
                output::print(harmless(&serde_json::to_string(&row)?))?;
                rows.push(row);
            }
            Ok(row) => rows.push(row),
            // One that needs too much memory does not cost the others.
            Err(error) => {
                n_failed += 1;
                let error = subject::lines(&format!("{error:#}"));
                streams::error(format_args!("batch {}{threads}: {error}", way.batch));
            }
        }
    }
    drop(steps);
    if !options.json && !rows.is_empty() {
        let name = plain(model.name(), NAME_CHARS);
        output::print(format_args!("{name}\n{}", table(&rows)))?;
    }
    Ok(match n_failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Devices by threads by batch sizes. Only a CPU has threads to choose.
fn ways(options: &Options) -> Vec<Way> {
    let mut ways = Vec::new();
    for Choice(device) in &options.device {
        let threads = match (device, options.threads.as_slice()) {
            (DeviceChoice::Cpu | DeviceChoice::Auto, [_, ..]) => options.threads.iter().copied().map(Some).collect(),
            _ => vec![None],
        };
        for threads in threads {
            ways.extend(options.batch.iter().map(|batch| Way {
                device: device.clone(),
                threads,
                batch: *batch,
            }));
        }
    }
    ways
}

fn measure(model: &Model, way: &Way, options: &Options) -> anyhow::Result<Row> {
    let precision = match options.f16 {
        true => Precision::F16,
        false => Precision::F32,
    };
    let device = place::open(way.device.clone(), way.threads, precision)?;
    memory::forget_peak();
    let mut runner = Runner::new(model, &device, usize::from(way.batch))?;
    let batch = drawn(model, usize::from(way.batch))?;
    let began = Instant::now();
    for _ in 0..WARM_RUNS {
        runner.run(&batch)?;
        if began.elapsed() > WARM_TIME {
            break;
        }
    }
    let (mut times, began) = (Vec::new(), Instant::now());
    let limit = Duration::from_secs_f64(options.seconds);
    while (times.len() < RUNS_MIN && began.elapsed() < WARM_TIME.max(limit))
        || (times.len() < RUNS_MAX && began.elapsed() < limit)
    {
        let start = Instant::now();
        runner.run(&batch)?;
        times.push(start.elapsed());
    }
    let total: Duration = times.iter().sum();
    Ok(Row {
        device: device.name().to_owned(),
        threads: way.threads,
        batch: way.batch,
        runs: times.len(),
        images_per_second: times.len() as f64 * f64::from(way.batch) / total.as_secs_f64().max(1e-9),
        median_ms: tenths(&mut times, 5),
        p90_ms: tenths(&mut times, 9),
        memory_bytes: memory::peak(),
    })
}

/// The time that so many tenths of the runs did not take longer than, in milliseconds.
fn tenths(times: &mut [Duration], tenths: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * tenths).div_ceil(10).saturating_sub(1);
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Items of numbers that look like no zeros: some executors are quicker with these.
fn drawn(model: &Model, n_items: usize) -> anyhow::Result<Vec<Tensor>> {
    let (input, mut state) = (model.input(), 7_u64);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let n_numbers = usize::try_from(input.elements())?;
    let mut items = Vec::with_capacity(n_items);
    for _ in 0..n_items {
        let data = match input.element {
            Element::Byte => TensorData::Bytes((0..n_numbers).map(|_| next()).collect()),
            Element::Float => TensorData::Floats((0..n_numbers).map(|_| f32::from(next()) / 64.0 - 2.0).collect()),
        };
        items.push(Tensor::new(input.shape.clone(), data)?);
    }
    Ok(items)
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["DEVICE", "THREADS", "BATCH", "MEDIAN", "P90", "IMAGES/S", "MEMORY", ""]);
    let largest = rows.iter().map(|row| row.images_per_second).fold(0.0, f64::max);
    for row in rows {
        table.add_row([
            plain(&row.device, NAME_CHARS),
            row.threads.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            row.batch.to_string(),
            milliseconds(row.median_ms),
            milliseconds(row.p90_ms),
            format!("{:.1}", row.images_per_second),
            row.memory_bytes.map_or_else(|| "-".to_owned(), crate::memory::shown),
            bar(row.images_per_second, largest, BAR_CHARS),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn milliseconds(time: f64) -> String {
    match time {
        _ if time < 1.0 => format!("{:.0} us", time * 1e3),
        _ if time < 100.0 => format!("{time:.2} ms"),
        _ => format!("{time:.0} ms"),
    }
}

/// The most memory that this process had, as Linux counts it.
mod memory {
    /// Counts from here on. Where the system does not let it, the peak is that of the whole run.
    pub(super) fn forget_peak() {
        if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
            tracing::debug!(%error, "the peak of the memory is that of the whole run");
        }
    }

    /// Bytes; nothing where the system does not say.
    pub(super) fn peak() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(threads: Option<u16>, batch: u16, images_per_second: f64) -> Row {
        Row {
            device: "cpu".to_owned(),
            threads,
            batch,
            runs: 10,
            median_ms: 0.5,
            p90_ms: 123.4,
            images_per_second,
            memory_bytes: Some(64 << 20),
        }
    }

    #[test]
    fn rows_have_bars() {
        let text = table(&[row(Some(1), 1, 100.0), row(None, 16, 50.0)]);
        let expected = [
            " DEVICE  THREADS  BATCH  MEDIAN     P90  IMAGES/S  MEMORY",
            " cpu           1      1  500 us  123 ms     100.0  64 MiB  ████████████████████████████████",
            " cpu           -     16  500 us  123 ms      50.0  64 MiB  ████████████████",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn tenths_are_those_of_the_runs() {
        let mut times: Vec<Duration> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!((tenths(&mut times, 5), tenths(&mut times, 9)), (5.0, 9.0));
        assert_eq!((tenths(&mut [], 5), tenths(&mut times[..1], 9)), (0.0, 1.0));
    }

    #[test]
    fn memory_is_known_here() {
        memory::forget_peak();
        assert!(memory::peak().is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn threads_are_for_the_cpu() {
        let options = Options {
            model: PathBuf::new(),
            device: vec![Choice(DeviceChoice::Cpu), Choice(DeviceChoice::Gpu)],
            threads: vec![1, 2],
            batch: vec![1, 8],
            seconds: 1.0,
            f16: false,
            json: false,
        };
        let found: Vec<_> = ways(&options).into_iter().map(|way| (way.threads, way.batch)).collect();
        assert_eq!(
            found,
            [
                (Some(1), 1),
                (Some(1), 8),
                (Some(2), 1),
                (Some(2), 8),
                (None, 1),
                (None, 8)
            ]
        );
    }
}
