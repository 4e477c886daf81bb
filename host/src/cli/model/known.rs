//! The best-known training sets: how their pictures are normalised, and the names of their classes. Knows no model.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Means and deviations of a training set's channels, of 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Normalisation {
    pub(super) name: &'static str,
    pub(super) mean: &'static [f32],
    pub(super) std: &'static [f32],
    help: &'static str,
}

/// By name, as `Normalize(mean, std)` behind `ToTensor()` has them.
const NORMALISATIONS: [Normalisation; 8] = [
    Normalisation {
        name: "imagenet",
        mean: &[0.485, 0.456, 0.406],
        std: &[0.229, 0.224, 0.225],
        help: "torchvision, most of timm",
    },
    Normalisation {
        name: "half",
        mean: &[0.5],
        std: &[0.5],
        help: "-1 to 1: ViT, Inception and MobileNet from TensorFlow, Keras's mode \"tf\"",
    },
    Normalisation {
        name: "clip",
        mean: &[0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: &[0.268_629_54, 0.261_302_6, 0.275_777_1],
        help: "CLIP and what was trained from it",
    },
    Normalisation {
        name: "cifar10",
        mean: &[0.4914, 0.4822, 0.4465],
        std: &[0.2470, 0.2435, 0.2616],
        help: "CIFAR-10",
    },
    Normalisation {
        name: "cifar100",
        mean: &[0.5071, 0.4865, 0.4409],
        std: &[0.2673, 0.2564, 0.2762],
        help: "CIFAR-100",
    },
    Normalisation {
        name: "mnist",
        mean: &[0.1307],
        std: &[0.3081],
        help: "MNIST",
    },
    Normalisation {
        name: "fashion-mnist",
        mean: &[0.2860],
        std: &[0.3530],
        help: "Fashion-MNIST",
    },
    Normalisation {
        name: "none",
        mean: &[0.0],
        std: &[1.0],
        help: "0 to 1: `ToTensor()` alone, Ultralytics",
    },
];

/// 1,000 names from WordNet, whose licence is beside them.
const IMAGENET_1K: &str = include_str!("imagenet1k.txt");
const CIFAR_10: &str = "airplane automobile bird cat deer dog frog horse ship truck";
const DIGITS: &str = "0 1 2 3 4 5 6 7 8 9";
const FASHION: &str = "T-shirt/top\nTrouser\nPullover\nDress\nCoat\nSandal\nShirt\nSneaker\nBag\nAnkle boot";

/// The names of what has labels here.
const LABELLED: &str = "`imagenet1k`, `cifar10`, `mnist`, `fashion-mnist`";

/// The largest file of labels that is read.
const LABELS_MAX_BYTES: u64 = 4 << 20;

/// Looks a normalisation up.
///
/// # Errors
/// Lists those that there are.
pub(super) fn normalisation(name: &str) -> Result<Normalisation, String> {
    let found = NORMALISATIONS.iter().find(|known| known.name == name);
    found.copied().ok_or_else(|| {
        let known: Vec<String> = NORMALISATIONS
            .iter()
            .map(|known| format!("`{}` ({})", known.name, known.help))
            .collect();
        format!("there is {}", known.join(", "))
    })
}

/// The labels of a training set by name, or the lines of a file.
///
/// # Errors
/// When it is neither, or the file holds none.
pub(super) fn labels(given: &str) -> anyhow::Result<Vec<String>> {
    let words = |text: &str, by: char| text.split(by).map(str::to_owned).collect();
    match given {
        "imagenet1k" => return Ok(IMAGENET_1K.lines().map(str::to_owned).collect()),
        "cifar10" => return Ok(words(CIFAR_10, ' ')),
        "mnist" => return Ok(words(DIGITS, ' ')),
        "fashion-mnist" => return Ok(words(FASHION, '\n')),
        _ => {}
    }
    let path = Path::new(given);
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LABELS_MAX_BYTES + 1).read_to_string(&mut text))
        .with_context(|| format!("--labels: `{given}` is neither one of {LABELLED} nor a file that can be read"))?;
    if text.len() as u64 > LABELS_MAX_BYTES {
        bail!("--labels: `{given}` has more than {LABELS_MAX_BYTES} bytes: write one label a line");
    }
    // A mark of the byte order, as some editors write it, is part of no label.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match labels.iter().position(String::is_empty) {
        None if !labels.is_empty() => Ok(labels),
        None => bail!("--labels: `{given}` is empty: write one label a line, in the order of the network's outputs"),
        Some(line) => bail!(
            "--labels: line {} of `{given}` is empty: write one label a line, in the order of the network's outputs",
            line + 1
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn known_sets_have_as_many_labels_as_classes() {
        let check = |name: &str, n_labels: usize, at: usize, expected: &str| {
            let labels = labels(name).unwrap();
            assert_eq!((labels.len(), labels[at].as_str()), (n_labels, expected));
            assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), n_labels, "{name}");
        };
        check("imagenet1k", 1000, 999, "toilet tissue");
        check("imagenet1k", 1000, 207, "golden retriever");
        check("cifar10", 10, 9, "truck");
        check("mnist", 10, 7, "7");
        check("fashion-mnist", 10, 0, "T-shirt/top");
    }

    #[test]
    fn labels_are_the_lines_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            labels(path.to_str().unwrap())
        };
        assert_eq!(read("a cat\r\ndog\n").unwrap(), ["a cat", "dog"]);
        assert_eq!(read("\u{feff}cat\ndog\n").unwrap(), ["cat", "dog"]);
        assert!(
            read("")
                .unwrap_err()
                .to_string()
                .ends_with("in the order of the network's outputs")
        );
        assert!(read("a\n\nb\n").unwrap_err().to_string().contains("line 2 of"));
        let error = labels("imagenet").unwrap_err().to_string();
        assert!(error.contains("neither one of `imagenet1k`, `cifar10`"), "{error}");
    }

    #[test]
    fn normalisations_are_known_by_name() {
        assert_eq!(normalisation("imagenet").unwrap().mean[0], 0.485);
        let error = normalisation("imagnet").unwrap_err();
        assert!(error.starts_with("there is `imagenet` (torchvision"), "{error}");
        for known in NORMALISATIONS {
            assert!(matches!(known.mean.len(), 1 | 3) && known.std.len() == known.mean.len());
        }
    }
}
