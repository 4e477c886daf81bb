//! Shape arithmetic: what a layer yields from what it gets, or why it cannot.

use crate::manifest::Window;

/// Most numbers of one item between two layers: a quarter of a gigabyte of `f32`.
const MAX_ACTIVATION_ELEMENTS: usize = 1 << 26;

/// The expected and the found shape, in words.
pub(super) type Unfit = (String, String);

/// The shape of what flows between layers, without the batch axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Map {
        channels: usize,
        height: usize,
        width: usize,
    },
    Flat(usize),
}

impl Flow {
    pub(super) fn of_input(shape: &[u32]) -> Result<Self, Unfit> {
        let axes: Vec<usize> = shape.iter().map(|axis| *axis as usize).collect();
        let flow = match axes.as_slice() {
            [features] => Self::Flat(*features),
            [channels, height, width] => Self::Map {
                channels: *channels,
                height: *height,
                width: *width,
            },
            _ => return Err(("an input of one or three axes".to_owned(), format!("{shape:?}"))),
        };
        flow.bounded()
    }

    pub(super) fn axes(self) -> Vec<usize> {
        match self {
            Self::Map {
                channels,
                height,
                width,
            } => vec![channels, height, width],
            Self::Flat(features) => vec![features],
        }
    }

    /// Items of this shape, stacked.
    pub(super) fn batch(self) -> millrace_graph::Shape {
        millrace_graph::Shape::batch_of(&self.axes())
    }

    /// Channels of a map, features of a flat tensor.
    pub(super) fn channels(self) -> usize {
        match self {
            Self::Map { channels, .. } => channels,
            Self::Flat(features) => features,
        }
    }

    /// Saturating: only a bounded flow is used.
    pub(super) fn elements(self) -> usize {
        self.axes().into_iter().fold(1, usize::saturating_mul)
    }

    pub(super) fn bounded(self) -> Result<Self, Unfit> {
        if self.elements() > MAX_ACTIVATION_ELEMENTS {
            let found = format!("{self}, {} of them", self.elements());
            return Err((format!("at most {MAX_ACTIVATION_ELEMENTS} numbers an item"), found));
        }
        Ok(self)
    }

    /// Channels, height and width, for a layer that works on maps.
    pub(super) fn map(self) -> Result<(usize, usize, usize), Unfit> {
        match self {
            Self::Map {
                channels,
                height,
                width,
            } => Ok((channels, height, width)),
            Self::Flat(_) => Err(("an input of [channels, height, width]".to_owned(), self.to_string())),
        }
    }

    /// A window moved over a map; `channels` is what comes out. The graph's window has what hangs over the end in it.
    pub(super) fn slide(
        self,
        window: &Window,
        ceil: bool,
        channels: usize,
    ) -> Result<(Self, millrace_graph::Window), Unfit> {
        let (_, height, width) = self.map()?;
        let [kernel_height, kernel_width] = window.kernel;
        let [stride_height, stride_width] = window.stride;
        let [padding_height, padding_width] = window.padding;
        let [dilation_height, dilation_width] = window.dilation;
        let axes = [
            steps(
                height,
                kernel_height,
                stride_height,
                padding_height,
                dilation_height,
                ceil,
            ),
            steps(width, kernel_width, stride_width, padding_width, dilation_width, ceil),
        ];
        match axes {
            [Some(out_height), Some(out_width)] => {
                let flow = Self::Map {
                    channels,
                    height: out_height,
                    width: out_width,
                };
                let after = [(height, out_height, 0), (width, out_width, 1)].map(|(length, steps, axis)| {
                    let at = |pair: [usize; 2]| pair.into_iter().nth(axis).unwrap_or(1);
                    let reach = at(window.dilation) * (at(window.kernel) - 1) + 1;
                    let end = (steps - 1) * at(window.stride) + reach;
                    end.saturating_sub(length + at(window.padding)).max(at(window.padding))
                });
                let window = millrace_graph::Window {
                    kernel: window.kernel,
                    stride: window.stride,
                    dilation: window.dilation,
                    before: window.padding,
                    after,
                };
                Ok((flow.bounded()?, window))
            }
            _ => {
                let expected = format!("an input of at least the window {:?}", window.kernel);
                Err((
                    expected,
                    format!(
                        "{self} with padding {:?}, dilation {:?}",
                        window.padding, window.dilation
                    ),
                ))
            }
        }
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.axes())
    }
}

/// PyTorch's formula: how often a window fits into an axis. `None` when it does not fit once.
fn steps(length: usize, kernel: usize, stride: usize, padding: usize, dilation: usize, ceil: bool) -> Option<usize> {
    let reach = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
    let room = (length + 2 * padding).checked_sub(reach)?;
    if !ceil {
        return Some(room / stride + 1);
    }
    let steps = room.div_ceil(stride) + 1;
    // A window that would start in the padding at the end does not count.
    if (steps - 1) * stride >= length + padding {
        Some(steps - 1)
    } else {
        Some(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, Window, steps};

    #[test]
    fn windows_are_counted_as_pytorch_counts_them() {
        // length, kernel, stride, padding, dilation, ceil
        let check = |arguments: (usize, usize, usize, usize, usize, bool), expected| {
            let (length, kernel, stride, padding, dilation, ceil) = arguments;
            assert_eq!(
                steps(length, kernel, stride, padding, dilation, ceil),
                expected,
                "{arguments:?}"
            );
        };
        check((32, 5, 1, 0, 1, false), Some(28));
        check((28, 2, 2, 0, 1, false), Some(14));
        check((112, 3, 2, 1, 1, false), Some(56));
        check((7, 2, 2, 0, 1, false), Some(3));
        check((7, 2, 2, 0, 1, true), Some(4));
        check((5, 2, 3, 1, 1, true), Some(2));
        check((10, 3, 1, 0, 4, false), Some(2));
        check((4, 5, 1, 0, 1, false), None);
    }

    #[test]
    fn what_hangs_over_the_end_is_padding_there() {
        let window = Window {
            kernel: [3, 2],
            stride: [2, 2],
            padding: [0, 1],
            dilation: [1, 1],
        };
        let input = Flow::of_input(&[4, 8, 7]).unwrap();
        let after = |ceil| input.slide(&window, ceil, 4).unwrap();
        let (flow, slid) = after(false);
        assert_eq!((flow.axes(), slid.before, slid.after), (vec![4, 3, 4], [0, 1], [0, 1]));
        let (flow, slid) = after(true);
        assert_eq!((flow.axes(), slid.before, slid.after), (vec![4, 4, 4], [0, 1], [1, 1]));
    }

    #[test]
    fn a_huge_activation_is_refused() {
        let huge = Flow::of_input(&[1 << 20, 1 << 20, 1 << 20]);
        assert!(huge.is_err_and(|(_, found)| found.contains("1048576")));
    }
}
