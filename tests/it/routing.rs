//! Where results go: to declared destinations, all or nothing, held while a queue is away.

use anyhow::{Context, Result};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::host::Mill;
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, Scene};

fn sample() -> Result<Sample> {
    pictures()?.into_iter().next().context("no sample")
}

#[tokio::test]
async fn labels_choose_destinations() -> Result<()> {
    let broker = Broker::shared()?;
    let samples = pictures()?;
    let first = samples.first().context("no sample")?.label.clone();
    let scene = Scene::new(broker)?;
    let other = format!("{}.other", scene.results);
    let scene = Scene {
        route: Plugin::with_settings("by-label", &format!("labels = {{ {first} = \"other\" }}"))?,
        tables: format!("[pipeline.images.destination.other]\nexchange = \"\"\nrouting_key = \"{other}\"\n"),
        ..scene
    };
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    for sample in &samples {
        client
            .publish(
                &scene.input,
                &Parcel::new(&sample.path.display().to_string(), sample.png.clone()),
            )
            .await?;
    }
    let n_first = samples.iter().filter(|sample| sample.label == first).count();
    for result in client.take_all(&other, n_first).await? {
        assert_eq!(result.json()?["label"], first.as_str());
    }
    for result in client.take_all(&scene.results, samples.len() - n_first).await? {
        assert_ne!(result.json()?["label"], first.as_str());
    }
    host.stop()
}

#[test]
fn a_destination_that_the_settings_name_and_no_pipeline_declares_is_found_by_check() -> Result<()> {
    let check = |settings: &str, code: i32, parts: &[&str]| -> Result<()> {
        let plugins = [
            Plugin::shipped("decode-image")?,
            Plugin::with_settings("by-label", settings)?,
        ];
        let head = millrace_tests::scene::head(&plugins.each_ref());
        let pipeline = |name: &str, destination: &str| {
            format!(
                "[pipeline.{name}]\nsource = {{ folder = \"in-{name}\" }}\npreprocess = \"decode-image\"\nmodel = \"shapes\"\n\
                 route = \"by-label\"\n[pipeline.{name}.destination.{destination}]\nfolder = \"out-{name}\"\n"
            )
        };
        let mill = Mill::new(&format!(
            "{head}\n{}{}",
            pipeline("one", "results"),
            pipeline("two", "stars")
        ))?;
        for folder in ["in-one", "in-two"] {
            std::fs::create_dir(mill.path(folder))?;
        }
        let ended = mill.run(&["check", "plugins.toml"])?;
        assert_eq!(ended.code, Some(code), "{settings}: {ended:?}");
        for part in parts {
            assert!(ended.stderr.contains(part), "no {part:?} in {}", ended.stderr);
        }
        Ok(())
    };
    check(
        "labels = { star = \"star\" }",
        2,
        &[
            "the router `by-label` sends to `star`, which is not a destination of the pipeline `one`",
            "declare it with `[pipeline.one.destination.star]`",
            "plugins.toml:",
            "1 mistake",
        ],
    )?;
    check("default = \"resluts\"", 2, &["did you mean `results`?"])?;
    check("default = \"Results\"", 2, &["the name of a destination is"])?;
    // Each is there in one of the two, and what holds by default may never be chosen.
    check("labels = { star = \"stars\" }", 0, &["warning", "the pipeline `one`"])?;
    check(
        "top_k = 1",
        0,
        &[
            "sends to `results` by the default of `default`",
            "or set `default` to a declared destination",
        ],
    )
}

#[tokio::test]
async fn an_answer_goes_where_the_message_asks_if_that_is_allowed() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let (allowed, denied) = (format!("client.{}", scene.input), format!("other.{}", scene.input));
    let scene = Scene {
        route: Plugin::with_settings("by-label", "default = \"answers\"")?,
        // The own queue is allowed by its pattern, and still no answer may become the next question.
        tables: format!(
            "[pipeline.images.destination.answers]\nreply = [\"client.*\", \"{}\"]\n",
            scene.input
        ),
        ..scene
    };
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    for queue in [&allowed, &denied] {
        client.declare(queue, QueueKind::Classic).await?;
    }
    for queue in [&allowed, &denied, &scene.input] {
        let parcel = Parcel {
            reply_to: Some(queue.clone()),
            ..Parcel::new(queue, sample()?.png)
        };
        client.publish(&scene.input, &parcel).await?;
    }
    client
        .publish(&scene.input, &Parcel::new("asks-for-none", sample()?.png))
        .await?;
    let answers = client.take_all(&allowed, 1).await?;
    assert!(
        answers.iter().all(|answer| answer.correlation_id == allowed),
        "{answers:?}"
    );
    let dead_letters = client.take_all(&scene.dead, 3).await?;
    assert!(
        dead_letters
            .iter()
            .all(|dead_letter| dead_letter.header("x-millrace-reason") == "unanswerable"),
        "{dead_letters:?}"
    );
    host.stop()?;
    assert_eq!(client.count(&denied).await?, 0);
    Ok(())
}
