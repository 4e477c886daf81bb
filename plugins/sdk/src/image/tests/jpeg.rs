//! JPEGs of every layout against the pixels that Pillow makes of them: `testdata/image/record_jpeg.py` records these. And
//! what is refused, by name.

use serde_json::Value;

use super::super::{Decoder, ImageError};

const CASES: &str = include_str!("../../../testdata/image/jpeg.json");
const FILES: &[u8] = include_bytes!("../../../testdata/image/jpeg.bin");

fn cases() -> Vec<Value> {
    serde_json::from_str(CASES).unwrap()
}

/// The file of a recorded case.
fn file(case: &Value) -> &'static [u8] {
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    &FILES[number("at")..number("at") + number("length")]
}

/// One that is recorded, by what its name begins with.
fn named(name: &str) -> &'static [u8] {
    let cases = cases();
    file(
        cases
            .iter()
            .find(|case| case["name"].as_str().unwrap().starts_with(name))
            .unwrap_or_else(|| panic!("{name}")),
    )
}

/// FNV-1a in 64 bits.
fn digest(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |number, &byte| {
        (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{number:016x}")
}

fn decode(file: &[u8]) -> Result<super::super::Picture, ImageError> {
    Decoder::default().decode(file)
}

#[test]
fn every_layout_gives_the_pixels_of_pillow() {
    let cases = cases();
    assert!(cases.len() > 250, "{}", cases.len());
    for case in &cases {
        let picture = decode(file(case)).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        let size = serde_json::json!([picture.width(), picture.height(), picture.channels()]);
        assert_eq!(size, case["out"], "{}", case["name"]);
        let pixels = picture.pixels();
        let begin = serde_json::json!(&pixels[..pixels.len().min(6)]);
        assert_eq!(
            (digest(&pixels), begin),
            (case["digest"].as_str().unwrap().to_owned(), case["begin"].clone()),
            "{}",
            case["name"]
        );
    }
}

/// Where a marker is, of the segments before the first scan.
fn place(file: &[u8], marker: u8) -> usize {
    let mut at = 2;
    while file[at + 1] != marker {
        at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
    }
    at
}

fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn inserted(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    [&file[..at], bytes, &file[at..]].concat()
}

/// Without the segments of a kind that are before the first scan.
fn without(file: &[u8], marker: u8) -> Vec<u8> {
    let mut kept = file[..2].to_vec();
    let mut at = 2;
    while file[at + 1] != 0xda {
        let length = 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        if file[at + 1] != marker {
            kept.extend_from_slice(&file[at..at + length]);
        }
        at += length;
    }
    kept.extend_from_slice(&file[at..]);
    kept
}

#[test]
fn what_is_not_decoded_right_is_refused_by_name() {
    let check = |file: &[u8], expected: &str| {
        let error = decode(file).map(|picture| picture.size()).unwrap_err().to_string();
        assert_eq!(error, format!("a JPEG {expected}"));
    };
    let baseline = named("4:2:0, 17x15");
    let frame = place(baseline, 0xc0);
    let kind =
        |name: &str| format!("of the {name} kind, which is not decoded: baseline, extended and progressive ones are");
    for (marker, name) in [
        (0xc3, "lossless"),
        (0xc5, "hierarchical"),
        (0xc6, "hierarchical"),
        (0xc7, "hierarchical"),
        (0xc9, "arithmetic-coded"),
        (0xca, "arithmetic-coded"),
        (0xcb, "lossless arithmetic-coded"),
        (0xcd, "hierarchical"),
        (0xde, "hierarchical"),
    ] {
        check(&with(baseline, frame + 1, &[marker]), &kind(name));
    }
    let field = |at: usize, bytes: &[u8]| with(baseline, frame + at, bytes);
    check(
        &field(4, &[12]),
        "of 12 bits a sample, which is not decoded: those of 8 are",
    );
    check(
        &field(5, &[0, 0]),
        "that tells its height behind its picture, or has none",
    );
    check(
        &field(9, &[2]),
        "of 2 components, which is not decoded: grey ones, and those of 3 and 4, are",
    );
    check(&field(9, &[4]), "whose frame header has another length than it says");
    check(&field(11, &[0x02]), "with a sampling factor of 0x2: they are 1 to 4");
    check(&field(11, &[0x25]), "with a sampling factor of 2x5: they are 1 to 4");
    check(
        &field(11, &[0x32, 1, 2, 0x22]),
        "with a component of 2x2 samples beside one of 3x2, which is not decoded: one must be a multiple of the other",
    );
    check(
        &field(11, &[0x44]),
        "with more than ten blocks in a unit of a scan, which is not decoded",
    );
    check(&field(13, &[1]), "with two components of one name");
    check(
        &field(12, &[9]),
        "with a component whose table of quantisers is beyond the fourth",
    );
    check(&field(12, &[2]), "without the quantisers that a component names");
    check(
        &without(baseline, 0xdb),
        "without the quantisers that a component names",
    );

    let scan = place(baseline, 0xda);
    let second = baseline[frame..].to_vec();
    check(&[&baseline[..scan], &second].concat(), "with two frame headers");
    check(
        &inserted(baseline, scan, b"\xff\xd8"),
        "with the beginning of a second one inside",
    );
    check(
        &inserted(baseline, scan, b"junk"),
        "with bytes between its segments that belong to none",
    );
    check(
        &inserted(baseline, scan, b"\xff\0"),
        "with bytes between its segments that belong to none",
    );
    check(
        &inserted(baseline, scan, b"\xff\xd0"),
        "with a marker that does not belong between its segments",
    );
    check(
        &inserted(baseline, scan, b"\xff\xdc\0\x04\0\x0f"),
        "that tells its height behind its picture",
    );
    check(
        &with(baseline, scan + 5, &[9]),
        "with a scan header that does not fit its frame",
    );
    check(
        &with(baseline, scan + 7, &[1]),
        "with a scan header that does not fit its frame",
    );
    check(
        &with(baseline, scan + 6, &[0x20]),
        "without the Huffman table that a scan names",
    );
    check(
        &with(baseline, scan + 11, &[1]),
        "with a scan header that does not fit its frame",
    );
    check(&[&baseline[..scan], b"\xff\xd9"].concat(), "without a picture");
    check(
        &with(baseline, place(baseline, 0xc4) + 5, &[255; 4]),
        "with a Huffman table that cannot be",
    );

    // The standard's tables are those of motion JPEG, which is not progressive.
    let progressive = named("written by Pillow: {'progressive': True}");
    check(
        &without(progressive, 0xc4),
        "without the Huffman table that a scan names",
    );
}

/// The scans of a file: where each begins, and the end marker.
fn scans(file: &[u8]) -> Vec<usize> {
    let pairs = file.windows(2).enumerate();
    pairs
        .filter(|(_, pair)| matches!(pair, [0xff, 0xda | 0xd9]))
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn a_picture_is_complete_by_what_was_decoded() {
    let check = |file: &[u8], expected: &str| {
        let error = decode(file).map(|picture| picture.size()).unwrap_err().to_string();
        assert_eq!(error, format!("a {expected}"));
    };
    let baseline = named("4:2:0, 32x33");
    let [begin, end] = scans(baseline)[..] else { panic!() };
    let middle = begin + (end - begin) / 2;
    check(&baseline[..middle], "truncated JPEG: the end of the picture is missing");
    check(
        &[&baseline[..middle], b"\xff\xd9"].concat(),
        "JPEG whose coded data end before its picture does",
    );
    check(&baseline[..end], "truncated JPEG: the end of the picture is missing");
    check(
        &inserted(baseline, end, b"\x12"),
        "JPEG with coded data behind the end of its picture",
    );
    check(
        &[&baseline[..end], &baseline[begin..]].concat(),
        "JPEG with two scans of one component",
    );

    // Of several scans each must be there, once, and whole.
    let apart = named("4:2:0, one by one, baseline");
    let at = scans(apart);
    check(
        &[&apart[..at[2]], &apart[at[3]..]].concat(),
        "JPEG without a scan of one of its components",
    );
    check(
        &[&apart[..at[1]], &apart[at[0]..]].concat(),
        "JPEG whose scans do not follow from each other: it lacks one, or has one twice",
    );
    check(
        &[&apart[..at[1] - 9], &apart[at[1]..]].concat(),
        "JPEG whose coded data end before its picture does",
    );

    let by_bits = named("4:2:0, interleaved, by bits");
    let at = scans(by_bits);
    let last = at.len() - 1;
    for missing in 0..last {
        let file = [&by_bits[..at[missing]], &by_bits[at[missing + 1]..]].concat();
        let error = decode(&file).map(|picture| picture.size()).unwrap_err().to_string();
        let expected = [
            "a JPEG whose scans begin with the details",
            "a JPEG whose scans do not follow from each other: it lacks one, or has one twice",
            "a JPEG that ends before the last of its scans",
        ];
        assert!(expected.contains(&error.as_str()), "without scan {missing}: {error}");
    }
    check(
        &[&by_bits[..at[last - 1]], &by_bits[at[last]..]].concat(),
        "JPEG that ends before the last of its scans",
    );

    // Restart markers come in their order, and so often.
    let restarted = named("4:2:2, one by one, by bits");
    let marker = restarted.windows(2).position(|pair| pair == [0xff, 0xd1]);
    let damaged = "JPEG with damaged data: a restart marker is missing or out of turn";
    if let Some(marker) = marker {
        check(&with(restarted, marker, &[0xff, 0xd2]), damaged);
    } else {
        panic!("no restart marker");
    }
}

/// Quantisers that make other coefficients of the same ones: what no samples of eight bits have, libjpeg-turbo's vectors do
/// not hold, and every processor decodes otherwise.
#[test]
fn samples_far_beyond_black_and_white_are_damage() {
    for name in ["4:4:4, interleaved, baseline", "4:2:0, interleaved, by bits"] {
        let mut file = named(name).to_vec();
        let mut at = 2;
        while file[at + 1] != 0xda {
            let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
            if file[at + 1] == 0xdb {
                for table in file[at + 4..end].chunks_mut(65) {
                    table[1..].fill(255);
                }
            }
            at = end;
        }
        assert_eq!(
            decode(&file).unwrap_err().to_string(),
            "a JPEG with damaged data: they hold samples that are far beyond black and white",
            "{name}"
        );
    }
}

/// A cut at every place, closed with an end marker or not, is noticed; and so are 16 bytes of zeros, unless what they say is
/// a picture of which all is there.
#[test]
fn no_cut_is_taken_for_a_picture() {
    for name in [
        "4:2:0, 15x17",
        "4:2:0, one by one, by bits",
        "4:1:1, first, then the rest, baseline",
        "written by Pillow: {'progressive': True}",
        "written by Pillow: {'restart_marker_rows': 1}",
        "without Huffman tables: {}",
        "four, interleaved, by bands",
        "grey of 2x2",
    ] {
        let file = named(name);
        let whole = decode(file).unwrap();
        for length in 2..file.len() - 1 {
            let cut = &file[..length];
            assert!(decode(cut).is_err(), "{name}: {length}");
            // What is left may have ended with the last byte of the data.
            match decode(&[cut, b"\xff\xd9"].concat()) {
                Ok(picture) => assert!(picture == whole && length + 2 >= file.len(), "{name}: {length}"),
                Err(ImageError::Broken { .. } | ImageError::Truncated { .. } | ImageError::NoPixels { .. }) => {}
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }
}

/// A third of the data is zeros. How much less than that can still be codes of just as many blocks, nobody can say.
#[test]
fn zeros_in_the_middle_are_noticed() {
    for name in [
        "kinds: coefficients as large",
        "4:4:4, interleaved, baseline",
        "4:2:0, one by one, baseline",
        "chroma finer, interleaved, baseline",
    ] {
        let file = named(name);
        let begin = place(file, 0xda) + 14;
        let length = (file.len() - begin) / 3;
        for at in (begin..file.len() - length - 2).step_by(7) {
            let zeroed = with(file, at, &vec![0; length]);
            assert!(decode(&zeroed).is_err(), "{name}: {length} at {at}");
        }
    }
}
