//! The depot: the bytes that tasks of the current proof exchange, in memory, counted and limited.
//!
//! SP1's tasks read and write *artifacts* by name: program, input, records of shards, precompile events, proofs. Names
//! of the depot begin with the number of their proof. So what tasks of a stopped proof still write is refused, and the
//! end of a proof frees everything that it had.
//!
//! SP1 deletes the inputs of a task inside the task, before its host knows that the task has succeeded. For *held*
//! artifacts such a deletion is only a hint: they stay until the conductor frees them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{anyhow, bail};
use sp1_prover_types::{
    Artifact, ArtifactBatch, ArtifactClient, ArtifactId, ArtifactType, ShardPermit,
};
use tokio::sync::Semaphore;

/// Bytes of the current proof. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Depot(Arc<Inner>);

struct Inner {
    /// Most bytes at once.
    limit: u64,
    next_name: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of the current or the last proof.
    proof: u64,
    /// Empty between two proofs.
    window: Option<Arc<Semaphore>>,
    blobs: BTreeMap<String, Arc<Vec<u8>>>,
    held: BTreeSet<String>,
    references: BTreeMap<String, BTreeSet<String>>,
    usage: Usage,
}

/// Bytes in the depot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Now.
    pub bytes: u64,
    /// The most at once since the proof began.
    pub peak: u64,
}

impl Depot {
    /// An empty depot that holds at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let (next_name, state) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Inner { limit, next_name, state }))
    }

    /// Begins the next proof, of which at most `window` shards wait or are proved at once. Returns its number.
    pub(crate) fn begin(&self, window: usize) -> u64 {
        let mut state = self.lock();
        state.clear();
        state.proof += 1;
        state.window = Some(Arc::new(Semaphore::new(window)));
        state.proof
    }

    /// Ends the proof: frees all bytes, and lets nothing wait any longer.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }

    /// Bytes now, and the most at once.
    pub(crate) fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// A new name in the current proof.
    pub(crate) fn name(&self) -> Artifact {
        let number = self.0.next_name.fetch_add(1, Ordering::Relaxed);
        Artifact::from(format!("{}-{number}", self.lock().proof))
    }

    /// Keeps this artifact, now or once it is written, until [`Depot::free`].
    pub(crate) fn hold(&self, artifact: &Artifact) {
        self.lock().held.insert(artifact.id().to_owned());
    }

    /// Removes an artifact.
    pub(crate) fn free(&self, artifact: &Artifact) {
        let mut state = self.lock();
        state.held.remove(artifact.id());
        state.remove(artifact.id());
    }

    /// An artifact's bytes.
    ///
    /// # Errors
    ///
    /// When it is not in the depot.
    pub(crate) fn bytes(&self, artifact: &impl ArtifactId) -> anyhow::Result<Arc<Vec<u8>>> {
        let found = self.lock().blobs.get(artifact.id()).cloned();
        found.ok_or_else(|| anyhow!("artifact {} is missing", artifact.id()))
    }

    /// Stores an artifact's bytes.
    ///
    /// # Errors
    ///
    /// When it belongs to another proof than the current one, or the depot is full.
    pub(crate) fn put(&self, artifact: &impl ArtifactId, bytes: Vec<u8>) -> anyhow::Result<()> {
        let mut state = self.lock();
        if !state.is_current(artifact.id()) {
            bail!("artifact {} belongs to a proof that has ended", artifact.id());
        }
        let size = bytes.len() as u64;
        let before = state.blobs.get(artifact.id()).map_or(0, |bytes| bytes.len() as u64);
        let after = state.usage.bytes - before + size;
        if after > self.0.limit {
            bail!(
                "the data of this proof exceeds the memory for it: {after} bytes, expected at most {}",
                self.0.limit
            );
        }
        state.blobs.insert(artifact.id().to_owned(), Arc::new(bytes));
        state.usage = Usage { bytes: after, peak: state.usage.peak.max(after) };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) {
        if let Some(window) = self.window.take() {
            window.close();
        }
        self.blobs.clear();
        self.held.clear();
        self.references.clear();
        self.usage = Usage::default();
    }

    fn is_current(&self, name: &str) -> bool {
        let number = name.split_once('-').and_then(|(number, _)| number.parse().ok());
        self.window.is_some() && number == Some(self.proof)
    }

    fn remove(&mut self, name: &str) {
        if let Some(bytes) = self.blobs.remove(name) {
            self.usage.bytes -= bytes.len() as u64;
        }
        self.references.remove(name);
    }

    /// Follows the hint of a task.
    fn drop_unless_held(&mut self, name: &str) {
        if !self.held.contains(name) {
            self.remove(name);
        }
    }
}

impl ArtifactClient for Depot {
    async fn upload_raw(
        &self,
        artifact: &impl ArtifactId,
        _type: ArtifactType,
        data: Vec<u8>,
    ) -> anyhow::Result<()> {
        self.put(artifact, data)
    }

    async fn download_raw(
        &self,
        artifact: &impl ArtifactId,
        _type: ArtifactType,
    ) -> anyhow::Result<Vec<u8>> {
        Ok(self.bytes(artifact)?.to_vec())
    }

    async fn exists(
        &self,
        artifact: &impl ArtifactId,
        _type: ArtifactType,
    ) -> anyhow::Result<bool> {
        Ok(self.lock().blobs.contains_key(artifact.id()))
    }

    async fn delete(&self, artifact: &impl ArtifactId, _type: ArtifactType) -> anyhow::Result<()> {
        self.lock().drop_unless_held(artifact.id());
        Ok(())
    }

    async fn delete_batch(
        &self,
        artifacts: &[impl ArtifactId],
        _type: ArtifactType,
    ) -> anyhow::Result<()> {
        let mut state = self.lock();
        artifacts.iter().for_each(|artifact| state.drop_unless_held(artifact.id()));
        Ok(())
    }

    /// Waits until a shard may be added, which keeps SP1 from cutting up the whole program at once.
    async fn acquire_shard_permit(&self, artifact: &impl ArtifactId) -> ShardPermit {
        let window = {
            let state = self.lock();
            state.window.clone().filter(|_| state.is_current(artifact.id()))
        };
        let Some(window) = window else { return ShardPermit::noop() };
        // An error says that the proof has ended: the upload that follows is refused.
        window.acquire_owned().await.map_or_else(|_| ShardPermit::noop(), ShardPermit::new)
    }

    fn create_artifact(&self) -> anyhow::Result<Artifact> {
        Ok(self.name())
    }

    fn create_artifacts(&self, count: usize) -> anyhow::Result<ArtifactBatch> {
        Ok((0..count).map(|_| self.name()).collect::<Vec<_>>().into())
    }

    async fn add_ref(&self, artifact: &impl ArtifactId, user: &str) -> anyhow::Result<()> {
        let mut state = self.lock();
        if state.is_current(artifact.id()) {
            let users = state.references.entry(artifact.id().to_owned()).or_default();
            users.insert(user.to_owned());
        }
        Ok(())
    }

    async fn remove_ref(
        &self,
        artifact: &impl ArtifactId,
        _type: ArtifactType,
        user: &str,
    ) -> anyhow::Result<bool> {
        let mut state = self.lock();
        let users = state.references.get_mut(artifact.id());
        let is_used = users.is_some_and(|users| {
            users.remove(user);
            !users.is_empty()
        });
        if !is_used {
            state.drop_unless_held(artifact.id());
        }
        Ok(!is_used)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ANY: ArtifactType = ArtifactType::UnspecifiedArtifactType;

    #[tokio::test]
    async fn a_deletion_inside_a_task_is_a_hint_for_what_is_held() {
        let depot = Depot::new(100);
        depot.begin(1);
        let (record, events) = (depot.name(), depot.name());
        depot.hold(&record);
        depot.put(&record, vec![1; 10]).unwrap();
        depot.put(&events, vec![2; 20]).unwrap();
        depot.delete_batch(&[record.clone(), events.clone()], ANY).await.unwrap();
        assert!(depot.exists(&record, ANY).await.unwrap());
        assert!(!depot.exists(&events, ANY).await.unwrap());
        assert_eq!(depot.usage(), Usage { bytes: 10, peak: 30 });
        depot.free(&record);
        assert!(depot.bytes(&record).is_err());
        assert_eq!(depot.usage(), Usage { bytes: 0, peak: 30 });
    }

    #[tokio::test]
    async fn events_stay_until_the_last_shard_that_uses_them() {
        let depot = Depot::new(100);
        depot.begin(1);
        let events = depot.name();
        depot.put(&events, vec![1; 8]).unwrap();
        for user in ["_controller", "0_3", "3_9"] {
            depot.add_ref(&events, user).await.unwrap();
        }
        for user in ["_controller", "3_9"] {
            assert!(!depot.remove_ref(&events, ANY, user).await.unwrap());
        }
        assert!(depot.exists(&events, ANY).await.unwrap());
        assert!(depot.remove_ref(&events, ANY, "0_3").await.unwrap());
        assert!(!depot.exists(&events, ANY).await.unwrap());
        assert_eq!(depot.usage().bytes, 0);
    }

    #[test]
    fn more_than_the_limit_is_refused_and_a_replaced_artifact_counts_once() {
        let depot = Depot::new(10);
        depot.begin(1);
        let (first, second) = (depot.name(), depot.name());
        depot.put(&first, vec![0; 6]).unwrap();
        depot.put(&first, vec![0; 10]).unwrap();
        let error = depot.put(&second, vec![0]).unwrap_err().to_string();
        assert!(error.contains("11 bytes, expected at most 10"), "{error}");
    }

    #[tokio::test]
    async fn a_stopped_proof_adds_nothing_and_waits_for_nothing() {
        let depot = Depot::new(100);
        depot.begin(1);
        let old = depot.name();
        let _permit = depot.acquire_shard_permit(&old).await;
        let waiting = {
            let (depot, old) = (depot.clone(), old.clone());
            async move { drop(depot.acquire_shard_permit(&old).await) }
        };
        let mut waiting = std::pin::pin!(waiting);
        let still = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(still.is_err(), "the window is full");
        depot.end();
        waiting.await;
        assert!(depot.put(&old, vec![1]).is_err());
        depot.begin(1);
        assert!(depot.put(&old, vec![1]).is_err());
        depot.put(&depot.name(), vec![1]).unwrap();
    }
}
