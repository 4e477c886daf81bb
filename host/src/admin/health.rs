//! Whether every pipeline can take, and why not: `/readyz`.

use hyper::StatusCode;

use super::Answer;
use super::view::{HostPhase, PipelineState, PipelineView, View};
use crate::control::{PipelineReadiness, Readiness};

/// 200 where every pipeline can take, else 503; with each pipeline's reasons:
/// `{"ready":false,"phase":"running","pipelines":{"images":{"ready":false,"why":["..."]}}}`.
pub(super) fn answer(view: &View) -> Answer {
    let readiness = readiness(view);
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    match serde_json::to_string(&readiness) {
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

/// Whether every pipeline can take, and each one's reasons why not.
pub fn readiness(view: &View) -> Readiness {
    let pipelines = view.pipelines.iter().map(|pipeline| {
        let why = why(view, pipeline);
        let ready = why.is_empty();
        (pipeline.name.to_string(), PipelineReadiness { ready, why })
    });
    let pipelines: std::collections::BTreeMap<_, _> = pipelines.collect();
    Readiness {
        ready: pipelines.values().all(|pipeline| pipeline.ready),
        phase: view.phase.as_str().to_owned(),
        pipelines,
    }
}

/// Why a pipeline takes nothing: every reason that there is.
fn why(view: &View, pipeline: &PipelineView) -> Vec<String> {
    let mut why = Vec::new();
    match view.phase {
        HostPhase::Starting => why.push(match &view.doing {
            Some(doing) => format!("starting: {doing}"),
            None => "starting".to_owned(),
        }),
        HostPhase::Draining => why.push("draining".to_owned()),
        HostPhase::Running => {}
    }
    match pipeline.state {
        PipelineState::Draining if view.phase == HostPhase::Running => {
            why.push("finishing the messages in flight".to_owned())
        }
        PipelineState::Paused => why.push("paused".to_owned()),
        PipelineState::Starting | PipelineState::Running | PipelineState::Draining => {}
    }
    for (name, connection) in view.connections_of(pipeline) {
        // Two of its connections that wait for one broker wait for the same.
        for waits in &connection.why {
            let waits = match &name.0 {
                None => waits.clone(),
                Some(_) => format!("{name}: {waits}"),
            };
            if !why.contains(&waits) {
                why.push(waits);
            }
        }
    }
    if !pipeline.is_open && pipeline.state == PipelineState::Running {
        match &pipeline.source {
            // Where the connection is at fault, that is said.
            Some(waiting) if why.iter().any(|said| said.contains(&waiting.what)) => {}
            Some(waiting) => why.push(format!("waiting for the source: {waiting}")),
            None if why.is_empty() => why.push("waiting for the source".to_owned()),
            None => {}
        }
    }
    if let Some(stalled) = &pipeline.stalled {
        why.push(format!("stalled: {stalled}"));
    }
    if let Some(holding) = &pipeline.holding {
        let (n_held, what, lasts_s) = (holding.n_held, &holding.what, holding.lasts.as_secs());
        why.push(format!("holding {n_held} for {lasts_s} s: {what}"));
    }
    why.extend(pipeline.stuck.clone());
    if let Some(opened) = &pipeline.breaker {
        let (failing_component, class, lasts_s) = (&opened.failing_component, opened.class, opened.lasts.as_secs());
        let next_call = match opened.half_open_in.as_secs() {
            0 => "a half-open call is due".to_owned(),
            seconds => format!("the next half-open call is in {seconds} s"),
        };
        why.push(format!(
            "breaker open for {lasts_s} s by {failing_component} ({class}): {next_call}"
        ));
    }
    why
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::view;
    use super::*;
    use crate::breaker::{FailingComponent, Opened};
    use crate::config::Name;
    use crate::disposition::{ReasonClass, Stage};
    use crate::transport::Holding;
    use crate::transport::{ConnectionName, ConnectionStatus, Waiting};
    use crate::watchdog::Stalled;

    fn ready() -> View {
        View {
            phase: HostPhase::Running,
            doing: None,
            connections: [(ConnectionName::default(), ConnectionStatus::default())].into(),
            pipelines: vec![view::PipelineView {
                name: Name::new("images").expect("a name"),
                state: PipelineState::Running,
                connections: [ConnectionName::default()].into(),
                receives_by: Some(ConnectionName::default()),
                is_open: true,
                holding: None,
                breaker: None,
                stuck: None,
                attention: None,
                n_opened: 0,
                source: None,
                samples: Vec::new(),
                stalled: None,
                counts: Default::default(),
            }],
            generation: Some(1),
            changes: Vec::new(),
            models: Default::default(),
            plugins: Vec::new(),
            n_log_lines_lost: 0,
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

    fn waits(view: &mut View, why: &str) {
        let connection = view.connections.get_mut(&ConnectionName::default());
        connection.expect("a broker").why.push(why.to_owned());
    }

    #[test]
    fn what_keeps_a_pipeline_from_taking_is_said() {
        let all = r#"{"ready":true,"phase":"running","pipelines":{"images":{"ready":true,"why":[]}}}"#;
        check(|_| (), 200, all);
        check(|view| view.phase = HostPhase::Starting, 503, r#""phase":"starting""#);
        check(|view| view.phase = HostPhase::Draining, 503, r#""why":["draining"]"#);
        check(|view| waits(view, "blocked"), 503, r#""why":["blocked"]"#);
        check(|view| view.pipelines[0].is_open = false, 503, "waiting for the source");
        let waiting = |what: &str| {
            Some(Waiting {
                what: what.to_owned(),
                lasts: Some(Duration::from_secs(7)),
            })
        };
        let start = |view: &mut View| {
            view.phase = HostPhase::Starting;
            view.doing = waiting("warming up");
        };
        check(start, 503, r#""why":["starting: warming up for 7 s"]"#);
        let opening = |view: &mut View| {
            view.pipelines[0].is_open = false;
            view.pipelines[0].source = waiting("opening queue `a`");
        };
        check(
            opening,
            503,
            r#""why":["waiting for the source: opening queue `a` for 7 s"]"#,
        );
        let both = |view: &mut View| {
            view.pipelines[0].is_open = false;
            view.pipelines[0].source = waiting("away");
            waits(view, "waiting for the broker: away for 7 s");
        };
        check(both, 503, r#""why":["waiting for the broker: away for 7 s"]"#);
        let stalled = Stalled {
            lasts: Duration::from_secs(200),
            bound: Duration::from_secs(185),
            n_in_flight: 1,
            at: Default::default(),
        };
        let said = "stalled: nothing has moved for 200 s";
        check(|view| view.pipelines[0].stalled = Some(stalled), 503, said);
        let folder = |view: &mut View| {
            waits(view, "blocked");
            view.pipelines[0].connections.clear();
        };
        check(folder, 200, all);
        let holding = Holding {
            n_held: 2,
            what: "queue `a\"b`".to_owned(),
            lasts: Duration::from_secs(7),
        };
        let said = r#"holding 2 for 7 s: queue `a\"b`"#;
        check(|view| view.pipelines[0].holding = Some(holding), 503, said);
        let stuck = || "the version on trial".to_owned();
        check(
            |view| view.pipelines[0].stuck = Some(stuck()),
            503,
            r#""why":["the version on trial"]"#,
        );
        let opened = Opened {
            failing_component: FailingComponent {
                stage: Stage::Preprocess,
                name: "crop".to_owned(),
                digest: "0123456789abcdef".to_owned(),
            },
            class: ReasonClass::Trap,
            lasts: Duration::from_secs(3),
            half_open_in: Duration::from_secs(2),
        };
        let said = "breaker open for 3 s by plugin `crop` (0123456789ab) (trap): the next half-open call is in 2 s";
        check(|view| view.pipelines[0].breaker = Some(opened), 503, said);
    }
}
