//! Limits of the cost of an event in a crowded network: 100,000 waiting jobs, 10,000 workers of which half support none
//! of them and one warms up.
//!
//! The time of single calls is measured on a machine that does other things as well. Compared is therefore the median,
//! and the check fails only above [`TOLERANCE`] times the limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::{Effect, StoreLookup};
use network_lib::handshake::Capabilities;
use network_lib::ids::{JobId, LeaseId};
use network_lib::job::{Phase, Progress, ProofMode};
use network_lib::wire::ToWorker;

use super::model::Model;
use super::{NOW, NewRequest, Stage, capabilities, request};

/// Factor above the limit from which on the check fails.
const TOLERANCE: u32 = 3;

/// Number of measured events.
const EVENTS: u32 = 2000;

/// Waiting jobs.
const WAITING: u64 = 100_000;

/// Connected workers.
const WORKERS: u64 = 10_000;

/// Measures all events and prints their cost.
///
/// # Panics
///
/// When one costs more than [`TOLERANCE`] times its limit.
pub(crate) fn check() {
    println!("cost of an event: {WAITING} jobs waiting, {WORKERS} workers (median of {EVENTS})");
    let crowded = || Crowd::new(capabilities(), request);
    let by_many = || Crowd::new(capabilities(), by_many_requesters);
    let preparing = || Crowd::new(Capabilities { prefetch: 1, ..capabilities() }, request);
    let failures = [
        measured("a heartbeat", 5, &mut crowded(), Crowd::heartbeat),
        measured("a dispatch", 50, &mut crowded(), Crowd::dispatch),
        measured("a dispatch, 10,000 requesters", 50, &mut by_many(), Crowd::dispatch),
        measured("a request that waits", 50, &mut crowded(), Crowd::submit),
        measured("a hello that holds leases", 100, &mut crowded(), Crowd::hello),
        measured("a hello after an absence", 100, &mut crowded(), Crowd::hello_after_absence),
        measured("an idle worker that supports none", 50, &mut crowded(), Crowd::unfit),
        measured("the place of a job in the queue", 2000, &mut crowded(), Crowd::why),
        measured("a page of the queue", 50_000, &mut crowded(), Crowd::page),
        measured("a dispatch, 5,000 places ahead", 500, &mut preparing(), Crowd::dispatch),
    ];
    let failed: Vec<&str> = failures.into_iter().flatten().collect();
    assert!(failed.is_empty(), "above {TOLERANCE} times the limit: {}", failed.join(", "));
}

/// Requests of 10,000 requesters in turn.
fn by_many_requesters(number: u64) -> NewRequest {
    let requester = Address::from_slice(&super::id::<20>(number % 10_000));
    NewRequest { requester, ..request(number) }
}

/// Measures an event; its name if it costs too much.
fn measured(
    name: &'static str,
    limit_us: u64,
    crowd: &mut Crowd,
    mut event: impl FnMut(&mut Crowd) -> Duration,
) -> Option<&'static str> {
    let events = if limit_us > 1000 { EVENTS / 20 } else { EVENTS };
    event(crowd);
    let mut times: Vec<Duration> = (0..events).map(|_| event(crowd)).collect();
    times.sort_unstable();
    let (median, late) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    let limit = Duration::from_micros(limit_us);
    let verdict = match () {
        () if median <= limit => "held",
        () if median <= limit * TOLERANCE => "MISSED",
        () => "FAILED",
    };
    let (median, late) = (as_micros(median), as_micros(late));
    println!("{name:34} {median:>9.1} µs, {late:>9.1} µs at p95; limit {limit_us} µs: {verdict}");
    (verdict == "FAILED").then_some(name)
}

fn as_micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A crowded network, and how it makes requests.
struct Crowd {
    stage: Stage,
    ask: fn(u64) -> NewRequest,
    busy: Vec<u64>,
    next: usize,
    of_busy: Capabilities,
    /// Job at the end of the queue.
    last: Option<JobId>,
    /// What comes next, if no job is leased ahead.
    model: Option<Model>,
    numbers: BTreeMap<LeaseId, u64>,
}

impl Crowd {
    /// Half of the workers support none of the jobs, one is warming up, and the others are busy.
    fn new(of_busy: Capabilities, ask: fn(u64) -> NewRequest) -> Self {
        let stage = Stage::new(0, 0);
        let busy: Vec<u64> = (WORKERS / 2 + 1..WORKERS).collect();
        let model = (of_busy.prefetch == 0).then(Model::default);
        let numbers = BTreeMap::new();
        let mut crowd = Self { stage, ask, busy, next: 0, of_busy, last: None, model, numbers };
        for number in 0..WORKERS / 2 {
            crowd.stage.join_with(number, unfit(), &[]);
        }
        let warming_up = Capabilities { modes: Vec::new(), ..capabilities() };
        crowd.stage.join_with(WORKERS / 2, warming_up, &[]);
        for number in crowd.busy.clone() {
            crowd.stage.join_with(number, crowd.of_busy.clone(), &[]);
        }
        for _ in 0..WAITING + WORKERS / 2 {
            crowd.ask();
        }
        crowd
    }

    fn ask(&mut self) {
        self.stage.made += 1;
        let (number, new) = (self.stage.made, (self.ask)(self.stage.made));
        let requester = new.requester;
        let (answer, effects) = self.stage.core.submit(NOW, new, StoreLookup::default());
        assert!(answer.is_ok());
        if let Some(model) = &mut self.model {
            model.wait(number, requester);
        }
        self.compare(&effects);
    }

    /// Notes what was assigned, and that it is what comes next. The cycle limit of a request is its number.
    fn compare(&mut self, effects: &[Effect]) {
        self.stage.note(effects);
        let Some(model) = &mut self.model else { return };
        for effect in effects {
            if let Effect::Send(_, ToWorker::Prove { lease_id, spec, .. }) = effect {
                model.begin(spec.cycle_limit);
                self.numbers.insert(*lease_id, spec.cycle_limit);
            }
        }
    }

    /// The next busy worker.
    fn turn(&mut self) -> u64 {
        self.next = (self.next + 1) % self.busy.len();
        self.busy[self.next]
    }

    /// Attempts of a worker that have begun.
    fn leases_of(&self, number: u64) -> Vec<LeaseId> {
        let worker = super::worker(number);
        let theirs = self.stage.leases.iter().filter(|(holder, _)| *holder == worker);
        theirs.map(|(_, lease)| *lease).collect()
    }

    fn heartbeat(&mut self) -> Duration {
        let number = self.turn();
        let (worker, listed) = (super::worker(number), self.leases_of(number));
        let started = Instant::now();
        let effects = self.stage.core.held_leases(NOW, worker, SessionId(number), &listed);
        let taken = started.elapsed();
        assert!(effects.is_empty(), "{effects:?}");
        taken
    }

    fn dispatch(&mut self) -> Duration {
        let ended = self.stage.leases.front().map(|(_, lease)| *lease);
        let started = Instant::now();
        let effects = self.stage.fail();
        let taken = started.elapsed();
        if let (Some(model), Some(ended)) = (&mut self.model, ended) {
            model.end(self.numbers[&ended]);
        }
        let before = self.stage.leases.len();
        self.compare(&effects);
        assert_eq!(self.stage.leases.len(), before + 1, "the slot was not assigned");
        self.ask();
        taken
    }

    fn submit(&mut self) -> Duration {
        let new = (self.ask)(self.stage.made + 1);
        self.stage.made += 1;
        let started = Instant::now();
        self.stage.ask(new);
        started.elapsed()
    }

    fn hello(&mut self) -> Duration {
        let number = self.turn();
        let held = self.leases_of(number);
        self.say_hello(number, &held)
    }

    fn say_hello(&mut self, number: u64, held: &[LeaseId]) -> Duration {
        let before = self.stage.leases.len();
        let capabilities = self.of_busy.clone();
        let started = Instant::now();
        self.stage.join_with(number, capabilities, held);
        let taken = started.elapsed();
        assert_eq!(self.stage.leases.len(), before, "its attempt continues");
        taken
    }

    fn hello_after_absence(&mut self) -> Duration {
        let number = self.turn();
        let (worker, held) = (super::worker(number), self.leases_of(number));
        let core = &mut self.stage.core;
        core.progressed(NOW, worker, held[0], Progress::phase(Phase::Proving));
        core.worker_removed(NOW, worker, SessionId(number), "silent");
        self.say_hello(number, &held)
    }

    /// A worker that fits nothing changes its capabilities.
    fn unfit(&mut self) -> Duration {
        let started = Instant::now();
        let number = self.next as u64 % (WORKERS / 2);
        self.next += 1;
        let capabilities = Capabilities { slots: 1 + (self.next % 2) as u32, ..unfit() };
        let (worker, session) = (super::worker(number), SessionId(number));
        self.stage.core.capabilities_changed(NOW, worker, session, capabilities);
        started.elapsed()
    }

    fn why(&mut self) -> Duration {
        let core = &self.stage.core;
        let last = || core.queue_snapshot(NOW, WAITING as usize - 1, 1)[0].record.id;
        let job = *self.last.get_or_insert_with(last);
        let started = Instant::now();
        let why = self.stage.core.why(NOW, job);
        assert!(why.is_some());
        started.elapsed()
    }

    fn page(&mut self) -> Duration {
        let started = Instant::now();
        let page = self.stage.core.queue_snapshot(NOW, 9900, 100);
        assert_eq!(page.len(), 100);
        started.elapsed()
    }
}

/// What a worker of another circuit version offers.
fn unfit() -> Capabilities {
    let modes = vec![ProofMode::Core, ProofMode::Groth16];
    Capabilities { circuit_versions: vec!["v5.0.0".into()], modes, ..capabilities() }
}
