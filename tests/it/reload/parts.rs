//! Models are swapped, pipelines come, go, pause and go on: nothing is lost on the way.

use std::fs;
use std::time::Duration;

use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::samples::{model, pictures};
use millrace_tests::unique;

use super::*;

pub(super) fn copy_model(to: &std::path::Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(model())? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

#[test]
fn a_model_is_swapped_for_one_that_calls_things_otherwise() -> Result<()> {
    let scene = scene("crop.wasm")?;
    let text = |text: String| text.replace(&format!("{:?}", model().display().to_string()), "\"shapes\"");
    let mill = scene.mill_with(text)?;
    fs::write(mill.path("crop.wasm"), version(&decode_image()?, 1))?;
    copy_model(&mill.path("shapes"))?;
    let host = mill.start_ready()?;
    let flow = Flow::start(&scene)?;
    let first = flow.wait_result("the first", |_| true).with_context(|| host.log())?;
    copy_model(&mill.path("other"))?;
    let manifest = mill.path("other/model.toml");
    let other = fs::read_to_string(&manifest)?.replace("\"circle\"", "\"disc\"");
    fs::write(&manifest, other)?;
    // A folder that is replaced whole.
    fs::rename(mill.path("shapes"), mill.path("old"))?;
    fs::rename(mill.path("other"), mill.path("shapes"))?;
    let disc = |result: &Arrival| {
        result
            .json()
            .is_ok_and(|result| result.get("label") == Some(&"disc".into()))
    };
    let swapped = flow.wait_result("a disc", disc).with_context(|| host.log())?;
    assert_ne!(swapped.header("x-millrace-model"), first.header("x-millrace-model"));
    let generation = |result: &Arrival| result.header("x-millrace-generation").parse::<u64>();
    assert_eq!(generation(&swapped)?, generation(&first)? + 1);
    let mut outcome = flow.finish(host)?;
    outcome.all_results()?;
    // Each says what its own model calls it.
    let old = first.header("x-millrace-model").to_owned();
    let newer: Vec<_> = outcome
        .results
        .extract_if(.., |result| result.header("x-millrace-model") != old)
        .collect();
    outcome.all_right()?;
    assert!(newer.iter().all(|result| result.text().contains("\"label\"")));
    assert!(newer.iter().any(disc) && !outcome.results.iter().any(disc));
    Ok(())
}

/// Messages of the second pipeline: more than it can do before it is removed.
const N_BESIDE: usize = 5000;

/// A second pipeline beside `images`.
fn beside(queue: &str) -> String {
    format!(
        r#"
[pipeline.beside]
source = {{ queue = "{queue}", prefetch = 1 }}
preprocess = "crop"
model = "shapes"
route = "by-label"
[pipeline.beside.destination.results]
exchange = ""
routing_key = "{queue}.results"
"#
    )
}

#[tokio::test]
async fn a_pipeline_is_added_and_removed_without_a_loss_there_or_beside() -> Result<()> {
    let mut rig = Rig::plain(|scene| scene)?;
    let queue = unique("beside");
    let results = format!("{queue}.results");
    rig.edit(|text| text + &beside(&queue))?;
    rig.host.wait_pipeline("beside")?;
    let client = Client::connect(&Broker::shared()?.url()).await?;
    let samples = pictures()?;
    let parcels = (0..N_BESIDE).zip(samples.iter().cycle());
    let parcels: Vec<Parcel> = parcels
        .map(|(n, sample)| Parcel::new(&format!("b{n}"), sample.png.clone()))
        .collect();
    client.publish_all(&queue, parcels).await?;
    let mut done = client.take_all(&results, 1).await?;
    // In the midst of its work: what is in flight is finished, the rest stays where it is.
    rig.edit(|text| text.replace(&beside(&queue), ""))?;
    rig.host.wait_line(PATIENCE, "removed")?;
    done.extend(client.take(&results, N_BESIDE, Duration::from_secs(1)).await?);
    let mut ids: Vec<String> = done.into_iter().map(|arrival| arrival.correlation_id).collect();
    let n_left = N_BESIDE.saturating_sub(ids.len());
    assert!(n_left > 0, "all was done before it was removed");
    let left = client.take(&queue, n_left, PATIENCE).await?;
    ids.extend(left.into_iter().map(|arrival| arrival.id));
    ids.sort();
    let mut expected: Vec<String> = (0..N_BESIDE).map(|n| format!("b{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
    rig.finish()?.all_right()
}

#[test]
fn a_pipeline_that_is_paused_takes_nothing_until_it_is_resumed() -> Result<()> {
    let rig = Rig::plain(|scene| scene)?;
    let paused = rig.mill.run(&["pause", "images"])?;
    assert_eq!(paused.code, Some(0), "{paused:?}");
    // What is in flight comes to its end; then the results stand still while messages are published.
    let n_published = rig.flow.n_published();
    let mut last = (n_published, rig.flow.n_results());
    millrace_tests::wait_for("results that stand still", || {
        let now = (rig.flow.n_published(), rig.flow.n_results());
        let stands = now.0 > last.0 + 50 && now.1 == last.1;
        if now.1 != last.1 {
            last = now;
        }
        stands.then_some(())
    })?;
    let status = rig.mill.run(&["status", "--json"])?;
    assert!(status.stdout.contains("\"paused\""), "{status:?}");
    let resumed = rig.mill.run(&["resume", "images"])?;
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    rig.flow.wait_more(60)?;
    rig.finish()?.all_right()
}
