//! Pictures of ten kinds of shapes, drawn from a seed: turned, scaled, coloured, noisy and partly hidden.

use std::f32::consts::{PI, TAU};

use super::random::Random;
use super::{CHANNELS, Labelled, PICTURE_BYTES, Pictures, SIDE};

/// The kinds, in the order of their labels.
pub const KINDS: [&str; 10] = [
    "circle", "ring", "crescent", "triangle", "square", "star", "cross", "heart", "arrow", "bar",
];

/// Points a pixel is asked for along each axis, for soft edges.
const SAMPLES: usize = 3;
/// Radius of a shape in pixels.
const RADIUS: (f32, f32) = (9.0, 14.0);
/// Least distance between the colours of shape and background, of at most about 1.7.
const CONTRAST: f32 = 0.7;
/// Largest turn either way, in radians: the network is too small to know shapes in every position.
const TURN: f32 = PI / 6.0;
/// Largest deviation of the noise, of a range of 1.
const NOISE: f32 = 0.08;
/// How often something lies in front of a shape.
const HIDDEN_SHARE: f32 = 0.3;

type Colour = [f32; CHANNELS];

/// Draws `count` pictures, their kinds in turn. The same seed and stream draw the same pictures.
pub fn draw(seed: u64, stream: u64, count: usize) -> Labelled {
    let mut random = Random::stream(seed, stream);
    let mut pictures = Pictures::default();
    let mut labels = Vec::with_capacity(count);
    for index in 0..count {
        let kind = index % KINDS.len();
        pictures.push(&picture(kind, &mut random));
        labels.push(kind);
    }
    Labelled { pictures, labels }
}

/// One picture, channels first.
fn picture(kind: usize, random: &mut Random) -> [u8; PICTURE_BYTES] {
    let scene = Scene::new(kind, random);
    let noise = random.within(0.0, NOISE);
    let mut bytes = [0; PICTURE_BYTES];
    let (red, rest) = bytes.split_at_mut(SIDE * SIDE);
    let (green, blue) = rest.split_at_mut(SIDE * SIDE);
    let pixels = red.iter_mut().zip(green).zip(blue);
    for (index, ((red, green), blue)) in pixels.enumerate() {
        let colour = scene.pixel((index % SIDE) as f32, (index / SIDE) as f32);
        for (byte, value) in [red, green, blue].into_iter().zip(colour) {
            *byte = ((value + random.normal() * noise).clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    }
    bytes
}

struct Scene {
    kind: usize,
    centre: (f32, f32),
    radius: f32,
    // Sine and cosine of the turn.
    turn: (f32, f32),
    shape: Colour,
    background: Colour,
    /// How the background's brightness grows along both axes.
    slope: (f32, f32),
    cover: Option<Cover>,
}

/// A bar in front of a part of the shape.
struct Cover {
    centre: (f32, f32),
    half: (f32, f32),
    colour: Colour,
}

impl Scene {
    fn new(kind: usize, random: &mut Random) -> Self {
        let middle = (SIDE as f32 - 1.0) / 2.0;
        let radius = random.within(RADIUS.0, RADIUS.1);
        // A part of a large shape may leave the picture, by two pixels at most.
        let shift = (middle + 2.0 - radius).max(0.0);
        let centre = (
            middle + random.within(-shift, shift),
            middle + random.within(-shift, shift),
        );
        let (shape, background) = colours(random);
        let slope = (random.within(-0.15, 0.15), random.within(-0.15, 0.15));
        let cover = (random.unit() < HIDDEN_SHARE).then(|| Cover::new(centre, radius, random));
        Self {
            kind,
            centre,
            radius,
            turn: random.within(-TURN, TURN).sin_cos(),
            shape,
            background,
            slope,
            cover,
        }
    }

    fn pixel(&self, x: f32, y: f32) -> Colour {
        let mut sum = [0.0; CHANNELS];
        for sample in 0..SAMPLES * SAMPLES {
            let offset = |step: usize| (step as f32 + 0.5) / SAMPLES as f32 - 0.5;
            let (x, y) = (x + offset(sample % SAMPLES), y + offset(sample / SAMPLES));
            for (sum, value) in sum.iter_mut().zip(self.colour(x, y)) {
                *sum += value / (SAMPLES * SAMPLES) as f32;
            }
        }
        sum
    }

    fn colour(&self, x: f32, y: f32) -> Colour {
        if let Some(cover) = &self.cover
            && (x - cover.centre.0).abs() < cover.half.0
            && (y - cover.centre.1).abs() < cover.half.1
        {
            return cover.colour;
        }
        let (x_off, y_off) = ((x - self.centre.0) / self.radius, (y - self.centre.1) / self.radius);
        let (sine, cosine) = self.turn;
        if inside(self.kind, x_off * cosine + y_off * sine, y_off * cosine - x_off * sine) {
            return self.shape;
        }
        let light = (x / SIDE as f32 - 0.5) * self.slope.0 + (y / SIDE as f32 - 0.5) * self.slope.1;
        self.background.map(|value| value + light)
    }
}

impl Cover {
    /// Hides up to about a quarter of a shape, on one side of it.
    fn new(centre: (f32, f32), radius: f32, random: &mut Random) -> Self {
        let side = |random: &mut Random| if random.unit() < 0.5 { -1.0 } else { 1.0 };
        let along = random.within(-0.6, 0.6) * radius;
        let across = random.within(0.55, 0.9) * radius * side(random);
        let (long, short) = (random.within(0.3, 0.7) * radius, random.within(0.1, 0.3) * radius);
        let colour = [random.unit(), random.unit(), random.unit()];
        if random.unit() < 0.5 {
            Self {
                centre: (centre.0 + along, centre.1 + across),
                half: (long, short),
                colour,
            }
        } else {
            Self {
                centre: (centre.0 + across, centre.1 + along),
                half: (short, long),
                colour,
            }
        }
    }
}

/// Two colours that can be told apart.
fn colours(random: &mut Random) -> (Colour, Colour) {
    loop {
        let mut colour = || [random.unit(), random.unit(), random.unit()];
        let (shape, background) = (colour(), colour());
        let distance: f32 = shape
            .iter()
            .zip(&background)
            .map(|(one, other)| (one - other).powi(2))
            .sum();
        if distance.sqrt() > CONTRAST {
            return (shape, background);
        }
    }
}

/// Whether a point of the shape's own plane is within it; a shape reaches about 1 from its middle.
fn inside(kind: usize, x: f32, y: f32) -> bool {
    let distance = x.hypot(y);
    match KINDS.get(kind).copied() {
        Some("circle") => distance < 0.9,
        Some("ring") => (0.5..0.95).contains(&distance),
        Some("crescent") => distance < 0.95 && (x - 0.45).hypot(y) > 0.75,
        Some("triangle") => polygon(3, |_| 1.0, x, y),
        Some("square") => x.abs().max(y.abs()) < 0.72,
        Some("star") => polygon(10, |corner| if corner % 2 == 0 { 1.0 } else { 0.4 }, x, y),
        Some("cross") => x.abs().min(y.abs()) < 0.27 && x.abs().max(y.abs()) < 0.95,
        Some("heart") => {
            let (x, y) = (x * 1.25, y * 1.25 - 0.1);
            let rest = x * x + y * y - 1.0;
            rest * rest * rest < x * x * y * y * y
        }
        Some("arrow") => {
            let shaft = x.abs() < 0.2 && (-0.95..0.2).contains(&y);
            shaft || ((0.1..0.95).contains(&y) && x.abs() < (0.95 - y) * 0.85)
        }
        _ => x.abs() < 0.98 && y.abs() < 0.27,
    }
}

/// A star-shaped polygon whose corners are evenly turned about the middle, at the given distances.
fn polygon(corners: usize, distance: impl Fn(usize) -> f32, x: f32, y: f32) -> bool {
    let step = TAU / corners as f32;
    let sector = (y.atan2(x) + PI) / step;
    let corner = (sector.floor() as usize) % corners;
    let at = |corner: usize| {
        let angle = corner as f32 * step - PI;
        let radius = distance(corner % corners);
        (radius * angle.cos(), radius * angle.sin())
    };
    // Within the triangle of the middle and the sector's two corners, when on the middle's side of their edge.
    let ((from_x, from_y), (to_x, to_y)) = (at(corner), at(corner + 1));
    (to_x - from_x) * (y - from_y) - (to_y - from_y) * (x - from_x) > 0.0
}

#[cfg(test)]
mod tests {
    use super::{KINDS, PICTURE_BYTES, draw, inside};

    #[test]
    fn a_seed_draws_the_same_pictures_and_another_draws_others() {
        let (one, same, other) = (draw(1, 0, 20), draw(1, 0, 20), draw(1, 1, 20));
        assert_eq!(one.pictures, same.pictures);
        assert_ne!(one.pictures, other.pictures);
        assert_eq!(one.pictures.bytes.len(), 20 * PICTURE_BYTES);
        assert_eq!(one.labels, (0..20).map(|index| index % 10).collect::<Vec<_>>());
    }

    #[test]
    fn every_kind_covers_a_part_of_its_plane() {
        let grid = |kind: usize| {
            let points = (0..400).map(|index| ((index % 20) as f32 / 9.5 - 1.0, (index / 20) as f32 / 9.5 - 1.0));
            points.filter(|(x, y)| inside(kind, *x, *y)).count()
        };
        for (kind, name) in KINDS.iter().enumerate() {
            let covered = grid(kind);
            assert!((60..320).contains(&covered), "{name} covers {covered} of 400 points");
        }
        // Star and triangle have their corners where they should.
        assert!(inside(3, 0.0, 0.0) && inside(5, 0.0, 0.0) && !inside(5, 0.9, 0.9));
    }
}
