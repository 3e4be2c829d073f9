//! Access of workers to the bytes of tasks.

use hierophant_model::records::Millis;
use network_lib::ids::{ArtifactId, JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Failure, FailureClass};

use super::{Effect, ProofsCore};
use crate::proofs::shards::Place;
use crate::proofs::{AssemblyError, HandIn, TaskBlob};

/// Pause before a proof is assembled again whose bytes were unavailable, in milliseconds.
const ASSEMBLE_AGAIN_MS: i64 = 10_000;

impl ProofsCore {
    /// Whether `worker` may fetch a blob under the lease of its task.
    #[must_use]
    pub fn task_blob(&self, lease: LeaseId, worker: WorkerId, blob: Sha256Digest) -> TaskBlob {
        let Some((job, task)) = self.divisions.held(worker, lease) else {
            return TaskBlob::Refused;
        };
        let Some(division) = self.divisions.jobs.get(&job) else { return TaskBlob::Refused };
        let inputs = division.tasks.inputs(task);
        let Some(input) = inputs.iter().find(|input| input.sha256 == blob) else {
            return TaskBlob::Gone;
        };
        match division.tasks.place(blob) {
            Place::Stored => TaskBlob::Readable { job, size: input.size },
            Place::Expected => TaskBlob::Expected { job },
            Place::Nowhere => TaskBlob::Gone,
        }
    }

    /// Whether `worker` may hand in a blob under a lease: its own one, or one whose task needs a record that this worker
    /// was asked to hand in. `None` if it may not.
    #[must_use]
    pub fn may_hand_in(
        &self,
        lease: LeaseId,
        worker: WorkerId,
        blob: Sha256Digest,
    ) -> Option<HandIn> {
        let job = self.divisions.attempts.get(&lease)?.record.job;
        let tasks = &self.divisions.jobs.get(&job)?.tasks;
        let most = self.limits.sharding.max_blob_bytes;
        let most_bytes = tasks.may_hand_in((worker, lease), blob, most)?;
        Some(HandIn { job, most_bytes })
    }

    /// A blob of `job` that `worker` handed in under a lease is stored. Returns whether the lease still counts; a blob that is not
    /// needed is freed by an effect.
    #[must_use]
    pub fn handed_in(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        job: JobId,
        blob: BlobInfo,
    ) -> (bool, Vec<Effect>) {
        let mut effects = Vec::new();
        let counts = self.may_hand_in(lease, worker, blob.sha256).is_some();
        if self.divisions.jobs.contains_key(&job) {
            self.with_tasks(now, job, &mut effects, |tasks| tasks.handed_in(lease, blob));
        } else {
            effects.push(Effect::FreeTaskBlob(job, blob.sha256));
        }
        (counts, effects)
    }

    /// A blob that counts as stored is missing.
    #[must_use]
    pub fn task_blob_missing(
        &mut self,
        now: Millis,
        job: JobId,
        blob: Sha256Digest,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.with_tasks(now, job, &mut effects, |tasks| tasks.blob_lost(now, blob));
        self.dispatch(now, &mut effects);
        effects
    }

    /// The proof of an attempt is assembled and stored, or could not be assembled. A lost part is made again; what is
    /// unavailable is tried again later.
    #[must_use]
    pub fn assembled(
        &mut self,
        now: Millis,
        lease: LeaseId,
        assembled: Result<(ArtifactId, BlobInfo), AssemblyError>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        match assembled {
            Ok((proof, blob)) => {
                effects = self.proof_stored(now, lease, proof, blob).1;
                self.check_if_handed_in(now, lease, &mut effects);
            }
            Err(AssemblyError::Unavailable) => {
                let mut divisions = self.divisions.jobs.values_mut();
                if let Some(division) = divisions.find(|division| division.attempt == lease) {
                    division.assemble_at = Some(Millis(now.0.saturating_add(ASSEMBLE_AGAIN_MS)));
                }
            }
            Err(AssemblyError::Lost(part)) => self.part_lost(now, lease, part, &mut effects),
        }
        self.dispatch(now, &mut effects);
        effects
    }

    fn part_lost(
        &mut self,
        now: Millis,
        lease: LeaseId,
        part: Sha256Digest,
        effects: &mut Vec<Effect>,
    ) {
        let Some(job) = self.leases.get(&lease).map(|held| held.job) else { return };
        let Some(division) = self.divisions.jobs.get_mut(&job) else { return };
        division.assembly = None;
        match division.tasks.part_lost(now, part) {
            Ok(decided) => self.carry_out(now, job, decided, effects),
            Err(error) => {
                let failure = Failure::new(FailureClass::Infrastructure, error.to_string());
                self.fail_attempt(now, lease, failure, effects);
            }
        }
    }

    /// Assembles again what was unavailable some time ago.
    pub(super) fn assemble_again(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for division in self.divisions.jobs.values_mut() {
            if division.assemble_at.is_some_and(|at| at <= now) {
                division.assemble_at = None;
                effects.extend(division.assembly.clone().map(Effect::Assemble));
            }
        }
    }
}
