//! TLS: who is believed to be the broker, and what is said of anybody else.

use super::*;

#[tokio::test]
async fn tls_is_spoken_to_a_broker_that_is_who_it_says_and_to_no_other() -> Result<()> {
    let (ours, others) = (Authority::new("ours")?, Authority::new("others")?);
    let broker = Broker::start_tls(&ours.issue("localhost", Validity::Holds)?)?;
    let with_ca = |scene: Scene, url: String| Scene {
        url: format!("{url}\"\nca = \"ca.pem"),
        ..scene
    };
    let scene = with_ca(Scene::new(&broker)?, broker.tls_url("localhost"));
    let mill = scene.mill()?;
    std::fs::write(mill.path("ca.pem"), ours.pem())?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let picture = pictures()?.first().context("no sample")?.raw()?;
    let mut run = Run {
        scene,
        mill,
        host,
        client,
        picture,
        n_sent: 0,
    };
    run.send(20).await?;
    assert_eq!(run.take(&run.scene.results).await?, 0);
    let url = broker.tls_url("localhost");
    let sent = run
        .mill
        .run(&["send", "--amqp", &url, "--ca", "ca.pem", &run.scene.results, "ca.pem"])?;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let untrusted = run
        .mill
        .run(&["receive", "--amqp", &url, &run.scene.results, "--count", "1"])?;
    assert_eq!(untrusted.code, Some(1), "{untrusted:?}");
    run.client.purge(&run.scene.results).await?;
    let mill = run.scene.mill()?;
    run.finish().await?;

    let refused = |what: &str, pem: &str| -> Result<()> {
        std::fs::write(mill.path("ca.pem"), pem)?;
        let ended = mill.run(&["run", "plugins.toml"])?;
        assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
        assert!(ended.stderr.contains(what), "no {what:?} in {}", ended.stderr);
        Ok(())
    };
    refused("no trusted authority signed it", others.pem())?;
    broker.show(&ours.issue("localhost", Validity::Expired)?)?;
    refused("renew it", ours.pem())?;
    broker.show(&ours.issue("rabbit.example", Validity::Holds)?)?;
    refused("write the host as the certificate names it", ours.pem())?;
    Ok(())
}

#[tokio::test]
async fn tls_where_there_is_none_and_none_where_there_is_are_told() -> Result<()> {
    let broker = Broker::start_tls(&Authority::new("ours")?.issue("localhost", Validity::Holds)?)?;
    let plain = broker.tls_url("localhost").replace("amqps:", "amqp:");
    let secret = broker
        .url()
        .replace("amqp:", "amqps:")
        .replace("127.0.0.1", "localhost");
    for (url, expected) in [(plain, "write `amqps://`"), (secret, "is this the port for TLS")] {
        let ended = Scene {
            url,
            ..Scene::new(&broker)?
        }
        .mill()?
        .run(&["run", "plugins.toml"])?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(expected), "no {expected:?} in {}", ended.stderr);
    }
    Ok(())
}
