//! Messages that are held each at another step of their way, in one host: where a fault meets all of them. Knows no fault.

use anyhow::Result;
use millrace_tests::host::Host;

use super::messages::Sent;
use super::stage::Stage;

/// The steps after which a message's result, or its dead letter, may be there already: these alone may come twice.
pub(super) const MAY_COME_TWICE: [&str; 5] = ["published", "confirmed", "settled", "copied", "refused"];

/// The steps after which a message has passed the model.
const PAST_THE_MODEL: [&str; 3] = ["published", "confirmed", "settled"];

/// A step that knows no message: it counts those that pass. Who waits there waits behind its tensor, which is on the device
/// or in front of it.
const QUEUED: &str = "queued";

/// A message, and the failpoint at which it is held while the gate is closed.
struct Step {
    place: &'static str,
    sent: Sent,
}

/// Starts a host and puts a message to every step. They are called after their steps, and go on when the gate opens.
pub(super) fn start_holding(stage: &Stage) -> Result<Host> {
    let first = held(stage, "")?;
    stage.close_gate()?;
    let points = |steps: &[Step]| -> Vec<String> {
        let told = steps.iter().filter(|step| step.place != QUEUED);
        told.map(|Step { place, sent }| format!("{place}({})=while:GATE", stage.source().id(sent)))
            .collect()
    };
    // So many pass it before the two that are to wait there; the first of these is alone on the device.
    let n_before = first
        .iter()
        .filter(|step| PAST_THE_MODEL.contains(&step.sent.id.as_str()))
        .count();
    let counted = [
        format!("{QUEUED}=while:GATE@{}..{}", n_before + 1, n_before + 2),
        format!("model=while:GATE@{}", n_before + 1),
    ];
    let failpoints = [points(&first), points(&held(stage, "-again")?), counted.to_vec()].concat();
    let mut host = stage.start(&failpoints.join(","))?;
    put(stage, &mut host, first)?;
    stage.wait_at(&host, "model", 1)?;
    Ok(host)
}

/// Puts a second message to the steps that a message is told at, with `-again` behind its name. None is held there for
/// something that does not come, as an answer to what was published: the host could not become ready.
pub(super) fn hold_again(stage: &Stage, host: &mut Host) -> Result<()> {
    stage.close_gate()?;
    let mut steps = held(stage, "-again")?;
    steps.retain(|step| !matches!(step.place, QUEUED | "published"));
    put(stage, host, steps)
}

fn put(stage: &Stage, host: &mut Host, steps: Vec<Step>) -> Result<()> {
    for Step { place, sent } in steps {
        let n_before = stage.n_at(host, place);
        stage.put("images", std::slice::from_ref(&sent))?;
        stage.wait_at(host, place, n_before + 1)?;
    }
    Ok(())
}

/// In the order in which messages are put to them: what waits in front of the device, and on it, comes last.
fn held(stage: &Stage, again: &str) -> Result<Vec<Step>> {
    let name = |place: &str| format!("{place}{again}");
    let mut steps = Vec::new();
    for place in ["confirmed", "settled", "published"] {
        if place != "published" || stage.passes(place) {
            let sent = Sent::picture(&name(place))?;
            steps.push(Step { place, sent });
        }
    }
    for place in ["copy", "copied"] {
        if stage.passes(place) {
            let sent = Sent::text(&name(place));
            steps.push(Step { place, sent });
        }
    }
    let refused = Sent::text(&name("refused"));
    steps.push(Step {
        place: "settled",
        sent: refused,
    });
    for (place, id) in [
        ("delivered", "delivered"),
        ("preprocess", "preprocess"),
        (QUEUED, "on-the-device"),
        (QUEUED, "in-front-of-it"),
    ] {
        let sent = Sent::picture(&name(id))?;
        steps.push(Step { place, sent });
    }
    Ok(steps)
}
