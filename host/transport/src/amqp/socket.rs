//! The bytes below AMQP: TCP, TLS where the URL asks for it, the guard, and the handle that ends the socket. Knows no queue
//! and no channel.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_compat::{Compat, CompatExt};
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::config::BrokerAccess;
use super::guard::FrameGuard;
use super::line::Line;
use super::link::{ConnectError, LinkName};
use super::login::{Login, Step};
use super::properties::FRAME_BYTES;
use super::socket_handle::SocketHandle;
use super::tls;
use super::traffic::Traffic;
use super::url::BrokerEndpoint;

/// How long a silent connection lives, in seconds, by default: a broker that is gone without a word is
/// noticed after twice this. RabbitMQ's own default is 60 s.
const HEARTBEAT_S: u16 = 10;

/// A stream that lapin can use, with or without TLS.
type Socket = Compat<SocketHandle<FrameGuard<Either<TcpStream, TlsStream<TcpStream>>>>>;

/// Connects and logs in; `login` follows the progress.
///
/// # Cancellation
/// Ends the socket, and with it lapin's thread: a broker that is silent before it knows a heartbeat would keep both.
pub(super) async fn connect(access: &BrokerAccess, name: &LinkName, login: &Arc<Login>) -> Result<Line, ConnectError> {
    let url = access.amqp.expose();
    let endpoint = access.endpoint().map_err(ConnectError::Refused)?;
    let mut uri: AMQPUri = url.parse().map_err(ConnectError::Refused)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let cut = CancellationToken::new();
    let unless_made = cut.clone().drop_guard();
    let traffic = Arc::new(Traffic::default());
    let socket = open(&endpoint, access, (login, &traffic), &cut).await?;
    login.reached(Step::Start);
    // lapin asks for a connection once: its own recovery is off.
    let socket = Mutex::new(Some(socket));
    let hand_over = async move |_: AMQPUri, _: Runtime<Kit>| {
        let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(AsyncTcpStream::Plain(socket))
    };
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), Sockets(Tokio::current())));
    let properties = ConnectionProperties::default().with_connection_name(name.at_broker.as_str().into());
    let connection = Connection::connector(uri, runtime, hand_over, properties).await?;
    let frame_max = usize::try_from(connection.configuration().frame_max()).unwrap_or(usize::MAX);
    if (1..FRAME_BYTES).contains(&frame_max) {
        let text = format!("its `frame_max` is {frame_max}, and dead letters need {FRAME_BYTES}");
        return Err(ConnectError::Refused(text));
    }
    let cut = unless_made.disarm();
    Ok(Line::new(
        (connection, &name.in_log),
        cut,
        access.answer_timeout,
        traffic,
    ))
}

async fn open(
    endpoint: &BrokerEndpoint,
    access: &BrokerAccess,
    (login, traffic): (&Arc<Login>, &Arc<Traffic>),
    cut: &CancellationToken,
) -> Result<Socket, ConnectError> {
    login.reached(Step::Tcp);
    let away = |error: io::Error| ConnectError::Away(format!("{}:{}: {error}", endpoint.host, endpoint.port));
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(away)?;
    // Acknowledgements are small and must not wait for more bytes.
    stream.set_nodelay(true).map_err(away)?;
    let stream = if endpoint.is_tls {
        login.reached(Step::Tls);
        Either::Right(tls::handshake(stream, &endpoint.host, access.ca.as_deref()).await?)
    } else {
        Either::Left(stream)
    };
    let guard = FrameGuard::new(stream, Arc::clone(login), Arc::clone(traffic));
    Ok(SocketHandle::new(guard, cut.clone(), Arc::clone(traffic)).compat())
}

type Kit = RuntimeParts<Tokio, Sockets>;

/// Tokio as lapin wants it, with our sockets for its own: it takes the socket's type from here, and no socket.
#[derive(Debug, Clone)]
struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Socket;
    type Sleep = <Tokio as Reactor>::Sleep;

    #[expect(
        refining_impl_trait,
        reason = "the traits that the type hides are those of a crate that is not named here"
    )]
    fn register<H: Send + 'static>(&self, _: H) -> io::Result<Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, _: SocketAddr) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
