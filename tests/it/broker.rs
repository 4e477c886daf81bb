//! The harness itself: a broker that cannot be killed, or that forgets, would make every other test worthless.

use anyhow::Result;
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;

#[tokio::test]
async fn what_a_broker_confirmed_survives_its_death() -> Result<()> {
    let broker = Broker::start()?;
    confirmed_survives(&broker)
        .await
        .map_err(|error| error.context(broker.log()))
}

async fn confirmed_survives(broker: &Broker) -> Result<()> {
    let client = Client::connect(&broker.url()).await?;
    for (queue, kind) in [("quorum", QueueKind::Quorum), ("classic", QueueKind::Classic)] {
        client.declare(queue, kind).await?;
        client
            .publish_all(queue, (0..100).map(|n| Parcel::new(&n.to_string(), vec![0_u8; 100])))
            .await?;
    }
    broker.remember_queues()?;
    broker.restart()?;
    let client = Client::connect(&broker.url()).await?;
    for queue in ["quorum", "classic"] {
        let ids: Vec<String> = client
            .take_all(queue, 100)
            .await?
            .into_iter()
            .map(|arrival| arrival.id)
            .collect();
        assert_eq!(ids, (0..100).map(|n| n.to_string()).collect::<Vec<_>>(), "{queue}");
        assert_eq!(client.count(queue).await?, 0, "{queue}");
    }
    assert!(broker.rabbitmqctl(&["list_queues", "name", "type"])?.contains("quorum"));
    Ok(())
}

#[tokio::test]
async fn a_broker_that_stops_can_be_started_again() -> Result<()> {
    let broker = Broker::start()?;
    broker.stop()?;
    assert!(Client::connect(&broker.url()).await.is_err());
    broker.run()?;
    Client::connect(&broker.url()).await?;
    Ok(())
}

#[tokio::test]
async fn a_message_for_no_queue_is_an_error() -> Result<()> {
    let client = Client::connect(&Broker::shared()?.url()).await?;
    assert!(client.publish("no-such-queue", &Parcel::new("a", "a")).await.is_err());
    Ok(())
}
