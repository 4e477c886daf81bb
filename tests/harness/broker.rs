//! A RabbitMQ node of our own: private ports, data and cookie, started, killed and restarted at will. Knows nothing of
//! the host.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::{unique, wait_at_most};

/// Where Debian keeps the scripts that do not change the user: the ones in the path do, and write to `/var`.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// A node needs 5 s on an idle machine; two minutes is for one that compiles beside it.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Below the range that the system takes local ports from, so that a client which connects again and again while the
/// broker is down cannot occupy the port it is waiting for.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A node of our own. Dropping it kills it; the end of the process, however it comes, does so too.
pub struct Broker {
    folder: TempDir,
    node: String,
    port: u16,
    tls_port: u16,
    distribution_port: u16,
    epmd_port: u16,
    processes: Mutex<Option<Processes>>,
}

/// What a user may do: three patterns of names, as the broker wants them.
#[derive(Debug, Clone, Copy)]
pub struct Permissions<'a> {
    /// What may be declared and deleted.
    pub configure: &'a str,
    /// What may be published to.
    pub write: &'a str,
    /// What may be consumed.
    pub read: &'a str,
}

/// Everything that runs for one life of a node.
struct Processes {
    beam: Child,
    epmd: Child,
    // Kills the two and removes their folder when its standard input ends, however the tests end.
    watchdog: Child,
}

impl Broker {
    /// Makes a node's folder and chooses its ports; nothing runs yet.
    ///
    /// # Errors
    /// When there is no place for temporary files or no free port.
    pub fn prepare() -> Result<Self> {
        Self::prepare_with("")
    }

    /// As [`Broker::prepare`], with more lines for the node's `rabbitmq.conf`.
    ///
    /// # Errors
    /// As [`Broker::prepare`].
    pub fn prepare_with(lines: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("millrace-broker-").tempdir()?;
        std::fs::write(folder.path().join("enabled_plugins"), "[].")?;
        let broker = Self {
            node: format!("{}@localhost", unique("millrace")),
            port: free_port()?,
            tls_port: free_port()?,
            distribution_port: free_port()?,
            epmd_port: free_port()?,
            folder,
            processes: Mutex::new(None),
        };
        broker.configure(lines)?;
        Ok(broker)
    }

    fn configure(&self, lines: &str) -> Result<()> {
        // Tests log in as guest over IPv4 only; a nearly full disk must not block publishers.
        let always = "disk_free_limit.absolute = 50MB\nlog.file.level = warning";
        Ok(std::fs::write(
            self.path("rabbitmq.conf"),
            format!("{always}\n{lines}\n"),
        )?)
    }

    /// Starts a node of the test's own.
    ///
    /// # Errors
    /// With the node's log when it does not come up.
    pub fn start() -> Result<Self> {
        let broker = Self::prepare()?;
        broker.run()?;
        Ok(broker)
    }

    /// Starts a node of the test's own that speaks TLS too, with this certificate.
    ///
    /// # Errors
    /// With the node's log when it does not come up.
    pub fn start_tls(identity: &Identity) -> Result<Self> {
        let broker = Self::prepare()?;
        let lines = format!(
            "listeners.ssl.1 = 127.0.0.1:{}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false",
            broker.tls_port,
            broker.path("certificate.pem").display(),
            broker.path("key.pem").display(),
        );
        broker.configure(&lines)?;
        broker.write_identity(identity)?;
        broker.run()?;
        Ok(broker)
    }

    /// Shows another certificate to whoever connects by TLS from now on.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn show(&self, identity: &Identity) -> Result<()> {
        self.write_identity(identity)?;
        self.rabbitmqctl(&["eval", "ssl:clear_pem_cache()."]).map(drop)
    }

    fn write_identity(&self, identity: &Identity) -> Result<()> {
        std::fs::write(self.path("certificate.pem"), &identity.certificate)?;
        Ok(std::fs::write(self.path("key.pem"), &identity.key)?)
    }

    /// The node that all tests of this process share: start it on first use. For tests that leave it as it is.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        shared
            .as_ref()
            .map_err(|error| anyhow!("the shared broker did not start: {error}"))
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        self.url_as("guest", "guest")
    }

    /// The address for clients that log in as somebody else.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/%2f", self.port)
    }

    /// The address for clients that speak TLS, by a host name that leads here.
    pub fn tls_url(&self, host: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/%2f", self.tls_port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the node, for its CPU time and memory; nothing while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.processes().as_ref().map(|processes| processes.beam.id())
    }

    /// Starts the node, on the data that its last life left, and waits until it speaks AMQP.
    ///
    /// # Errors
    /// With the node's log when it does not come up.
    pub fn run(&self) -> Result<()> {
        let mut slot = self.processes();
        ensure!(slot.is_none(), "the broker runs already");
        let mut processes = Processes::spawn(self)?;
        let started = wait_at_most(START_LIMIT, "the broker's handshake", || {
            match processes.beam.try_wait() {
                Ok(None) => speaks_amqp(self.port).then_some(Ok(())),
                Ok(Some(status)) => Some(Err(anyhow!("the broker ended with {status}"))),
                Err(error) => Some(Err(error.into())),
            }
        });
        let started = started.and_then(|started| started);
        if let Err(error) = started {
            processes.kill()?;
            return Err(error.context(self.log()));
        }
        *slot = Some(processes);
        Ok(())
    }

    /// Writes the names of all quorum queues to disk, as the node does by itself half a second after the last change.
    /// Killed before that, it comes back without a queue that it had confirmed, and every operation on that queue
    /// fails without end (RabbitMQ 3.10: `ra_directory` keeps its names in a table that is saved in the background).
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn remember_queues(&self) -> Result<()> {
        self.rabbitmqctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."])
            .map(drop)
    }

    /// Kills the node at once, as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        let mut processes = self.processes().take().context("the broker does not run")?;
        processes.kill()
    }

    /// Stops the node in an orderly way: clients are told.
    ///
    /// # Errors
    /// When it does not run, or not stop.
    pub fn stop(&self) -> Result<()> {
        let mut processes = self.processes().take().context("the broker does not run")?;
        kill_process(pid(&processes.beam)?, Signal::TERM)?;
        let ended = wait_at_most(START_LIMIT, "the broker's end", || {
            processes.beam.try_wait().ok().flatten()
        });
        processes.kill()?;
        ended.map(drop)
    }

    /// Kills the node and starts it again.
    ///
    /// # Errors
    /// As [`Broker::kill`] and [`Broker::run`].
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.run()
    }

    /// Stops the node in its tracks: its sockets stay open and answer nothing, as on a machine that swaps.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused node go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Raises the memory alarm: publishers are blocked until [`Broker::unblock`].
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn block(&self) -> Result<()> {
        self.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "1"])
            .map(drop)
    }

    /// Ends the memory alarm.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn unblock(&self) -> Result<()> {
        self.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).map(drop)
    }

    /// Adds a user who may do everything; [`Broker::permit`] takes something away.
    ///
    /// # Errors
    /// When there is one already, or the node does not answer.
    pub fn add_user(&self, user: &str, password: &str) -> Result<()> {
        self.rabbitmqctl(&["add_user", user, password])?;
        self.permit(user, Permissions::default())
    }

    /// Sets what a user may do from now on. The broker looks again at each operation, on living connections too.
    ///
    /// # Errors
    /// When there is no such user, or the node does not answer.
    pub fn permit(&self, user: &str, permissions: Permissions<'_>) -> Result<()> {
        let Permissions { configure, write, read } = permissions;
        self.rabbitmqctl(&["set_permissions", user, configure, write, read])
            .map(drop)
    }

    /// Changes a user's password; connections that are open stay.
    ///
    /// # Errors
    /// When there is no such user, or the node does not answer.
    pub fn change_password(&self, user: &str, password: &str) -> Result<()> {
        self.rabbitmqctl(&["change_password", user, password]).map(drop)
    }

    /// Closes every client's connection, as an administrator does.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn close_connections(&self) -> Result<()> {
        self.rabbitmqctl(&["close_all_connections", "a test"]).map(drop)
    }

    /// Runs `rabbitmqctl` on this node and gives what it printed.
    ///
    /// # Errors
    /// With what it printed when it fails.
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("rabbitmqctl");
        let output = command
            .args(["--quiet", "--node", &self.node])
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(output.status.success(), "rabbitmqctl {}: {text}", arguments.join(" "));
        Ok(text)
    }

    /// The words by which a shell runs one of the broker's scripts on this node.
    pub fn script(&self, name: &str) -> String {
        let command = self.command(name);
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let variables: String = variables
            .map(|(name, value)| format!("{}='{}' ", name.display(), value.display()))
            .collect();
        let program = command.get_program().display();
        format!("env {variables}'{program}' --quiet --node '{}'", self.node)
    }

    /// What the node wrote on its terminal and into its log.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        format!("the broker's log:\n{}\n{}", read("terminal.log"), read("node.log"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let processes = self.processes();
        let processes = processes.as_ref().context("the broker does not run")?;
        Ok(kill_process(pid(&processes.beam)?, signal)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn processes(&self) -> MutexGuard<'_, Option<Processes>> {
        // A panic of one test while it held the lock says nothing about the processes.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, script: &str) -> Command {
        let packaged = Path::new(SCRIPTS).join(script);
        let mut command = if packaged.exists() {
            Command::new(packaged)
        } else {
            Command::new(script)
        };
        command
            // A home of its own holds the cookie that node and rabbitmqctl share.
            .env("HOME", self.folder.path())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.folder.path())
            .env("RABBITMQ_LOGS", self.path("node.log"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", self.path("none.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", self.path("config"))
            // The script then becomes the node instead of starting it, so that the child that we kill is the node.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .current_dir(self.folder.path());
        command
    }
}

impl Default for Permissions<'_> {
    fn default() -> Self {
        Self {
            configure: ".*",
            write: ".*",
            read: ".*",
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut processes) = self.processes().take()
            && let Err(error) = processes.kill()
        {
            eprintln!("the broker {} may still run: {error:#}", self.node);
        }
    }
}

impl Processes {
    fn spawn(broker: &Broker) -> Result<Self> {
        // Our own port mapper: the one that a node starts by itself would outlive it.
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &broker.epmd_port.to_string()]);
        let epmd = quiet(&mut epmd)
            .spawn()
            .context("cannot start epmd: is RabbitMQ installed?")?;
        let terminal = File::create(broker.path("terminal.log"))?;
        let mut node = broker.command("rabbitmq-server");
        let beam = quiet(&mut node).stdout(terminal.try_clone()?).stderr(terminal).spawn();
        let beam = beam.context("cannot start rabbitmq-server: is RabbitMQ installed?")?;
        let mut watchdog = Command::new("sh");
        watchdog.args([
            "-c",
            r#"read -r _; kill -9 "$1" "$2"; sleep 0.1; rm -rf "$3""#,
            "watchdog",
        ]);
        watchdog
            .args([beam.id().to_string(), epmd.id().to_string()])
            .arg(broker.folder.path());
        let watchdog = quiet(&mut watchdog).stdin(Stdio::piped()).spawn()?;
        Ok(Self { beam, epmd, watchdog })
    }

    fn kill(&mut self) -> Result<()> {
        // The watchdog first: it must not kill by the numbers of processes that are gone.
        for child in [&mut self.watchdog, &mut self.beam, &mut self.epmd] {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

/// In a process group of its own, so that Ctrl-C reaches the test first and the watchdog cleans up.
fn quiet(command: &mut Command) -> &mut Command {
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("a child without a process id")
}

fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Processes begin at different places, so that two test runs on one machine seldom try the same.
    let begin = u16::try_from(std::process::id().wrapping_mul(31) % u32::from(span))?;
    for _ in 0..span {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let port = PORTS.start + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
}

/// Whether the broker answers the protocol header with a method frame (`connection.start`).
fn speaks_amqp(port: u16) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut kind = [0_u8];
        stream.read_exact(&mut kind)?;
        Ok(kind[0])
    };
    ask().is_ok_and(|kind| kind == 1)
}
