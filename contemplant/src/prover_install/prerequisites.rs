//! What building the prover server needs, looked for before the build, which takes long and fails late.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::process::Command;

use super::program;

/// Main memory that the compilers of CUDA and Rust need, in bytes.
const MIN_MEMORY: u64 = 16 << 30;

/// Disk that the build needs, in bytes: three times what was measured for one architecture.
const MIN_DISK: u64 = 10 << 30;

/// Oldest GPU architecture that SP1 has kernels for.
const MIN_ARCHITECTURE: u32 = 80;

/// What a build reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name of the prerequisite.
    pub what: &'static str,
    /// What was found; as an error, what is wrong and what to do.
    pub outcome: Result<String, String>,
}

/// Architecture of a GPU, such as `sm_90`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture(u32);

impl Architecture {
    /// Its number, such as 90.
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("sm_").unwrap_or(text);
        match number.parse() {
            Ok(number @ 10..=999) => Ok(Self(number)),
            _ => Err("expected an architecture such as sm_90".to_owned()),
        }
    }
}

/// The machine as far as the build depends on it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Folders of programs, as in `PATH`.
    pub path: OsString,
    /// Available main memory in bytes, if known.
    pub memory_bytes: Option<u64>,
    /// Free disk in bytes where the build takes place, if known.
    pub disk_bytes: Option<u64>,
}

impl Machine {
    /// This machine, for a build in `folder`.
    #[must_use]
    pub fn this(folder: &Path) -> Self {
        // The folder may not exist yet, but one of its parents does.
        let existing = folder.ancestors().find(|folder| folder.exists());
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            memory_bytes: available_memory(),
            disk_bytes: existing.and_then(|folder| fs4::available_space(folder).ok()),
        }
    }

    /// The file of a program.
    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .map(|folder| folder.join(program))
            .find(|file| file.is_file())
    }

    /// What a program prints on its standard output.
    async fn output(&self, file: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(file);
        let output = program::output(command.args(arguments).env("PATH", &self.path)).await;
        let output =
            output.map_err(|error| format!("{} cannot be run: {error}", file.display()))?;
        if !output.status.success() {
            let text = [output.stderr, output.stdout].concat();
            let text = String::from_utf8_lossy(&text);
            let error = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(format!("{} has failed ({}): {error}", file.display(), output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A program that the build runs.
struct Tool {
    name: &'static str,
    version_argument: &'static str,
    /// Least major and minor version.
    least: (u32, u32),
    remedy: &'static str,
}

const TOOLS: [Tool; 7] = [
    Tool {
        name: "cargo",
        version_argument: "--version",
        least: (1, 0),
        remedy: "install Rust from https://rustup.rs",
    },
    Tool {
        name: "nvcc",
        version_argument: "--version",
        least: (12, 0),
        remedy: "install NVIDIA's CUDA Toolkit, and add its folder, such as /usr/local/cuda/bin, to PATH",
    },
    Tool {
        // It compiles what of the kernels runs on the host, as C++20.
        name: "g++",
        version_argument: "--version",
        least: (10, 0),
        remedy: "install GCC's C++ compiler (Debian, Ubuntu: build-essential)",
    },
    Tool {
        name: "cmake",
        version_argument: "--version",
        // Older ones do not know nvcc's C++20.
        least: (3, 26),
        remedy: "install CMake 3.26 or later, such as `pip install cmake`",
    },
    Tool {
        name: "clang",
        version_argument: "--version",
        least: (1, 0),
        remedy: "install clang and libclang (Debian, Ubuntu: clang libclang-dev)",
    },
    Tool {
        name: "go",
        version_argument: "version",
        least: (1, 24),
        remedy: "install Go 1.24 or later from https://go.dev/dl",
    },
    Tool {
        name: "protoc",
        version_argument: "--version",
        least: (3, 0),
        remedy: "install the protobuf compiler (Debian, Ubuntu: protobuf-compiler)",
    },
];

/// Looks for everything that the build needs and reports each finding. Returns whether all is there, and the architecture
/// to build for: `wanted`, else that of the machine's GPUs.
pub(super) async fn examine(
    machine: &Machine,
    wanted: Option<Architecture>,
    mut report: impl FnMut(&Check),
) -> (bool, Option<Architecture>) {
    let mut is_complete = true;
    let mut check = |what, outcome: Result<String, String>| {
        is_complete &= outcome.is_ok();
        report(&Check { what, outcome });
    };
    for tool in &TOOLS {
        check(tool.name, tool_fits(machine, tool).await);
    }
    check("memory", enough("available", machine.memory_bytes, MIN_MEMORY, "end other programs"));
    check(
        "disk",
        enough(
            "free",
            machine.disk_bytes,
            MIN_DISK,
            "make room, or choose another folder with --to",
        ),
    );
    let architecture = match wanted {
        Some(architecture) => Ok(architecture),
        None => architecture_of(machine).await,
    };
    let architecture = architecture.and_then(supported);
    check("gpu", architecture.clone().map(|architecture| architecture.to_string()));
    (is_complete, architecture.ok())
}

async fn tool_fits(machine: &Machine, tool: &Tool) -> Result<String, String> {
    let Tool { name, version_argument, least: (major, minor), remedy } = tool;
    let file = machine.find(name).ok_or_else(|| format!("missing: {remedy}"))?;
    let text = machine.output(&file, &[*version_argument]).await;
    let text = text.map_err(|reason| format!("{reason}; {remedy}"))?;
    let Some(found) = version_in(&text) else {
        return Err(format!("{} reports no version: {remedy}", file.display()));
    };
    if (found.0, found.1) < (*major, *minor) {
        let (old_major, old_minor) = found;
        return Err(format!(
            "{} has version {old_major}.{old_minor}: expected {major}.{minor} or later; {remedy}",
            file.display()
        ));
    }
    Ok(format!("{}.{} ({})", found.0, found.1, file.display()))
}

/// The first version in a text, such as in `go version go1.24.0 linux/amd64`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches(|sign: char| sign.is_ascii_alphabetic());
        let mut parts = word.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
        Some((major, minor.parse().ok()?))
    })
}

fn enough(word: &str, bytes: Option<u64>, least: u64, remedy: &str) -> Result<String, String> {
    // What the system does not report is not held against it.
    let Some(bytes) = bytes else { return Ok("unknown".to_owned()) };
    let text = format!("{} GiB {word}", bytes >> 30);
    if bytes < least {
        return Err(format!("{text}: expected {} GiB; {remedy}", least >> 30));
    }
    Ok(text)
}

/// The architecture of the machine's GPUs, as NVIDIA's driver reports it.
async fn architecture_of(machine: &Machine) -> Result<Architecture, String> {
    let remedy = "install NVIDIA's driver, or name the architecture, such as --arch sm_90";
    let file =
        machine.find("nvidia-smi").ok_or_else(|| format!("nvidia-smi is missing: {remedy}"))?;
    let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
    let text = machine.output(&file, &query).await;
    let text = text.map_err(|reason| format!("{reason}; {remedy}"))?;
    let mut found: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [] => Err(format!("nvidia-smi shows no GPU: {remedy}")),
        [one] => one
            .replace('.', "")
            .parse::<Architecture>()
            .map_err(|reason| format!("nvidia-smi reports \"{one}\", {reason}; {remedy}")),
        _ => Err(format!(
            "the GPUs have the compute capabilities {}: expected one, named with --arch",
            found.join(", ")
        )),
    }
}

fn supported(architecture: Architecture) -> Result<Architecture, String> {
    if architecture.number() < MIN_ARCHITECTURE {
        return Err(format!(
            "{architecture} is too old for SP1: expected sm_{MIN_ARCHITECTURE} or later"
        ));
    }
    Ok(architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_written_with_or_without_its_prefix() {
        assert_eq!("sm_90".parse(), Ok(Architecture(90)));
        assert_eq!("120".parse(), Ok(Architecture(120)));
        for wrong in ["", "sm_", "hopper", "sm_9", "9.0", "-90"] {
            assert!(wrong.parse::<Architecture>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_are_found_in_what_the_tools_print() {
        let nvcc = "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2025 NVIDIA Corporation\n\
                    Built on Fri_Feb_21_20:23:50_PST_2025\nCuda compilation tools, release 12.8, V12.8.93\n";
        for (text, version) in [
            (nvcc, (12, 8)),
            ("g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free Software", (12, 2)),
            ("cmake version 3.28.3\n\nCMake suite maintained and supported by Kitware", (3, 28)),
            ("Ubuntu clang version 18.1.3 (1ubuntu1)", (18, 1)),
            ("go version go1.24.0 linux/amd64", (1, 24)),
            ("go version go1.24rc1 linux/amd64", (1, 24)),
            ("libprotoc 3.21.12", (3, 21)),
            ("cargo 1.95.0 (a1b2c3d4e 2026-03-21)", (1, 95)),
        ] {
            assert_eq!(version_in(text), Some(version), "{text}");
        }
        assert_eq!(version_in("usage: tool"), None);
    }
}
