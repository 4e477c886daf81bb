//! A message is let go of when its own result was confirmed, and not before, whatever the broker says to others.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use millrace_tests::fake_broker::{Answer, CONTENT_TYPE, FakeBroker, HEADERS, MESSAGE_ID, Publish, StoredMessage};
use millrace_tests::host::{Host, Mill};
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;
use millrace_tests::wait_for;
use millrace_tests::wire::{long, short};

const RAW: &str = "image/x-rgb";
const ENDED: &str = "lost the publishing channel: unconfirmed messages are published again";

const SHORT: &str = "confirm_timeout = \"1s";
const LONG: &str = "confirm_timeout = \"600s";

/// A host that takes what it is sent from a broker that does as it is told.
struct Run {
    broker: FakeBroker,
    // Its folder holds the host's log.
    _mill: Mill,
    host: Host,
}

impl Run {
    fn start(stored_messages: Vec<StoredMessage>, confirm_timeout: &str) -> Result<Self> {
        let scene = Scene::at(String::new())?;
        let broker = FakeBroker::start(&scene.input, stored_messages)?;
        let scene = Scene {
            url: format!("{}\"\n{confirm_timeout}", broker.url()),
            prefetch: 200,
            ..scene
        };
        let mill = scene.mill()?;
        let host = mill.start_ready()?;
        Ok(Self {
            broker,
            _mill: mill,
            host,
        })
    }

    fn answer(&self, answers: impl IntoIterator<Item = Answer>) -> Result<()> {
        answers.into_iter().try_for_each(|answer| self.broker.answer(0, answer))
    }

    /// Waits until so many were acknowledged, and demands that it was these and none of them twice.
    fn expect_acked<'a>(&self, publishes: impl IntoIterator<Item = &'a Publish>) -> Result<()> {
        let expected: BTreeSet<u64> = publishes.into_iter().map(of).collect::<Result<_>>()?;
        let acked = self.broker.wait_acked(expected.len());
        let acked = acked.with_context(|| format!("the host's log:\n{}", self.host.log()))?;
        ensure!(
            acked.len() == expected.len() && acked.iter().copied().collect::<BTreeSet<_>>() == expected,
            "acknowledged were {acked:?} and not {expected:?}"
        );
        Ok(())
    }

    fn finish(self) -> Result<()> {
        ensure!(self.broker.given_back().is_empty(), "something was given back");
        self.host.stop()
    }
}

/// Pictures whose message ids are their delivery tags.
fn stored_messages(n: u64) -> Result<Vec<StoredMessage>> {
    let picture = picture()?;
    Ok((1..=n)
        .map(|n| StoredMessage::new(RAW, &n.to_string(), picture.clone()))
        .collect())
}

fn picture() -> Result<Vec<u8>> {
    pictures()?.first().context("no sample")?.raw()
}

/// The delivery tag of what was published about it.
fn of(publish: &Publish) -> Result<u64> {
    publish
        .id
        .parse()
        .with_context(|| format!("published with the id {:?}", publish.id))
}

#[test]
fn a_confirm_that_is_withheld_is_asked_for_again_on_another_channel() -> Result<()> {
    let run = Run::start(stored_messages(5)?, SHORT)?;
    let first = run.broker.wait_publishes(5)?;
    assert!(first.iter().all(|publish| publish.channel == 0), "{first:?}");
    let all = run.broker.wait_publishes(10)?;
    let again = &all[5..10];
    assert!(again.iter().all(|publish| publish.channel == 1), "{again:?}");
    assert!(run.broker.acked().is_empty(), "let go of without a confirm");
    let tags = again.iter().map(|publish| publish.tag);
    tags.into_iter()
        .try_for_each(|tag| run.broker.answer(1, Answer::Ack(tag)))?;
    run.expect_acked(again)?;
    assert_eq!(
        again.iter().map(of).collect::<Result<BTreeSet<_>>>()?,
        (1..=5).collect()
    );
    assert_eq!(run.host.n_lines(ENDED), 1, "{}", run.host.log());
    run.finish()
}

#[test]
fn confirms_out_of_order_and_many_at_once_let_go_of_their_own_messages() -> Result<()> {
    let run = Run::start(stored_messages(100)?, LONG)?;
    let publishes = run.broker.wait_publishes(100)?;
    assert!(run.broker.acked().is_empty(), "let go of without a confirm");
    // Tags count from 1: the last thirty, the last one first; then the first fifty at once; then the rest.
    run.answer((71..=100).rev().map(Answer::Ack))?;
    run.expect_acked(&publishes[70..])?;
    run.answer([Answer::AckUpTo(50)])?;
    run.expect_acked(publishes[..50].iter().chain(&publishes[70..]))?;
    run.answer((51..=70).rev().map(Answer::Ack))?;
    run.expect_acked(&publishes)?;
    assert_eq!(run.broker.publishes().len(), 100, "published twice");
    run.finish()
}

#[test]
fn one_that_is_returned_among_a_hundred_confirmed_at_once_is_published_again_alone() -> Result<()> {
    let run = Run::start(stored_messages(100)?, LONG)?;
    let publishes = run.broker.wait_publishes(100)?;
    let (returned, others) = (&publishes[36], [&publishes[..36], &publishes[37..]].concat());
    run.answer([Answer::Return(returned.tag), Answer::AckUpTo(100)])?;
    run.expect_acked(&others)?;
    let all = run.broker.wait_publishes(101)?;
    assert_eq!(all[100].id, returned.id);
    run.expect_acked(&others)?;
    run.answer([Answer::Ack(101)])?;
    run.expect_acked(&publishes)?;
    assert_eq!(run.broker.publishes().len(), 101);
    run.finish()
}

#[test]
fn one_that_is_refused_is_held_alone() -> Result<()> {
    let run = Run::start(stored_messages(100)?, LONG)?;
    let publishes = run.broker.wait_publishes(100)?;
    run.answer([Answer::AckUpTo(36), Answer::Nack(37), Answer::AckUpTo(100)])?;
    let all = run.broker.wait_publishes(101)?;
    assert_eq!(all[100].id, publishes[36].id);
    run.expect_acked(publishes.iter().filter(|publish| publish.tag != 37))?;
    run.answer([Answer::Ack(101)])?;
    run.expect_acked(&publishes)?;
    run.finish()
}

#[test]
fn a_channel_on_which_everything_is_refused_is_opened_anew() -> Result<()> {
    let run = Run::start(stored_messages(3)?, LONG)?;
    let mut n_answered = 0;
    wait_for("a publish on a second channel", || {
        let publishes = run.broker.publishes();
        let fresh = &publishes[n_answered..];
        n_answered = publishes.len();
        for publish in fresh.iter().filter(|publish| publish.channel == 0) {
            run.broker.answer(0, Answer::Nack(publish.tag)).unwrap();
        }
        fresh.iter().for_each(|publish| {
            if publish.channel == 1 {
                run.broker.answer(1, Answer::Ack(publish.tag)).unwrap();
            }
        });
        (run.broker.acked().len() == 3).then_some(())
    })?;
    assert_eq!(run.host.n_lines("connected to the broker"), 2);
    run.finish()
}

#[test]
fn properties_that_no_library_would_write_harm_nobody() -> Result<()> {
    let picture = picture()?;
    // Arrays in arrays, five bytes a level.
    let deep = (0..20_000).fold(vec![b'V'], |inner, _| [&[b'A'][..], &long(&inner)].concat());
    let headers = long(&[short(b"deep"), deep].concat());
    let hostile = StoredMessage {
        flags: CONTENT_TYPE | HEADERS | MESSAGE_ID,
        properties: [short(RAW.as_bytes()), headers, short(b"1")].concat(),
        body: picture.clone(),
    };
    let no_text = StoredMessage {
        flags: CONTENT_TYPE | MESSAGE_ID,
        properties: [short(RAW.as_bytes()), short(b"2\xFF")].concat(),
        body: picture.clone(),
    };
    let run = Run::start(vec![hostile, no_text, StoredMessage::new(RAW, "3", picture)], LONG)?;
    let publishes = run.broker.wait_publishes(3);
    let publishes = publishes.with_context(|| format!("the host's log:\n{}", run.host.log()))?;
    let ids: BTreeSet<&str> = publishes.iter().map(|publish| publish.id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["1", "2?", "3"]));
    run.answer([Answer::AckUpTo(3)])?;
    assert_eq!(run.broker.wait_acked(3)?.len(), 3);
    assert_eq!(run.host.n_lines("connected to the broker"), 2, "{}", run.host.log());
    run.finish()
}
