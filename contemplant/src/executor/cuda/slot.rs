//! A slot: the life cycle of one prover server, which is started, connected, given work, and replaced when it fails.
//!
//! A slot is one task that owns its server and its connection. Slots share only the queue of work: the next job goes
//! to a slot that is ready and idle.

mod attempt;
mod self_test;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use network_lib::job::{Failure, FailureClass};
use network_lib::metrics::Counter;
use sp1_primitives::SP1_CRATE_VERSION;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::attempt::After;
use super::estimator::ProgressEstimator;
use super::queue::Queue;
use super::session::{Session, SessionError};
use crate::config::SelfTest;
use crate::executor::WARMING_UP;
use crate::prover_server::{ProverServer, RunningServer};

/// Interval between two pings of an idle server, and the time limit for an answer.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Pause between two attempts to connect to a starting server.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A server that ran for this long counts as healthy: the next pause is short again.
const HEALTHY_LIFE: Duration = Duration::from_secs(60);

/// Shortest and longest pause before a failed server is started again.
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long a start may continue when the program ends.
const START_GRACE: Duration = Duration::from_secs(5);

/// Pause before a server of another version is tried again: an operator has to replace it.
const MISFIT_PAUSE: Duration = Duration::from_secs(120);

/// State of a slot, as shown to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Its server is starting.
    Starting,
    /// Its server has answered, and is tested with the example program.
    Warming,
    /// It can prove, or is proving.
    Ready,
    /// It cannot prove, for the given reason.
    Down(String),
}

/// Why no slot can prove; none if a slot can, or if all are starting or warming up.
pub(super) fn unavailable_reason(states: &[State]) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for state in states {
        match state {
            State::Starting | State::Warming => {}
            State::Ready => return None,
            State::Down(reason) if reasons.contains(&reason.as_str()) => {}
            State::Down(reason) => reasons.push(reason),
        }
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Why nothing is offered now; none if a slot can prove.
pub(super) fn obstacle(states: &[State]) -> Option<String> {
    if states.contains(&State::Ready) {
        return None;
    }
    let warming_up = || {
        let what = match states.contains(&State::Warming) {
            true => "the prover server builds its prover and is tested with the example program",
            false => "the prover server starts",
        };
        format!("{WARMING_UP}{what}")
    };
    Some(unavailable_reason(states).unwrap_or_else(warming_up))
}

/// Rejects the queued jobs if every server is down.
pub(super) fn reject_work(queue: &Queue, states: &[State]) {
    if states.iter().all(|state| matches!(state, State::Down(_)))
        && let Some(reason) = unavailable_reason(states)
    {
        queue.end_all(&Failure::new(FailureClass::Infrastructure, reason));
    }
}

/// A slot.
pub(super) struct Slot {
    pub(super) server: Arc<dyn ProverServer>,
    pub(super) queue: Arc<Queue>,
    pub(super) estimator: Arc<ProgressEstimator>,
    /// Its index among the slots.
    pub(super) number: usize,
    /// States of all slots.
    pub(super) states: Arc<watch::Sender<Vec<State>>>,
    /// Counter of server starts.
    pub(super) starts: Counter,
    /// Time limit for a server from its start to its first answer, and for each step of its self-test.
    pub(super) start_limit: Duration,
    /// How a server is tested before it gets work.
    pub(super) self_test: SelfTest,
    /// How long a server may be silent while it proves.
    pub(super) silence_limit: Duration,
    /// Memory of its GPU in bytes, if known.
    pub(super) gpu_memory: Option<u64>,
}

/// Why a server ended.
enum End {
    /// The program ends.
    Stopped,
    /// It was stopped on purpose; the next may start at once.
    Replaced,
    /// It failed.
    Failed(String),
    /// It is incompatible with this Contemplant.
    Misfit(String),
}

impl Slot {
    /// Keeps a server running until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pauses = pauses();
        loop {
            let start = Instant::now();
            let pause = match self.life(&stop).await {
                End::Stopped => return,
                End::Replaced => Duration::ZERO,
                End::Misfit(reason) => {
                    self.is_down(reason, MISFIT_PAUSE);
                    MISFIT_PAUSE
                }
                End::Failed(reason) => {
                    if start.elapsed() >= HEALTHY_LIFE {
                        pauses = self::pauses();
                    }
                    let pause = pauses.next().unwrap_or(MAX_PAUSE);
                    self.is_down(reason, pause);
                    pause
                }
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn is_down(&self, reason: String, pause: Duration) {
        tracing::warn!(server = self.server.describe(), reason, ?pause, "prover server down");
        self.becomes(State::Down(reason));
        reject_work(&self.queue, &self.states.borrow());
    }

    fn becomes(&self, state: State) {
        self.states.send_modify(|states| states[self.number] = state);
    }

    /// Runs one server from its start to its end.
    async fn life(&self, stop: &CancellationToken) -> End {
        // An interrupted start may have created a container already, so it gets a grace period to finish.
        let patience_ends = async {
            stop.cancelled().await;
            sleep(START_GRACE).await;
        };
        let started = tokio::select! {
            started = self.server.start() => started,
            () = patience_ends => return End::Stopped,
        };
        let mut running = match started {
            Ok(running) => running,
            Err(error) => return End::Failed(error.to_string()),
        };
        self.starts.inc();
        let served = stop.run_until_cancelled(self.serve(running.as_mut())).await;
        self.becomes(State::Starting);
        running.stop().await;
        served.unwrap_or(End::Stopped)
    }

    async fn serve(&self, running: &mut dyn RunningServer) -> End {
        let mut session = match self.connect(running).await {
            Ok(session) => session,
            Err(end) => return end,
        };
        if let Some(version) = running.log().version()
            && version != SP1_CRATE_VERSION
        {
            return End::Misfit(format!(
                "the prover server is sp1-gpu-server {version}: expected {SP1_CRATE_VERSION}, the version of \
                 this Contemplant"
            ));
        }
        self.becomes(State::Warming);
        if let Err(end) = self.test(&mut session, running).await {
            return end;
        }
        tracing::info!(server = self.server.describe(), "prover server ready");
        self.becomes(State::Ready);
        loop {
            tokio::select! {
                death = running.ended() => return End::Failed(death.reason),
                work = self.queue.next() => match self.attempt(work, &mut session, running).await {
                    After::Continue => {}
                    After::End(end) => return end,
                },
                () = sleep(PING_INTERVAL) => match timeout(PING_INTERVAL, session.ping()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return End::Failed(error.to_string()),
                    Err(_) => return End::Failed("the prover server does not answer".to_owned()),
                }
            }
        }
    }

    /// Connects as soon as the server listens.
    async fn connect(&self, running: &mut dyn RunningServer) -> Result<Session, End> {
        let socket = running.socket().to_owned();
        let is_ours = self.server.is_ours();
        let connecting = async {
            loop {
                match Session::open(&socket).await {
                    // An external server is not started by this program, so waiting would not help.
                    Err(SessionError::Wire(_)) if is_ours => sleep(CONNECT_PAUSE).await,
                    outcome => return outcome,
                }
            }
        };
        let limit = self.start_limit;
        tokio::select! {
            death = running.ended() => Err(End::Failed(death.reason)),
            connected = timeout(limit, connecting) => match connected {
                Ok(Ok(session)) => Ok(session),
                Ok(Err(error)) => Err(End::Failed(error.to_string())),
                Err(_) => Err(End::Failed(format!(
                    "the prover server does not answer at {} within {} s",
                    socket.display(),
                    limit.as_secs()
                ))),
            }
        }
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_only_needs_time_is_shown_as_warming_up_and_refuses_no_work() {
        let down = || State::Down("no driver".to_owned());
        for states in [vec![State::Starting], vec![State::Starting, State::Warming]] {
            assert_eq!(unavailable_reason(&states), None);
            assert!(obstacle(&states).unwrap_or_default().starts_with(WARMING_UP));
        }
        assert_eq!(obstacle(&[State::Warming, down()]).as_deref(), Some("no driver"));
        assert_eq!(obstacle(&[State::Ready, State::Warming, down()]), None);
    }
}
