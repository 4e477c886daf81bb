//! What the network does to connections, through a relay.

use super::*;

#[tokio::test]
async fn the_relay_does_what_it_is_told() -> Result<()> {
    let broker = Broker::shared()?;
    let relay = Relay::start(broker.port())?;
    let queue = unique("relayed");
    let connect = async || -> Result<Client> {
        let client = Client::connect(&relay.url()).await?;
        client.declare(&queue, QueueKind::Classic).await?;
        Ok(client)
    };
    let client = connect().await?;
    let parcel = Parcel::new("a", "a");
    for flow in [
        Flow::Slice,
        Flow::Delay(Duration::from_millis(50)),
        Flow::Throttle(5000),
        Flow::Pass,
    ] {
        relay.set(flow);
        client.publish(&queue, &parcel).await?;
    }
    for hole in [Direction::ToBroker, Direction::ToHost] {
        relay.set_one(hole, Flow::Hole);
        let publish = client.publish(&queue, &parcel);
        tokio::pin!(publish);
        assert!(timeout(A_WHILE, &mut publish).await.is_err(), "{hole:?} has no hole");
        relay.set(Flow::Pass);
        publish.await?;
    }
    relay.cut();
    assert!(client.publish(&queue, &parcel).await.is_err());
    let client = connect().await?;
    relay.reset();
    assert!(client.publish(&queue, &parcel).await.is_err());
    let client = connect().await?;
    relay.set(Flow::Swallow);
    assert!(timeout(A_WHILE, client.publish(&queue, &parcel)).await.is_err());
    relay.set(Flow::Pass);
    assert!(client.publish(&queue, &parcel).await.is_err());
    assert_eq!(relay.n_carried(), 3);
    Ok(())
}

#[tokio::test]
async fn a_network_that_swallows_is_noticed_by_heartbeats_and_nothing_is_lost() -> Result<()> {
    let broker = Broker::shared()?;
    let relay = Relay::start(broker.port())?;
    let url = format!("{}?heartbeat=2", relay.url());
    let mut run = Run::start(
        broker,
        Scene {
            url,
            ..Scene::new(broker)?
        },
    )
    .await?;
    run.send(50).await?;
    assert_eq!(relay.n_carried(), 2);
    relay.set(Flow::Hole);
    let began = std::time::Instant::now();
    run.host.wait_line(PATIENCE, "no connection to the broker")?;
    // Two intervals, ten seconds until a try to connect is given up, and what a busy machine needs beside: without a
    // heartbeat it would be minutes.
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(40), "noticed after {noticed:?}");
    relay.cut();
    relay.set(Flow::Pass);
    run.take(&run.scene.results).await?;
    assert!(relay.n_carried() >= 4, "{}", relay.n_carried());
    run.host.stop()
}

#[tokio::test]
async fn a_network_that_resets_slices_and_delays_loses_nothing() -> Result<()> {
    let broker = Broker::shared()?;
    let relay = Relay::start(broker.port())?;
    let mut run = Run::start(
        broker,
        Scene {
            url: relay.url(),
            ..Scene::new(broker)?
        },
    )
    .await?;
    for flow in [
        Flow::Slice,
        Flow::Delay(Duration::from_millis(100)),
        Flow::Throttle(200_000),
    ] {
        relay.set(flow);
        run.send(10).await?;
        assert_eq!(run.take(&run.scene.results).await?, 0, "{flow:?}");
        run.n_sent = 0;
    }
    assert_eq!(relay.n_carried(), 2, "a slow network is no broken one");
    relay.set(Flow::Pass);
    run.send(200).await?;
    relay.reset();
    run.take(&run.scene.results).await?;
    assert!(relay.n_carried() >= 4, "{}", relay.n_carried());
    run.host.stop()
}

#[tokio::test]
async fn a_network_that_is_slow_for_large_messages_is_no_silent_broker() -> Result<()> {
    const N_MESSAGES: usize = 4;
    let broker = Broker::shared()?;
    let relay = Relay::start(broker.port())?;
    let limits = "\"\nanswer_timeout = \"1s";
    let scene = Scene {
        url: format!("{}{limits}", relay.url()),
        ..Scene::new(broker)?
    };
    let client = Client::connect(&broker.url()).await?;
    let mill = scene.mill()?;
    mill.start_ready()?.stop()?;
    let n_before = relay.n_carried();
    // Each is on its way for two seconds, and what the host asks on the same connection waits behind all of them; each
    // dead letter is as large.
    let parcels = (0..N_MESSAGES).map(|n| Parcel::new(&n.to_string(), vec![b'x'; 600_000]));
    client.publish_all(&scene.input, parcels).await?;
    relay.set(Flow::Throttle(300_000));
    let host = mill.start()?;
    let dead_letters = client.take_all(&scene.dead, N_MESSAGES).await;
    let dead_letters = dead_letters.with_context(|| host.log())?;
    assert_eq!(dead_letters.len(), N_MESSAGES);
    assert_eq!(relay.n_carried() - n_before, 2, "{}", host.log());
    relay.set(Flow::Pass);
    host.stop()
}
