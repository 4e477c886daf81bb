//! The hosts, each behind a relay of its own: started, killed, drained, frozen, measured. Knows no schedule.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::broker::Broker;
use millrace_tests::host::{Host, Mill};
use millrace_tests::relay::{Flow, Relay};
use millrace_tests::wait_at_most;
use rustix::process::{Pid, Signal, kill_process};

use crate::stage;

/// Every line is long: results wait for their confirms and messages for their acknowledgements most of the time, so that
/// a fault hits them there, and three hosts do not use up two cores.
pub(crate) const CALM: Flow = Flow::Delay(Duration::from_millis(50));
/// When a host is taken for warm: models are loaded, threads are there, buffers have their size.
const WARM: Duration = Duration::from_secs(15);
/// How soon after its start a host ends in good order when it is asked to: before it loads anything.
const LISTENS_LIMIT: Duration = Duration::from_secs(5);
/// What a host's memory may grow by after it is warm: a burst after a pause fills every place in flight.
const GROWTH_BYTES: u64 = 256 << 20;
/// Files and threads that come and go with connections.
const SLACK: u64 = 24;

/// Hosts that compete for the same queues.
pub(crate) struct Fleet {
    berths: Vec<Berth>,
}

/// The place of one host, which lives there again and again.
struct Berth {
    mill: Mill,
    relay: Relay,
    host: Mutex<Option<Life>>,
    n_starts: Mutex<usize>,
}

struct Life {
    host: Host,
    began: Instant,
    warm: Option<Size>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Size {
    rss_bytes: u64,
    threads: u64,
    files: u64,
}

impl Fleet {
    /// Makes a place for each host; none runs yet.
    pub(crate) fn new(broker: &Broker, n_hosts: usize) -> Result<Self> {
        let berth = || {
            let relay = Relay::start(broker.port())?;
            relay.set(CALM);
            Ok(Berth {
                mill: Mill::new(&stage::plugins_toml(&relay.url())?)?,
                relay,
                host: Mutex::new(None),
                n_starts: Mutex::new(0),
            })
        };
        Ok(Self {
            berths: (0..n_hosts).map(|_| berth()).collect::<Result<_>>()?,
        })
    }

    pub(crate) fn n_hosts(&self) -> usize {
        self.berths.len()
    }

    /// The line between a host and the broker.
    pub(crate) fn relay(&self, host: usize) -> Result<&Relay> {
        Ok(&self.berth(host)?.relay)
    }

    /// Starts a host; it becomes ready by itself.
    pub(crate) fn start(&self, host: usize) -> Result<()> {
        let berth = self.berth(host)?;
        *lock(&berth.host) = Some(Life {
            host: berth.mill.start()?,
            began: Instant::now(),
            warm: None,
        });
        *lock(&berth.n_starts) += 1;
        Ok(())
    }

    /// Waits until every host takes messages of both pipelines.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        for berth in &self.berths {
            if let Some(life) = &mut *lock(&berth.host) {
                for pipeline in stage::Pipeline::ALL {
                    life.host.wait_pipeline(pipeline.name())?;
                }
            }
        }
        Ok(())
    }

    /// Kills a host.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub(crate) fn kill(&self, host: usize) -> Result<()> {
        let life = lock(&self.berth(host)?.host).take().context("no host there")?;
        life.host.kill()
    }

    /// Asks a host to drain, and waits until it is gone; gives its exit code.
    pub(crate) fn drain(&self, host: usize) -> Result<Option<i32>> {
        let life = lock(&self.berth(host)?.host).take().context("no host there")?;
        // A process that was started just now is not yet the host.
        let pid = life.host.pid();
        wait_at_most(LISTENS_LIMIT, "a host that listens to SIGTERM", || {
            catches_sigterm(pid).then_some(())
        })?;
        life.host.terminate()?;
        Ok(life.host.wait_end()?.code())
    }

    /// Stops a host in its tracks, or lets it go on.
    pub(crate) fn signal(&self, host: usize, signal: Signal) -> Result<()> {
        let slot = lock(&self.berth(host)?.host);
        let life = slot.as_ref().context("no host there")?;
        let pid = Pid::from_raw(i32::try_from(life.host.pid())?).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Drains every host, which must end with 0.
    pub(crate) fn stop(&self) -> Result<()> {
        for host in 0..self.n_hosts() {
            let code = self.drain(host)?;
            ensure!(
                code == Some(0),
                "host {host} ended with {code:?} when everything was calm"
            );
        }
        Ok(())
    }

    /// Measures every host; those that are warm for the first time set the mark for the rest of their life.
    ///
    /// # Errors
    /// When one has grown.
    pub(crate) fn measure(&self) -> Result<()> {
        for (number, berth) in self.berths.iter().enumerate() {
            let mut slot = lock(&berth.host);
            let Some(life) = &mut *slot else { continue };
            if life.began.elapsed() < WARM {
                continue;
            }
            // A host that has just died is measured by whoever finds it dead.
            let Ok(now) = Size::of(life.host.pid()) else { continue };
            let warm = *life.warm.get_or_insert(now);
            ensure!(
                now.rss_bytes <= warm.rss_bytes + GROWTH_BYTES
                    && now.threads <= warm.threads + SLACK
                    && now.files <= warm.files + SLACK,
                "host {number} has grown from {warm:?} to {now:?}"
            );
        }
        Ok(())
    }

    /// Connections beyond the two of each host that was started: how often living hosts connected again.
    pub(crate) fn n_reconnects(&self) -> usize {
        let beyond = |berth: &Berth| berth.relay.n_carried().saturating_sub(2 * *lock(&berth.n_starts));
        self.berths.iter().map(beyond).sum()
    }

    /// Copies every host's log into a folder; gives the panics that are in them.
    pub(crate) fn keep_logs(&self, folder: &Path) -> Result<Vec<String>> {
        let mut panics = Vec::new();
        for (number, berth) in self.berths.iter().enumerate() {
            for name in berth.mill.files("").iter().filter(|name| name.ends_with(".log")) {
                let kept = folder.join(format!("berth-{number}-{name}"));
                std::fs::copy(berth.mill.path(name), &kept)?;
                let log = String::from_utf8_lossy(&std::fs::read(&kept)?).into_owned();
                // A plugin's panic is told in a JSON line; the host's own is not.
                let panicked = log
                    .lines()
                    .find(|line| !line.starts_with('{') && line.contains("panicked"));
                panics.extend(panicked.map(|line| format!("{}: {line}", kept.display())));
            }
        }
        Ok(panics)
    }

    fn berth(&self, host: usize) -> Result<&Berth> {
        self.berths.get(host).context("no such host")
    }
}

impl Size {
    fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |key: &str| -> Result<u64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .context("no such line")?;
            Ok(line.split_whitespace().next().context("no number")?.parse()?)
        };
        Ok(Self {
            rss_bytes: number("VmRSS:")? * 1024,
            threads: number("Threads:")?,
            files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
        })
    }
}

/// Whether a process does something of its own at SIGTERM.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 15 is bit 14.
    mask.is_some_and(|mask| mask >> 14 & 1 == 1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A lane that panicked says nothing about the hosts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
