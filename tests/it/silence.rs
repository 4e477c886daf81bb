//! A broker that accepts and then says nothing, at each step of AMQP: the host says what it waits for, gives the
//! connection up within its limit, and messages move again when the broker speaks. And what stands still is told.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::admin::Admin;
use millrace_tests::control::{CONTROL, Control};
use millrace_tests::fake_broker::{FakeBroker, Silence, StoredMessage};
use millrace_tests::host::{Host, Mill};
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;
use millrace_tests::{PATIENCE, wait_at_most, wait_for};

const RAW: &str = "image/x-rgb";

/// From the moment that the broker speaks until a message is through: the limits of an answer (2 s) and of a confirm (1 s
/// here), and the longest pause between two tries (10 s), for the connection and then for the consumer; and as much again
/// for a busy machine. A host that is stuck stays so.
const BOUND: Duration = Duration::from_secs(60);

/// A host between queues of a broker that falls silent.
struct Run {
    broker: FakeBroker,
    mill: Mill,
    host: Host,
    admin: Admin,
    n_stored: usize,
    picture: Vec<u8>,
}

impl Run {
    fn start(silence: Option<Silence>, failpoints: &str) -> Result<Self> {
        let scene = Scene::at(String::new())?;
        let broker = FakeBroker::start(&scene.input, Vec::new())?;
        broker.confirm_all();
        if let Some(silence) = silence {
            broker.fall_silent(silence);
        }
        let scene = Scene {
            url: format!("{}\"\nconfirm_timeout = \"1s\"\nanswer_timeout = \"2s", broker.url()),
            tables: format!("[host]\nadmin = \"127.0.0.1:0\"\n{CONTROL}\n"),
            ..scene
        };
        let mill = scene.mill()?;
        let mut host = match failpoints {
            "" => mill.start()?,
            failpoints => mill.start_failing(&failpoints.replace("MILL", &mill.path("").display().to_string()))?,
        };
        let admin = Admin::of(&mut host)?;
        Ok(Self {
            broker,
            mill,
            host,
            admin,
            n_stored: 0,
            picture: pictures()?.first().context("no sample")?.raw()?,
        })
    }

    /// Puts another message into the queue.
    fn push(&mut self, id: &str) -> Result<()> {
        self.n_stored += 1;
        self.broker.push(StoredMessage::new(RAW, id, self.picture.clone()))
    }

    /// Waits until every message so far was acknowledged.
    fn expect_all(&self) -> Result<()> {
        let all = wait_at_most(BOUND, "every message to be acknowledged", || {
            let mut acked = self.broker.acked();
            acked.sort_unstable();
            acked.dedup();
            (acked.len() >= self.n_stored).then_some(())
        });
        all.with_context(|| format!("the host's log:\n{}", self.host.log()))
    }
}

#[test]
fn a_broker_that_falls_silent_at_any_step_costs_a_connection_and_no_more() -> Result<()> {
    let steps = [
        (Silence::Accept, "`connection.start`"),
        (Silence::Method(10, 11), "`connection.tune`"),
        (Silence::Method(10, 40), "`connection.open`"),
        (Silence::Method(20, 10), "`channel.open`"),
        (Silence::Method(50, 10), "`queue.declare`"),
        (Silence::Declare(".quarantine"), "`queue.declare`"),
        (Silence::Method(60, 10), "`basic.qos`"),
        (Silence::Method(60, 20), "`basic.consume`"),
        (Silence::Method(60, 70), "`basic.get`"),
        (Silence::Method(85, 10), "`confirm.select`"),
        // A publish, which is named as what is held for it.
        (Silence::Method(60, 40), "holding 1 for"),
    ];
    let mut run = Run::start(None, "")?;
    run.admin.wait_ready(200, "")?;
    run.push("first")?;
    run.expect_all()?;
    for (silence, named) in steps {
        run.broker.fall_silent(silence);
        run.broker.cut();
        if matches!(silence, Silence::Method(85, 10) | Silence::Method(60, 40)) {
            // Asked for by the first that is published.
            run.push(named)?;
        }
        let said = run.admin.wait_ready(503, named);
        said.with_context(|| format!("{silence:?}, {} times\n{}", run.broker.n_silent(), run.host.log()))?;
        // Again and again, and never to the end of the patience of a connection.
        wait_for("a second try", || (run.broker.n_silent() > 1).then_some(()))
            .with_context(|| format!("{silence:?}\n{}", run.host.log()))?;
        run.broker.speak();
        let began = Instant::now();
        run.push(&format!("{silence:?}"))?;
        run.expect_all().with_context(|| format!("{silence:?}"))?;
        println!("{silence:?}: messages moved again after {:?}", began.elapsed());
        run.admin.wait_ready(200, "").with_context(|| format!("{silence:?}"))?;
    }
    run.host.stop()
}

#[test]
fn acknowledgements_that_a_silent_broker_swallows_are_noticed_by_a_question() -> Result<()> {
    let mut run = Run::start(None, "")?;
    run.admin.wait_ready(200, "")?;
    run.broker.fall_silent(Silence::Method(60, 80));
    run.push("swallowed")?;
    wait_for("an acknowledgement", || (run.broker.n_silent() > 0).then_some(()))?;
    // Nothing is owed an answer now, and there is no heartbeat.
    run.broker.speak();
    run.expect_all()?;
    run.host.stop()
}

#[test]
fn a_start_that_waits_says_for_what() -> Result<()> {
    let mut run = Run::start(Some(Silence::Accept), "")?;
    run.host.wait_line(
        PATIENCE,
        "still waiting for the broker to answer with `connection.start`",
    )?;
    let health = run
        .admin
        .wait_ready(503, "the broker to answer with `connection.start`")?;
    ensure!(!health.contains("warm"), "{health}");
    run.broker.speak();
    run.admin.wait_ready(200, "")?;
    run.push("a")?;
    run.expect_all()?;
    run.host.stop()
}

#[test]
fn a_host_leaves_a_silent_broker_in_time() -> Result<()> {
    for silence in [Silence::Method(10, 50), Silence::Accept, Silence::Method(85, 10)] {
        let run = Run::start(None, "")?;
        run.admin.wait_ready(200, "")?;
        run.broker.fall_silent(silence);
        if silence != Silence::Method(10, 50) {
            run.broker.cut();
            run.admin.wait_ready(503, "")?;
        }
        let began = Instant::now();
        run.host.terminate()?;
        let ended = run.host.wait_end()?;
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(20), "{silence:?}: {took:?}");
        ensure!(ended.success(), "{silence:?}: {ended}");
    }
    Ok(())
}

#[test]
fn a_pipeline_that_stands_still_says_so_and_says_when_it_moves() -> Result<()> {
    let mut run = Run::start(None, "delivered(stuck)=while:MILL/stuck,stall=fail")?;
    run.admin.wait_ready(200, "")?;
    let stuck = run.mill.path("stuck");
    std::fs::write(&stuck, "")?;
    run.push("stuck")?;
    let health = run.admin.wait_ready(503, "stalled: nothing has moved for")?;
    ensure!(health.contains("1 in flight (1 waiting or being settled)"), "{health}");
    ensure!(
        run.admin.metric("millrace_stalled{pipeline=\"images\"}")? == Some(1.0),
        "no metric"
    );
    // The connection is made again meanwhile, and that is said first.
    let control = Control(run.mill.path("control.sock"));
    wait_for("the state", || {
        let status = control.status().ok()?;
        let shown = run.mill.run(&["status"]).ok()?;
        (status["pipelines"][0]["state"] == "stalled" && shown.stdout.contains("stalled")).then_some(())
    })?;
    // It is with the broker, as far as anybody can tell: given up, and made again.
    run.host.wait_lines(PATIENCE, 4, "connected to the broker")?;
    std::fs::remove_file(stuck)?;
    run.host.wait_line(PATIENCE, "the pipeline moves again")?;
    run.expect_all()?;
    run.admin.wait_ready(200, "")?;
    run.host.stop()
}
