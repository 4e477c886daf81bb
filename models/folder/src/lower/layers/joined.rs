//! Layers with others in them: sums, products and what stands side by side.

use millrace_graph::{Binary, Op, ValueId};

use super::{At, Flow, Lowering, Stop};
use crate::manifest::Layer;

impl Lowering<'_> {
    /// `body(x) + shortcut(x)`, of one shape.
    pub(super) fn residual(&mut self, layer: &Layer, body: &[Layer], shortcut: &[Layer], at: At) -> Result<At, Stop> {
        let body = self.sequence(body, at);
        let shortcut = self.sequence(shortcut, at);
        let (Some(body), Some(shortcut)) = (body, shortcut) else {
            return Err(None); // told within them
        };
        if body.flow != shortcut.flow {
            let expected = format!("a shortcut that yields {} as its body does", body.flow);
            return Err(Some(self.unfit(layer, (expected, shortcut.flow.to_string()))));
        }
        let inputs = [body.value, shortcut.value];
        self.emit(layer, Op::Binary(Binary::Add), &inputs, body.flow)
            .map_err(Some)
    }

    /// `x * body(x)`, of one shape, or with one number of the body's for each channel.
    pub(super) fn multiply(&mut self, layer: &Layer, body: &[Layer], at: At) -> Result<At, Stop> {
        let Some(body) = self.sequence(body, at) else {
            return Err(None);
        };
        let by_channel = match at.flow {
            Flow::Map { channels, .. } => Some(Flow::Map {
                channels,
                height: 1,
                width: 1,
            }),
            Flow::Flat(_) => None,
        };
        if body.flow != at.flow && Some(body.flow) != by_channel {
            let or = by_channel.map(|flow| format!(" or {flow}")).unwrap_or_default();
            let expected = format!("a body that yields {}{or}", at.flow);
            return Err(Some(self.unfit(layer, (expected, body.flow.to_string()))));
        }
        let inputs = [at.value, body.value];
        self.emit(layer, Op::Binary(Binary::Mul), &inputs, at.flow)
            .map_err(Some)
    }

    /// The outputs of the branches, one behind the other: channels of maps of one size, or features.
    pub(super) fn concat(&mut self, layer: &Layer, branches: &[Vec<Layer>], at: At) -> Result<At, Stop> {
        let lowered: Vec<Option<At>> = branches.iter().map(|branch| self.sequence(branch, at)).collect();
        let Some(parts) = lowered.into_iter().collect::<Option<Vec<At>>>() else {
            return Err(None);
        };
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else {
            return Ok(at); // refused where the list was read
        };
        let mut joined = first.flow;
        let mut values: Vec<ValueId> = vec![first.value];
        for part in parts {
            joined = match (joined, part.flow) {
                (
                    Flow::Map {
                        channels,
                        height,
                        width,
                    },
                    Flow::Map {
                        channels: more,
                        height: other_height,
                        width: other_width,
                    },
                ) if (height, width) == (other_height, other_width) => Flow::Map {
                    channels: channels.saturating_add(more),
                    height,
                    width,
                },
                (Flow::Flat(features), Flow::Flat(more)) => Flow::Flat(features.saturating_add(more)),
                (joined, other) => {
                    let expected = format!("branches that fit each other, after {joined}");
                    return Err(Some(self.unfit(layer, (expected, other.to_string()))));
                }
            };
            values.push(part.value);
        }
        let joined = joined
            .bounded()
            .map_err(|unfit| self.unfit(layer, unfit))
            .map_err(Some)?;
        self.emit(layer, Op::Concat { axis: 1 }, &values, joined).map_err(Some)
    }
}
