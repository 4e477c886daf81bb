//! `millrace check --online`: what brokers have against a file that is right in itself. Changes nothing there.

use crate::config::{Config, Name, PipelineConfig};
use crate::transport::{Away, Findings, registry};

/// A connection that does not answer, as people may see its address.
pub(super) struct Unanswered {
    pub(super) shown: String,
    pub(super) why: Away,
}

/// Looks at everything that the file names.
pub(super) async fn look(config: &Config) -> Result<Findings<'_>, Unanswered> {
    let mut findings = Findings::new(config);
    for (name, pipeline) in &config.pipelines {
        fits(&mut findings, config, name, pipeline);
    }
    for (name, connection) in &config.connections {
        let Ok(connect) = registry::connection(connection.as_ref()) else {
            continue; // none that a file can name
        };
        let looked = connect.look(name, config, &mut findings).await;
        looked.map_err(|why| Unanswered {
            shown: connection.shown(),
            why,
        })?;
    }
    Ok(findings)
}

/// Whether prefetch and batches fit each other.
fn fits(findings: &mut Findings<'_>, config: &Config, name: &Name, pipeline: &PipelineConfig) {
    let model = config.models.get(&pipeline.model);
    let (max_batch, prefetch) = (model.and_then(|model| model.max_batch), pipeline.source.prefetch());
    if let Some(max_batch) = max_batch.filter(|max_batch| *max_batch > usize::from(prefetch)) {
        let text = format!(
            "a batch of {max_batch} (model `{}`) is never full: only {prefetch} messages are in flight",
            pipeline.model
        );
        findings.warning(&format!("pipeline.{name}.source.prefetch"), text);
    }
}
