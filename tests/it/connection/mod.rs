//! What the network, the broker and its administrator do to connections and channels: nothing is lost, and what is
//! not hit goes on.

mod network;
mod queues;
mod tls;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::{Broker, Permissions};
use millrace_tests::certificates::{Authority, Validity};
use millrace_tests::host::{Host, Mill, field, said};
use millrace_tests::relay::{Direction, Flow, Relay};
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::{PATIENCE, unique, wait_for};
use tokio::time::timeout;

/// Long enough for anything that works, short enough to wait for what must not happen.
const A_WHILE: Duration = Duration::from_millis(500);

/// A pipeline between queues of its own, a host that runs it, and a client beside.
struct Run {
    scene: Scene,
    mill: Mill,
    host: Host,
    client: Client,
    picture: Vec<u8>,
    n_sent: usize,
}

impl Run {
    async fn start(broker: &Broker, scene: Scene) -> Result<Self> {
        let client = Client::connect(&broker.url()).await?;
        let mill = scene.mill()?;
        let host = mill.start_ready()?;
        let picture = pictures()?.first().context("no sample")?.raw()?;
        Ok(Self {
            scene,
            mill,
            host,
            client,
            picture,
            n_sent: 0,
        })
    }

    /// Publishes so many pictures, numbered on.
    async fn send(&mut self, n: usize) -> Result<()> {
        let parcels = (self.n_sent..self.n_sent + n).map(|n| Parcel {
            content_type: Some("image/x-rgb".to_owned()),
            ..Parcel::new(&n.to_string(), self.picture.clone())
        });
        self.client.publish_all(&self.scene.input, parcels).await?;
        self.n_sent += n;
        Ok(())
    }

    /// Takes results until each of what was sent has one; gives how many came twice.
    async fn take(&self, queue: &str) -> Result<usize> {
        let (mut seen, mut n_twice) = (BTreeSet::new(), 0);
        let mut taker = self.client.taker(queue).await?;
        while seen.len() < self.n_sent {
            let result = taker.next(PATIENCE).await?;
            let result =
                result.with_context(|| format!("{} of {} came\n{}", seen.len(), self.n_sent, self.host.log()))?;
            n_twice += usize::from(!seen.insert(result.correlation_id));
        }
        taker.close().await?;
        Ok(n_twice)
    }

    async fn finish(self) -> Result<()> {
        self.host.stop()?;
        ensure!(self.client.drain(&self.scene.input).await?.is_empty(), "input is left");
        ensure!(
            self.client.drain(&self.scene.dead).await?.is_empty(),
            "there are dead letters"
        );
        Ok(())
    }
}

/// A scene whose result goes to a direct exchange, which leads to the queue of results.
fn through(exchange: &str, scene: Scene) -> Scene {
    let results = &scene.results;
    let tables =
        format!("[pipeline.images.destination.exchange]\nexchange = \"{exchange}\"\nrouting_key = \"{results}\"\n");
    let route = Plugin {
        lines: "settings = { default = \"exchange\" }".to_owned(),
        ..scene.route.clone()
    };
    Scene { tables, route, ..scene }
}

const BLOCKED: &str = "the broker blocks publishes because it is short of memory or disk: its pipelines receive no messages until it unblocks";
const CLOSED: &str = "the exchange does not exist: declare it, and the held messages are published";
const FORBIDDEN: &str = "publishing is not permitted: grant the AMQP user write permission on the exchange, and the held messages are published";

#[tokio::test]
async fn an_exchange_that_vanishes_holds_its_own_messages_alone() -> Result<()> {
    let broker = Broker::start()?;
    let (exchange, client) = (unique("exchange"), Client::connect(&broker.url()).await?);
    let scene = through(&exchange, Scene::new(&broker)?);
    client.declare(&scene.results, QueueKind::Quorum).await?;
    client
        .declare_exchange(&exchange, &scene.results, &scene.results)
        .await?;
    // Two pipelines of one host: one publishes to the exchange, the other through the default one.
    let other = Scene::new(&broker)?;
    let both = scene.text() + &second_pipeline(&other);
    let mill = Mill::new(&both)?;
    let mut host = mill.start()?;
    host.wait_pipeline("images")?;
    host.wait_pipeline("others")?;
    let picture = pictures()?.first().context("no sample")?.raw()?;
    let mut run = Run {
        scene,
        mill,
        host,
        client,
        picture,
        n_sent: 0,
    };
    run.send(10).await?;
    assert_eq!(run.take(&run.scene.results).await?, 0);

    run.client.delete_exchange(&exchange).await?;
    run.n_sent = 0;
    run.send(5).await?;
    run.host.wait_line(PATIENCE, CLOSED)?;
    let raw = |n: usize| Parcel {
        content_type: Some("image/x-rgb".to_owned()),
        ..Parcel::new(&format!("other-{n}"), run.picture.clone())
    };
    run.client.publish_all(&other.input, (0..200).map(raw)).await?;
    let arrived = run.client.take_all(&other.results, 200).await?;
    let ids: BTreeSet<_> = arrived.iter().map(|arrival| &arrival.correlation_id).collect();
    assert_eq!(ids.len(), 200, "a neighbour's results came twice");

    run.client
        .declare_exchange(&exchange, &run.scene.results, &run.scene.results)
        .await?;
    run.take(&run.scene.results).await?;
    assert_eq!(run.host.n_lines("connected to the broker"), 2, "{}", run.host.log());
    assert_eq!(run.host.n_lines(CLOSED), 1, "{}", run.host.log());
    run.finish().await
}

/// A pipeline `others` of the same plugins and model, to be put behind a scene.
fn second_pipeline(scene: &Scene) -> String {
    let Scene {
        input, results, dead, ..
    } = scene;
    format!(
        "\n[pipeline.others]\nsource = {{ queue = \"{input}\" }}\npreprocess = \"decode-image\"\nmodel = \"shapes\"\n\
         route = \"others\"\ndead_letter = \"{dead}\"\n[pipeline.others.destination.results]\nexchange = \"\"\n\
         routing_key = \"{results}\"\n\n[plugin.others]\npath = {:?}\n",
        scene.route.path.display().to_string()
    )
}

#[tokio::test]
async fn permissions_and_passwords_that_are_changed_are_told_from_an_outage_and_waited_for() -> Result<()> {
    let broker = Broker::start()?;
    let (user, exchange) = (unique("user"), unique("exchange"));
    broker.add_user(&user, "old")?;
    let scene = through(&exchange, Scene::new(&broker)?);
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    client
        .declare_exchange(&exchange, &scene.results, &scene.results)
        .await?;
    let url = broker.url_as(&user, "old");
    let mut run = Run::start(&broker, Scene { url, ..scene }).await?;

    let all_but = format!("^(?!{exchange}$).*$");
    broker.permit(
        &user,
        Permissions {
            write: &all_but,
            ..Permissions::default()
        },
    )?;
    // The broker remembers what a channel may write for as long as it was just used.
    run.send(3).await?;
    run.host.wait_line(PATIENCE, FORBIDDEN)?;
    broker.permit(&user, Permissions::default())?;
    run.take(&run.scene.results).await?;

    let input = format!("^(?!{}$).*$", run.scene.input);
    broker.permit(
        &user,
        Permissions {
            read: &input,
            ..Permissions::default()
        },
    )?;
    run.client.delete(&run.scene.input).await?;
    run.host.wait_line(PATIENCE, "cannot consume from the queue")?;
    broker.permit(&user, Permissions::default())?;
    run.host.wait_lines(PATIENCE, 2, "consuming")?;

    broker.change_password(&user, "new")?;
    broker.close_connections()?;
    run.host.wait_line_that(PATIENCE, "the broker's reason", |line| {
        said(line) == Some("the broker closed the connection: connecting again")
            && field(line, "why").is_some_and(|why| why.contains("a test"))
    })?;
    let asked = std::time::Instant::now();
    run.host.wait_line(
        PATIENCE,
        "the broker refuses the connection: correct the configuration or the broker, the host goes on trying",
    )?;
    // The host has one line for all of them.
    let n_refused = |log: &str| log.matches("PLAIN login refused").count();
    let log = wait_for("three attempts", || {
        Some(broker.log()).filter(|log| n_refused(log) >= 3)
    })?;
    let n_refused = n_refused(&log);
    let at_most = 2 + asked.elapsed().as_secs() as usize;
    assert!(
        (1..=at_most).contains(&n_refused),
        "{n_refused} attempts, at most {at_most}:\n{log}"
    );
    broker.change_password(&user, "old")?;
    run.host.wait_lines(PATIENCE, 3, "consuming")?;
    run.client = Client::connect(&broker.url()).await?;
    run.n_sent = 0;
    run.send(3).await?;
    run.take(&run.scene.results).await?;
    run.finish().await
}

#[tokio::test]
async fn a_blocked_connection_is_waited_out_and_told_once() -> Result<()> {
    let broker = Broker::start()?;
    let scene = Scene {
        source: vec!["type = \"passive\""],
        ..Scene::new(&broker)?
    };
    // What is to be worked on waits before the alarm: it stops the test's publishes as it stops the host's.
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.input, QueueKind::Classic).await?;
    let picture = pictures()?.first().context("no sample")?.raw()?;
    let parcels = (0..200).map(|n: usize| Parcel {
        content_type: Some("image/x-rgb".to_owned()),
        ..Parcel::new(&n.to_string(), picture.clone())
    });
    client.publish_all(&scene.input, parcels).await?;
    broker.block()?;
    let mut run = Run::start(&broker, scene).await?;
    run.n_sent = 200;
    run.host.wait_line(PATIENCE, BLOCKED)?;
    let consumers = broker.rabbitmqctl(&["list_consumers", "queue_name"])?;
    assert!(
        consumers.contains(&run.scene.input),
        "the consumer is gone: {consumers}"
    );
    broker.unblock()?;
    assert_eq!(run.take(&run.scene.results).await?, 0, "{}", run.host.log());
    assert_eq!(run.host.n_lines("connected to the broker"), 2);
    assert_eq!(run.host.n_lines(BLOCKED), 1);
    run.finish().await
}

#[tokio::test]
async fn an_alarm_amid_the_work_is_waited_out_by_what_is_in_flight() -> Result<()> {
    const N: usize = 600;
    let broker = Broker::start()?;
    let relay = Relay::start(broker.port())?;
    let scene = Scene {
        url: format!("{}\"\nconfirm_timeout = \"1s", relay.url()),
        ..Scene::new(&broker)?
    };
    let mut run = Run::start(&broker, scene).await?;
    // Slow enough for the alarm to come amid it.
    relay.set_one(Direction::ToHost, Flow::Throttle(100_000));
    run.send(N).await?;
    let n_results = || -> Result<usize> {
        let queues = broker.rabbitmqctl(&["list_queues", "name", "messages"])?;
        let mut rows = queues.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&run.scene.results.as_str()));
        Ok(row.and_then(|row| row.get(1)?.parse().ok()).unwrap_or(0))
    };
    let began = std::time::Instant::now();
    while n_results()? == 0 {
        ensure!(began.elapsed() < PATIENCE, "no result comes: {}", run.host.log());
    }
    broker.block()?;
    run.host.wait_line(PATIENCE, BLOCKED)?;
    let n_before = n_results()?;
    assert!((1..N).contains(&n_before), "{n_before} of {N} results before the alarm");
    relay.set(Flow::Pass);
    // Three confirm timeouts, in which none may strike.
    let ended = run.host.wait_line(
        Duration::from_secs(3),
        "lost the publishing channel: unconfirmed messages are published again",
    );
    assert!(ended.is_err(), "{}", run.host.log());
    broker.unblock()?;
    assert_eq!(run.take(&run.scene.results).await?, 0, "{}", run.host.log());
    assert_eq!(
        run.host
            .n_lines("lost the publishing channel: unconfirmed messages are published again"),
        0,
        "{}",
        run.host.log()
    );
    assert_eq!(run.host.n_lines("connected to the broker"), 2);
    assert_eq!(run.host.n_lines(BLOCKED), 1);
    run.finish().await
}

#[tokio::test]
async fn results_flow_again_when_the_limit_of_a_full_queue_is_taken_away() -> Result<()> {
    let broker = Broker::start()?;
    let mut run = Run::start(&broker, Scene::new(&broker)?).await?;
    let limit = r#"{"max-length": 5, "overflow": "reject-publish"}"#;
    broker.rabbitmqctl(&["set_policy", "limit", &format!("^{}$", run.scene.results), limit])?;
    // The queue comes to know of its limit in its own time.
    let mut rounds = 0;
    while run
        .host
        .n_lines("holding: the pipeline receives no messages until this succeeds")
        == 0
    {
        ensure!(rounds < 500, "nothing is held\n{}", run.host.log());
        rounds += 1;
        run.send(10).await?;
    }
    broker.rabbitmqctl(&["clear_policy", "limit"])?;
    // Nothing is taken from the queue: that alone would end the refusals.
    run.host
        .wait_line(Duration::from_secs(30), "no message is held any more")?;
    assert_eq!(run.take(&run.scene.results).await?, 0, "{}", run.host.log());
    assert_eq!(run.host.n_lines("connected to the broker"), 2);
    run.finish().await
}

#[tokio::test]
async fn a_source_queue_that_is_deleted_is_declared_again_and_a_foreign_one_is_waited_for() -> Result<()> {
    let broker = Broker::start()?;
    let mut run = Run::start(&broker, Scene::new(&broker)?).await?;
    run.client.delete(&run.scene.input).await?;
    run.host.wait_lines(PATIENCE, 2, "consuming")?;
    run.send(3).await?;
    run.take(&run.scene.results).await?;
    assert_eq!(run.host.n_lines("connected to the broker"), 2);
    run.finish().await?;

    let scene = Scene {
        source: vec!["type = \"passive\""],
        ..Scene::new(&broker)?
    };
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.input, QueueKind::Classic).await?;
    let mut run = Run::start(&broker, scene).await?;
    run.client.delete(&run.scene.input).await?;
    run.host.wait_line(PATIENCE, "cannot consume from the queue")?;
    run.client.declare(&run.scene.input, QueueKind::Classic).await?;
    run.host.wait_lines(PATIENCE, 2, "consuming")?;
    run.send(3).await?;
    run.take(&run.scene.results).await?;
    run.finish().await
}

#[tokio::test]
async fn prefetch_and_confirms_are_asked_for_again_after_the_broker_was_away() -> Result<()> {
    let broker = Broker::start()?;
    let scene = Scene {
        prefetch: 7,
        ..Scene::new(&broker)?
    };
    let mut run = Run::start(&broker, scene).await?;
    run.send(1).await?;
    run.take(&run.scene.results).await?;
    broker.remember_queues()?;
    broker.restart()?;
    run.host.wait_lines(PATIENCE, 2, "consuming")?;
    run.client = Client::connect(&broker.url()).await?;
    run.n_sent = 0;
    run.send(20).await?;
    run.take(&run.scene.results).await?;
    let consumers = broker.rabbitmqctl(&["list_consumers", "queue_name", "prefetch_count", "ack_required"])?;
    let ours = consumers.lines().find(|line| line.starts_with(&run.scene.input));
    let fields: Vec<_> = ours.context("no consumer")?.split_whitespace().collect();
    assert!(fields.contains(&"7") && fields.contains(&"true"), "{consumers}");
    let channels = broker.rabbitmqctl(&["list_channels", "name", "confirm", "consumer_count"])?;
    assert!(channels.lines().any(|line| line.contains("true")), "{channels}");
    run.finish().await
}

#[tokio::test]
async fn a_channel_that_the_broker_closes_under_the_consumer_costs_a_channel() -> Result<()> {
    // The broker looks for consumers that acknowledge nothing every so many milliseconds.
    let broker = Broker::start()?;
    for setting in ["consumer_timeout", "channel_tick_interval"] {
        broker.rabbitmqctl(&["eval", &format!("application:set_env(rabbit, {setting}, 1000).")])?;
    }
    let scene = through("missing", Scene::new(&broker)?);
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    client
        .declare_exchange("missing", &scene.results, &scene.results)
        .await?;
    let mut run = Run::start(&broker, scene).await?;
    run.client.delete_exchange("missing").await?;
    run.send(1).await?;
    run.host.wait_line(
        PATIENCE,
        "lost the consumer: the broker will redeliver the messages in flight",
    )?;
    run.client
        .declare_exchange("missing", &run.scene.results, &run.scene.results)
        .await?;
    run.take(&run.scene.results).await?;
    assert_eq!(run.host.n_lines("connected to the broker"), 2, "{}", run.host.log());
    run.host.stop()
}

#[tokio::test]
async fn one_of_a_hundred_in_flight_that_no_queue_takes_is_the_one_that_is_held() -> Result<()> {
    let broker = Broker::shared()?;
    let exchange = unique("exchange");
    let client = Client::connect(&broker.url()).await?;
    let scene = Scene::new(broker)?;
    let lost = format!("{}.lost", scene.results);
    client.declare(&scene.results, QueueKind::Quorum).await?;
    client.declare(&lost, QueueKind::Quorum).await?;
    client.declare_exchange(&exchange, "known", &scene.results).await?;
    let samples = pictures()?;
    let rare = samples.first().context("no sample")?;
    let common = samples
        .iter()
        .find(|sample| sample.label != rare.label)
        .context("one label")?;
    // Two destinations on one exchange share its channel; nothing takes the key of the second.
    let destination = |name: &str, key: &str| {
        format!("[pipeline.images.destination.{name}]\nexchange = \"{exchange}\"\nrouting_key = \"{key}\"\n")
    };
    let labels = format!("default = \"known\", labels = {{ {} = \"lost\" }}", rare.label);
    let scene = Scene {
        prefetch: 200,
        tables: destination("known", "known") + &destination("lost", "lost"),
        route: Plugin::with_settings("by-label", &labels)?,
        ..scene
    };
    let parcel = |id: String, sample: &Sample| Parcel::new(&id, sample.png.clone());
    let rows = (0..100).map(|n| match n {
        99 => parcel("rare".to_owned(), rare),
        n => parcel(n.to_string(), common),
    });
    client.declare(&scene.input, QueueKind::Classic).await?;
    client.publish_all(&scene.input, rows).await?;
    let scene = Scene {
        source: vec!["type = \"passive\""],
        ..scene
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    host.wait_line(
        PATIENCE,
        "holding: the pipeline receives no messages until this succeeds",
    )?;
    let arrived = client.take_all(&scene.results, 99).await?;
    let ids: BTreeSet<_> = arrived.into_iter().map(|arrival| arrival.correlation_id).collect();
    assert_eq!(ids.len(), 99);
    assert!(!ids.contains("rare"));
    client.declare_exchange(&exchange, "lost", &lost).await?;
    let held = client.take_all(&lost, 1).await?;
    assert_eq!(held[0].correlation_id, "rare");
    host.stop()?;
    assert!(client.drain(&scene.results).await?.is_empty(), "a result came twice");
    Ok(())
}

#[tokio::test]
async fn a_result_that_the_broker_would_not_take_becomes_a_dead_letter() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let url = format!("{}\"\nmax_message = \"100B", scene.url);
    let run = Run::start(broker, Scene { url, ..scene }).await?;
    let parcel = Parcel {
        content_type: Some("image/x-rgb".to_owned()),
        ..Parcel::new("a", run.picture.clone())
    };
    run.client.publish(&run.scene.input, &parcel).await?;
    let dead = run.client.take_all(&run.scene.dead, 1).await?;
    assert_eq!(
        dead[0].header("x-millrace-reason"),
        "undeliverable",
        "{:?}",
        dead[0].headers
    );
    assert!(
        dead[0].header("x-millrace-text").contains("max_message"),
        "{:?}",
        dead[0].headers
    );
    assert_eq!(run.host.n_lines("connected to the broker"), 2);
    run.finish().await
}
