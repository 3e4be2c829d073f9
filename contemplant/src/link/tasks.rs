//! The conversation about tasks, which is part of version 3 of the worker protocol.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use network_lib::codec::encode;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::shard::{TaskFromWorker, TaskKind, TaskToWorker};
use network_lib::wire::FromWorker;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Link;
use super::socket::{Lost, Socket};
use crate::attempt::TaskOrder;
use crate::depot::results::TaskResult;
use crate::executor::EventSink;
use crate::runner::tasks::{Said, TaskRunner};

/// First version of the protocol with tasks.
const FIRST_PROTOCOL: u16 = 3;

/// Shortest time between two messages about tasks. Hierophant accepts 200 frames a second of all kinds.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes of messages about tasks a second. Hierophant accepts 1 MiB a second of all kinds, and after a reconnect all
/// shards of an execution are sent at once.
const BYTES_PER_SECOND: u64 = 512 * 1024;

/// A runner of tasks with its messages.
pub(crate) struct TasksSetup {
    /// The runner.
    pub(crate) runner: Arc<TaskRunner>,
    /// Its messages.
    pub(crate) said: mpsc::UnboundedReceiver<Said>,
}

/// The runner of tasks, and the messages about them that are to be sent.
pub(super) struct LinkedTasks {
    setup: Option<TasksSetup>,
    /// Number of the latest connection.
    latest: u64,
    /// Number of the current connection, if it supports tasks.
    current: Option<u64>,
    outbox: VecDeque<TaskFromWorker>,
    /// When the next message may be sent.
    due: Instant,
}

impl LinkedTasks {
    /// Without a setup, no tasks are taken.
    pub(super) fn new(setup: Option<TasksSetup>) -> Self {
        let outbox = VecDeque::new();
        Self { setup, latest: 0, current: None, outbox, due: Instant::now() }
    }

    /// A connection with this version of the protocol is established, and it is known which attempts continue. The lists
    /// of the depot come first.
    pub(super) fn connected(&mut self, protocol: u16) {
        self.outbox.clear();
        let Some(TasksSetup { runner, .. }) = &self.setup else { return };
        if protocol < FIRST_PROTOCOL {
            return;
        }
        self.latest += 1;
        self.current = Some(self.latest);
        self.outbox.extend(runner.depot_lists());
        runner.connected(self.latest);
    }

    /// The connection has ended.
    pub(super) fn disconnected(&mut self) {
        self.current = None;
        self.outbox.clear();
        if let Some(runner) = self.runner() {
            runner.disconnected();
        }
    }

    /// Whether messages about tasks are exchanged over the current connection.
    pub(super) const fn are_supported(&self) -> bool {
        self.current.is_some()
    }

    /// Waits for the next message to send. Cancel-safe.
    pub(super) async fn next(&mut self) -> TaskFromWorker {
        let Some(TasksSetup { said, .. }) = &mut self.setup else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                biased;
                Some(Said { connection, message }) = said.recv() => {
                    if self.current == Some(connection) {
                        self.outbox.push_back(message);
                    }
                }
                () = sleep_until(self.due), if !self.outbox.is_empty() => {
                    if let Some(message) = self.outbox.pop_front() {
                        let bytes = encode(&message).len() as u64;
                        let pause = Duration::from_millis(bytes * 1_000 / BYTES_PER_SECOND);
                        self.due = Instant::now() + pause.max(MESSAGE_INTERVAL);
                        return message;
                    }
                }
            }
        }
    }

    /// Hierophant has stored the end of an attempt.
    pub(super) fn settled(&self, lease_id: LeaseId) {
        if let Some(runner) = self.runner() {
            runner.settled(lease_id);
        }
    }

    /// The result of an attempt is not wanted.
    pub(super) fn abandon(&self, lease_id: LeaseId) {
        if let Some(runner) = self.runner() {
            runner.abandon(lease_id);
        }
    }

    /// Whether this is an attempt at a task.
    pub(super) fn holds(&self, lease_id: LeaseId) -> bool {
        self.runner().is_some_and(|runner| runner.holds(lease_id))
    }

    /// Whether this attempt's result is on disk.
    pub(super) fn holds_result(&self, lease_id: LeaseId) -> bool {
        self.runner().is_some_and(|runner| runner.holds_result(lease_id))
    }

    /// Whether the depot holds records, which tasks of other workers may need.
    pub(super) fn holds_records(&self) -> bool {
        self.runner().is_some_and(|runner| runner.holds_records())
    }

    fn runner(&self) -> Option<&Arc<TaskRunner>> {
        self.setup.as_ref().map(|setup| &setup.runner)
    }
}

impl Link {
    /// Hands in results of an earlier process, or discards them.
    pub(super) fn resume_tasks(
        &self,
        wanted: Vec<(TaskResult, tokio_util::sync::CancellationToken)>,
        discarded: &[TaskResult],
    ) {
        let Some(runner) = self.tasks.runner() else { return };
        discarded.iter().for_each(|result| runner.discard(result));
        for (result, cancel) in wanted {
            tracing::info!(lease = result.lease_id.hint(), "handing in an earlier result");
            let sink = EventSink::new(result.lease_id, self.sink.clone());
            runner.resume(result, sink, cancel);
        }
    }

    /// Handles a message about a task.
    pub(super) fn handle_task(&mut self, message: TaskToWorker) {
        let Some(runner) = self.tasks.runner().filter(|_| self.tasks.are_supported()).cloned()
        else {
            tracing::warn!("unexpected message about a task; ignored");
            return;
        };
        match message {
            TaskToWorker::Run { lease_id, job, task, input, traceparent } => {
                self.begin_task(&runner, TaskOrder { lease_id, job, task, input, traceparent });
            }
            TaskToWorker::ShardsKnown { lease_id, shards } => runner.shards_known(lease_id, shards),
            TaskToWorker::Provide { lease_id, blob } => runner.provide(lease_id, blob),
            TaskToWorker::Forget { job, blobs } => runner.forget(job, blobs),
        }
    }

    fn begin_task(&mut self, runner: &Arc<TaskRunner>, order: TaskOrder) {
        let lease_id = order.lease_id;
        let rejection = match self.leaving.is_some() {
            true => Some("this worker is draining"),
            false => self.lacks_slot(runner, &order).then_some("this worker has no free slot"),
        };
        let Some(cancel) = self.held.start(lease_id) else {
            tracing::warn!(lease = lease_id.hint(), "an attempt at a task was assigned twice");
            return;
        };
        let sink = EventSink::new(lease_id, self.sink.clone());
        match rejection {
            None => runner.start(order, sink, cancel),
            Some(rejection) => {
                let failure = Failure::new(FailureClass::Infrastructure, rejection);
                runner.reject(&order, failure, sink, cancel);
            }
        }
    }

    /// Whether a task would exceed what was offered. An execution takes no slot.
    fn lacks_slot(&self, runner: &TaskRunner, order: &TaskOrder) -> bool {
        let offered = self.capabilities.borrow();
        let Some(offer) = offered.sharding.as_ref() else { return false };
        let limit = offer.prove_slots.saturating_add(offer.prefetch) as usize;
        let running = self.held.running();
        let taken = running.into_iter().filter(|lease| runner.takes_slot(*lease)).count();
        order.kind() != TaskKind::Execute && taken >= limit
    }

    /// Sends a message about a task. The end of an attempt is kept until it is settled.
    pub(super) async fn send_task(
        &mut self,
        socket: &mut Socket,
        message: TaskFromWorker,
    ) -> Result<(), Lost> {
        let lease = match &message {
            TaskFromWorker::Depot { .. } => None,
            TaskFromWorker::Shards { lease_id, .. }
            | TaskFromWorker::Traced { lease_id, .. }
            | TaskFromWorker::ExecuteEnded { lease_id, .. }
            | TaskFromWorker::TaskDone { lease_id, .. }
            | TaskFromWorker::TaskFailed { lease_id, .. } => Some(*lease_id),
        };
        if lease.is_some_and(|lease| !self.held.is_running(lease)) {
            return Ok(());
        }
        let is_end = matches!(
            message,
            TaskFromWorker::ExecuteEnded { .. }
                | TaskFromWorker::TaskDone { .. }
                | TaskFromWorker::TaskFailed { .. }
        );
        let message = FromWorker::Task(message);
        match lease.filter(|_| is_end) {
            Some(lease) => {
                self.reports.forget(lease);
                self.held.end(lease, Some(message));
                self.send_ends(socket).await
            }
            None => socket.send(&message).await,
        }
    }
}

/// The end of an attempt at a task that this worker does not finish.
pub(super) fn task_failed(lease_id: LeaseId, failure: Failure) -> TaskFromWorker {
    let (lost, suspect) = (Vec::new(), Vec::new());
    TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect }
}
