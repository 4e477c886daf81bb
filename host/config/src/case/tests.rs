//! Whole cases: good ones, and bad ones beside the text that they must give.
//!
//! `UPDATE_SNAPSHOTS=1` rewrites the texts.

use super::*;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/case/testdata")
        .join(name)
}

#[test]
fn bad_cases_give_their_text() {
    let entries = std::fs::read_dir(testdata("bad")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    assert!(paths.len() > 3);
    for path in paths {
        let Err(errors) = Case::load(&path) else {
            panic!("{} was taken", path.display());
        };
        let folder = testdata("").display().to_string();
        let actual = errors.to_string().replace(&folder, "").trim_end().to_owned() + "\n";
        let snapshot = path.with_extension("err");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&snapshot, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
        assert_eq!(expected, actual, "{} differs:\n{actual}", snapshot.display());
    }
}

#[test]
fn what_a_case_says_is_what_it_gives() {
    let case = Case::load(&testdata("good/full.toml")).unwrap();
    assert_eq!(case.name, "full");
    let Message {
        id,
        source,
        key,
        attempt,
        redelivered,
        content_type,
        headers,
        body,
        ..
    } = &*case.message;
    assert_eq!((id.as_str(), source.as_str(), key.as_str()), ("m-1", "images", "cats"));
    assert_eq!((*attempt, *redelivered, content_type), (2, true, &None));
    let expected = [("width", "7"), ("camera", "${NAME}")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!((headers.as_slice(), body.as_slice()), (&expected[..], &b"\x89PNG"[..]));
    assert_eq!(
        case.settings.as_deref(),
        Some(r#"{"deep":{"a":[1,2.5,true]},"resize":"nearest"}"#)
    );
    assert_eq!((case.deadline, case.memory_bytes), (Duration::from_secs(2), 8 << 20));
    let Some(SaidPrediction {
        model,
        origin: Origin::Said { scores, outputs },
    }) = &case.prediction
    else {
        panic!("{:?}", case.prediction)
    };
    assert_eq!((model.as_str(), outputs.len()), ("shapes", 1));
    assert_eq!(
        scores,
        &[("star".to_owned(), 0.75), ("arrow".to_owned(), 1.0)],
        "in the order of the file"
    );
    let expected = case.expected.unwrap();
    let results = expected.results.unwrap();
    assert_eq!(
        (results.len(), results[0].body.headers.len(), results[0].body.json.len()),
        (1, 2, 2)
    );
    assert_eq!(expected.tensor.unwrap().tolerance, 0.5);
    assert_eq!(
        case.budget,
        Budget {
            fuel: Some(12_000_000),
            memory_bytes: Some(1 << 20)
        }
    );
}

#[test]
fn what_a_case_leaves_out_has_its_default() {
    let case = Case::load(&testdata("good/minimal.toml")).unwrap();
    // printf '' | sha256sum
    assert!(case.message.id.starts_with("e3b0c44298fc1c14"));
    assert_eq!((case.message.source.as_str(), case.message.attempt), ("cases", 1));
    assert_eq!((case.deadline, case.memory_bytes), (Duration::from_secs(1), 256 << 20));
    assert!(case.expected.is_none() && case.settings.is_none() && case.prediction.is_none());
}

/// The parts of `case.json` beside its format and its body.
fn saved(dead_letter: &str, more: &str) -> String {
    format!(
        r#"{{"format": "millrace-case/1", "body": "body.bin", "message": {{"id": "m", "correlation_id": null, "reply_to": null,
        "content_type": null, "source": "images", "key": "k", "attempt": 3, "headers": [["a", "1"]]}}, "dead_letter": {dead_letter}{more}}}"#
    )
}

fn load(text: &str) -> Result<Case, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("body.bin"), "body").unwrap();
    let path = folder.path().join(DEAD_LETTER_FILE);
    std::fs::write(&path, text).unwrap();
    Case::load(&path).map_err(|errors| errors.to_string())
}

#[test]
fn a_saved_dead_letter_expects_that_its_failure_does_not_come_again() {
    let outcome = |stage: &str, class: &str, of: Stage| {
        let dead_letter = format!(r#"{{"stage": "{stage}", "reason": "{class}", "text": "why"}}"#);
        let case = load(&saved(&dead_letter, "")).unwrap();
        case.record.unwrap().expected(of).map(|expected| expected.outcome)
    };
    let (no_fault, processed) = (Some(ExpectedOutcome::NoFault), Some(ExpectedOutcome::Processed));
    let ok = Some(ExpectedOutcome::Is(Outcome::Ok));
    assert_eq!(outcome("preprocess", "refused", Stage::Preprocess), processed);
    assert_eq!(outcome("preprocess", "attempts-spent", Stage::Preprocess), processed);
    assert_eq!(outcome("preprocess", "trap", Stage::Preprocess), no_fault);
    assert_eq!(outcome("preprocess", "trap", Stage::Route), None);
    assert_eq!(outcome("route", "denied", Stage::Preprocess), ok);
    assert_eq!(outcome("route", "denied", Stage::Route), no_fault);
    assert_eq!(outcome("deliver", "malformed", Stage::Route), ok);
    assert_eq!(outcome("receive", "malformed", Stage::Preprocess), None);
    assert_eq!(outcome("preprocess", "host-fault", Stage::Preprocess), no_fault);
    assert_eq!(outcome("nowhere", "trap", Stage::Preprocess), None);
}

#[test]
fn what_may_come_is_told_apart() {
    let trap = Outcome::Fault(ReasonClass::Trap);
    let all = [
        Outcome::Ok,
        Outcome::Skip,
        Outcome::Reject,
        Outcome::Retry,
        Outcome::Settings,
        trap,
    ];
    let allowed = |expected: ExpectedOutcome| all.map(|outcome| expected.allows(outcome));
    assert_eq!(
        allowed(ExpectedOutcome::NoFault),
        [true, true, true, true, false, false]
    );
    assert_eq!(
        allowed(ExpectedOutcome::Processed),
        [true, true, false, false, false, false]
    );
    assert_eq!(
        allowed(ExpectedOutcome::Is(trap)),
        [false, false, false, false, false, true]
    );
}

#[test]
fn a_dead_letter_that_an_older_version_saved_is_read_under_its_former_key() {
    let now = saved(r#"{"stage": "preprocess", "reason": "trap", "text": "why"}"#, "");
    let former = now.replace(r#""dead_letter":"#, r#""letter":"#);
    assert!(former != now, "{former}");
    assert_eq!(load(&former).unwrap().record, load(&now).unwrap().record);
    let both = now.replace(r#""dead_letter":"#, r#""letter": {}, "dead_letter":"#);
    let error = load(&both).unwrap_err();
    assert!(error.contains("duplicate field"), "{error}");
}

#[test]
fn a_saved_dead_letter_has_the_limits_of_the_plugin_that_failed() {
    let (stated, default) = (
        (Duration::from_millis(700), 64 << 20),
        (Duration::from_secs(1), 256 << 20),
    );
    let limits = r#", "limits": {"deadline": "700ms", "memory": "64MiB"}"#;
    #[rustfmt::skip]
    let rows = [
        (r#""stage": "preprocess", "plugin": "crop""#, Stage::Preprocess, stated),
        (r#""stage": "preprocess", "plugin": "crop""#, Stage::Route, default),
        (r#""stage": "route", "plugin": "by-label""#, Stage::Route, stated),
        (r#""stage": "preprocess", "plugin": "crop", "preprocess": "json@0123456789ab, crop@ba9876543210""#, Stage::Preprocess, stated),
        // A transformer's limits are not those of the preprocessor or the router beside it.
        (r#""stage": "preprocess", "plugin": "json", "preprocess": "json@0123456789ab, crop@ba9876543210""#, Stage::Preprocess, default),
        (r#""stage": "route", "plugin": "sign", "route": "by-label@0123456789ab, sign@ba9876543210""#, Stage::Route, default),
        (r#""stage": "route", "plugin": "by-label", "route": "by-label@0123456789ab, sign@ba9876543210""#, Stage::Route, stated),
    ];
    for (dead_letter, stage, expected) in rows {
        let case = load(&saved(&format!("{{{dead_letter}}}"), limits)).unwrap();
        assert_eq!(case.limits(Some(stage)), expected, "{dead_letter}");
        assert_eq!(case.limits(None), default);
    }
    let some = load(&saved(
        r#"{"stage": "route"}"#,
        r#", "limits": {"deadline": null, "memory": "64MiB"}"#,
    ))
    .unwrap();
    assert_eq!(some.limits(Some(Stage::Route)), (default.0, stated.1));
    for (limits, expected) in [
        (r#"{"memory": "64 apples"}"#, "`limits`: `memory`"),
        (r#"{"memory": "64GiB"}"#, "`limits`: `memory` cannot be"),
        (r#"{"deadline": "0s"}"#, "`limits`: `deadline` cannot be"),
        (r#"{"fuel": 3}"#, "unknown field `fuel`"),
    ] {
        let error = load(&saved("{}", &format!(r#", "limits": {limits}"#))).unwrap_err();
        assert!(error.contains(expected), "no {expected:?} in:\n{error}");
    }
}

#[test]
fn a_saved_dead_letter_has_what_the_router_was_shown() {
    let of = |prediction: &str| {
        let case = load(&saved("{}", &format!(r#", "prediction": {prediction}"#)));
        case.map(|case| case.prediction)
    };
    let shown =
        of(r#"{"model": "m", "scores": [["b", 0.25], ["a", 0.75]], "outputs": [{"shape": [2], "values": [1, 2]}]}"#);
    let Ok(Some(SaidPrediction { model, origin })) = shown else {
        panic!("{shown:?}")
    };
    let Origin::Said { scores, outputs } = origin else {
        panic!("{origin:?}")
    };
    assert_eq!((model.as_str(), outputs.len()), ("m", 1));
    assert_eq!(scores, [("b".to_owned(), 0.25), ("a".to_owned(), 0.75)]);
    assert_eq!(of("null"), Ok(None));
    assert_eq!(of(r#"{"model": "m", "scores": [], "cut_outputs": 1}"#), Ok(None));
    for (prediction, expected) in [
        (r#"{"model": "m", "scores": [["a", 1e39]]}"#, "saved case"),
        (
            r#"{"model": "m", "scores": [], "outputs": [{"shape": [3], "values": [1]}]}"#,
            "`prediction`",
        ),
    ] {
        let error = of(prediction).unwrap_err();
        assert!(
            error.contains(expected) || error.contains("`prediction`"),
            "no {expected:?} in:\n{error}"
        );
    }
}

#[test]
fn a_saved_dead_letter_is_read_as_it_was() {
    let case = load(&saved("{}", r#", "expect": {"outcome": "reject", "reason": "no"}"#)).unwrap();
    assert_eq!((case.message.attempt, case.message.body.as_slice()), (3, &b"body"[..]));
    assert_eq!(case.expected.unwrap().outcome, ExpectedOutcome::Is(Outcome::Reject));
    for (word, outcome) in ExpectedOutcome::WORDS {
        let expect = format!(r#", "expect": {{"outcome": "{word}"}}"#);
        assert_eq!(load(&saved("{}", &expect)).unwrap().expected.unwrap().outcome, outcome);
        assert_eq!(outcome.as_str(), word);
    }
    for (text, expected) in [
        ("{", "this is not a saved case"),
        (&saved("{}", "").replace("case/1", "case/2"), "the format is"),
        (
            &saved("{}", "").replace("body.bin", "../../etc/passwd"),
            "is not a file beside it",
        ),
        (
            &saved("{}", "").replace("body.bin", "/etc/passwd"),
            "is not a file beside it",
        ),
        (&saved("{}", "").replace("body.bin", "other"), "cannot be read"),
        (
            &saved("{}", r#", "body_sha256": "00""#),
            "is not the one that was saved",
        ),
        (&saved("{}", r#", "expect": {"outcom": 3}"#), "did you mean `outcome`?"),
        (
            &saved("{}", r#", "expect": {"outcome": "no-fault", "reason": "x"}"#),
            "`reason` has no meaning with the outcome `no-fault`",
        ),
        (
            &saved("{}", r#", "expect": {"outcome": "processed", "label": "x"}"#),
            "`label` has no meaning with the outcome `processed`",
        ),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(expected), "no {expected:?} in:\n{error}");
    }
}
