//! `cargo xtask`: sets up what is missing, then does it. Knows the repository's layout and nothing of its code.

mod bench;
mod chaos;
mod demo;
mod fuzz;
mod guests;
mod instructions;
mod machine;
mod parity;
mod project;
mod python;
mod step;
mod test;

use std::process::Command;

use anyhow::Result;
use clap::{Parser, Subcommand};

use project::{Program, Project};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up what is missing, then does it")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds everything, classifies a folder of sample pictures and prints their labels.
    Demo,
    /// Installs what is missing, builds the plugins and runs every check: what a change must pass.
    Test {
        /// Run only the tests whose name contains this text, and no other check.
        filter: Option<String>,
    },
    /// Builds the plugins, and the guests that tests use, for both wasm targets.
    Guests,
    /// Writes what is made of the code: the JSON Schemas in schema/, and the tables of the reference in docs/.
    Generate,
    /// Trains a model and writes its folder: `train shapes`, `train cifar10 DIR`.
    // Its `--help` is that of the program that it starts.
    #[command(disable_help_flag = true)]
    Train {
        /// What the trainer takes; `cargo xtask train --help` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Random faults against three competing hosts: is anything lost?
    // Its `--help` is that of the program that it starts.
    #[command(disable_help_flag = true)]
    Chaos {
        /// What it takes, such as `--minutes 5 --seed 7` or `--messages 10000`; `cargo xtask chaos --help` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Counts the instructions and allocations of one message, and fails where they rose; `--update --because WHY` states a rise.
    // Its `--help` is that of the program that it starts.
    #[command(disable_help_flag = true)]
    Instructions {
        /// What it takes; `cargo xtask instructions --help` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Draws broken input for whatever strangers write: plugins.toml, models, pictures, headers, what plugins return.
    Fuzz(fuzz::Arguments),
    /// Compares networks of torchvision and timm with ONNX Runtime: their outputs, and images a second.
    Parity(parity::Arguments),
    /// Measures the released build of Millrace beside everything that people compare it with, on one broker.
    // Its `--help` is that of the program that it starts.
    #[command(disable_help_flag = true)]
    Bench {
        /// What the bench takes, such as `--quick` or `--queue classic`; `cargo xtask bench --help` lists it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Repeats one thing for long, and demands that memory, threads and open files stay as they are.
    Soak {
        /// What is repeated
        #[arg(value_enum)]
        what: Soak,
        /// Such as `--swaps 1000`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What can be repeated.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Soak {
    /// Swaps of a plugin while messages flow
    Swaps,
}

fn main() -> Result<()> {
    let project = Project::find()?;
    match Arguments::parse().verb {
        Verb::Demo => demo::run(&project),
        Verb::Test { filter } => test::run(&project, filter.as_deref()),
        Verb::Guests => guests::run(&project),
        Verb::Generate => test::generate(&project),
        Verb::Train { arguments } => train(&project, &arguments),
        Verb::Chaos { arguments } => chaos::run(&project, &arguments),
        Verb::Instructions { arguments } => instructions::run(&project, &arguments),
        Verb::Fuzz(arguments) => fuzz::run(&project, &arguments),
        Verb::Parity(arguments) => parity::run(&project, &arguments),
        Verb::Bench { arguments } => bench::run(&project, &arguments),
        Verb::Soak {
            what: Soak::Swaps,
            mut arguments,
        } => {
            arguments.insert(0, "soak".to_owned());
            bench::run(&project, &arguments)
        }
    }
}

fn train(project: &Project, arguments: &[String]) -> Result<()> {
    let trainer = project.build("millrace-train", Program::Binary("millrace-train"))?;
    step::must_succeed(Command::new(trainer).args(arguments).current_dir(&project.root))
}
