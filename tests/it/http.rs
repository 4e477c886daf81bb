//! Messages by HTTP: the answer is the acknowledgement, nothing is lost, and nobody can take more than is theirs.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::control::{CONTROL, Control};
use millrace_tests::host::{Host, Mill};
use millrace_tests::http::{Answer, Http, address};
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::{Plugin, head};
use millrace_tests::wait_for;
use serde_json::Value;

const PATH: &str = "/classify";
const TOKEN: &str = "a-token-of-the-tests";
const ANSWERS: &str = "millrace_http_answers_total";

/// A pipeline between HTTP and a destination.
struct Scene {
    /// More of the source's table.
    source: &'static str,
    /// More lines of the pipeline's table.
    pipeline: &'static str,
    preprocess: Plugin,
    route: Plugin,
    /// The table of the destination `results`.
    results: &'static str,
}

/// A host with its addresses.
struct Served {
    host: Host,
    admin: Admin,
    address: SocketAddr,
}

impl Scene {
    fn new(source: &'static str, results: &'static str) -> Result<Self> {
        Ok(Self {
            source,
            pipeline: "",
            preprocess: Plugin::shipped("decode-image")?,
            route: Plugin::shipped("by-label")?,
            results,
        })
    }

    fn mill(&self) -> Result<Mill> {
        self.mill_at("127.0.0.1:0")
    }

    fn mill_at(&self, address: &str) -> Result<Mill> {
        Mill::new(&self.text(address))
    }

    fn text(&self, address: &str) -> String {
        let Self {
            source,
            pipeline,
            preprocess,
            route,
            results,
        } = self;
        format!(
            r#"
[host]
admin = "127.0.0.1:0"
{CONTROL}

{head}
[pipeline.images]
source = {{ http = "{address}", path = "{PATH}", {source} }}
preprocess = "{preprocess}"
model = "shapes"
route = "{route}"
{pipeline}

[pipeline.images.destination.results]
{results}
"#,
            head = head(&[preprocess, route]),
            preprocess = preprocess.name(),
            route = route.name(),
        )
    }

    fn serve(&self) -> Result<(Mill, Served)> {
        let mill = self.mill()?;
        let host = mill.start()?;
        Ok((mill, Served::of(host)?))
    }
}

impl Served {
    fn of(mut host: Host) -> Result<Self> {
        let admin = Admin::of(&mut host)?;
        host.wait_ready()?;
        let address = address(&mut host, "images")?;
        Ok(Self { host, admin, address })
    }

    fn connect(&self) -> Result<Http> {
        Http::connect(self.address)
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        self.connect()?.post(PATH, headers, body)
    }

    fn wait_metric(&self, labels: &str, expected: f64) -> Result<()> {
        wait_for(&format!("{labels} {expected}"), || {
            (self.admin.metric(labels).ok()?? == expected).then_some(())
        })
    }

    fn wait_in_flight(&self, n: f64) -> Result<()> {
        self.wait_metric("millrace_in_hand{pipeline=\"images\"}", n)
    }
}

fn one() -> Result<Sample> {
    Ok(pictures()?.swap_remove(0))
}

#[test]
fn the_answer_is_the_result() -> Result<()> {
    let (_mill, served) = Scene::new("prefetch = 4", "answer = true")?.serve()?;
    let samples = pictures()?;
    let mut client = served.connect()?;
    for (n, sample) in samples.iter().enumerate() {
        let id = format!("picture-{n}");
        let answer = client.post(
            PATH,
            &[("X-Message-Id", &id), ("Content-Type", "image/png")],
            &sample.png,
        )?;
        ensure!(answer.status == 200, "{answer:?}");
        assert_eq!(
            answer.json()?["label"],
            sample.label.as_str(),
            "{}",
            sample.path.display()
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-millrace-message-id"), Some(id.as_str()));
        assert_eq!(answer.header("x-millrace-correlation-id"), Some(id.as_str()));
        assert_eq!(answer.header("x-millrace-pipeline"), Some("images"));
        assert!(
            answer
                .header("x-millrace-model")
                .is_some_and(|model| model.starts_with("shapes@"))
        );
    }
    // The same message again is the same result.
    let sample = one()?;
    let again = [(), ()].map(|()| client.post(PATH, &[("X-Message-Id", "twice")], &sample.png));
    let ids = again.map(|answer| answer.map(|answer| answer.header("x-millrace-result-id").map(str::to_owned)));
    let [first, second] = ids;
    let first = first?;
    assert!(first.is_some());
    assert_eq!(first, second?);
    let n_posted = samples.len() + 2;
    assert_eq!(
        served
            .admin
            .metric(&format!("{ANSWERS}{{pipeline=\"images\",status=\"200\"}}"))?,
        Some(n_posted as f64)
    );
    served.host.stop()
}

#[test]
fn a_message_that_is_rejected_is_answered_with_the_reason() -> Result<()> {
    let (mill, served) = Scene::new("", "answer = true")?.serve()?;
    let answer = served.post(&[("X-Message-Id", "bad")], b"Not a picture, but a sentence.")?;
    let body = answer.json()?;
    assert_eq!(answer.status, 422, "{body}");
    assert_eq!(answer.header("x-millrace-reason"), Some("refused"));
    assert_eq!(answer.header("x-millrace-stage"), Some("preprocess"));
    for (field, expected) in [
        ("reason", "refused"),
        ("stage", "preprocess"),
        ("message-id", "bad"),
        ("plugin", "decode-image"),
        ("pipeline", "images"),
        ("attempt", "1"),
    ] {
        assert_eq!(body[field], expected, "{body}");
    }
    assert!(
        body["error"]
            .as_str()
            .is_some_and(|text| text.contains("not a PNG, JPEG")),
        "{body}"
    );
    // Nothing is kept of it, and `dlq` says where the reason went.
    let ended = mill.run(&["dlq", "ls"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("an HTTP source keeps no dead letters"),
        "{ended:?}"
    );
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("pipeline `images` cannot tell when it is empty"),
        "{ended:?}"
    );
    served.host.stop()
}

#[test]
fn what_goes_elsewhere_is_answered_once_it_is_there() -> Result<()> {
    let (mill, served) = Scene::new("", "folder = \"out\"")?.serve()?;
    let (mut client, sample) = (served.connect()?, one()?);
    for id in ["a", "b", "a"] {
        let answer = client.post(PATH, &[("X-Message-Id", id)], &sample.png)?;
        assert_eq!((answer.status, &answer.json()?["message_id"]), (202, &Value::from(id)));
        let envelopes = mill
            .files("out")
            .into_iter()
            .filter(|name| name.ends_with(".envelope.json"));
        let of_it = envelopes.filter(|name| {
            let text = std::fs::read_to_string(mill.path("out").join(name)).unwrap_or_default();
            let envelope: Value = serde_json::from_str(&text).unwrap_or_default();
            envelope["correlation_id"] == id
        });
        assert_eq!(of_it.count(), 1, "{:?}", mill.files("out"));
    }
    assert_eq!(mill.files("out").len(), 4);
    served.host.stop()
}

#[test]
fn a_plugin_that_skips_or_wants_another_attempt_says_so_by_the_status() -> Result<()> {
    let of = |mode: &str| -> Result<Scene> {
        let preprocess = Plugin::with_settings("hostile", &format!("mode = \"{mode}\""))?;
        Ok(Scene {
            preprocess,
            ..Scene::new("", "answer = true")?
        })
    };
    let (_mill, served) = of("skip")?.serve()?;
    let answer = served.post(&[("X-Message-Id", "s")], b"x")?;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.header("x-millrace-message-id"), Some("s"));
    served.host.stop()?;

    let (_mill, served) = of("retry-twice")?.serve()?;
    let mut attempt = "1".to_owned();
    for n in 2..=3 {
        let answer = served.post(&[("X-Millrace-Attempt", &attempt)], b"x")?;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1")),
            "{answer:?}"
        );
        attempt = answer.header("x-millrace-attempt").context("no attempt")?.to_owned();
        assert_eq!(attempt, n.to_string());
    }
    let answer = served.post(&[("X-Millrace-Attempt", &attempt)], b"x")?;
    assert_eq!(answer.status, 200, "{answer:?}");
    served.host.stop()?;

    // What a plugin does to itself is no fault of the message.
    let (_mill, served) = of("panic-on-poison")?.serve()?;
    let answer = served.post(&[], b"poison")?;
    assert_eq!((answer.status, &answer.json()?["reason"]), (500, &Value::from("trap")));
    served.host.stop()
}

#[test]
fn a_request_that_is_none_costs_no_message() -> Result<()> {
    let scene = Scene {
        pipeline: "max_message = \"64KiB\"",
        ..Scene::new("token = \"a-token-of-the-tests\"", "answer = true")?
    };
    let (_mill, served) = scene.serve()?;
    let right = format!("Bearer {TOKEN}");
    let length = |n: usize| format!("Content-Length: {n}\r\n");
    let large = 70 << 10;
    let rows: [(u16, &str, String, Vec<u8>); 8] = [
        (
            404,
            "POST /other",
            format!("Authorization: {right}\r\n{}", length(1)),
            b"x".to_vec(),
        ),
        (405, "GET /classify", format!("Authorization: {right}\r\n"), Vec::new()),
        (401, "POST /classify", length(1), b"x".to_vec()),
        (
            401,
            "POST /classify",
            format!("Authorization: {right}x\r\n{}", length(1)),
            b"x".to_vec(),
        ),
        (
            413,
            "POST /classify",
            format!("Authorization: {right}\r\n{}", length(large)),
            vec![0; large],
        ),
        (
            413,
            "POST /classify",
            format!("Authorization: {right}\r\nTransfer-Encoding: chunked\r\n"),
            [b"12000\r\n".to_vec(), vec![0; 0x12000], b"\r\n0\r\n\r\n".to_vec()].concat(),
        ),
        (
            415,
            "POST /classify",
            format!("Authorization: {right}\r\nContent-Encoding: gzip\r\n{}", length(1)),
            b"x".to_vec(),
        ),
        (
            400,
            "POST /classify",
            format!("Authorization: {right}\r\nX-Millrace-Attempt: many\r\n{}", length(1)),
            b"x".to_vec(),
        ),
    ];
    for (status, line, headers, body) in rows {
        let mut client = served.connect()?;
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        client.send(&[head.as_bytes(), &body].concat())?;
        let answer = client.answer().with_context(|| format!("{line} {headers}"))?;
        assert_eq!(answer.status, status, "{line} {headers}: {answer:?}");
        assert!(answer.json()?["error"].is_string(), "{answer:?}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(
        served.admin.metric("millrace_taken_total{pipeline=\"images\"}")?,
        Some(0.0)
    );
    // A body that is announced is asked for only where it is wanted.
    for (wanted, headers) in [(true, right.as_str()), (false, "Bearer nothing-of-the-kind")] {
        let mut client = served.connect()?;
        let body = one()?.png;
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {headers}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes())?;
        let answer = client.answer()?;
        assert_eq!(answer.status, if wanted { 100 } else { 401 });
        if wanted {
            client.send(&body)?;
            assert_eq!(client.answer()?.status, 200);
        }
    }
    served.host.stop()
}

#[test]
fn a_slow_client_keeps_its_connection_for_ten_seconds_and_no_slot() -> Result<()> {
    let (_mill, served) = Scene::new("prefetch = 1", "answer = true")?.serve()?;
    let mut slow = served.connect()?;
    slow.send(b"POST /classify HTTP/1.1\r\nHost: local")?;
    // It has no slot.
    assert_eq!(served.post(&[], &one()?.png)?.status, 200);
    slow.wait_closed()?;
    // A body that does not come has one for five seconds.
    let mut slow = served.connect()?;
    slow.send(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx")?;
    assert_eq!(slow.answer()?.status, 408);
    slow.wait_closed()?;
    assert_eq!(served.post(&[], &one()?.png)?.status, 200);
    served.host.stop()
}

#[test]
fn every_one_of_many_requests_is_answered_exactly_once() -> Result<()> {
    let (n_threads, n_each) = (16, 13);
    let (_mill, served) = Scene::new("prefetch = 8", "answer = true")?.serve()?;
    let (samples, address) = (pictures()?, served.address);
    let client = |thread: usize| -> Result<usize> {
        let (mut client, mut n_busy) = (Http::connect(address)?, 0);
        for n in 0..n_each {
            let id = format!("{thread}-{n}");
            let sample = samples.get((thread + n) % samples.len()).context("no sample")?;
            loop {
                let answer = client.post(PATH, &[("X-Message-Id", &id)], &sample.png)?;
                if answer.status == 429 {
                    ensure!(answer.header("retry-after") == Some("1"), "{answer:?}");
                    n_busy += 1;
                    continue;
                }
                ensure!(answer.status == 200, "{answer:?}");
                ensure!(answer.header("x-millrace-message-id") == Some(&id), "{id}: {answer:?}");
                ensure!(answer.json()?["label"] == sample.label.as_str(), "{id}: {answer:?}");
                break;
            }
        }
        Ok(n_busy)
    };
    let n_busy = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads)
            .map(|thread| scope.spawn(move || client(thread)))
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a client panicked")?);
        joined.sum::<Result<usize>>()
    })?;
    let answers = |status: &str| {
        let metric = format!("{ANSWERS}{{pipeline=\"images\",status=\"{status}\"}}");
        Ok::<_, anyhow::Error>(served.admin.metric(&metric)?.unwrap_or_default())
    };
    let n_messages = (n_threads * n_each) as f64;
    assert_eq!(answers("200")?, n_messages);
    assert_eq!(answers("429")?, n_busy as f64);
    assert_eq!(
        served.admin.metric("millrace_taken_total{pipeline=\"images\"}")?,
        Some(n_messages)
    );
    served.host.stop()
}

#[test]
fn a_drain_answers_what_is_in_flight_and_refuses_the_rest() -> Result<()> {
    let scene = Scene::new("prefetch = 2", "answer = true")?;
    let mill = scene.mill()?;
    let gate = mill.path("gate");
    std::fs::write(&gate, "")?;
    let served = Served::of(mill.start_failing(&format!("preprocess=while:{}", gate.display()))?)?;
    let sample = one()?;
    let (mut first, mut second, mut kept) = (served.connect()?, served.connect()?, served.connect()?);
    first.begin(PATH, &[("X-Message-Id", "first")], &sample.png)?;
    second.begin(PATH, &[("X-Message-Id", "second")], &sample.png)?;
    served.wait_in_flight(2.0)?;
    let busy = kept.post(PATH, &[], &sample.png)?;
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("1")));

    served.host.terminate()?;
    served.admin.wait_ready(503, "draining")?;
    let refused = wait_for("an answer of 503", || {
        let answer = kept.post(PATH, &[], &sample.png).ok()?;
        (answer.status == 503).then_some(answer)
    })?;
    assert_eq!(refused.header("retry-after"), Some("5"));
    std::fs::remove_file(&gate)?;
    for (client, id) in [(&mut first, "first"), (&mut second, "second")] {
        let answer = client.answer()?;
        assert_eq!((answer.status, answer.header("x-millrace-message-id")), (200, Some(id)));
    }
    kept.wait_closed()?;
    assert!(served.host.wait_end()?.success());
    Ok(())
}

#[test]
fn a_drain_that_is_cut_off_tells_clients_to_come_again() -> Result<()> {
    let scene = Scene::new("", "answer = true")?;
    let text = scene.text("127.0.0.1:0").replace("[host]", "[host]\ndrain = \"1s\"");
    let mill = Mill::new(&text)?;
    let gate = mill.path("gate");
    std::fs::write(&gate, "")?;
    let served = Served::of(mill.start_failing(&format!("preprocess=while:{}", gate.display()))?)?;
    let mut client = served.connect()?;
    client.begin(PATH, &[("X-Message-Id", "mine")], &one()?.png)?;
    served.wait_in_flight(1.0)?;
    served.host.terminate()?;
    let answer = client.answer()?;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1")),
        "{answer:?}"
    );
    assert_eq!(answer.header("x-millrace-message-id"), Some("mine"));
    assert_eq!(served.host.wait_end()?.code(), Some(3));
    Ok(())
}

#[test]
fn a_client_that_left_costs_its_message_alone() -> Result<()> {
    let scene = Scene::new("prefetch = 1, answer_within = \"60s\"", "answer = true")?;
    let mill = scene.mill()?;
    let gate = mill.path("gate");
    std::fs::write(&gate, "")?;
    let served = Served::of(mill.start_failing(&format!("preprocess(left)=while:{}", gate.display()))?)?;
    let mut client = served.connect()?;
    client.begin(PATH, &[("X-Message-Id", "left")], &one()?.png)?;
    served.wait_in_flight(1.0)?;
    drop(client);
    served.wait_metric(&format!("{ANSWERS}{{pipeline=\"images\",status=\"none\"}}"), 1.0)?;
    std::fs::remove_file(&gate)?;
    served.wait_metric(
        "millrace_settled_total{pipeline=\"images\",outcome=\"lost\",class=\"\"}",
        1.0,
    )?;
    assert_eq!(served.post(&[], &one()?.png)?.status, 200);
    served.host.stop()
}

#[test]
fn a_destination_that_is_away_is_not_the_clients_message_lost() -> Result<()> {
    let (mill, served) = Scene::new("answer_within = \"1s\"", "folder = \"out\"")?.serve()?;
    let out = mill.path("out");
    std::fs::remove_dir(&out)?;
    std::fs::write(&out, "in the way")?;
    let sample = one()?;
    let late = served.post(&[("X-Message-Id", "late")], &sample.png)?;
    assert_eq!(
        (late.status, late.header("x-millrace-message-id")),
        (504, Some("late")),
        "{late:?}"
    );
    // The source does not take what would only wait.
    wait_for("an answer of 503", || {
        let answer = served.post(&[], &sample.png).ok()?;
        (answer.status == 503 && answer.header("retry-after") == Some("5")).then_some(())
    })?;
    std::fs::remove_file(&out)?;
    std::fs::create_dir(&out)?;
    wait_for("an answer of 202", || {
        let answer = served.post(&[("X-Message-Id", "late")], &sample.png).ok()?;
        (answer.status == 202).then_some(())
    })?;
    served.host.stop()
}

#[test]
fn a_changed_source_takes_over_without_a_request_that_is_lost() -> Result<()> {
    let scene = Scene::new("prefetch = 32", "answer = true")?;
    let (mill, served) = scene.serve()?;
    // With the port that was free: the same address, with other settings.
    let at = served.address.to_string();
    let control = Control(mill.path("control.sock"));
    let (samples, address) = (pictures()?, served.address);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let n_answers = std::thread::scope(|scope| -> Result<usize> {
        let client = || -> Result<usize> {
            let (mut client, mut n) = (Http::connect(address)?, 0);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let sample = samples.get(n % samples.len()).context("no sample")?;
                let answer = client.post(PATH, &[], &sample.png)?;
                ensure!(answer.status == 200, "{answer:?}");
                ensure!(answer.header("connection").is_none(), "a connection breaks: {answer:?}");
                n += 1;
            }
            Ok(n)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let changed = (0..6).try_for_each(|n| {
            let text = scene
                .text(&at)
                .replace("prefetch = 32", &format!("prefetch = {}", 40 + n));
            std::fs::write(mill.path("plugins.toml"), text)?;
            let change = control.reload()?;
            ensure!(change["outcome"] == "done", "{change}");
            Ok(())
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a client panicked")?);
        let n_answers = joined.sum::<Result<usize>>()?;
        changed.map(|()| n_answers)
    })?;
    ensure!(n_answers > 0);
    // What the sources before counted is not forgotten.
    let counted = served
        .admin
        .metric(&format!("{ANSWERS}{{pipeline=\"images\",status=\"200\"}}"))?;
    assert_eq!(counted, Some(n_answers as f64));
    served.host.stop()
}

#[test]
fn an_address_that_is_taken_is_said_at_the_start() -> Result<()> {
    let scene = Scene::new("", "answer = true")?;
    let (_mill, served) = scene.serve()?;
    let ended = scene
        .mill_at(&served.address.to_string())?
        .run(&["run", "plugins.toml"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = format!("cannot listen at {}: Address already in use", served.address);
    assert!(ended.stderr.contains(&said), "{ended:?}");
    served.host.stop()
}

#[test]
fn web_pages_send_nothing_without_a_token() -> Result<()> {
    let (_mill, served) = Scene::new("", "answer = true")?.serve()?;
    let sample = one()?;
    assert_eq!(
        served.post(&[("Origin", "http://evil.example")], &sample.png)?.status,
        403
    );
    let mut client = served.connect()?;
    client.send(b"POST /classify HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx")?;
    assert_eq!(client.answer()?.status, 403);
    assert_eq!(served.post(&[], &sample.png)?.status, 200);
    served.host.stop()
}

#[test]
fn a_killed_hosts_clients_send_again() -> Result<()> {
    let scene = Scene::new("", "folder = \"out\"")?;
    let mill = scene.mill()?;
    let served = Served::of(mill.start_failing("confirmed=abort")?)?;
    let sample = one()?;
    // The result is there, and the client was not told.
    assert!(served.post(&[("X-Message-Id", "mine")], &sample.png).is_err());
    let files = wait_for("the result", || {
        Some(mill.files("out")).filter(|files| files.len() == 2)
    })?;
    let served = Served::of(mill.start()?)?;
    assert_eq!(served.post(&[("X-Message-Id", "mine")], &sample.png)?.status, 202);
    assert_eq!(mill.files("out"), files, "the same result has the same id");
    served.host.stop()
}
