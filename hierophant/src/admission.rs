//! Admission: decides whether a client's proof request or program is accepted.
//!
//! Knows no wire format: the gRPC services convert what they receive, and say [`Rejected`] in status codes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use hierophant_model::clients::{Clients, OverQuota, has_room};
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, Change, Millis, NetworkMode, ProgramRecord, StorageLow, job_key,
};
use hierophant_scheduler::proofs::NewRequest;
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::{ArtifactId, RequestId, VkHash};
use network_lib::job::{BlobInfo, JobSpec, ProofMode};
use tokio::sync::Mutex;

use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::artifacts::damage;
use crate::artifacts::program::looks_like_program;
use crate::metrics::Metrics;
use crate::verify::{self, Unverifiable};

/// Maximum length of a verifying key in bytes. Real ones have about 130.
const MAX_VK_BYTES: usize = 64 * 1024;

/// Maximum length of a version in bytes. Real ones look like `sp1-v6.1.0`.
pub const MAX_VERSION_BYTES: usize = 64;

/// Maximum length of an artifact URI in bytes.
const MAX_URI_BYTES: usize = 2048;

/// Maximum number of addresses in a whitelist; each is stored.
const MAX_WHITELIST: usize = 1000;

/// Bytes of an uploaded program that are inspected.
const PROGRAM_HEAD_BYTES: usize = 128 * 1024;

/// Why a request or a program is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// A field is longer than allowed.
    #[error("{field} too long ({length} {unit}): expected at most {max}")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// Maximum length.
        max: usize,
        /// Unit of both.
        unit: &'static str,
    },
    /// The version is not that of an SP1 circuit.
    #[error("invalid version {0:?}: expected a version like \"sp1-v6.1.0\"")]
    Version(String),
    /// The deadline has passed.
    #[error("deadline {0} has passed already")]
    DeadlinePassed(u64),
    /// The deadline is too far ahead.
    #[error("deadline {deadline} is more than {} ahead", humantime::format_duration(*.max))]
    DeadlineTooFar {
        /// Deadline of the request, Unix seconds.
        deadline: u64,
        /// Maximum time until a deadline.
        max: Duration,
    },
    /// A URI does not name an artifact of this network.
    #[error("invalid {} {:?}: expected the URI of an artifact of this network", .0.field, .0.uri)]
    ForeignUri(Reference),
    /// An artifact is not of the kind that the call needs.
    #[error("{field} refers to an artifact of kind {kind}: expected {expected}")]
    WrongKind {
        /// Name of the field.
        field: &'static str,
        /// Kind of the artifact.
        kind: ArtifactKind,
        /// Expected kinds.
        expected: &'static str,
    },
    /// The verifying key is empty or too long.
    #[error("invalid verifying key of {0} bytes: expected 1 to {MAX_VK_BYTES}")]
    VerifyingKey(usize),
    /// The uploaded data is not a program.
    #[error("program_uri: {0}")]
    NotProgram(String),
    /// No ticket was ever issued for this artifact.
    #[error("{} {:?} was never issued by this network", .0.field, .0.uri)]
    NeverIssued(Reference),
    /// The artifact has expired.
    #[error("{} {:?} has expired; upload it again", .0.field, .0.uri)]
    Expired(Reference),
    /// The ticket was not used.
    #[error("nothing was uploaded to {} {:?}", .0.field, .0.uri)]
    NotUploaded(Reference),
    /// The program is not registered, or its data is missing.
    #[error("program {0} is not registered here")]
    UnknownProgram(VkHash),
    /// This build could not verify the proof.
    #[error(transparent)]
    Unverifiable(Unverifiable),
    /// A quota is exhausted.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// There is too little storage for new work.
    #[error(transparent)]
    StorageLow(#[from] StorageLow),
    /// The store could not be read or written.
    #[error("store unavailable; try again later")]
    Store(#[source] StoreError),
    /// Artifact data could not be read.
    #[error("artifact storage unavailable; try again later")]
    Blobs(#[source] io::Error),
}

/// A reference to an artifact: a field of a call and the URI in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Name of the field.
    pub field: &'static str,
    /// The URI as sent.
    pub uri: String,
    /// The artifact that the URI names, if it names one of this network.
    pub artifact: Option<ArtifactId>,
}

impl Reference {
    fn check_length(&self) -> Result<(), Rejected> {
        bounded(self.field, self.uri.len(), MAX_URI_BYTES, "bytes")
    }
}

/// A proof request as the client states it.
#[derive(Debug, Clone)]
pub struct ProofRequest {
    /// Signer of the call.
    pub requester: Address,
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

/// A program as the client states it.
#[derive(Debug, Clone)]
pub struct NewProgram {
    /// Signer of the call.
    pub owner: Address,
    /// Id of the program.
    pub vk_hash: VkHash,
    /// Verifying key.
    pub vk: Vec<u8>,
    /// The uploaded program.
    pub program: Reference,
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
    /// Lock of a registration, so that two at once cannot both take the last place of a quota.
    pub registering: Mutex<()>,
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
        let (stdin, stdin_blob) = self.uploaded(&request.stdin).await?;
        if ![ArtifactKind::Stdin, ArtifactKind::PrivateStdin].contains(&stdin.kind) {
            let (field, kind) = (request.stdin.field, stdin.kind);
            return Err(Rejected::WrongKind { field, kind, expected: "stdin or private_stdin" });
        }
        Ok(NewRequest {
            id: RequestId::random(),
            requester: request.requester,
            spec: JobSpec {
                vk_hash,
                circuit_version,
                mode: request.mode,
                cycle_limit: request.cycle_limit,
                gas_limit: request.gas_limit,
            },
            program: program.artifact,
            program_blob: program.blob,
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

    /// The proof of an earlier job with the same content, if its data is missing or damaged: the request must
    /// not join that job. Checked here and not in the scheduler, because the whole proof is read.
    ///
    /// # Errors
    ///
    /// [`Rejected::Store`] and [`Rejected::Blobs`].
    pub async fn lost_proof(&self, new: &NewRequest) -> Result<Option<ArtifactId>, Rejected> {
        let key = job_key(&new.spec, &new.stdin_blob);
        let earlier = self.store.proved_job(key).await.map_err(Rejected::Store)?;
        let Some(proof) = earlier.and_then(|job| job.proof) else { return Ok(None) };
        let record = self.store.artifact(proof).await.map_err(Rejected::Store)?;
        let Some(record) = record else { return Ok(None) };
        if damage::is_sound(&self.blobs, &record).await.map_err(Rejected::Blobs)? {
            return Ok(None);
        }
        tracing::error!("data of a finished proof missing");
        Ok(Some(proof))
    }

    /// Checks and registers a program. An owner may replace the data of a registered program; for others,
    /// registering it again has no effect.
    ///
    /// # Errors
    ///
    /// [`Rejected`] for the first fault.
    pub async fn register(&self, new: NewProgram) -> Result<(), Rejected> {
        let NewProgram { owner, vk_hash, vk, program } = new;
        if vk.is_empty() || vk.len() > MAX_VK_BYTES {
            return Err(Rejected::VerifyingKey(vk.len()));
        }
        program.check_length()?;
        let (upload, blob) = self.uploaded(&program).await?;
        if upload.kind != ArtifactKind::Program {
            let (field, kind) = (program.field, upload.kind);
            return Err(Rejected::WrongKind { field, kind, expected: "program" });
        }
        let head = self.blobs.read_head(upload.id, PROGRAM_HEAD_BYTES).await;
        let head = head.map_err(Rejected::Blobs)?;
        let verdict = tokio::task::spawn_blocking(move || looks_like_program(&head)).await;
        verdict
            .unwrap_or_else(|_| Err("the upload cannot be decoded".into()))
            .map_err(Rejected::NotProgram)?;
        let _registering = self.registering.lock().await;
        let known = self.program(vk_hash).await?;
        if known.is_none() {
            self.check_program_quota(owner).await?;
        }
        let mut changes = vec![Change::CountNonce(owner)];
        if known.is_none_or(|program| program.owner == owner) {
            changes.push(Change::Program(ProgramRecord {
                vk_hash,
                vk,
                artifact: upload.id,
                blob,
                owner,
                created_at: Millis::now(),
            }));
        }
        self.store.commit(&changes).await.map_err(Rejected::Store)?;
        tracing::info!(%vk_hash, %owner, bytes = blob.size, "program registered");
        Ok(())
    }

    /// A registered program whose data is present.
    ///
    /// # Errors
    ///
    /// [`Rejected::Store`] and [`Rejected::Blobs`].
    pub async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, Rejected> {
        let program = self.store.program(vk_hash).await.map_err(Rejected::Store)?;
        let Some(program) = program else { return Ok(None) };
        let held = self.blobs.holds(program.artifact, program.blob.size).await;
        let held = held.map_err(Rejected::Blobs)?;
        if !held {
            tracing::warn!(%vk_hash, "data of a registered program missing");
        }
        Ok(held.then_some(program))
    }

    /// The uploaded artifact that a URI names.
    async fn uploaded(
        &self,
        reference: &Reference,
    ) -> Result<(ArtifactRecord, BlobInfo), Rejected> {
        let Some(id) = reference.artifact else {
            return Err(Rejected::ForeignUri(reference.clone()));
        };
        let Some(record) = self.store.artifact(id).await.map_err(Rejected::Store)? else {
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

    /// Checks that an address may register one more program.
    async fn check_program_quota(&self, owner: Address) -> Result<(), Rejected> {
        let max = self.clients.quota(owner).programs;
        if max == 0 {
            return Ok(());
        }
        let registered = self.store.programs_registered(owner).await.map_err(Rejected::Store)?;
        if has_room(registered, max) {
            return Ok(());
        }
        let over = OverQuota::Programs(max);
        self.metrics.over_quota(self.clients.name(owner), over);
        Err(over.into())
    }
}

/// Checks the number of addresses in a whitelist.
///
/// # Errors
///
/// [`Rejected::TooLong`].
pub fn check_whitelist(length: usize) -> Result<(), Rejected> {
    bounded("whitelist", length, MAX_WHITELIST, "addresses")
}

/// Checks the length of a field.
///
/// # Errors
///
/// [`Rejected::TooLong`].
pub fn bounded(
    field: &'static str,
    length: usize,
    max: usize,
    unit: &'static str,
) -> Result<(), Rejected> {
    if length <= max { Ok(()) } else { Err(Rejected::TooLong { field, length, max, unit }) }
}
