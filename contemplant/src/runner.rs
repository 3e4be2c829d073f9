//! Running an attempt: download, unpack, prove, store, upload.
//!
//! An attempt reports by events only. The link decides which of them are sent and when, so an attempt continues while
//! the connection is down.

mod inputs;
mod meter;
mod obstacles;
pub mod tasks;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;

use network_lib::handshake::Capabilities;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass, JobSpec, Phase};
use network_lib::secret::Secret;
use network_lib::{task, wire};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::inputs::Inputs;
use self::meter::Meter;
use self::obstacles::Obstacles;
use self::transfer::{Transfer, TransferError};
use crate::attempt::{Job, Outcome};
use crate::config::{Config, Endpoints};
use crate::executor::guarded::restrict;
use crate::executor::{EventSink, Executor, ProveJob, Proved};
use crate::finished::{FinishedProof, FinishedProofs, Kept};
use crate::metrics::Metrics;
use crate::observer::AttemptObserver;
use crate::trust::Trust;

/// Runs attempts.
pub struct Runner {
    executor: Arc<dyn Executor>,
    obstacles: Obstacles,
    transfer: Arc<Transfer>,
    inputs: Arc<Inputs>,
    finished: FinishedProofs,
    /// What the executor takes at once.
    places: Semaphore,
    /// Changes with every message of a Hierophant after a handshake, which says which attempts are wanted.
    heard: watch::Sender<()>,
    /// Cancelled when the program ends.
    leaving: CancellationToken,
    metrics: Metrics,
}

/// Why an attempt ended without a proof.
enum Stop {
    /// Its result is no longer needed, or the program ends.
    Abandoned,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<TransferError> for Stop {
    fn from(error: TransferError) -> Self {
        let class = match error {
            // Another attempt would end with a proof that is rejected as well.
            TransferError::Rejected(_) => FailureClass::Request,
            _ => FailureClass::Infrastructure,
        };
        Failure::new(class, error.to_string()).into()
    }
}

impl Runner {
    /// A runner that downloads from `endpoints` into the folder `downloads`, proves with `executor` and stores its
    /// proofs in `finished`.
    #[must_use]
    pub fn new(
        config: &Config,
        endpoints: &Endpoints,
        trust: Arc<Trust>,
        executor: Arc<dyn Executor>,
        downloads: PathBuf,
        finished: FinishedProofs,
        metrics: Metrics,
    ) -> Self {
        let places = Semaphore::new(executor.jobs_at_once());
        let obstacles = Obstacles::default();
        let transfer = Arc::new(Transfer::new(
            endpoints.http.clone(),
            trust,
            config.http_timeout,
            config.foreign_pause,
            obstacles.clone(),
            metrics.clone(),
        ));
        let limit = config.max_decompressed_bytes;
        Self {
            inputs: Arc::new(Inputs::new(Arc::clone(&transfer), downloads, limit)),
            transfer,
            obstacles,
            finished,
            places,
            executor,
            heard: watch::Sender::new(()),
            leaving: CancellationToken::new(),
            metrics,
        }
    }

    /// What this worker offers: the capabilities of its executor, without any kind of proof while a finished proof
    /// cannot be handed in. Must be called on a tokio runtime.
    #[must_use]
    pub fn offered(&self) -> watch::Receiver<Capabilities> {
        restrict(self.executor.capabilities(), self.obstacles.text())
    }

    /// Starts an attempt. Its last event is always its outcome.
    pub fn start(self: &Arc<Self>, job: Job, events: EventSink, cancel: CancellationToken) {
        let observed = Arc::new(AttemptObserver::start(&job, self.metrics.clone()));
        let span = observed.log().clone();
        let events = events.observed(observed);
        let runner = Arc::clone(self);
        let lease_id = job.lease_id;
        let sink = events.clone();
        let work = async move {
            let proof = runner.prove(job, &sink, &cancel).await;
            runner.conclude(lease_id, proof, &sink, &cancel).await
        };
        span.in_scope(|| follow(events, work));
    }

    /// Uploads a proof of an earlier process. Its events are those of an attempt.
    pub fn resume(
        self: &Arc<Self>,
        proof: FinishedProof,
        events: EventSink,
        cancel: CancellationToken,
    ) {
        let observed = Arc::new(AttemptObserver::resume(proof.lease_id, self.metrics.clone()));
        let span = observed.log().clone();
        let events = events.observed(observed);
        let runner = Arc::clone(self);
        let sink = events.clone();
        let work = async move { runner.conclude(proof.lease_id, Ok(proof), &sink, &cancel).await };
        span.in_scope(|| follow(events, work));
    }

    /// Sets the access key of the latest welcome, which transfers use from now on.
    pub fn admitted(&self, access_key: Secret) {
        self.transfer.admitted(access_key);
    }

    /// Hierophant is connected, and its messages about attempts so far have been handled.
    pub fn heard_from_hierophant(&self) {
        self.heard.send_replace(());
    }

    /// Ends all attempts because the program ends. Proofs on disk stay there.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Whether this attempt's proof is on disk, and so survives a restart.
    #[must_use]
    pub fn holds_proof(&self, lease_id: LeaseId) -> bool {
        self.finished.holds(lease_id)
    }

    /// Removes this attempt's proof, if any: Hierophant has stored it or does not want it.
    pub fn forget_proof(&self, lease_id: LeaseId) {
        self.finished.remove(lease_id);
    }

    /// Removes all that is kept of this attempt: Hierophant does not want its result.
    pub fn abandon(&self, lease_id: LeaseId) {
        self.forget_proof(lease_id);
        let executor = Arc::clone(&self.executor);
        tokio::task::spawn_blocking(move || executor.forget(lease_id));
    }

    /// Ends an attempt, with a proof or without.
    async fn conclude(
        &self,
        lease_id: LeaseId,
        proof: Result<FinishedProof, Stop>,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Outcome {
        let handed_in = match proof {
            Ok(proof) => self.hand_in(proof, events, cancel).await,
            Err(stop) => Err(stop),
        };
        if cancel.is_cancelled() {
            self.finished.remove(lease_id);
            return Outcome::Abandoned;
        }
        match handed_in {
            Ok(FinishedProof { execution, proof, .. }) => Outcome::Completed { execution, proof },
            Err(Stop::Failed(failure)) => Outcome::Failed(failure),
            Err(Stop::Abandoned) => Outcome::Abandoned,
        }
    }

    async fn prove(
        &self,
        job: Job,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<FinishedProof, Stop> {
        let lease_id = job.lease_id;
        self.check_fit(&job.spec)?;
        let fetched = cancel.run_until_cancelled(self.fetch(job, events)).await;
        let prove_job = fetched.unwrap_or(Err(Stop::Abandoned))?;

        // A cancelled attempt may still occupy its place, and a job that was leased ahead waits for the one before it.
        let place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(_) => {
                events.waiting();
                let free = cancel.run_until_cancelled(self.places.acquire()).await;
                free.and_then(Result::ok).ok_or(Stop::Abandoned)?
            }
        };
        let proved = self.executor.prove(prove_job, events.clone(), cancel.clone()).await?;
        drop(place);
        if cancel.is_cancelled() {
            return Err(Stop::Abandoned);
        }
        let Proved { execution, proof } = proved;
        let finished = self.finished.clone();
        let executor = Arc::clone(&self.executor);
        let kept = tokio::task::spawn_blocking(move || {
            let proof = finished.keep(lease_id, execution, proof);
            // What is in memory alone may have to be made again.
            if finished.holds(lease_id) {
                executor.forget(lease_id);
            }
            proof
        });
        kept.await.map_err(|error| {
            let message = format!("the proof could not be stored: {error}");
            Failure::new(FailureClass::Worker, message).into()
        })
    }

    async fn hand_in(
        &self,
        proof: FinishedProof,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<FinishedProof, Stop> {
        let meter = Meter::start(events, Phase::Uploading);
        let handed_in = tokio::select! {
            () = cancel.cancelled() => return Err(Stop::Abandoned),
            () = self.leaving.cancelled() => return Err(Stop::Abandoned),
            handed_in = self.offer(&proof, &meter) => handed_in,
        };
        if let Err(error) = handed_in {
            // The lease is gone, Hierophant itself rejects the bytes, or the bytes are gone: a retry cannot help, not
            // after a restart either.
            self.finished.remove(proof.lease_id);
            return Err(error.into());
        }
        Ok(proof)
    }

    /// Uploads a proof until Hierophant accepts it or finally rejects it.
    async fn offer(&self, proof: &FinishedProof, meter: &Meter) -> Result<(), TransferError> {
        let path = wire::proof_path(proof.lease_id);
        let upload = Kept { info: proof.proof, bytes: proof.bytes.clone() };
        let mut heard = self.heard.subscribe();
        let first = self.transfer.hand_in(&path, &upload, meter).await;
        if !matches!(first, Err(TransferError::LeaseGone)) {
            return first;
        }
        // A Hierophant that has declared this worker lost does not accept the lease until the next handshake,
        // which says whether the attempt continues. So wait for a message, if necessary over a new connection; if
        // the attempt is over, it is cancelled by then.
        tracing::warn!(
            "the lease is not valid now; the proof is uploaded once more after the next message of Hierophant"
        );
        heard.mark_unchanged();
        // The channel cannot close: this runner holds the other end.
        let _ = heard.changed().await;
        self.transfer.hand_in(&path, &upload, meter).await
    }

    /// Rejects a job that does not match the offered capabilities, which Hierophant should not send.
    fn check_fit(&self, spec: &JobSpec) -> Result<(), Failure> {
        let capabilities = self.executor.capabilities();
        let capabilities = capabilities.borrow();
        if !capabilities.circuit_versions.contains(&spec.circuit_version) {
            let message = format!(
                "circuit version {} cannot be proved by this worker: expected {}",
                spec.circuit_version,
                capabilities.circuit_versions.join(", ")
            );
            return Err(Failure::new(FailureClass::Request, message));
        }
        if !capabilities.modes.contains(&spec.mode) {
            let message = format!("{} proofs are not offered by this worker", spec.mode);
            return Err(Failure::new(FailureClass::Infrastructure, message));
        }
        Ok(())
    }

    async fn fetch(&self, job: Job, events: &EventSink) -> Result<ProveJob, Stop> {
        let meter = Meter::start(events, Phase::Downloading);
        let Job { lease_id, spec, program, stdin, .. } = job;
        let (elf, stdin) = self.inputs.both(lease_id, (program, stdin), &meter).await?;
        Ok(ProveJob { spec, program_digest: program.sha256, elf, stdin })
    }
}

/// Runs an attempt's `work` as a task of its own and sends its outcome, also after a panic.
fn follow(events: EventSink, work: impl Future<Output = Outcome> + Send + 'static) {
    task::spawn("attempt", async move {
        let outcome = task::spawn("work", work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "an attempt panicked");
            Outcome::Failed(Failure::new(FailureClass::Worker, "internal error of the Contemplant"))
        });
        events.ended(outcome);
    });
}
