//! Workers that follow `docs/worker-protocol.md`: they continue to prove through disconnections and restarts of
//! Hierophant, keep finished proofs on disk, and report an end until it is acknowledged. Some fail or send wrong
//! proofs.

mod attempt;
mod link;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use network_lib::handshake::Hello;
use network_lib::ids::{LeaseId, WorkerId};
use network_lib::job::Execution;
use network_lib::secret::Secret;
use network_lib::wire::FromWorker;
use parking_lot::{Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::story::Story;

/// Token that Hierophant requires of a worker on another machine.
pub const TOKEN: &str = "a shared secret";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Honest,
    /// Fails about every third attempt.
    Flaky,
    /// Uploads proofs of something else.
    Liar,
}

/// Proof on a worker's disk.
#[derive(Debug, Clone)]
struct Finished {
    execution: Execution,
    proof: Vec<u8>,
}

/// Attempt on its worker.
#[derive(Debug, Clone)]
enum Held {
    /// In progress, including the upload.
    Running(CancellationToken),
    /// Cancelled, but the machine is still busy with it.
    WindingDown,
    /// Proved by an earlier process; uploaded once Hierophant asks to resume it.
    Finished,
    /// Ended, as the message says; `reported` if it was sent over the current connection.
    Over { message: Box<FromWorker>, reported: bool },
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    /// What survives a crash.
    disk: BTreeMap<LeaseId, Finished>,
    held: BTreeMap<LeaseId, Held>,
    /// Progress and executions for the current connection.
    news: Vec<FromWorker>,
    /// Number of messages from Hierophant.
    heard: u64,
    /// Latest welcome.
    key: Option<Secret>,
}

/// Worker; the same across its crashes.
#[derive(Debug, Clone)]
pub struct Contemplant {
    pub name: String,
    pub temper: Temper,
    number: u8,
    slots: u32,
    state: Arc<Mutex<State>>,
    /// Signals a message to send.
    changed: Arc<Notify>,
    story: Story,
}

impl Contemplant {
    pub fn draw(rng: &mut StdRng, number: u8, story: Story) -> Self {
        let temper = match rng.random_range(0..8) {
            // The first is honest, so that everything can be proved in the end.
            _ if number == 0 => Temper::Honest,
            0 => Temper::Liar,
            1 | 2 => Temper::Flaky,
            _ => Temper::Honest,
        };
        let state = State {
            rng: StdRng::seed_from_u64(rng.random()),
            disk: BTreeMap::new(),
            held: BTreeMap::new(),
            news: Vec::new(),
            heard: 0,
            key: None,
        };
        Self {
            name: format!("contemplant-{number}"),
            temper,
            number,
            slots: rng.random_range(1..3),
            state: Arc::new(Mutex::new(state)),
            changed: Arc::default(),
            story,
        }
    }

    /// Runs until it is crashed. The memory of an earlier process is lost.
    pub async fn run(self) {
        self.tell("starts");
        {
            let mut state = self.state();
            let found = state.disk.keys().map(|lease| (*lease, Held::Finished)).collect();
            state.held = found;
            state.news.clear();
        }
        loop {
            let why = link::connect_and_serve(&self).await;
            self.tell(&format!("is not connected: {why}"));
            let pause = self.pick(500..4000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Outstanding work and reports, for display; nothing if it is idle.
    pub fn unsettled(&self) -> Option<String> {
        let state = self.state();
        let (held, disk) = (&state.held, state.disk.len());
        (!held.is_empty() || disk > 0).then(|| format!("{}: {disk} on disk, {held:?}", self.name))
    }

    fn hello(&self) -> Hello {
        let mut hello = test_peers::hello();
        hello.worker_id = WorkerId([self.number + 1; 16]);
        hello.name.clone_from(&self.name);
        hello.token = Some(TOKEN.into());
        hello.capabilities.slots = self.slots;
        hello.held = self.state().held.keys().copied().collect();
        hello
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn pick(&self, range: std::ops::Range<u64>) -> u64 {
        self.state().rng.random_range(range)
    }

    fn chance(&self, probability: f64) -> bool {
        self.state().rng.random_bool(probability)
    }

    fn tell(&self, line: &str) {
        self.story.tell(format!("{}: {line}", self.name));
    }

    /// Ends the attempt. The message is repeated until Hierophant acknowledges it, unless Hierophant no longer
    /// wants it.
    fn over(&self, lease: LeaseId, message: FromWorker) {
        let mut state = self.state();
        match state.held.get_mut(&lease) {
            Some(held @ Held::Running(_)) => {
                *held = Held::Over { message: Box::new(message), reported: false };
            }
            _ => drop(state.held.remove(&lease)),
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The result is not wanted, or its end is acknowledged.
    fn forget(&self, lease: LeaseId) {
        let mut state = self.state();
        state.disk.remove(&lease);
        match state.held.get_mut(&lease) {
            Some(held @ Held::Running(_)) => {
                if let Held::Running(stop) = std::mem::replace(held, Held::WindingDown) {
                    stop.cancel();
                }
            }
            Some(Held::WindingDown) | None => {}
            Some(Held::Finished | Held::Over { .. }) => drop(state.held.remove(&lease)),
        }
    }

    fn report(&self, message: FromWorker) {
        self.state().news.push(message);
        self.changed.notify_one();
    }
}
