//! CIFAR-10 in its binary form: records of a label and 3,072 bytes, channels first.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Labelled, PICTURE_BYTES, TrainError};

/// The files of the data set, and the one with the names of the classes.
const TRAINING_FILES: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST_FILE: &str = "test_batch.bin";
const META_FILE: &str = "batches.meta.txt";

const RECORD_BYTES: usize = 1 + PICTURE_BYTES;
/// The real files have 10,000 records.
const MAX_RECORDS: usize = 100_000;
/// The real file has 61 bytes.
const MAX_META_BYTES: u64 = 4096;
/// What the network has outputs for.
const CLASSES: usize = 10;

/// The data set: its classes, what to train on, and what is held out.
#[derive(Debug)]
pub struct Cifar10 {
    /// Names of the classes, in the order of their labels.
    pub classes: Vec<String>,
    /// The records of `data_batch_*.bin`.
    pub training: Labelled,
    /// The records of `test_batch.bin`.
    pub test: Labelled,
}

/// Reads the folder that the archive `cifar-10-binary.tar.gz` unpacks to.
///
/// # Errors
/// Names the file, and the record, that is not as it should be. At least one `data_batch_*.bin` must be
/// there.
pub fn read(folder: &Path) -> Result<Cifar10, TrainError> {
    let classes = read_classes(&folder.join(META_FILE))?;
    let present: Vec<PathBuf> = TRAINING_FILES
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| path.exists())
        .collect();
    if present.is_empty() {
        let message = format!("none of {} is there", TRAINING_FILES.join(", "));
        return Err(TrainError::Data {
            path: folder.to_owned(),
            message,
        });
    }
    let mut training = Labelled::default();
    for path in present {
        read_records(&path, &mut training)?;
    }
    let mut test = Labelled::default();
    read_records(&folder.join(TEST_FILE), &mut test)?;
    Ok(Cifar10 {
        classes,
        training,
        test,
    })
}

fn read_classes(path: &Path) -> Result<Vec<String>, TrainError> {
    let failed = |source| TrainError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    File::open(path)
        .map_err(failed)?
        .take(MAX_META_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let classes: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if classes.len() != CLASSES {
        let message = format!("{} lines with names, expected {CLASSES}", classes.len());
        return Err(TrainError::Data {
            path: path.to_owned(),
            message,
        });
    }
    // They become parts of file names.
    let plain = |name: &str| {
        name.chars()
            .all(|part| part.is_alphanumeric() || matches!(part, ' ' | '_' | '-'))
    };
    if let Some(class) = classes.iter().find(|class| !plain(class)) {
        let message = format!("`{}` is no plain name", class.escape_debug());
        return Err(TrainError::Data {
            path: path.to_owned(),
            message,
        });
    }
    Ok(classes)
}

fn read_records(path: &Path, into: &mut Labelled) -> Result<(), TrainError> {
    let failed = |source| TrainError::Read {
        path: path.to_owned(),
        source,
    };
    let wrong = |message| {
        Err(TrainError::Data {
            path: path.to_owned(),
            message,
        })
    };
    let limit = (MAX_RECORDS * RECORD_BYTES) as u64;
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return wrong(format!("more than {MAX_RECORDS} records"));
    }
    let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
    if records.is_empty() {
        return wrong(format!("{} bytes, expected records of {RECORD_BYTES}", bytes.len()));
    }
    if !rest.is_empty() {
        return wrong(format!(
            "{} bytes after record {}: it is cut off",
            rest.len(),
            records.len() - 1
        ));
    }
    for (index, record) in records.iter().enumerate() {
        let Some((label, picture)) = record.split_first() else {
            return wrong(format!("record {index} is empty"));
        };
        if usize::from(*label) >= CLASSES {
            return wrong(format!(
                "record {index} has the label {label}, not within 0 to {}",
                CLASSES - 1
            ));
        }
        into.pictures.push(picture);
        into.labels.push(usize::from(*label));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{META_FILE, PICTURE_BYTES, RECORD_BYTES, TEST_FILE, read};
    use crate::Pictures;

    const NAMES: &str = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

    fn record(label: u8, value: u8) -> Vec<u8> {
        let mut record = vec![value; RECORD_BYTES];
        record[0] = label;
        record
    }

    fn write(folder: &Path, name: &str, contents: &[u8]) {
        std::fs::write(folder.join(name), contents).unwrap();
    }

    fn good() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), META_FILE, NAMES.as_bytes());
        write(
            folder.path(),
            "data_batch_1.bin",
            &[record(3, 10), record(9, 20)].concat(),
        );
        write(folder.path(), "data_batch_4.bin", &record(0, 30));
        write(folder.path(), TEST_FILE, &record(7, 40));
        folder
    }

    #[test]
    fn records_are_read_in_order() {
        let data = read(good().path()).unwrap();
        assert_eq!(data.classes[9], "truck");
        assert_eq!(data.training.labels, [3, 9, 0]);
        assert_eq!(data.test.labels, [7]);
        let mut expected = Pictures::default();
        [10, 20, 30]
            .into_iter()
            .for_each(|value| expected.push(&[value; PICTURE_BYTES]));
        assert_eq!(data.training.pictures, expected);
    }

    #[test]
    fn a_wrong_file_is_named_with_what_is_wrong() {
        let check = |name: &str, contents: Option<&[u8]>, expected: &str| {
            let folder = good();
            match contents {
                Some(contents) => write(folder.path(), name, contents),
                None => std::fs::remove_file(folder.path().join(name)).unwrap(),
            }
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        };
        check(
            "data_batch_1.bin",
            Some(&[record(3, 1), vec![1, 2]].concat()),
            "2 bytes after record 0",
        );
        check(
            "data_batch_1.bin",
            Some(&[record(3, 1), record(10, 1)].concat()),
            "record 1 has the label 10",
        );
        check("data_batch_4.bin", Some(&[]), "0 bytes");
        check(TEST_FILE, None, "cannot read");
        check(META_FILE, Some(b"one\ntwo\n"), "2 lines");
        let outside = NAMES.replace("bird", "../bird");
        check(META_FILE, Some(outside.as_bytes()), "`../bird` is no plain name");
    }

    #[test]
    fn a_folder_without_batches_is_told() {
        let folder = good();
        std::fs::remove_file(folder.path().join("data_batch_1.bin")).unwrap();
        std::fs::remove_file(folder.path().join("data_batch_4.bin")).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("none of data_batch_1.bin"), "{error}");
    }
}
