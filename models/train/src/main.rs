//! Trains the small network and writes a model folder: on shapes that it draws, or on CIFAR-10.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use millrace_train::{
    self as train, Checkpoint, Course, Description, Labelled, Plan, Progress, TrainError, augment, cifar, shapes,
};

/// Trains a small convolutional network on the CPU and writes a model folder that Millrace serves.
///
/// After each epoch the state of the run is kept in OUT.checkpoint, beside the folder that will be written. A run that was cut
/// off goes on from there with --resume, and ends with the same weights as if it had not been; the file goes when the folder is
/// written.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask train", bin_name = "cargo xtask train", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    data: Data,
}

#[derive(Debug, Subcommand)]
enum Data {
    /// Ten kinds of shapes, drawn anew for every epoch
    Shapes {
        /// The model folder to write
        #[arg(long, default_value = "models/shapes-lenet")]
        out: PathBuf,
        /// How many epochs to train
        #[arg(long, default_value_t = 20)]
        epochs: usize,
        /// How many pictures an epoch has
        #[arg(long, default_value_t = 15_000)]
        pictures: usize,
        #[command(flatten)]
        common: Common,
    },
    /// CIFAR-10 in its binary form (cifar-10-binary.tar.gz, unpacked)
    Cifar10 {
        /// The folder with data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt
        folder: PathBuf,
        /// The model folder to write
        #[arg(long, default_value = "models/cifar10-lenet")]
        out: PathBuf,
        /// How many epochs to train
        #[arg(long, default_value_t = 8)]
        epochs: usize,
        /// What is done to the training pictures, anew in every epoch
        #[arg(long, value_enum, default_value_t = Augment::CropAndFlip)]
        augment: Augment,
        #[command(flatten)]
        common: Common,
    },
}

/// What a run is, whatever it trains on.
#[derive(Debug, Args)]
struct Common {
    /// Where all randomness starts
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Go on with a run that was cut off
    #[arg(long)]
    resume: bool,
}

/// What is done to the training pictures of each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Augment {
    /// Padded by 4 black pixels, a part of their size cut out at random, every second one flipped left to right
    CropAndFlip,
    /// Nothing
    None,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask train shapes --epochs 20
  cargo xtask train cifar10 cifar-10-batches-bin --out models/cifar10-lenet --epochs 20
  cargo xtask train cifar10 cifar-10-batches-bin --out models/cifar10-lenet --epochs 20 --resume";

/// What a checkpoint's name ends with, behind that of the folder.
const CHECKPOINT: &str = ".checkpoint";
/// Mistakes that are told by name at the end.
const N_MISTAKES: usize = 5;
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
            epochs,
            pictures,
            common,
        } => {
            let seed = common.seed;
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
            let job = Job {
                epochs,
                data: format!("{pictures} drawn shapes an epoch"),
                held_out: &held_out,
                about,
                out: &out,
            };
            fit(&job, &common, &mut |epoch| {
                shapes::draw(seed, epoch as u64 + 1, pictures)
            })
        }
        Data::Cifar10 {
            folder,
            out,
            epochs,
            augment,
            common,
        } => {
            let seed = common.seed;
            let data = cifar::read(&folder)?;
            let (how, words) = match augment {
                Augment::CropAndFlip => ("crop-and-flip", ", cropped and flipped at random"),
                Augment::None => ("none", ""),
            };
            let about = Description {
                name: "cifar10-lenet".to_owned(),
                description: "Tells the ten classes of CIFAR-10 apart in 32x32 RGB pictures".to_owned(),
                licence: "as the data set's".to_owned(),
                provenance: format!("trained by `cargo xtask train cifar10` from seed {seed}: {epochs} epochs{words}"),
                labels: data.classes,
                n_pictures: N_PICTURES,
            };
            let job = Job {
                epochs,
                data: format!("{} {how}", data.training.digest()),
                held_out: &data.test,
                about,
                out: &out,
            };
            fit(&job, &common, &mut |epoch| match augment {
                Augment::CropAndFlip => augment::crop_and_flip(&data.training, seed, epoch),
                Augment::None => data.training.clone(),
            })
        }
    }
}

/// What is trained and where it goes.
struct Job<'a> {
    epochs: usize,
    /// What tells this data from other data.
    data: String,
    held_out: &'a Labelled,
    about: Description,
    out: &'a Path,
}

fn fit(job: &Job<'_>, common: &Common, pictures: &mut dyn FnMut(usize) -> Labelled) -> Result<(), TrainError> {
    let start = Instant::now();
    let plan = Plan {
        seed: common.seed,
        epochs: job.epochs,
        batch: BATCH,
        learning_rate: LEARNING_RATE,
    };
    let mut kept = job.out.as_os_str().to_owned();
    kept.push(CHECKPOINT);
    let kept = PathBuf::from(kept);
    let from = left_off(&kept, &plan, job, common)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    let trained = train::train(
        &plan,
        &mut Course {
            from,
            data: &job.data,
            pictures,
            held_out: job.held_out,
            progress: &mut |progress| tell(&bar, plan.epochs, progress),
            keep: &mut |checkpoint| {
                create_parent(&kept)?;
                checkpoint.write(&kept)
            },
        },
    )?;
    bar.finish_and_clear();
    let written = train::write_folder(job.out, &trained, &job.about, job.held_out)?;
    remove(&kept)?;
    println!("what the held-out pictures are (rows) and what they were taken for (columns):");
    print!("{}", written.confusion.table());
    for (is, taken_for, count) in written.confusion.worst(N_MISTAKES) {
        println!("{count} of {is} were taken for {taken_for}");
    }
    println!(
        "{} of {} held-out pictures right ({:.2} %) after {:.1} minutes; {} and {} sample pictures written to {}",
        (written.accuracy * job.held_out.len() as f64).round(),
        job.held_out.len(),
        written.accuracy * 100.0,
        start.elapsed().as_secs_f64() / 60.0,
        job.about.name,
        written.pictures.len(),
        job.out.display()
    );
    Ok(())
}

/// The state of the run that is to go on. A run that was cut off is not begun anew without being asked to.
fn left_off(kept: &Path, plan: &Plan, job: &Job<'_>, common: &Common) -> Result<Option<Checkpoint>, TrainError> {
    let wrong = |message: &str| {
        Err(TrainError::Checkpoint {
            path: kept.to_owned(),
            message: message.to_owned(),
        })
    };
    match (kept.exists(), common.resume) {
        (false, false) => Ok(None),
        (true, true) => {
            let checkpoint = Checkpoint::read(kept)?;
            checkpoint.must_be_of(kept, plan, &job.data)?;
            println!("going on behind epoch {}", checkpoint.epochs_done);
            Ok(Some(checkpoint))
        }
        (true, false) => wrong("is of a run that was cut off: go on with --resume, or remove the file to begin anew"),
        (false, true) => wrong("is not there: no run was cut off here; begin one without --resume"),
    }
}

fn tell(bar: &ProgressBar, epochs: usize, progress: Progress) {
    match progress {
        Progress::Step { epoch, step, steps } => {
            if step == 1 {
                bar.set_length(steps as u64);
                bar.set_message(format!("epoch {epoch}/{epochs}"));
            }
            bar.set_position(step as u64);
        }
        Progress::Epoch { epoch, loss, accuracy } => {
            let share = accuracy * 100.0;
            // Above the bar on a terminal; a plain line where there is none.
            bar.suspend(|| println!("epoch {epoch}: loss {loss:.4}, {share:.2} % of the held-out pictures right"));
        }
    }
}

fn create_parent(path: &Path) -> Result<(), TrainError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|source| TrainError::Write {
        path: parent.to_owned(),
        source,
    })
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(TrainError::Write {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
