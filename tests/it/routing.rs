//! Where results go: to declared destinations, all or nothing, held while a queue is away.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::host::Mill;
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::{PATIENCE, wait_for};

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

#[tokio::test]
async fn one_message_may_have_several_results() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let copies = format!("{}.copies", scene.results);
    let scene = Scene {
        route: Plugin::with_settings("hostile-route", "mode = \"fan-out\"")?,
        tables: format!("[pipeline.images.destination.copies]\nexchange = \"\"\nrouting_key = \"{copies}\"\n"),
        ..scene
    };
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    client.publish(&scene.input, &Parcel::new("a", sample()?.png)).await?;
    let mut results = client.take_all(&scene.results, 1).await?;
    results.append(&mut client.take_all(&copies, 1).await?);
    let [first, second] = results.as_slice() else {
        anyhow::bail!("{results:?}")
    };
    assert_eq!(
        (first.correlation_id.as_str(), second.correlation_id.as_str()),
        ("a", "a")
    );
    assert_ne!(first.id, second.id, "two results of one message with one id");
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
async fn a_destination_that_is_not_declared_is_denied() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        // No settings name it: it is made of the label.
        route: Plugin::with_settings("top-k-fanout", "k = 1, destination = \"nowhere-{label}\"")?,
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    client.publish(&scene.input, &Parcel::new("a", sample()?.png)).await?;
    let dead_letters = client.take_all(&scene.dead, 1).await?;
    let dead_letter = dead_letters.first().context("no dead letter")?;
    assert_eq!(dead_letter.header("x-millrace-reason"), "denied");
    assert_eq!(dead_letter.header("x-millrace-stage"), "route");
    assert_eq!(dead_letter.header("x-millrace-plugin"), "top-k-fanout");
    assert!(
        dead_letter.header("x-millrace-text").contains("nowhere"),
        "{dead_letter:?}"
    );
    host.stop()?;
    assert_eq!(client.count(&scene.results).await?, 0);
    Ok(())
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

#[tokio::test]
async fn a_result_that_cannot_be_routed_is_held_until_its_queue_appears() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    // Others own it: the host does not declare it again.
    let mill = scene.mill_with_foreign_results()?;
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    let mut host = mill.start_ready()?;
    client.delete(&scene.results).await?;
    client
        .publish(&scene.input, &Parcel::new("held", sample()?.png))
        .await?;
    host.wait_line(
        PATIENCE,
        "holding: the pipeline receives no messages until this succeeds",
    )?;
    // Neither acknowledged nor dead: the broker still has it, in flight. It counts in the background.
    let held = format!("{}\t1\t0", scene.input);
    wait_for("the broker's count", || {
        let counts = broker.rabbitmqctl(&["list_queues", "name", "messages_unacknowledged", "messages_ready"]);
        counts
            .is_ok_and(|counts| counts.lines().any(|line| line == held))
            .then_some(())
    })?;
    assert_eq!(client.count(&scene.dead).await?, 0);
    client.declare(&scene.results, QueueKind::Quorum).await?;
    let results = client.take_all(&scene.results, 1).await?;
    assert!(
        results.iter().all(|result| result.correlation_id == "held"),
        "{results:?}"
    );
    host.wait_line(PATIENCE, "no message is held any more")?;
    host.stop()?;
    assert_eq!(client.count(&scene.input).await?, 0);
    assert!(
        client
            .take(&scene.results, 1, Duration::from_millis(1))
            .await?
            .is_empty(),
        "the result came twice"
    );
    Ok(())
}
