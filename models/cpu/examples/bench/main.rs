//! Runs networks on demand: `bench.py` beside it asks, and times the same in ONNX Runtime in turn.
//!
//! Reads lines: `load NAME FILE SET THREADS BATCH`, `time NAME BATCH RUNS` (answers seconds and CPU seconds of a run),
//! `check NAME BATCH INPUT OUTPUT` (files of floats).

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use millrace_cpu::{Executor, InstructionSet, Options};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut executors = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = answer(&mut executors, &words).unwrap_or_else(|error| format!("error: {error}"));
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(executors: &mut HashMap<String, Executor>, words: &[&str]) -> Outcome<String> {
    match words {
        ["load", name, file, set, threads, batch] => {
            let graph = read(file)?;
            let options = Options {
                threads: threads.parse()?,
                instruction_set: parse_set(set)?,
                max_batch: batch.parse()?,
            };
            let begin = Instant::now();
            let executor = Executor::new(&graph, options)?;
            let plain: std::collections::BTreeSet<&str> = executor.plain_nodes().iter().map(String::as_str).collect();
            let answer = format!(
                "{} {} {plain:?}",
                begin.elapsed().as_secs_f64(),
                executor.memory_bytes()
            );
            executors.insert((*name).to_owned(), executor);
            Ok(answer)
        }
        ["time", name, batch, runs] => {
            let executor = executors.get_mut(*name).ok_or("not loaded")?;
            let (batch, runs): (usize, u32) = (batch.parse()?, runs.parse()?);
            let input = noise(batch * executor.input_len());
            let mut outputs = vec![Vec::new(); executor.output_lens().len()];
            executor.run(&input, batch, &mut outputs)?;
            let (begin, begin_cpu) = (Instant::now(), cpu_seconds()?);
            for _ in 0..runs {
                executor.run(&input, batch, &mut outputs)?;
            }
            let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds()? - begin_cpu);
            Ok(format!("{} {}", wall / f64::from(runs), cpu / f64::from(runs)))
        }
        ["check", name, batch, input, output] => {
            let executor = executors.get_mut(*name).ok_or("not loaded")?;
            let bytes = std::fs::read(input)?;
            let input: Vec<f32> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let mut outputs = vec![Vec::new(); executor.output_lens().len()];
            executor.run(&input, batch.parse()?, &mut outputs)?;
            let first = outputs.first().ok_or("no output")?;
            std::fs::write(
                output,
                first.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<u8>>(),
            )?;
            Ok("ok".to_owned())
        }
        _ => Err("unknown request".into()),
    }
}

/// A network as passes leave it.
fn read(file: &str) -> Outcome<millrace_graph::Graph> {
    let source = millrace_onnx::Source::open(std::path::Path::new(file))?;
    let model = millrace_onnx::Model::read(&source)?;
    let lowered = model
        .lower(&millrace_onnx::Options::default())
        .map_err(|problems| format!("{problems:?}"))?;
    Ok(millrace_graph::optimise(
        lowered.graph,
        &millrace_graph::Options::default(),
    ))
}

fn parse_set(name: &str) -> Outcome<InstructionSet> {
    Ok(match name {
        "auto" => InstructionSet::Auto,
        "avx2" => InstructionSet::Avx2,
        "avx512" => InstructionSet::Avx512,
        "neon" => InstructionSet::Neon,
        "portable" => InstructionSet::Portable,
        other => return Err(format!("no instruction set `{other}`").into()),
    })
}

/// Numbers from -1/2 to 1/2, always the same.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..count).map(next).collect()
}

/// CPU seconds that this process has used, all threads together: Linux alone says it so.
fn cpu_seconds() -> Outcome<f64> {
    let nanoseconds = |path: std::path::PathBuf| -> Outcome<f64> {
        let text = std::fs::read_to_string(path)?;
        Ok(text.split_whitespace().next().ok_or("no schedstat")?.parse()?)
    };
    let mut sum = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        sum += nanoseconds(thread?.path().join("schedstat"))?;
    }
    Ok(sum / 1e9)
}
