//! Mock Contemplants that are made by the thousand: one socket each, small buffers, one HTTP client for
//! all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker, proof_path, stdin_path};
use network_lib::{codec, task};
use sha2::{Digest, Sha256};
use test_peers::{Addresses, blob, execution_with, hello};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::requester::{expected_proof, public_values_of};

/// Longest wait for anything that a Contemplant is owed.
const LIMIT: Duration = Duration::from_secs(60);

/// A job as it arrived.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The attempt.
    pub lease: LeaseId,
    /// Tells the job from all others: its cycle limit.
    pub number: u64,
    /// Size and digest of its input.
    pub stdin: BlobInfo,
    /// When it arrived.
    pub at: Instant,
}

/// Jobs and how often each was given out: none may be twice.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<(u64, Sha256Digest), u32>>>);

impl Ledger {
    /// A job was given out.
    pub fn note(&self, job: &Leased) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *given.entry((job.number, job.stdin.sha256)).or_default() += 1;
    }

    /// How many different jobs were given out.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Checks that the expected number of jobs was assigned, each once.
    ///
    /// # Errors
    ///
    /// When it is otherwise.
    pub fn check(&self, jobs: usize) -> Result<()> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let twice = given.values().filter(|times| **times > 1).count();
        ensure!(twice == 0, "{twice} of {} jobs were given out more than once", given.len());
        ensure!(given.len() == jobs, "{} jobs were given out, not {jobs}", given.len());
        Ok(())
    }
}

/// A connected mock Contemplant.
pub struct Worker {
    socket: WebSocketStream<TcpStream>,
    http: reqwest::Client,
    base: String,
    /// Its welcome.
    pub welcome: Welcome,
}

/// Who a mock Contemplant is: a hello with a stable id.
#[must_use]
pub fn identity(number: usize) -> Hello {
    let mut hello = hello();
    hello.name = format!("mock-{number:05}");
    hello.worker_id = WorkerId::random();
    hello
}

impl Worker {
    /// Connects and waits for the welcome.
    ///
    /// # Errors
    ///
    /// When it is not welcome.
    pub async fn join(network: Addresses, http: &reqwest::Client, hello: Hello) -> Result<Self> {
        let stream = TcpStream::connect(network.http).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let url = format!("ws://{}/ws", network.http);
        let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        let said = codec::encode(&FromWorker::Hello(hello));
        socket.send(Message::text(said)).await?;
        let answer = timeout(LIMIT, hear(&mut socket)).await.context("no welcome in time")??;
        let ToWorker::Welcome(welcome) = answer else { bail!("not welcome: {answer:?}") };
        let base = format!("http://{}", network.http);
        Ok(Self { socket, http: http.clone(), base, welcome })
    }

    /// Says something.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn say(&mut self, message: &FromWorker) -> Result<()> {
        Ok(self.socket.send(Message::text(codec::encode(message))).await?)
    }

    /// A sign of life.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn heartbeat(&mut self, held: Vec<LeaseId>) -> Result<()> {
        self.say(&FromWorker::Heartbeat { held, gpus: Vec::new() }).await
    }

    /// Says that an attempt has gone on, so that it is not taken away when the connection breaks.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn progress(&mut self, lease_id: LeaseId, fraction: f32) -> Result<()> {
        let progress = Progress { fraction: Some(fraction), ..Progress::phase(Phase::Proving) };
        self.say(&FromWorker::Progress { lease_id, progress }).await
    }

    /// The next job. Confirmations are passed over.
    ///
    /// # Errors
    ///
    /// When the connection ends.
    pub async fn next_job(&mut self) -> Result<Leased> {
        loop {
            if let ToWorker::Prove { lease_id, spec, stdin, .. } = hear(&mut self.socket).await? {
                let at = Instant::now();
                return Ok(Leased { lease: lease_id, number: spec.cycle_limit, stdin, at });
            }
        }
    }

    /// Waits for the word that an attempt's end is stored.
    ///
    /// # Errors
    ///
    /// When something else is said, or the connection ends.
    pub async fn settled(&mut self, lease: LeaseId) -> Result<()> {
        match timeout(LIMIT, hear(&mut self.socket)).await.context("no word")?? {
            ToWorker::Settled { lease_id } if lease_id == lease => Ok(()),
            other => bail!("not settled: {other:?}"),
        }
    }

    /// Fetches a job's input, and makes the proof that is expected of it.
    ///
    /// # Errors
    ///
    /// When the input is not given out or is another one.
    pub async fn prove(&self, job: &Leased) -> Result<(Execution, Vec<u8>)> {
        let url = format!("{}{}", self.base, stdin_path(job.lease));
        let call = self.http.get(url).bearer_auth(self.welcome.access_key.reveal());
        let answer = call.send().await.context("GET of an input")?;
        let status = answer.status();
        ensure!(status == 200, "an input was answered with {status}");
        let input = answer.bytes().await?;
        let digest = Sha256Digest(Sha256::digest(&input).into());
        ensure!(digest == job.stdin.sha256, "an input is not what was announced");
        Ok((execution_with(&public_values_of(&input)), expected_proof(&input)))
    }

    /// Hands a proof in; the message that says so is still to be sent.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn hand_in(
        &self,
        job: &Leased,
        (execution, proof): (Execution, Vec<u8>),
    ) -> Result<FromWorker> {
        let completed =
            FromWorker::Completed { lease_id: job.lease, execution, proof: blob(&proof) };
        let url = format!("{}{}", self.base, proof_path(job.lease));
        let call = self.http.put(url).bearer_auth(self.welcome.access_key.reveal());
        let answer = call.body(proof).send().await.context("PUT of a proof")?;
        let status = answer.status();
        ensure!(status == 200, "a proof was answered with {status}");
        Ok(completed)
    }

    /// Does a job from its first word to its last.
    ///
    /// # Errors
    ///
    /// When any of it fails.
    pub async fn work_on(&mut self, job: &Leased) -> Result<()> {
        self.progress(job.lease, 0.0).await?;
        let made = self.prove(job).await?;
        let completed = self.hand_in(job, made).await?;
        self.say(&completed).await
    }
}

async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Result<ToWorker> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(codec::decode(text.as_str())?),
            Some(Ok(Message::Close(frame))) => bail!("closed by Hierophant: {frame:?}"),
            Some(Err(error)) => return Err(error.into()),
            None => bail!("closed by Hierophant"),
            Some(Ok(_)) => {}
        }
    }
}

/// Mock Contemplants that do whatever comes, each in a task; they stop when this is dropped.
pub struct Fleet {
    tasks: Vec<JoinHandle<()>>,
    faults: mpsc::UnboundedReceiver<anyhow::Error>,
    /// What was given out.
    pub ledger: Ledger,
}

impl Fleet {
    /// Starts workers; each proof takes at least `proving`.
    ///
    /// # Errors
    ///
    /// When one is not welcome.
    pub async fn start(
        network: Addresses,
        http: &reqwest::Client,
        workers: usize,
        proving: Duration,
    ) -> Result<Self> {
        let (fault, faults) = mpsc::unbounded_channel();
        let ledger = Ledger::default();
        let mut tasks = Vec::new();
        for number in 0..workers {
            let worker = Worker::join(network, http, identity(number)).await?;
            let (fault, ledger) = (fault.clone(), ledger.clone());
            tasks.push(task::spawn("mock Contemplant", async move {
                if let Err(error) = work(worker, &ledger, proving).await {
                    // Nobody listens at the end, when Hierophant closes the connections.
                    let _ = fault.send(error);
                }
            }));
        }
        Ok(Self { tasks, faults, ledger })
    }

    /// Checks that the expected number of jobs was assigned, each once, and that nothing failed.
    ///
    /// # Errors
    ///
    /// When it is otherwise.
    pub fn check(mut self, jobs: usize) -> Result<()> {
        if let Ok(fault) = self.faults.try_recv() {
            return Err(fault.context("a mock Contemplant failed"));
        }
        self.ledger.check(jobs)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn work(mut worker: Worker, ledger: &Ledger, proving: Duration) -> Result<()> {
    let beat = Duration::from_millis(worker.welcome.heartbeat_interval_ms);
    let mut clock = interval_at(Instant::now() + beat, beat);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let job = tokio::select! {
            job = worker.next_job() => job?,
            _ = clock.tick() => {
                worker.heartbeat(Vec::new()).await?;
                continue;
            }
        };
        ledger.note(&job);
        if !proving.is_zero() {
            worker.progress(job.lease, 0.0).await?;
            let until = Instant::now() + proving;
            while Instant::now() < until {
                tokio::time::sleep((until - Instant::now()).min(beat)).await;
                worker.heartbeat(vec![job.lease]).await?;
            }
        }
        worker.work_on(&job).await?;
    }
}
