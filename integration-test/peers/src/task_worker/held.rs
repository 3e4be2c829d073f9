//! The attempts of a worker, and what it says about them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::{BlobInfo, Failure, FailureClass};
use network_lib::shard::{
    KnownShard, MAX_SHARDS_PER_MESSAGE, Named, NewShard, ShardState, TaskFromWorker, TaskInput,
    TaskUsage,
};
use network_lib::task;
use network_lib::wire::FromWorker;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bytes::{info, pseudo, shard};
use super::transfer::Transfer;
use super::{Done, Times, Work};
use crate::payload::{PUBLIC_VALUES, execution};

/// All that a worker holds.
pub(super) struct Desk {
    work: Work,
    prover: Semaphore,
    state: Mutex<State>,
    /// Changes with each connection.
    link: watch::Sender<Option<Link>>,
}

#[derive(Clone)]
struct Link {
    number: u64,
    words: mpsc::UnboundedSender<FromWorker>,
    transfer: Transfer,
}

#[derive(Default)]
struct State {
    held: BTreeMap<LeaseId, Held>,
    /// Records in the depot, by digest, with the number of their shard.
    depot: BTreeMap<JobId, BTreeMap<Sha256Digest, u32>>,
    done: Done,
    times: Times,
    /// When results were said after which no task has come yet.
    freed: VecDeque<Instant>,
}

/// An attempt.
pub(super) struct Held {
    job: JobId,
    stop: CancellationToken,
    /// Announced shards of an execution.
    announced: Vec<NewShard>,
    common: Option<BlobInfo>,
    /// Numbers of announced shards that are not done; changes wake the execution.
    open: Arc<watch::Sender<BTreeSet<u32>>>,
    /// Blobs to hand in and what to say then, over each connection in this order.
    said: Vec<(Vec<bytes::Bytes>, TaskFromWorker)>,
    /// How many of them were said over the connection with this number; locked while one is.
    delivered: Arc<tokio::sync::Mutex<(u64, usize)>>,
    /// When the result was said.
    ended: Option<Instant>,
    /// Number of the connection over which the end was said.
    reported: Option<u64>,
}

impl Held {
    /// Starts an attempt.
    pub(super) fn start(desk: &Arc<Desk>, (lease, job): (LeaseId, JobId), input: TaskInput) {
        let stop = CancellationToken::new();
        let held = Self {
            job,
            stop: stop.clone(),
            announced: Vec::new(),
            common: None,
            open: Arc::new(watch::Sender::new(BTreeSet::new())),
            said: Vec::new(),
            delivered: Arc::default(),
            ended: None,
            reported: None,
        };
        desk.begun(lease, held);
        let desk = Arc::clone(desk);
        let attempt = stop.run_until_cancelled_owned(async move {
            let outcome = match input {
                TaskInput::Execute { window, window_bytes, .. } => {
                    desk.execute(lease, job, (window as usize, window_bytes)).await
                }
                TaskInput::ProveShard { common, record, defers, .. } => {
                    desk.prove(lease, job, (common.info, record.info), defers).await
                }
                other => Err(Failed::Other(format!("cannot do {other:?}"))),
            };
            if let Err(failed) = outcome {
                desk.fail(lease, failed).await;
            }
        });
        task::spawn("attempt at a task", attempt);
    }
}

/// Why an attempt has failed.
enum Failed {
    Lost(Sha256Digest),
    Other(String),
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(format!("{error:#}"))
    }
}

impl Desk {
    pub(super) fn new(work: Work, slots: u32) -> Self {
        let prover = Semaphore::new(slots as usize);
        Self { work, prover, state: Mutex::default(), link: watch::Sender::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn done(&self) -> Done {
        self.lock().done
    }

    pub(super) fn times(&self) -> Times {
        self.lock().times.clone()
    }

    /// An attempt begins.
    fn begun(&self, lease: LeaseId, held: Held) {
        let mut state = self.lock();
        let freed = state.freed.pop_front();
        state.times.assigned.extend(freed.map(|freed| freed.elapsed()));
        state.held.insert(lease, held);
    }

    /// A word is said now, over the connection with this number.
    fn is_said(&self, lease: LeaseId, word: &TaskFromWorker, connection: u64) {
        let (now, mut state) = (Instant::now(), self.lock());
        let is_result = matches!(word, TaskFromWorker::TaskDone { .. });
        if is_result {
            state.freed.push_back(now);
        }
        if let Some(held) = state.held.get_mut(&lease) {
            held.ended = held.ended.or(is_result.then_some(now));
            if !matches!(word, TaskFromWorker::Traced { .. }) {
                held.reported = Some(connection);
            }
        }
    }

    /// The end of an attempt is stored.
    pub(super) fn settled(&self, lease: LeaseId) {
        let mut state = self.lock();
        let ended = state.held.get(&lease).and_then(|held| held.ended);
        state.times.settled.extend(ended.map(|ended| ended.elapsed()));
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.lock().held.keys().copied().collect()
    }

    /// A heartbeat. It lists the attempts whose end was not said over this connection.
    pub(super) fn heartbeat(&self) -> FromWorker {
        let state = self.lock();
        let connection = Some(state.done.connections);
        let held = state.held.iter().filter(|(_, held)| held.reported != connection);
        FromWorker::Heartbeat { held: held.map(|(lease, _)| *lease).collect(), gpus: Vec::new() }
    }

    /// Ends an attempt that is not wanted, and says that its place is free.
    pub(super) fn cancel(&self, lease: LeaseId) {
        self.remove(lease);
        if let Some(link) = &*self.link.borrow() {
            let _ = link.words.send(self.heartbeat());
        }
    }

    pub(super) fn connected(&self, words: mpsc::UnboundedSender<FromWorker>, transfer: Transfer) {
        let number = {
            let mut state = self.lock();
            state.done.connections += 1;
            state.done.connections
        };
        self.link.send_replace(Some(Link { number, words, transfer }));
    }

    /// The connection has ended.
    pub(super) fn silence(&self) {
        self.link.send_replace(None);
    }

    pub(super) fn say(&self, word: TaskFromWorker) {
        if let Some(link) = &*self.link.borrow() {
            // What is lost is repeated after the next welcome.
            let _ = link.words.send(FromWorker::Task(word));
        }
    }

    pub(super) fn retain(&self, resumed: &[LeaseId]) {
        let leases = self.leases();
        leases.into_iter().filter(|it| !resumed.contains(it)).for_each(|it| self.remove(it));
    }

    pub(super) fn remove(&self, lease: LeaseId) {
        if let Some(held) = self.lock().held.remove(&lease) {
            held.stop.cancel();
        }
    }

    pub(super) fn forget(&self) {
        let state = std::mem::take(&mut *self.lock());
        state.held.values().for_each(|held| held.stop.cancel());
        self.lock().done = state.done;
    }

    pub(super) fn forget_job(&self, job: JobId) {
        self.lock().depot.remove(&job);
    }

    pub(super) fn depots(&self) -> Vec<(JobId, Vec<Sha256Digest>)> {
        let state = self.lock();
        let depots = state.depot.iter();
        depots.map(|(job, blobs)| (*job, blobs.keys().copied().collect())).collect()
    }

    /// Says everything again about what is held.
    pub(super) fn repeat(self: &Arc<Self>) {
        let mut again = Vec::new();
        for (lease, held) in &self.lock().held {
            if let Some(common) = held.common {
                for part in held.announced.chunks(MAX_SHARDS_PER_MESSAGE) {
                    let shards = part.to_vec();
                    self.say(TaskFromWorker::Shards { lease_id: *lease, common, shards });
                }
            }
            again.push(*lease);
        }
        let desk = Arc::clone(self);
        task::spawn("repetition", async move {
            for lease in again {
                desk.deliver(lease).await;
            }
        });
    }

    /// New states of shards.
    pub(super) fn known(&self, lease: LeaseId, shards: &[KnownShard]) {
        let mut state = self.lock();
        let Some(held) = state.held.get(&lease) else { return };
        let job = held.job;
        let done: Vec<u32> =
            shards.iter().filter(|it| it.state == ShardState::Done).map(|it| it.no).collect();
        held.open.send_modify(|open| open.retain(|no| !done.contains(no)));
        if let Some(depot) = state.depot.get_mut(&job) {
            depot.retain(|_, no| !done.contains(no));
        }
    }

    /// Hands in a record for another worker. Returns whether it is there.
    pub(super) fn provide(self: &Arc<Self>, lease: LeaseId, blob: Sha256Digest) -> bool {
        let found =
            self.lock().depot.iter().find_map(|(job, blobs)| Some((*job, *blobs.get(&blob)?)));
        let Some((job, no)) = found else { return false };
        let desk = Arc::clone(self);
        task::spawn("record", async move {
            let record = pseudo(job, b'r', no, desk.work.record_bytes);
            let transfer = desk.transfer().await;
            // It is asked for again, if it is still needed.
            if transfer.put_as(lease, blob, record).await.is_ok() {
                desk.lock().done.provided += 1;
            }
        });
        true
    }

    /// The present or the next connection.
    async fn link(&self) -> Link {
        let mut link = self.link.subscribe();
        let found = link.wait_for(Option::is_some).await;
        found.ok().and_then(|link| link.clone()).expect("the desk holds the sender")
    }

    /// The transfer of the present or the next connection.
    async fn transfer(&self) -> Transfer {
        self.link().await.transfer
    }

    /// Hands in blobs and says something about them, now and after each welcome.
    async fn conclude(&self, lease: LeaseId, blobs: Vec<bytes::Bytes>, word: TaskFromWorker) {
        if let Some(held) = self.lock().held.get_mut(&lease) {
            held.said.push((blobs, word));
        }
        self.deliver(lease).await;
    }

    /// Says what was not said yet over the present connection. What fails is said over the next one.
    async fn deliver(&self, lease: LeaseId) {
        let delivered = self.lock().held.get(&lease).map(|held| Arc::clone(&held.delivered));
        let Some(delivered) = delivered else { return };
        let mut delivered = delivered.lock().await;
        loop {
            let link = self.link().await;
            if delivered.0 != link.number {
                *delivered = (link.number, 0);
            }
            let said = self.lock().held.get(&lease).map(|held| held.said.get(delivered.1).cloned());
            let Some((blobs, word)) = said.flatten() else { return };
            for blob in blobs {
                if link.transfer.put(lease, blob).await.is_err() {
                    return;
                }
            }
            self.is_said(lease, &word, link.number);
            // What a broken connection loses is said over the next one.
            let _ = link.words.send(FromWorker::Task(word));
            delivered.1 += 1;
        }
    }

    async fn execute(
        &self,
        lease: LeaseId,
        job: JobId,
        (window, window_bytes): (usize, u64),
    ) -> Result<(), Failed> {
        let Work { shards, record_bytes, cut, .. } = self.work;
        let common = pseudo(job, b'c', 0, 100);
        let common_info = info(&common);
        loop {
            let transfer = self.transfer().await;
            if transfer.put(lease, common.clone()).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let open = {
            let mut state = self.lock();
            let held = state.held.get_mut(&lease).context("cancelled")?;
            held.common = Some(common_info);
            Arc::clone(&held.open)
        };
        let has_room = |open: &BTreeSet<u32>| {
            open.len() < window && (open.len() as u64 + 1) * record_bytes as u64 <= window_bytes
        };
        let mut next = 0;
        while next < shards {
            let mut ready = Vec::new();
            while next < shards && ready.len() < MAX_SHARDS_PER_MESSAGE && has_room(&open.borrow())
            {
                let new = shard(job, next, record_bytes).await?;
                open.send_if_modified(|open| open.insert(next));
                ready.push(new);
                next += 1;
                if !cut.is_zero() {
                    tokio::time::sleep(cut).await;
                    break;
                }
            }
            {
                let mut state = self.lock();
                let of_job = state.depot.entry(job).or_default();
                of_job.extend(ready.iter().map(|new| (new.record.sha256, new.no)));
                let held = state.held.get_mut(&lease).context("cancelled")?;
                held.announced.extend(ready.iter().cloned());
            }
            self.say(TaskFromWorker::Shards {
                lease_id: lease,
                common: common_info,
                shards: ready,
            });
            open.subscribe().wait_for(has_room).await.context("cancelled")?;
        }
        let public_values = bytes::Bytes::from_static(PUBLIC_VALUES);
        let ended = TaskFromWorker::ExecuteEnded {
            lease_id: lease,
            shards,
            execution: execution(),
            public_values: info(&public_values),
        };
        self.conclude(lease, vec![public_values], ended).await;
        self.lock().done.executions += 1;
        Ok(())
    }

    async fn prove(
        &self,
        lease: LeaseId,
        job: JobId,
        (common, record): (BlobInfo, BlobInfo),
        defers: bool,
    ) -> Result<(), Failed> {
        let began = Instant::now();
        self.fetch(lease, common).await?;
        let own = self.lock().depot.get(&job).and_then(|blobs| blobs.get(&record.sha256)).copied();
        let no = match own {
            Some(no) => no,
            None => {
                let bytes = self.fetch(lease, record).await?;
                self.lock().done.fetched += 1;
                let number = bytes.get(17..21).context("a record without a number")?;
                u32::from_be_bytes(number.try_into().map_err(anyhow::Error::from)?)
            }
        };
        if defers {
            let events = pseudo(job, b'e', no, 8);
            let deferred = Named { id: format!("{lease}-0"), blob: info(&events) };
            let traced = TaskFromWorker::Traced { lease_id: lease, deferred, named: Vec::new() };
            self.conclude(lease, vec![events], traced).await;
        }
        let turn = self.prover.acquire().await.context("the prover is closed")?;
        let begun = Instant::now();
        let prove = self.work.prove_time(no);
        tokio::time::sleep(prove).await;
        drop(turn);
        {
            let mut state = self.lock();
            let first = state.times.proving.map_or(begun, |(first, _)| first);
            state.times.proving = Some((first, Instant::now()));
            state.done.busy += prove;
            state.done.shards += 1;
        }
        let part = pseudo(job, b'p', no, self.work.part_bytes);
        let used = TaskUsage {
            wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            prove_ms: u64::try_from(prove.as_millis()).unwrap_or(u64::MAX),
            peak_bytes: None,
            fetched_bytes: if own.is_none() { record.size } else { 0 },
        };
        let done = TaskFromWorker::TaskDone { lease_id: lease, output: info(&part), used };
        self.conclude(lease, vec![part], done).await;
        Ok(())
    }

    /// A blob from Hierophant, over as many connections as it takes.
    async fn fetch(&self, lease: LeaseId, blob: BlobInfo) -> Result<bytes::Bytes, Failed> {
        for _ in 0..100 {
            let transfer = self.transfer().await;
            match transfer.get(lease, blob).await {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => return Err(Failed::Lost(blob.sha256)),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err(Failed::Other("a blob could not be fetched".into()))
    }

    async fn fail(&self, lease: LeaseId, failed: Failed) {
        let (message, lost) = match failed {
            Failed::Lost(blob) => ("an input is lost".to_owned(), vec![blob]),
            Failed::Other(message) => (message, Vec::new()),
        };
        let failure = Failure::new(FailureClass::Infrastructure, message);
        let word =
            TaskFromWorker::TaskFailed { lease_id: lease, failure, lost, suspect: Vec::new() };
        self.conclude(lease, Vec::new(), word).await;
    }
}
