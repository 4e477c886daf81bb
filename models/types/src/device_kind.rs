//! Kinds of devices.

/// What a device is. The order is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A card of its own.
    Discrete,
    /// A part of the processor.
    Integrated,
    /// One of a virtual machine.
    Virtual,
    /// It does not say.
    Other,
    /// A CPU that plays a GPU.
    Software,
    /// The CPU.
    Cpu,
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete gpu",
            Self::Integrated => "integrated gpu",
            Self::Virtual => "virtual gpu",
            Self::Other => "other",
            Self::Software => "software",
            Self::Cpu => "cpu",
        })
    }
}
