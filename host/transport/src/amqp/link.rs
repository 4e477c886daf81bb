//! One connection to the broker, made again whenever it is gone. Knows nothing of queues.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::ErrorKind;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::config::BrokerAccess;
use super::guard::SpeaksTls;
use super::line::{BrokerCallError, Line, PATIENCE};
use super::login::Login;
use super::refusal::{BrokerRefusal, Meaning};
use super::socket;
use super::tls::TlsError;
use crate::Waiting;
use crate::config::ConnectionName;
use crate::hold::backoff;

/// The longest pause between tries, before jitter: a broker that restarts is found again within ten seconds.
const RECONNECT_CAP: Duration = Duration::from_secs(5);

/// The least pause after a refusal: the broker logs every one, and only a person can remove its cause.
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);

/// What a connection is called.
#[derive(Debug, Clone)]
pub(super) struct LinkName {
    /// As the broker shows it: with the host, because others connect as well.
    pub(super) at_broker: String,
    /// As the log shows it: its place in the file, and what it does.
    pub(super) in_log: String,
}

/// The pause between two lines of the log about one outage.
const REMINDER: Duration = Duration::from_secs(30);

/// A connection that outlives its sockets.
#[derive(Debug)]
pub(super) struct Link {
    access: BrokerAccess,
    name: LinkName,
    // tokio's Mutex: held over the await of a connect, so that one caller connects and the others wait for it.
    current: Mutex<Current>,
    n_made: AtomicU64,
    // std's Mutex: what is shown; never held over an await.
    state: StdMutex<State>,
    // Cancelled when the host stops: no caller waits for a connection that is being made then.
    leaving: CancellationToken,
}

/// Tries in a row that made no connection.
struct Outage {
    since: Instant,
    n_tries: u32,
    logged: Option<Instant>,
}

#[derive(Debug)]
enum Current {
    None,
    Made(Arc<Line>),
    /// It could not be made, at this time.
    Failed(ConnectError, Instant),
}

/// The state of a link.
#[derive(Debug, Clone)]
enum State {
    /// No caller has asked for a connection yet.
    Idle,
    /// One is being made; the error of the try before.
    Connecting {
        login: Arc<Login>,
        since: Instant,
        before: Option<String>,
    },
    Made(Arc<Line>),
    Failed(String),
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The broker refuses: credentials, virtual host. Waiting does not help.
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    /// The broker refuses for now: a limit, an alarm.
    #[error("the broker refused the connection for now: {0}")]
    Busy(String),
    /// There is no safe connection.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The broker does not answer, or not yet.
    #[error("the broker cannot be reached: {0}")]
    Away(String),
}

impl LinkName {
    /// One of the connections of a host.
    pub(super) fn of_host(name: &ConnectionName, host_id: &str, role: &str) -> Self {
        Self {
            at_broker: format!("millrace {host_id} {role}"),
            in_log: format!("{name} {role}"),
        }
    }

    /// The connection of a tool, such as `millrace send`.
    pub(super) fn tool(name: &str) -> Self {
        Self {
            at_broker: name.to_owned(),
            in_log: name.to_owned(),
        }
    }
}

impl Link {
    pub(super) fn new(access: BrokerAccess, name: LinkName) -> Self {
        Self {
            access,
            name,
            current: Mutex::new(Current::None),
            n_made: AtomicU64::new(0),
            state: StdMutex::new(State::Idle),
            leaving: CancellationToken::new(),
        }
    }

    /// As the log shows it.
    pub(super) fn name(&self) -> &str {
        &self.name.in_log
    }

    /// How long the broker may take to answer.
    pub(super) fn limit(&self) -> Duration {
        self.access.answer_timeout
    }

    /// The connection, made now if there is none. Callers that wait while one is being made get the result of that try, so
    /// that none waits for longer than one try takes.
    pub(super) async fn line(&self) -> Result<Arc<Line>, ConnectError> {
        let asked = Instant::now();
        let mut current = self.current.lock().await;
        match &*current {
            Current::Made(line) if line.is_up() => return Ok(Arc::clone(line)),
            Current::Failed(error, at) if *at >= asked => return Err(error.clone()),
            Current::Failed(error, at) if error.is_permanent() && at.elapsed() < REFUSAL_PAUSE => {
                return Err(error.clone());
            }
            _ => *current = Current::None,
        }
        match self.connect().await {
            Ok(line) => {
                info!(connection = self.name.in_log, "connected to the broker");
                let line = Arc::new(line);
                *current = Current::Made(Arc::clone(&line));
                *self.state() = State::Made(Arc::clone(&line));
                self.n_made.fetch_add(1, Ordering::Relaxed);
                Ok(line)
            }
            Err(error) => {
                *self.state() = State::Failed(error.to_string());
                *current = Current::Failed(error.clone(), Instant::now());
                Err(error)
            }
        }
    }

    /// Connects within the limit; logs where that takes a while.
    async fn connect(&self) -> Result<Line, ConnectError> {
        let login = Arc::new(Login::default());
        let connecting = State::Connecting {
            login: Arc::clone(&login),
            since: Instant::now(),
            before: match &*self.state() {
                State::Failed(error) => Some(error.clone()),
                _ => None,
            },
        };
        *self.state() = connecting;
        let mut connecting = pin!(socket::connect(&self.access, &self.name, &login));
        let limit = self.limit();
        let mut late = pin!(tokio::time::sleep(limit));
        let mut patience = pin!(tokio::time::sleep(PATIENCE));
        let mut is_reported = false;
        loop {
            tokio::select! {
                connected = &mut connecting => return connected,
                () = self.leaving.cancelled() => return Err(ConnectError::Away("the host is stopping".to_owned())),
                () = &mut late => {
                    let text = format!("waited {} s for {}", limit.as_secs_f32(), login.waits_for());
                    return Err(ConnectError::Away(text));
                }
                () = &mut patience, if !is_reported => {
                    is_reported = true;
                    warn!(connection = self.name.in_log, "still waiting for {}", login.waits_for());
                }
            }
        }
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        matches!(&*self.state(), State::Made(line) if line.is_up())
    }

    /// The current wait; none while there is a connection that answers, and before a caller asked for one.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        let broken = |error: &str| Waiting {
            what: format!("waiting for the broker: {error}"),
            lasts: None,
        };
        match &*self.state() {
            State::Idle => None,
            State::Made(line) if line.is_up() => line.late().map(|(step, asked)| Waiting {
                what: format!("waiting for the broker to answer `{step}`"),
                lasts: Some(asked.elapsed()),
            }),
            State::Made(_) => Some(broken("the connection broke")),
            State::Failed(error) => Some(broken(error)),
            // A try that has only begun says less than the error of the one before.
            State::Connecting { since, before, login } => match before {
                Some(error) if since.elapsed() < PATIENCE => Some(broken(error)),
                _ => Some(Waiting {
                    what: format!("waiting for {}", login.waits_for()),
                    lasts: Some(since.elapsed()),
                }),
            },
        }
    }

    /// How often a connection was made.
    pub(super) fn n_made(&self) -> u64 {
        self.n_made.load(Ordering::Relaxed)
    }

    /// Ends the connection that there is, if there is one, so that the next caller makes a new one.
    pub(super) fn cut(&self) {
        if let State::Made(line) = &*self.state() {
            line.cut();
        }
    }

    /// Closes the connection in good order, within a bound; no other is made.
    pub(super) async fn close(&self) {
        self.leaving.cancel();
        let current = std::mem::replace(&mut *self.current.lock().await, Current::None);
        if let Current::Made(line) = current
            && let Err(error) = line.close().await
        {
            // A channel that was dropped a moment ago may be closing still, which is harmless.
            debug!(connection = self.name.in_log, %error, "the connection was not closed in good order");
        }
    }

    /// Tries `attempt` until it succeeds, without end.
    pub(super) async fn until_made<T, F>(&self, mut attempt: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        let mut pauses = backoff(RECONNECT_CAP);
        let mut outage: Option<Outage> = None;
        loop {
            match attempt().await {
                Ok(made) => {
                    if let Some(outage) = outage {
                        let (away_s, n_tries) = (outage.since.elapsed().as_secs(), outage.n_tries);
                        info!(connection = self.name.in_log, away_s, n_tries, "the broker is back");
                    }
                    return made;
                }
                Err(error) => {
                    let outage = outage.get_or_insert_with(Outage::begin);
                    let pause = pauses.next().unwrap_or(RECONNECT_CAP);
                    let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    match error.is_permanent() {
                        _ if !outage.is_due() => {
                            debug!(connection = self.name.in_log, %error, retry_ms, "still no connection to the broker");
                        }
                        true => {
                            error!(connection = self.name.in_log, %error, retry_ms, "the broker refuses the connection: correct the configuration or the broker, the host goes on trying")
                        }
                        false => {
                            warn!(connection = self.name.in_log, %error, away_s = outage.since.elapsed().as_secs(), n_tries = outage.n_tries, "no connection to the broker: trying again every few seconds")
                        }
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            n_tries: 0,
            logged: None,
        }
    }

    /// Counts a try; whether the log is to have a line about it: the first, and one in half a minute.
    fn is_due(&mut self) -> bool {
        self.n_tries += 1;
        let is_due = self.logged.is_none_or(|at| at.elapsed() >= REMINDER);
        if is_due {
            self.logged = Some(Instant::now());
        }
        is_due
    }
}

impl ConnectError {
    /// Whether only a change of the file, or of the broker by its owner, helps.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Tls(error) => error.is_permanent(),
            Self::Busy(_) | Self::Away(_) => false,
        }
    }
}

impl From<BrokerCallError> for ConnectError {
    fn from(failure: BrokerCallError) -> Self {
        match failure {
            BrokerCallError::Answered(error) => error.into(),
            BrokerCallError::Silent { .. } | BrokerCallError::Gone { .. } => Self::Away(failure.to_string()),
        }
    }
}

impl From<lapin::Error> for ConnectError {
    fn from(error: lapin::Error) -> Self {
        if let ErrorKind::IOError(error) = error.kind()
            && let Some(SpeaksTls) = error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            return Self::Refused(format!("{SpeaksTls}; write `amqps://` for `amqp://` in its URL"));
        }
        if let ErrorKind::InvalidProtocolVersion(_) | ErrorKind::AuthProviderError(_) = error.kind() {
            return Self::Refused(error.to_string());
        }
        match BrokerRefusal::of(&error) {
            Some(refusal) if refusal.meaning == Meaning::Passes => Self::Busy(refusal.described()),
            Some(refusal) => Self::Refused(refusal.described()),
            None => Self::Away(error.to_string()),
        }
    }
}
