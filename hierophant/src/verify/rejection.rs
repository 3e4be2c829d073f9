//! Reasons to reject a proof, as text for operators, and whose fault each is.

use std::io;

use hierophant_model::text::error_chain;
use network_lib::handshake::Backend;
use network_lib::ids::VkHash;
use network_lib::job::{Failure, FailureClass, ProofMode};

use super::{KeyError, Unverifiable};
use hierophant_store::StoreError;

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    /// The file cannot be read here.
    #[error("the stored proof cannot be read")]
    Unreadable(#[source] io::Error),
    /// The program cannot be looked up.
    #[error("the program of the proof cannot be looked up")]
    Store(#[source] StoreError),
    /// The program is gone.
    #[error("program {0} is not registered any more")]
    NoProgram(VkHash),
    /// The check was not carried out, because Hierophant stops.
    #[error("the check was not finished: {0}")]
    Stopped(String),

    /// No proof of this program could be checked.
    #[error("the program's verifying key cannot be used")]
    Key(#[source] KeyError),
    /// No proof of this kind or version can be checked.
    #[error(transparent)]
    Unverifiable(#[from] Unverifiable),

    /// No bytes at all.
    #[error("the proof is empty")]
    Empty,
    /// It is one of the other kinds.
    #[error("a {found} proof was handed in: expected a {wanted} proof")]
    WrongMode {
        /// What was handed in.
        found: ProofMode,
        /// What was asked for.
        wanted: ProofMode,
    },
    /// It ends before its end, or claims lengths that it has not.
    #[error("the proof is truncated after {size} bytes")]
    Truncated {
        /// Length in bytes.
        size: u64,
    },
    /// It does not decode.
    #[error("not an SP1 proof: {0}")]
    Undecodable(String),
    /// More than a proof.
    #[error("{0} bytes follow the proof that do not belong to it")]
    Trailing(u64),
    /// It says that it is of another version.
    #[error("the proof is of circuit version {found:?}: expected {wanted}")]
    WrongVersion {
        /// What it says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Its public values are not the execution's.
    #[error("the proof carries other public values than the worker reported")]
    OtherPublicValues,
    /// Its public values are not those that it proves.
    #[error("the proof does not commit to the public values that it carries")]
    UncommittedPublicValues,
    /// It proves another program.
    #[error("the proof is of another program")]
    OtherProgram,
    /// It proves that the program failed.
    #[error("the proof is of an execution that ended with exit code {0}")]
    ExitCode(u64),
    /// It was made for a circuit that is not this version's.
    #[error("the proof is of another circuit: {0}")]
    OtherCircuit(&'static str),
    /// Its parts contradict each other.
    #[error("the proof contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// It is wrong.
    #[error("the proof does not verify: {0}")]
    Invalid(String),
    /// SP1 gave up on it.
    #[error("the proof does not verify: SP1's verifier panicked: {0}")]
    Panicked(String),
    /// A proof that proves nothing, where one was asked for that does.
    #[error("a mock proof, from a Contemplant whose backend is {}", .0.as_str())]
    MockFromProver(Backend),
    /// A proof that proves nothing, where none is allowed.
    #[error("a mock proof, and `mock_mode` is off")]
    MockNotAllowed,
}

impl Rejection {
    /// What it means for the attempt that made the proof.
    pub(super) fn failure(&self) -> Failure {
        Failure::new(self.class(), error_chain(self))
    }

    fn class(&self) -> FailureClass {
        match self {
            Self::Unreadable(_) | Self::Store(_) | Self::NoProgram(_) | Self::Stopped(_) => {
                FailureClass::Infrastructure
            }
            Self::Key(_) | Self::Unverifiable(_) => FailureClass::Request,
            _ => FailureClass::Worker,
        }
    }
}
