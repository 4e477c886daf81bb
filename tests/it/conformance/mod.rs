//! The conformance suite: every transport is asked the same through the real host. Knows a transport by [`Harness`]
//! and [`Bench`] alone; `amqp`, `folder`, `http`, `sqlite` and `zmq` are the ones that know more.
//!
//! A scenario is a function of a [`Harness`]. [`suite!`] makes a test of each scenario, for the transport in whose file
//! it stands. What a transport cannot do is data ([`Promises`]): a scenario then asks for what it does instead, and
//! `registry` asks that the documentation states it.

mod amqp;
mod bounds;
mod dead_letters;
mod fan_out;
mod folder;
mod http;
mod judge;
mod messages;
mod order;
mod outages;
mod registry;
mod retries;
mod settlement;
mod sqlite;
mod stage;
mod steps;
mod stopping;
mod zmq;

use anyhow::{Result, bail};
use messages::Sent;

/// The transports that pass the suite; `registry` compares them with those that the host offers.
const ALL: [&dyn Harness; 5] = [
    amqp::HARNESS,
    folder::HARNESS,
    http::HARNESS,
    sqlite::HARNESS,
    zmq::HARNESS,
];

/// A kind of source and destination, as the suite knows it.
trait Harness: Sync {
    /// Its name, which is that of its file.
    fn name(&self) -> &'static str;

    /// The keys of `plugins.toml` that make a table its own.
    fn keys(&self) -> Keys;

    /// What it can do.
    fn promises(&self) -> Promises;

    /// Sources and destinations that no other scenario has.
    fn bench(&self, weather: Weather) -> Result<Box<dyn Bench>>;
}

/// Sources and destinations of one scenario, by pipeline and by destination. Calls block until what they ask for is so.
trait Bench {
    /// Tables for the top of `plugins.toml`, such as `[broker]`.
    fn connection(&self) -> String;

    /// The inside of a pipeline's table `source`.
    fn source(&self, _pipeline: &str, _prefetch: u16) -> Result<String> {
        bail!("this transport is no source")
    }

    /// Puts messages into a source. One that this returned for is at the transport, or its sender sends it again until it
    /// is answered.
    fn put(&self, _pipeline: &str, _messages: &[Sent]) -> Result<()> {
        bail!("this transport is no source")
    }

    /// Puts the crookedest messages that the transport takes into a source, and gives their ids.
    fn put_crooked(&self, _pipeline: &str) -> Result<Vec<String>> {
        bail!("this transport is no source")
    }

    /// The id by which the host knows a message.
    fn id(&self, sent: &Sent) -> String {
        sent.id.clone()
    }

    /// Every dead letter of a source so far.
    fn dead(&self, _pipeline: &str) -> Result<Vec<Dead>> {
        bail!("this transport is no source")
    }

    /// How many messages wait at a source, in its quarantine, or with senders that have no answer. Asked for when no host
    /// runs.
    fn n_waiting(&self, _pipeline: &str) -> Result<usize> {
        bail!("this transport is no source")
    }

    /// How many of those wait in a quarantine queue.
    fn n_quarantined(&self, _pipeline: &str) -> Result<usize> {
        Ok(0)
    }

    /// How many senders have no answer yet, where there are answers. Asked for at any time.
    fn n_unanswered(&self, _pipeline: &str) -> usize {
        0
    }

    /// What a host names that cannot start without it, while it is [`Fault::Gone`].
    fn away(&self, pipeline: &str) -> String {
        format!("in-{pipeline}")
    }

    /// The lines of a destination's table: others own it, so that the host does not make it anew.
    fn destination(&self, _pipeline: &str, _name: &str) -> Result<String> {
        bail!("this transport is no destination")
    }

    /// Every result at a destination so far.
    fn results(&self, _pipeline: &str, _name: &str) -> Result<Vec<Found>> {
        bail!("this transport is no destination")
    }

    /// Makes one destination take nothing, while the others do.
    fn break_destination(&self, _pipeline: &str, _name: &str) -> Result<()> {
        bail!("this transport is no destination")
    }

    /// Lets it take results again.
    fn mend_destination(&self, _pipeline: &str, _name: &str) -> Result<()> {
        bail!("this transport is no destination")
    }

    /// Makes a destination refuse the results of one message for good, and take all others.
    fn refuse(&self, _pipeline: &str, _name: &str, _of: &str) -> Result<()> {
        bail!("this transport refuses no single result")
    }

    /// Begins an outage of everything.
    fn fault(&self, fault: Fault) -> Result<()>;

    /// Ends it.
    fn heal(&self, fault: Fault) -> Result<()>;
}

/// What recognises a transport in `plugins.toml`.
#[derive(Debug, Clone, Copy)]
struct Keys {
    source: &'static [&'static str],
    destination: &'static [&'static str],
    connection: &'static [&'static str],
    /// Keys of destinations that promise less, so that the scenarios do not ask them, and the tests that do.
    beside: &'static [(&'static str, &'static str)],
}

/// What faults a scenario makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// None: what is slow to start may be shared with other scenarios.
    Calm,
    /// This one.
    Fault(Fault),
}

/// An outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// What the transport leads to is gone: a broker was killed, a disk is away.
    Gone,
    /// It answers nothing, and no connection ends.
    Frozen,
    /// Every connection is reset; the next ones are carried.
    Cut,
}

/// What a transport can do. A scenario asks for the other behaviour where it cannot.
#[derive(Debug, Clone, Copy)]
struct Promises {
    /// Whether a message in flight comes again when its host is killed: from a store, or from a sender without an answer.
    keeps: bool,
    /// Whether one delivery can be given back by itself, with others before it that are not settled.
    gives_back: bool,
    /// Whether a host is told that a message was delivered before, so that one that kills hosts is found.
    tells_redelivery: bool,
    /// Whether a message is only let go of when all before it are: what was done behind one that is stuck comes again.
    order_binds_commits: bool,
    /// Whether quarantined messages wait in a place of their own, which a drain empties.
    has_quarantine_queue: bool,
    /// Whether a source can be empty for good, so that `run --once` ends.
    ends: bool,
    /// Whether a message has headers, and so a deadline.
    has_headers: bool,
    /// Whether several hosts take from one source.
    is_shared: bool,
    /// Whether a host that starts while the transport is away waits for it.
    waits_at_start: bool,
    /// Whether a result that is written again takes the place of the first.
    replaces_results: bool,
    /// Whether dead letters are kept for `millrace dlq`; else their senders are told.
    keeps_dead_letters: bool,
    /// The outages that it can have.
    outages: &'static [Fault],
    /// The steps that a message passes on this transport's ground, by the host's failpoints.
    steps: &'static [&'static str],
    /// How many messages may be marked as redelivered when a host leaves in good order.
    marked_at_leave: usize,
    /// For what it cannot do: a page of `docs/`, and the sentence there that says so.
    stated: &'static [(&'static str, &'static str, &'static str)],
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// The id of the message that it was made of.
    of: String,
    /// Its own id.
    id: String,
    body: Vec<u8>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dead {
    /// The id of the message.
    of: String,
    /// Its own id.
    id: String,
    stage: String,
    class: String,
    text: String,
    plugin: String,
    attempt: u32,
    body: Vec<u8>,
}

/// Makes a test of every scenario for the transport in whose file it stands.
macro_rules! suite {
    ($transport:expr) => {
        pub(super) const HARNESS: &dyn super::Harness = &$transport;

        super::suite! { @tests
            settlement: settles_with_every_result, settles_without_a_result, settles_refusals, settles_faults,
                settles_retries, settles_by_size, settles_by_deadline, settles_denied_results,
                settles_one_failure_of_the_model, settles_a_lost_device;
            fan_out: holds_all_for_one, survives_a_kill;
            retries: are_counted_across_restarts, end_a_message_that_kills_hosts;
            dead_letters: are_listed_saved_and_put_back;
            stopping: drains_in_the_middle, cuts_a_drain_off, obeys_a_second_signal, drains_after_a_kill,
                survives_a_kill_in_the_middle, survives_a_kill_at_each_step, survives_kills_amid_dead_letters;
            outages: gone_at_the_start, gone_while_nothing_moves, gone_at_a_drain, gone_at_each_step, frozen_at_each_step, cut_at_each_step;
            order: a_stuck_message_is_not_passed_over, two_hosts_share_a_source, a_run_ends_when_all_is_done;
            bounds: prefetch_bounds_what_is_in_flight, crooked_messages_cost_themselves;
            judge: finds_nothing_lost_under_random_faults;
        }
    };
    (@tests $($topic:ident: $($scenario:ident),+;)+) => {
        $(mod $topic {
            $(#[test]
            fn $scenario() -> anyhow::Result<()> {
                crate::conformance::$topic::$scenario(super::HARNESS)
            })+
        })+
    };
}
use suite;
