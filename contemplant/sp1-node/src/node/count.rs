//! Classification of SP1's tasks for the tally.

use sp1_prover::worker::{ProveShardTaskRequest, RawTaskRequest};
use sp1_prover_types::{ArtifactClient, ArtifactType, TaskType};

use super::Node;
use crate::clock::clock_ticks;
use crate::tally::Step;

impl Node {
    /// The step that a task counts as, if it is one that takes time.
    pub(super) async fn step_of(&self, kind: TaskType, request: &RawTaskRequest) -> Option<Step> {
        match kind {
            TaskType::ProveShard => Some(Step::Shard { ticks: self.ticks_of(request).await }),
            TaskType::RecursionReduce => Some(Step::Reduce),
            TaskType::RecursionDeferred => Some(Step::Deferred),
            TaskType::ShrinkWrap | TaskType::PlonkWrap | TaskType::Groth16Wrap => Some(Step::Wrap),
            _ => None,
        }
    }

    /// Ticks of SP1's clock that a shard covers, if it is one of the execution.
    async fn ticks_of(&self, request: &RawTaskRequest) -> Option<u64> {
        let shard = ProveShardTaskRequest::from_raw(request.clone()).ok()?;
        // Only shards of the execution have an output for precompile events.
        shard.deferred_output?;
        let artifacts = self.worker.artifact_client();
        let bytes = artifacts
            .download_raw(&shard.record, ArtifactType::UnspecifiedArtifactType)
            .await
            .ok()?;
        clock_ticks(&bytes)
    }
}
