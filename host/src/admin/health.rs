//! Whether every pipeline can take, and why not: `/readyz`.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;

use super::Answer;
use super::view::{Phase, PipelineState, PipelineView, View};
use crate::connect::amqp::Publishing;

/// The body: `{"ready":false,"phase":"running","pipelines":{"images":{"ready":false,"why":["..."]}}}`.
#[derive(Debug, Serialize)]
struct Health<'v> {
    ready: bool,
    phase: &'static str,
    pipelines: BTreeMap<&'v str, PipelineHealth>,
}

#[derive(Debug, Serialize)]
struct PipelineHealth {
    ready: bool,
    why: Vec<String>,
}

/// 200 where every pipeline can take, else 503; with each pipeline's reasons.
pub(super) fn answer(view: &View) -> Answer {
    let pipelines = view.pipelines.iter().map(|pipeline| {
        let why = why(view, pipeline);
        let ready = why.is_empty();
        (pipeline.name.as_str(), PipelineHealth { ready, why })
    });
    let pipelines: BTreeMap<_, _> = pipelines.collect();
    let health = Health {
        ready: pipelines.values().all(|pipeline| pipeline.ready),
        phase: match view.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
        },
        pipelines,
    };
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    match serde_json::to_string(&health) {
        Ok(text) => Answer {
            status,
            content_type: "application/json",
            text: text + "\n",
        },
        Err(error) => Answer {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            content_type: super::PLAIN,
            text: format!("{error}\n"),
        },
    }
}

/// Why a pipeline takes nothing: every reason that there is.
fn why(view: &View, pipeline: &PipelineView) -> Vec<String> {
    let mut why = Vec::new();
    match view.phase {
        Phase::Starting => why.push("starting: models are warmed up and sources opened".to_owned()),
        Phase::Draining => why.push("draining".to_owned()),
        Phase::Running => {}
    }
    match pipeline.state {
        PipelineState::Draining if view.phase == Phase::Running => why.push("finishing what is in hand".to_owned()),
        PipelineState::Paused => why.push("paused".to_owned()),
        PipelineState::Starting | PipelineState::Running | PipelineState::Draining => {}
    }
    if let Some(broker) = view.broker.as_ref().filter(|_| pipeline.uses_broker) {
        match broker.publishing {
            Publishing::Connecting => why.push("waiting for the broker".to_owned()),
            Publishing::Blocked => why.push("blocked by the broker: it is short of memory or disk".to_owned()),
            Publishing::Open if !pipeline.is_open => why.push("waiting for its source".to_owned()),
            Publishing::Open => {}
        }
    }
    if let Some(holding) = &pipeline.holding {
        let (n_held, what, lasts_s) = (holding.n_held, &holding.what, holding.lasts.as_secs());
        why.push(format!("holding {n_held} for {lasts_s} s: {what}"));
    }
    if let Some(opened) = &pipeline.breaker {
        let (culprit, class, lasts_s) = (&opened.culprit, opened.class, opened.lasts.as_secs());
        let probe = match opened.probe_in.as_secs() {
            0 => "a probe is due".to_owned(),
            seconds => format!("the next probe is in {seconds} s"),
        };
        why.push(format!("breaker open for {lasts_s} s by {culprit} ({class}): {probe}"));
    }
    why
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::view;
    use super::*;
    use crate::breaker::{Culprit, Opened};
    use crate::config::Name;
    use crate::connect::Holding;
    use crate::connect::amqp::Status;
    use crate::disposition::{ReasonClass, Stage};

    fn ready() -> View {
        View {
            phase: Phase::Running,
            broker: Some(Status {
                is_consuming: true,
                publishing: Publishing::Open,
                n_consuming_made: 1,
                n_publishing_made: 1,
            }),
            pipelines: vec![view::PipelineView {
                name: Name::new("images").expect("a name"),
                state: PipelineState::Running,
                uses_broker: true,
                is_open: true,
                holding: None,
                breaker: None,
                attention: None,
                n_opened: 0,
                counts: Default::default(),
            }],
            generation: Some(1),
            changes: Vec::new(),
            models: Default::default(),
            plugins: Vec::new(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut View), status: u16, expected: &str) {
        let mut view = ready();
        change(&mut view);
        let answer = answer(&view);
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert!(answer.text.contains(expected), "{}", answer.text);
    }

    fn broker(view: &mut View) -> &mut Status {
        view.broker.as_mut().expect("a broker")
    }

    #[test]
    fn what_keeps_a_pipeline_from_taking_is_said() {
        let all = r#"{"ready":true,"phase":"running","pipelines":{"images":{"ready":true,"why":[]}}}"#;
        check(|_| (), 200, all);
        check(|view| view.phase = Phase::Starting, 503, r#""phase":"starting""#);
        check(|view| view.phase = Phase::Draining, 503, r#""why":["draining"]"#);
        check(
            |view| broker(view).publishing = Publishing::Connecting,
            503,
            "waiting for the broker",
        );
        check(
            |view| broker(view).publishing = Publishing::Blocked,
            503,
            "blocked by the broker",
        );
        check(|view| view.pipelines[0].is_open = false, 503, "waiting for its source");
        let folder = |view: &mut View| {
            broker(view).publishing = Publishing::Blocked;
            view.pipelines[0].uses_broker = false;
        };
        check(folder, 200, all);
        let holding = Holding {
            n_held: 2,
            what: "queue `a\"b`".to_owned(),
            lasts: Duration::from_secs(7),
        };
        let said = r#"holding 2 for 7 s: queue `a\"b`"#;
        check(|view| view.pipelines[0].holding = Some(holding), 503, said);
        let opened = Opened {
            culprit: Culprit {
                stage: Stage::Preprocess,
                name: "crop".to_owned(),
                digest: "0123456789abcdef".to_owned(),
            },
            class: ReasonClass::Trap,
            lasts: Duration::from_secs(3),
            probe_in: Duration::from_secs(2),
        };
        let said = "breaker open for 3 s by plugin `crop` (0123456789ab) (trap): the next probe is in 2 s";
        check(|view| view.pipelines[0].breaker = Some(opened), 503, said);
    }
}
