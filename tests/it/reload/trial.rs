//! Versions that load, and turn out to be worse: undone by the trial, without one dead letter.

use super::*;

/// Puts a version in place that passes every check, and waits until it is undone. Then the first one serves again, the bad
/// one is not taken up by itself, and a good one is.
fn check(pipeline: &'static str, bad: impl FnOnce(&Rig) -> Result<Vec<u8>>, expected: &[&str]) -> Result<Outcome> {
    let mut rig = Rig::plain(|scene| Scene { pipeline, ..scene })?;
    let wasm = decode_image()?;
    let (first, second) = (version(&wasm, 1), version(&wasm, 2));
    let generation = rig.wait_version("the first", &first)?;
    let bad = bad(&rig)?;
    std::fs::write(rig.mill.path("crop.wasm"), &bad)?;
    let told = rig.wait_undone()?;
    for part in expected {
        ensure!(told.contains(part), "no {part:?} in {told}");
    }
    // What fails on trial has its result of the version before, and says so, too.
    let back = rig.wait_version_since("the first again", &first, generation + 1)?;
    assert_eq!(
        back,
        generation + 2,
        "one generation for the bad version, and one for going back"
    );
    // Reads everything again, and holds back what was undone.
    rig.edit(|text| format!("{text}\n# touched\n"))?;
    rig.host.wait_lines(PATIENCE, 1, UNCHANGED)?;
    rig.still_serves("touched", &first, back)?;
    std::fs::write(rig.mill.path("crop.wasm"), &second)?;
    let after = rig.wait_version("a good one", &second)?;
    assert_eq!(after, back + 1);
    assert_eq!(rig.host.n_lines(UNDONE), 1);
    rig.finish()
}

#[test]
fn one_that_traps_at_its_first_call_is_undone() -> Result<()> {
    let bad = hostile_with(r#"{"mode":"trap"}"#)?;
    let outcome = check("", |_| Ok(bad), &["failed for 3 of", "trap"])?;
    // All that it touched was tried again on the version before.
    outcome.all_right()
}

#[test]
fn one_that_makes_another_shape_than_the_model_takes_is_undone() -> Result<()> {
    let bad = hostile_with(r#"{"mode":"wrong-shape"}"#)?;
    check(
        "",
        |_| Ok(bad),
        &["failed for 3 of", "a tensor the model does not take"],
    )?
    .all_right()
}

#[test]
fn one_that_rejects_what_the_version_before_takes_is_undone() -> Result<()> {
    let bad = hostile_with(r#"{"mode":"reject"}"#)?;
    check("", |_| Ok(bad), &["failed for 3 of", "the hostile plugin rejects"])?.all_right()
}

#[test]
fn one_that_is_right_at_first_and_then_traps_for_all_is_undone() -> Result<()> {
    // Some seconds after it was put in place, and before its trial ends, however late that begins.
    let trial = "trial = { messages = 1000 }";
    let bad = |rig: &Rig| {
        let from = rig.flow.n_published() + 800;
        hostile_with(&format!(r#"{{"mode":"trap-from","from":{from}}}"#))
    };
    let outcome = check(trial, bad, &["failed for 3 of", "trap"])?;
    let second = outcome.results.iter();
    let n_served = second
        .filter(|result| result.header("x-millrace-generation") == "2")
        .count();
    assert!(n_served >= 50, "it served {n_served} messages before it trapped");
    Ok(())
}

#[test]
fn one_that_takes_ten_times_as_long_is_undone() -> Result<()> {
    let bad = hostile_with(r#"{"mode":"work"}"#)?;
    check("", |_| Ok(bad), &["`slower` allows 5"])?;
    Ok(())
}

#[test]
fn an_undo_goes_back_to_the_version_that_served_before_as_the_status_says() -> Result<()> {
    let pipeline = "trial = { messages = 100000 }";
    let mut rig = Rig::plain(|scene| Scene { pipeline, ..scene })?;
    let wasm = decode_image()?;
    let versions = [1, 2, 3].map(|n| version(&wasm, n));
    let mut generation = rig.wait_version("the first", &versions[0])?;
    // Two that do well, and have not seen enough to be proven.
    for version in &versions[1..] {
        std::fs::write(rig.mill.path("crop.wasm"), version)?;
        generation = rig.wait_version_since("the next", version, generation + 1)?;
    }
    std::fs::write(rig.mill.path("crop.wasm"), hostile_with(r#"{"mode":"trap"}"#)?)?;
    rig.wait_undone()?;
    rig.wait_version_since("the one before", &versions[2], generation + 2)?;
    let status = rig.mill.run(&["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&status.stdout)?;
    let plugins = status["plugins"].as_array().context("no plugins")?;
    let crop = plugins
        .iter()
        .find(|plugin| plugin["name"] == "crop")
        .context("no crop")?;
    let serves = crop["digest"].as_str().unwrap_or_default();
    ensure!(
        serves.starts_with(&millrace_tests::versions::digest(&versions[2])),
        "{crop}"
    );
    // Its own trial began anew: what is proven is still the first.
    ensure!(status["pipelines"][0]["trial"]["of"] == 100_000, "{status}");
    rig.finish()?.all_right()
}

#[test]
fn a_version_that_passed_is_rolled_back_by_hand_and_stays_away_until_it_is_asked_for() -> Result<()> {
    let pipeline = "trial = { messages = 20 }";
    let mut rig = Rig::plain(|scene| Scene { pipeline, ..scene })?;
    let wasm = decode_image()?;
    let (first, second) = (version(&wasm, 1), version(&wasm, 2));
    let generation = rig.wait_version("the first", &first)?;
    std::fs::write(rig.mill.path("crop.wasm"), &second)?;
    rig.wait_version("the second", &second)?;
    rig.host.wait_line(PATIENCE, PASSED)?;
    let back = rig.mill.run(&["rollback", "crop"])?;
    assert_eq!(back.code, Some(0), "{back:?}");
    let served = rig.wait_version_since("rolled back", &first, generation + 2)?;
    rig.edit(|text| format!("{text}\n# touched\n"))?;
    rig.host.wait_lines(PATIENCE, 1, UNCHANGED)?;
    rig.still_serves("touched", &first, served)?;
    let again = rig.mill.run(&["reload", "--wait"])?;
    assert_eq!(again.code, Some(0), "{again:?}");
    rig.wait_version("asked for", &second)?;
    rig.finish()?.all_right()
}
