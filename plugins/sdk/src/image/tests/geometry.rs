//! Turns, parts and sizes.

use super::super::{Colour, Filter, Fit, ImageError, Letterbox, Picture, Place, Region};
use super::{draw, draw_turned};

const FILTERS: [Filter; 6] = [
    Filter::Nearest,
    Filter::Box,
    Filter::Bilinear,
    Filter::Hamming,
    Filter::Bicubic,
    Filter::Lanczos,
];

/// The same picture, lying as it is looked at.
fn upright(picture: &Picture) -> Picture {
    let (width, height) = picture.size();
    Picture::rgb(width, height, picture.pixels().into_owned()).unwrap()
}

#[test]
fn a_turned_picture_is_as_one_that_lies_so() {
    let region = Region {
        left: 3,
        top: 1,
        width: 6,
        height: 8,
    };
    for tag in 1..=8 {
        let turned = draw_turned("noise", 13, 10, tag);
        let lying = upright(&turned);
        for filter in FILTERS {
            for (width, height) in [(7, 5), (20, 31), (13, 4)] {
                let same = |found: Picture, expected: Picture| {
                    assert_eq!(found.size(), expected.size());
                    assert_eq!(found.pixels(), expected.pixels(), "{tag} {filter:?} {width}x{height}");
                };
                same(
                    turned.resize(width, height, filter),
                    lying.resize(width, height, filter),
                );
                same(turned.cover(width, height, filter), lying.cover(width, height, filter));
                let letterbox = Letterbox {
                    filter,
                    place: Place::TopLeft,
                    ..Letterbox::default()
                };
                same(
                    turned.letterbox(width, height, &letterbox),
                    lying.letterbox(width, height, &letterbox),
                );
                let (turned, lying) = (turned.crop(region).unwrap(), lying.crop(region).unwrap());
                same(
                    turned.resize(width, height, filter),
                    lying.resize(width, height, filter),
                );
            }
        }
    }
}

#[test]
fn flips_and_turns_are_seen() {
    let picture = Picture::grey(3, 2, b"abcdef".to_vec()).unwrap();
    let check = |picture: Picture, size: (u32, u32), expected: &[u8]| {
        assert_eq!(picture.size(), size);
        assert_eq!(picture.pixels(), expected);
    };
    check(picture.clone().flip_horizontal(), (3, 2), b"cbafed");
    check(picture.clone().flip_vertical(), (3, 2), b"defabc");
    check(picture.clone().rotate_right(1), (2, 3), b"daebfc");
    check(picture.clone().rotate_right(2), (3, 2), b"fedcba");
    check(picture.clone().rotate_right(7), (2, 3), b"cfbead");
    check(picture.rotate_right(1).flip_horizontal(), (2, 3), b"adbecf");
}

#[test]
fn a_picture_of_the_right_size_is_left_as_it_is() {
    let picture = draw("noise", 9, 7);
    for filter in FILTERS {
        assert_eq!(picture.resize(9, 7, filter), picture);
        assert_eq!(picture.fit(9, 7, Fit::Crop, filter), picture);
        assert_eq!(picture.fit(9, 7, Fit::Stretch, filter), picture);
        assert_eq!(picture.letterbox(9, 7, &Letterbox::default()), picture);
    }
}

#[test]
fn one_colour_stays_that_colour() {
    let flat = Picture::rgb(31, 17, [255, 0, 7].repeat(31 * 17)).unwrap();
    for filter in FILTERS {
        for (width, height) in [(5, 3), (31, 5), (90, 41), (1, 1)] {
            let found = flat.resize(width, height, filter);
            assert_eq!(
                found.pixels(),
                [255, 0, 7].repeat((width * height) as usize),
                "{filter:?}"
            );
        }
    }
}

#[test]
fn sums_of_very_many_samples_fit() {
    for (width, height) in [(20_000, 1), (1, 20_000)] {
        let white = Picture::grey(width, height, vec![255; 20_000]).unwrap();
        for filter in FILTERS {
            assert_eq!(white.resize(1, 1, filter).pixels(), [255].as_slice(), "{filter:?}");
            let colours = white.clone().into_rgb().resize(1, 1, filter);
            assert_eq!(colours.pixels(), [255; 3].as_slice(), "{filter:?}");
        }
    }
}

#[test]
fn slender_pictures_and_sizes_are_never_empty() {
    for (width, height) in [(1, 40), (40, 1), (1, 1), (0, 0)] {
        for picture in [
            draw("noise", 20, 1),
            draw("noise", 1, 20),
            draw_turned("noise", 30, 1, 6),
        ] {
            for filter in FILTERS {
                let size = (width.max(1), height.max(1));
                assert_eq!(picture.resize(width, height, filter).size(), size);
                assert_eq!(picture.cover(width, height, filter).size(), size);
                assert_eq!(picture.letterbox(width, height, &Letterbox::default()).size(), size);
                assert!(!picture.contain(width, height, filter).pixels().is_empty());
            }
        }
    }
}

#[test]
fn a_letterbox_has_its_bars_where_they_are_asked_for() {
    let picture = Picture::grey(2, 1, vec![1, 2]).unwrap();
    let check = |place: Place, enlarge: bool, expected: &[u8]| {
        let letterbox = Letterbox {
            filter: Filter::Nearest,
            place,
            enlarge,
            ..Letterbox::default()
        };
        assert_eq!(picture.letterbox(4, 3, &letterbox).pixels(), expected, "{place:?}");
    };
    check(Place::TopLeft, true, &[1, 1, 2, 2, 1, 1, 2, 2, 0, 0, 0, 0]);
    check(Place::BottomRight, true, &[0, 0, 0, 0, 1, 1, 2, 2, 1, 1, 2, 2]);
    check(Place::Center, false, &[0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0]);
    check(Place::TopLeft, false, &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Bars of a colour make a grey picture one of three channels.
    let letterbox = Letterbox {
        fill: Colour([9, 8, 7]),
        enlarge: false,
        ..Letterbox::default()
    };
    assert_eq!(
        picture.letterbox(2, 2, &letterbox).pixels(),
        [1, 1, 1, 2, 2, 2, 9, 8, 7, 9, 8, 7].as_slice()
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let picture = draw_turned("noise", 10, 6, 8);
    let region = |left: u32, top: u32, width: u32, height: u32| Region {
        left,
        top,
        width,
        height,
    };
    assert!(picture.crop(region(0, 0, 6, 10)).is_ok());
    for wrong in [
        region(1, 0, 6, 10),
        region(0, 1, 6, 10),
        region(0, 0, 0, 1),
        region(0, 0, 1, 0),
        region(u32::MAX, 0, 2, 2),
        region(0, 0, u32::MAX, u32::MAX),
    ] {
        assert!(
            matches!(picture.crop(wrong), Err(ImageError::Outside { .. })),
            "{wrong:?}"
        );
    }
    assert_eq!(
        picture.center_crop(7, 4).unwrap_err().to_string(),
        "a region of 7x4 pixels at 0, 3 is not inside a picture of 6x10"
    );
    assert_eq!(
        picture.pad(6, 9, Colour::BLACK, Place::Center).unwrap_err().to_string(),
        "the model wants 6x9 pixels, the picture has 6x10"
    );
    assert_eq!(
        Picture::rgb(2, 2, vec![0; 11]).unwrap_err().to_string(),
        "2x2 pixels of 3 channels have 12 bytes, not 11"
    );
    assert_eq!(
        Picture::grey(0, 2, vec![]).unwrap_err().to_string(),
        "a picture of 0x2 pixels has none"
    );
    assert!(Picture::rgb(u32::MAX, u32::MAX, vec![0; 3]).is_err());
}
