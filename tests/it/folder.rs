//! A folder in, a folder out, no broker: what a newcomer sees first.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::host::Mill;
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, head};
use millrace_tests::{PATIENCE, wait_for};

pub(crate) fn mill() -> Result<Mill> {
    mill_with("")
}

/// With more tables.
fn mill_with(tables: &str) -> Result<Mill> {
    let head = head(&[&Plugin::shipped("decode-image")?, &Plugin::shipped("by-label")?]);
    let mill = Mill::new(&format!(
        r#"
{tables}
{head}
[pipeline.pictures]
source = {{ folder = "inbox", pattern = ["*.png", "*.jpg"] }}
preprocess = "decode-image"
model = "shapes"
route = "by-label"

[pipeline.pictures.destination.results]
folder = "out"
"#
    ))?;
    std::fs::create_dir(mill.path("inbox"))?;
    Ok(mill)
}

fn file_name(sample: &Sample) -> String {
    sample
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[test]
fn every_picture_in_a_folder_gets_its_label() -> Result<()> {
    let (mill, samples) = (mill()?, pictures()?);
    for sample in &samples {
        std::fs::write(mill.path("inbox").join(file_name(sample)), &sample.png)?;
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let mut names: Vec<String> = samples.iter().map(file_name).collect();
    names.sort();
    assert_eq!(mill.files("inbox/done"), names);
    assert_eq!(mill.files("inbox"), [""; 0]);
    assert_eq!(mill.files("inbox/dead"), [""; 0]);
    for sample in &samples {
        let result = std::fs::read(mill.path("out").join(format!("{}.json", file_name(sample))))?;
        let result: serde_json::Value = serde_json::from_slice(&result)?;
        assert_eq!(result["label"], sample.label.as_str(), "{}", sample.path.display());
    }
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for sample in &samples {
        assert!(
            said.contains(&sample.label),
            "no `{}` in the summary:\n{said}",
            sample.label
        );
    }
    Ok(())
}

#[test]
fn what_is_no_picture_ends_in_dead_and_says_why() -> Result<()> {
    let (mill, samples) = (mill()?, pictures()?);
    let good = samples.first().map(|sample| sample.png.clone()).unwrap_or_default();
    let rows: [(&str, &[u8], &str); 3] = [
        ("empty.png", b"", "empty"),
        ("text.png", b"Not a picture, but a sentence.", "not a PNG, JPEG"),
        ("torn.png", good.get(..good.len() / 2).unwrap_or_default(), "PNG"),
    ];
    for (name, body, _) in rows {
        std::fs::write(mill.path("inbox").join(name), body)?;
    }
    std::fs::write(mill.path("inbox/good.png"), &good)?;
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(mill.files("inbox/done"), ["good.png"], "{ended:?}");
    for (name, body, expected) in rows {
        assert_eq!(std::fs::read(mill.path("inbox/dead").join(name))?, body, "{name}");
        let reason = std::fs::read_to_string(mill.path("inbox/dead").join(format!("{name}.reason.json")))?;
        for part in [expected, "refused", "preprocess", "decode-image"] {
            assert!(reason.contains(part), "{name}: no {part:?} in {reason}");
        }
    }
    Ok(())
}

#[test]
fn a_killed_hosts_files_are_taken_up_by_the_next() -> Result<()> {
    let (mill, samples) = (mill()?, pictures()?);
    let n_files = 300;
    for (n, sample) in (0..n_files).zip(samples.iter().cycle()) {
        std::fs::write(mill.path("inbox").join(format!("{n:03}.png")), &sample.png)?;
    }
    let host = mill.start()?;
    wait_for("the first results", || (mill.files("out").len() > 10).then_some(()))?;
    host.kill()?;
    let finished = mill.files("inbox/done").len();
    assert!(finished < n_files, "the host was killed too late: {finished}");
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(mill.files("inbox/done").len(), n_files);
    let expected: Vec<String> = (0..n_files)
        .flat_map(|n| [format!("{n:03}.png.json"), format!("{n:03}.png.json.envelope.json")])
        .collect();
    // What was being written at the kill had a hidden name, and was swept.
    let results = mill.files("out");
    let unexpected: Vec<&String> = results.iter().filter(|name| !expected.contains(name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert_eq!(results.len(), expected.len());
    Ok(())
}

/// Innocent files beside `killer.png`.
const N_OTHERS: usize = 30;

/// A folder with a file that kills hosts among others, and the failpoint by which it does.
fn deadly() -> Result<(Mill, String)> {
    let samples = pictures()?;
    let (killer, others) = samples.split_first().context("no samples")?;
    // What its id is, a host that it does not kill says.
    let innocent = mill()?;
    std::fs::write(innocent.path("inbox/killer.png"), &killer.png)?;
    innocent.run(&["run", "plugins.toml", "--once"])?;
    let envelope = std::fs::read(innocent.path("out/killer.png.json.envelope.json"))?;
    let envelope: serde_json::Value = serde_json::from_slice(&envelope)?;
    let id = envelope
        .get("correlation_id")
        .and_then(serde_json::Value::as_str)
        .context("no correlation id")?;

    let mill = mill()?;
    std::fs::write(mill.path("inbox/killer.png"), &killer.png)?;
    for (n, sample) in (0..N_OTHERS).zip(others.iter().cycle()) {
        std::fs::write(mill.path("inbox").join(format!("{n:02}.png")), &sample.png)?;
    }
    Ok((mill, format!("preprocess({id})=abort")))
}

/// The killer is dead, of its attempts, and every other file is done.
fn judge_killer(mill: &Mill) -> Result<()> {
    assert_eq!(mill.files("inbox/dead"), ["killer.png", "killer.png.reason.json"]);
    assert_eq!(mill.files("inbox/done").len(), N_OTHERS);
    let reason = std::fs::read_to_string(mill.path("inbox/dead/killer.png.reason.json"))?;
    assert!(reason.contains("attempts-spent"), "{reason}");
    // It was tried as often as it is allowed, and everything says so.
    let reason: serde_json::Value = serde_json::from_str(&reason)?;
    let headers = reason.pointer("/envelope/headers").context("no headers")?;
    let listed: serde_json::Value = serde_json::from_str(mill.run(&["dlq", "ls", "--json"])?.stdout.trim())?;
    let said = [
        reason.get("attempt"),
        headers.get("x-millrace-attempt"),
        listed.get("attempt"),
    ];
    assert_eq!(
        said,
        [Some(&3.into()), Some(&"3".into()), Some(&3.into())],
        "{reason} {listed}"
    );
    let text = headers["x-millrace-text"].as_str().unwrap_or_default();
    assert!(text.contains("3 attempts were made, and 3 are allowed: "), "{text}");
    Ok(())
}

#[test]
fn a_file_that_kills_hosts_ends_in_dead_and_its_neighbours_in_done() -> Result<()> {
    let (mill, failpoints) = deadly()?;
    let mut n_crashes = 0;
    let ended = loop {
        let ended = mill.run_failing(&["run", "plugins.toml", "--once"], &failpoints)?;
        if ended.code.is_some() {
            break ended;
        }
        n_crashes += 1;
        ensure!(n_crashes < 10, "it kills host after host: {ended:?}");
    };
    assert_eq!((ended.code, n_crashes), (Some(0), 3), "{ended:?}");
    judge_killer(&mill)
}

#[test]
fn two_hosts_that_share_a_folder_find_out_the_killer_between_them() -> Result<()> {
    let (mill, failpoints) = deadly()?;
    let mut hosts = [mill.start_failing(&failpoints)?, mill.start_failing(&failpoints)?];
    let (mut n_crashes, deadline) = (0, std::time::Instant::now() + 2 * PATIENCE);
    loop {
        // Looked at before the hosts are: the last crash is counted, too.
        let is_over = mill.files("inbox/dead").len() == 2 && mill.files("inbox/done").len() == N_OTHERS;
        for host in &mut hosts {
            if host.has_ended()? {
                *host = mill.start_failing(&failpoints)?;
                n_crashes += 1;
            }
        }
        if is_over {
            break;
        }
        let is_late = std::time::Instant::now() > deadline;
        ensure!(!is_late, "after {n_crashes} crashes: {}", hosts[0].log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(n_crashes, 3);
    for mut host in hosts {
        host.wait_ready()?;
        host.stop()?;
    }
    judge_killer(&mill)
}

/// Files in such folders of hosts.
fn n_claims(mill: &Mill, slot: &str) -> usize {
    let hosts = mill.path("inbox/.millrace").read_dir().into_iter().flatten().flatten();
    let slots = hosts.map(|host| host.path().join(slot).read_dir().map_or(0, Iterator::count));
    slots.sum()
}

#[test]
fn a_drain_empties_the_quarantine_of_a_folder() -> Result<()> {
    let (mill, samples) = (mill()?, pictures()?);
    let n_files = 40;
    for (n, sample) in (0..n_files).zip(samples.iter().cycle()) {
        std::fs::write(mill.path("inbox").join(format!("{n:02}.png")), &sample.png)?;
    }
    std::fs::write(mill.path("gate"), "")?;
    let host = mill.start_failing("preprocess=while:gate")?;
    wait_for("all files in flight", || {
        (n_claims(&mill, "taken.1") == n_files).then_some(())
    })?;
    host.kill()?;
    let host = mill.start_failing("preprocess=while:gate")?;
    wait_for("one of them alone, and the others behind it", || {
        let n_claims = (n_claims(&mill, "alone.1.1"), n_claims(&mill, "apart.1.1"));
        (n_claims == (1, n_files - 1)).then_some(())
    })?;
    host.terminate()?;
    std::fs::remove_file(mill.path("gate"))?;
    let status = host.wait_end()?;
    assert_eq!(status.code(), Some(0));
    assert_eq!(mill.files("inbox/done").len(), n_files);
    assert_eq!(mill.files("inbox/dead"), [""; 0]);
    Ok(())
}

#[test]
fn a_stop_and_a_start_over_a_full_folder_are_no_deaths() -> Result<()> {
    let (mill, samples) = (mill()?, pictures()?);
    let n_files = 600;
    for (n, sample) in (0..n_files).zip(samples.iter().cycle()) {
        std::fs::write(mill.path("inbox").join(format!("{n:03}.png")), &sample.png)?;
    }
    let mut n_before = 0;
    for _ in 0..2 {
        let host = mill.start()?;
        wait_for("some more results", || {
            (mill.files("inbox/done").len() > n_before + 20).then_some(())
        })?;
        host.stop()?;
        n_before = mill.files("inbox/done").len();
        ensure!(n_before < n_files, "the stop came too late to show anything");
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let suspected = ["in flight when a host ended", "of a host that is gone", "redelivered"];
    assert!(suspected.iter().all(|line| !ended.stderr.contains(line)), "{ended:?}");
    assert_eq!(mill.files("inbox/done").len(), n_files);
    assert_eq!(mill.files("out").len(), 2 * n_files, "a result twice, or none");
    Ok(())
}

#[test]
fn a_file_that_is_written_slowly_is_taken_when_it_is_closed_and_what_is_skipped_is_told() -> Result<()> {
    use std::io::Write as _;

    let (mill, samples) = (mill()?, pictures()?);
    let png = samples.first().map(|sample| sample.png.clone()).context("no samples")?;
    std::fs::write(mill.path("inbox/later.png.part"), "x")?;
    let mut host = mill.start_ready()?;
    host.wait_line(PATIENCE, "ignoring entries of the folder that are no messages")?;
    let (first, second) = png.split_at(png.len() / 2);
    let mut file = std::fs::File::create(mill.path("inbox/slow.png"))?;
    file.set_len(png.len() as u64)?;
    file.write_all(first)?;
    // Another one that comes later and is done before shows that the host went on, and left the slow one alone.
    for n in 0..3 {
        std::fs::write(mill.path(&format!("inbox/quick-{n}.png")), &png)?;
        wait_for("the quick one", || {
            mill.files("inbox/done")
                .contains(&format!("quick-{n}.png"))
                .then_some(())
        })?;
    }
    assert_eq!(mill.files("inbox"), ["later.png.part", "slow.png"]);
    file.write_all(second)?;
    drop(file);
    wait_for("the slow one", || {
        mill.files("inbox/done").contains(&"slow.png".to_owned()).then_some(())
    })?;
    assert_eq!(mill.files("inbox/dead"), [""; 0]);
    host.stop()
}

const ADMIN: &str = "[host]\nadmin = \"127.0.0.1:0\"";

#[test]
fn a_source_folder_that_is_deleted_and_made_anew_is_taken_from() -> Result<()> {
    let (mill, samples) = (mill_with(ADMIN)?, pictures()?);
    let png = samples.first().map(|sample| sample.png.clone()).context("no samples")?;
    std::fs::write(mill.path("gate"), "")?;
    std::fs::write(mill.path("inbox/in-flight.png"), &png)?;
    let mut host = mill.start_failing("preprocess=while:gate")?;
    let admin = Admin::of(&mut host)?;
    wait_for("a file in flight", || (n_claims(&mill, "taken.1") == 1).then_some(()))?;
    std::fs::remove_dir_all(mill.path("inbox"))?;
    admin.wait_ready(503, "waiting for the source: cannot open `")?;
    std::fs::create_dir(mill.path("inbox"))?;
    std::fs::write(mill.path("inbox/new.png"), &png)?;
    // What went with the folder holds nothing up.
    std::fs::remove_file(mill.path("gate"))?;
    wait_for("the new file", || {
        (mill.files("inbox/done") == ["new.png"]).then_some(())
    })?;
    admin.wait_ready(200, "")?;
    // Its claims alone.
    std::fs::remove_dir_all(mill.path("inbox/.millrace"))?;
    std::fs::write(mill.path("inbox/newer.png"), &png)?;
    wait_for("another new file", || {
        (mill.files("inbox/done") == ["new.png", "newer.png"]).then_some(())
    })?;
    host.wait_lines(PATIENCE, 2, "files are taken from the folder again")?;
    assert_eq!(
        host.n_lines("nothing can be taken from the folder: trying again until it works"),
        2
    );
    assert_eq!(mill.files("out").len(), 6);
    host.stop()
}

#[test]
fn a_folder_of_results_that_vanished_holds_them_until_it_is_back() -> Result<()> {
    let (mill, samples) = (mill_with(ADMIN)?, pictures()?);
    let png = samples.first().map(|sample| sample.png.clone()).context("no samples")?;
    let mut host = mill.start_ready()?;
    let admin = Admin::of(&mut host)?;
    std::fs::remove_dir_all(mill.path("out"))?;
    std::fs::write(mill.path("inbox/cat.png"), &png)?;
    let why = admin.wait_ready(503, "holding 1 for")?;
    assert!(why.contains("is gone: "), "{why}");
    assert!(!mill.path("out").exists());
    std::fs::create_dir(mill.path("out"))?;
    wait_for("the file", || (mill.files("inbox/done") == ["cat.png"]).then_some(()))?;
    assert_eq!(mill.files("out"), ["cat.png.json", "cat.png.json.envelope.json"]);
    admin.wait_ready(200, "")?;
    host.stop()
}
