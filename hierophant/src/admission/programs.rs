//! Registration of programs.
//!
//! A program is claimed by the client that registers it first. It is refuted if a worker cannot load it or derives
//! another key from it; then it counts as not registered, and any client may register it again. It is confirmed by an
//! accepted proof, and then only an operator can replace it.

use hierophant_model::clients::{OverQuota, Signer, has_room};
use hierophant_model::records::{ArtifactKind, Change, Millis, ProgramRecord, ProgramState};
use network_lib::ids::VkHash;
use network_lib::job::BlobInfo;

use super::locks::LockKey;
use super::rejected::MAX_VK_BYTES;
use super::{Admission, Reference, Rejected};
use crate::artifacts::program::looks_like_program;
use crate::verify;

/// Bytes of an uploaded program that are inspected.
const PROGRAM_HEAD_BYTES: usize = 128 * 1024;

/// A program as the client states it.
#[derive(Debug, Clone)]
pub struct NewProgram {
    /// Signer of the call.
    pub signer: Signer,
    /// Id of the program.
    pub vk_hash: VkHash,
    /// Verifying key.
    pub vk: Vec<u8>,
    /// The uploaded program.
    pub program: Reference,
}

/// Outcome of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The upload is now that of the program.
    Stored,
    /// The program has an upload already, which stays.
    Kept,
}

impl Registered {
    /// The outcome for the client.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Kept => "kept",
        }
    }
}

impl Admission {
    /// Checks and registers a program. Until a proof confirms it, its client may replace it; nothing else is replaced.
    ///
    /// # Errors
    ///
    /// [`Rejected`] for the first fault.
    pub async fn register(&self, new: NewProgram) -> Result<Registered, Rejected> {
        let NewProgram { signer, vk_hash, vk, program } = new;
        if vk.is_empty() || vk.len() > MAX_VK_BYTES {
            return Err(Rejected::VerifyingKey(vk.len()));
        }
        if !self.mock_mode {
            // Otherwise any bytes could take the place of a program whose id is public.
            verify::check_key(&vk, vk_hash).map_err(Rejected::WrongKey)?;
        }
        program.check_length()?;
        let (upload, blob) = self.uploaded(&signer, &program).await?;
        if upload.kind != ArtifactKind::Program {
            let (field, kind) = (program.field, upload.kind);
            return Err(Rejected::WrongKind { field, kind, expected: "program" });
        }
        // Before the upload is read, and without a lock: a flood of such calls costs a look-up each, and holds up none of
        // those that change something.
        if let Some(known) = self.program(vk_hash).await?
            && self.stays(&known, &signer, &vk, blob)
        {
            return Ok(Registered::Kept);
        }
        let head = self.blobs.read_head(upload.id, PROGRAM_HEAD_BYTES).await;
        let head = head.map_err(Rejected::Blobs)?;
        let verdict = tokio::task::spawn_blocking(move || looks_like_program(&head)).await;
        verdict
            .unwrap_or_else(|_| Err("the upload cannot be decoded".into()))
            .map_err(Rejected::NotProgram)?;
        let client = self.clients.of_signer(&signer);
        let _quota = self.registering.lock(LockKey::Client(client)).await;
        let _program = self.registering.lock(LockKey::Program(vk_hash)).await;
        let known = self.program(vk_hash).await?;
        let owner = signer.address;
        if known.as_ref().is_some_and(|known| self.stays(known, &signer, &vk, blob)) {
            return Ok(Registered::Kept);
        }
        if known.is_none() {
            self.check_program_quota(&signer).await?;
        }
        let program = ProgramRecord {
            vk_hash,
            vk,
            artifact: upload.id,
            blob,
            owner,
            client: signer.client.clone(),
            state: ProgramState::Claimed,
            // A replacement keeps its place in the pages of a list.
            created_at: known.map_or_else(Millis::now, |known| known.created_at),
        };
        let changes = [Change::CountNonce(owner), Change::Program(program)];
        self.store.commit(&changes).await.map_err(Rejected::Store)?;
        let client = signer.client.as_deref();
        tracing::info!(%vk_hash, %owner, client, bytes = blob.size, "program registered");
        Ok(Registered::Stored)
    }

    /// Whether a registered program stays as it is.
    fn stays(&self, known: &ProgramRecord, signer: &Signer, vk: &[u8], blob: BlobInfo) -> bool {
        let owner = self.clients.of(known.owner, known.client.as_ref());
        let is_same = known.vk == vk && known.blob == blob;
        is_same || known.state == ProgramState::Confirmed || owner != self.clients.of_signer(signer)
    }

    /// A registered program that is not refuted and whose data is present.
    ///
    /// # Errors
    ///
    /// [`Rejected::Store`] and [`Rejected::Blobs`].
    pub async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, Rejected> {
        let program = self.store.program(vk_hash).await.map_err(Rejected::Store)?;
        let Some(program) = program.filter(|program| program.state != ProgramState::Refuted) else {
            return Ok(None);
        };
        let held = self.blobs.holds(program.artifact, program.blob.size).await;
        let held = held.map_err(Rejected::Blobs)?;
        if !held {
            tracing::warn!(%vk_hash, "data of a registered program missing");
        }
        Ok(held.then_some(program))
    }

    /// Checks that a signer's client may register one more program.
    async fn check_program_quota(&self, signer: &Signer) -> Result<(), Rejected> {
        let client = self.clients.of_signer(signer);
        let max = self.clients.quota(&client).programs;
        if max == 0 {
            return Ok(());
        }
        let records = self.clients.records(&client);
        let registered = self.store.programs_registered(&records).await.map_err(Rejected::Store)?;
        if has_room(registered, max) {
            return Ok(());
        }
        let over = OverQuota::Programs(max);
        self.metrics.over_quota(self.clients.label(&client), over);
        Err(over.into())
    }
}
