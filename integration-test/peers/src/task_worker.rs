//! A worker of proofs that many workers make, without a prover: its records and shard proofs are pseudo bytes of configured
//! size, and its work is waiting. It keeps worker protocol 3 in full, also over lost connections.

mod bytes;
mod held;
mod transfer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures_util::{SinkExt, StreamExt};
use network_lib::codec;
use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::shard::{MAX_BLOBS_PER_MESSAGE, Sharding, TaskFromWorker, TaskKind, TaskToWorker};
use network_lib::task;
use network_lib::wire::ToWorker;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

pub use bytes::ENGINE;
use held::{Desk, Held};
use transfer::Transfer;

use crate::worker::Worker;

/// Pause before another connection.
const RECONNECT: Duration = Duration::from_millis(100);

/// The work of one proof, equal on all workers.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Number of core shards.
    pub shards: u32,
    /// Size of a record.
    pub record_bytes: usize,
    /// Size of the proof of a shard.
    pub part_bytes: usize,
    /// Time for which the execution computes a shard.
    pub cut: Duration,
    /// Time for which a shard is proved, on average.
    pub prove: Duration,
    /// Greatest share by which that time differs for single shards, either way. It depends on the shard's number.
    pub spread: f64,
}

impl Work {
    /// Time for which this shard is proved.
    fn prove_time(&self, no: u32) -> Duration {
        // The fractional parts of multiples of the golden ratio are spread evenly over 0 to 1.
        let share = (f64::from(no) * 0.618_033_988_749_895).fract();
        self.prove.mul_f64(1.0 + self.spread * (2.0 * share - 1.0))
    }
}

/// What a worker has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Ended executions.
    pub executions: u64,
    /// Proved shards.
    pub shards: u64,
    /// Records that were fetched from Hierophant.
    pub fetched: u64,
    /// Records that were handed in for other workers.
    pub provided: u64,
    /// Connections.
    pub connections: u64,
    /// Time for which the prover has worked.
    pub busy: Duration,
}

/// Times of a worker.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// From the result of each shard to its settlement, with the transfer of the result left out.
    pub settled: Vec<Duration>,
    /// From the result of each shard to the next task.
    pub assigned: Vec<Duration>,
    /// When the first shard was begun and the last one was proved.
    pub proving: Option<(Instant, Instant)>,
}

/// A worker that runs in the background until it is dropped.
pub struct TaskWorker {
    address: Arc<Mutex<SocketAddr>>,
    desk: Arc<Desk>,
    stop: CancellationToken,
}

impl TaskWorker {
    /// Starts a worker that connects to this HTTP port, and again whenever the connection ends. `slots` is the number of
    /// tasks that it proves at once, `prefetch` that of tasks whose inputs it fetches meanwhile.
    #[must_use]
    pub fn start(
        address: SocketAddr,
        mut hello: Hello,
        (slots, prefetch): (u32, u32),
        work: Work,
        http: reqwest::Client,
    ) -> Self {
        hello.capabilities.sharding = Some(Sharding {
            engine: ENGINE.into(),
            kinds: vec![TaskKind::Execute, TaskKind::ProveShard],
            recursion: false,
            prove_slots: slots,
            prefetch,
            max_elements: 1 << 22,
            depot_bytes: 1 << 40,
            depot_port: None,
            depot_fingerprint: None,
        });
        let desk = Arc::new(Desk::new(work, slots));
        let stop = CancellationToken::new();
        let address = Arc::new(Mutex::new(address));
        let session =
            Session { address: Arc::clone(&address), hello, http, desk: Arc::clone(&desk) };
        let running = stop.clone().run_until_cancelled_owned(session.run());
        task::spawn("task worker", running);
        Self { address, desk, stop }
    }

    /// Connects to this HTTP port from the next connection on.
    pub fn move_to(&self, address: SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// What it has done so far.
    #[must_use]
    pub fn done(&self) -> Done {
        self.desk.done()
    }

    /// Its times so far.
    #[must_use]
    pub fn times(&self) -> Times {
        self.desk.times()
    }

    /// Forgets everything, as a process that is killed and started again without its depot.
    pub fn forget(&self) {
        self.desk.forget();
    }
}

impl Drop for TaskWorker {
    fn drop(&mut self) {
        self.stop.cancel();
        self.desk.forget();
    }
}

/// The connections of a worker, one after the other.
struct Session {
    address: Arc<Mutex<SocketAddr>>,
    hello: Hello,
    http: reqwest::Client,
    desk: Arc<Desk>,
}

impl Session {
    async fn run(self) {
        loop {
            // An error says that the connection has ended.
            let _ = self.connection().await;
            self.desk.silence();
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn connection(&self) -> Result<()> {
        let address = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worker = Worker::connect(address, self.http.clone()).await?;
        let welcome =
            worker.greet(Hello { held: self.desk.leases(), ..self.hello.clone() }).await?;
        let key = welcome.access_key.clone();
        let transfer = Transfer::new(address, key, self.http.clone());
        let (sender, mut outgoing) = mpsc::unbounded_channel();
        self.desk.connected(sender, transfer);
        self.report(&welcome);
        let every = Duration::from_millis(welcome.heartbeat_interval_ms);
        let mut heartbeat = tokio::time::interval(every);
        let (mut writer, mut reader) = worker.socket.split();
        loop {
            let message = tokio::select! {
                Some(word) = outgoing.recv() => word,
                _ = heartbeat.tick() => self.desk.heartbeat(),
                frame = reader.next() => {
                    let Some(Ok(frame)) = frame else { return Ok(()) };
                    if let Message::Text(text) = frame {
                        self.hear(codec::decode(text.as_str())?);
                    }
                    continue;
                }
            };
            writer.send(Message::text(codec::encode(&message))).await?;
        }
    }

    /// What Hierophant may have missed, in the order of the protocol.
    fn report(&self, welcome: &Welcome) {
        self.desk.retain(&welcome.resume);
        for (job, blobs) in self.desk.depots() {
            self.say_depot(job, &blobs);
        }
        self.desk.repeat();
    }

    fn say_depot(&self, job: JobId, blobs: &[Sha256Digest]) {
        let parts = blobs.chunks(MAX_BLOBS_PER_MESSAGE);
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.enumerate() {
            let (blobs, more) = (part.to_vec(), at < last);
            let (used_bytes, free_bytes) = (0, 1 << 40);
            self.desk.say(TaskFromWorker::Depot { job, blobs, more, used_bytes, free_bytes });
        }
        if blobs.is_empty() {
            let (blobs, more, used_bytes, free_bytes) = (Vec::new(), false, 0, 1 << 40);
            self.desk.say(TaskFromWorker::Depot { job, blobs, more, used_bytes, free_bytes });
        }
    }

    fn hear(&self, message: ToWorker) {
        match message {
            ToWorker::Cancel { lease_id, .. } => self.desk.cancel(lease_id),
            ToWorker::Settled { lease_id } => {
                self.desk.settled(lease_id);
                self.desk.remove(lease_id);
            }
            ToWorker::Task(TaskToWorker::Run { lease_id, job, input, .. }) => {
                Held::start(&self.desk, (lease_id, job), input);
            }
            ToWorker::Task(TaskToWorker::ShardsKnown { lease_id, shards }) => {
                self.desk.known(lease_id, &shards);
            }
            ToWorker::Task(TaskToWorker::Provide { lease_id, blob }) => {
                self.provide(lease_id, blob);
            }
            ToWorker::Task(TaskToWorker::Forget { job, blobs: None }) => self.desk.forget_job(job),
            _ => {}
        }
    }

    fn provide(&self, lease: LeaseId, blob: Sha256Digest) {
        if !self.desk.provide(lease, blob) {
            for (job, blobs) in self.desk.depots() {
                self.say_depot(job, &blobs);
            }
        }
    }
}
