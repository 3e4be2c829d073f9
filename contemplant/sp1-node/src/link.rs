//! The link between SP1's engine and the conductor: what the engine submits and reports, and who waits for it.
//!
//! SP1's execution submits a task for each shard and waits for their ends; the conductor receives the tasks as orders,
//! runs them and reports the ends. Waiters see two ends only, *succeeded* and *failed for good*: SP1 takes an end that
//! allows another try for a failure, so tries are the conductor's matter.
//!
//! The execution ends when the stream of ends ends. A stream therefore closes once its reader asks for nothing more and
//! has received the end of everything that it asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{anyhow, bail};
use shard_plan::{MarkerError, MarkerOrder};
use sp1_prover::worker::{
    ProofId, RawTaskRequest, SubscriberBuilder, TaskId, TaskMetadata, WorkerClient,
};
use sp1_prover_types::{ProofRequestStatus, TaskStatus, TaskType};
use tokio::sync::mpsc;

use crate::runtime::spawn;

/// What SP1's execution asks for.
pub(crate) enum Order {
    /// A task to run. Markers are not tasks, and not orders.
    Task { id: TaskId, kind: TaskType, request: RawTaskRequest },
    /// A message of the execution: SP1's `ProofData`, which belongs to a task that was submitted before.
    Message(Vec<u8>),
}

/// SP1's worker client, for one proof after the other. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct TaskLink(Arc<Mutex<BTreeMap<String, Board>>>);

/// The tasks of one proof.
struct Board {
    orders: mpsc::UnboundedSender<Order>,
    next_task: u64,
    next_reader: u64,
    ends: HashMap<TaskId, TaskStatus>,
    readers: BTreeMap<u64, Reader>,
    markers: Markers,
    /// Whether the shards contradict each other, so that nothing can be waited for.
    has_failed: bool,
}

/// One stream of ends.
struct Reader {
    ends: mpsc::UnboundedSender<(TaskId, TaskStatus)>,
    asked: HashSet<TaskId>,
    /// Whether it asks for nothing more.
    is_complete: bool,
}

/// Markers, each of which says that the precompile events of a core shard are there. A marker is released when its
/// events are there, the execution has asked for it, and all earlier ones are released.
#[derive(Default)]
struct Markers {
    order: MarkerOrder<TaskId>,
    /// Range of the clock of each marker's shard.
    clocks: HashMap<TaskId, (u64, u64)>,
    asked: HashSet<TaskId>,
    there: HashSet<TaskId>,
}

impl Markers {
    /// Adds the marker to the order if nothing of it is missing. Returns those that are released by it.
    fn released_by(&mut self, marker: &TaskId) -> Result<Vec<TaskId>, MarkerError> {
        let Some(clocks) = self.clocks.get(marker) else { return Ok(Vec::new()) };
        if !self.asked.contains(marker) || !self.there.contains(marker) {
            return Ok(Vec::new());
        }
        self.order.add(*clocks, marker.clone())?;
        let mut released = Vec::new();
        while let Some(marker) = self.order.release() {
            released.push(marker.clone());
        }
        Ok(released)
    }
}

impl TaskLink {
    /// Opens the board of a proof. Its orders end with [`TaskLink::close`].
    pub(crate) fn open(&self, proof: &ProofId) -> mpsc::UnboundedReceiver<Order> {
        let (orders, receiver) = mpsc::unbounded_channel();
        let board = Board {
            orders,
            next_task: 0,
            next_reader: 0,
            ends: HashMap::new(),
            readers: BTreeMap::new(),
            markers: Markers::default(),
            has_failed: false,
        };
        self.lock().insert(proof.to_string(), board);
        receiver
    }

    /// Forgets a proof. Everything that still waits for a task of it ends.
    pub(crate) fn close(&self, proof: &ProofId) {
        self.lock().remove(&proof.to_string());
    }

    /// The name of the task that executes the program.
    pub(crate) fn execution(proof: &ProofId) -> TaskId {
        TaskId::new(format!("{proof}/execute"))
    }

    /// The range of the clock of the core shard that fills a marker.
    pub(crate) fn place_marker(&self, proof: &ProofId, marker: TaskId, clocks: (u64, u64)) {
        self.with(proof, |board| {
            board.markers.clocks.insert(marker.clone(), clocks);
            board.release(&marker);
        });
    }

    /// Reports that a task has succeeded.
    pub(crate) fn succeeded(&self, proof: &ProofId, task: &TaskId) {
        self.with(proof, |board| board.end(task, TaskStatus::Succeeded));
    }

    fn with<T>(&self, proof: &ProofId, change: impl FnOnce(&mut Board) -> T) -> Option<T> {
        self.lock().get_mut(&proof.to_string()).map(change)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Board>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn end(&mut self, task: &TaskId, status: TaskStatus) {
        self.ends.insert(task.clone(), status);
        self.readers.retain(|_, reader| {
            if reader.asked.remove(task) {
                // An error says that the reader has gone.
                let _ = reader.ends.send((task.clone(), status));
            }
            !reader.is_done()
        });
    }

    /// Every task that anything waits for, now or later, has failed.
    fn fail(&mut self) {
        self.has_failed = true;
        let waited: HashSet<_> =
            self.readers.values().flat_map(|reader| reader.asked.iter().cloned()).collect();
        for task in waited {
            self.end(&task, TaskStatus::FailedFatal);
        }
    }

    fn ask(&mut self, number: u64, task: TaskId) {
        let known = self.ends.get(&task).copied();
        let end = known.or(self.has_failed.then_some(TaskStatus::FailedFatal));
        let Some(reader) = self.readers.get_mut(&number) else { return };
        if let Some(status) = end {
            let _ = reader.ends.send((task, status));
            return;
        }
        reader.asked.insert(task.clone());
        self.markers.asked.insert(task.clone());
        self.release(&task);
    }

    fn release(&mut self, marker: &TaskId) {
        match self.markers.released_by(marker) {
            Ok(released) => {
                for marker in released {
                    self.end(&marker, TaskStatus::Succeeded);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the shards of an execution contradict each other");
                self.fail();
            }
        }
    }
}

impl Reader {
    fn is_done(&self) -> bool {
        self.is_complete && self.asked.is_empty()
    }
}

impl WorkerClient for TaskLink {
    async fn submit_task(&self, kind: TaskType, request: RawTaskRequest) -> anyhow::Result<TaskId> {
        let proof = request.context.proof_id.clone();
        let submitted = self.with(&proof, |board| {
            if board.has_failed {
                bail!("the shards of this execution contradict each other");
            }
            let id = TaskId::new(format!("{proof}/{}", board.next_task));
            board.next_task += 1;
            // The shard that fills a marker reports it.
            if kind != TaskType::MarkerDeferredRecord {
                board.orders.send(Order::Task { id: id.clone(), kind, request })?;
            }
            Ok(id)
        });
        submitted.unwrap_or_else(|| Err(stopped()))
    }

    /// Called by the engine for markers alone; the conductor reports the ends of tasks.
    async fn complete_task(
        &self,
        proof: ProofId,
        marker: TaskId,
        _metadata: TaskMetadata,
    ) -> anyhow::Result<()> {
        let reported = self.with(&proof, |board| {
            board.markers.there.insert(marker.clone());
            board.release(&marker);
        });
        reported.ok_or_else(stopped)
    }

    async fn complete_proof(
        &self,
        _proof: ProofId,
        _task: Option<TaskId>,
        _status: ProofRequestStatus,
        _extra_data: impl Into<String> + Send,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    async fn subscriber(&self, proof: ProofId) -> anyhow::Result<SubscriberBuilder<Self>> {
        let (ends, ends_receiver) = mpsc::unbounded_channel();
        let (asking, mut asked) = mpsc::unbounded_channel();
        let added = self.with(&proof, |board| {
            let number = board.next_reader;
            board.next_reader += 1;
            let reader = Reader { ends, asked: HashSet::new(), is_complete: false };
            board.readers.insert(number, reader);
            number
        });
        let number = added.ok_or_else(stopped)?;
        let link = self.clone();
        spawn(async move {
            while let Some(task) = asked.recv().await {
                link.with(&proof, |board| board.ask(number, task));
            }
            link.with(&proof, |board| {
                if let Some(reader) = board.readers.get_mut(&number) {
                    reader.is_complete = true;
                }
                board.readers.retain(|_, reader| !reader.is_done());
            });
        });
        Ok(SubscriberBuilder::new(self.clone(), asking, ends_receiver))
    }

    async fn subscribe_task_messages(
        &self,
        task: &TaskId,
    ) -> anyhow::Result<mpsc::UnboundedReceiver<Vec<u8>>> {
        bail!("messages of task {task} go to the conductor: expected no other receiver")
    }

    async fn send_task_message(&self, task: &TaskId, payload: Vec<u8>) -> anyhow::Result<()> {
        let name = task.to_string();
        let proof = name.split_once('/').map_or(name.as_str(), |(proof, _)| proof);
        let send = |board: &mut Board| board.orders.send(Order::Message(payload)).is_ok();
        match self.with(&ProofId::new(proof), send) {
            Some(true) => Ok(()),
            Some(false) | None => Err(stopped()),
        }
    }
}

fn stopped() -> anyhow::Error {
    anyhow!("the proof was stopped")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sp1_prover::worker::{RequesterId, TaskContext};

    use super::*;

    fn request(proof: &ProofId) -> RawTaskRequest {
        let context = TaskContext {
            proof_id: proof.clone(),
            parent_id: None,
            parent_context: None,
            requester_id: RequesterId::new("test"),
        };
        RawTaskRequest { inputs: Vec::new(), outputs: Vec::new(), context }
    }

    async fn submit(link: &TaskLink, proof: &ProofId, kind: TaskType) -> TaskId {
        link.submit_task(kind, request(proof)).await.unwrap()
    }

    fn opened() -> (TaskLink, ProofId, mpsc::UnboundedReceiver<Order>) {
        let (link, proof) = (TaskLink::default(), ProofId::new("1"));
        let orders = link.open(&proof);
        (link, proof, orders)
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_last_task_that_was_asked_for() {
        let (link, proof, mut orders) = opened();
        let first = submit(&link, &proof, TaskType::ProveShard).await;
        let second = submit(&link, &proof, TaskType::ProveShard).await;
        assert!(matches!(orders.recv().await, Some(Order::Task { id, .. }) if id == first));
        let (asking, mut ends) = link.subscriber(proof.clone()).await.unwrap().stream();
        link.succeeded(&proof, &second);
        asking.subscribe(first.clone()).unwrap();
        asking.subscribe(second.clone()).unwrap();
        drop(asking);
        assert_eq!(ends.recv().await, Some((second, TaskStatus::Succeeded)));
        link.succeeded(&proof, &first);
        assert_eq!(ends.recv().await, Some((first, TaskStatus::Succeeded)));
        assert_eq!(ends.recv().await, None);
    }

    #[tokio::test]
    async fn shards_that_contradict_each_other_end_every_wait_and_refuse_further_tasks() {
        let (link, proof, _orders) = opened();
        let mut markers = Vec::new();
        for _ in 0..2 {
            markers.push(submit(&link, &proof, TaskType::MarkerDeferredRecord).await);
        }
        let shard = submit(&link, &proof, TaskType::ProveShard).await;
        let waiter = link.subscriber(proof.clone()).await.unwrap().per_task();
        let waiting = {
            let (waiter, shard) = (waiter.clone(), shard.clone());
            spawn(async move { waiter.wait_task(shard).await })
        };
        let (asking, mut ends) = link.subscriber(proof.clone()).await.unwrap().stream();
        for (marker, clocks) in markers.iter().zip([(9, 20), (15, 30)]) {
            asking.subscribe(marker.clone()).unwrap();
            link.place_marker(&proof, marker.clone(), clocks);
            let done = TaskMetadata { gpu_ms: None };
            link.complete_task(proof.clone(), marker.clone(), done).await.unwrap();
        }
        for _ in &markers {
            assert_eq!(ends.recv().await.unwrap().1, TaskStatus::FailedFatal);
        }
        assert_eq!(waiting.await.unwrap().unwrap(), TaskStatus::FailedFatal);
        assert_eq!(waiter.wait_task(shard).await.unwrap(), TaskStatus::FailedFatal);
        let refused = link.submit_task(TaskType::ProveShard, request(&proof)).await;
        assert!(refused.unwrap_err().to_string().contains("contradict"));
    }

    #[tokio::test]
    async fn markers_are_released_in_the_order_of_the_clock() {
        let (link, proof, mut orders) = opened();
        let mut markers = Vec::new();
        for _ in 0..3 {
            markers.push(submit(&link, &proof, TaskType::MarkerDeferredRecord).await);
        }
        let (asking, mut ends) = link.subscriber(proof.clone()).await.unwrap().stream();
        for at in [2, 0, 1] {
            asking.subscribe(markers[at].clone()).unwrap();
        }
        drop(asking);
        for (at, clocks) in [(1, (9, 17)), (2, (17, 25)), (0, (1, 9))] {
            link.place_marker(&proof, markers[at].clone(), clocks);
            let done = TaskMetadata { gpu_ms: None };
            link.complete_task(proof.clone(), markers[at].clone(), done).await.unwrap();
        }
        for marker in markers {
            assert_eq!(ends.recv().await, Some((marker, TaskStatus::Succeeded)));
        }
        assert_eq!(ends.recv().await, None);
        assert!(orders.try_recv().is_err(), "a marker is not an order");
    }

    #[tokio::test]
    async fn a_closed_proof_ends_its_streams_and_orders() {
        let (link, proof, mut orders) = opened();
        let task = submit(&link, &proof, TaskType::ProveShard).await;
        let (asking, mut ends) = link.subscriber(proof.clone()).await.unwrap().stream();
        asking.subscribe(task).unwrap();
        let execution = TaskLink::execution(&proof);
        link.send_task_message(&execution, b"message".to_vec()).await.unwrap();
        link.close(&proof);
        assert_eq!(ends.recv().await, None);
        assert!(matches!(orders.recv().await, Some(Order::Task { .. })));
        assert!(
            matches!(orders.recv().await, Some(Order::Message(payload)) if payload == b"message")
        );
        assert!(orders.recv().await.is_none());
        assert!(link.send_task_message(&execution, Vec::new()).await.is_err());
        assert!(link.subscriber(proof).await.is_err());
    }
}
