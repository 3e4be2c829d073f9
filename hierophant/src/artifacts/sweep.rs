//! One look at what may go: asks the store, has the actor record it, removes the bytes.

use std::future::ready;
use std::sync::Arc;

use futures_util::TryStreamExt;
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change, Cutoffs, Millis};
use hierophant_model::text::short_artifact_id;
use network_lib::ids::ArtifactId;

use super::blobs::{Blobs, Listed};
use super::budget::DiskBudget;
use super::handle::ArtifactsHandle;
use hierophant_store::{JobStore, RetentionStep, StoreError};

/// Most artifacts in one transaction, so that others get to write in between.
const BATCH: u32 = 200;

/// Age below which bytes without a record are left: they may be on their way in.
const ORPHAN_AGE_MS: u64 = 24 * 3600 * 1000;

/// After so many bytes that cannot be removed, the next sweep tries again.
const ENOUGH_FAILURES: usize = 3;

/// How many blobs are compared with the records at once.
const PAGE: usize = 1000;

/// So many orphans are never too many.
const FEW_ORPHANS: usize = 100;

/// What a sweep needs.
#[derive(Debug, Clone)]
pub(super) struct Sweeper {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) blobs: Blobs,
    pub(super) owner: ArtifactsHandle,
    pub(super) budget: DiskBudget,
}

impl Sweeper {
    /// Forgets tickets, expires, takes back what is needed again, and removes, in this order.
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
                        gone.push((artifact.owner, size));
                    }
                } else {
                    failed += 1;
                }
                if failed >= ENOUGH_FAILURES {
                    break;
                }
            }
            let artifacts = changes.len();
            if changes.is_empty() || !self.owner.record(changes, gone).await {
                return Ok(());
            }
            self.budget.shrank(bytes);
            tracing::info!(artifacts, bytes, "artifacts past their time were removed");
            if failed >= ENOUGH_FAILURES {
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
                tracing::error!(%error, artifact, "the bytes of an artifact could not be removed");
                false
            }
        }
    }

    /// Removes bytes that no record knows, as a crash between the file and its record leaves them.
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
                    let (error, place) = (error.1, self.blobs.place());
                    tracing::error!(%error, place, "artifacts could not be listed");
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
                "most artifacts are unknown to the database; is it the right one? They are left alone"
            );
            return Ok(());
        }
        for id in &orphans {
            self.remove(*id).await;
        }
        if !orphans.is_empty() {
            tracing::info!(artifacts = orphans.len(), "artifacts without a record were removed");
        }
        Ok(())
    }
}
