//! Trains the small network and writes a model folder: on shapes that it draws, or on CIFAR-10.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use millrace_models::train::{self, Description, Labelled, Plan, Progress, TrainError, cifar, shapes};

/// Trains a small convolutional network on the CPU and writes a model folder that Millrace serves.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    data: Data,
}

#[derive(Debug, Subcommand)]
enum Data {
    /// Ten kinds of shapes, drawn anew for every epoch.
    Shapes {
        /// The model folder to write.
        #[arg(long, default_value = "models/shapes-lenet")]
        out: PathBuf,
        /// Where all randomness starts.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// How many epochs to train.
        #[arg(long, default_value_t = 20)]
        epochs: usize,
        /// How many pictures an epoch has.
        #[arg(long, default_value_t = 15_000)]
        pictures: usize,
    },
    /// CIFAR-10 in its binary form (cifar-10-binary.tar.gz, unpacked).
    Cifar10 {
        /// The folder with data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt.
        folder: PathBuf,
        /// The model folder to write.
        #[arg(long, default_value = "models/cifar10-lenet")]
        out: PathBuf,
        /// Where all randomness starts.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// How many epochs to train.
        #[arg(long, default_value_t = 8)]
        epochs: usize,
    },
}

/// Pictures of one step.
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 2e-3;
/// How many pictures are held out of the drawn ones.
const HELD_OUT: usize = 4000;
/// Sample pictures in the model folder.
const N_PICTURES: usize = 12;
/// The stream that held-out pictures are drawn from; epochs have those from 1 on.
const HELD_OUT_STREAM: u64 = 0;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprint!(": {source}");
                cause = source.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), TrainError> {
    match arguments.data {
        Data::Shapes {
            out,
            seed,
            epochs,
            pictures,
        } => {
            let plan = Plan {
                seed,
                epochs,
                batch: BATCH,
                learning_rate: LEARNING_RATE,
            };
            let held_out = shapes::draw(seed, HELD_OUT_STREAM, HELD_OUT);
            let about = Description {
                name: "shapes-lenet".to_owned(),
                description: "Tells ten kinds of drawn shapes apart in 32x32 RGB pictures".to_owned(),
                licence: "Apache-2.0 OR MIT".to_owned(),
                provenance: format!(
                    "trained by `cargo xtask train shapes` from seed {seed}: {epochs} epochs of {pictures} pictures"
                ),
                labels: shapes::KINDS.map(str::to_owned).to_vec(),
                n_pictures: N_PICTURES,
            };
            fit(
                &plan,
                &mut |epoch| shapes::draw(seed, epoch as u64 + 1, pictures),
                &held_out,
                &about,
                &out,
            )
        }
        Data::Cifar10 {
            folder,
            out,
            seed,
            epochs,
        } => {
            let plan = Plan {
                seed,
                epochs,
                batch: BATCH,
                learning_rate: LEARNING_RATE,
            };
            let data = cifar::read(&folder)?;
            let about = Description {
                name: "cifar10-lenet".to_owned(),
                description: "Tells the ten classes of CIFAR-10 apart in 32x32 RGB pictures".to_owned(),
                licence: "as the data set's".to_owned(),
                provenance: format!("trained by `cargo xtask train cifar10` from seed {seed}: {epochs} epochs"),
                labels: data.classes,
                n_pictures: N_PICTURES,
            };
            fit(&plan, &mut |_| data.training.clone(), &data.test, &about, &out)
        }
    }
}

fn fit(
    plan: &Plan,
    pictures: &mut dyn FnMut(usize) -> Labelled,
    held_out: &Labelled,
    about: &Description,
    out: &Path,
) -> Result<(), TrainError> {
    let start = Instant::now();
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    let trained = train::train(plan, pictures, held_out, &mut |progress| match progress {
        Progress::Step { epoch, step, steps } => {
            if step == 1 {
                bar.set_length(steps as u64);
                bar.set_message(format!("epoch {epoch}/{}", plan.epochs));
            }
            bar.set_position(step as u64);
        }
        Progress::Epoch { epoch, loss, accuracy } => {
            let share = accuracy * 100.0;
            // Above the bar on a terminal; a plain line where there is none.
            bar.suspend(|| println!("epoch {epoch}: loss {loss:.4}, {share:.2} % of the held-out pictures right"));
        }
    })?;
    bar.finish_and_clear();
    let written = train::write_folder(out, &trained, about, held_out)?;
    println!(
        "{} of {} held-out pictures right ({:.2} %) after {:.1} minutes; {} and {} sample pictures written to {}",
        (written.accuracy * held_out.len() as f64).round(),
        held_out.len(),
        written.accuracy * 100.0,
        start.elapsed().as_secs_f64() / 60.0,
        about.name,
        written.pictures.len(),
        out.display()
    );
    Ok(())
}
