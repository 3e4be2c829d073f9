//! Access of workers to the bytes of tasks.

use hierophant_model::records::Millis;
use network_lib::ids::{ArtifactId, JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::job::BlobInfo;

use super::{Effect, ProofsCore};
use crate::proofs::{AssemblyError, HandIn, TaskBlob};

impl ProofsCore {
    /// Whether `worker` may fetch a blob under the lease of its task.
    #[must_use]
    pub fn task_blob(&self, _lease: LeaseId, _worker: WorkerId, _blob: Sha256Digest) -> TaskBlob {
        TaskBlob::Refused
    }

    /// Whether `worker` may hand in a blob under a lease: its own one, or one whose task needs a record that this worker
    /// was asked to hand in. `None` if it may not.
    #[must_use]
    pub fn may_hand_in(
        &self,
        _lease: LeaseId,
        _worker: WorkerId,
        _blob: Sha256Digest,
    ) -> Option<HandIn> {
        None
    }

    /// A blob that `worker` handed in under a lease is stored. Returns whether the lease still counts; a blob that is not
    /// needed is freed by an effect.
    #[must_use]
    pub fn handed_in(
        &mut self,
        _now: Millis,
        _worker: WorkerId,
        _lease: LeaseId,
        _blob: BlobInfo,
    ) -> (bool, Vec<Effect>) {
        (false, Vec::new())
    }

    /// A blob that counts as stored is missing.
    #[must_use]
    pub fn task_blob_missing(
        &mut self,
        _now: Millis,
        _job: JobId,
        _blob: Sha256Digest,
    ) -> Vec<Effect> {
        Vec::new()
    }

    /// The proof of an attempt is assembled and stored, or could not be assembled.
    #[must_use]
    pub fn assembled(
        &mut self,
        _now: Millis,
        _lease: LeaseId,
        _assembled: Result<(ArtifactId, BlobInfo), AssemblyError>,
    ) -> Vec<Effect> {
        Vec::new()
    }
}
