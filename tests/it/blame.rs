//! What a message chose, and what the host does wrong, is charged to no plugin: no breaker opens, no version is undone.

use anyhow::{Context, Result};
use millrace_tests::PATIENCE;
use millrace_tests::amqp::{Arrival, Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::samples::pictures;
use millrace_tests::scene::{Plugin, Scene};

const OPEN: &str = "breaker open: the pipeline receives no messages until a half-open call succeeds";
/// More than a breaker's threshold, and more than twice as many.
const N_BAD: usize = 12;
const N_GOOD: usize = 5;

/// One good picture.
fn picture() -> Result<Vec<u8>> {
    Ok(pictures()?.swap_remove(0).png)
}

/// Sends bad messages and good ones behind them, by a prefetch that takes one after the other; gives the dead letters.
async fn check(
    scene: Scene,
    bad: impl Fn(usize) -> Parcel,
    good: impl Fn(usize) -> Parcel,
    results: &str,
    failpoints: &str,
) -> Result<Vec<Arrival>> {
    let scene = Scene { prefetch: 1, ..scene };
    let mill = scene.mill()?;
    let mut host = mill.start_failing(failpoints)?;
    host.wait_ready()?;
    let client = Client::connect(&scene.url).await?;
    if results != scene.results {
        client.declare(results, QueueKind::Classic).await?;
    }
    client.publish_all(&scene.input, (0..N_BAD).map(bad)).await?;
    client.publish_all(&scene.input, (0..N_GOOD).map(good)).await?;
    client.take_all(results, N_GOOD).await?;
    let dead_letters = client.take_all(&scene.dead, N_BAD).await?;
    assert_eq!(host.n_lines(OPEN), 0, "{}", host.log());
    host.stop()?;
    Ok(dead_letters)
}

#[track_caller]
fn all_are(dead_letters: &[Arrival], class: &str, text: &str) {
    for dead_letter in dead_letters {
        assert_eq!(dead_letter.header("x-millrace-reason"), class, "{dead_letter:?}");
        assert!(dead_letter.header("x-millrace-text").contains(text), "{dead_letter:?}");
        assert_eq!(dead_letter.header("x-millrace-plugin"), "", "{dead_letter:?}");
    }
}

#[tokio::test]
async fn what_a_message_asks_for_is_not_charged_to_the_plugin() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = |route: Plugin, tables: &str| -> Result<Scene> {
        Ok(Scene {
            route,
            tables: tables.to_owned(),
            ..Scene::new(broker)?
        })
    };
    let png = picture()?;
    let named = |name: &str, n: usize| Parcel::new(&format!("{name}-{n}"), png.clone());

    // No reply-to, and one that the patterns forbid.
    let answers = millrace_tests::unique("client");
    for (reply_to, text) in [
        (None, "its publisher must set the property `reply-to`"),
        (
            Some("elsewhere".to_owned()),
            "its patterns say which queues may be asked for",
        ),
    ] {
        let reply = scene(
            Plugin::with_settings("by-label", "default = \"answers\"")?,
            "[pipeline.images.destination.answers]\nreply = [\"client-*\"]\n",
        )?;
        let asks = |reply_to: Option<String>, parcel: Parcel| Parcel { reply_to, ..parcel };
        let bad = |n| asks(reply_to.clone(), named("bad", n));
        let good = |n| asks(Some(answers.clone()), named("good", n));
        all_are(&check(reply, bad, good, &answers, "").await?, "unanswerable", text);
    }

    // A header that the router passes on.
    let echo = scene(Plugin::with_settings("hostile-route", "mode = \"echo-header\"")?, "")?;
    let results = echo.results.clone();
    let with = |value: &str, mut parcel: Parcel| {
        parcel.headers.push(("echo".to_owned(), value.to_owned()));
        parcel
    };
    let (bad, good) = (|n| with("a\nb", named("bad", n)), |n| with("a", named("good", n)));
    let dead_letters = check(echo, bad, good, &results, "").await?;
    all_are(&dead_letters, "undeliverable", "which is as the message has it");
    Ok(())
}

/// RabbitMQ ends the connection over such an address: it is of its own form, and names nobody.
const CROOKED: &str = "amq.rabbitmq.reply-to.g1hkAA9yZXBseUAxMDkyNjQ5ODkAAAAAAAAAAAA=.abcdef==";

#[tokio::test]
async fn an_address_that_the_broker_breaks_down_over_stops_nobody() -> Result<()> {
    let broker = Broker::shared()?;
    let answers = millrace_tests::unique("client");
    let scene = Scene {
        prefetch: 8,
        route: Plugin::with_settings("by-label", "default = \"answers\"")?,
        tables: "[pipeline.images.destination.answers]\nreply = [\"amq.rabbitmq.reply-to.*\", \"client-*\"]\n"
            .to_owned(),
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let client = Client::connect(&scene.url).await?;
    client.declare(&answers, QueueKind::Classic).await?;
    let png = picture()?;
    let asks = |name: &str, n: usize, reply_to: &str| Parcel {
        reply_to: Some(reply_to.to_owned()),
        ..Parcel::new(&format!("{name}-{n}"), png.clone())
    };
    for round in 0..3 {
        let crooked = (0..2).map(|n| asks("crooked", 10 * round + n, CROOKED));
        client.publish_all(&scene.input, crooked).await?;
        let good = (0..N_GOOD).map(|n| asks("good", 10 * round + n, &answers));
        client.publish_all(&scene.input, good).await?;
    }
    let got = client.take_all(&answers, 3 * N_GOOD).await;
    got.with_context(|| host.log())?;
    let dropped = "dropped a reply: the client that asked for it is gone";
    host.wait_lines(PATIENCE, 6, dropped).with_context(|| host.log())?;
    assert_eq!(host.n_lines(OPEN), 0, "{}", host.log());
    // The connection that everybody else publishes on was never lost.
    let log = host.log();
    let made = log
        .lines()
        .filter(|line| line.contains("connected to the broker") && line.contains(" publishes\""));
    assert_eq!(made.count(), 1, "{log}");
    host.stop()
}

#[tokio::test]
async fn a_key_of_the_messages_is_the_messages_and_one_of_the_plugins_is_not() -> Result<()> {
    let broker = Broker::shared()?;
    let png = picture()?;
    let route = Plugin::with_settings("hostile-route", "mode = \"key-not-allowed\", key = \"forbidden\"")?;
    let scene = Scene {
        prefetch: 1,
        route,
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let with_key = |n: usize, said: &str| {
        let mut parcel = Parcel::new(&format!("{said}-{n}"), png.clone());
        parcel.headers.push(("to".to_owned(), said.to_owned()));
        parcel
    };
    client
        .publish_all(&scene.input, (0..N_BAD).map(|n| with_key(n, "forbidden")))
        .await?;
    let dead_letters = client.take_all(&scene.dead, N_BAD).await?;
    all_are(
        &dead_letters,
        "undeliverable",
        "does not allow the key \\\"forbidden\\\"",
    );
    assert_eq!(host.n_lines(OPEN), 0, "{}", host.log());
    client
        .publish_all(&scene.input, (0..N_BAD).map(|n| with_key(n, "another")))
        .await?;
    host.wait_line(millrace_tests::PATIENCE, OPEN)?;
    let dead_letters = client.take_all(&scene.dead, 4).await?;
    let dead_letter = dead_letters.first().context("no letter")?;
    assert_eq!(dead_letter.header("x-millrace-reason"), "denied", "{dead_letter:?}");
    host.stop()
}

#[tokio::test]
async fn a_panic_of_the_host_in_a_plugin_call_is_the_hosts() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let (results, png) = (scene.results.clone(), picture()?);
    let parcel = |name: &'static str| {
        let png = png.clone();
        move |n: usize| Parcel::new(&format!("{name}-{n}"), png.clone())
    };
    // One call for each of the bad messages: it is not tried once more.
    let failpoints = format!("call=panic@1..{N_BAD}");
    let dead_letters = check(scene, parcel("bad"), parcel("good"), &results, &failpoints).await?;
    all_are(
        &dead_letters,
        "host-fault",
        "the host failed in a call of plugin `decode-image`: the failpoint Call panics",
    );
    Ok(())
}

#[tokio::test]
async fn a_panic_while_a_message_is_settled_costs_nothing_but_another_delivery() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let mut host = mill.start_failing("copy=panic@1")?;
    host.wait_ready()?;
    let client = Client::connect(&broker.url()).await?;
    client.publish(&scene.input, &Parcel::new("bad", "no picture")).await?;
    host.wait_line(millrace_tests::PATIENCE, "panicked")?;
    // The others go on.
    client.publish(&scene.input, &Parcel::new("good", picture()?)).await?;
    client.take_all(&scene.results, 1).await?;
    host.stop()?;
    // It was let go of by nobody.
    let host = mill.start_ready()?;
    let dead_letters = client.take_all(&scene.dead, 1).await?;
    assert_eq!(
        dead_letters.first().context("no letter")?.header("x-millrace-reason"),
        "refused"
    );
    host.stop()
}

#[test]
fn a_run_over_a_folder_gives_up_on_a_plugin_that_fails_for_everything() -> Result<()> {
    let mill = crate::folder::mill()?;
    let text = std::fs::read_to_string(mill.path("plugins.toml"))?;
    let hostile = Plugin::with_settings("hostile", "mode = \"trap\"")?;
    let text = text.replace("preprocess = \"decode-image\"", "preprocess = \"hostile\"");
    let table = format!(
        "\n[plugin.hostile]\npath = {:?}\n{}\n",
        hostile.path.display().to_string(),
        hostile.lines
    );
    std::fs::write(mill.path("plugins.toml"), text + &table)?;
    const N_FILES: usize = 40;
    for n in 0..N_FILES {
        std::fs::write(mill.path("inbox").join(format!("{n:02}.png")), "x")?;
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: plugin `hostile`")
            && ended.stderr.contains("the remaining files stay in their folder"),
        "{ended:?}"
    );
    // Four dead letters before the breaker opened, and a half-open call's where its attempts were spent.
    let (n_dead, n_left) = (mill.files("inbox/dead").len() / 2, mill.files("inbox").len());
    assert!(
        n_dead < 10 && n_left > N_FILES - 15,
        "{n_dead} dead, {n_left} left: {ended:?}"
    );
    Ok(())
}
