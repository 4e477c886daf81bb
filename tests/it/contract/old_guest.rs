//! What was built against the released contract runs on this host, in every role.

use anyhow::{Context, Result, bail};
use millrace::config::PluginConfig;
use millrace::disposition::ReasonClass;
use millrace::message::{Element, Message, Prediction, Tensor, TensorData, TensorType};
use millrace::sandbox::{CallError, Compiler, PluginRefusal, Role, Sandbox, TransformOf};
use millrace_tests::host::Mill;
use millrace_tests::samples::guest;
use millrace_tests::scene::head;

use crate::sandbox::{COMPONENT, MODULE, config, message, wants};

const GUEST: &str = "released-0-1-0";
const SETTINGS: &str = r#"{"boolean":false,"integer":7,"number":0.25,"text":"white","array":[1],"table":{"a":1}}"#;

fn old(target: &str) -> Result<PluginConfig> {
    Ok(PluginConfig {
        settings: SETTINGS.to_owned(),
        ..config(guest(target, GUEST)?)
    })
}

#[tokio::test]
async fn it_preprocesses() -> Result<()> {
    let sandbox = Sandbox::start(1, Compiler::InProcess)?;
    let lane = sandbox.lane(1);
    for target in [COMPONENT, MODULE] {
        let plugin = sandbox.load(&old(target)?, Role::Preprocess)?;
        let tensor = plugin.preprocess(&lane, &message("m", b"*"), &wants()).await.answer?;
        assert!(
            *tensor.data() == TensorData::Bytes(vec![b'*'; 3 * 32 * 32]),
            "{tensor:?}"
        );
        let floats = TensorType {
            shape: vec![2, 3],
            element: Element::Float,
        };
        let answer = plugin
            .preprocess(&lane, &message("m", b"*"), &floats.into())
            .await
            .answer;
        assert!(*answer?.data() == TensorData::Floats(vec![42.0; 6]));
        assert_refuses(|body| {
            let (plugin, lane) = (&plugin, &lane);
            async move {
                plugin
                    .preprocess(lane, &message("m", body), &wants())
                    .await
                    .answer
                    .map(|_| ())
            }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn it_routes() -> Result<()> {
    let sandbox = Sandbox::start(1, Compiler::InProcess)?;
    let lane = sandbox.lane(1);
    let sent = Message {
        id: "m-1".to_owned(),
        correlation_id: Some("c-1".to_owned()),
        source: "images".to_owned(),
        key: "a.b".to_owned(),
        attempt: 2,
        redelivered: true,
        content_type: Some("image/png".to_owned()),
        headers: vec![("key".to_owned(), "cats.tabby".to_owned())],
        ..(*message("", b"body")).clone()
    };
    let prediction = Prediction {
        model: "shapes".into(),
        labels: ["circle", "square"].map(str::to_owned).into(),
        scores: vec![0.25, 0.75],
        outputs: vec![Tensor::new(vec![2], TensorData::Floats(vec![0.5, 1.5]))?],
    };
    let expected = format!(
        r#"settings={SETTINGS}
id=m-1
correlation-id=Some("c-1")
reply-to=None
source=images
key=a.b
attempt=2
redelivered=true
content-type=Some("image/png")
body=body
model=shapes
top=1 square 0.75
top=0 circle 0.25
output=[2] Element::Float Some(2)"#
    );
    for target in [COMPONENT, MODULE] {
        let plugin = sandbox.load(&old(target)?, Role::Route)?;
        let results = plugin
            .route(&lane, &sent.clone().into(), &prediction.clone().into())
            .await
            .answer?;
        let [result] = results.as_slice() else {
            bail!("{results:?}");
        };
        assert_eq!(String::from_utf8_lossy(&result.body), expected);
        assert_eq!(result.destination, "results");
        assert_eq!(result.key.as_deref(), Some("cats.tabby"));
        assert_eq!(result.content_type.as_deref(), Some("text/plain"));
        assert_eq!(result.headers, sent.headers);
        assert_refuses(|body| {
            let (plugin, lane, prediction) = (&plugin, &lane, prediction.clone().into());
            async move {
                plugin
                    .route(lane, &message("m", body), &prediction)
                    .await
                    .answer
                    .map(|_| ())
            }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn it_transforms() -> Result<()> {
    let sandbox = Sandbox::start(1, Compiler::InProcess)?;
    let lane = sandbox.lane(1);
    let sent = Message {
        content_type: Some("text/plain".to_owned()),
        headers: vec![("a".to_owned(), "b".to_owned())],
        ..(*message("m", b"body")).clone()
    };
    for target in [COMPONENT, MODULE] {
        let plugin = sandbox.load(&old(target)?, Role::Transform)?;
        for of in [
            TransformOf::Message { max_bytes: 1 << 20 },
            TransformOf::Result { max_bytes: 8 << 20 },
        ] {
            let made = plugin.transform(&lane, &sent.clone().into(), of).await.answer?;
            assert_eq!(String::from_utf8_lossy(&made.body), "body transformed");
            assert_eq!(made.content_type, sent.content_type);
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            assert_eq!(made.headers, [header("a", "b"), header("transformed", "yes")]);
        }
        assert_refuses(|body| {
            let (plugin, lane) = (&plugin, &lane);
            async move {
                let answer = plugin
                    .transform(lane, &message("m", body), TransformOf::Result { max_bytes: 8 << 20 })
                    .await;
                answer.answer.map(|_| ())
            }
        })
        .await?;
    }
    Ok(())
}

/// What it says of itself is what it is checked by.
#[test]
fn its_settings_are_known() -> Result<()> {
    let rows = [
        ("integer = 3, text = \"white\", table = { any = 1 }", &[][..]),
        ("boolean = true", &["`boolean` must not be true"]),
        ("boolean = 1", &["`boolean` must be `true` or `false`"]),
        ("integer = 0.5", &["`integer` must be an integer"]),
        (
            "text = \"grey\"",
            &["`text` has no such choice", "it is one of `black`, `white`"],
        ),
        ("intger = 3", &["no setting `intger`, did you mean `integer`?"]),
    ];
    for (settings, expected) in rows {
        let ended = mill(settings)?.run(&["check", "plugins.toml"])?;
        let code = if expected.is_empty() { 0 } else { 2 };
        assert_eq!(ended.code, Some(code), "{settings}: {ended:?}");
        for part in expected {
            assert!(
                ended.stderr.contains(part),
                "{settings}: no {part:?} in:\n{}",
                ended.stderr
            );
        }
    }
    Ok(())
}

#[test]
fn it_runs_in_a_pipeline_in_every_role() -> Result<()> {
    let mill = mill("")?;
    std::fs::write(mill.path("inbox/one.txt"), "*")?;
    std::fs::write(mill.path("inbox/two.txt"), "trap")?;
    let ended = mill.run(&["run", "plugins.toml", "--once", "--log-format", "json"])?;
    assert_eq!(mill.files("inbox/done"), ["one.txt"], "{ended:?}");
    assert_eq!(
        mill.files("inbox/dead"),
        ["two.txt", "two.txt.reason.json"],
        "{ended:?}"
    );
    let result = std::fs::read_to_string(mill.path("out/one.txt.txt"))?;
    for part in ["\nkey=one.txt\n", "\nbody=*\n", "\nmodel=shapes\n", "\noutput=["] {
        assert!(result.contains(part), "no {part:?} in {result}");
    }
    assert!(result.ends_with(" transformed"), "{result}");
    let said = ended.stderr.contains("the released plugin says something");
    assert!(said, "{ended:?}");
    Ok(())
}

/// The same file as a plugin of each role.
fn mill(settings: &str) -> Result<Mill> {
    let (head, path) = (head(&[]), guest(COMPONENT, GUEST)?);
    let plugin = |name: &str| format!("[plugin.{name}]\npath = {path:?}\nsettings = {{ {settings} }}\n");
    let plugins = [plugin("old-turn"), plugin("old-decode"), plugin("old-route")].join("\n");
    let mill = Mill::new(&format!(
        r#"
{head}
{plugins}
[pipeline.all]
source = {{ folder = "inbox" }}
preprocess = ["old-turn", "old-decode"]
model = "shapes"
route = ["old-route", "old-turn"]

[pipeline.all.destination.results]
folder = "out"
"#
    ))?;
    std::fs::create_dir(mill.path("inbox"))?;
    Ok(mill)
}

/// Whatever it is, it refuses as the message says.
async fn assert_refuses<F>(call: impl Fn(&'static [u8]) -> F) -> Result<()>
where
    F: Future<Output = Result<(), CallError>>,
{
    let why = || "the message says so".to_owned();
    let rows: [(&[u8], PluginRefusal); 3] = [
        (b"reject", PluginRefusal::Reject(why())),
        (b"retry", PluginRefusal::Retry(why())),
        (b"skip", PluginRefusal::Skip(why())),
    ];
    for (body, expected) in rows {
        match call(body).await {
            Err(CallError::Refused(refusal)) => assert_eq!(refusal, expected),
            other => bail!("{expected:?}: {other:?}"),
        }
    }
    match call(b"trap").await.err().context("it did not trap")? {
        CallError::Fault { class, .. } => assert_eq!(class, ReasonClass::Trap),
        other => bail!("{other:?}"),
    }
    Ok(())
}
