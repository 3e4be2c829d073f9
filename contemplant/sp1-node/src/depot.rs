//! The depot: the bytes that tasks exchange, in memory, counted and limited.
//!
//! SP1's tasks read and write *artifacts* by name: program, input, records of shards, precompile events, proofs. Each
//! artifact belongs to a *scope*: a whole proof, or one task of a proof that several workers make. Names begin with the
//! number of their scope. So what tasks of a closed scope still write is refused, and its end frees everything that it
//! had.
//!
//! SP1 deletes the inputs of a task inside the task, before its host knows that the task has succeeded. For *held*
//! artifacts such a deletion is only a hint: they stay until they are freed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{anyhow, bail};
use sp1_prover_types::{
    Artifact, ArtifactBatch, ArtifactClient, ArtifactId, ArtifactType, ShardPermit,
};
use tokio::sync::Semaphore;

/// Bytes of all scopes. Cheap to clone.
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
    /// Number of the latest scope.
    latest: u64,
    /// Scope of the names for which SP1's engine asks: it does not say for which of its tasks.
    of_engine: u64,
    scopes: BTreeMap<u64, Content>,
    usage: Usage,
}

/// What a scope has.
struct Content {
    window: Arc<Semaphore>,
    blobs: BTreeMap<String, Arc<Vec<u8>>>,
    held: BTreeSet<String>,
    references: BTreeMap<String, BTreeSet<String>>,
}

/// Bytes in the depot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Now.
    pub bytes: u64,
    /// The most at once since the depot was empty and a scope was opened.
    pub peak: u64,
}

/// An open scope. It is closed when it is dropped: all its bytes are freed, and nothing waits for it any longer.
pub(crate) struct Scope {
    depot: Depot,
    number: u64,
}

impl Scope {
    /// Its number, which no other scope has.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// A new name in it.
    pub(crate) fn name(&self) -> Artifact {
        self.depot.name_in(self.number)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let closed = self.depot.lock().close(self.number);
        if let Some(content) = closed {
            content.window.close();
        }
    }
}

impl Depot {
    /// An empty depot that holds at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let (next_name, state) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Inner { limit, next_name, state }))
    }

    /// Opens a scope in which at most `window` shards wait or are proved at once.
    pub(crate) fn open(&self, window: usize) -> Scope {
        let number = self.lock().open(window);
        Scope { depot: self.clone(), number }
    }

    /// Opens a scope to which the names belong that the engine makes from now on.
    pub(crate) fn open_for_engine(&self, window: usize) -> Scope {
        let mut state = self.lock();
        let number = state.open(window);
        state.of_engine = number;
        Scope { depot: self.clone(), number }
    }

    /// Bytes now, and the most at once.
    pub(crate) fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// A new name in the engine's scope.
    pub(crate) fn name(&self) -> Artifact {
        let scope = self.lock().of_engine;
        self.name_in(scope)
    }

    fn name_in(&self, scope: u64) -> Artifact {
        let number = self.0.next_name.fetch_add(1, Ordering::Relaxed);
        Artifact::from(format!("{scope}-{number}"))
    }

    /// Keeps this artifact, now or once it is written, until [`Depot::free`].
    pub(crate) fn hold(&self, artifact: &Artifact) {
        if let Some(content) = self.lock().of(artifact.id()) {
            content.held.insert(artifact.id().to_owned());
        }
    }

    /// Removes an artifact.
    pub(crate) fn free(&self, artifact: &Artifact) {
        let mut state = self.lock();
        if let Some(content) = state.of(artifact.id()) {
            content.held.remove(artifact.id());
        }
        state.drop_unless_held(artifact.id());
    }

    /// An artifact's bytes.
    ///
    /// # Errors
    ///
    /// When it is not in the depot.
    pub(crate) fn bytes(&self, artifact: &impl ArtifactId) -> anyhow::Result<Arc<Vec<u8>>> {
        let name = artifact.id();
        let found = self.lock().of(name).and_then(|content| content.blobs.get(name).cloned());
        found.ok_or_else(|| anyhow!("artifact {name} is missing"))
    }

    /// Stores an artifact's bytes.
    ///
    /// # Errors
    ///
    /// When its scope is closed, or the depot is full.
    pub(crate) fn put(&self, artifact: &impl ArtifactId, bytes: Vec<u8>) -> anyhow::Result<()> {
        let name = artifact.id();
        let mut state = self.lock();
        let in_use = state.usage.bytes;
        let Some(content) = state.of(name) else {
            bail!("artifact {name} belongs to a proof that has ended");
        };
        let before = content.blobs.get(name).map_or(0, |bytes| bytes.len() as u64);
        let after = in_use - before + bytes.len() as u64;
        if after > self.0.limit {
            bail!(
                "the data of this proof exceeds the memory for it: {after} bytes, expected at most {}",
                self.0.limit
            );
        }
        content.blobs.insert(name.to_owned(), Arc::new(bytes));
        state.usage = Usage { bytes: after, peak: state.usage.peak.max(after) };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, window: usize) -> u64 {
        if self.scopes.is_empty() {
            self.usage = Usage::default();
        }
        self.latest += 1;
        let content = Content {
            window: Arc::new(Semaphore::new(window)),
            blobs: BTreeMap::new(),
            held: BTreeSet::new(),
            references: BTreeMap::new(),
        };
        self.scopes.insert(self.latest, content);
        self.latest
    }

    fn close(&mut self, number: u64) -> Option<Content> {
        let content = self.scopes.remove(&number)?;
        self.usage.bytes -= content.blobs.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        Some(content)
    }

    /// The open scope of a name. Names of other workers' artifacts have none.
    fn of(&mut self, name: &str) -> Option<&mut Content> {
        let (number, _) = name.split_once('-')?;
        // As it is written here: other workers' names have leading zeros.
        let scope = number.parse().ok().filter(|scope: &u64| scope.to_string() == number)?;
        self.scopes.get_mut(&scope)
    }

    /// Follows the hint of a task.
    fn drop_unless_held(&mut self, name: &str) {
        let Some(content) = self.of(name).filter(|content| !content.held.contains(name)) else {
            return;
        };
        content.references.remove(name);
        if let Some(bytes) = content.blobs.remove(name) {
            self.usage.bytes -= bytes.len() as u64;
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
        let name = artifact.id();
        Ok(self.lock().of(name).is_some_and(|content| content.blobs.contains_key(name)))
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
        let window = self.lock().of(artifact.id()).map(|content| Arc::clone(&content.window));
        let Some(window) = window else { return ShardPermit::noop() };
        // An error says that the scope is closed: the upload that follows is refused.
        window.acquire_owned().await.map_or_else(|_| ShardPermit::noop(), ShardPermit::new)
    }

    fn create_artifact(&self) -> anyhow::Result<Artifact> {
        Ok(self.name())
    }

    fn create_artifacts(&self, count: usize) -> anyhow::Result<ArtifactBatch> {
        Ok((0..count).map(|_| self.name()).collect::<Vec<_>>().into())
    }

    async fn add_ref(&self, artifact: &impl ArtifactId, user: &str) -> anyhow::Result<()> {
        if let Some(content) = self.lock().of(artifact.id()) {
            let users = content.references.entry(artifact.id().to_owned()).or_default();
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
        let name = artifact.id();
        let users = state.of(name).and_then(|content| content.references.get_mut(name));
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
        let _scope = depot.open_for_engine(1);
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
        let _scope = depot.open_for_engine(1);
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
        let _scope = depot.open_for_engine(1);
        let (first, second) = (depot.name(), depot.name());
        depot.put(&first, vec![0; 6]).unwrap();
        depot.put(&first, vec![0; 10]).unwrap();
        let error = depot.put(&second, vec![0]).unwrap_err().to_string();
        assert!(error.contains("11 bytes, expected at most 10"), "{error}");
    }

    #[tokio::test]
    async fn a_stopped_proof_adds_nothing_and_waits_for_nothing() {
        let depot = Depot::new(100);
        let scope = depot.open_for_engine(1);
        let old = depot.name();
        let _permit = depot.acquire_shard_permit(&old).await;
        let waiting = {
            let (depot, old) = (depot.clone(), old.clone());
            async move { drop(depot.acquire_shard_permit(&old).await) }
        };
        let mut waiting = std::pin::pin!(waiting);
        let still = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(still.is_err(), "the window is full");
        drop(scope);
        waiting.await;
        assert!(depot.put(&old, vec![1]).is_err());
        let _next = depot.open_for_engine(1);
        assert!(depot.put(&old, vec![1]).is_err());
        depot.put(&depot.name(), vec![1]).unwrap();
    }

    #[tokio::test]
    async fn a_scope_frees_its_own_bytes_alone() {
        let depot = Depot::new(100);
        let engine = depot.open_for_engine(1);
        let (first, second) = (depot.open(1), depot.open(1));
        let (mine, theirs, of_engine) = (first.name(), second.name(), depot.name());
        for artifact in [&mine, &theirs, &of_engine] {
            depot.hold(artifact);
            depot.put(artifact, vec![0; 10]).unwrap();
        }
        drop(first);
        assert!(depot.bytes(&mine).is_err());
        assert_eq!(depot.usage(), Usage { bytes: 20, peak: 30 });
        drop(engine);
        assert!(depot.bytes(&of_engine).is_err());
        assert!(depot.put(&depot.name(), vec![0]).is_err(), "the engine has no scope");
        assert_eq!(depot.bytes(&theirs).unwrap().len(), 10);
        drop(second);
        assert_eq!(depot.usage(), Usage { bytes: 0, peak: 30 });
    }

    #[tokio::test]
    async fn what_another_worker_has_named_is_nothing_here() {
        let depot = Depot::new(100);
        let _scope = depot.open_for_engine(1);
        let theirs = Artifact::from("00000000000000000000000000000001-0".to_owned());
        depot.add_ref(&theirs, "_controller").await.unwrap();
        assert!(depot.remove_ref(&theirs, ANY, "_controller").await.unwrap());
        assert!(depot.put(&theirs, vec![1]).is_err());
        assert_eq!(depot.usage().bytes, 0);
    }
}
