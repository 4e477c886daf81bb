//! Damage, format by format: a file is whole when all of it was read, and nothing is left of it.

use super::super::{Alpha, Colour, Decoder, Limits, Turn};

const GIF: &[u8] = include_bytes!("../../../testdata/image/animated.gif");
const LOSSY: &[u8] = include_bytes!("../../../testdata/image/lossy.webp");
const LOSSLESS: &[u8] = include_bytes!("../../../testdata/image/lossless.webp");
const LOSSY_ALPHA: &[u8] = include_bytes!("../../../testdata/image/lossy-alpha.webp");
const ANIMATED_LOSSY: &[u8] = include_bytes!("../../../testdata/image/animated-lossy.webp");
const PART: &[u8] = include_bytes!("../../../testdata/image/part.gif");

fn error(file: &[u8]) -> String {
    match Decoder::default().decode(file) {
        Ok(picture) => format!("a picture of {:?}", picture.size()),
        Err(error) => error.to_string(),
    }
}

fn adler(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

/// A stream of zlib's that is not compressed.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    [b"\x78\x01\x01".as_slice(), &lengths, bytes, &adler(bytes).to_be_bytes()].concat()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let checked = [name.as_slice(), data].concat();
    [
        &(data.len() as u32).to_be_bytes(),
        checked.as_slice(),
        &crc32fast::hash(&checked).to_be_bytes(),
    ]
    .concat()
}

/// A PNG of 2x2 grey pixels, of which some chunks are as they are given.
fn png(header: &[u8; 5], before: &[u8], data: &[u8], behind: &[u8]) -> Vec<u8> {
    let header = [b"\0\0\0\x02\0\0\0\x02".as_slice(), header].concat();
    let signature = b"\x89PNG\r\n\x1a\n";
    let end = chunk(b"IEND", b"");
    [
        signature.as_slice(),
        &chunk(b"IHDR", &header),
        before,
        data,
        behind,
        &end,
    ]
    .concat()
}

const GREY: &[u8; 5] = b"\x08\0\0\0\0";
const PIXELS: &[u8] = b"\0\x01\x02\0\x03\x04";

#[test]
fn a_png_is_what_its_chunks_say() {
    let data = chunk(b"IDAT", &stored(PIXELS));
    let whole = png(
        GREY,
        &chunk(b"tIME", b"\x07\xe8\x01\x01\0\0\0"),
        &data,
        &chunk(b"tEXt", b"a\0b"),
    );
    assert_eq!(error(&whole), "a picture of (2, 2)");
    let behind = [whole.as_slice(), b"what is behind the end"].concat();
    assert_eq!(error(&behind), "a picture of (2, 2)");
    // Every byte has a checksum, or is one.
    for at in 0..whole.len() {
        for bits in [0x01, 0x20, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= bits;
            assert!(!error(&damaged).starts_with("a picture"), "byte {at}, {bits:#x}");
        }
    }
    for length in 8..whole.len() {
        let text = error(&whole[..length]);
        assert_eq!(text, "a truncated PNG: the end of the picture is missing", "{length}");
    }

    let check = |file: Vec<u8>, expected: &str| assert_eq!(error(&file), format!("a {expected}"));
    let mut wrong_time = whole.clone();
    wrong_time[33 + 8] ^= 1;
    check(wrong_time, "PNG whose chunk tIME has a wrong checksum");
    let mut wrong_sum = stored(PIXELS);
    *wrong_sum.last_mut().unwrap() ^= 1;
    check(
        png(GREY, b"", &chunk(b"IDAT", &wrong_sum), b""),
        "PNG that cannot be decoded: WrongChecksum",
    );
    let without_sum = &stored(PIXELS)[..stored(PIXELS).len() - 4];
    check(
        png(GREY, b"", &chunk(b"IDAT", without_sum), b""),
        "truncated PNG: its pixels have no end",
    );
    let of = |pixels: &[u8]| png(GREY, b"", &chunk(b"IDAT", &stored(pixels)), b"");
    check(of(&PIXELS[..5]), "PNG with fewer pixels than its header says");
    check(
        of(b"\0\x01\x02\0\x03\x04\0"),
        "PNG with more pixels than its header says",
    );
    check(of(&[0; 5000]), "PNG with more pixels than its header says");
    check(
        of(b"\x05\x01\x02\0\x03\x04"),
        "PNG with a row whose filter is not known",
    );
    let twice = [stored(PIXELS), stored(PIXELS)].concat();
    check(
        png(GREY, b"", &chunk(b"IDAT", &twice), b""),
        "PNG with data behind the end of its pixels",
    );
    check(png(GREY, b"", b"", b""), "PNG without a picture");
    let apart = [
        chunk(b"IDAT", &stored(PIXELS)[..9]),
        chunk(b"tEXt", b"a\0b"),
        chunk(b"IDAT", &stored(PIXELS)[9..]),
    ]
    .concat();
    check(png(GREY, b"", &apart, b""), "PNG whose pixels are in two places");
    check(png(GREY, &chunk(b"IHDR", &[0; 13]), &data, b""), "PNG with two headers");
    check(
        png(GREY, &chunk(b"CgBI", b""), &data, b""),
        "PNG with a chunk CgBI that is not known",
    );
    check(
        png(b"\x08\0\0\0\x02", b"", &data, b""),
        "PNG with a header that is not known",
    );
    check(
        png(b"\x03\0\0\0\0", b"", &data, b""),
        "PNG of 3 bits a sample with colours of kind 0, which there are not",
    );
    check(
        png(b"\x10\0\0\0\0", b"", &data, b""),
        "PNG of grey of sixteen bits, of which a model was trained with no eight for certain: send eight",
    );
    check(png(b"\x08\x03\0\0\0", b"", &data, b""), "PNG without its palette");
    let palette = chunk(b"PLTE", &[9; 12]);
    check(
        png(b"\x08\x03\0\0\0", &palette, &data, b""),
        "PNG with a pixel of a colour that its palette does not have",
    );
    check(
        png(b"\x08\x03\0\0\0", &chunk(b"PLTE", &[9; 4]), &data, b""),
        "PNG with a palette that cannot be",
    );
    check(
        png(GREY, &chunk(b"tRNS", &[9; 4]), &data, b""),
        "PNG with a transparency that cannot be",
    );
    let control = [b"\0\0\0\0".as_slice(), b"\0\0\0\x01\0\0\0\x02", &[0; 14]].concat();
    check(
        png(GREY, &chunk(b"fcTL", &control), &data, b""),
        "PNG whose first picture is not as large as it",
    );
}

#[test]
fn a_gif_is_whole_up_to_its_trailer() {
    for file in [GIF, PART] {
        assert!(error(file).starts_with("a picture"));
        for length in 6..file.len() {
            let text = error(&file[..length]);
            assert!(
                text.starts_with("a truncated GIF: ") || text.starts_with("a GIF "),
                "{length}: {text}"
            );
        }
    }
    assert_eq!(
        error(&GIF[..GIF.len() - 1]),
        "a truncated GIF: the end of the picture is missing"
    );
    assert_eq!(error(&[GIF, b"what is behind the end"].concat()), error(GIF));
}

/// A GIF of 2x2 pixels in codes of nine bits, with a code that clears the table before each.
fn gif(indices: &[u16], end: &[u16]) -> Vec<u8> {
    let codes = indices
        .iter()
        .flat_map(|&index| [256, index])
        .chain(end.iter().copied());
    let (mut bits, mut n_bits, mut data) = (0u32, 0, Vec::new());
    for code in codes {
        bits |= u32::from(code) << n_bits;
        n_bits += 9;
        while n_bits >= 8 {
            data.push(bits as u8);
            bits >>= 8;
            n_bits -= 8;
        }
    }
    data.push(bits as u8);
    let header = b"GIF89a\x02\0\x02\0\x80\0\0\x01\x02\x03\x04\x05\x06,\0\0\0\0\x02\0\x02\0\0\x08";
    [header.as_slice(), &[data.len() as u8], &data, b"\0;"].concat()
}

#[test]
fn the_pixels_of_a_gif_are_all_there() {
    assert_eq!(error(&gif(&[0, 1, 1, 0], &[257])), "a picture of (2, 2)");
    // The code that ends them has nothing to say where all of them are there.
    assert_eq!(error(&gif(&[0, 1, 1, 0], &[])), "a picture of (2, 2)");
    for (indices, end) in [
        ([0, 1, 1].as_slice(), [257].as_slice()),
        (&[], &[257]),
        (&[0, 1, 1, 0, 0], &[257]),
        (&[0, 1, 1, 0, 0, 1], &[257]),
    ] {
        let text = error(&gif(indices, end));
        assert!(text.starts_with("a GIF "), "{indices:?}, {end:?}: {text}");
    }
}

#[test]
fn the_last_control_block_with_a_colour_counts() {
    let whole = gif(&[0, 1, 1, 0], &[257]);
    let with = |blocks: &[u8]| [&whole[..19], blocks, &whole[19..]].concat();
    let first = |file: Vec<u8>| Decoder::default().decode(&file).unwrap().pixels()[..3].to_vec();
    assert_eq!(first(whole.clone()), [1, 2, 3]);
    for blocks in [
        b"!\xf9\x04\x01\0\0\0\0".as_slice(),
        // One that is longer than it must be, and one behind it that names no colour.
        b"!\xf9\x06\x01\0\0\0\0\0\0",
        b"!\xf9\x04\x01\0\0\0\0!\xf9\x04\0\0\0\x01\0",
    ] {
        assert_eq!(first(with(blocks)), [255; 3], "{blocks:?}");
    }
    assert_eq!(
        error(&with(b"!\xf9\x03\x01\0\0\0")),
        "a GIF with a control block that is too short"
    );
}

/// A WebP whose lengths are right, and whose coded pixels are cut off.
#[test]
fn the_pixels_of_a_webp_are_all_there() {
    for file in [LOSSY, LOSSLESS] {
        let whole = Decoder::default().decode(file).unwrap();
        let length = u32::from_le_bytes(file[16..20].try_into().unwrap()) as usize;
        for kept in 1..length - 1 {
            let data = &file[20..20 + kept];
            let padded = [data, if kept % 2 == 1 { b"\0".as_slice() } else { b"" }].concat();
            let riff = (padded.len() as u32 + 12).to_le_bytes();
            let cut = [
                b"RIFF",
                riff.as_slice(),
                b"WEBP",
                &file[12..16],
                &(kept as u32).to_le_bytes(),
                &padded,
            ]
            .concat();
            match Decoder::default().decode(&cut) {
                // The last bytes of arithmetic coding may have nothing to say.
                Ok(picture) => assert!(picture == whole && kept + 4 > length, "{kept} of {length}"),
                Err(error) => assert!(error.to_string().starts_with("a WebP "), "{kept} of {length}: {error}"),
            }
        }
        let behind = [file, b"what is behind the end"].concat();
        assert_eq!(error(&behind), error(file));
        let mut longer = [file, b"EXIF\x09\0\0\0"].concat();
        let riff = (longer.len() as u32 - 8).to_le_bytes();
        longer[4..8].copy_from_slice(&riff);
        assert_eq!(error(&longer), "a truncated WebP: it is shorter than it says");
    }
}

/// The chunks of a WebP, or of a frame of one.
fn chunks(mut rest: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut chunks = Vec::new();
    while let [name @ .., a, b, c, d] = &rest[..rest.len().min(8)] {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        chunks.push((name, &rest[8..8 + length]));
        rest = rest.get(8 + length.next_multiple_of(2)..).unwrap_or_default();
    }
    chunks
}

fn joined(chunks: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, data) in chunks {
        all.extend([name, (data.len() as u32).to_le_bytes().as_slice(), data].concat());
        all.extend(vec![0; data.len() % 2]);
    }
    all
}

fn webp(chunks: &[(&[u8], &[u8])]) -> Vec<u8> {
    let chunks = joined(chunks);
    let length = (chunks.len() as u32 + 4).to_le_bytes();
    [b"RIFF", length.as_slice(), b"WEBP", &chunks].concat()
}

/// Nothing is left of coded data, and no more is read than there is: so that damage in the middle of them is noticed, too.
#[test]
fn the_data_of_a_webp_are_just_enough() {
    let left = "a WebP with data behind the end of its pixels";
    for file in [LOSSY, LOSSLESS] {
        let &[(name, data)] = chunks(&file[12..]).as_slice() else {
            panic!()
        };
        for n_bytes in [9, 100, 5000] {
            for byte in [0, 0x55] {
                let longer = [data, &vec![byte; n_bytes]].concat();
                assert_eq!(error(&webp(&[(name, &longer)])), left, "{n_bytes}");
            }
        }
        // From a place in the middle on all is zero.
        for begin in [data.len() / 4, data.len() / 2, data.len() * 3 / 4] {
            let zeroed = [&data[..begin], &vec![0; data.len() - begin]].concat();
            let text = error(&webp(&[(name, &zeroed)]));
            assert!(text.starts_with("a WebP "), "{begin}: {text}");
        }
    }
    // The first of two partitions has its own length.
    let &[(name, data)] = chunks(&LOSSY[12..]).as_slice() else {
        panic!()
    };
    let tag = u32::from_le_bytes([data[0], data[1], data[2], 0]);
    let (first, second) = data[10..].split_at(tag as usize >> 5);
    let with_first = |first: &[u8]| {
        let tag = (tag & 0x1f) | (first.len() as u32) << 5;
        let data = [&tag.to_le_bytes()[..3], &data[3..10], first, second].concat();
        error(&webp(&[(name, &data)]))
    };
    assert_eq!(with_first(first), error(LOSSY));
    assert_eq!(with_first(&[first, &[0; 5]].concat()), left);
    assert_eq!(
        with_first(&first[..first.len() - 4]),
        "a WebP whose data end before its pixels do"
    );
    let shorter = [&(tag & 0x1f).to_le_bytes()[..3], &data[3..]].concat();
    assert!(error(&webp(&[(name, &shorter)])).starts_with("a WebP "));

    let alpha = chunks(&LOSSY_ALPHA[12..]);
    let longer = [alpha[1].1, &[0; 8]].concat();
    let file = webp(&[alpha[0], (b"ALPH", &longer), alpha[2]]);
    assert_eq!(error(&file), left);
}

#[test]
fn a_webp_has_its_chunks_where_they_belong() {
    let check = |chunks: &[(&[u8], &[u8])], expected: &str| assert_eq!(error(&webp(chunks)), format!("a {expected}"));
    let (alpha, animated) = (chunks(&LOSSY_ALPHA[12..]), chunks(&ANIMATED_LOSSY[12..]));
    let (&[header, alph, pixels], [screen, anim, frame, ..]) = (alpha.as_slice(), animated.as_slice()) else {
        panic!()
    };
    let (screen, anim, frame) = (*screen, *anim, *frame);
    let lossless = chunks(&LOSSLESS[12..])[0];
    let whole = "picture of (37, 21)";
    check(&[header, alph, pixels], whole);
    check(&[header, alph, (b"ABCD", b"junk"), pixels, (b"ABCD", b"junk")], whole);
    check(&[pixels, (b"ABCD", b"junk")], whole);
    let begins = "WebP that does not begin with its picture or its header";
    check(&[alph, pixels], begins);
    check(&[frame], begins);
    let second = "WebP with a second picture, or parts of one, behind its own";
    check(&[pixels, pixels], second);
    check(&[pixels, alph], second);
    check(&[pixels, header], second);
    check(&[header, header, pixels], "WebP with two extended headers");
    check(&[header, pixels, alph], "WebP with alpha where none belongs");
    check(&[header, alph, alph, pixels], "WebP with alpha where none belongs");
    check(&[header, alph, lossless], "WebP with alpha where none belongs");
    check(
        &[header, alph, pixels, pixels],
        "WebP with two pictures in the place of one",
    );
    check(&[header, alph], "WebP without a picture");
    check(&[header, lossless], "WebP with two headers that contradict each other");

    check(&[screen, anim, frame], "picture of (24, 18)");
    check(&[screen, anim], "WebP without a picture");
    let unannounced = "WebP with a picture of an animation that its header does not announce";
    check(&[screen, frame], unannounced);
    check(&[header, anim, frame], unannounced);
    let beside = "WebP with a picture beside those of its animation";
    check(&[screen, anim, frame, pixels], beside);
    check(&[screen, pixels], beside);
    check(
        &[screen, (b"ANIM", b"\0\0"), frame],
        "WebP whose animation has a header that cannot be",
    );
    // Later pictures have their headers checked.
    let later = |data: &[u8], expected: &str| check(&[screen, anim, frame, (b"ANMF", data)], expected);
    let [place, parts] = [&frame.1[..16], &frame.1[16..]];
    later(frame.1, "picture of (24, 18)");
    later(&frame.1[..15], "truncated WebP: it is shorter than it says");
    later(place, "WebP without a picture");
    later(
        &[&[1], &place[1..], parts].concat(),
        "WebP with a picture that is not inside of it",
    );
    later(
        &[place, &joined(&[pixels])].concat(),
        "WebP with two headers that contradict each other",
    );
    later(
        &[place, parts, &joined(&[pixels])].concat(),
        "WebP with two pictures in the place of one",
    );
    let coded = *chunks(parts).last().unwrap();
    for (at, byte) in [(0, 1), (0, 0x08), (0, 0), (2, 0xff)] {
        let mut data = coded.1.to_vec();
        data[at] = if at == 0 { data[at] & 0xe0 | byte } else { byte };
        later(
            &[place, &joined(&[(coded.0, &data)])].concat(),
            "WebP whose lossy data have a header that cannot be",
        );
    }
}

/// As libwebp has it: an extended header without the flag makes all pixels opaque, and what they leave free black.
#[test]
fn a_webp_without_the_flag_of_alpha_has_none() {
    let first = |file: &[u8], alpha: Alpha| {
        let options = Decoder::default().with_background(Colour([1, 2, 3])).with_alpha(alpha);
        options.decode(file).unwrap().pixels().into_owned()
    };
    for file in [LOSSY_ALPHA, ANIMATED_LOSSY] {
        let mut without = file.to_vec();
        without[20] &= !0x10;
        assert_eq!(first(&without, Alpha::Blend), first(file, Alpha::Ignore));
        assert_ne!(first(&without, Alpha::Blend), first(file, Alpha::Blend));
    }
    // The screen is larger than its pictures: 40x30.
    let mut free = ANIMATED_LOSSY.to_vec();
    free[24..30].copy_from_slice(&[39, 0, 0, 29, 0, 0]);
    assert_eq!(first(&free, Alpha::Blend)[40 * 30 * 3 - 3..], [1, 2, 3]);
    free[20] &= !0x10;
    assert_eq!(first(&free, Alpha::Blend)[40 * 30 * 3 - 3..], [0, 0, 0]);
}

/// A picture of one row over another, seen one way up or the other by what its metadata say.
#[test]
fn a_png_is_turned_by_exif_and_by_xmp_wherever_they_stand() {
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
    let digits: String = exif.iter().map(|byte| format!("{byte:02x}")).collect();
    let profile = format!("\nexif\n      26\n{}\n{}\n", &digits[..20], &digits[20..]);
    let xmp = br#"<x tiff:Orientation="3"/>"#;
    let data = chunk(b"IDAT", &stored(PIXELS));
    let turned = |chunk: Vec<u8>| {
        for file in [png(GREY, &chunk, &data, b""), png(GREY, b"", &data, &chunk)] {
            let picture = Decoder::default().decode(&file).unwrap();
            assert_eq!(picture.pixels().as_ref(), [4, 3, 2, 1]);
            let lying = Decoder::default().with_turn(Turn::Ignore).decode(&file).unwrap();
            assert_eq!(lying.pixels().as_ref(), [1, 2, 3, 4]);
        }
    };
    let text = |keyword: &[u8], between: &[u8], text: &[u8]| [keyword, b"\0", between, text].concat();
    turned(chunk(b"eXIf", exif));
    turned(chunk(b"tEXt", &text(b"Raw profile type exif", b"", profile.as_bytes())));
    turned(chunk(
        b"zTXt",
        &text(b"Raw profile type exif", b"\0", &stored(profile.as_bytes())),
    ));
    turned(chunk(b"iTXt", &text(b"XML:com.adobe.xmp", b"\0\0\0\0", xmp)));
    turned(chunk(
        b"iTXt",
        &text(b"XML:com.adobe.xmp", b"\x01\0en\0a\0", &stored(xmp)),
    ));
    let unreadable = chunk(b"zTXt", &text(b"Raw profile type exif", b"\0", b"nothing"));
    assert_eq!(
        error(&png(GREY, &unreadable, &data, b"")),
        "a PNG with compressed metadata that cannot be read, and may say which way up it is"
    );
}

/// What a header promises is asked of the limits first.
#[test]
fn limits_come_before_memory() {
    let limits = Limits {
        max_bytes: 5,
        ..Limits::default()
    };
    let file = png(GREY, b"", &chunk(b"IDAT", &stored(PIXELS)), b"");
    let error = Decoder::default().with_limits(limits).decode(&file).unwrap_err();
    assert_eq!(error.to_string(), "decoding the picture takes 6 bytes, the limit is 5");
}
