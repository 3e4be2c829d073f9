//! One prover server over its lives: started, connected, given work, replaced when it fails.
//!
//! A slot is one task that owns its server and its connection, so nothing here is shared but the queue
//! that work comes from: whichever slot is ready and idle takes the next job.

mod attempt;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use network_lib::job::{Failure, FailureClass};
use network_lib::metrics::Counter;
use sp1_core_machine::io::SP1Stdin;
use sp1_primitives::SP1_CRATE_VERSION;
use sp1_verifier::ProofFromNetwork;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::attempt::After;
use super::pace::{Pace, Subject};
use super::session::{Session, SessionError};
use crate::executor::EventSink;
use crate::executor::program::Program;
use crate::prover_server::{ProverServer, RunningServer};

/// How often an idle server is asked for a sign of life, and how long it may take.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Pause between two attempts to connect to a server that starts.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A server that lived this long was a good one: the next pause is short again.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Pauses before a server that failed is started again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a start may go on when the program ends.
const START_GRACE: Duration = Duration::from_secs(5);

/// Pause before a server of another version is looked at again: somebody has to change it.
const MISFIT_PAUSE: Duration = Duration::from_secs(120);

/// A proof that a slot is to make.
pub(super) struct Work {
    pub(super) subject: Subject,
    pub(super) program: Arc<Program>,
    pub(super) stdin: Arc<SP1Stdin>,
    pub(super) events: EventSink,
    pub(super) cancel: CancellationToken,
    pub(super) reply: oneshot::Sender<Result<ProofFromNetwork, Failure>>,
}

/// Where all slots take their work from.
pub(super) type WorkQueue = Arc<Mutex<mpsc::Receiver<Work>>>;

/// What others may know of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Its server is not there yet.
    Starting,
    /// It can prove, or does.
    Ready,
    /// It cannot prove, for this reason.
    Down(String),
}

/// Why no slot can prove, in words; nothing if one can or may soon.
pub(super) fn why_not(states: &[State]) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for state in states {
        match state {
            State::Starting => {}
            State::Ready => return None,
            State::Down(reason) if reasons.contains(&reason.as_str()) => {}
            State::Down(reason) => reasons.push(reason),
        }
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// A slot.
pub(super) struct Slot {
    pub(super) server: Arc<dyn ProverServer>,
    pub(super) queue: WorkQueue,
    pub(super) pace: Arc<Pace>,
    /// Its place among the slots.
    pub(super) number: usize,
    /// What is known of all slots.
    pub(super) states: Arc<watch::Sender<Vec<State>>>,
    /// Counts the starts of all servers.
    pub(super) starts: Counter,
    /// How long a server may take until it answers.
    pub(super) start_limit: Duration,
    /// How long a server may be silent while it proves.
    pub(super) silence_limit: Duration,
    /// Bytes of its GPU's memory, where they are known.
    pub(super) gpu_memory: Option<u64>,
}

/// How a server's life ended.
enum End {
    /// The program ends.
    Stopped,
    /// By intent; the next may start at once.
    Replaced,
    /// It failed.
    Failed(String),
    /// It cannot work with this Contemplant.
    Misfit(String),
}

impl Slot {
    /// Keeps a server until `stop`.
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
                    if start.elapsed() >= GOOD_LIFE {
                        pauses = self::pauses();
                    }
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
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
        tracing::warn!(server = self.server.describe(), reason, ?pause, "no prover server");
        self.becomes(State::Down(reason));
        self.turn_work_away();
    }

    fn becomes(&self, state: State) {
        self.states.send_modify(|states| states[self.number] = state);
    }

    /// Jobs do not wait for servers of which none is there.
    fn turn_work_away(&self) {
        let reason =
            match self.states.borrow().iter().find(|state| !matches!(state, State::Down(_))) {
                Some(_) => return,
                None => why_not(&self.states.borrow()).unwrap_or_default(),
            };
        // Whoever holds the queue is waiting for work, and so not down.
        let Ok(mut queue) = self.queue.try_lock() else { return };
        while let Ok(work) = queue.try_recv() {
            let _ =
                work.reply.send(Err(Failure::new(FailureClass::Infrastructure, reason.clone())));
        }
    }

    /// One server from its start to its end.
    async fn life(&self, stop: &CancellationToken) -> End {
        // A start that is cut short may have made a container already, so it gets a while to finish.
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
                "the prover server is sp1-gpu-server {version}, and this Contemplant needs \
                 {SP1_CRATE_VERSION}"
            ));
        }
        tracing::info!(server = self.server.describe(), "prover server ready");
        self.becomes(State::Ready);
        loop {
            tokio::select! {
                death = running.ended() => return End::Failed(death.reason),
                work = next(&self.queue) => {
                    let Some(work) = work else { return End::Stopped };
                    match self.attempt(work, &mut session, running).await {
                        After::Continue => {}
                        After::End(end) => return end,
                    }
                }
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
                    // Somebody else's server does not start because this one waits for it.
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

/// The next job; nothing when there will be none.
async fn next(queue: &WorkQueue) -> Option<Work> {
    queue.lock().await.recv().await
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .build()
}
