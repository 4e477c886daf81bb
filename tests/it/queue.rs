//! Queue in, queue out: right labels, right envelopes, each input once; what cannot be read becomes a dead letter.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Stdio;

use anyhow::{Context, Result};
use millrace_tests::amqp::{Arrival, Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::oracle::{Oracle, Verdict};
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;
use millrace_tests::{PATIENCE, unique, wait_at_most};

#[tokio::test]
async fn png_jpeg_and_raw_pictures_get_their_labels() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let mut expected = BTreeMap::new();
    for sample in pictures()? {
        let bodies = [
            ("image/png", sample.png.clone()),
            ("image/jpeg", sample.jpeg()?),
            ("image/x-rgb", sample.raw()?),
        ];
        for (content_type, body) in bodies {
            let (id, correlation_id) = (unique("picture"), unique("order"));
            let parcel = Parcel {
                correlation_id: Some(correlation_id.clone()),
                content_type: Some(content_type.to_owned()),
                ..Parcel::new(&id, body)
            };
            client.publish(&scene.input, &parcel).await?;
            expected.insert(
                correlation_id,
                (sample.label.clone(), content_type, sample.path.clone()),
            );
        }
    }
    let results = client.take_all(&scene.results, expected.len()).await?;
    for result in &results {
        let (label, content_type, path) = expected
            .remove(&result.correlation_id)
            .context("a result for no input")?;
        assert_eq!(
            result.json()?["label"],
            label.as_str(),
            "{} as {content_type}",
            path.display()
        );
        check_envelope(result);
    }
    assert!(expected.is_empty(), "no result for {expected:?}");
    host.stop()?;
    assert_eq!(client.count(&scene.input).await?, 0);
    assert_eq!(client.count(&scene.dead).await?, 0);
    Ok(())
}

fn check_envelope(result: &Arrival) {
    let header = |name: &str| result.header(&format!("x-millrace-{name}")).to_owned();
    assert_eq!(result.content_type, "application/json");
    assert!(result.persistent, "{result:?}");
    assert_eq!(result.id.len(), 32, "{result:?}");
    assert_eq!(header("pipeline"), "images");
    assert!(header("preprocess").starts_with("decode-image@"), "{result:?}");
    assert!(header("route").starts_with("by-label@"), "{result:?}");
    assert!(header("model").starts_with("shapes"), "{result:?}");
    for number in ["generation", "time-preprocess-us", "time-infer-us", "time-route-us"] {
        assert!(header(number).parse::<u64>().is_ok(), "{number}: {result:?}");
    }
    for present in ["host", "nonce"] {
        assert!(!header(present).is_empty(), "{present}: {result:?}");
    }
}

#[tokio::test]
async fn a_thousand_pictures_have_a_thousand_results() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let (mut oracle, samples) = (Oracle::default(), pictures()?);
    let mut labels = BTreeMap::new();
    let parcels = (0..1000).zip(samples.iter().cycle()).map(|(n, sample)| {
        let id = n.to_string();
        oracle.attempt(&id);
        labels.insert(id.clone(), sample.label.clone());
        Parcel::new(&id, sample.png.clone())
    });
    client.publish_all(&scene.input, parcels).await?;
    oracle.confirmed.clone_from(&oracle.attempted);
    for result in client.take_all(&scene.results, 1000).await? {
        oracle.result(&result.correlation_id);
        let label = labels.get(&result.correlation_id).context("a result for no input")?;
        assert_eq!(
            result.json()?["label"],
            label.as_str(),
            "message {}",
            result.correlation_id
        );
    }
    host.stop()?;
    scene.gather(&client, &mut oracle).await?;
    assert_eq!(oracle.judge(), Verdict::default());
    assert_eq!(oracle.results.len(), 1000);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_becomes_a_dead_letter_that_says_why() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        pipeline: "max_message = \"1MiB\"",
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let samples = pictures()?;
    let sample = samples.first().context("no sample")?;
    let jpeg = sample.jpeg()?;
    let torn = jpeg.get(..jpeg.len() / 2).unwrap_or_default().to_vec();
    let rows: [(&str, &str, Vec<u8>, &str, &str); 4] = [
        (
            "text",
            "text/plain",
            b"Not a picture, but a sentence.".to_vec(),
            "refused",
            "not a PNG, JPEG",
        ),
        ("empty", "image/png", Vec::new(), "refused", "empty"),
        ("torn", "image/jpeg", torn, "refused", "JPEG"),
        ("large", "image/png", vec![0; (1 << 20) + 1], "malformed", "max_message"),
    ];
    for (id, content_type, body, _, _) in &rows {
        let content_type = Some((*content_type).to_owned());
        let headers = vec![("colour".to_owned(), "red".to_owned())];
        client
            .publish(
                &scene.input,
                &Parcel {
                    content_type,
                    headers,
                    ..Parcel::new(id, body.clone())
                },
            )
            .await?;
    }
    client
        .publish(&scene.input, &Parcel::new("good", sample.png.clone()))
        .await?;

    let dead_letters = client.take_all(&scene.dead, rows.len()).await?;
    for (id, content_type, body, reason, text) in &rows {
        let dead_letter = dead_letters
            .iter()
            .find(|dead_letter| dead_letter.correlation_id == *id);
        let dead_letter = dead_letter.with_context(|| format!("no dead letter for {id}: {dead_letters:?}"))?;
        assert_eq!(&dead_letter.body, body, "{id}");
        assert!(dead_letter.persistent, "{id}");
        let header = |name: &str| dead_letter.header(&format!("x-millrace-{name}")).to_owned();
        assert_eq!(
            (header("pipeline").as_str(), header("reason").as_str()),
            ("images", *reason),
            "{dead_letter:?}"
        );
        assert!(header("text").contains(text), "{id}: {}", header("text"));
        assert_eq!(header("attempt"), "1", "{id}");
        for present in ["stage", "generation", "model", "host", "time"] {
            assert!(!header(present).is_empty(), "{id}: no {present}");
        }
        if *reason == "refused" {
            assert_eq!(header("plugin"), "decode-image", "{id}");
            assert_eq!(header("plugin-digest").len(), 64, "{id}");
        }
        let original: serde_json::Value = serde_json::from_str(&header("original"))?;
        assert_eq!(original["headers"]["colour"], "red", "{id}");
        assert_eq!(original["properties"]["message_id"], *id, "{id}");
        assert_eq!(original["properties"]["content_type"], *content_type, "{id}");
    }
    let results = client.take_all(&scene.results, 1).await?;
    assert!(
        results.iter().all(|result| result.correlation_id == "good"),
        "{results:?}"
    );
    host.stop()?;
    assert_eq!(client.count(&scene.input).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_queue_of_another_type_is_told_with_the_two_lines_to_write() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.input, QueueKind::ClassicTransient).await?;
    let ended = scene.mill()?.run(&["run", "plugins.toml"])?;
    assert_ne!(ended.code, Some(0), "{ended:?}");
    for part in [scene.input.as_str(), "type = \"classic\"", "durable = false"] {
        assert!(ended.stderr.contains(part), "no {part:?} in {ended:?}");
    }
    // With the two lines it runs.
    let scene = Scene {
        source: vec!["type = \"classic\"", "durable = false"],
        ..scene
    };
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let samples = pictures()?;
    let sample = samples.first().context("no sample")?;
    client
        .publish(&scene.input, &Parcel::new("a", sample.png.clone()))
        .await?;
    client.take_all(&scene.results, 1).await?;
    host.stop()
}

#[tokio::test]
async fn send_and_receive_are_all_the_client_that_a_newcomer_needs() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let samples = pictures()?;
    let files: Vec<String> = samples.iter().map(|sample| sample.path.display().to_string()).collect();
    let url = broker.url();
    let mut arguments = vec!["send", "--amqp", &url, &scene.input];
    arguments.extend(files.iter().map(String::as_str));
    let sent = mill.run(&arguments)?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let count = samples.len().to_string();
    let received = mill.run(&["receive", "--amqp", &url, &scene.results, "--count", &count])?;
    assert_eq!(received.code, Some(0), "{received:?}");
    for sample in &samples {
        assert!(
            received.stdout.contains(&sample.label),
            "no {} in {}",
            sample.label,
            received.stdout
        );
    }
    host.stop()
}

/// As in `millrace receive QUEUE | head`.
#[tokio::test]
async fn a_reader_that_leaves_ends_receive_quietly_and_what_it_did_not_read_stays() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let (url, queue) = (broker.url(), unique("unread"));
    let client = Client::connect(&url).await?;
    client.declare(&queue, QueueKind::Quorum).await?;
    let mut child = mill
        .command(&["receive", "--amqp", &url, &queue])?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    client
        .publish_all(&queue, (0..3).map(|n| Parcel::new(&n.to_string(), "unread")))
        .await?;
    let ended = wait_at_most(PATIENCE, "the end of `receive`", || child.try_wait().ok().flatten());
    child.kill()?;
    let mut stderr = String::new();
    child.stderr.take().context("stderr")?.read_to_string(&mut stderr)?;
    assert_eq!((ended?.code(), stderr.as_str()), (Some(0), ""));
    assert_eq!(client.take_all(&queue, 3).await?.len(), 3);
    Ok(())
}
