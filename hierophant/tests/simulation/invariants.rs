//! Invariants after every commit and at the end.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, Change, Claim, JobRecord, JobState, Millis, RequestRecord,
    RequestState, TaskState,
};
use hierophant_scheduler::proofs::memory::SHORTAGE_LIMIT_MS;
use network_lib::handshake::Backend;
use network_lib::ids::LeaseId;
use network_lib::job::FailureClass;
use network_lib::shard::TaskKind;

use super::clients::Client;
use super::memory::Memory;
use super::workers::{Contemplant, execution};

/// Maximum number of workers at fault for failures of a job in the simulation.
pub const MAX_ATTEMPTS: u32 = 3;
/// Number of strikes that suspend a worker in the simulation.
pub const MAX_STRIKES: usize = 3;

/// Checks a transaction against the stored state before it is committed.
pub fn before_commit(memory: &Memory, changes: &[&Change], strike_decay: i64) {
    for change in changes {
        match change {
            Change::Request(new, _) => {
                if let Some(old) = memory.requests.get(&new.id) {
                    let changed = old.state != new.state;
                    assert!(
                        !(old.state.is_terminal() && changed),
                        "an end was taken back: {new:?}"
                    );
                    assert_eq!(old.job, new.job, "a request changed its job");
                }
            }
            Change::Job(new) => {
                if let Some(old) = memory.jobs.get(&new.id) {
                    let changed = old.state != new.state;
                    assert!(
                        !(old.state.is_terminal() && changed),
                        "an end was taken back: {new:?}"
                    );
                    assert!(old.attempts <= new.attempts, "attempts are counted down");
                }
            }
            Change::Attempt(new) => {
                if let Some(old) = memory.attempts.get(&new.lease) {
                    let ended = !matches!(
                        old.outcome,
                        AttemptOutcome::Ahead | AttemptOutcome::Running | AttemptOutcome::Lost
                    );
                    assert!(!ended || old.outcome == new.outcome, "an attempt ended twice");
                } else if !new.prover.is_fleet() {
                    let since = Millis(new.started_at.0 - strike_decay);
                    let theirs = memory.strikes(since).filter(|(id, _)| *id == new.prover.worker);
                    assert!(theirs.count() < MAX_STRIKES, "given to a suspended worker: {new:?}");
                }
            }
            _ => {}
        }
    }
}

/// Checks that no attempt begins on a worker without the right to private inputs while a private request of its job is open.
pub fn private_inputs(memory: &Memory, workers: &[Contemplant], changes: &[&Change]) {
    let is_open =
        |request: &RequestRecord| request.stdin_private && request.state == RequestState::Open;
    let stored = memory.requests.values().filter(|request| is_open(request));
    let mut private: BTreeMap<_, _> = stored.map(|it| (it.id, it.job)).collect();
    let mut begun: BTreeSet<LeaseId> = memory.attempts.keys().copied().collect();
    // In their order: a transaction may have the changes of several events.
    for change in changes {
        match change {
            Change::Request(new, _) if is_open(new) => drop(private.insert(new.id, new.job)),
            Change::Request(new, _) => drop(private.remove(&new.id)),
            Change::Attempt(new) if begun.insert(new.lease) && !new.prover.is_fleet() => {
                let worker = workers.iter().find(|worker| worker.id == new.prover.worker);
                let has_right = worker.is_some_and(|worker| worker.private_inputs);
                let needs_right = private.values().any(|job| *job == new.job);
                assert!(has_right || !needs_right, "a private input without the right: {new:?}");
            }
            _ => {}
        }
    }
}

/// Checks the attempts at tasks: none without a result to make, and no two at one task, or in a race on two workers.
fn tasks_going_on(memory: &Memory, racing: bool) {
    let running = memory.attempts.values().filter(|it| it.outcome == AttemptOutcome::Running);
    let mut leased = BTreeMap::<_, BTreeSet<_>>::new();
    for attempt in running {
        let Some(task) = attempt.task.map(|task| task.id) else { continue };
        let state = memory.tasks.get(&task).map(|task| task.state);
        assert_eq!(state, Some(TaskState::Leased), "{attempt:?}");
        let workers = leased.entry(task).or_default();
        assert!(workers.insert(attempt.prover.worker), "twice on one worker: {attempt:?}");
        let may_race = racing && attempt.task.is_some_and(|task| task.kind != TaskKind::Execute);
        let most = if may_race { 2 } else { 1 };
        assert!(workers.len() <= most, "too many attempts at one task: {attempt:?}");
    }
    for task in memory.tasks.values().filter(|task| task.state == TaskState::Leased) {
        assert!(leased.contains_key(&task.id), "no worker has it: {task:?}");
    }
}

/// Checks that nothing is left of proofs that were made as tasks.
pub fn nothing_is_left(memory: &Memory, workers: &[Contemplant]) {
    assert!(memory.shardings.is_empty(), "divisions are left: {:?}", memory.shardings);
    assert!(memory.blobs.values().all(BTreeSet::is_empty), "bytes are left: {:?}", memory.blobs);
    for worker in workers {
        let is_empty = worker.depot.values().all(BTreeSet::is_empty);
        assert!(worker.tasks.is_empty() && is_empty, "left: {worker:?}");
    }
}

/// Checks everything that is stored.
pub fn after_commit(memory: &Memory, racing: bool) {
    tasks_going_on(memory, racing);
    let mut running = BTreeMap::<_, Vec<&AttemptRecord>>::new();
    for attempt in memory.attempts.values() {
        if attempt.outcome == AttemptOutcome::Running && attempt.task.is_none() {
            running.entry(attempt.job).or_default().push(attempt);
        }
    }
    let ahead = memory.attempts.values().filter(|it| it.outcome == AttemptOutcome::Ahead);
    let mut prepared = BTreeSet::new();
    for attempt in ahead {
        let state = memory.jobs[&attempt.job].state;
        assert_eq!(state, JobState::Queued, "it does not wait, but is leased ahead: {attempt:?}");
        assert!(prepared.insert(attempt.job), "leased ahead twice: {attempt:?}");
    }
    for (id, job) in &memory.jobs {
        going_on(job, running.get(id).map_or(&[], Vec::as_slice), racing);
        if job.state == JobState::Proved {
            let proof = job.proof.expect("a proved job has a proof");
            assert!(memory.genuine[&proof], "a wrong proof is served: {job:?}");
            assert_eq!(job.execution, Some(execution()), "a false report is shown");
            let completed = |attempt: &&AttemptRecord| {
                attempt.outcome == AttemptOutcome::Completed
                    && attempt.proof.map(|it| it.0) == Some(proof)
            };
            let winner = memory.attempts_of(*id).find(completed).expect("its worker");
            assert_eq!(job.prover.as_ref(), Some(&winner.prover), "the wrong worker is recorded");
            assert_eq!(job.started_at, Some(winner.started_at));
        }
        let gave_up = job.state == JobState::Failed;
        let blamed = memory
            .attempts_of(*id)
            .filter(|attempt| attempt.failure_class == Some(FailureClass::Worker))
            .map(|attempt| attempt.prover.worker);
        let blamed = blamed.collect::<BTreeSet<_>>().len();
        assert!(!gave_up || blamed == MAX_ATTEMPTS as usize, "quarantined early: {job:?}");
        let most = MAX_ATTEMPTS as usize - usize::from(!job.state.is_terminal());
        assert!(blamed <= most, "beyond the retry budget: {job:?}");
    }
    for request in memory.requests.values() {
        let job = &memory.jobs[&request.job];
        if request.state == RequestState::Fulfilled {
            assert_eq!(job.state, JobState::Proved, "fulfilled without a proof: {request:?}");
        }
        assert!(
            request.state != RequestState::Open || !job.state.is_terminal(),
            "an open request of an ended job: {request:?} {job:?}"
        );
    }
}

/// Checks an attempt that started while another one was running.
pub fn racer(memory: &Memory, lease: LeaseId) {
    let racer = &memory.attempts[&lease];
    let had = |other: &AttemptRecord| {
        let begun = other.outcome != AttemptOutcome::GivenBack;
        begun && other.lease != lease && other.prover == racer.prover
    };
    assert!(!memory.attempts_of(racer.job).any(had), "raced by one who had it: {racer:?}");
}

/// Checks that an attempt does not start on a machine with less memory than has proved insufficient within the last
/// hour.
pub fn enough_memory(memory: &Memory, workers: &[Contemplant], lease: LeaseId) {
    let new = &memory.attempts[&lease];
    if new.prover.is_fleet() || new.task.is_some() {
        return;
    }
    let has = workers.iter().find(|worker| worker.id == new.prover.worker).map(|it| it.memory);
    let recent = |attempt: &&AttemptRecord| {
        let ended = attempt.ended_at.unwrap_or(new.started_at);
        let is_forgiven = memory.requeued.get(&new.job).is_some_and(|at| ended <= *at);
        !is_forgiven && new.started_at.since(ended) <= SHORTAGE_LIMIT_MS.unsigned_abs()
    };
    for earlier in memory.attempts_of(new.job).filter(recent) {
        let tried = earlier.out_of_memory.and_then(|what| what.bytes);
        assert!(tried <= has, "{tried:?} bytes have not sufficed: {new:?} on {has:?}");
    }
}

/// Checks a job against its running attempts.
fn going_on(job: &JobRecord, attempts: &[&AttemptRecord], racing: bool) {
    let any = |is: fn(&AttemptRecord) -> bool| attempts.iter().any(|attempt| is(attempt));
    let begun = any(|attempt| attempt.first_progress_at.is_some());
    let handed_in = any(|attempt| attempt.proof.is_some());
    let (fits, most) = match job.state {
        JobState::Leased => (!begun && !handed_in, 2),
        JobState::Proving => (begun && !handed_in, 2),
        JobState::Uploaded | JobState::Verifying => (handed_in, 2),
        _ => (true, 0),
    };
    let most = if racing { most } else { most.min(1) };
    assert!(attempts.len() >= usize::from(most > 0), "no worker has it: {job:?}");
    assert!(attempts.len() <= most, "too many attempts go on: {job:?} {attempts:?}");
    assert!(fits, "the state is not that of the attempts: {job:?} {attempts:?}");
    let provers: BTreeSet<_> = attempts.iter().map(|attempt| attempt.prover.worker).collect();
    assert_eq!(provers.len(), attempts.len(), "twice on one worker: {attempts:?}");
    let reported = job.prover.as_ref().map(|prover| prover.worker);
    assert!(most == 0 || reported.is_some_and(|reported| provers.contains(&reported)), "{job:?}");
}

/// Checks that a proof is verified against the execution that its own worker reported.
pub fn own_word(memory: &Memory, workers: &[Contemplant], lease: LeaseId, claim: &Claim) {
    let attempt = &memory.attempts[&lease];
    let maker = workers.iter().find(|worker| worker.id == attempt.prover.worker);
    let reported = match maker {
        Some(maker) => maker.execution(),
        None => attempt.execution.filter(|_| attempt.prover.is_fleet()).expect("a known worker"),
    };
    let spec = &memory.jobs[&attempt.job].spec;
    assert_eq!(*claim, Claim::new(spec, &reported, Backend::Cpu), "judged by another's word");
}

/// Whether a client's request has ended as expected, or the reason why not.
pub fn right_end(memory: &Memory, client: &Client) -> Result<RequestState, String> {
    let Some(id) = client.accepted else { return Err("never accepted".into()) };
    let Some(request) = memory.requests.get(&id) else { return Err("lost".into()) };
    let expected = match request.state {
        RequestState::Open => false,
        RequestState::Fulfilled => !client.guest_fails,
        RequestState::Unexecutable => client.guest_fails,
        // `after_commit` has checked that the budget was spent.
        RequestState::Failed => true,
        RequestState::Cancelled => client.cancels,
        RequestState::Expired => client.impatient,
    };
    if expected { Ok(request.state) } else { Err(format!("ended as {}", request.state)) }
}
