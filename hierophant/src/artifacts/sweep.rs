//! Retention sweep: finds expired artifacts in the store, has the actor record the changes, and removes the bytes.

use std::future::ready;
use std::sync::Arc;

use futures_util::TryStreamExt;
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change, Cutoffs, Millis};
use hierophant_model::text::short_artifact_id;
use hierophant_store::{JobStore, RetentionStep, StoreError};
use network_lib::ids::ArtifactId;

use super::blobs::{Blobs, Listed};
use super::budget::DiskBudget;
use super::handle::ArtifactsHandle;

/// Maximum number of artifacts per transaction, so that other writes get their turn.
const BATCH: u32 = 200;

/// Minimum age of bytes without a record before removal: their record may follow.
const ORPHAN_AGE_MS: u64 = 24 * 3600 * 1000;

/// Number of failed removals after which a sweep stops until the next one.
const MAX_FAILURES: usize = 3;

/// Number of blobs compared with the records at once.
const PAGE: usize = 1000;

/// Number of orphans below which no safety check applies.
const FEW_ORPHANS: usize = 100;

/// Dependencies of a sweep.
#[derive(Debug, Clone)]
pub(super) struct Sweeper {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) blobs: Blobs,
    pub(super) owner: ArtifactsHandle,
    pub(super) budget: DiskBudget,
}

impl Sweeper {
    /// Deletes unused tickets, expires artifacts, restores those needed again, and removes bytes, in this order.
    pub(super) async fn sweep(&self, cutoffs: Cutoffs, now: Millis) -> Result<(), StoreError> {
        let forget = |artifact: &ArtifactRecord| Change::Forgotten(artifact.id);
        self.each(RetentionStep::Forget, &cutoffs, forget).await?;
        let expire = |artifact: &ArtifactRecord| Change::Expired(artifact.id, Some(now));
        self.each(RetentionStep::Expire, &cutoffs, expire).await?;
        let keep = |artifact: &ArtifactRecord| Change::Expired(artifact.id, None);
        self.each(RetentionStep::Keep, &cutoffs, keep).await?;
        loop {
            let found = self.store.artifacts_to(RetentionStep::Remove, &cutoffs, BATCH).await?;
            let mut changes = Vec::new();
            let mut gone = Vec::new();
            let mut bytes = 0;
            let mut failed = 0;
            for artifact in &found {
                if self.remove(artifact.id).await {
                    changes.push(Change::Removed(artifact.id, now));
                    let size = artifact.blob.map_or(0, |blob| blob.size);
                    bytes += size;
                    if artifact.kind != ArtifactKind::Proof {
                        gone.push(((artifact.owner, artifact.client.clone()), size));
                    }
                } else {
                    failed += 1;
                }
                if failed >= MAX_FAILURES {
                    break;
                }
            }
            let artifacts = changes.len();
            if changes.is_empty() || !self.owner.record(changes, gone).await {
                return Ok(());
            }
            self.budget.shrank(bytes);
            tracing::info!(artifacts, bytes, "removed expired artifacts");
            if failed >= MAX_FAILURES {
                return Ok(());
            }
        }
    }

    async fn each(
        &self,
        step: RetentionStep,
        cutoffs: &Cutoffs,
        change: impl Fn(&ArtifactRecord) -> Change + Send,
    ) -> Result<(), StoreError> {
        loop {
            let found = self.store.artifacts_to(step, cutoffs, BATCH).await?;
            let changes = found.iter().map(&change).collect();
            if found.is_empty() || !self.owner.record(changes, Vec::new()).await {
                return Ok(());
            }
            tracing::debug!(artifacts = found.len(), ?step, "retention");
        }
    }

    async fn remove(&self, id: ArtifactId) -> bool {
        match self.blobs.remove(id).await {
            Ok(()) => true,
            Err(error) => {
                let artifact = short_artifact_id(id);
                tracing::error!(%error, artifact, "cannot remove the bytes of an artifact");
                false
            }
        }
    }

    /// Removes bytes without a record, which a crash between writing the file and its record leaves behind.
    pub(super) async fn clear_orphans(&self, now: Millis) -> Result<(), StoreError> {
        let age = |blob: &Listed| now.since(blob.written);
        let old = self.blobs.list().try_filter(|blob| ready(age(blob) >= ORPHAN_AGE_MS));
        let mut pages = old.map_ok(|blob| blob.id).try_chunks(PAGE);
        let (mut listed, mut orphans) = (0, Vec::new());
        loop {
            let page = match pages.try_next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    let (error, location) = (error.1, self.blobs.location());
                    tracing::error!(%error, location, "cannot list artifacts");
                    return Ok(());
                }
            };
            listed += page.len();
            let kept = self.store.kept_artifacts(&page).await?;
            orphans.extend(page.into_iter().filter(|id| !kept.contains(id)));
        }
        if orphans.len() > FEW_ORPHANS && orphans.len() > listed / 2 {
            tracing::error!(
                orphans = orphans.len(),
                artifacts = listed,
                "most artifacts are unknown to the database, so none is removed; check that it is the right database"
            );
            return Ok(());
        }
        for id in &orphans {
            self.remove(*id).await;
        }
        if !orphans.is_empty() {
            tracing::info!(artifacts = orphans.len(), "removed artifacts without a record");
        }
        Ok(())
    }
}
