//! From bytes to the floats that a network was trained on.

/// `(byte / 255 - mean) / std`, channel by channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    // Invariant: finite.
    mean: [f32; 3],
    // Invariant: finite and above 0, so that what comes out is finite.
    std: [f32; 3],
}

impl Normalisation {
    /// From 0 to 1.
    pub const UNIT: Self = Self {
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    /// What networks trained on ImageNet mostly want.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// With one number for all channels or one for each, in the order that the tensor's channels have.
    ///
    /// # Errors
    ///
    /// A text that names what is wrong, for [`Preprocessor::new`](crate::Preprocessor::new).
    pub fn new(mean: &[f32], std: &[f32]) -> Result<Self, String> {
        let channels = |name: &str, numbers: &[f32]| match *numbers {
            [all] => Ok([all; 3]),
            [red, green, blue] => Ok([red, green, blue]),
            _ => Err(format!("`{name}` has {} numbers, not 1 or 3", numbers.len())),
        };
        let (mean, std) = (channels("mean", mean)?, channels("std", std)?);
        if let Some(wrong) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("`mean` holds {wrong}"));
        }
        // A subnormal one would make infinities of finite numbers.
        if let Some(wrong) = std.iter().find(|std| !(std.is_normal() && **std > 0.0)) {
            return Err(format!("`std` holds {wrong}, and is divided by"));
        }
        let normalisation = Self { mean, std };
        let every = (0..3).flat_map(|channel| normalisation.table(channel));
        if every.into_iter().any(|float| !float.is_finite()) {
            return Err("`mean` and `std` make numbers that are not finite".to_owned());
        }
        Ok(normalisation)
    }

    /// Of two settings, of which either may be left empty: then it is the 0 or the 1 that changes nothing. Nothing where
    /// both are.
    ///
    /// # Errors
    ///
    /// As [`Normalisation::new`].
    pub fn of_settings(mean: &[f32], std: &[f32]) -> Result<Option<Self>, String> {
        let or = |numbers: &[f32], neutral: f32| match numbers {
            [] => vec![neutral],
            numbers => numbers.to_vec(),
        };
        match (mean, std) {
            ([], []) => Ok(None),
            (mean, std) => Self::new(&or(mean, 0.0), &or(std, 1.0)).map(Some),
        }
    }

    /// What each byte becomes in a channel.
    pub(crate) fn table(&self, channel: usize) -> [f32; 256] {
        let of = |numbers: &[f32; 3]| numbers.get(channel).copied();
        let (mean, std) = (of(&self.mean).unwrap_or_default(), of(&self.std).unwrap_or(1.0));
        let mut byte = 0.0;
        [(); 256].map(|()| {
            let float = (byte / 255.0 - mean) / std;
            byte += 1.0;
            float
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_what_pytorch_makes_of_them() {
        let check = |normalisation: Normalisation, channel: usize, byte: usize, expected: f32| {
            let found = normalisation.table(channel)[byte];
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        };
        check(Normalisation::UNIT, 2, 51, 0.2);
        // ((255 / 255) - 0.406) / 0.225, and so on.
        check(Normalisation::IMAGENET, 2, 255, 2.64);
        check(Normalisation::IMAGENET, 0, 0, -2.117_904);
        check(Normalisation::new(&[0.5], &[0.5]).unwrap(), 1, 0, -1.0);
    }

    #[test]
    fn what_cannot_be_normalised_with_is_refused() {
        let check = |mean: &[f32], std: &[f32], expected: &str| {
            assert_eq!(Normalisation::new(mean, std).unwrap_err(), expected);
        };
        check(&[], &[1.0], "`mean` has 0 numbers, not 1 or 3");
        check(&[0.0], &[1.0, 1.0], "`std` has 2 numbers, not 1 or 3");
        check(&[0.0], &[0.0], "`std` holds 0, and is divided by");
        check(&[0.0], &[-1.0], "`std` holds -1, and is divided by");
        check(&[f32::NAN], &[1.0], "`mean` holds NaN");
        check(&[f32::MAX], &[0.5], "`mean` and `std` make numbers that are not finite");
    }
}
