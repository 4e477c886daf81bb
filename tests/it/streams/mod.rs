//! The standard streams: whoever reads them may leave, stop reading or have no room, and the host goes on; what it says in
//! JSON is JSON, all of it.

mod json;
mod verbs;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, PipeReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::host::Mill;
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::{PATIENCE, wait_at_most, wait_for};
use rustix::process::{Pid, Signal, kill_process};

const LOST: &str = "millrace_log_lines_lost_total";

/// A host whose stderr is of the test's choice. Dropping it kills it.
struct Host {
    child: Child,
    admin: Admin,
}

impl Host {
    /// Starts a host at a debug log, so that each message has many lines, and waits until it is ready.
    fn start(mill: &Mill, admin: Admin, stderr: Stdio) -> Result<Self> {
        let mut command = mill.command(&["run", "plugins.toml", "--log", "info,millrace=debug"])?;
        command.stdout(Stdio::null()).stderr(stderr);
        Self::of(command, admin)
    }

    fn of(mut command: Command, admin: Admin) -> Result<Self> {
        let mut host = Self {
            child: command.spawn()?,
            admin,
        };
        let ready = wait_at_most(2 * PATIENCE, "a ready host", || {
            let is_ready = matches!(host.admin.get("/readyz"), Ok((200, _)));
            (is_ready || !host.is_running()).then_some(is_ready)
        })?;
        ensure!(ready, "the host ended: {:?}", host.child.wait()?);
        Ok(host)
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn n_lost(&self) -> Result<u64> {
        Ok(self.admin.metric(LOST)?.context("no metric of lost lines")? as u64)
    }

    /// Asks it to drain, and demands that it ends in good order.
    fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        let ended = wait_for("the host's end", || self.child.try_wait().ok().flatten())?;
        ensure!(ended.code() == Some(0), "{ended:?}");
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// A scene whose admin pages are at a port that is known beforehand, since its log may be read by nobody.
fn scene(broker: &Broker) -> Result<(Scene, Admin)> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let scene = Scene {
        preprocess: Plugin::with_settings("hostile", "mode = \"panic-on-poison\"")?,
        tables: format!("[host]\nadmin = \"{free}\"\n"),
        // One after the other: of many at once five bad ones may fail in a row, which opens the breaker.
        prefetch: 1,
        ..Scene::new(broker)?
    };
    Ok((scene, Admin(free)))
}

/// Bad and good messages by turns: each bad one is told, and no breaker opens.
async fn work(client: &Client, scene: &Scene, n_bad: usize) -> Result<()> {
    let bodies = (0..2 * n_bad).map(|n| {
        if n % 2 == 0 {
            b"poison".to_vec()
        } else {
            b"good".to_vec()
        }
    });
    let parcels = bodies
        .enumerate()
        .map(|(n, body)| Parcel::new(&format!("{n:04}"), body));
    client.publish_all(&scene.input, parcels).await?;
    client.take_all(&scene.results, n_bad).await?;
    client.take_all(&scene.dead, n_bad).await?;
    Ok(())
}

/// Has a host write where nobody can read it, while a publisher sends it what it must tell of.
async fn check(stderr: impl FnOnce() -> Result<Stdio>, loses: bool) -> Result<()> {
    let broker = Broker::shared()?;
    let (scene, admin) = scene(broker)?;
    let mill = scene.mill()?;
    let host = Host::start(&mill, admin, stderr()?)?;
    let client = Client::connect(&broker.url()).await?;
    work(&client, &scene, 100).await?;
    assert_eq!(host.n_lost()? > 0, loses, "{} lines lost", host.n_lost()?);
    host.stop()
}

#[tokio::test]
async fn a_full_disk_under_the_log_costs_lines_and_not_the_host() -> Result<()> {
    check(|| Ok(OpenOptions::new().write(true).open("/dev/full")?.into()), true).await
}

#[tokio::test]
async fn a_closed_stderr_is_none_and_no_reason_to_end() -> Result<()> {
    let broker = Broker::shared()?;
    let (scene, admin) = scene(broker)?;
    let mill = scene.mill()?;
    let run = mill.command(&["run", "plugins.toml"])?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" run plugins.toml 2>&-"])
        .arg(run.get_program());
    if let Some(folder) = run.get_current_dir() {
        command.current_dir(folder);
    }
    let host = Host::of(command, admin)?;
    let client = Client::connect(&broker.url()).await?;
    work(&client, &scene, 20).await?;
    host.stop()
}

#[tokio::test]
async fn a_limit_on_the_size_of_files_costs_lines_and_not_the_host() -> Result<()> {
    let broker = Broker::shared()?;
    let (scene, admin) = scene(broker)?;
    let mill = scene.mill()?;
    let run = mill.command(&["run", "plugins.toml", "--log", "info,millrace=debug"])?;
    let mut command = Command::new("sh");
    // So many blocks of 512 bytes, or of 1024 for some shells: the log is as long already, and nothing else is.
    std::fs::File::create(mill.path("limited.log"))?.set_len(128 << 20)?;
    command
        .args(["-c", "ulimit -f 131072; exec \"$0\" \"$@\" 2>>limited.log"])
        .arg(run.get_program())
        .args(run.get_args());
    for (name, value) in run.get_envs() {
        command.envs(value.map(|value| (name, value)));
    }
    if let Some(folder) = run.get_current_dir() {
        command.current_dir(folder);
    }
    let host = Host::of(command, admin)?;
    let client = Client::connect(&broker.url()).await?;
    work(&client, &scene, 100).await?;
    assert!(host.n_lost()? > 0);
    host.stop()
}

/// Reads so many lines of a log.
fn read(reader: PipeReader, n_lines: usize) -> Result<BufReader<PipeReader>> {
    let mut reader = BufReader::new(reader);
    for _ in 0..n_lines {
        ensure!(reader.read_line(&mut String::new())? > 0, "the log ended");
    }
    Ok(reader)
}

#[tokio::test]
async fn a_reader_of_the_log_that_leaves_in_the_middle_leaves_the_host_alone() -> Result<()> {
    let broker = Broker::shared()?;
    let (scene, admin) = scene(broker)?;
    let mill = scene.mill()?;
    let (reader, writer) = std::io::pipe()?;
    let reading = std::thread::spawn(move || read(reader, 5));
    let host = Host::start(&mill, admin, writer.into())?;
    let reader = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let client = Client::connect(&broker.url()).await?;
    work(&client, &scene, 1).await?;
    drop(reader);
    work(&client, &scene, 100).await?;
    assert!(host.n_lost()? > 0);
    host.stop()
}

#[tokio::test]
async fn a_reader_of_the_log_that_stops_reading_stalls_nothing_and_is_told_what_it_missed() -> Result<()> {
    let broker = Broker::shared()?;
    let (scene, admin) = scene(broker)?;
    let mill = scene.mill()?;
    let (reader, writer) = std::io::pipe()?;
    let host = Host::start(&mill, admin, writer.into())?;
    let client = Client::connect(&broker.url()).await?;
    // Until the pipe and the queue behind it are full.
    let mut n_rounds = 0;
    while host.n_lost()? == 0 {
        work(&client, &scene, 400).await?;
        n_rounds += 1;
        ensure!(n_rounds < 50, "no line was lost");
    }
    work(&client, &scene, 20).await?;
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    while !line.contains("log lines were lost") {
        line.clear();
        ensure!(
            reader.read_line(&mut line)? > 0,
            "the log ended, and nothing was said of what it lacks"
        );
    }
    assert!(line.contains("the reader of stderr is too slow"), "{line}");
    // And when nobody reads what it says at its end, it ends.
    host.stop()
}
