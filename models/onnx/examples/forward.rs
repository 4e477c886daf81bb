//! Runs an ONNX file on demand: `tests/models/parity.py` asks, and asks ONNX Runtime the same.
//!
//! Reads a request a line and answers each with a line: `load FILE DEVICE THREADS` (seconds, nodes and bytes; DEVICE is
//! `cpu`, or `reference` for the interpreter), `run ITEMS INPUT OUTPUT` (reads a file of floats, writes OUTPUT.0, OUTPUT.1
//! and so on, and answers how many), `time ITEMS SECONDS` (the seconds of the quickest run).

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_cpu::{Executor, InstructionSet};
use millrace_graph::Graph;
use millrace_onnx::{Items, Model, Options, Source};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The most items that are asked for at once.
const MAX_BATCH: usize = 64;

/// A network that is loaded.
struct Network {
    graph: Graph,
    /// Whether the graph takes one item and no more.
    is_single: bool,
    /// Nothing where the interpreter runs it.
    executor: Option<Executor>,
}

fn main() -> Outcome<()> {
    let mut network = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = answer(&mut network, &words).unwrap_or_else(|error| format!("error: {error}").replace('\n', "; "));
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(network: &mut Option<Network>, words: &[&str]) -> Outcome<String> {
    match words {
        ["load", file, device, threads] => {
            let begin = Instant::now();
            let loaded = load(Path::new(file), device, threads.parse()?)?;
            let seconds = begin.elapsed().as_secs_f64();
            let bytes = loaded.executor.as_ref().map_or(0, Executor::memory_bytes);
            let answer = format!("{seconds} {} {bytes}", loaded.graph.nodes().len());
            *network = Some(loaded);
            Ok(answer)
        }
        ["run", items, input, output] => {
            let network = network.as_mut().ok_or("nothing is loaded")?;
            let bytes = std::fs::read(input)?;
            let input: Vec<f32> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let outputs = network.run(&input, items.parse()?)?;
            for (index, numbers) in outputs.iter().enumerate() {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                std::fs::write(format!("{output}.{index}"), bytes)?;
            }
            Ok(outputs.len().to_string())
        }
        ["time", items, seconds] => {
            let network = network.as_mut().ok_or("nothing is loaded")?;
            let best = network.time(items.parse()?, Duration::try_from_secs_f64(seconds.parse()?)?)?;
            Ok(best.as_secs_f64().to_string())
        }
        _ => Err("load FILE DEVICE THREADS, run ITEMS INPUT OUTPUT or time ITEMS SECONDS".into()),
    }
}

fn load(file: &Path, device: &str, threads: usize) -> Outcome<Network> {
    let source = Source::open(file)?;
    let lowered = Model::read(&source)?.lower(&Options::default()).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })?;
    let graph = millrace_graph::optimise(lowered.graph, &millrace_graph::Options::default());
    let is_single = lowered.items == Items::One;
    let max_batch = if is_single { 1 } else { MAX_BATCH };
    let options = millrace_cpu::Options {
        threads,
        instruction_set: InstructionSet::Auto,
        max_batch,
    };
    let executor = match device {
        "cpu" => Some(Executor::new(&graph, options)?),
        "reference" => None,
        other => return Err(format!("the device is `cpu` or `reference`, not `{other}`").into()),
    };
    Ok(Network {
        graph,
        is_single,
        executor,
    })
}

impl Network {
    fn run(&mut self, input: &[f32], items: usize) -> Outcome<Vec<Vec<f32>>> {
        let at_once = if self.is_single { 1 } else { items };
        let mut whole = vec![Vec::new(); self.graph.outputs().len()];
        let mut part = whole.clone();
        for chunk in input.chunks((input.len() / items.max(1) * at_once).max(1)) {
            match &mut self.executor {
                Some(executor) => executor.run(chunk, at_once, &mut part)?,
                None => part = millrace_graph::interpret(&self.graph, at_once, chunk)?,
            }
            whole.iter_mut().zip(&part).for_each(|(whole, part)| whole.extend(part));
        }
        Ok(whole)
    }

    fn time(&mut self, items: usize, at_least: Duration) -> Outcome<Duration> {
        let shape = self.graph.shape(self.graph.input()).clone();
        let n_numbers: usize = shape.0.iter().map(|axis| axis.size).product();
        // Numbers like those of pictures: with zeros, some processors are quicker.
        let input: Vec<f32> = (0..n_numbers * items)
            .map(|place| (place * 7919 % 2003) as f32 / 1001.5 - 1.0)
            .collect();
        self.run(&input, items)?;
        let (begin, mut best) = (Instant::now(), Duration::MAX);
        while begin.elapsed() < at_least {
            let started = Instant::now();
            self.run(&input, items)?;
            best = best.min(started.elapsed());
        }
        Ok(best)
    }
}
