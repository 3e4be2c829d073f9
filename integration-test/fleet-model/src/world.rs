//! The scheduler and its fleet in virtual time.
//!
//! Decisions are those of Hierophant's own scheduler ([`ProofsCore`]); machines keep the worker protocol. Transfers pass
//! through Hierophant, as they do in the network: a record goes over its holder's link and Hierophant's, is stored, and
//! goes over Hierophant's link and that of the machine that needs it.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::{
    Effect, IdSource, ProofsCore, RestoredState, StoreLookup,
};
use hierophant_scheduler::proofs::{Assembly, TaskBlob};
use network_lib::ids::{ArtifactId, JobId, LeaseId, Sha256Digest};
use network_lib::job::{BlobInfo, Execution as Executed};
use network_lib::shard::{ShardState, TaskFromWorker, TaskInput, TaskToWorker, TaskUsage};
use network_lib::wire::ToWorker;

use crate::blobs::{blob, events, number_of, shard};
use crate::clock::{Clock, Micros, SECOND};
use crate::links::{PIECE, Pipe};
use crate::machine::{Attempt, Execution, Machine, Step, Task};
use crate::outcome::{Outcome, Used};
use crate::plan::Plan;
use crate::setup::{joined, limits, number, request, worker};

/// Time of a message over a link.
const LATENCY: Micros = 100;

/// Time from an event to the messages that follow from it: Hierophant stores its decision before. The median of
/// `bench-suite tasks`.
const DECISION: Micros = 600;

/// Interval of the scheduler's sweeps.
const SWEEP: Micros = SECOND;

/// Longest simulated time, against a scheduler that never ends.
const LIMIT: Micros = 7 * 24 * 3600 * SECOND;

/// Something that happens.
#[derive(Debug)]
enum Event {
    /// A message reaches a machine.
    ToMachine(usize, TaskToWorker),
    /// A cancellation reaches a machine.
    Cancel(usize, LeaseId),
    /// A message reaches Hierophant.
    ToHierophant(usize, TaskFromWorker),
    /// A heartbeat reaches Hierophant.
    Heartbeat(usize, Vec<LeaseId>),
    /// The next piece of a transfer is sent.
    Sends(usize),
    /// A piece of a transfer has left the sender's link.
    Sent(usize, u64),
    /// A piece of a transfer has arrived.
    Arrived(usize, u64),
    /// An execution has computed another shard.
    Computed(usize, LeaseId),
    /// A shard is proved.
    Proved(usize, LeaseId),
    /// The scheduler looks at what is due.
    Sweep,
}

/// A transfer between a machine and Hierophant.
#[derive(Debug)]
struct Transfer {
    machine: usize,
    lease: LeaseId,
    blob: BlobInfo,
    /// Whether the machine hands it in, for its own attempt or for that of another machine.
    is_handed_in: bool,
    unsent: u64,
    missing: u64,
}

/// A fleet at work.
pub(crate) struct World {
    plan: Plan,
    core: ProofsCore,
    clock: Clock<Event>,
    machines: Vec<Machine>,
    /// Hierophant's link: towards it and from it.
    link: (Pipe, Pipe),
    transfers: Vec<Transfer>,
    stored: BTreeSet<Sha256Digest>,
    /// Attempts that wait until a blob is stored.
    waiting: BTreeMap<Sha256Digest, Vec<(usize, LeaseId)>>,
    /// Number of the proof of each job.
    proofs: BTreeMap<JobId, usize>,
    ended: BTreeMap<usize, Micros>,
    computed: Micros,
    tried: BTreeMap<(JobId, u64), usize>,
}

impl World {
    /// Runs a plan to its end.
    ///
    /// # Errors
    ///
    /// If the scheduler does not end all proofs as tasks.
    pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
        let mut world = Self::new(plan.clone());
        while world.ended.len() < plan.proofs.len() {
            anyhow::ensure!(world.clock.now() < LIMIT, "the proofs do not end");
            let Some(event) = world.clock.next() else { anyhow::bail!("nothing is left to do") };
            world.happens(event)?;
        }
        Ok(world.outcome())
    }

    fn new(plan: Plan) -> Self {
        let clock = Clock::new();
        let state = RestoredState::default();
        let core = ProofsCore::restore(clock.wall(), limits(), IdSource::counting(), state).0;
        let slowness = |number| if number < plan.slow { 10 } else { 1 };
        let machines =
            (0..plan.machines).map(|number| Machine::new(slowness(number), plan.gigabits));
        let mut world = Self {
            core,
            clock,
            machines: machines.collect(),
            link: (Pipe::new(plan.gigabits), Pipe::new(plan.gigabits)),
            transfers: Vec::new(),
            stored: BTreeSet::new(),
            waiting: BTreeMap::new(),
            proofs: BTreeMap::new(),
            ended: BTreeMap::new(),
            computed: 0,
            tried: BTreeMap::new(),
            plan,
        };
        for number in 0..world.machines.len() {
            let effects = world.core.worker_joined(world.clock.wall(), joined(number));
            world.carry_out(effects);
        }
        for proof in 0..world.plan.proofs.len() {
            let request = request(proof, &world.plan);
            let (answer, effects) =
                world.core.submit(world.clock.wall(), request, StoreLookup::default());
            assert!(answer.is_ok(), "a request was refused: {answer:?}");
            world.carry_out(effects);
        }
        world.clock.after(SWEEP, Event::Sweep);
        world
    }

    fn happens(&mut self, event: Event) -> anyhow::Result<()> {
        let wall = self.clock.wall();
        match event {
            Event::ToMachine(machine, message) => self.hear(machine, message)?,
            Event::Cancel(machine, lease) => self.cancel(machine, lease),
            Event::ToHierophant(machine, word) => {
                let effects = self.core.task_word(wall, worker(machine), word);
                self.carry_out(effects);
            }
            Event::Heartbeat(machine, held) => {
                let effects = self.core.held_leases(wall, worker(machine), SessionId(1), &held);
                self.carry_out(effects);
            }
            Event::Sends(transfer) => self.send_piece(transfer),
            Event::Sent(transfer, bytes) => {
                let Transfer { machine, is_handed_in, .. } = self.transfers[transfer];
                let now = self.clock.now();
                let arrived = match is_handed_in {
                    true => self.link.0.send(now, bytes),
                    false => self.machines[machine].down.send(now, bytes),
                };
                self.clock.at(arrived, Event::Arrived(transfer, bytes));
                self.clock.after(0, Event::Sends(transfer));
            }
            Event::Arrived(transfer, bytes) => {
                let transfer = &mut self.transfers[transfer];
                transfer.missing -= bytes;
                if transfer.missing == 0 {
                    let Transfer { machine, lease, blob, is_handed_in, .. } = *transfer;
                    match is_handed_in {
                        true => self.handed_in(machine, lease, blob),
                        false => self.fetched(machine, lease, blob.sha256),
                    }
                }
            }
            Event::Computed(machine, lease) => self.computed(machine, lease),
            Event::Proved(machine, lease) => self.proved(machine, lease),
            Event::Sweep => {
                let effects = self.core.sweep(wall);
                self.carry_out(effects);
                self.clock.after(SWEEP, Event::Sweep);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(id, message) => {
                    let machine = number(id);
                    let event = match message {
                        ToWorker::Task(message) => Event::ToMachine(machine, message),
                        ToWorker::Cancel { lease_id, .. } => Event::Cancel(machine, lease_id),
                        ToWorker::Settled { lease_id } => {
                            self.machines[machine].attempts.remove(&lease_id);
                            continue;
                        }
                        ToWorker::Welcome(_) => continue,
                        other => panic!("not a message about a task: {other:?}"),
                    };
                    self.clock.after(DECISION + LATENCY, event);
                }
                Effect::FreeTaskBlob(_, blob) => {
                    self.stored.remove(&blob);
                }
                Effect::Assemble(assembly) => self.assemble(&assembly),
                _ => {}
            }
        }
    }

    /// All parts of a proof are stored, which is its end here.
    fn assemble(&mut self, assembly: &Assembly) {
        let proof = self.proofs[&assembly.job];
        self.ended.insert(proof, self.clock.now());
        let wall = self.clock.wall();
        let stored = (ArtifactId([9; 16]), blob(proof, b'z', 0, 1));
        let effects = self.core.assembled(wall, assembly.lease, Ok(stored));
        let is_checked = effects.iter().any(|effect| matches!(effect, Effect::Check { .. }));
        assert!(is_checked, "the proof is not checked: {effects:?}");
        self.carry_out(effects);
        let effects = self.core.checked(wall, assembly.lease, Ok(()));
        self.carry_out(effects);
    }

    fn hear(&mut self, machine: usize, message: TaskToWorker) -> anyhow::Result<()> {
        match message {
            TaskToWorker::Run { lease_id, job, input, .. } => {
                self.begin(machine, lease_id, job, input)?;
            }
            TaskToWorker::ShardsKnown { lease_id, shards } => {
                let done = shards.iter().filter(|shard| shard.state == ShardState::Done);
                let done: Vec<_> = done.map(|shard| u64::from(shard.no)).collect();
                self.shards_done(machine, lease_id, &done);
            }
            TaskToWorker::Provide { lease_id, blob } => {
                let size = self.plan.work.record_bytes;
                self.transfer(machine, lease_id, BlobInfo { size, sha256: blob }, true);
            }
            TaskToWorker::Forget { job, blobs: None } => {
                self.machines[machine].depot.remove(&job);
            }
            TaskToWorker::Forget { job, blobs: Some(blobs) } => {
                let depot = self.machines[machine].depot.entry(job).or_default();
                blobs.iter().for_each(|blob| {
                    depot.remove(blob);
                });
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        machine: usize,
        lease: LeaseId,
        job: JobId,
        input: TaskInput,
    ) -> anyhow::Result<()> {
        match input {
            TaskInput::Execute { stdin, window, window_bytes, .. } => {
                let proof = usize::try_from(number_of(stdin.sha256))?;
                self.proofs.insert(job, proof);
                let execution = Execution {
                    proof,
                    announced: 0,
                    open: BTreeSet::new(),
                    window: window as usize,
                    window_bytes,
                    is_blocked: false,
                    computed: 0,
                };
                let mut attempt = Attempt::new(job, Task::Execute(execution));
                attempt.steps.push_back(Step::HandIn(self.common(proof)));
                self.machines[machine].has_executed = true;
                self.machines[machine].attempts.insert(lease, attempt);
                self.step(machine, lease);
                self.clock.after(self.plan.work.cut, Event::Computed(machine, lease));
            }
            TaskInput::ProveShard { common, record, .. } => {
                let mut missing = BTreeSet::from([common.info.sha256]);
                if !self.machines[machine].holds(job, record.info.sha256) {
                    missing.insert(record.info.sha256);
                }
                let number = number_of(record.info.sha256);
                *self.tried.entry((job, number)).or_default() += 1;
                let inputs = missing.clone();
                let task = Task::Prove { number, missing };
                self.machines[machine].attempts.insert(lease, Attempt::new(job, task));
                for input in inputs {
                    self.fetch(machine, lease, input);
                }
            }
            other => anyhow::bail!("never planned for a Core proof: {other:?}"),
        }
        Ok(())
    }

    fn common(&self, proof: usize) -> BlobInfo {
        blob(proof, b'c', 0, self.plan.work.common_bytes)
    }

    /// Fetches an input, now or when it is stored.
    fn fetch(&mut self, machine: usize, lease: LeaseId, sha256: Sha256Digest) {
        match self.core.task_blob(lease, worker(machine), sha256) {
            TaskBlob::Readable { size, .. } if self.stored.contains(&sha256) => {
                self.transfer(machine, lease, BlobInfo { size, sha256 }, false);
            }
            TaskBlob::Readable { .. } | TaskBlob::Expected { .. } => {
                self.waiting.entry(sha256).or_default().push((machine, lease));
            }
            // The attempt has ended.
            TaskBlob::Refused | TaskBlob::Gone => {}
        }
    }

    fn transfer(&mut self, machine: usize, lease: LeaseId, blob: BlobInfo, is_handed_in: bool) {
        let (unsent, missing) = (blob.size, blob.size);
        self.transfers.push(Transfer { machine, lease, blob, is_handed_in, unsent, missing });
        self.clock.after(LATENCY, Event::Sends(self.transfers.len() - 1));
    }

    fn send_piece(&mut self, number: usize) {
        let transfer = &mut self.transfers[number];
        let bytes = transfer.unsent.min(PIECE);
        if bytes == 0 {
            return;
        }
        transfer.unsent -= bytes;
        let now = self.clock.now();
        let sent = match transfer.is_handed_in {
            true => self.machines[transfer.machine].up.send(now, bytes),
            false => self.link.1.send(now, bytes),
        };
        self.clock.at(sent, Event::Sent(number, bytes));
    }

    /// A blob has arrived at Hierophant.
    fn handed_in(&mut self, machine: usize, lease: LeaseId, blob: BlobInfo) {
        let id = worker(machine);
        if let Some(permission) = self.core.may_hand_in(lease, id, blob.sha256) {
            self.stored.insert(blob.sha256);
            let wall = self.clock.wall();
            let (_, effects) = self.core.handed_in(wall, (id, lease), permission.job, blob);
            self.carry_out(effects);
            for (waiting, lease) in self.waiting.remove(&blob.sha256).unwrap_or_default() {
                self.fetch(waiting, lease, blob.sha256);
            }
        }
        let attempt = self.machines[machine].attempts.get_mut(&lease);
        if let Some(attempt) = attempt.filter(|attempt| attempt.is_stepping) {
            attempt.is_stepping = false;
            self.step(machine, lease);
        }
    }

    /// Takes the next steps of an attempt, up to one that takes time.
    fn step(&mut self, machine: usize, lease: LeaseId) {
        while let Some(attempt) = self.machines[machine].attempts.get_mut(&lease)
            && !attempt.is_stepping
            && let Some(step) = attempt.steps.pop_front()
        {
            match step {
                Step::HandIn(blob) => {
                    attempt.is_stepping = true;
                    self.transfer(machine, lease, blob, true);
                }
                Step::Say(word) => {
                    attempt.is_reported |= matches!(
                        word,
                        TaskFromWorker::TaskDone { .. } | TaskFromWorker::ExecuteEnded { .. }
                    );
                    self.clock.after(LATENCY, Event::ToHierophant(machine, word));
                }
            }
        }
    }

    fn then(&mut self, machine: usize, lease: LeaseId, steps: impl IntoIterator<Item = Step>) {
        if let Some(attempt) = self.machines[machine].attempts.get_mut(&lease) {
            attempt.steps.extend(steps);
            self.step(machine, lease);
        }
    }

    /// An execution has computed a shard, which it announces if the window has room.
    fn computed(&mut self, machine: usize, lease: LeaseId) {
        let work = self.plan.work;
        let Some(Attempt { job, task: Task::Execute(execution), .. }) =
            self.machines[machine].attempts.get_mut(&lease)
        else {
            return;
        };
        let bytes = (execution.open.len() as u64 + 1) * work.record_bytes;
        if execution.open.len() >= execution.window || bytes > execution.window_bytes {
            execution.is_blocked = true;
            return;
        }
        let (job, proof, no) = (*job, execution.proof, execution.announced);
        execution.is_blocked = false;
        execution.computed += work.cut;
        execution.announced += 1;
        execution.open.insert(no);
        let (announced, computed) = (execution.announced, execution.computed);
        let new = shard(proof, no, work.record_bytes);
        self.machines[machine].depot.entry(job).or_default().insert(new.record.sha256);
        let common = self.common(proof);
        let shards = vec![new];
        let mut steps = vec![Step::Say(TaskFromWorker::Shards { lease_id: lease, common, shards })];
        if announced < self.plan.proofs[proof].shards {
            self.clock.after(work.cut, Event::Computed(machine, lease));
        } else {
            self.computed = self.computed.max(computed);
            let public_values = blob(proof, b'v', 0, 100);
            let execution = Executed {
                cycles: announced,
                gas: None,
                public_values_hash: Sha256Digest([5; 32]),
            };
            steps.push(Step::HandIn(public_values));
            steps.push(Step::Say(TaskFromWorker::ExecuteEnded {
                lease_id: lease,
                shards: u32::try_from(announced).unwrap_or(u32::MAX),
                execution,
                public_values,
            }));
        }
        self.then(machine, lease, steps);
    }

    /// Shards are done, whose records are not needed, and whose places in the window are free.
    fn shards_done(&mut self, machine: usize, lease: LeaseId, done: &[u64]) {
        let Machine { attempts, depot, .. } = &mut self.machines[machine];
        let Some(Attempt { job, task: Task::Execute(execution), .. }) = attempts.get_mut(&lease)
        else {
            return;
        };
        for number in done {
            execution.open.remove(number);
            if let Some(records) = depot.get_mut(job) {
                records.remove(&blob(execution.proof, b'r', *number, 0).sha256);
            }
        }
        if execution.is_blocked {
            self.computed(machine, lease);
        }
    }

    /// An input has arrived at a machine.
    fn fetched(&mut self, machine: usize, lease: LeaseId, input: Sha256Digest) {
        let Some(Attempt { task: Task::Prove { missing, .. }, .. }) =
            self.machines[machine].attempts.get_mut(&lease)
        else {
            return;
        };
        if missing.remove(&input) && missing.is_empty() {
            self.machines[machine].ready.push_back(lease);
            self.prove_next(machine);
        }
    }

    fn prove_next(&mut self, machine: usize) {
        let work = self.plan.work;
        if self.machines[machine].proving.is_some() {
            return;
        }
        while let Some(lease) = self.machines[machine].ready.pop_front() {
            let Machine { attempts, slowness, .. } = &self.machines[machine];
            let Some(Attempt { job, task: Task::Prove { number, .. }, .. }) = attempts.get(&lease)
            else {
                // It was cancelled.
                continue;
            };
            let (number, proof) = (*number, self.proofs[job]);
            let took = work.prove_time(number) * slowness;
            self.machines[machine].proving = Some(lease);
            self.clock.after(took, Event::Proved(machine, lease));
            let deferred = events(proof, number, work.event_bytes);
            let traced = TaskFromWorker::Traced {
                lease_id: lease,
                deferred: deferred.clone(),
                named: vec![],
            };
            self.then(machine, lease, [Step::HandIn(deferred.blob), Step::Say(traced)]);
            return;
        }
    }

    fn proved(&mut self, machine: usize, lease: LeaseId) {
        if self.machines[machine].proving != Some(lease) {
            return;
        }
        self.machines[machine].proving = None;
        if let Some(Attempt { job, task: Task::Prove { number, .. }, .. }) =
            self.machines[machine].attempts.get(&lease)
        {
            let (number, proof) = (*number, self.proofs[job]);
            let output = blob(proof, b'p', number, self.plan.work.part_bytes);
            let used = TaskUsage::default();
            let done = TaskFromWorker::TaskDone { lease_id: lease, output, used };
            self.then(machine, lease, [Step::HandIn(output), Step::Say(done)]);
        }
        self.prove_next(machine);
    }

    fn cancel(&mut self, machine: usize, lease: LeaseId) {
        let there = &mut self.machines[machine];
        there.attempts.remove(&lease);
        if there.proving == Some(lease) {
            there.proving = None;
        }
        let held = there.held();
        self.clock.after(LATENCY, Event::Heartbeat(machine, held));
        self.prove_next(machine);
    }

    fn outcome(&self) -> Outcome {
        let proofs: Vec<Micros> = self.ended.values().copied().collect();
        let all = proofs.iter().copied().max().unwrap_or(0).max(1) as f64;
        // What two machines have proved counts once, and a slow machine as the part of one that it is.
        let shards = self.plan.proofs.iter().flat_map(|proof| 0..proof.shards);
        let needed: Micros = shards.map(|number| self.plan.work.prove_time(number)).sum();
        let speeds = self.machines.iter().map(|machine| 1.0 / machine.slowness as f64).sum::<f64>();
        let efficiency = needed as f64 / (all * speeds);
        let executing = self.machines.iter().filter(|machine| machine.has_executed);
        let shards: u64 = self.plan.proofs.iter().map(|proof| proof.shards).sum();
        let rounds = shards.div_ceil(self.machines.len() as u64) * self.plan.work.prove;
        let used = Used {
            rounds: rounds as f64 / all,
            execution: self.computed as f64 / all,
            executor_link: executing
                .map(|machine| machine.up.busy() as f64 / all)
                .fold(0.0, f64::max),
            hierophant_link: self.link.0.busy().max(self.link.1.busy()) as f64 / all,
        };
        let raced = self.tried.values().filter(|times| **times > 1).count();
        Outcome { proofs, efficiency, used, wall: used.wall(efficiency), raced }
    }
}
