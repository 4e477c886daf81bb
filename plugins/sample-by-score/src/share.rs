//! A share of all messages, chosen by their ids: there is no randomness in the sandbox, and the same message is to be chosen
//! again when it is processed again.

/// Whether the message of that id is in a share of 0 to 1. One that is in a share is in every larger one.
pub(crate) fn is_within(id: &str, share: f64) -> bool {
    /// The bits that a float holds exactly.
    const BITS: u32 = 53;
    let place = (hash(id) >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64;
    place < share
}

/// FNV-1a, stirred by the last steps of `MurmurHash3`: FNV alone leaves the upper bits of short texts too much alike.
fn hash(text: &str) -> u64 {
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_is_chosen_whatever_ids_look_like() {
        let ids: [fn(u32) -> String; 3] = [
            |n| n.to_string(),
            |n| format!("camera-7/2026-01-01T00:00:00.{n:06}Z"),
            |n| {
                format!(
                    "{:064x}",
                    u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)
                )
            },
        ];
        for id in ids {
            for share in [0.0, 0.01, 0.1, 0.5, 1.0] {
                let n = 20_000;
                let chosen = f64::from((0..n).filter(|n| is_within(&id(*n), share)).count() as u32) / f64::from(n);
                // Four standard deviations.
                let tolerance = 4.0 * (share * (1.0 - share) / f64::from(n)).sqrt();
                assert!((chosen - share).abs() <= tolerance, "{} at {share}: {chosen}", id(7));
            }
        }
    }

    #[test]
    fn a_choice_is_kept_from_version_to_version() {
        for (id, expected) in [
            ("", 0xefd0_1f60_ba99_2926_u64),
            ("m-1", 0xd6b1_2719_e633_29d0),
            ("größe", 0x2eb8_95f5_6869_eaa1),
        ] {
            assert_eq!(hash(id), expected, "{id}: {:#x}", hash(id));
        }
    }
}
