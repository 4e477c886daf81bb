//! The evaluation transforms of torchvision and timm: `testdata/evaluation.py` records what these make of drawn pictures.

use super::*;

const ROWS: &str = include_str!("../../testdata/evaluation.txt");

fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = |hashed: u64, byte: &u8| (hashed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash)
}

#[test]
fn resize_and_center_crop_give_the_pixels_of_torchvision() {
    assert_eq!(ROWS.lines().count(), 80);
    for row in ROWS.lines() {
        let [width, height, side, filter, out_height, out_width, hash] = row.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let number = |text: &str| text.parse::<u32>().unwrap();
        let mut settings = json!({ "resize": filter, "alpha": "ignore", "orientation": "ignore" });
        if side != "0" {
            settings["shorter_side"] = number(side).into();
        }
        let picture = message(rgb_png(number(width), number(height)), "image/png");
        let tensor = preprocess(&settings, &picture, &wants(3, number(out_height), number(out_width))).unwrap();
        let TensorData::Bytes(planes) = tensor.data() else {
            panic!("floats")
        };
        assert_eq!(format!("{:016x}", fnv1a(planes)), hash, "{row}");
    }
}
