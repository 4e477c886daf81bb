//! Real hosts on one queue: started, stopped by SIGTERM, and read by their metrics, as an operator reads them. Knows no rule.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::host::{Host, Mill};
use millrace_tests::process::Usage;
use millrace_tests::scene::Scene;

/// What is added to a scene's file, so that a host serves its metrics.
const ADMIN: &str = "[host]\nadmin = \"127.0.0.1:0\"\n";
/// The pipeline of a scene.
const PIPELINE: &str = "images";

/// All hosts of a trial.
pub(crate) struct Fleet<'a> {
    scene: &'a Scene,
    running: Vec<Member>,
    draining: Vec<Member>,
    n_received: f64,
    history: History,
}

/// What is known of hosts that have ended, and of starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// From the start of the process until it takes messages.
    pub(crate) starts: Vec<Duration>,
    /// From SIGTERM until the process is gone.
    pub(crate) drains: Vec<Duration>,
    /// The most memory of each host.
    pub(crate) peaks_bytes: Vec<u64>,
}

/// A host.
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) admin: Admin,
    // Its folder is removed after it ended.
    _mill: Mill,
    started: Instant,
    is_ready: bool,
    n_received: f64,
    peak_bytes: u64,
    stopped: Option<Instant>,
}

impl Member {
    /// Starts one; it need not be ready yet.
    ///
    /// # Errors
    /// When it does not serve its metrics.
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        let mill = scene.mill_with(|text| format!("{ADMIN}{text}"))?;
        let started = Instant::now();
        let mut host = mill.start()?;
        Ok(Self {
            admin: Admin::of(&mut host)?,
            host,
            _mill: mill,
            started,
            is_ready: false,
            n_received: 0.0,
            peak_bytes: 0,
            stopped: None,
        })
    }

    /// Messages it received since the last look; nothing where it has ended in between.
    fn look(&mut self) -> f64 {
        if let Ok(usage) = Usage::of(self.host.pid()) {
            self.peak_bytes = self.peak_bytes.max(usage.peak_bytes);
        }
        let n_received = self.admin.sum("millrace_received_total", PIPELINE);
        let n_received = n_received.unwrap_or(self.n_received);
        let n_new = n_received - self.n_received;
        self.n_received = n_received;
        n_new
    }
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(scene: &'a Scene) -> Self {
        Self {
            scene,
            running: Vec::new(),
            draining: Vec::new(),
            n_received: 0.0,
            history: History::default(),
        }
    }

    /// Hosts that were started and not stopped.
    pub(crate) fn n_hosts(&self) -> usize {
        self.running.len()
    }

    /// Whether all of them take messages, by the last look.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.iter().all(|member| member.is_ready)
    }

    /// Starts or stops hosts; the youngest stop first.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) fn scale_to(&mut self, n_hosts: usize) -> Result<()> {
        while self.running.len() < n_hosts {
            self.running.push(Member::start(self.scene)?);
        }
        while self.running.len() > n_hosts
            && let Some(mut member) = self.running.pop()
        {
            member.host.terminate()?;
            member.stopped = Some(Instant::now());
            self.draining.push(member);
        }
        Ok(())
    }

    /// Messages that all hosts received so far, as the sum of their counters' increases.
    ///
    /// # Errors
    /// When a host ended that should run, or one that was stopped ended with an error.
    pub(crate) fn look(&mut self) -> Result<f64> {
        for member in &mut self.running {
            self.n_received += member.look();
            ensure!(member.host.is_running(), "a host ended: {}", member.host.log());
            if !member.is_ready && member.host.n_lines("ready") > 0 {
                member.is_ready = true;
                self.history.starts.push(member.started.elapsed());
            }
        }
        for mut member in std::mem::take(&mut self.draining) {
            self.n_received += member.look();
            if !member.host.has_ended()? {
                self.draining.push(member);
                continue;
            }
            let stopped = member.stopped.context("it was not stopped")?;
            self.history.drains.push(stopped.elapsed());
            self.history.peaks_bytes.push(member.peak_bytes);
            let status = member.host.wait_end()?;
            ensure!(status.success(), "a drained host ended with {status}");
        }
        Ok(self.n_received)
    }

    /// Stops all, and waits for their ends.
    ///
    /// # Errors
    /// As [`Fleet::look`].
    pub(crate) fn stop(mut self) -> Result<History> {
        self.scale_to(0)?;
        while !self.draining.is_empty() {
            self.look()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(self.history)
    }
}
