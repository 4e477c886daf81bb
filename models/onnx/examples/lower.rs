//! Lowers ONNX files, and says what came of each: a line where it worked, else every problem.
//!
//!     cargo run -p millrace-onnx --example lower -- FILE.. [--item 3,224,224] [--graph]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use millrace_onnx::{Model, Options, Source};

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut with_graph = false;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--graph" => with_graph = true,
            "--item" => {
                let lengths = arguments.next().unwrap_or_default();
                options.item = Some(lengths.split(',').filter_map(|length| length.parse().ok()).collect());
            }
            _ => files.push(argument),
        }
    }
    let failed = files.iter().filter(|file| !lowered(file, &options, with_graph)).count();
    println!("{} of {} lowered", files.len().saturating_sub(failed), files.len());
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn lowered(file: &str, options: &Options, with_graph: bool) -> bool {
    let begin = Instant::now();
    let source = match Source::open(Path::new(file)) {
        Ok(source) => source,
        Err(error) => {
            println!("{file}: {error}");
            return false;
        }
    };
    let model = match Model::read(&source) {
        Ok(model) => model,
        Err(error) => {
            println!("{file}: {error}");
            return false;
        }
    };
    match model.lower(options) {
        Ok(lowered) => {
            let graph = &lowered.graph;
            println!(
                "{file}: opset {}, {} nodes became {}, {} constants, {:?}, {} -> {}, {:?}",
                model.opset(),
                model.nodes(),
                graph.nodes().len(),
                graph.constants().len(),
                lowered.items,
                graph.shape(graph.input()),
                graph
                    .outputs()
                    .iter()
                    .map(|output| graph.shape(output.value).to_string())
                    .collect::<Vec<_>>()
                    .join(" "),
                begin.elapsed(),
            );
            if with_graph {
                for node in graph.nodes() {
                    println!(
                        "  {} {:?} {:?} -> {}",
                        node.name,
                        node.op,
                        node.inputs,
                        graph.shape(node.output)
                    );
                }
            }
            true
        }
        Err(problems) => {
            println!("{file}: {} problems", problems.len());
            for problem in problems {
                println!("  {problem}");
            }
            false
        }
    }
}
