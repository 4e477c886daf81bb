//! Chains: transformers before the preprocessor and after the router, and what a refusal in the middle does.

use anyhow::{Context, Result};
use millrace_tests::amqp::{Arrival, Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::host::Mill;
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, Scene};

/// A scene whose plugins are chained.
struct Chained {
    scene: Scene,
    copies: String,
    mill: Mill,
}

/// Chains the plugins of a scene that sends two results: `before` and `after` are settings of transformers, in their order.
fn chained(broker: &Broker, before: &[&str], after: &[&str]) -> Result<Chained> {
    let scene = Scene::new(broker)?;
    let copies = format!("{}.copies", scene.results);
    let scene = Scene {
        route: Plugin::with_settings("hostile-route", "mode = \"fan-out\"")?,
        tables: format!("[pipeline.images.destination.copies]\nexchange = \"\"\nrouting_key = \"{copies}\"\n"),
        ..scene
    };
    let (mut tables, mut names) = (String::new(), Vec::new());
    for (number, settings) in before.iter().chain(after).enumerate() {
        let plugin = Plugin::with_settings("hostile-transform", settings)?;
        let (name, path) = (format!("turn-{number}"), plugin.path.display().to_string());
        tables += &format!("[plugin.{name}]\npath = {path:?}\n{}\n\n", plugin.lines);
        names.push(format!("\"{name}\""));
    }
    let after_names = names.split_off(before.len());
    let mill = scene.mill_with(|text| {
        let preprocess = format!(
            "preprocess = [{}]",
            [names, vec!["\"decode-image\"".into()]].concat().join(", ")
        );
        let route = format!(
            "route = [{}]",
            [vec!["\"hostile-route\"".into()], after_names].concat().join(", ")
        );
        text.replace("preprocess = \"decode-image\"", &preprocess)
            .replace("route = \"hostile-route\"", &route)
            + &tables
    })?;
    Ok(Chained { scene, copies, mill })
}

fn sample() -> Result<Sample> {
    pictures()?.into_iter().next().context("no sample")
}

/// Publishes one picture behind `prefix`, and takes the dead letter that it becomes.
async fn dead_letter(before: &[&str], after: &[&str], prefix: &[u8]) -> Result<Arrival> {
    let broker = Broker::shared()?;
    let Chained { scene, copies, mill } = chained(broker, before, after)?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let body = [prefix, &sample()?.png].concat();
    client.publish(&scene.input, &Parcel::new("a", body.clone())).await?;
    let dead_letter = client.take_all(&scene.dead, 1).await?.pop().context("no dead letter")?;
    assert_eq!(dead_letter.body, body, "the dead letter has the message as it came");
    assert_eq!(
        (client.count(&scene.results).await?, client.count(&copies).await?),
        (0, 0)
    );
    host.stop()?;
    Ok(dead_letter)
}

#[tokio::test]
async fn transformers_run_in_their_order_on_both_sides_of_the_model() -> Result<()> {
    let broker = Broker::shared()?;
    let (before, after) = (
        ["mode = \"cut\", bytes = 3", "mode = \"cut\", bytes = 2"],
        ["mode = \"mark\", text = \"1\"", "mode = \"mark\", text = \"2\""],
    );
    let Chained { scene, copies, mill } = chained(broker, &before, &after)?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let sample = sample()?;
    let body = [b"12345", sample.png.as_slice()].concat();
    client.publish(&scene.input, &Parcel::new("a", body)).await?;
    for queue in [&scene.results, &copies] {
        let result = client.take_all(queue, 1).await?.pop().context("no result")?;
        assert_eq!(result.text(), format!("{}12", sample.label));
        assert_eq!((result.header("mark"), result.correlation_id.as_str()), ("12", "a"));
        let (preprocess, route) = (
            result.header("x-millrace-preprocess"),
            result.header("x-millrace-route"),
        );
        let names = |header: &str| {
            let names = header
                .split(", ")
                .map(|plugin| plugin.split('@').next().unwrap_or_default().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(preprocess), ["turn-0", "turn-1", "decode-image"]);
        assert_eq!(names(route), ["hostile-route", "turn-2", "turn-3"]);
    }
    host.stop()
}

#[tokio::test]
async fn a_transformer_of_results_sees_the_destination_and_the_message_that_caused_them() -> Result<()> {
    let broker = Broker::shared()?;
    let Chained { scene, copies, mill } = chained(broker, &[], &["mode = \"tell\""])?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    client.publish(&scene.input, &Parcel::new("a", sample()?.png)).await?;
    for (queue, destination) in [(&scene.results, "results"), (&copies, "copies")] {
        let result = client.take_all(queue, 1).await?.pop().context("no result")?;
        assert_eq!(result.text(), format!("a {destination} 1 None"));
    }
    host.stop()
}

#[tokio::test]
async fn a_result_that_a_transformer_skips_is_left_out_and_the_others_go_out() -> Result<()> {
    let broker = Broker::shared()?;
    let Chained { scene, copies, mill } = chained(broker, &[], &["mode = \"skip-destination\""])?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    client.publish(&scene.input, &Parcel::new("a", sample()?.png)).await?;
    client.take_all(&scene.results, 1).await?;
    assert_eq!(client.count(&copies).await?, 0);
    host.stop()
}

#[tokio::test]
async fn a_message_that_a_transformer_skips_is_acknowledged_without_a_result() -> Result<()> {
    let broker = Broker::shared()?;
    for (before, after) in [(vec!["mode = \"skip\""], vec![]), (vec![], vec!["mode = \"skip\""])] {
        let Chained { scene, copies, mill } = chained(broker, &before, &after)?;
        let mut host = mill.start_with(&["run", "plugins.toml", "--log-format", "json", "--log", "debug"])?;
        host.wait_ready()?;
        let client = Client::connect(&broker.url()).await?;
        client.publish(&scene.input, &Parcel::new("a", sample()?.png)).await?;
        host.wait_line(millrace_tests::PATIENCE, "skipped")?;
        host.stop()?;
        for queue in [&scene.input, &scene.results, &copies, &scene.dead] {
            assert_eq!(client.count(queue).await?, 0, "{queue}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_chain_decides_about_the_message() -> Result<()> {
    for (before, after, stage, plugin) in [
        (
            vec!["mode = \"mark\"", "mode = \"reject\""],
            vec![],
            "preprocess",
            "turn-1",
        ),
        (vec![], vec!["mode = \"reject\"", "mode = \"mark\""], "route", "turn-0"),
    ] {
        let dead_letter = dead_letter(&before, &after, b"").await?;
        assert_eq!(
            ["reason", "stage", "plugin"].map(|name| dead_letter.header(&format!("x-millrace-{name}"))),
            ["refused", stage, plugin]
        );
        assert!(
            dead_letter
                .header("x-millrace-text")
                .contains("the hostile transformer rejects")
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_transformer_breaks_is_put_down_to_it() -> Result<()> {
    let one = |settings| (vec![settings], vec![]);
    let other = |settings| (vec![], vec![settings]);
    for ((before, after), reason, text) in [
        (one("mode = \"panic\""), "trap", "the hostile transformer panics"),
        (other("mode = \"panic\""), "trap", "the hostile transformer panics"),
        (
            one("mode = \"huge\""),
            "output-too-large",
            "handed over more than 8.5 MiB at once",
        ),
        (
            other("mode = \"huge\""),
            "output-too-large",
            "returned a result of 9 MiB, allowed 8 MiB",
        ),
        (other("mode = \"reserved-header\""), "denied", "x-millrace-model"),
        (one("mode = \"retry\""), "attempts-spent", "wants another attempt"),
    ] {
        let dead_letter = dead_letter(&before, &after, b"").await?;
        assert_eq!(dead_letter.header("x-millrace-reason"), reason, "{before:?} {after:?}");
        assert_eq!(dead_letter.header("x-millrace-plugin"), "turn-0");
        assert!(
            dead_letter.header("x-millrace-text").contains(text),
            "{}",
            dead_letter.header("x-millrace-text")
        );
    }
    Ok(())
}
