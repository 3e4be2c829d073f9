//! Reasons to reject a proof, as text for operators, and whose fault each is.

use std::io;
use std::time::Duration;

use hierophant_model::text::error_chain;
use hierophant_store::StoreError;
use network_lib::handshake::Backend;
use network_lib::ids::VkHash;
use network_lib::job::{Failure, FailureClass, ProofMode};

use super::{KeyError, Unverifiable};

/// Why a proof is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    /// The file cannot be read.
    #[error("cannot read the stored proof")]
    Unreadable(#[source] io::Error),
    /// The program cannot be looked up.
    #[error("cannot look up the program of the proof")]
    Store(#[source] StoreError),
    /// The program no longer exists.
    #[error("program {0} is no longer registered")]
    NoProgram(VkHash),
    /// No checking process can be started.
    #[error("cannot start a process to check the proof")]
    NoProcess(#[source] io::Error),
    /// The checking process does not begin.
    #[error("the process that checks the proof has not begun within {0:?}")]
    NoBeginning(Duration),
    /// A checking process that ended before it had anything of the proof.
    #[error("the checking process ended {how} before it had the proof ({output})")]
    EndedEarly {
        /// How it ended.
        how: String,
        /// Last line of its error output.
        output: String,
    },
    /// A checking process that was ended by a signal that neither the kernel nor the process itself sends.
    #[error("the checking process was ended from outside, {0}")]
    EndedFromOutside(String),
    /// The file cannot be read in time.
    #[error("cannot read the stored proof within {0:?} (`proofs.check_time`)")]
    ReadTooLong(Duration),
    /// The check did not finish because Hierophant is stopping.
    #[error("the check was not finished: {0}")]
    Stopped(String),

    /// No proof of the program could be verified.
    #[error("invalid verifying key of the program")]
    Key(#[source] KeyError),
    /// No proof of the mode or version could be verified.
    #[error(transparent)]
    Unverifiable(#[from] Unverifiable),

    /// Empty file.
    #[error("the proof is empty")]
    Empty,
    /// Another mode.
    #[error("a {found} proof was handed in: expected a {wanted} proof")]
    WrongMode {
        /// Mode of the proof.
        found: ProofMode,
        /// Mode of the request.
        wanted: ProofMode,
    },
    /// The file is shorter than its content claims.
    #[error("the proof is truncated after {size} bytes")]
    Truncated {
        /// Length in bytes.
        size: u64,
    },
    /// Not a proof.
    #[error("not an SP1 proof: {0}")]
    Undecodable(String),
    /// Bytes after the proof.
    #[error("{0} unexpected bytes after the proof")]
    Trailing(u64),
    /// Another circuit version.
    #[error("the proof is of circuit version {found:?}: expected {wanted}")]
    WrongVersion {
        /// Version in the proof.
        found: String,
        /// Version of the request.
        wanted: String,
    },
    /// Public values other than the reported ones.
    #[error("the proof carries other public values than the worker reported")]
    OtherPublicValues,
    /// Public values that the proof does not prove.
    #[error("the proof does not commit to its public values")]
    UncommittedPublicValues,
    /// A part of a proof that proves another part of the execution.
    #[cfg(feature = "core-verification")]
    #[error("the part proves another range of the execution")]
    OtherRange,
    /// A proof of another program.
    #[error("the proof is of another program")]
    OtherProgram,
    /// A proof of a failed execution.
    #[error("the proof is of an execution that ended with exit code {0}")]
    ExitCode(u64),
    /// A proof for another version's circuit.
    #[error("the proof is of another circuit: {0}")]
    OtherCircuit(&'static str),
    /// Contradictory parts.
    #[error("the proof contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// An invalid proof.
    #[error("the proof does not verify: {0}")]
    Invalid(String),
    /// SP1's verifier panicked.
    #[error("the proof does not verify: SP1's verifier panicked: {0}")]
    Panicked(String),
    /// The checking process ended during the check.
    #[error(
        "the proof cannot be checked: the checking process, which may use {memory} MiB, ended {how} ({output})"
    )]
    CheckDied {
        /// How it ended.
        how: String,
        /// Last line of its error output.
        output: String,
        /// Its memory limit in MiB.
        memory: u64,
        /// Whether it was killed: because the machine's memory ran out, or from outside.
        is_killed: bool,
    },
    /// The file does not fit into the memory of the check.
    #[error("the proof cannot be checked: it does not fit into the {0} MiB that its check may use")]
    TooLarge(u64),
    /// The check exceeded its time.
    #[error("the proof cannot be checked within {0:?} (`proofs.check_time`)")]
    CheckTooLong(Duration),
    /// Hierophant itself ended during the check, also when it was the only one.
    #[error(
        "the proof cannot be checked: Hierophant has ended twice during its check, the second time without any other"
    )]
    EndsHierophant,
    /// A mock proof of a real backend.
    #[error("a mock proof, from a worker whose backend is {}", .0.as_str())]
    MockFromProver(Backend),
    /// A mock proof where none is allowed.
    #[error("a mock proof, and `mock_mode` is off")]
    MockNotAllowed,
}

impl Rejection {
    /// Failure of the attempt that made the proof.
    pub(super) fn failure(&self) -> Failure {
        Failure::new(self.class(), error_chain(self))
    }

    /// Whether the check says nothing about the proof, and another process may succeed at once.
    pub(super) const fn passes_soon(&self) -> bool {
        matches!(self, Self::NoProcess(_) | Self::EndedEarly { .. } | Self::EndedFromOutside(_))
    }

    fn class(&self) -> FailureClass {
        match self {
            Self::Unreadable(_)
            | Self::Store(_)
            | Self::NoProgram(_)
            | Self::NoProcess(_)
            | Self::NoBeginning(_)
            | Self::EndedEarly { .. }
            | Self::EndedFromOutside(_)
            | Self::ReadTooLong(_)
            | Self::Stopped(_) => FailureClass::Infrastructure,
            // The execution may have announced another range than that of the record.
            #[cfg(feature = "core-verification")]
            Self::OtherRange => FailureClass::Infrastructure,
            Self::Key(_) | Self::Unverifiable(_) => FailureClass::Request,
            _ => FailureClass::Worker,
        }
    }
}
