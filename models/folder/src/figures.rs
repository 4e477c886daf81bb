//! The size and cost of a network, for people. Knows no devices.

use millrace_model_types::Element;

use crate::model::Model;

/// Figures of a network as it runs; those that depend on the batch are for one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Numbers of all weights.
    pub parameters: u64,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Multiply-adds of convolutions and products of matrices.
    pub multiply_adds: u64,
    /// Bytes of the numbers that are there at once between two operators, at most.
    pub peak_bytes: u64,
    /// How many nodes there are of each operator, by its name.
    pub operators: Vec<(String, usize)>,
}

/// How the bytes of one channel are normalised: `(byte / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByteNormalisation {
    /// The mean to subtract, of 0 to 1.
    pub mean: f32,
    /// The deviation to divide by.
    pub std: f32,
}

impl Model {
    /// The size and cost of the network.
    pub fn figures(&self) -> Figures {
        let network = self.network();
        let statistics = network.graph.statistics();
        let operators = statistics.operators.into_iter();
        Figures {
            parameters: statistics.parameters,
            weight_bytes: self.weight_bytes(),
            multiply_adds: statistics.multiply_adds,
            peak_bytes: (statistics.peak_elements as u64).saturating_mul(size_of::<f32>() as u64),
            operators: operators.map(|(name, count)| (name.to_owned(), count)).collect(),
        }
    }

    /// The network as it runs, a line for each node.
    pub fn graph_text(&self) -> String {
        self.network().graph.to_string()
    }

    /// How bytes are normalised, channel by channel; empty where it takes floats, or bytes as they are.
    pub fn byte_normalisation(&self) -> Vec<ByteNormalisation> {
        let Some(normalisation) = self.normalisation().filter(|_| self.input().element == Element::Byte) else {
            return Vec::new();
        };
        let channels = normalisation.factor.iter().zip(&normalisation.shift);
        let of = |(factor, shift): (&f32, &f32)| {
            let std = 1.0 / (255.0 * factor);
            ByteNormalisation {
                mean: -shift * std,
                std,
            }
        };
        channels.map(of).collect()
    }

    /// The activation of the first output: `softmax`, `sigmoid`, or `none` where they are scores already; nothing where
    /// it is not a classifier.
    pub fn scores(&self) -> Option<&'static str> {
        self.scored_output().map(|_| self.activation().name())
    }
}
