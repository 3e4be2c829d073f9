//! Retention sweep: finds expired artifacts in the store, has the actor record the changes, and removes the bytes.

use std::future::ready;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use hierophant_model::records::{ArtifactKind, Change, Cutoffs, DueRule, Millis};
use hierophant_model::text::short_artifact_id;
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::ArtifactId;
use tokio::time::Instant;

use super::blobs::{Blobs, Listed};
use super::budget::DiskBudget;
use super::handle::ArtifactsHandle;
use super::retention::{self, Verdict};

/// Minimum age of bytes without a record before removal: their record may follow.
const ORPHAN_AGE_MS: u64 = 24 * 3600 * 1000;

/// Number of artifacts whose bytes are removed at once: a bucket takes some ten milliseconds for each.
const REMOVALS: usize = 16;

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
    /// Deletes unused tickets, expires artifacts, restores those needed again, and removes bytes.
    pub(super) async fn sweep(&self, cutoffs: Cutoffs, now: Millis) -> Result<(), StoreError> {
        let began = Instant::now();
        let record = |changes| self.owner.record(changes, Vec::new()).boxed();
        let due = retention::expire_due(self.store.as_ref(), &cutoffs, now, record).await?;
        let expired = self.finish_expired(&cutoffs, now).await?;
        if due + expired > 0 {
            tracing::debug!(
                due,
                expired,
                seconds = began.elapsed().as_secs_f64(),
                "retention sweep"
            );
        }
        Ok(())
    }

    /// Removes the bytes of artifacts that expired a while ago, and restores expired ones that are needed again. Returns
    /// the number of artifacts looked at.
    async fn finish_expired(&self, cutoffs: &Cutoffs, now: Millis) -> Result<usize, StoreError> {
        let (mut after, mut failed, mut looked) = (None, 0, 0);
        while failed < MAX_FAILURES {
            let all = Millis(i64::MAX);
            let found =
                self.store.due_artifacts(DueRule::Expired, all, after, retention::BATCH).await?;
            let Some(last) = found.last() else { break };
            after = Some((last.since, last.artifact.id));
            looked += found.len();
            let mut changes = Vec::new();
            let mut unneeded = Vec::new();
            for due in found {
                match retention::judge(&due.artifact, &due.used, cutoffs, now) {
                    Verdict::Needed(..) => changes.push(Change::Expired(due.artifact.id, None)),
                    _ if due.since < cutoffs.expired_before => unneeded.push(due.artifact),
                    Verdict::Unneeded | Verdict::Forget => {}
                }
            }
            let removing = unneeded.into_iter().map(|artifact| async move {
                let is_removed = self.remove(artifact.id).await;
                (artifact, is_removed)
            });
            let removed: Vec<_> = stream::iter(removing).buffer_unordered(REMOVALS).collect().await;
            let (mut gone, mut bytes, mut artifacts) = (Vec::new(), 0, 0);
            for (artifact, is_removed) in removed {
                if !is_removed {
                    failed += 1;
                    continue;
                }
                changes.push(Change::Removed(artifact.id, now));
                artifacts += 1;
                let size = artifact.blob.map_or(0, |blob| blob.size);
                bytes += size;
                if artifact.kind != ArtifactKind::Proof {
                    gone.push(((artifact.owner, artifact.client), size));
                }
            }
            if changes.is_empty() {
                continue;
            }
            if !self.owner.record(changes, gone).await {
                break;
            }
            if artifacts > 0 {
                self.budget.shrank(bytes);
                tracing::info!(artifacts, bytes, "removed expired artifacts");
            }
        }
        Ok(looked)
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
