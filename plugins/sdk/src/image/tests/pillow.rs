//! Recorded numbers: `testdata/image/record.py` makes them.

use serde_json::Value;

use super::super::{Alpha, Colour, Decoder, Filter, Letterbox, Limits, Picture, Region};
use super::draw_turned;

const CASES: &str = include_str!("../../../testdata/image/pillow.json");
const PIXELS: &[u8] = include_bytes!("../../../testdata/image/pillow.bin");

/// The files that are decoded, by the names in the recorded cases.
const FILES: [(&str, &[u8]); 13] = [
    ("lossy.webp", include_bytes!("../../../testdata/image/lossy.webp")),
    ("lossless.webp", include_bytes!("../../../testdata/image/lossless.webp")),
    ("palette.webp", include_bytes!("../../../testdata/image/palette.webp")),
    (
        "lossy-alpha.webp",
        include_bytes!("../../../testdata/image/lossy-alpha.webp"),
    ),
    (
        "lossless-alpha.webp",
        include_bytes!("../../../testdata/image/lossless-alpha.webp"),
    ),
    ("turned.webp", include_bytes!("../../../testdata/image/turned.webp")),
    (
        "animated-lossy.webp",
        include_bytes!("../../../testdata/image/animated-lossy.webp"),
    ),
    ("animated.webp", include_bytes!("../../../testdata/image/animated.webp")),
    ("still.gif", include_bytes!("../../../testdata/image/still.gif")),
    ("animated.gif", include_bytes!("../../../testdata/image/animated.gif")),
    (
        "transparent.gif",
        include_bytes!("../../../testdata/image/transparent.gif"),
    ),
    ("part.gif", include_bytes!("../../../testdata/image/part.gif")),
    ("free.gif", include_bytes!("../../../testdata/image/free.gif")),
];

fn cases() -> Vec<Value> {
    serde_json::from_str(CASES).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|number| number.as_u64().unwrap() as u32).collect()
}

fn source(case: &Value) -> Picture {
    let source = &case["source"];
    let number = |key: &str| source[key].as_u64().unwrap();
    let picture = draw_turned(
        source["kind"].as_str().unwrap(),
        number("width") as u32,
        number("height") as u32,
        number("orientation") as u16,
    );
    if source["mode"] == "L" {
        picture.into_grey()
    } else {
        picture
    }
}

/// The largest difference of any sample.
#[track_caller]
fn difference(found: &Picture, case: &Value) -> u8 {
    let out = numbers(&case["out"]);
    assert_eq!(
        (found.width(), found.height(), found.channels() as u32),
        (out[0], out[1], out[2]),
        "{case}"
    );
    let at = case["at"].as_u64().unwrap() as usize;
    let expected = &PIXELS[at..at + (out[0] * out[1] * out[2]) as usize];
    let found = found.pixels();
    let differences = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| found.abs_diff(*expected));
    differences.max().unwrap()
}

fn perform(picture: &Picture, case: &Value) -> Picture {
    let filter = || serde_json::from_value::<Filter>(case["filter"].clone()).unwrap();
    let size = || {
        let size = numbers(&case["size"]);
        (size[0], size[1])
    };
    match case["operation"].as_str().unwrap() {
        "resize" => picture.resize(size().0, size().1, filter()),
        "cover" => picture.cover(size().0, size().1, filter()),
        "contain" => picture.contain(size().0, size().1, filter()),
        "letterbox" => {
            let fill: Colour = case["fill"].as_str().unwrap().parse().unwrap();
            let letterbox = Letterbox {
                filter: filter(),
                fill,
                ..Letterbox::default()
            };
            picture.letterbox(size().0, size().1, &letterbox)
        }
        "crop" => {
            let [left, top, width, height] = numbers(&case["region"])[..] else {
                panic!("{case}")
            };
            let region = Region {
                left,
                top,
                width,
                height,
            };
            picture.crop(region).unwrap()
        }
        "evaluation" => {
            let side = case["side"].as_u64().unwrap() as u32;
            let resized = picture.shorter_side(side, filter(), &Limits::default()).unwrap();
            resized.centred(size().0, size().1)
        }
        "center_crop" => picture.center_crop(size().0, size().1).unwrap(),
        "grey" => picture.clone().into_grey(),
        other => panic!("{other}"),
    }
}

#[test]
fn operations_give_the_numbers_of_pillow() {
    let cases = cases();
    let operations: Vec<&Value> = cases.iter().filter(|case| case["operation"].is_string()).collect();
    assert_eq!(operations.len(), 189);
    for case in operations {
        assert_eq!(difference(&perform(&source(case), case), case), 0, "{case}");
    }
}

#[test]
fn files_give_the_numbers_of_pillow() {
    let cases = cases();
    let decoder = Decoder::default().with_background(Colour([32, 64, 200]));
    for case in cases.iter().filter(|case| case["file"].is_string()) {
        let name = case["file"].as_str().unwrap();
        let (_, file) = FILES.iter().find(|(known, _)| *known == name).unwrap();
        let alpha = if case["alpha"] == "ignore" {
            Alpha::Ignore
        } else {
            Alpha::Blend
        };
        let picture = decoder.clone().with_alpha(alpha).decode(file).unwrap();
        let found = difference(&picture, case);
        let most = case["tolerance"].as_u64().unwrap();
        assert!(u64::from(found) <= most, "{name}, {alpha:?}: {found}");
    }
}
