//! One proof on a prover server, and its consequences for the server.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use network_lib::job::{Failure, FailureClass, Memory, OutOfMemory, Phase, Progress};
use sp1_prover::SP1_CIRCUIT_VERSION;
use sp1_verifier::ProofFromNetwork;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{End, PING_INTERVAL, Slot};
use crate::executor::cancelled;
use crate::executor::cuda::queue::Work;
use crate::executor::cuda::session::{Session, SessionError};
use crate::machine::memory_bytes;
use crate::prover_server::log::{self, Tasks};
use crate::prover_server::{Death, RunningServer};

/// Interval between two progress reports.
const TICK: Duration = Duration::from_secs(2);

/// How long the end of a server may be noticed later than the end of its connection.
pub(super) const END_NOTICE_LIMIT: Duration = Duration::from_secs(3);

/// How long a server in trouble may take to answer or to end. Both explain the failure better than the trouble.
/// The attempt ends at the next tick after it, within five seconds of the trouble.
pub(super) const TROUBLE_GRACE: Duration = Duration::from_secs(3);

/// How long the log may lag behind an answer.
pub(super) const LOG_LAG: Duration = Duration::from_millis(300);

/// What to do with the server afterwards.
pub(super) enum After {
    /// Use it for the next job.
    Continue,
    /// End it.
    End(End),
}

/// How an attempt ended.
enum Outcome {
    /// The proof, and how long the server took for it once the program was set up.
    Proved(Box<ProofFromNetwork>, Duration),
    Cancelled,
    Failed(SessionError),
    Died(Death),
    /// The server responds, but its log says that it cannot finish the proof.
    InTrouble,
    Silent,
}

impl Slot {
    /// Makes one proof and sends the result.
    pub(super) async fn attempt(
        &self,
        work: Work,
        session: &mut Session,
        running: &mut dyn RunningServer,
    ) -> After {
        if work.cancel.is_cancelled() {
            // It was cancelled in the queue: the server is not concerned.
            let _ = work.reply.send(Err(cancelled()));
            return After::Continue;
        }
        let log = running.log().clone();
        let outcome = self.outcome(&work, session, running).await;
        let (answer, after) = match outcome {
            Outcome::Proved(proof, took) => {
                self.estimator.learn(work.subject, took);
                self.checked(*proof)
            }
            Outcome::Cancelled => (Err(cancelled()), After::End(End::Replaced)),
            Outcome::Died(Death { reason, out_of_memory }) => {
                (Err(self.failed(&reason, out_of_memory)), After::End(End::Failed(reason)))
            }
            Outcome::InTrouble => {
                let reason = log.explain("the prover server cannot finish the proof");
                (Err(self.failed(&reason, log.out_of_memory())), After::End(End::Failed(reason)))
            }
            Outcome::Silent => {
                let reason = log.explain("the prover server has stopped answering");
                (Err(self.failed(&reason, log.out_of_memory())), After::End(End::Failed(reason)))
            }
            Outcome::Failed(SessionError::TooLarge(what)) => {
                let message = SessionError::TooLarge(what).to_string();
                (Err(Failure::new(FailureClass::Request, message)), After::Continue)
            }
            Outcome::Failed(SessionError::AnotherVersion) => {
                let reason = SessionError::AnotherVersion.to_string();
                (Err(self.failed(&reason, None)), After::End(End::Misfit(reason)))
            }
            // The failure may have left state in the server or on the GPU.
            Outcome::Failed(error) => {
                // The answer often names a consequence; the cause is in the log.
                sleep(LOG_LAG).await;
                let answer = error.to_string();
                let reason = log.explain(&answer);
                let out_of_memory = log::out_of_memory(&answer).or(log.out_of_memory());
                (Err(self.failed(&reason, out_of_memory)), After::End(End::Failed(reason)))
            }
        };
        // The receiver may be gone.
        let _ = work.reply.send(answer);
        after
    }

    async fn outcome(
        &self,
        work: &Work,
        session: &mut Session,
        running: &mut dyn RunningServer,
    ) -> Outcome {
        let log = running.log().clone();
        log.begin_proof();
        let socket = running.socket().to_owned();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Set once the program is set up.
        let began = OnceLock::new();
        let pings = AtomicU64::new(0);
        let silence = self.silence(&socket, &pings);
        let mut abandoned = false;
        let mut memory = None;
        let broken = {
            let proving = async {
                if !session.knows(work.subject.program) {
                    work.events.phase(Phase::SettingUp);
                }
                let key = session.set_up(work.subject.program, &work.program).await?;
                work.events.phase(Phase::Proving);
                let _ = began.set(Instant::now());
                session.prove(key, work.subject.mode, work.stdin.clone()).await
            };
            tokio::pin!(proving, silence);
            loop {
                tokio::select! {
                    biased;
                    proved = &mut proving => match proved {
                        Ok(proof) => {
                            let took = began.get().map_or(Duration::ZERO, Instant::elapsed);
                            return Outcome::Proved(Box::new(proof), took);
                        }
                        Err(error) => break error,
                    },
                    death = running.ended() => return Outcome::Died(death),
                    () = work.cancel.cancelled(), if !abandoned => {
                        if self.server.is_ours() {
                            return Outcome::Cancelled;
                        }
                        // An external server cannot be stopped, so it is busy until it answers.
                        abandoned = true;
                    }
                    () = &mut silence => return Outcome::Silent,
                    _ = ticks.tick() => {
                        let trouble = log.trouble();
                        if trouble.is_some_and(|trouble| trouble.at.elapsed() >= TROUBLE_GRACE) {
                            return Outcome::InTrouble;
                        }
                        memory = memory.max(running.memory_bytes());
                        let steps = self.steps(log.tasks(), &pings);
                        if let Some(began) = began.get() {
                            let elapsed = began.elapsed();
                            let progress = self.estimator.progress(work.subject, log.tasks(), elapsed);
                            let steps_done = Some(steps);
                            let progress = Progress { memory_bytes: memory, steps_done, ..progress };
                            work.events.progress(progress);
                        } else {
                            work.events.steps(Phase::SettingUp, steps);
                        }
                    }
                }
            }
        };
        // If the server has ended, its end explains best why the connection broke.
        if self.server.is_ours()
            && matches!(broken, SessionError::Wire(_))
            && let Ok(death) = timeout(END_NOTICE_LIMIT, running.ended()).await
        {
            return Outcome::Died(death);
        }
        Outcome::Failed(broken)
    }

    /// Steps that the server has finished. The tasks of an external server are not visible, so its answers count.
    fn steps(&self, tasks: Tasks, pings: &AtomicU64) -> u64 {
        if self.server.is_ours() { tasks.finished() } else { pings.load(Ordering::Relaxed) }
    }

    /// Returns when the server has not answered pings, each over a connection of its own, for too long. Answers are
    /// counted in `pings`.
    async fn silence(&self, socket: &Path, pings: &AtomicU64) {
        let mut heard = Instant::now();
        let patience = PING_INTERVAL.min(self.silence_limit / 4);
        while heard.elapsed() < self.silence_limit {
            sleep(patience).await;
            // A refused connection is not silence: the end of a server shows on its main connection.
            if let Ok(answer) = timeout(patience, Session::open(socket)).await {
                heard = Instant::now();
                pings.fetch_add(answer.is_ok().into(), Ordering::Relaxed);
            }
        }
    }

    fn checked(&self, proof: ProofFromNetwork) -> (Result<ProofFromNetwork, Failure>, After) {
        if proof.sp1_version == SP1_CIRCUIT_VERSION {
            return (Ok(proof), After::Continue);
        }
        let reason = format!(
            "the prover server makes proofs of circuit version {}: expected {SP1_CIRCUIT_VERSION}",
            proof.sp1_version
        );
        (Err(self.failed(&reason, None)), After::End(End::Misfit(reason)))
    }

    /// A failure of this machine, with the memory that ran out, if that is the cause.
    fn failed(&self, reason: &str, out_of_memory: Option<Memory>) -> Failure {
        let Some(memory) = out_of_memory else { return Failure::new(FailureClass::Worker, reason) };
        let bytes = match memory {
            Memory::Main => Some(self.server.memory_limit().unwrap_or_else(memory_bytes)),
            Memory::Gpu => self.gpu_memory,
        };
        Failure {
            out_of_memory: Some(OutOfMemory { memory, bytes: bytes.filter(|bytes| *bytes > 0) }),
            ..Failure::new(FailureClass::Worker, format!("out of memory: {reason}"))
        }
    }
}
