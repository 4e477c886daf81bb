//! The ways in which people put a new version in place: each is taken up, and results say so.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A way to put a file in place.
type Put = fn(&Rig, &Path, &[u8]) -> Result<()>;

#[test]
fn a_file_that_is_copied_over_moved_or_saved_by_an_editor_is_taken_up() -> Result<()> {
    let rig = Rig::plain(|scene| scene)?;
    let path = rig.mill.path("crop.wasm");
    let wasm = decode_image()?;
    let mut generation = rig.wait_version("the first", &version(&wasm, 1))?;
    let ways: [(&str, Put); 5] = [
        ("copied over in place", |_, path, bytes| Ok(fs::write(path, bytes)?)),
        ("copied over slowly", copy_slowly),
        ("moved over", |rig, path, bytes| {
            let other = rig.mill.path("crop.wasm.new");
            fs::write(&other, bytes)?;
            Ok(fs::rename(other, path)?)
        }),
        ("renamed to a backup and made anew", |rig, path, bytes| {
            fs::rename(path, rig.mill.path("crop.wasm~"))?;
            Ok(fs::write(path, bytes)?)
        }),
        ("deleted and made again", |rig, path, bytes| {
            fs::remove_file(path)?;
            rig.flow.wait_more(1)?;
            Ok(fs::write(path, bytes)?)
        }),
    ];
    for (number, (what, put)) in (2..).zip(ways) {
        let new = version(&wasm, number);
        put(&rig, &path, &new)?;
        let found = rig.wait_version(what, &new)?;
        ensure!(found == generation + 1, "{what}: generation {found} after {generation}");
        generation = found;
        rig.still_serves(what, &new, generation)?;
    }
    rig.finish()?.all_right()
}

/// In four parts, with more time between them than a watcher waits for a writer that pauses.
fn copy_slowly(rig: &Rig, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::File::create(path)?;
    for part in bytes.chunks(bytes.len().div_ceil(4)) {
        file.write_all(part)?;
        file.sync_all()?;
        rig.flow.wait_more(60)?;
    }
    Ok(())
}

#[test]
fn a_link_that_is_switched_and_a_folder_that_is_replaced_are_taken_up() -> Result<()> {
    let scene = scene("current/crop.wasm")?;
    let wasm = decode_image()?;
    let versions = [1, 2, 3].map(|number| version(&wasm, number));
    let [first, second, third] = &versions;
    let rig = Rig::start(&scene, |mill| {
        for (folder, bytes) in [("releases/1", first), ("releases/2", second), ("new", third)] {
            fs::create_dir_all(mill.path(folder))?;
            fs::write(mill.path(folder).join("crop.wasm"), bytes)?;
        }
        Ok(symlink("releases/1", mill.path("current"))?)
    })?;
    let generation = rig.wait_version("the first", first)?;
    symlink("releases/2", rig.mill.path("next"))?;
    fs::rename(rig.mill.path("next"), rig.mill.path("current"))?;
    let switched = rig.wait_version("the link switched", second)?;
    fs::rename(rig.mill.path("releases/2"), rig.mill.path("old"))?;
    fs::rename(rig.mill.path("new"), rig.mill.path("releases/2"))?;
    let replaced = rig.wait_version("the folder replaced", third)?;
    assert_eq!((switched, replaced), (generation + 1, generation + 2));
    rig.finish()?.all_right()
}

#[test]
fn settings_that_are_edited_are_taken_up() -> Result<()> {
    let rig = Rig::plain(|scene| scene)?;
    let generation = rig.wait_version("the first", &version(&decode_image()?, 1))?;
    rig.edit(|text| text.replace("[plugin.by-label]", "[plugin.by-label]\nsettings = { top_k = 2 }"))?;
    let result = rig.flow.wait_result("a result of the new settings", |arrival| {
        let top = |result: Value| result.get("top").and_then(Value::as_array).map(Vec::len);
        arrival.json().ok().and_then(top) == Some(2)
    });
    let result = result.with_context(|| rig.host.log())?;
    let found: u64 = result.header("x-millrace-generation").parse()?;
    assert_eq!(found, generation + 1);
    rig.finish()?.all_right()
}

#[test]
fn a_host_that_watches_nothing_is_told_by_a_signal_or_a_command() -> Result<()> {
    let mut rig = Rig::plain(|scene| Scene {
        tables: "[host]\nwatch = false\n".to_owned(),
        ..scene
    })?;
    let wasm = decode_image()?;
    let versions = [1, 2, 3].map(|number| version(&wasm, number));
    let [first, second, third] = &versions;
    let path = rig.mill.path("crop.wasm");
    let generation = rig.wait_version("the first", first)?;
    fs::write(&path, second)?;
    // Two seconds of the flow: longer than a host that watches would take.
    rig.flow.wait_more(200)?;
    rig.still_serves("unwatched", first, generation)?;
    rig.host.hang_up()?;
    assert_eq!(rig.wait_version("SIGHUP", second)?, generation + 1);

    fs::write(&path, third)?;
    let done = rig.mill.run(&["reload", "--wait"])?;
    assert_eq!(done.code, Some(0), "{done:?}");
    // What it says is true by then: no result of the old version begins after it.
    assert_eq!(rig.wait_version("the command", third)?, generation + 2);

    fs::write(&path, "no plugin")?;
    let refused = rig.mill.run(&["reload", "--wait"])?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(told.contains("it is not WebAssembly"), "{told}");
    rig.wait_refusal(1, "a text", &["it is not WebAssembly"])?;
    rig.still_serves("a text", third, generation + 2)?;
    rig.finish()?.all_right()
}
