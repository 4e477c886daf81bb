//! The kinds of layers and the keys that each takes, declared. Reads nothing.

use millrace_schema::{Declared, Form, Kind, Kinds, Section};

use super::keys::{ANY, SIZE, Within};
use super::layer::{
    AFFINE, APPROXIMATE, BIAS, CEIL, COUNT_PADDING, DILATION, EPS, GROUPS, MAX_BRANCHES, PADDING, SLOPE, STRIDE,
};

/// One number for both axes, or `[height, width]`.
macro_rules! extent {
    ($within:expr) => {
        Form::Either(&[
            Form::Integer(&$within),
            Form::List(&Form::Integer(&$within), 2, Some(2)),
        ])
    };
}

const STRIDES: Within = sized(1, STRIDE);
const DILATIONS: Within = sized(1, DILATION);
const PADDINGS: Within = sized(0, PADDING);
const GROUP_COUNT: Within = sized(1, GROUPS);
const EPSILON: Within = Within {
    min: Some(0.0),
    max: Some(1.0),
    default: Some(EPS),
    is_whole: false,
};
const SLOPES: Within = Within {
    default: Some(SLOPE),
    ..ANY
};

const fn sized(min: u32, default: usize) -> Within {
    Within {
        min: Some(min as f64),
        default: Some(default as f64),
        ..SIZE
    }
}

const NAME: Declared = Declared::new(
    "name",
    Form::Text("."),
    "\"conv1\"",
    "What the names of its weights begin with: `conv1` for `conv1.weight`.",
)
.required();
const OUT: Declared = Declared::new("out", Form::Integer(&SIZE), "16", "Its outputs.").required();
const KERNEL: Declared = Declared::new("kernel", extent!(SIZE), "3", "The window.").required();
const STRIDE_ONE: Declared = Declared::new("stride", extent!(STRIDES), "1", "How far the window moves.");
const STRIDE_AS_KERNEL: Declared =
    Declared::new("stride", extent!(SIZE), "2", "How far the window moves.").or("as `kernel`");
const PADDING_KEY: Declared = Declared::new("padding", extent!(PADDINGS), "1", "What is added at each edge.");
const DILATION_KEY: Declared = Declared::new("dilation", extent!(DILATIONS), "1", "The step within the window.");
const BIAS_KEY: Declared = Declared::new("bias", Form::Flag(BIAS), "true", "Whether it has a bias.");
const EPS_KEY: Declared = Declared::new("eps", Form::Number(&EPSILON), "1e-5", "What is added to the variance.");
const AFFINE_KEY: Declared = Declared::new(
    "affine",
    Form::Flag(AFFINE),
    "true",
    "Whether it has weights of its own.",
);
const CEIL_KEY: Declared = Declared::new(
    "ceil",
    Form::Flag(CEIL),
    "false",
    "Whether windows that hang over the end count.",
);

pub(super) static LAYER: Section = Section {
    id: "layer",
    title: "[[layer]]",
    help: "A layer; `type` says which, and which keys it takes.",
    keys: &[
        Declared::new("type", Form::Text(""), "\"relu\"", "Which layer it is.").required(),
        Declared::new(
            "name",
            Form::Text(""),
            "\"features.1\"",
            "What the names of its weights begin with; errors show it.",
        )
        .or("none; a layer with weights needs one"),
    ],
    kinds: Some(Kinds {
        tag: "type",
        told: "PyTorch",
        of: &[
            Kind {
                name: "conv2d",
                help: "`nn.Conv2d`",
                keys: &[
                    NAME,
                    OUT,
                    KERNEL,
                    STRIDE_ONE,
                    PADDING_KEY,
                    DILATION_KEY,
                    Declared::new("groups", Form::Integer(&GROUP_COUNT), "1", "Groups of channels."),
                    BIAS_KEY,
                ],
            },
            Kind {
                name: "batch-norm",
                help: "`nn.BatchNorm2d`, `nn.BatchNorm1d`",
                keys: &[NAME, EPS_KEY, AFFINE_KEY],
            },
            Kind {
                name: "linear",
                help: "`nn.Linear`, on flat inputs",
                keys: &[NAME, OUT, BIAS_KEY],
            },
            Kind {
                name: "layer-norm",
                help: "`nn.LayerNorm(features)` on flat inputs; on maps over the channels of each pixel (`LayerNorm2d`)",
                keys: &[NAME, EPS_KEY, AFFINE_KEY],
            },
            plain("relu", "`nn.ReLU`"),
            plain("relu6", "`nn.ReLU6`"),
            Kind {
                name: "clip",
                help: "`torch.clamp(x, low, high)`",
                keys: &[
                    Declared::new("low", Form::Number(&ANY), "-1.0", "The least.").or("none"),
                    Declared::new("high", Form::Number(&ANY), "1.0", "The most.").or("none; one of the two is there"),
                ],
            },
            Kind {
                name: "leaky-relu",
                help: "`nn.LeakyReLU`",
                keys: &[Declared::new(
                    "slope",
                    Form::Number(&SLOPES),
                    "0.01",
                    "The slope below 0.",
                )],
            },
            Kind {
                name: "gelu",
                help: "`nn.GELU`; `approximate = true` is `\"tanh\"`",
                keys: &[Declared::new(
                    "approximate",
                    Form::Flag(APPROXIMATE),
                    "false",
                    "Whether it is approximated by `tanh`.",
                )],
            },
            plain("silu", "`nn.SiLU`"),
            plain("sigmoid", "`nn.Sigmoid`"),
            plain("hard-swish", "`nn.Hardswish`"),
            plain("hard-sigmoid", "`nn.Hardsigmoid`"),
            plain("softmax", "`nn.Softmax(dim=1)`"),
            Kind {
                name: "max-pool",
                help: "`nn.MaxPool2d`",
                keys: &[KERNEL, STRIDE_AS_KERNEL, PADDING_KEY, DILATION_KEY, CEIL_KEY],
            },
            Kind {
                name: "avg-pool",
                help: "`nn.AvgPool2d`",
                keys: &[
                    KERNEL,
                    STRIDE_AS_KERNEL,
                    PADDING_KEY,
                    CEIL_KEY,
                    Declared::new(
                        "count_padding",
                        Form::Flag(COUNT_PADDING),
                        "true",
                        "Whether what is added at the edges counts.",
                    ),
                ],
            },
            Kind {
                name: "adaptive-avg-pool",
                help: "`nn.AdaptiveAvgPool2d`",
                keys: &[Declared::new("out", extent!(SIZE), "4", "Its outputs.").required()],
            },
            plain("global-avg-pool", "`nn.AdaptiveAvgPool2d(1)`"),
            plain("global-max-pool", "`nn.AdaptiveMaxPool2d(1)`"),
            plain("flatten", "`torch.flatten(x, 1)`"),
            Kind {
                name: "dropout",
                help: "`nn.Dropout`; does nothing here",
                keys: &[Declared::new("p", Form::Number(&ANY), "0.5", "Does nothing here.").or("any")],
            },
            Kind {
                name: "residual",
                help: "`body(x) + shortcut(x)`",
                keys: &[
                    Declared::new(
                        "body",
                        Form::Tables(&LAYER),
                        "[{ type = \"relu\" }]",
                        "The layers of the body.",
                    )
                    .required(),
                    Declared::new(
                        "shortcut",
                        Form::Tables(&LAYER),
                        "[{ type = \"relu\" }]",
                        "The layers beside it.",
                    )
                    .or("the input itself"),
                ],
            },
            Kind {
                name: "multiply",
                help: "`x * body(x)`, such as squeeze-excitation",
                keys: &[Declared::new(
                    "body",
                    Form::Tables(&LAYER),
                    "[{ type = \"sigmoid\" }]",
                    "The layers of the body, which yield what they get, or one number for each channel.",
                )
                .required()],
            },
            Kind {
                name: "concat",
                help: "`torch.cat([branch(x) for branch in branches], 1)`",
                keys: &[Declared::new(
                    "branches",
                    Form::List(&Form::Tables(&LAYER), 1, Some(MAX_BRANCHES)),
                    "[[], [{ type = \"relu\" }]]",
                    "A list of layers for each part; an empty one is the input itself.",
                )
                .required()],
            },
        ],
    }),
    ..Section::EMPTY
};

/// A layer that takes nothing.
const fn plain(name: &'static str, help: &'static str) -> Kind {
    Kind { name, help, keys: &[] }
}

/// The names of the kinds.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let kinds = LAYER.kinds.iter().flat_map(|kinds| kinds.of);
    kinds.map(|kind| kind.name)
}

/// The kinds, for who names another.
pub(super) fn kinds() -> String {
    names().collect::<Vec<_>>().join(", ")
}
