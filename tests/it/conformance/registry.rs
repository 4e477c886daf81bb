//! No transport without the suite: what the host's own schema takes as a source, a destination or a connection belongs to
//! a harness, and what a transport cannot do is stated in the documentation.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use millrace::config::Redelivery;
use millrace::transport::REGISTRY;
use millrace_tests::host::Mill;
use millrace_tests::samples::root;
use serde_json::Value;

use super::{ALL, Keys, Promises};

/// The keys that recognise the kinds of a table, by the schema that the binary prints.
fn kinds(schema: &Value, table: &str) -> BTreeSet<String> {
    let definition = &schema["definitions"][table];
    let required = |of: &Value| -> Vec<String> {
        let names = of["required"].as_array().into_iter().flatten();
        names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    };
    let alternatives = ["oneOf", "anyOf"].into_iter().find_map(|of| definition[of].as_array());
    match alternatives {
        Some(alternatives) => alternatives.iter().flat_map(required).collect(),
        None => required(definition).into_iter().collect(),
    }
}

fn schema() -> Result<Value> {
    let ended = Mill::new("")?.run(&["schema", "plugins"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).context("the schema is no JSON")
}

/// The keys of a harness for one table.
type KeysOf = fn(&Keys) -> &'static [&'static str];

/// The kinds that no harness has, and the harness's keys that are no kind.
fn differences(schema: &Value, harnesses: &[Keys]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let tables: [(&str, KeysOf); 3] = [
        ("source", |keys| keys.source),
        ("destination", |keys| keys.destination),
        ("connection", |keys| keys.connection),
    ];
    for (table, of) in tables {
        let offered = match table {
            // A connection without a name is the table `broker`.
            "connection" => kinds(schema, "broker")
                .union(&kinds(schema, "connection"))
                .cloned()
                .collect(),
            table => kinds(schema, table),
        };
        ensure!(!offered.is_empty(), "the schema says nothing of a {table}");
        let beside = harnesses
            .iter()
            .flat_map(|keys| keys.beside)
            .map(|(key, _)| (*key).to_owned());
        let beside: BTreeSet<String> = beside
            .filter(|key| table == "destination" && offered.contains(key))
            .collect();
        let offered = &offered - &beside;
        let asked: BTreeSet<String> = harnesses.iter().flat_map(of).map(|key| (*key).to_owned()).collect();
        found.extend(
            offered
                .difference(&asked)
                .map(|kind| format!("{table} `{kind}` has no harness")),
        );
        found.extend(
            asked
                .difference(&offered)
                .map(|kind| format!("{table} `{kind}` is offered by no host")),
        );
    }
    Ok(found)
}

#[test]
fn every_transport_that_the_host_offers_passes_the_suite() -> Result<()> {
    let harnesses: Vec<Keys> = ALL.iter().map(|transport| transport.keys()).collect();
    let found = differences(&schema()?, &harnesses)?;
    assert!(found.is_empty(), "tests/it/conformance: {found:?}");
    Ok(())
}

#[test]
fn a_transport_without_a_harness_is_found() -> Result<()> {
    let schema = schema()?;
    let harnesses: Vec<Keys> = ALL.iter().map(|transport| transport.keys()).collect();
    for (at, transport) in ALL.iter().enumerate() {
        let mut without = harnesses.clone();
        without.remove(at);
        assert!(
            !differences(&schema, &without)?.is_empty(),
            "{} is not missed",
            transport.name()
        );
    }
    Ok(())
}

/// Else the host would go by one thing, and the suite ask for another.
#[test]
fn a_harness_promises_what_its_source_says_of_itself() -> Result<()> {
    for transport in ALL {
        let promised = transport.promises();
        for key in transport.keys().source {
            let kind = REGISTRY
                .sources()
                .find(|kind| kind.key == *key)
                .context("no such kind")?;
            let own = kind.capabilities;
            assert_eq!(
                (promised.gives_back, promised.tells_redelivery, promised.ends),
                (own.gives_back, own.redelivery != Redelivery::Untold, own.ends),
                "{key}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_a_transport_cannot_do_is_stated_in_the_documentation() -> Result<()> {
    for transport in ALL {
        let name = transport.name();
        let promises = transport.promises();
        let stated: BTreeSet<&str> = promises.stated.iter().map(|(what, ..)| *what).collect();
        let lacks: BTreeSet<&str> = lacks(&promises).into_iter().collect();
        assert_eq!(stated, lacks, "{name}: what it cannot do is what it states");
        for (what, page, sentence) in promises.stated {
            let text = std::fs::read_to_string(root().join("docs").join(page))?;
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                words(&text).contains(&words(sentence)),
                "{name}, {what}: docs/{page} does not say {sentence:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_promises_less_has_a_test_of_its_own() -> Result<()> {
    for (key, test) in ALL.iter().flat_map(|transport| transport.keys().beside) {
        let (file, name) = test.split_once(": ").context("no file and test")?;
        let text = std::fs::read_to_string(root().join("tests/it").join(file))?;
        assert!(text.contains(&format!("fn {name}(")), "`{key}`: no test {test}");
    }
    Ok(())
}

/// What users would count on, and this transport does not give.
fn lacks(promises: &Promises) -> Vec<&'static str> {
    let rows = [
        ("keeps", promises.keeps),
        ("gives_back", promises.gives_back),
        ("tells_redelivery", promises.tells_redelivery),
        ("ends", promises.ends),
        ("has_headers", promises.has_headers),
        ("is_shared", promises.is_shared),
        ("waits_at_start", promises.waits_at_start),
        ("keeps_dead_letters", promises.keeps_dead_letters),
    ];
    rows.into_iter().filter(|(_, has)| !has).map(|(what, _)| what).collect()
}
