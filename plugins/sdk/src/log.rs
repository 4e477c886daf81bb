//! The plugin's voice in the host's log; under test it speaks to standard error.

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// For an author who looks for a fault.
    Debug,
    /// For the operator of the host.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line. The macros [`info!`](crate::info) and its neighbours format it too.
///
/// The host keeps 64 lines of 1 KiB for each call.
pub fn write(level: Level, text: &str) {
    #[cfg(target_family = "wasm")]
    crate::export::log(level, text);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {text}");
}

/// Writes a line at trace level, with the arguments of [`format!`].
#[macro_export]
macro_rules! trace {
    ($($argument:tt)+) => { $crate::write($crate::Level::Trace, &::std::format!($($argument)+)) };
}

/// Writes a line at debug level, with the arguments of [`format!`].
#[macro_export]
macro_rules! debug {
    ($($argument:tt)+) => { $crate::write($crate::Level::Debug, &::std::format!($($argument)+)) };
}

/// Writes a line at info level, with the arguments of [`format!`].
#[macro_export]
macro_rules! info {
    ($($argument:tt)+) => { $crate::write($crate::Level::Info, &::std::format!($($argument)+)) };
}

/// Writes a line at warn level, with the arguments of [`format!`].
#[macro_export]
macro_rules! warn {
    ($($argument:tt)+) => { $crate::write($crate::Level::Warn, &::std::format!($($argument)+)) };
}

/// Writes a line at error level, with the arguments of [`format!`].
#[macro_export]
macro_rules! error {
    ($($argument:tt)+) => { $crate::write($crate::Level::Error, &::std::format!($($argument)+)) };
}
