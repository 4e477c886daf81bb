//! What a run ran on: the machine, the versions of everything, the commit.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use millrace_tests::broker::Broker;
use millrace_tests::figures::{Machine, Version};
use millrace_tests::samples::root;

use crate::supplies::must_succeed;

/// What the peers run on.
const PACKAGES: &str = "pika aio-pika aiormq torch torchvision onnxruntime numpy componentize-py";

/// The machine.
pub(crate) fn machine(broker: &Broker, python: Option<&Path>) -> Result<Machine> {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':')
            .map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let kibibytes: u64 = memory.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut host = Command::new(millrace_tests::host::binary()?);
    let said = must_succeed(host.arg("--version"))?;
    let mut versions = vec![
        version("Millrace", said.trim().trim_start_matches("millrace ")),
        version("RabbitMQ", broker.rabbitmqctl(&["version"])?.trim()),
        version(
            "Erlang",
            broker
                .rabbitmqctl(&["eval", "io:format(erlang:system_info(otp_release))."])?
                .trim_end_matches("ok\n"),
        ),
    ];
    if let Some(python) = python {
        versions.extend(packages(python)?);
    }
    Ok(Machine {
        cpu: line("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism()?.get(),
        memory_bytes: kibibytes << 10,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        versions,
    })
}

/// The commit, and whether files differ from it; nothing is known of a copy without its history.
pub(crate) fn commit() -> (String, bool) {
    let git = |arguments: &[&str]| must_succeed(Command::new("git").args(arguments).current_dir(root()));
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    let changes = git(&["status", "--porcelain"]).unwrap_or_default();
    (commit.trim().to_owned(), !changes.trim().is_empty())
}

fn packages(python: &Path) -> Result<Vec<Version>> {
    let program = "import platform, sys\nfrom importlib import metadata\nprint('Python', platform.python_version())\n\
                   for name in sys.argv[1].split():\n    try: print(name, metadata.version(name))\n    \
                   except metadata.PackageNotFoundError: pass";
    let said = must_succeed(Command::new(python).args(["-c", program, PACKAGES]))?;
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, found)| version(name, found)).collect())
}

fn version(name: &str, version: &str) -> Version {
    Version {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}
