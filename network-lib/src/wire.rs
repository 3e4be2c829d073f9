//! The messages between Hierophant and Contemplant: JSON text frames on one WebSocket.
//!
//! Bytes (program, input, proof) never travel here; they are sent by HTTP under the attempt's lease:
//! [`program_path`], [`stdin_path`] and [`proof_path`], on the host and port that the Contemplant
//! already talks to, with the key of its welcome. `docs/worker-protocol.md` shows one example of each message.

use serde::{Deserialize, Serialize};

use crate::handshake::{Capabilities, GpuLoad, Hello, Refusal, Welcome};
use crate::ids::LeaseId;
use crate::job::{BlobInfo, Execution, Failure, JobSpec, Progress};
use crate::shard::{TaskFromWorker, TaskToWorker};

/// Path of the WebSocket on Hierophant's HTTP port.
pub const WEBSOCKET_PATH: &str = "/ws";

/// Where the attempt's program is fetched (`GET`): the client's upload, byte for byte.
#[must_use]
pub fn program_path(lease: LeaseId) -> String {
    format!("/leases/{lease}/program")
}

/// Where the attempt's input is fetched (`GET`): the client's upload, byte for byte.
#[must_use]
pub fn stdin_path(lease: LeaseId) -> String {
    format!("/leases/{lease}/stdin")
}

/// Header of an answer to a proof that Hierophant will not accept however often it is handed in. Its value is the
/// reason, for people. A proxy does not send it, so that its own refusals cost no proof.
pub const REJECTION_HEADER: &str = "x-hierophant-rejection";

/// Header of an answer (403, 410) by which Hierophant ends an attempt: its lease is not valid, or its data are missing.
/// The value is for people. A proxy does not send it, so that its own refusals cost no proof.
pub const LEASE_ENDED_HEADER: &str = "x-hierophant-lease-ended";

/// Header of the answer that upgrades a connection to a WebSocket. Its value is the absolute path of the file whose
/// content proves that a worker runs on Hierophant's machine.
pub const LOCAL_SECRET_HEADER: &str = "x-hierophant-local-secret";

/// Where the attempt's proof is handed in (`PUT`), as plain bincode of SP1's `ProofFromNetwork`.
#[must_use]
pub fn proof_path(lease: LeaseId) -> String {
    format!("/leases/{lease}/proof")
}

/// From Contemplant to Hierophant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// First message on a socket.
    Hello(Hello),
    /// Sign of life, at the interval that the welcome gave, also while proving.
    Heartbeat {
        /// Attempts that it is working on or holding a proof of.
        held: Vec<LeaseId>,
        /// How busy its GPUs are, in the order of its capabilities; empty where that is not known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gpus: Vec<GpuLoad>,
    },
    /// What it can prove has changed, for instance because a prover has finished warming up.
    CapabilitiesChanged {
        /// The whole new set.
        capabilities: Capabilities,
    },
    /// The attempt has gone on.
    Progress {
        /// The attempt.
        lease_id: LeaseId,
        /// How far it is.
        progress: Progress,
    },
    /// The program has been executed; the proof is still being made.
    Executed {
        /// The attempt.
        lease_id: LeaseId,
        /// What the execution found.
        execution: Execution,
    },
    /// The proof is made and has been handed in by HTTP.
    Completed {
        /// The attempt.
        lease_id: LeaseId,
        /// What the execution found.
        execution: Execution,
        /// Size and digest of the proof that was handed in.
        proof: BlobInfo,
    },
    /// The attempt has failed.
    Failed {
        /// The attempt.
        lease_id: LeaseId,
        /// How, and who is to blame.
        failure: Failure,
    },
    /// It wants no more jobs; it finishes what it holds and then closes the socket.
    Draining {
        /// For people.
        reason: String,
    },
    /// About a task (version 3).
    #[serde(untagged)]
    Task(TaskFromWorker),
}

/// From Hierophant to Contemplant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// The handshake fits.
    Welcome(Welcome),
    /// The handshake does not fit; the socket closes.
    Refused(Refusal),
    /// Start an attempt.
    Prove {
        /// The attempt.
        lease_id: LeaseId,
        /// What to prove.
        spec: JobSpec,
        /// The program as it will arrive.
        program: BlobInfo,
        /// The input as it will arrive.
        stdin: BlobInfo,
        /// The attempt's place in the job's trace, as W3C's `traceparent`; the trace's id is the job's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
    /// Stop an attempt; its result is no longer wanted.
    Cancel {
        /// The attempt.
        lease_id: LeaseId,
        /// For people.
        reason: String,
    },
    /// The end of an attempt is stored, or is no longer needed: the worker need not report it again.
    Settled {
        /// The attempt.
        lease_id: LeaseId,
    },
    /// Take no more jobs, finish what is held, then close the socket.
    Drain {
        /// For people.
        reason: String,
    },
    /// About a task (version 3).
    #[serde(untagged)]
    Task(TaskToWorker),
}
