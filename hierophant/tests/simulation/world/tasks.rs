//! What Contemplants do with tasks.

use hierophant_scheduler::proofs::{
    Assembly, AssemblyError, DoubtedPart, PartCheck, PartVerdict, TaskBlob,
};
use network_lib::ids::{ArtifactId, JobId, LeaseId, Sha256Digest};
use network_lib::job::{BlobInfo, Failure, FailureClass};
use network_lib::shard::{ShardState, TaskFromWorker, TaskInput, TaskToWorker, TaskUsage};
use network_lib::wire::FromWorker;
use rand::Rng;

use super::super::clients::FIRST_FAILING;
use super::super::tasks::{Program, Task, Work, blob, events, is_genuine, number_of};
use super::super::workers::{Temper, execution, proof_blob};
use super::{Event, MINUTE, SECOND, World};

/// Shards that wait at most while one is announced, whatever Hierophant allows.
const PATIENCE: i64 = 5 * SECOND;

impl World {
    /// What is repeated after a welcome, in the order of the protocol.
    pub(super) fn repeat_tasks(&mut self, n: usize) {
        for (job, depot) in self.workers[n].depot.clone() {
            let blobs = depot.into_iter().collect();
            let (more, used_bytes, free_bytes) = (false, 0, 0);
            self.say_task(n, TaskFromWorker::Depot { job, blobs, more, used_bytes, free_bytes });
        }
        for (lease, task) in self.workers[n].tasks.clone() {
            if let Work::Execution { program, announced, .. } = &task.work
                && *announced > 0
            {
                let shards = program.shards[..*announced].to_vec();
                let common = program.common;
                self.say_task(n, TaskFromWorker::Shards { lease_id: lease, common, shards });
            }
            let life = self.workers[n].life;
            for at in 0..task.said.len() {
                self.soon(Event::RepeatTask(n, life, lease, at));
            }
        }
    }

    /// Hands in again what a word is about, and says it again.
    pub(super) fn repeat_task(&mut self, n: usize, life: u32, lease: LeaseId, at: usize) {
        if !self.is_alive(n, life) {
            return;
        }
        let task = self.workers[n].tasks.get(&lease);
        let Some((blobs, word)) = task.and_then(|task| task.said.get(at).cloned()) else { return };
        if !self.reaches(n) {
            // The next welcome repeats it, or this one continues.
            return self.at(PATIENCE, Event::RepeatTask(n, life, lease, at));
        }
        for blob in blobs {
            if self.put(n, lease, blob) != Some(true) {
                return;
            }
        }
        self.say_task(n, word);
    }

    fn say_task(&mut self, n: usize, word: TaskFromWorker) {
        if let Some(session) = self.workers[n].session {
            let message = FromWorker::Task(word);
            self.send(session, false, Event::ToHierophant(session, message));
        }
    }

    pub(super) fn hear_task(&mut self, n: usize, message: TaskToWorker) {
        let life = self.workers[n].life;
        match message {
            TaskToWorker::Run { lease_id, job, input, .. } => {
                let worker = &self.workers[n];
                assert!(worker.held.is_empty(), "a task beside a whole proof: {worker:?}");
                let executes = matches!(input, TaskInput::Execute { .. });
                let same = |task: &&Task| matches!(task.work, Work::Execution { .. }) == executes;
                let most = if executes { 1 } else { worker.task_places() };
                let running = worker.tasks.values().filter(same).count();
                assert!(running < most, "more tasks than it takes: {worker:?}");
                let task =
                    Task { job, work: self.work_of(job, input), said: vec![], has_ended: false };
                self.workers[n].tasks.insert(lease_id, task);
                self.soon(Event::TaskStep(n, life, lease_id));
            }
            TaskToWorker::ShardsKnown { lease_id, shards } => {
                let Some(task) = self.workers[n].tasks.get_mut(&lease_id) else { return };
                let job = task.job;
                let Work::Execution { program, done, markers, .. } = &mut task.work else { return };
                let mut freed = Vec::new();
                for shard in shards {
                    let no = shard.no;
                    match shard.state {
                        ShardState::Waiting => {}
                        ShardState::Done => {
                            done.insert(no);
                            freed.push(program.shards[no as usize].record.sha256);
                        }
                        ShardState::Traced { .. } if markers.contains(&no) => {}
                        ShardState::Traced { .. } => {
                            assert_eq!(no as usize, markers.len(), "events out of order");
                            markers.push(no);
                        }
                    }
                }
                if let Some(depot) = self.workers[n].depot.get_mut(&job) {
                    depot.retain(|blob| !freed.contains(blob));
                }
            }
            TaskToWorker::Provide { lease_id, blob } => {
                self.soon(Event::Provide(n, life, lease_id, blob));
            }
            TaskToWorker::Forget { job, blobs } => {
                let depot = self.workers[n].depot.entry(job).or_default();
                match blobs {
                    Some(blobs) => depot.retain(|blob| !blobs.contains(blob)),
                    None => depot.clear(),
                }
                if depot.is_empty() {
                    self.workers[n].depot.remove(&job);
                }
            }
        }
    }

    fn work_of(&mut self, job: JobId, input: TaskInput) -> Work {
        match input {
            TaskInput::Execute { stdin, window, .. } => {
                let program = Program::of(job, stdin.sha256.0[0], self.sequence);
                Work::Execution {
                    program,
                    window: window as usize,
                    announced: 0,
                    done: Default::default(),
                    markers: Vec::new(),
                }
            }
            TaskInput::ProveShard { common, record, named, defers, .. } => {
                let named = named.iter().map(|named| named.blob.info);
                Work::Proof {
                    record: Some(record.info),
                    inputs: [common.info].into_iter().chain(named).collect(),
                    defers,
                    is_fetched: false,
                    is_traced: false,
                }
            }
            TaskInput::Reduce { common, children, .. } => {
                let children = children.iter().map(|child| child.blob.info);
                Work::above([common.info].into_iter().chain(children))
            }
            TaskInput::ShrinkWrap { common, proof }
            | TaskInput::Plonk { common, proof }
            | TaskInput::Groth16 { common, proof } => Work::above([common.info, proof.info]),
            other => panic!("never planned: {other:?}"),
        }
    }

    pub(super) fn provide(&mut self, n: usize, life: u32, lease: LeaseId, blob: Sha256Digest) {
        if !self.is_alive(n, life) {
            return;
        }
        let depots = self.workers[n].depot.iter();
        let found = depots.filter(|(_, depot)| depot.contains(&blob)).map(|(job, _)| *job).next();
        if found.is_none() {
            // It lists what it has.
            let depots: Vec<_> = self.workers[n].depot.clone().into_iter().collect();
            for (job, depot) in depots {
                let blobs = depot.into_iter().collect();
                let (more, used_bytes, free_bytes) = (false, 0, 0);
                self.say_task(
                    n,
                    TaskFromWorker::Depot { job, blobs, more, used_bytes, free_bytes },
                );
            }
            return;
        }
        if self.reaches(n) {
            self.tally.provided += 1;
            self.put(n, lease, BlobInfo { size: 10, sha256: blob });
        } else {
            self.at(PATIENCE, Event::Provide(n, life, lease, blob));
        }
    }

    /// Hands in a blob. `Some(false)` if the lease is over; `None` if there is no answer.
    fn put(&mut self, n: usize, lease: LeaseId, blob: BlobInfo) -> Option<bool> {
        let worker = self.workers[n].id;
        let may = self.hierophant.as_ref()?.proofs.may_hand_in(lease, worker, blob.sha256);
        let Some(hand_in) = may else { return Some(false) };
        self.memory.blobs.entry(hand_in.job).or_default().insert(blob.sha256);
        self.decide(|proofs, now| proofs.handed_in(now, (worker, lease), hand_in.job, blob))
    }

    /// Fetches a blob. `Ok(false)` if it is on its way.
    fn get(
        &mut self,
        n: usize,
        lease: LeaseId,
        blob: Sha256Digest,
    ) -> Result<bool, Option<Sha256Digest>> {
        let worker = self.workers[n].id;
        let Some(hierophant) = &self.hierophant else { return Ok(false) };
        match hierophant.proofs.task_blob(lease, worker, blob) {
            TaskBlob::Refused => Err(None),
            TaskBlob::Gone => Err(Some(blob)),
            TaskBlob::Expected { .. } if self.storm && self.rng.random_bool(0.02) => {
                Err(Some(blob))
            }
            TaskBlob::Expected { .. } => Ok(false),
            TaskBlob::Readable { job, .. } => {
                if self.memory.has_blob(job, blob) {
                    return Ok(true);
                }
                self.decide(|proofs, now| ((), proofs.task_blob_missing(now, job, blob)));
                Ok(false)
            }
        }
    }

    /// An attempt advances by a step.
    pub(super) fn task_step(&mut self, n: usize, life: u32, lease: LeaseId) {
        if !self.is_alive(n, life) {
            return;
        }
        let Some(task) = self.workers[n].tasks.get(&lease).filter(|task| !task.has_ended) else {
            return;
        };
        let task = task.clone();
        if !self.reaches(n) {
            return self.at(PATIENCE, Event::TaskStep(n, life, lease));
        }
        let delay = match task.work {
            Work::Execution { .. } => self.execution_step(n, lease, task),
            Work::Proof { .. } => self.proof_step(n, lease, task),
        };
        if let Some(delay) = delay {
            self.at(delay, Event::TaskStep(n, life, lease));
        }
    }

    fn execution_step(&mut self, n: usize, lease: LeaseId, task: Task) -> Option<i64> {
        let Work::Execution { program, window, announced, done, markers } = task.work else {
            return None;
        };
        let guest_fails = self.memory.jobs[&task.job].stdin_blob.sha256.0[0] >= FIRST_FAILING;
        if guest_fails {
            let failure = Failure::new(FailureClass::Guest, "the guest panicked");
            self.conclude_task(n, lease, vec![], failed(lease, failure, vec![]), true);
            return None;
        }
        if announced == 0 && self.put(n, lease, program.common) != Some(true) {
            return Some(PATIENCE);
        }
        let has_events = markers.len() == program.cores;
        let most = if has_events { program.shards.len() } else { program.before_events };
        if announced < most && announced - done.len() < window {
            let shard = program.shards[announced].clone();
            let job = task.job;
            self.workers[n].depot.entry(job).or_default().insert(shard.record.sha256);
            if let Some(Task { work: Work::Execution { announced, .. }, .. }) =
                self.workers[n].tasks.get_mut(&lease)
            {
                *announced += 1;
            }
            let (common, shards) = (program.common, vec![shard]);
            self.say_task(n, TaskFromWorker::Shards { lease_id: lease, common, shards });
            return Some(self.rng.random_range(100..20 * SECOND));
        }
        if announced == program.shards.len() && has_events {
            let ended = TaskFromWorker::ExecuteEnded {
                lease_id: lease,
                shards: u32::try_from(announced).expect("few"),
                execution: self.workers[n].execution(),
                public_values: program.values,
            };
            self.conclude_task(n, lease, vec![program.values], ended, true);
            self.tally.divided_executions += 1;
            return None;
        }
        Some(PATIENCE)
    }

    fn proof_step(&mut self, n: usize, lease: LeaseId, task: Task) -> Option<i64> {
        let Work::Proof { record, inputs, defers, is_fetched, is_traced } = task.work else {
            return None;
        };
        let job = task.job;
        if !is_fetched {
            let depot = self.workers[n].depot.get(&job);
            let is_here = |blob: &BlobInfo| depot.is_some_and(|depot| depot.contains(&blob.sha256));
            let far = record.filter(|record| !is_here(record));
            let suspect: Vec<_> =
                inputs.iter().map(|blob| blob.sha256).filter(|blob| !is_genuine(*blob)).collect();
            for blob in far.into_iter().chain(inputs) {
                match self.get(n, lease, blob.sha256) {
                    Ok(true) => {}
                    Ok(false) => return Some(2 * SECOND),
                    Err(None) => {
                        self.workers[n].tasks.remove(&lease);
                        return None;
                    }
                    Err(Some(lost)) => {
                        let failure = Failure::new(FailureClass::Infrastructure, "it is lost");
                        let word = failed(lease, failure, vec![lost]);
                        self.conclude_task(n, lease, vec![], word, true);
                        return None;
                    }
                }
            }
            if !suspect.is_empty() {
                self.tally.accusations += 1;
                let failure = Failure::new(FailureClass::Infrastructure, "an input is false");
                let (lost, lease_id) = (vec![], lease);
                let word = TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect };
                self.conclude_task(n, lease, vec![], word, true);
                return None;
            }
            self.change_shard(n, lease, |is_fetched, _| *is_fetched = true);
            return Some(self.rng.random_range(100..5 * SECOND));
        }
        if let Some(record) = record.filter(|_| defers && !is_traced) {
            let found = events(job, number_of(record.sha256));
            let blobs = found.blobs().copied().collect();
            let (deferred, named) = (found.index, found.events);
            let word = TaskFromWorker::Traced { lease_id: lease, deferred, named };
            self.change_shard(n, lease, |_, is_traced| *is_traced = true);
            self.conclude_task(n, lease, blobs, word, false);
            return Some(self.rng.random_range(SECOND..MINUTE));
        }
        let temper = self.workers[n].temper;
        // A false result has to be found once for each, so there may be more of them.
        let bad_moments = if temper == Temper::Liar { 0.5 } else { 0.1 };
        let bad_moment = self.rng.random_bool(bad_moments);
        let number = self.rng.random_range(0..1 << 40);
        let output = blob(job, b'o', number, temper != Temper::Liar || !bad_moment);
        let used = TaskUsage::default();
        match temper {
            Temper::Hanging if bad_moment => {}
            Temper::Flaky if bad_moment => {
                let classes = [FailureClass::Worker, FailureClass::Infrastructure];
                let failure = Failure::new(classes[self.rng.random_range(0..2)], "flaky");
                self.conclude_task(n, lease, vec![], failed(lease, failure, vec![]), true);
            }
            Temper::Liar if bad_moment && self.rng.random_bool(0.5) => {
                // It says another digest than that of the bytes.
                let said = blob(job, b'o', number + 1, true);
                let word = TaskFromWorker::TaskDone { lease_id: lease, output: said, used };
                self.conclude_task(n, lease, vec![output], word, true);
            }
            _ => {
                let word = TaskFromWorker::TaskDone { lease_id: lease, output, used };
                self.conclude_task(n, lease, vec![output], word, true);
                self.tally.shards += 1;
            }
        }
        None
    }

    fn change_shard(
        &mut self,
        n: usize,
        lease: LeaseId,
        change: impl FnOnce(&mut bool, &mut bool),
    ) {
        if let Some(Task { work: Work::Proof { is_fetched, is_traced, .. }, .. }) =
            self.workers[n].tasks.get_mut(&lease)
        {
            change(is_fetched, is_traced);
        }
    }

    /// Hands in blobs and says something about them; all of it is repeated after each welcome.
    fn conclude_task(
        &mut self,
        n: usize,
        lease: LeaseId,
        blobs: Vec<BlobInfo>,
        word: TaskFromWorker,
        is_last: bool,
    ) {
        let Some(task) = self.workers[n].tasks.get_mut(&lease) else { return };
        task.said.push((blobs.clone(), word.clone()));
        task.has_ended |= is_last;
        for blob in blobs {
            match self.put(n, lease, blob) {
                Some(true) => {}
                Some(false) => {
                    // The lease is over.
                    self.workers[n].tasks.remove(&lease);
                    return;
                }
                None => return,
            }
        }
        self.say_task(n, word);
    }

    pub(super) fn assemble(&mut self, assembly: Assembly) {
        let delay = self.rng.random_range(10..5 * SECOND);
        self.at(delay, Event::Assembled(self.boot, Box::new(assembly)));
    }

    /// The parts of a proof are put together, if they are all there.
    pub(super) fn assembled(&mut self, boot: u64, assembly: Assembly) {
        if boot != self.boot || self.stalled {
            if boot == self.boot {
                self.at(PATIENCE, Event::Assembled(boot, Box::new(assembly)));
            }
            return;
        }
        let Assembly { lease, job, parts, public_values, .. } = assembly;
        let missing = parts
            .iter()
            .chain([&public_values])
            .map(|part| part.sha256)
            .find(|part| !self.memory.has_blob(job, *part));
        let said = self.memory.attempts.get(&lease).and_then(|attempt| attempt.execution);
        let is_genuine =
            parts.iter().all(|part| is_genuine(part.sha256)) && said == Some(execution());
        let artifact = ArtifactId(self.rng.random());
        self.memory.genuine.insert(artifact, is_genuine);
        let outcome = match missing {
            Some(missing) => Err(AssemblyError::Lost(missing)),
            None => Ok((artifact, proof_blob())),
        };
        self.tally.assembled += u64::from(outcome.is_ok());
        self.decide(|proofs, now| ((), proofs.assembled(now, lease, outcome)));
    }

    pub(super) fn check_parts(&mut self, check: PartCheck) {
        let delay = self.rng.random_range(10..5 * SECOND);
        self.at(delay, Event::PartsChecked(self.boot, Box::new(check)));
    }

    /// Results of tasks are verified, if they are still there.
    pub(super) fn parts_checked(&mut self, boot: u64, check: PartCheck) {
        if boot != self.boot {
            return;
        }
        let verdict = |part: &DoubtedPart| match part.blob.sha256 {
            blob if !self.memory.has_blob(check.job, blob) => PartVerdict::Unknown,
            blob if is_genuine(blob) => PartVerdict::Right,
            _ => PartVerdict::False,
        };
        let verdicts: Vec<_> = check.parts.iter().map(verdict).collect();
        self.tally.parts_checked += verdicts.len() as u64;
        self.decide(|proofs, now| ((), proofs.parts_checked(now, check, &verdicts)));
    }

    /// Hierophant's disk loses a blob of a task.
    pub(super) fn lose_blob(&mut self) {
        let jobs: Vec<_> = self.memory.blobs.keys().copied().collect();
        if jobs.is_empty() {
            return;
        }
        let job = jobs[self.rng.random_range(0..jobs.len())];
        let blobs = self.memory.blobs.get_mut(&job).expect("listed above");
        if let Some(lost) = blobs.iter().nth(self.rng.random_range(0..blobs.len().max(1))).copied()
        {
            blobs.remove(&lost);
            self.tally.lost_blobs += 1;
        }
    }
}

fn failed(lease_id: LeaseId, failure: Failure, lost: Vec<Sha256Digest>) -> TaskFromWorker {
    TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect: vec![] }
}
