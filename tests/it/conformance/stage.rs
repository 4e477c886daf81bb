//! One host between the ends of a transport: its file, what was put in, and what must have become of it. Knows no
//! transport.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::host::{Host, Mill};
use millrace_tests::oracle::Oracle;
use millrace_tests::samples::{guest, model};
use millrace_tests::{PATIENCE, wait_for};

use super::messages::Sent;
use super::{Bench, Dead, Found, Harness, Promises, Weather, folder};

/// What a plugin may take: hostile ones come to their limits soon.
const LIMITS: &str = "deadline = \"500ms\"\nmemory = \"160MiB\"";
/// The file that holds messages at a failpoint while it is there.
const GATE: &str = "gate";

/// A pipeline of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) name: &'static str,
    /// A guest and its settings.
    pub(super) preprocess: (&'static str, &'static str),
    /// A guest and its settings.
    pub(super) route: (&'static str, &'static str),
    pub(super) prefetch: u16,
    /// More lines of its table.
    pub(super) lines: &'static str,
    pub(super) destinations: &'static [&'static str],
}

/// A host's file between a source and destinations, and the judge of what is put in.
pub(super) struct Stage {
    /// Of its source.
    pub(super) promises: Promises,
    /// Of its destinations.
    pub(super) sink_promises: Promises,
    pub(super) mill: Mill,
    source: Box<dyn Bench>,
    /// The other end, where the transport is only one.
    other: Option<Box<dyn Bench>>,
    /// Whether `other` is the source.
    is_destination_alone: bool,
    steps: Vec<&'static str>,
    pipes: Vec<Pipe>,
    put: RefCell<BTreeMap<&'static str, Vec<Sent>>>,
}

/// Which messages may have come out twice.
#[derive(Debug, Clone, Copy)]
pub(super) enum Twice<'a> {
    None,
    These(&'a [&'a str]),
    All,
}

impl Pipe {
    /// The shipped plugins between a source and the destination `results`.
    pub(super) const fn images() -> Self {
        Self {
            name: "images",
            preprocess: ("decode-image", ""),
            route: ("by-label", ""),
            prefetch: 64,
            lines: "",
            destinations: &["results"],
        }
    }

    /// A preprocessor that takes every message, and does this.
    pub(super) const fn hostile(name: &'static str, settings: &'static str) -> Self {
        Self {
            name,
            preprocess: ("hostile", settings),
            route: ("hostile-route", "mode = \"ok\""),
            ..Self::images()
        }
    }

    /// A router that does this.
    pub(super) const fn rude(name: &'static str, settings: &'static str) -> Self {
        Self {
            name,
            route: ("hostile-route", settings),
            ..Self::images()
        }
    }
}

impl Stage {
    /// A file with these pipelines, and more lines of `[host]`.
    pub(super) fn new(transport: &dyn Harness, weather: Weather, pipes: Vec<Pipe>, host: &str) -> Result<Self> {
        let keys = transport.keys();
        let is_one_end = keys.source.is_empty() || keys.destination.is_empty();
        let other = match is_one_end {
            true => Some(folder::HARNESS.bench(weather)?),
            false => None,
        };
        let (promises, sink_promises) = ends(transport);
        let mut steps = promises.steps.to_vec();
        steps.extend(sink_promises.steps);
        let stage = Self {
            promises,
            sink_promises,
            mill: Mill::new("")?,
            source: transport.bench(weather)?,
            other,
            is_destination_alone: keys.source.is_empty(),
            steps,
            pipes,
            put: RefCell::default(),
        };
        stage.write(&stage.text(host)?)?;
        Ok(stage)
    }

    /// One pipeline of the shipped plugins.
    pub(super) fn images(transport: &dyn Harness, weather: Weather) -> Result<Self> {
        Self::new(transport, weather, vec![Pipe::images()], "")
    }

    /// Writes the host's file.
    pub(super) fn write(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.mill.path("plugins.toml"), text)?)
    }

    /// The host's file.
    pub(super) fn text(&self, host: &str) -> Result<String> {
        let mut text = format!("[host]\nworkers = 2\nadmin = \"127.0.0.1:0\"\ncontrol = \"off\"\n{host}\n");
        text += &self.source.connection();
        text += &self.other.as_ref().map(|bench| bench.connection()).unwrap_or_default();
        writeln!(
            text,
            "[model.shapes]\ndevice = \"cpu\"\npath = {:?}",
            model().display().to_string()
        )?;
        for pipe in &self.pipes {
            self.pipe_text(&mut text, pipe)?;
        }
        Ok(text)
    }

    fn pipe_text(&self, text: &mut String, pipe: &Pipe) -> Result<()> {
        let name = pipe.name;
        for (role, (file, settings)) in [("preprocess", pipe.preprocess), ("route", pipe.route)] {
            let path = guest("wasm32-wasip2", file)?.display().to_string();
            writeln!(
                text,
                "[plugin.{name}-{role}]\npath = {path:?}\n{LIMITS}\nsettings = {{ {settings} }}"
            )?;
        }
        writeln!(
            text,
            "[pipeline.{name}]\nsource = {{ {} }}\npreprocess = \"{name}-preprocess\"\nmodel = \"shapes\"\n\
             route = \"{name}-route\"\n{}",
            self.source().source(name, pipe.prefetch)?,
            pipe.lines,
        )?;
        for destination in pipe.destinations {
            writeln!(
                text,
                "[pipeline.{name}.destination.{destination}]\n{}",
                self.sink().destination(name, destination)?
            )?;
        }
        Ok(())
    }

    /// Where messages come from.
    pub(super) fn source(&self) -> &dyn Bench {
        match &self.other {
            Some(other) if self.is_destination_alone => other.as_ref(),
            _ => self.source.as_ref(),
        }
    }

    /// Where results go.
    pub(super) fn sink(&self) -> &dyn Bench {
        match &self.other {
            Some(other) if !self.is_destination_alone => other.as_ref(),
            _ => self.source.as_ref(),
        }
    }

    /// The transport that is asked, whichever end it is.
    pub(super) fn bench(&self) -> &dyn Bench {
        self.source.as_ref()
    }

    /// Whether a message passes a failpoint between these ends.
    pub(super) fn passes(&self, step: &str) -> bool {
        self.steps.contains(&step)
    }

    /// Starts a host with failpoints, in which `GATE` is the gate's path, and waits until its pipelines take messages.
    pub(super) fn start(&self, failpoints: &str) -> Result<Host> {
        let mut host = self.launch(failpoints)?;
        for pipe in &self.pipes {
            host.wait_pipeline(pipe.name)?;
        }
        Ok(host)
    }

    /// As [`Stage::start`], and waits for nothing.
    pub(super) fn launch(&self, failpoints: &str) -> Result<Host> {
        let gate = self.mill.path(GATE).display().to_string();
        self.mill.start_failing(&failpoints.replace("GATE", &gate))
    }

    /// Starts a host that holds every message before its preprocessor while the gate is closed, and takes its time then:
    /// what happens amid its work happens amid it.
    pub(super) fn start_gated(&self) -> Result<Host> {
        self.close_gate()?;
        self.start("preprocess=while:GATE,model=wait:100ms")
    }

    /// Messages wait at the gate's failpoints from now on.
    pub(super) fn close_gate(&self) -> Result<()> {
        Ok(std::fs::write(self.mill.path(GATE), "")?)
    }

    /// They go on.
    pub(super) fn open_gate(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.mill.path(GATE))?)
    }

    /// Puts messages in, and remembers them.
    pub(super) fn put(&self, pipeline: &'static str, messages: &[Sent]) -> Result<()> {
        self.source().put(pipeline, messages)?;
        self.put
            .borrow_mut()
            .entry(pipeline)
            .or_default()
            .extend_from_slice(messages);
        Ok(())
    }

    /// Remembers a message that was put in by other ways.
    pub(super) fn note(&self, pipeline: &'static str, sent: Sent) {
        self.put.borrow_mut().entry(pipeline).or_default().push(sent);
    }

    /// The results of a pipeline so far, at `results`.
    pub(super) fn results(&self, pipeline: &str) -> Result<Vec<Found>> {
        self.sink().results(pipeline, "results")
    }

    /// The dead letters of a pipeline so far.
    pub(super) fn dead(&self, pipeline: &str) -> Result<Vec<Dead>> {
        self.source().dead(pipeline)
    }

    /// Waits, and shows the host's log when it does not come to be.
    pub(super) fn wait<T>(&self, host: &Host, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let mut last = None;
        let waited = wait_for(what, || match ask() {
            Ok(answer) => answer,
            Err(error) => {
                last = Some(error);
                None
            }
        });
        waited.with_context(|| format!("{last:?}; the host's log:\n{}", host.log()))
    }

    /// Waits until there are so many results.
    pub(super) fn wait_results(&self, host: &Host, pipeline: &str, n: usize) -> Result<()> {
        self.wait(host, &format!("{n} results of `{pipeline}`"), || {
            Ok((self.results(pipeline)?.len() >= n).then_some(()))
        })
    }

    /// How many messages have waited at a failpoint so far.
    pub(super) fn n_at(&self, host: &Host, place: &str) -> usize {
        let lines = host.lines();
        let waits = lines
            .iter()
            .map(|line| line.get("fields").unwrap_or(line))
            .filter(|line| {
                line["message"] == "waiting at a failpoint"
                    && line["place"].as_str().is_some_and(|at| at.eq_ignore_ascii_case(place))
            });
        waits.count()
    }

    /// Waits until so many messages have waited at a failpoint.
    pub(super) fn wait_at(&self, host: &Host, place: &str, n: usize) -> Result<()> {
        self.wait(host, &format!("{n} messages at `{place}`"), || {
            Ok((self.n_at(host, place) >= n).then_some(()))
        })
    }

    /// Waits until every message has its result or its dead letter.
    pub(super) fn wait_done(&self, host: &Host) -> Result<()> {
        self.wait(host, "the end of every message", || {
            let missing = self.missing()?;
            ensure!(missing.is_empty(), "without an end: {missing:?}");
            Ok(Some(()))
        })
    }

    /// As [`Stage::wait_done`], and until every sender has its answer: one that lost it may come again with a message that
    /// is done.
    pub(super) fn wait_answered(&self, host: &Host) -> Result<()> {
        self.wait_done(host)?;
        self.wait(host, "the answer to every sender", || {
            let of = |pipe: &Pipe| self.source().n_unanswered(pipe.name);
            let n: usize = self.pipes.iter().map(of).sum();
            ensure!(n == 0, "{n} have none");
            Ok(Some(()))
        })
    }

    /// The messages that have neither a result nor a dead letter.
    pub(super) fn missing(&self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (pipeline, messages) in self.put.borrow().iter() {
            let ends = self.ends(pipeline)?;
            let open = messages.iter().filter(|sent| !ends.contains_key(&sent.id));
            missing.extend(open.map(|sent| sent.id.clone()));
        }
        Ok(missing)
    }

    /// What became of each message of a pipeline: the ids of its results and of its dead letters.
    fn ends(&self, pipeline: &str) -> Result<BTreeMap<String, Vec<(&'static str, String)>>> {
        let mut ends: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for found in self.results(pipeline)? {
            ends.entry(found.of).or_default().push(("a result", found.id));
        }
        for dead in self.dead(pipeline)? {
            ends.entry(dead.of).or_default().push(("a dead letter", dead.id));
        }
        Ok(ends)
    }

    /// Judges when no host runs: every message ended, none came from nowhere, and what came twice is the same twice.
    pub(super) fn judge(&self, twice: Twice<'_>) -> Result<()> {
        for (pipeline, messages) in self.put.borrow().iter() {
            let mut oracle = Oracle::default();
            for sent in messages {
                oracle.attempt(&sent.id);
                oracle.confirm(&sent.id);
            }
            let ends = self.ends(pipeline)?;
            for (id, ends) in &ends {
                ends.iter().for_each(|_| oracle.result(id));
                let may_be = match twice {
                    Twice::None => false,
                    Twice::These(ids) => ids.contains(&id.as_str()),
                    Twice::All => true,
                };
                ensure!(ends.len() == 1 || may_be, "`{id}` ended more than once: {ends:?}");
                ensure!(
                    ends.windows(2).all(|pair| pair[0] == pair[1]),
                    "`{id}` ended in different ways: {ends:?}"
                );
            }
            let verdict = oracle.judge();
            ensure!(
                verdict.lost.is_empty() && verdict.unexpected.is_empty(),
                "{pipeline}: {verdict}"
            );
            self.is_right(pipeline, messages)?;
            let mut last = None;
            let emptied = wait_for(&format!("a source `{pipeline}` without messages"), || {
                last = self.source().n_waiting(pipeline).ok();
                (last == Some(0)).then_some(())
            });
            emptied.with_context(|| format!("{last:?} wait still"))?;
        }
        Ok(())
    }

    /// Whether every result of a picture says what it shows.
    fn is_right(&self, pipeline: &str, messages: &[Sent]) -> Result<()> {
        let labels: BTreeMap<&str, &str> = messages
            .iter()
            .map(|sent| (sent.id.as_str(), sent.label.as_str()))
            .collect();
        for found in self.results(pipeline)? {
            let label = labels.get(found.of.as_str()).copied().unwrap_or_default();
            let body = String::from_utf8_lossy(&found.body);
            ensure!(body.contains(label), "`{}` shows {label:?}: {body}", found.of);
        }
        Ok(())
    }

    /// Waits for the end of every message, stops the host in good order and judges.
    pub(super) fn finish(&self, host: Host, twice: Twice<'_>) -> Result<()> {
        self.wait_answered(&host)?;
        host.stop()?;
        self.judge(twice)
    }
}

/// What source and destinations can do, where a transport is asked.
pub(super) fn ends(transport: &dyn Harness) -> (Promises, Promises) {
    let (own, folders, keys) = (transport.promises(), folder::HARNESS.promises(), transport.keys());
    (
        if keys.source.is_empty() { folders } else { own },
        if keys.destination.is_empty() { folders } else { own },
    )
}

/// The messages of one pipeline that a host received and moved to quarantine.
pub(super) fn n_quarantined(host: &mut Host, pipeline: &str) -> Result<usize> {
    let admin = Admin::of(host)?;
    let metric = format!("millrace_settled_total{{pipeline=\"{pipeline}\",outcome=\"quarantined\",class=\"\"}}");
    Ok(admin.metric(&metric)?.unwrap_or_default() as usize)
}

/// Waits until a host has this many messages of a pipeline in flight.
pub(super) fn wait_in_flight(host: &mut Host, pipeline: &str, n: usize) -> Result<()> {
    let admin = Admin::of(host)?;
    let metric = format!("millrace_in_hand{{pipeline=\"{pipeline}\"}}");
    let mut last = None;
    let waited = wait_for(&format!("{n} messages in flight"), || {
        last = admin.metric(&metric).ok()?;
        (last == Some(n as f64)).then_some(())
    });
    waited.with_context(|| format!("{last:?} are; the host's log:\n{}", host.log()))
}

/// Waits until a host says that it cannot take messages, and names what it waits for.
pub(super) fn wait_unready(host: &mut Host) -> Result<String> {
    let health = Admin::of(host)?.wait_ready(503, "\"ready\":false")?;
    ensure!(
        !health.contains("\"why\":[]"),
        "it waits for something without a name: {health}"
    );
    Ok(health)
}

/// Waits until a host takes messages.
pub(super) fn wait_ready(host: &mut Host) -> Result<()> {
    let admin = Admin::of(host)?;
    admin.wait_ready(200, "").map(drop)
}

/// The limit within which whatever has an end ends.
pub(super) const LIMIT: std::time::Duration = PATIENCE;
