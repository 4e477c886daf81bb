//! `millrace check --online`: every mistake that only the broker knows, at once, and nothing is changed there.

use anyhow::Result;
use millrace_tests::amqp::{Client, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::scene::Scene;
use millrace_tests::unique;

const CHECK: [&str; 3] = ["check", "--online", "plugins.toml"];

#[tokio::test]
async fn what_the_broker_has_against_a_file_is_told_at_once_and_nothing_is_changed() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.input, QueueKind::Classic).await?;
    // Dead letters go into whatever is there.
    client.declare(&scene.dead, QueueKind::Classic).await?;
    let missing = unique("no-exchange");
    let scene = Scene {
        prefetch: 2,
        tables: format!("[pipeline.images.destination.other]\nexchange = \"{missing}\"\nrouting_key = \"k\"\n"),
        ..scene
    };
    let mill = scene.mill_with(|text| text.replace("device = \"cpu\"", "device = \"cpu\"\nmax_batch = 8"))?;
    let before = broker.rabbitmqctl(&["list_queues", "name", "type", "durable"])?;
    let ended = mill.run(&CHECK)?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in [
        "a batch of 8",
        &format!("queue `{}` exists with other properties", scene.input),
        &format!("queue `{}` is not there yet", scene.results),
        &format!("exchange `{missing}` is not there"),
        "plugins.toml:",
        "2 mistakes",
    ] {
        assert!(ended.stderr.contains(part), "no {part:?} in:\n{}", ended.stderr);
    }
    let lines = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| line.contains(&scene.input))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let after = broker.rabbitmqctl(&["list_queues", "name", "type", "durable"])?;
    assert_eq!(lines(&before), lines(&after));
    Ok(())
}

#[tokio::test]
async fn a_file_that_ran_is_right_online_too_and_a_broker_that_is_away_is_said_to_be() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let fresh = mill.run(&CHECK)?;
    assert_eq!(fresh.code, Some(0), "{fresh:?}");
    assert_eq!(fresh.stderr.matches("is not there yet").count(), 3, "{fresh:?}");
    mill.start_ready()?.stop()?;
    let ended = mill.run(&CHECK)?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.contains("none at the broker"), "{ended:?}");

    let url = broker.url().replace("guest:guest", "guest:wrong");
    let refused = Scene { url, ..scene.clone() }.mill()?.run(&CHECK)?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("refused the connection"), "{refused:?}");
    let away = Scene {
        url: Broker::prepare()?.url(),
        ..scene
    }
    .mill()?
    .run(&CHECK)?;
    assert_eq!(away.code, Some(1), "{away:?}");
    assert!(away.stderr.contains("cannot be reached"), "{away:?}");
    Ok(())
}
