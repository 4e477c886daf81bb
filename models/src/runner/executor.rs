//! Executors of a graph: batches in, every output out. Know no models and no messages.

use std::fmt::Debug;

/// For each item its numbers of each output, row-major.
pub(super) type Outputs = Vec<Vec<Vec<f32>>>;

/// The numbers of each item, from each output's numbers of all items.
pub(super) fn by_item(outputs: &[Vec<f32>], n_items: usize) -> Outputs {
    let of_item = |item: usize| {
        let own = outputs.iter().map(|output| {
            let length = output.len().checked_div(n_items).unwrap_or_default();
            output
                .get(item * length..(item + 1) * length)
                .unwrap_or_default()
                .to_vec()
        });
        own.collect()
    };
    (0..n_items).map(of_item).collect()
}

/// A graph that is ready to run on a device, used by one thread.
pub(super) trait Executor: Debug + Send {
    /// Runs the numbers of `n_items` items, one item after the other.
    ///
    /// # Errors
    /// When the device fails. What panics is contained by the caller.
    fn run(&mut self, numbers: Vec<f32>, n_items: usize) -> Result<Outputs, Fault>;
}

/// Why a batch failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The device says that it can do no more.
    Poisoned(String),
    /// It has too little memory for so many items.
    OutOfMemory(String),
    /// Anything else.
    Other(String),
}

/// The errors of devices without memory, in lower case: only their words identify them.
const OUT_OF_MEMORY: [&str; 4] = [
    "out of memory",
    "out of device memory",
    "not enough memory",
    "can't allocate buffer",
];
/// Lines of a device's report that say nothing about what happened.
const ASIDE: [&str; 5] = ["Caused by", "No backtrace", "Asked at", "skipped", "("];

impl Fault {
    /// One that is known by its words alone.
    pub(super) fn of(report: &str) -> Self {
        let lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.filter(|line| !ASIDE.iter().any(|aside| line.starts_with(aside)));
        let reason = lines.collect::<Vec<_>>().join(": ");
        let lower = reason.to_lowercase();
        match OUT_OF_MEMORY.iter().any(|words| lower.contains(words)) {
            true => Self::OutOfMemory(reason),
            false => Self::Other(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn a_lack_of_memory_is_known_by_its_words() {
        let report = "An error happened\n  skipped `KernelBinop`: it needed memory\nCaused by:\n  An IO error happened\n\
                      Caused by:\n  can't allocate buffer of size: 1859125248\nNo backtrace available";
        match Fault::of(report) {
            Fault::OutOfMemory(reason) => assert_eq!(
                reason,
                "An error happened: An IO error happened: can't allocate buffer of size: 1859125248"
            ),
            other => panic!("{other:?}"),
        }
        assert!(matches!(Fault::of("a kernel failed"), Fault::Other(_)));
    }
}
