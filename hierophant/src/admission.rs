//! Admission: decides whether a client's proof request or program is accepted.
//!
//! Knows no wire format: the gRPC services convert what they receive, and say [`Rejected`] in status codes.

mod locks;
mod programs;
mod rejected;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use hierophant_model::clients::{Clients, Signer};
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Millis, NetworkMode, ProgramState};
use hierophant_scheduler::proofs::NewRequest;
use hierophant_store::JobStore;
use network_lib::ids::{RequestId, Sha256Digest, VkHash};
use network_lib::job::{BlobInfo, JobSpec, ProofMode};

use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::metrics::Metrics;
use crate::verify;

pub use locks::Locks;
pub use programs::{NewProgram, Registered};
pub use rejected::{Reference, Rejected, bounded, check_whitelist};

/// Maximum length of a version in bytes. Real ones look like `sp1-v6.1.0`.
pub const MAX_VERSION_BYTES: usize = 64;

/// A proof request as the client states it.
#[derive(Debug, Clone)]
pub struct ProofRequest {
    /// Signer of the call.
    pub signer: Signer,
    /// Id of the program.
    pub vk_hash: VkHash,
    /// Kind of proof.
    pub mode: ProofMode,
    /// `sp1-` and the circuit version.
    pub version: String,
    /// Maximum cycles of the execution.
    pub cycle_limit: u64,
    /// Maximum prover gas of the execution.
    pub gas_limit: u64,
    /// The input.
    pub stdin: Reference,
    /// Whether the client declares the input as private.
    pub stdin_private: bool,
    /// Digest of the public values that the client expects, if it states one.
    pub stated_digest: Option<Sha256Digest>,
    /// Network variant that the client speaks.
    pub network_mode: NetworkMode,
    /// Strategy; stored without effect.
    pub strategy: i32,
    /// Deadline, Unix seconds.
    pub deadline: u64,
    /// Auction period; stored without effect.
    pub min_auction_period: u64,
    /// Whitelist; stored without effect.
    pub whitelist: Vec<Address>,
}

/// Decides what is accepted.
#[derive(Debug)]
pub struct Admission {
    /// Programs, artifacts and jobs.
    pub store: Arc<dyn JobStore>,
    /// Artifact data.
    pub blobs: Blobs,
    /// Free storage.
    pub budget: DiskBudget,
    /// Client names and quotas.
    pub clients: Clients,
    /// Metrics.
    pub metrics: Metrics,
    /// Maximum time until a deadline.
    pub max_deadline: Duration,
    /// Whether mock proofs are accepted.
    pub mock_mode: bool,
    /// Whether an artifact may be used by its owner only. Without authentication there are no owners.
    pub owners_only: bool,
    /// Locks of registrations.
    pub registering: Locks,
}

impl Admission {
    /// Checks that there is storage for new work.
    ///
    /// # Errors
    ///
    /// [`Rejected::StorageLow`].
    pub fn check_storage(&self) -> Result<(), Rejected> {
        Ok(self.budget.admit(0)?)
    }

    /// Checks a proof request and resolves its program and input.
    ///
    /// # Errors
    ///
    /// [`Rejected`] for the first fault.
    pub async fn admit(&self, request: ProofRequest) -> Result<NewRequest, Rejected> {
        bounded("version", request.version.len(), MAX_VERSION_BYTES, "bytes")?;
        request.stdin.check_length()?;
        let circuit_version = request.version.strip_prefix("sp1-").filter(|v| v.starts_with('v'));
        let Some(circuit_version) = circuit_version.map(str::to_owned) else {
            return Err(Rejected::Version(request.version));
        };
        self.check_deadline(request.deadline)?;
        let vk_hash = request.vk_hash;
        let program = self.program(vk_hash).await?.ok_or(Rejected::UnknownProgram(vk_hash))?;
        if !self.mock_mode {
            // A proof that could not be verified would be made for nothing.
            verify::will_be_verifiable(&program, request.mode, &circuit_version)
                .map_err(Rejected::Unverifiable)?;
        }
        let (stdin, stdin_blob) = self.uploaded(&request.signer, &request.stdin).await?;
        if ![ArtifactKind::Stdin, ArtifactKind::PrivateStdin].contains(&stdin.kind) {
            let (field, kind) = (request.stdin.field, stdin.kind);
            return Err(Rejected::WrongKind { field, kind, expected: "stdin or private_stdin" });
        }
        Ok(NewRequest {
            id: RequestId::random(),
            requester: request.signer.address,
            client: request.signer.client,
            token: request.signer.token,
            stated_digest: request.stated_digest,
            spec: JobSpec {
                vk_hash,
                circuit_version,
                mode: request.mode,
                cycle_limit: request.cycle_limit,
                gas_limit: request.gas_limit,
            },
            program: program.artifact,
            program_blob: program.blob,
            program_confirmed: program.state == ProgramState::Confirmed,
            stdin: stdin.id,
            stdin_blob,
            network_mode: request.network_mode,
            strategy: request.strategy,
            version: request.version,
            stdin_uri: request.stdin.uri,
            stdin_private: request.stdin_private || stdin.kind == ArtifactKind::PrivateStdin,
            deadline: request.deadline,
            min_auction_period: request.min_auction_period,
            whitelist: request.whitelist,
        })
    }

    /// The uploaded artifact that a URI names. One of another client is answered as if it did not exist: a client
    /// that could use it would learn its content, and one that could tell it from an unknown one would learn of it.
    async fn uploaded(
        &self,
        signer: &Signer,
        reference: &Reference,
    ) -> Result<(ArtifactRecord, BlobInfo), Rejected> {
        let Some(id) = reference.artifact else {
            return Err(Rejected::ForeignUri(reference.clone()));
        };
        let record = self.store.artifact(id).await.map_err(Rejected::Store)?;
        let Some(record) = record.filter(|record| self.may_use(signer, record)) else {
            return Err(Rejected::NeverIssued(reference.clone()));
        };
        if record.expired_at.is_some() {
            return Err(Rejected::Expired(reference.clone()));
        }
        match record.blob {
            Some(blob) => Ok((record, blob)),
            None => Err(Rejected::NotUploaded(reference.clone())),
        }
    }

    fn may_use(&self, signer: &Signer, record: &ArtifactRecord) -> bool {
        let owner = self.clients.of(record.owner, record.client.as_ref());
        !self.owners_only || owner == self.clients.of_signer(signer)
    }

    fn check_deadline(&self, deadline: u64) -> Result<(), Rejected> {
        let (now, max) = (Millis::now().seconds(), self.max_deadline);
        if deadline <= now {
            return Err(Rejected::DeadlinePassed(deadline));
        }
        if deadline > now.saturating_add(max.as_secs()) {
            return Err(Rejected::DeadlineTooFar { deadline, max });
        }
        Ok(())
    }
}
