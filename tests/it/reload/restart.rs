//! What was undone stays undone when the host begins anew: it says so, serves what served, or waits.

use std::fs;

use millrace_tests::admin::Admin;
use millrace_tests::samples::model;
use millrace_tests::wait_for;

use super::*;

/// What the log says of it at the start.
const WAS_UNDONE: &str = "this version was undone before, so the host does not load it: change its bytes or settings, or, to load it all the same, run `millrace reload`";

/// A host whose trial has just undone what `bad` put in place, stopped.
fn undone(
    tables: &str,
    text: impl FnOnce(String) -> String,
    bad: impl FnOnce(&Mill) -> Result<()>,
) -> Result<(Scene, Mill)> {
    let scene = Scene {
        tables: format!("[host]\nadmin = \"127.0.0.1:0\"\n{tables}"),
        ..scene("crop.wasm")?
    };
    let mill = scene.mill_with(text)?;
    fs::write(mill.path("crop.wasm"), version(&decode_image()?, 1))?;
    let host = mill.start_ready()?;
    let flow = Flow::start(&scene)?;
    flow.wait_more(1).with_context(|| host.log())?;
    let mut rig = Rig { mill, host, flow };
    bad(&rig.mill)?;
    rig.wait_undone()?;
    let Rig { mill, host, flow } = rig;
    flow.finish(host)?;
    Ok((scene, mill))
}

fn again(scene: &Scene, mill: Mill) -> Result<Rig> {
    let mut host = mill.start()?;
    let line = host.wait_line(PATIENCE, WAS_UNDONE)?;
    ensure!(
        field(&line, "reason").is_some_and(|why| why.contains("failed for 3 of")),
        "{line}"
    );
    let flow = Flow::start(scene)?;
    Ok(Rig { mill, host, flow })
}

fn trapping() -> Result<Vec<u8>> {
    hostile_with(r#"{"mode":"trap"}"#)
}

#[test]
fn a_plugin_that_was_undone_is_not_taken_up_by_a_restart_and_the_one_before_serves() -> Result<()> {
    let (scene, mill) = undone(
        "",
        |text| text,
        |mill| Ok(fs::write(mill.path("crop.wasm"), trapping()?)?),
    )?;
    let first = version(&decode_image()?, 1);
    let checked = mill.run(&["check", "plugins.toml"])?;
    ensure!(
        checked.code == Some(0)
            && checked.stderr.contains("this version was undone at")
            && checked.stderr.contains("the version before serves in its place"),
        "{checked:?}"
    );
    let mut rig = again(&scene, mill)?;
    rig.wait_version("the first again", &first)?;
    let history = rig.mill.run(&["history", "1"])?.stdout;
    ensure!(
        history.contains("was undone at") && history.contains(&digest(&first)),
        "{history}"
    );
    // A save of the file alone changes nothing.
    rig.edit(|text| format!("{text}\n# touched\n"))?;
    rig.host.wait_lines(PATIENCE, 1, UNCHANGED)?;
    // Asked for, it is tried, and undone as before.
    let asked = rig.mill.run(&["reload", "--wait"])?;
    ensure!(asked.code == Some(0), "{asked:?}");
    rig.wait_undone()?;
    rig.finish()?.all_right()
}

#[test]
fn a_version_on_trial_is_on_trial_again_after_a_restart() -> Result<()> {
    let scene = scene("crop.wasm")?;
    let mill = scene.mill()?;
    let first = version(&decode_image()?, 1);
    fs::write(mill.path("crop.wasm"), &first)?;
    let host = mill.start_ready()?;
    let flow = Flow::start(&scene)?;
    flow.wait_more(1).with_context(|| host.log())?;
    flow.finish(host)?.all_results()?;

    // No message comes by while the next one is there: nothing is known of it, and it is bad.
    let mut host = mill.start_ready()?;
    fs::write(mill.path("crop.wasm"), trapping()?)?;
    host.wait_lines(PATIENCE, 2, "changed")?;
    host.stop()?;
    let mut host = mill.start()?;
    host.wait_line(
        PATIENCE,
        "this version was on trial when a host ended: its trial starts again",
    )?;
    host.wait_lines(PATIENCE, 2, "changed")?;
    let flow = Flow::start(&scene)?;
    let mut rig = Rig { mill, host, flow };
    rig.wait_undone()?;
    rig.wait_version("the first again", &first)?;
    let Rig { mill, host, flow } = rig;
    flow.finish(host)?.all_right()?;

    // What is found to be bad is that, and on trial no more.
    let rig = again(&scene, mill)?;
    rig.wait_version("the first again", &first)?;
    rig.finish()?.all_right()
}

#[test]
fn other_bytes_are_taken_up_by_a_restart_after_an_undo() -> Result<()> {
    let (scene, mill) = undone(
        "",
        |text| text,
        |mill| Ok(fs::write(mill.path("crop.wasm"), trapping()?)?),
    )?;
    let second = version(&decode_image()?, 2);
    fs::write(mill.path("crop.wasm"), &second)?;
    let host = mill.start_ready()?;
    ensure!(host.n_lines(WAS_UNDONE) == 0, "{}", host.log());
    let flow = Flow::start(&scene)?;
    let rig = Rig { mill, host, flow };
    rig.wait_version("the second", &second)?;
    rig.finish()?.all_right()
}

#[test]
fn settings_that_were_undone_wait_for_somebody_after_a_restart() -> Result<()> {
    let bad = |mill: &Mill| {
        let path = mill.path("plugins.toml");
        let text = fs::read_to_string(&path)?;
        let bad = "[plugin.crop]\nsettings = { max_width = 16 }";
        Ok(fs::write(path, text.replace("[plugin.crop]", bad))?)
    };
    let (scene, mill) = undone("", |text| text, bad)?;
    let mut rig = again(&scene, mill)?;
    let admin = Admin::of(&mut rig.host)?;
    let why = "run `millrace reload`";
    admin.wait_ready(503, why)?;
    let status = rig.mill.run(&["status"])?.stdout;
    ensure!(status.contains("paused") && status.contains(why), "{status}");
    ensure!(rig.flow.n_results() == 0);
    rig.edit(|text| text.replace("max_width = 16", "max_width = 64"))?;
    rig.flow.wait_more(20).with_context(|| rig.host.log())?;
    admin.wait_ready(200, "")?;
    rig.finish()?.all_right()
}

#[test]
fn a_model_that_was_undone_waits_for_somebody_after_a_restart() -> Result<()> {
    let text = |text: String| text.replace(&format!("{:?}", model().display().to_string()), "\"shapes\"");
    let to = |mill: &Mill, from: &str, to: &str| -> Result<()> {
        let manifest = mill.path("shapes/model.toml");
        let text = fs::read_to_string(&manifest)?.replace(from, to);
        Ok(fs::write(manifest, text)?)
    };
    let scene = scene("crop.wasm")?;
    let mill = scene.mill_with(text)?;
    fs::write(mill.path("crop.wasm"), version(&decode_image()?, 1))?;
    super::parts::copy_model(&mill.path("shapes"))?;
    let host = mill.start_ready()?;
    let flow = Flow::start(&scene)?;
    let mut rig = Rig { mill, host, flow };
    rig.flow.wait_more(1)?;
    // On trial it goes back by hand, and stays away.
    to(&rig.mill, "\"circle\"", "\"disc\"")?;
    rig.host.wait_lines(PATIENCE, 2, "changed")?;
    let back = rig.mill.run(&["rollback", "shapes"])?;
    ensure!(back.code == Some(0), "{back:?}\n{}", rig.host.log());
    let none = rig.mill.run(&["rollback", "shapes"])?;
    ensure!(
        none.code == Some(1)
            && none
                .stderr
                .contains("no other version of model `shapes` is on a device"),
        "{none:?}"
    );
    let outcome = rig.flow.finish(rig.host)?;
    outcome.all_results()?;

    let mut host = rig.mill.start()?;
    host.wait_line(PATIENCE, WAS_UNDONE)?;
    let flow = Flow::start(&scene)?;
    let says_so = |status: &String| status.contains("model `shapes`") && status.contains("run `millrace reload`");
    wait_for("status says what the pipeline waits for", || {
        let status = rig.mill.run(&["status"]).ok()?.stdout;
        says_so(&status).then_some(())
    })
    .with_context(|| host.log())?;
    let asked = rig.mill.run(&["reload", "--wait"])?;
    ensure!(
        asked.code == Some(0) && asked.stdout.contains("serves again"),
        "{asked:?}"
    );
    flow.wait_more(10).with_context(|| host.log())?;
    flow.finish(host)?.all_results()
}

#[test]
fn a_refused_reload_holds_back_what_was_held_back() -> Result<()> {
    let mut rig = Rig::plain(|scene| scene)?;
    let first = version(&decode_image()?, 1);
    fs::write(rig.mill.path("crop.wasm"), trapping()?)?;
    rig.wait_undone()?;
    let back = rig.wait_version_since("the first again", &first, 3)?;
    rig.edit(|text| text.replace("prefetch", "prefetc"))?;
    let refused = rig.mill.run(&["reload", "--wait"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    rig.edit(|text| text.replace("prefetc", "prefetch") + "\n# mended\n")?;
    rig.host.wait_lines(PATIENCE, 1, UNCHANGED)?;
    rig.still_serves("mended", &first, back)?;
    ensure!(rig.host.n_lines(UNDONE) == 1);
    rig.finish()?.all_right()
}
