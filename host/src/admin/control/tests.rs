//! The interface from both ends: a fake host behind it, and clients that are right, wrong, slow and hostile before it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::control::{Command, History, Request, Requests, Status};

const TOKEN: &str = "s3cret-s3cret-s3cret";

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        host_id: "here-1".to_owned(),
        config: PathBuf::from("/srv/plugins.toml"),
        phase: "running".to_owned(),
        uptime_s: 5,
        generation: 3,
        plugins: Vec::new(),
        models: Vec::new(),
        pipelines: Vec::new(),
        last_change: None,
        readiness: Default::default(),
    }
}

fn change(outcome: ChangeOutcome, by: &str) -> ChangeRecord {
    ChangeRecord {
        number: 0,
        at: "2026-01-02T03:04:05.678Z".to_owned(),
        by: by.to_owned(),
        changes: vec!["plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f".to_owned()],
        outcome,
        generation: 4,
        step: None,
        reason: None,
        took_ms: 12,
    }
}

/// A server, and what a host would be asked.
struct Scene {
    server: ControlServer,
    folder: TempDir,
    requests: Requests,
    history: Arc<History>,
}

impl Scene {
    async fn start(place: impl FnOnce(PathBuf) -> ControlConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = Arc::new(History::default());
        let (control, requests) = Control::new(Arc::new(status), Arc::clone(&history));
        let place = place(folder.path().join("c.sock"));
        let started = ControlServer::start(&place, &folder.path().join("plugins.toml"), control).await;
        let server = started.unwrap().expect("it is not off");
        Self {
            server,
            folder,
            requests,
            history,
        }
    }

    async fn at_socket() -> Self {
        Self::start(ControlConfig::Socket).await
    }

    async fn at_port() -> Self {
        Self::start(|_| ControlConfig::Tcp {
            address: "127.0.0.1:0".parse().unwrap(),
            token: Secret::new(TOKEN.to_owned()),
        })
        .await
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("c.sock")
    }

    fn client(&self) -> Client {
        match &self.server.at {
            ListenAddress::Socket(_) => Client::new(HostAddress::Socket(self.socket()), None),
            ListenAddress::Address(address) => Client::new(
                HostAddress::Tcp(address.to_string()),
                Some(Secret::new(TOKEN.to_owned())),
            ),
        }
    }

    /// Answers every request as `answer` says, and records what was asked.
    fn serve(self, answer: impl Fn(&Request) -> Result<ChangeRecord, Unanswered> + Send + 'static) -> Served {
        let Self {
            server,
            folder,
            mut requests,
            ..
        } = self;
        let (told, asked) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let answer = answer(&request);
                told.send((request.command, request.by)).await.unwrap();
                request.reply.send(answer).expect("somebody waits");
            }
        });
        Served {
            _server: server,
            _folder: folder,
            asked,
        }
    }
}

struct Served {
    _server: ControlServer,
    _folder: TempDir,
    asked: mpsc::Receiver<(Command, String)>,
}

/// Sends bytes to a socket and reads until the end: status, head and body.
async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    request: &str,
) -> (u16, String) {
    // A server that refuses what it has not read may close first.
    let written = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{written:?} {read:?} {answer:?}"));
    (status, answer)
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

impl Scene {
    async fn raw(&self, line: &str, headers: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        exchange(stream, &request(line, headers)).await
    }
}

fn error_of(answer: &str) -> String {
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    body["error"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn every_verb_reaches_the_host_by_socket_and_by_port() {
    for scene in [Scene::at_socket().await, Scene::at_port().await] {
        let by = match &scene.server.at {
            ListenAddress::Socket(_) => format!("control (uid {})", rustix::process::geteuid().as_raw()),
            ListenAddress::Address(_) => "control (127.0.0.1)".to_owned(),
        };
        let client = scene.client();
        let first = scene.history.add(change(ChangeOutcome::Done, "start"));
        assert_eq!(client.status().await.unwrap(), status());
        assert_eq!(client.history().await.unwrap(), [first]);
        let mut served = scene.serve(|request| Ok(change(ChangeOutcome::Done, &request.by)));
        let (plugin, pipeline) = ("crop".to_owned(), "images".to_owned());
        let commands = [
            Command::Reload,
            Command::Rollback { plugin },
            Command::Pause {
                pipeline: pipeline.clone(),
            },
            Command::Resume { pipeline },
        ];
        for command in commands {
            let made = client.change(&command).await.unwrap();
            assert_eq!(made, change(ChangeOutcome::Done, &by));
            assert_eq!(served.asked.recv().await, Some((command, by.clone())));
        }
    }
}

#[tokio::test]
async fn what_the_host_says_no_to_is_told_with_its_status_and_its_words() {
    let rows: [(Result<ChangeRecord, Unanswered>, u16); 6] = [
        (Ok(change(ChangeOutcome::Done, "x")), 200),
        (Ok(change(ChangeOutcome::Unchanged, "x")), 200),
        (Ok(change(ChangeOutcome::Refused, "x")), 422),
        (Err(Unanswered::Unknown("no plugin `crop`".to_owned())), 404),
        (Err(Unanswered::Busy), 429),
        (Err(Unanswered::Stopping), 503),
    ];
    for (answer, expected) in rows {
        let scene = Scene::at_socket().await;
        let (socket, client) = (scene.socket(), scene.client());
        let given = answer.clone();
        let _served = scene.serve(move |_| given.clone());
        let stream = UnixStream::connect(socket).await.unwrap();
        let (status, text) = exchange(stream, &request("POST /v1/reload", "")).await;
        assert_eq!(status, expected, "{text}");
        match (answer, client.change(&Command::Reload).await) {
            (Ok(change), made) => assert_eq!(made.unwrap(), change),
            (Err(unanswered), made) => {
                assert_eq!(error_of(&text), unanswered.to_string());
                assert_eq!(made.unwrap_err().to_string(), unanswered.to_string());
            }
        }
    }
}

#[tokio::test]
async fn a_change_is_accepted_before_it_is_made() {
    let mut scene = Scene::at_socket().await;
    scene.client().begin(&Command::Reload).await.unwrap();
    let request = scene.requests.recv().await.unwrap();
    assert_eq!(request.command, Command::Reload);
    let (status, _) = scene.raw("POST /v1/reload?wait=false", "").await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn changes_that_wait_are_bounded_and_keep_nobody_from_looking() {
    let mut scene = Scene::at_socket().await;
    let client = scene.client();
    let refused = loop {
        if let Err(refused) = client.begin(&Command::Reload).await {
            break refused;
        }
    };
    assert!(
        matches!(refused, ClientError::Refused { status: 429, .. }),
        "{refused:?}"
    );
    assert_eq!(client.status().await.unwrap().generation, 3);
    scene.requests.close();
    let stopping = client.begin(&Command::Reload).await.unwrap_err();
    assert!(
        matches!(stopping, ClientError::Refused { status: 503, .. }),
        "{stopping:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_in_words() {
    let scene = Scene::at_socket().await;
    for (line, headers, expected, words) in [
        ("GET /", "", 404, "GET /v1/status"),
        ("GET /metrics", "", 404, "GET /v1/status"),
        ("POST /v1/status", "", 405, "use GET"),
        ("GET /v1/reload", "", 405, "use POST"),
        ("POST /v1/reload?wait=perhaps", "", 400, "wait=false"),
        ("POST /v1/plugins/NO/rollback", "", 400, "a name is"),
        ("POST /v1/reload", "origin: http://localhost\r\n", 403, "web pages"),
        ("GET /v1/status", "origin: null\r\n", 403, "web pages"),
    ] {
        let (status, text) = scene.raw(line, headers).await;
        assert_eq!(status, expected, "{line}: {text}");
        assert!(error_of(&text).contains(words), "{line}: {text}");
    }
    let (_, text) = scene.raw("GET /v1/reload", "").await;
    assert!(text.contains("allow: POST\r\n"), "{text}");
}

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let scene = Scene::at_socket().await;
    let (status, text) = scene.raw("GET /v1/status", "content-length: 2\r\n\r\n{}").await;
    assert_eq!(status, 200, "{text}");
    let large = format!("content-length: 5000\r\n\r\n{}", "x".repeat(5000));
    let (status, text) = scene.raw("POST /v1/reload", &large).await;
    assert_eq!(status, 413, "{text}");
    assert!(error_of(&text).contains("4096"), "{text}");
    let endless =
        "transfer-encoding: chunked\r\n\r\n".to_owned() + &format!("1000\r\n{}\r\n", "x".repeat(4096)).repeat(2);
    assert_eq!(scene.raw("POST /v1/reload", &endless).await.0, 413);
    let head = format!("x: {}\r\n", "x".repeat(20 << 10));
    assert_eq!(scene.raw("GET /v1/status", &head).await.0, 431);
}

#[tokio::test]
async fn a_port_wants_its_token_and_its_name() {
    let scene = Scene::at_port().await;
    let ListenAddress::Address(address) = scene.server.at else {
        panic!("a port");
    };
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    for (host, headers, expected) in [
        ("localhost", token.as_str(), 200),
        ("localhost", "", 401),
        ("localhost", "authorization: Bearer s3cret\r\n", 401),
        ("evil.example", token.as_str(), 403),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        let text = format!("GET /v1/status HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n");
        let (status, text) = exchange(stream, &text).await;
        assert_eq!(status, expected, "{host} {headers}: {text}");
        if expected == 401 {
            assert!(text.contains("www-authenticate: Bearer\r\n"), "{text}");
        }
    }
    let without = Client::new(HostAddress::Tcp(address.to_string()), None)
        .status()
        .await
        .unwrap_err();
    assert!(without.to_string().contains("Bearer TOKEN"), "{without}");
}

/// Time stands still but for those who wait: a client that says nothing is cut off, and a host that works is not.
#[tokio::test(start_paused = true)]
async fn a_slow_client_is_cut_off_and_a_slow_change_is_not() {
    let mut scene = Scene::at_socket().await;
    for begun in [
        "",
        "POST /v1/reload HT",
        "POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut slow = UnixStream::connect(scene.socket()).await.unwrap();
        slow.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{begun}");
    }
    let client = scene.client();
    let asking = tokio::spawn(async move { client.change(&Command::Reload).await });
    let request = scene.requests.recv().await.unwrap();
    tokio::time::advance(Duration::from_secs(600)).await;
    request.reply.send(Ok(change(ChangeOutcome::Done, "x"))).unwrap();
    assert_eq!(asking.await.unwrap().unwrap().outcome, ChangeOutcome::Done);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_its_change_along() {
    let mut scene = Scene::at_socket().await;
    let client = scene.client();
    let asking = tokio::spawn(async move { client.change(&Command::Reload).await });
    let request = scene.requests.recv().await.unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(request.command, Command::Reload, "it was handed over");
    assert_eq!(scene.client().status().await.unwrap(), status());
}

#[tokio::test]
async fn a_host_that_ends_says_so_to_who_waits_and_takes_its_socket_along() {
    let mut scene = Scene::at_socket().await;
    let (client, socket) = (scene.client(), scene.socket());
    let asking = tokio::spawn(async move { client.change(&Command::Reload).await });
    let _request = scene.requests.recv().await.unwrap();
    drop(scene.server);
    let left = asking.await.unwrap().unwrap_err();
    assert!(matches!(left, ClientError::Left(_)), "{left:?}");
    assert!(!socket.exists());
    let away = Client::new(HostAddress::Socket(socket), None)
        .status()
        .await
        .unwrap_err();
    assert!(matches!(away, ClientError::Away { .. }), "{away:?}");
}

#[tokio::test]
async fn a_second_host_has_no_control_of_its_own_and_is_refused_one_that_is_taken() {
    let first = Scene::at_socket().await;
    let second = async |place: &ControlConfig| {
        let (control, _requests) = Control::new(Arc::new(status), Arc::default());
        ControlServer::start(place, &first.folder.path().join("plugins.toml"), control).await
    };
    let taken = second(&ControlConfig::Socket(first.socket())).await;
    assert!(matches!(taken, Err(AdminError::InUse { .. })), "{taken:?}");
    assert!(second(&ControlConfig::Off).await.unwrap().is_none());
    let open = ControlConfig::Tcp {
        address: "127.0.0.1:0".parse().unwrap(),
        token: Secret::new(String::new()),
    };
    assert!(matches!(second(&open).await, Err(AdminError::NoToken { .. })));

    // By itself, at the path that follows from the file's.
    let mine = second(&ControlConfig::Auto)
        .await
        .unwrap()
        .expect("nobody else runs it");
    let found = socket::paths(&first.folder.path().join("plugins.toml")).unwrap();
    assert_eq!(mine.shown(), found[0].display().to_string());
    assert_eq!(
        Client::new(HostAddress::Socket(found[0].clone()), None)
            .status()
            .await
            .unwrap(),
        status()
    );
    assert!(second(&ControlConfig::Auto).await.unwrap().is_none());
    assert!(found[0].exists(), "the first one's is left alone");
    drop(mine);
    assert!(!found[0].exists());
}

#[tokio::test]
async fn an_answer_of_a_stranger_is_told_as_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let strange = Client::new(HostAddress::Tcp(address.to_string()), None)
        .status()
        .await
        .unwrap_err();
    assert!(matches!(strange, ClientError::Strange { .. }), "{strange:?}");
}
