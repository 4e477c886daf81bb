//! What is measured: who drains a queue, and what is in it. Starts nothing.

use std::fmt;

/// Who drains the queue, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Its name in arguments, in the record and on the page.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// What is in the queue.
    pub(crate) body: Body,
    /// What runs.
    pub(crate) runs: Runs,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// The bare echo.
    Echo,
    /// The host.
    Host(Pipeline),
    /// A program of Python, by the name of its file.
    Peer(&'static str),
}

/// What the host's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pipeline {
    /// The preprocessor.
    pub(crate) preprocess: Preprocess,
    /// How long an instance of a plugin lives.
    pub(crate) isolation: &'static str,
    /// The network.
    pub(crate) network: Network,
}

/// A preprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preprocess {
    /// The shipped one for pictures.
    DecodeImage,
    /// The same without WebAssembly, in a build of the host for benchmarks alone.
    Native,
    /// The shipped one that passes raw tensors.
    Passthrough,
    /// The same in Python.
    Python,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The shipped LeNet.
    Shapes,
    /// The mean of each colour, of pictures with this edge: next to nothing.
    Mean(u32),
    /// ResNet-18.
    ResNet18,
}

/// What is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Body {
    /// The sample pictures: 3,072 bytes of RGB.
    Raw,
    /// The sample files as they are.
    Png,
    /// The sample pictures as JPEG.
    Jpeg,
    /// A pickle of their pixels in base64.
    Pickle,
    /// Pictures of 224x224 as JPEG.
    Photo,
    /// Raw RGB of noise, with this edge.
    Noise(u32),
}

const fn host(preprocess: Preprocess, isolation: &'static str, network: Network) -> Runs {
    Runs::Host(Pipeline {
        preprocess,
        isolation,
        network,
    })
}

/// The bare echo.
pub(crate) const ECHO: Subject = Subject {
    name: "echo",
    what: "the least that keeps the promise: consumes, publishes 64 bytes mandatory and confirmed, acknowledges (lapin)",
    body: Body::Raw,
    runs: Runs::Echo,
};
/// The host with the least to do.
pub(crate) const IDENTITY: Subject = Subject {
    name: "identity",
    what: "Millrace with a network of next to no work (the mean of each colour); tensor-passthrough, by-label",
    body: Body::Raw,
    runs: host(Preprocess::Passthrough, "message", Network::Mean(32)),
};
const IDENTITY_WORKER: Subject = Subject {
    name: "identity-worker",
    what: "as `identity`, with `isolation = \"worker\"`",
    body: Body::Raw,
    runs: host(Preprocess::Passthrough, "worker", Network::Mean(32)),
};
/// The host as it is shipped.
pub(crate) const LENET: Subject = Subject {
    name: "lenet",
    what: "Millrace with the shipped LeNet, decode-image and by-label; a fresh instance of each plugin for each message",
    body: Body::Raw,
    runs: host(Preprocess::DecodeImage, "message", Network::Shapes),
};
const LENET_WORKER: Subject = Subject {
    name: "lenet-worker",
    what: "as `lenet`, with `isolation = \"worker\"`",
    body: Body::Raw,
    runs: host(Preprocess::DecodeImage, "worker", Network::Shapes),
};
const LENET_NATIVE: Subject = Subject {
    name: "lenet-native",
    what: "as `lenet`, with decode-image compiled into the host: no sandbox around the preprocessor",
    body: Body::Raw,
    runs: host(Preprocess::Native, "message", Network::Shapes),
};
const LENET_NATIVE_WORKER: Subject = Subject {
    name: "lenet-native-worker",
    what: "as `lenet-native`, with `isolation = \"worker\"` for the router",
    body: Body::Raw,
    runs: host(Preprocess::Native, "worker", Network::Shapes),
};
const LENET_PNG: Subject = Subject {
    name: "lenet-png",
    what: "as `lenet`",
    body: Body::Png,
    runs: host(Preprocess::DecodeImage, "message", Network::Shapes),
};
const LENET_JPEG: Subject = Subject {
    name: "lenet-jpeg",
    what: "as `lenet`",
    body: Body::Jpeg,
    runs: host(Preprocess::DecodeImage, "message", Network::Shapes),
};
const PYTHON_PLUGIN: Subject = Subject {
    name: "python-plugin",
    what: "as `lenet`, with a preprocessor in Python (componentize-py) that passes raw pixels on",
    body: Body::Raw,
    runs: host(Preprocess::Python, "message", Network::Shapes),
};
/// The host with a network that fills it.
pub(crate) const RESNET18: Subject = Subject {
    name: "resnet18",
    what: "Millrace with a ResNet-18 of torchvision, decode-image and by-label",
    body: Body::Photo,
    runs: host(Preprocess::DecodeImage, "message", Network::ResNet18),
};
const RESNET18_NATIVE: Subject = Subject {
    name: "resnet18-native",
    what: "as `resnet18`, with decode-image compiled into the host",
    body: Body::Photo,
    runs: host(Preprocess::Native, "message", Network::ResNet18),
};
const NAIVE: Subject = Subject {
    name: "naive",
    what: "pika and PyTorch as people write it, one picture at a time; loses messages",
    body: Body::Pickle,
    runs: Runs::Peer("naive"),
};
/// The Python consumer that keeps the promise.
const SAFE: Subject = Subject {
    name: "safe",
    what: "as `naive`, acknowledged after the confirm of the result; prefetch 100",
    body: Body::Pickle,
    runs: Runs::Peer("safe"),
};
/// The best one.
const STRONG: Subject = Subject {
    name: "strong",
    what: "aio-pika and ONNX Runtime, batches of up to 64, several in flight; prefetch 256",
    body: Body::Raw,
    runs: Runs::Peer("strong"),
};

/// A round. What is compared stands side by side: some are there twice, so that whatever they are compared with is a neighbour.
pub(crate) const ROUND: [Subject; 20] = [
    IDENTITY,
    ECHO,
    IDENTITY_WORKER,
    LENET_NATIVE,
    LENET,
    STRONG,
    LENET_WORKER,
    LENET_NATIVE_WORKER,
    SAFE,
    LENET_NATIVE,
    LENET,
    NAIVE,
    LENET_PNG,
    LENET_JPEG,
    PYTHON_PLUGIN,
    RESNET18,
    RESNET18_NATIVE,
    LENET_NATIVE_WORKER,
    LENET_WORKER,
    ECHO,
];

impl Subject {
    /// What it promises.
    pub(crate) fn guarantee(&self) -> &'static str {
        match self.runs {
            Runs::Peer("naive") => "none",
            _ => "at least once",
        }
    }

    /// Whether it, or what is in its queue, is made by Python.
    pub(crate) fn needs_python(&self) -> bool {
        let is_made =
            |pipeline: Pipeline| pipeline.preprocess == Preprocess::Python || pipeline.network == Network::ResNet18;
        match self.runs {
            Runs::Echo => false,
            Runs::Host(pipeline) => is_made(pipeline),
            Runs::Peer(_) => true,
        }
    }

    /// Whether it is another build of the host, which preprocesses natively.
    pub(crate) fn needs_native_host(&self) -> bool {
        matches!(self.runs, Runs::Host(pipeline) if pipeline.preprocess == Preprocess::Native)
    }

    /// The package that not every Python of the peers has.
    pub(crate) fn python_module(&self) -> &'static str {
        match self.runs {
            Runs::Host(pipeline) if pipeline.preprocess == Preprocess::Python => "componentize_py",
            Runs::Host(_) => "torchvision",
            Runs::Echo | Runs::Peer(_) => "torch",
        }
    }

    /// Whether the result is a label of the picture: it is a plain text of the echo's otherwise.
    pub(crate) fn network(&self) -> Option<Network> {
        match self.runs {
            Runs::Echo => None,
            Runs::Host(pipeline) => Some(pipeline.network),
            Runs::Peer(_) => Some(Network::Shapes),
        }
    }

    /// The subject of a round with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        ROUND.into_iter().find(|subject| subject.name == name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw RGB of 32x32"),
            Self::Png => f.write_str("PNG of 32x32"),
            Self::Jpeg => f.write_str("JPEG of 32x32"),
            Self::Pickle => f.write_str("pickle of 32x32 in base64"),
            Self::Photo => f.write_str("JPEG of 224x224"),
            Self::Noise(edge) => write!(f, "raw RGB of {edge}x{edge}"),
        }
    }
}
