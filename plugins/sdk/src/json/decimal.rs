//! An `f32` as a number of JSON. Knows no score.

/// The `f64` whose decimal is the shortest that reads back as this `f32`: what `json!` must be given for 0.9 to be written as 0.9
/// and not as 0.8999999761581421, which is the same `f32` seen as an `f64`. Fields of a struct that is written directly need no
/// such help.
///
/// ```
/// use millrace_plugin::{json, serde_json};
///
/// assert_eq!(serde_json::json!([0.9_f32, json::decimal(0.9)]).to_string(), "[0.8999999761581421,0.9]");
/// ```
pub fn decimal(number: f32) -> f64 {
    // Rust writes the shortest decimal. What has none (infinities, what is no number) reads back as it is.
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn a_decimal_is_short_and_reads_back_as_what_it_was() {
        #[track_caller]
        fn check(number: f32, expected: &str) {
            let text = serde_json::json!(decimal(number)).to_string();
            assert_eq!(text, expected);
            assert_eq!(text.parse::<f32>().unwrap().to_bits(), number.to_bits());
        }
        check(0.9, "0.9");
        check(0.1, "0.1");
        check(0.5, "0.5");
        check(1.0, "1.0");
        check(-0.3, "-0.3");
        check(16_777_216.0, "16777216.0");
        check(f32::MIN_POSITIVE, "1.1754944e-38");
        check(f32::MAX, "3.4028235e+38");
        check(1.0 / 3.0, "0.33333334");
        check(0.0, "0.0");
        let mut bits = 1_u32;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = f32::from_bits(bits);
            if number.is_finite() {
                assert_eq!((decimal(number) as f32).to_bits(), bits, "{number}");
            }
        }
        assert!(decimal(f32::NAN).is_nan());
        assert_eq!(decimal(f32::INFINITY), f64::INFINITY);
    }
}
