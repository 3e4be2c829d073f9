//! What is proved and how it ends: the part of the job model that both programs speak.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Sha256Digest, VkHash};
use crate::named_enum;

named_enum! {
    /// Kind of proof, in the SDK's order (`ProofMode` 1 to 4 on the client wire).
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    ProofMode {
        /// A list of shard proofs, as large as the execution is long.
        Core = "core",
        /// One recursive STARK of constant size.
        Compressed = "compressed",
        /// A PLONK proof over BN254 for on-chain verification.
        Plonk = "plonk",
        /// A Groth16 proof over BN254 for on-chain verification.
        Groth16 = "groth16",
    }
}

/// What a Contemplant is asked to prove. The bytes (program, input) are fetched by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The registered program.
    pub vk_hash: VkHash,
    /// SP1 circuit version without prefix, such as `v6.1.0`: the proof must be of this version.
    pub circuit_version: String,
    /// Kind of proof wanted.
    pub mode: ProofMode,
    /// Most cycles the program may execute; `u64::MAX` = unlimited.
    pub cycle_limit: u64,
    /// Most prover gas the program may use; `u64::MAX` = unlimited, 0 = only the cycle limit counts.
    pub gas_limit: u64,
}

/// Size and digest of bytes that travel by HTTP, so that the receiver can check them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes as transferred.
    pub sha256: Sha256Digest,
}

/// What executing the program found. Equal to the SDK's own `execute` of the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// RISC-V instructions executed.
    pub cycles: u64,
    /// SP1 prover gas, when the executor computes it.
    pub gas: Option<u64>,
    /// Digest of the committed public values as the program computes it: SHA-256, unless the program
    /// was built to use BLAKE3.
    pub public_values_hash: Sha256Digest,
}

named_enum! {
    /// Step of an attempt.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Phase {
        /// Fetching program and input.
        Downloading = "downloading",
        /// Deriving the program's keys.
        SettingUp = "setting_up",
        /// Running the program to learn cycles, gas and public values.
        Executing = "executing",
        /// Making the proof.
        Proving = "proving",
        /// Handing in the proof.
        Uploading = "uploading",
    }
}

/// How far an attempt is. Every field beyond the phase is absent where it cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Current step.
    pub phase: Phase,
    /// Done part of the current step, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f32>,
    /// Cycles handled so far in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_done: Option<u64>,
    /// Cycles of the whole execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_total: Option<u64>,
    /// Seconds until the attempt is expected to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Whether fraction and ETA are estimated from past proofs instead of measured.
    #[serde(default)]
    pub estimated: bool,
    /// Most bytes of main memory that this attempt's prover has had at once so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Count of whatever has been finished in this phase, which never decreases within it: transferred bytes, tasks of
    /// a proof, seconds of processor time of an execution. Only its increase has a meaning: the attempt has moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_done: Option<u64>,
}

impl Progress {
    /// Progress of which only the step is known.
    #[must_use]
    pub const fn phase(phase: Phase) -> Self {
        Self {
            phase,
            fraction: None,
            cycles_done: None,
            cycles_total: None,
            eta_seconds: None,
            estimated: false,
            memory_bytes: None,
            steps_done: None,
        }
    }

    /// Progress of which only the step is known, and how much has been finished in it.
    #[must_use]
    pub const fn steps(phase: Phase, done: u64) -> Self {
        Self { steps_done: Some(done), ..Self::phase(phase) }
    }
}

named_enum! {
    /// Cause of a failed attempt; it decides whether the job is retried.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    FailureClass {
        /// The program itself fails on this input. Final: the request is unexecutable.
        Guest = "guest",
        /// The request cannot be served as it stands (malformed input, limit exceeded). Final.
        Request = "request",
        /// This machine failed. Retried on another worker; counts against the worker.
        Worker = "worker",
        /// Network or disk between the two programs. Retried; counts against no worker.
        Infrastructure = "infrastructure",
    }
}

impl FailureClass {
    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Worker | Self::Infrastructure)
    }
}

/// Why an execution failed, with the client wire's numbering (`ExecuteFailureCause`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionFailureCause {
    /// The program ended with an exit code other than zero, for instance by a panic.
    HaltWithNonZeroExitCode,
    /// A memory access outside or across what is allowed.
    InvalidMemoryAccess,
    /// A system call that the machine does not know.
    UnsupportedSyscall,
    /// A breakpoint instruction.
    Breakpoint,
    /// More cycles than the request's limit.
    ExceededCycleLimit,
    /// A system call used in the wrong way.
    InvalidSyscallUsage,
    /// An instruction that the machine does not implement.
    Unimplemented,
    /// The program ended inside an unconstrained block.
    EndInUnconstrained,
    /// More prover gas than the request's limit.
    ExceededGasLimit,
}

named_enum! {
    /// Kind of memory.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Memory {
        /// The machine's main memory.
        Main = "main",
        /// A GPU's device memory.
        Gpu = "gpu",
    }
}

/// Which memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// Its kind.
    pub memory: Memory,
    /// How much of it there was for the attempt, in bytes, where the Contemplant knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Beginning of the message about a program from which another verifying key than the registered one is derived.
pub const PROGRAM_MISMATCH: &str =
    "the uploaded program does not match its registered verifying key";

/// Beginning of the message about a program that cannot be loaded.
pub const PROGRAM_NOT_LOADED: &str = "the program could not be loaded";

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who is to blame.
    pub class: FailureClass,
    /// For an execution that failed: the reason in the client's terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<ExecutionFailureCause>,
    /// For class [`FailureClass::Worker`]: the memory that ran out, if that is what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<OutOfMemory>,
    /// For people: what happened, in one line.
    pub message: String,
}

impl Failure {
    /// A failure of this class that is neither a failed execution nor a lack of memory.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, cause: None, out_of_memory: None, message: message.into() }
    }

    /// Whether the program is not what its verifying key promises: it cannot be loaded, or has another key. Such a
    /// message begins with [`PROGRAM_MISMATCH`] or [`PROGRAM_NOT_LOADED`].
    #[must_use]
    pub fn refutes_program(&self) -> bool {
        let by_program = matches!(self.class, FailureClass::Request | FailureClass::Guest);
        let begins_with = |text: &&str| self.message.starts_with(text);
        by_program && [PROGRAM_MISMATCH, PROGRAM_NOT_LOADED].iter().any(begins_with)
    }

    /// The same failure with the reason why the execution failed.
    #[must_use]
    pub fn caused_by(self, cause: ExecutionFailureCause) -> Self {
        Self { cause: Some(cause), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failure: {}", self.class, self.message)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::str::FromStr;

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::handshake::Backend;
    use crate::named::UnknownName;

    fn check<T>(values: &[T])
    where
        T: Copy + Debug + PartialEq + fmt::Display + Serialize + DeserializeOwned,
        T: FromStr<Err = UnknownName>,
    {
        for value in values {
            let name = value.to_string();
            assert_eq!(name.parse::<T>().as_ref(), Ok(value));
            let json = serde_json::to_string(value).expect("serializes");
            assert_eq!(json, format!("{name:?}"), "JSON and name differ");
            assert_eq!(serde_json::from_str::<T>(&json).expect("parses"), *value);
        }
    }

    #[test]
    fn names_are_the_same_in_text_and_in_json() {
        check(&ProofMode::ALL);
        check(&Phase::ALL);
        check(&FailureClass::ALL);
        check(&Memory::ALL);
        check(&Backend::ALL);
        let error = "wraith".parse::<Backend>().expect_err("not a backend");
        assert_eq!(error.to_string(), "unknown Backend \"wraith\"");
    }
}
