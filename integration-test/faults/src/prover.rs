//! A scripted worker that does its work well: it takes jobs, hands in good proofs after a while, and keeps
//! its leases over reconnects. Most cases need a healthy worker and no real executor.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use network_lib::handshake::Hello;
use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress};
use network_lib::task;
use network_lib::wire::{FromWorker, ToWorker};
use test_peers::{Worker, blob, hello};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::proofs::{GoodProof, Proofs};

/// How often it looks after its work.
const TICK: Duration = Duration::from_millis(50);

/// What others may see of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every lease that it was given, in order.
    pub(crate) leased: Vec<LeaseId>,
    /// Leases that Hierophant cancelled.
    pub(crate) cancelled: Vec<LeaseId>,
    /// Most leases that it held at once.
    pub(crate) most_at_once: usize,
    /// Leases that welcomes resumed.
    pub(crate) resumed: Vec<LeaseId>,
    /// Whether it is connected and welcome.
    pub(crate) connected: bool,
}

/// A running one; it is gone when dropped.
#[derive(Debug)]
pub(crate) struct Prover {
    ledger: Arc<Mutex<Ledger>>,
    _stop: DropGuard,
}

struct Work {
    lease: LeaseId,
    due: Instant,
    proof: GoodProof,
    handed_in: bool,
}

struct Script {
    http: SocketAddr,
    web: reqwest::Client,
    hello: Hello,
    proof_time: Duration,
    proofs: Arc<Proofs>,
    work: Vec<Work>,
    /// When the next sign of life is due.
    heartbeat_due: Instant,
    /// How often one is asked for.
    heartbeat_interval: Duration,
    ledger: Arc<Mutex<Ledger>>,
}

impl Prover {
    /// Starts one that takes `proof_time` for each proof and works for the Hierophant at `http`.
    pub(crate) fn start(
        http: SocketAddr,
        name: &str,
        proofs: &Arc<Proofs>,
        proof_time: Duration,
        change: impl FnOnce(&mut Hello),
    ) -> Self {
        let ledger = Arc::<Mutex<Ledger>>::default();
        let mut hello = Hello { name: name.into(), ..hello() };
        change(&mut hello);
        let script = Script {
            http,
            web: reqwest::Client::new(),
            hello,
            proof_time,
            proofs: Arc::clone(proofs),
            work: Vec::new(),
            heartbeat_due: Instant::now(),
            heartbeat_interval: Duration::from_secs(1),
            ledger: Arc::clone(&ledger),
        };
        let stop = CancellationToken::new();
        task::spawn("prover", stop.clone().run_until_cancelled_owned(script.run()));
        Self { ledger, _stop: stop.drop_guard() }
    }

    /// What it has gone through so far.
    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Script {
    async fn run(mut self) {
        loop {
            // However the connection ended, there will be another.
            let _ = self.converse().await;
            self.note(|ledger| ledger.connected = false);
            sleep(TICK * 2).await;
        }
    }

    async fn converse(&mut self) -> Option<()> {
        let mut worker = Worker::connect(self.http, self.web.clone()).await.ok()?;
        self.hello.held = self.work.iter().map(|work| work.lease).collect();
        worker.send(&FromWorker::Hello(self.hello.clone())).await.ok()?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut welcome = false;
        loop {
            tokio::select! {
                message = worker.receive() => welcome |= self.hear(message.ok()?),
                _ = ticks.tick(), if welcome => {
                    for message in self.tick(&worker).await {
                        worker.send(&message).await.ok()?;
                    }
                }
            }
        }
    }

    fn hear(&mut self, message: ToWorker) -> bool {
        match message {
            ToWorker::Welcome(welcome) => {
                self.heartbeat_interval = Duration::from_millis(welcome.heartbeat_interval_ms);
                let resume: BTreeSet<LeaseId> = welcome.resume.iter().copied().collect();
                self.work.retain(|work| resume.contains(&work.lease));
                // After a reconnect it is unknown whether the end was stored, so it is reported again.
                self.work.iter_mut().for_each(|work| work.handed_in = false);
                self.note(|ledger| {
                    ledger.resumed.extend(resume);
                    ledger.connected = true;
                });
                return true;
            }
            ToWorker::Prove { lease_id, spec, stdin, .. } => {
                let proof = self.proofs.for_stdin(stdin.sha256, spec.mode).clone();
                let due = Instant::now() + self.proof_time;
                self.work.push(Work { lease: lease_id, due, proof, handed_in: false });
                // The next word tells that it has begun.
                self.heartbeat_due = Instant::now();
                let held = self.work.iter().filter(|work| !work.handed_in).count();
                self.note(|ledger| {
                    ledger.leased.push(lease_id);
                    ledger.most_at_once = ledger.most_at_once.max(held);
                });
            }
            ToWorker::Cancel { lease_id, .. } => {
                self.work.retain(|work| work.lease != lease_id);
                self.note(|ledger| ledger.cancelled.push(lease_id));
            }
            ToWorker::Settled { lease_id } => self.work.retain(|work| work.lease != lease_id),
            // It offers no tasks.
            ToWorker::Refused(_) | ToWorker::Drain { .. } | ToWorker::Task(_) => {}
        }
        false
    }

    /// Hands in what is due, and says what is to be said.
    async fn tick(&mut self, worker: &Worker) -> Vec<FromWorker> {
        let now = Instant::now();
        let is_due = now >= self.heartbeat_due;
        let mut words = Vec::new();
        for work in &mut self.work {
            let lease_id = work.lease;
            if work.handed_in {
                continue;
            }
            if work.due > now && !is_due {
                continue;
            }
            if work.due > now {
                let progress = Progress::phase(Phase::Proving);
                words.push(FromWorker::Progress { lease_id, progress });
                continue;
            }
            let sent = worker.upload(lease_id, work.proof.bytes.clone()).await;
            if sent.is_ok_and(|status| status.is_success()) {
                work.handed_in = true;
                let (execution, proof) = (work.proof.execution, blob(&work.proof.bytes));
                words.push(FromWorker::Completed { lease_id, execution, proof });
            }
        }
        if is_due || !words.is_empty() {
            self.heartbeat_due = now + self.heartbeat_interval;
            let working = self.work.iter().filter(|work| !work.handed_in);
            let held = working.map(|work| work.lease).collect();
            words.push(FromWorker::Heartbeat { held, gpus: vec![] });
        }
        words
    }

    fn note(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
