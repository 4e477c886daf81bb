//! Counts of the status whose names changed: written under both names for one release, and read under either, so that
//! `millrace status` and the host that it asks may be of two versions.

macro_rules! renamed {
    ($now:ident, $former:ident) => {
        pub(super) mod $now {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            #[derive(Serialize, Deserialize)]
            struct Names {
                $now: Option<u64>,
                $former: Option<u64>,
            }

            pub(crate) fn serialize<S: Serializer>(count: &u64, serializer: S) -> Result<S::Ok, S::Error> {
                let names = Names {
                    $now: Some(*count),
                    $former: Some(*count),
                };
                names.serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
                let names = Names::deserialize(deserializer)?;
                Ok(names.$now.or(names.$former).unwrap_or_default())
            }
        }
    };
}

renamed!(received, taken);
renamed!(in_flight, in_hand);

#[cfg(test)]
mod tests {
    use super::super::TrialStatus;

    #[test]
    fn a_renamed_count_is_written_under_both_names_and_read_under_either() {
        let trial = TrialStatus {
            seen: 1,
            of: 2,
            worse: 0,
            in_flight: 3,
            oldest_s: 4,
        };
        let both = r#"{"seen":1,"of":2,"worse":0,"in_flight":3,"in_hand":3,"oldest_s":4}"#;
        assert_eq!(serde_json::to_string(&trial).unwrap(), both);
        for written in [
            both.to_owned(),
            both.replace(r#""in_hand":3,"#, ""),
            both.replace(r#""in_flight":3,"#, ""),
        ] {
            assert_eq!(
                serde_json::from_str::<TrialStatus>(&written).unwrap(),
                trial,
                "{written}"
            );
        }
    }
}
