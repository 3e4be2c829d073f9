//! Faults on demand, read from a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the server behaves. The file contains one `key=value` or fault a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// `proof-time=MS`: how long a proof takes. Default: none.
    pub proof_time: Duration,
    /// `times=PATH`: the file to which the times of each proof are appended. Default: none.
    pub times: Option<PathBuf>,
    /// `version=TEXT`: the version that it logs at its start. Default: SP1's.
    pub version: Option<String>,
    /// A fault by its name: what it does instead of proving, or at its start.
    pub fault: Option<Fault>,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `exit`: ends with exit code 3 when it is to prove.
    Exit,
    /// `exit-at-start`: ends with exit code 4 at once.
    ExitAtStart,
    /// `close`: closes the connection when it is to prove.
    Close,
    /// `garbage`: answers with bytes that do not decode as an answer.
    Garbage,
    /// `four-gib`: announces an answer of 4 GiB, and keeps sending for as long as the client reads.
    FourGib,
    /// `out-of-gpu-memory`: answers as the real server does when the GPU's memory runs out.
    OutOfGpuMemory,
    /// `eat-memory`: takes main memory until it is killed.
    EatMemory,
    /// `hang`: from the next request on it no longer answers, on any connection.
    Hang,
    /// `no-prover`: panics in the task of a connection when it is to set up a program, as the real server does on a GPU
    /// that is too small.
    NoProver,
    /// `panic-in-task`: logs a task's panic as the real server does, and does not end the proof. It answers pings.
    PanicInTask,
    /// `alloc-error`: the same with the panic that a failed allocation on the GPU causes.
    AllocError,
    /// `failed-controller`: logs a failed allocation and the failure of the controller, and answers with an error that
    /// names neither.
    FailedController,
    /// `deaf`: never listens.
    Deaf,
    /// `other-key`: derives another verifying key, as a server of another version does.
    OtherKey,
    /// `other-circuit`: makes proofs of another circuit version.
    OtherCircuit,
}

impl Fault {
    const ALL: [(&'static str, Self); 15] = [
        ("exit", Self::Exit),
        ("exit-at-start", Self::ExitAtStart),
        ("close", Self::Close),
        ("garbage", Self::Garbage),
        ("four-gib", Self::FourGib),
        ("out-of-gpu-memory", Self::OutOfGpuMemory),
        ("eat-memory", Self::EatMemory),
        ("hang", Self::Hang),
        ("no-prover", Self::NoProver),
        ("panic-in-task", Self::PanicInTask),
        ("alloc-error", Self::AllocError),
        ("failed-controller", Self::FailedController),
        ("deaf", Self::Deaf),
        ("other-key", Self::OtherKey),
        ("other-circuit", Self::OtherCircuit),
    ];
}

/// The file that [`crate::serve`] reads for a server on `socket`.
#[must_use]
pub fn behaviour_file(socket: &Path) -> PathBuf {
    socket.with_extension("behaviour")
}

impl Behaviour {
    /// Reads the file; the default if it does not exist.
    #[must_use]
    pub fn read(file: &Path) -> Self {
        std::fs::read_to_string(file).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        std::fs::write(file, self.text())
    }

    /// Unknown lines are reported on standard error, where the test that wrote them looks.
    fn parse(text: &str) -> Self {
        let mut behaviour = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let fault = Fault::ALL.into_iter().find(|(word, _)| *word == line);
            match (fault, line.split_once('=')) {
                (Some((_, fault)), _) => behaviour.fault = Some(fault),
                (None, Some(("proof-time", value))) if value.parse::<u64>().is_ok() => {
                    behaviour.proof_time = Duration::from_millis(value.parse().unwrap_or_default());
                }
                (None, Some(("times", value))) => behaviour.times = Some(PathBuf::from(value)),
                (None, Some(("version", value))) => behaviour.version = Some(value.to_owned()),
                _ => eprintln!("unknown behaviour: {line}"),
            }
        }
        behaviour
    }

    fn text(&self) -> String {
        let mut text = format!("proof-time={}\n", self.proof_time.as_millis());
        if let Some(times) = &self.times {
            text += &format!("times={}\n", times.display());
        }
        if let Some(version) = &self.version {
            text += &format!("version={version}\n");
        }
        let word = Fault::ALL.into_iter().find(|(_, fault)| Some(*fault) == self.fault);
        if let Some((word, _)) = word {
            text += &format!("{word}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (_, fault) in Fault::ALL {
            let behaviour = Behaviour {
                proof_time: Duration::from_millis(1500),
                times: Some(PathBuf::from("/data/times")),
                version: Some("6.0.0".to_owned()),
                fault: Some(fault),
            };
            assert_eq!(Behaviour::parse(&behaviour.text()), behaviour);
        }
        assert_eq!(Behaviour::parse("proof-time=x\nnonsense"), Behaviour::default());
    }
}
