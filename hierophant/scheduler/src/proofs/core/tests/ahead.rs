//! Jobs that are leased ahead: when they begin, and when they are given back.

use super::*;

const PROVING: Progress = Progress::phase(Phase::Proving);

fn at(millis: i64) -> Millis {
    Millis(START.0 + millis)
}

/// A worker with a slot and a place ahead.
pub(super) fn preparing(n: u8, session: u64, held: &[LeaseId]) -> WorkerJoined {
    let modes = vec![ProofMode::Core, ProofMode::Plonk];
    let capabilities = Capabilities { prefetch: 1, ..capabilities(modes) };
    WorkerJoined { capabilities, ..arrival(n, session, held) }
}

fn ask(core: &mut ProofsCore, now: Millis, new: NewRequest) -> Vec<Effect> {
    let (answer, effects) = core.submit(now, new, StoreLookup::default());
    answer.expect("accepted");
    effects
}

fn by(requester: Address, id: u8) -> NewRequest {
    NewRequest { requester, ..new_request(id, id) }
}

fn plonk(id: u8) -> NewRequest {
    let mut new = new_request(id, id);
    new.spec.mode = ProofMode::Plonk;
    new
}

fn job(core: &ProofsCore, request: u8) -> JobId {
    core.open.job(RequestId([request; 32])).expect("open")
}

/// The worker that a request's job is leased ahead to, and the lease.
fn ahead(core: &ProofsCore, request: u8) -> Option<(WorkerId, LeaseId)> {
    let lease = core.jobs[&job(core, request)].ahead?;
    assert!(core.queue.contains(job(core, request)), "it waits as well");
    Some((core.leases[&lease].attempt.prover.worker, lease))
}

/// The worker that runs a request's job, and the lease.
fn running(core: &ProofsCore, request: u8) -> Option<(WorkerId, LeaseId)> {
    let lease = *core.jobs[&job(core, request)].leases.first()?;
    assert!(!core.queue.contains(job(core, request)), "it runs");
    Some((core.leases[&lease].attempt.prover.worker, lease))
}

fn outcome(memory: &Memory, lease: LeaseId) -> AttemptOutcome {
    memory.attempts[&lease].outcome
}

/// Worker 1 runs request 1 and prepares request 2; request 3 waits.
fn prepared() -> (ProofsCore, Memory, [LeaseId; 2]) {
    let (mut core, mut memory) = (core(), Memory::default());
    memory.save(&core.worker_joined(START, preparing(1, 1, &[])));
    for n in 1..=3 {
        memory.save(&submit(&mut core, n, n));
    }
    let [first, second] = [running(&core, 1), ahead(&core, 2)].map(|it| it.expect("leased").1);
    memory.save(&core.progressed(START, worker(1), first, PROVING));
    (core, memory, [first, second])
}

#[test]
fn a_job_that_is_leased_ahead_waits_as_before() {
    let (mut core, mut memory, [_, second]) = prepared();
    assert_eq!((ahead(&core, 3), running(&core, 3)), (None, None));
    assert_eq!(outcome(&memory, second), AttemptOutcome::Ahead);
    let record = memory.job_of(2);
    assert_eq!((record.state, record.attempts, &record.prover), (JobState::Queued, 0, &None));
    assert!(core.lease_access(second, worker(1)).is_some(), "it may fetch");
    let downloading = Progress::phase(Phase::Downloading);
    memory.save(&core.progressed(at(1), worker(1), second, downloading));
    memory.save(&core.executed(at(2), worker(1), second, execution()));
    assert_eq!(memory.job_of(2).state, JobState::Queued);
    assert_eq!(memory.job_of(2).execution, Some(execution()));
    assert_eq!(core.overview().waiting, 2);
    let why = core.why(START, job(&core, 2)).expect("open");
    assert!(why.reason.starts_with("amos prepares it"), "{why:?}");
    assert_eq!(why.ahead, Some(0));
    // No limit of an attempt counts.
    memory.save(&core.progressed(
        at(50 * MINUTE),
        worker(1),
        running(&core, 1).expect("runs").1,
        Progress::steps(Phase::Proving, 1),
    ));
    memory.save(&core.sweep(at(50 * MINUTE)));
    assert_eq!(ahead(&core, 2), Some((worker(1), second)));
}

#[test]
fn it_begins_when_a_prover_takes_it() {
    for executed in [false, true] {
        let (mut core, mut memory, [_, second]) = prepared();
        let mut progress = PROVING;
        if executed {
            memory.save(&core.executed(at(1), worker(1), second, execution()));
            progress = Progress::phase(Phase::SettingUp);
        }
        memory.save(&core.progressed(at(5), worker(1), second, progress));
        assert_eq!(running(&core, 2), Some((worker(1), second)));
        let (record, attempt) = (memory.job_of(2), &memory.attempts[&second]);
        assert_eq!((record.state, record.attempts), (JobState::Proving, 1));
        assert_eq!((record.started_at, attempt.started_at), (Some(at(5)), at(5)));
        assert_eq!(attempt.outcome, AttemptOutcome::Running);
        assert_eq!(ahead(&core, 3), None, "the first still occupies the slot");
    }
}

#[test]
fn it_begins_when_the_slot_is_free_and_the_next_takes_its_place() {
    let (mut core, mut memory, [first, second]) = prepared();
    memory.save(&hand_in(&mut core, 1, first));
    assert_eq!(running(&core, 2), Some((worker(1), second)));
    assert_eq!(memory.job_of(2).state, JobState::Leased);
    assert_eq!(ahead(&core, 3).map(|(to, _)| to), Some(worker(1)));
}

#[test]
fn a_free_slot_elsewhere_takes_it_at_once() {
    let (mut core, mut memory, [_, second]) = prepared();
    let effects = join(&mut core, 2, 2);
    memory.save(&effects);
    assert_eq!(cancels(&effects), [second]);
    assert_eq!(outcome(&memory, second), AttemptOutcome::GivenBack);
    assert_eq!(running(&core, 2).map(|(to, _)| to), Some(worker(2)));
    assert_eq!(memory.job_of(2).attempts, 1);
    assert_eq!(ahead(&core, 3).map(|(to, _)| to), Some(worker(1)));
    // What the worker says late about it changes nothing.
    assert_eq!(core.progressed(START, worker(1), second, PROVING), []);
    let late = core.failed(START, worker(1), second, failure(FailureClass::Worker));
    assert_eq!(late, [Effect::Send(worker(1), ToWorker::Settled { lease_id: second })]);
}

#[test]
fn what_its_worker_was_sent_is_recalled_before_the_store_has_it() {
    for sent in [false, true] {
        let (mut core, _, [first, second]) = prepared();
        if sent {
            core.jobs_sent(&[first, second]);
        }
        let effects = join(&mut core, 2, 2);
        assert_eq!(cancels(&effects), [second]);
        // A cancellation that precedes its job would be without effect.
        let is_recall =
            |effect: &Effect| matches!(effect, Effect::Recall(to, _) if *to == worker(1));
        assert_eq!(effects.iter().any(is_recall), sent);
        // An attempt that has begun is cancelled when it is stored that it has ended.
        let cancelled = core.command(START, &Command::CancelJob(job(&core, 1))).1;
        assert_eq!(cancels(&cancelled), [first]);
        assert!(!cancelled.iter().any(is_recall));
    }
}

#[test]
fn nothing_less_urgent_is_prepared_while_an_urgent_job_waits() {
    let mut core = core_with(Limits { max_waiting: 9, ..limits() });
    for n in 1..=2 {
        core.worker_joined(START, preparing(n, n.into(), &[]));
    }
    for n in 1..=5 {
        submit(&mut core, n, n);
    }
    assert!(ahead(&core, 3).is_some() && ahead(&core, 4).is_some());
    let effects = ask(&mut core, START, plonk(6));
    assert_eq!(cancels(&effects).len(), 2);
    let (urgent, _) = ahead(&core, 6).expect("ahead");
    assert_eq!((ahead(&core, 3), ahead(&core, 4)), (None, None));
    // The other worker is free first: the urgent job begins there.
    let other = if urgent == worker(1) { worker(2) } else { worker(1) };
    let finished = (1..=2).find(|n| running(&core, *n).is_some_and(|(at, _)| at == other));
    let (_, lease) = running(&core, finished.expect("one")).expect("runs");
    hand_in(&mut core, other.0[0], lease);
    assert_eq!(running(&core, 6).map(|(to, _)| to), Some(other));
    assert!(ahead(&core, 3).is_some() && ahead(&core, 4).is_some(), "prepared again");
}

#[test]
fn an_urgent_job_that_no_preparing_worker_supports_disturbs_none() {
    let mut core = core();
    let only_core = vec![ProofMode::Core];
    let capabilities = Capabilities { prefetch: 1, ..capabilities(only_core) };
    core.worker_joined(START, WorkerJoined { capabilities, ..arrival(1, 1, &[]) });
    submit(&mut core, 1, 1);
    submit(&mut core, 2, 2);
    assert_eq!(cancels(&ask(&mut core, START, plonk(3))), []);
    assert!(ahead(&core, 2).is_some());
}

#[test]
fn a_requester_with_fewer_running_jobs_takes_the_place_and_an_equal_one_does_not() {
    let (mut core, _, [_, second]) = prepared();
    let effects = ask(&mut core, START, by(BOB, 4));
    assert_eq!(cancels(&effects), [second]);
    assert_eq!(ahead(&core, 4).map(|(to, _)| to), Some(worker(1)));
    assert_eq!(ahead(&core, 2), None);
    let carol = Address::repeat_byte(0xca);
    let sooner = NewRequest { deadline: DEADLINE - 9, ..by(carol, 5) };
    assert_eq!(cancels(&ask(&mut core, START, sooner)), [], "Bob has no more running than Carol");
    assert!(ahead(&core, 4).is_some());
}

#[test]
fn an_earlier_deadline_of_the_same_requester_takes_the_place() {
    let (mut core, _, [_, second]) = prepared();
    let later = NewRequest { deadline: DEADLINE + 9, ..by(ALICE, 4) };
    assert_eq!(cancels(&ask(&mut core, START, later)), []);
    let sooner = NewRequest { deadline: DEADLINE - 9, ..by(ALICE, 5) };
    assert_eq!(cancels(&ask(&mut core, START, sooner)), [second]);
    assert!(ahead(&core, 5).is_some());
}

/// Worker 1 is slow, and worker 2 fast: what worker 1 has prepared is overtaken twice, since there are two places.
#[test]
fn a_job_is_overtaken_at_most_as_often_as_there_are_places() {
    let mut core = core_with(Limits { max_waiting: 99, ..limits() });
    for n in 1..=2 {
        core.worker_joined(START, preparing(n, n.into(), &[]));
    }
    for n in 1..=9 {
        ask(&mut core, at(n.into()), new_request(n, n));
    }
    let (slow, _) = ahead(&core, 3).expect("ahead");
    let fast = if slow == worker(1) { worker(2) } else { worker(1) };
    let of_fast = |core: &ProofsCore| {
        let lease = *core.workers[&fast].leases.first().expect("it runs one");
        (core.leases[&lease].job, lease)
    };
    let mut ends = 0;
    while of_fast(&core).0 != job(&core, 3) {
        let (_, lease) = of_fast(&core);
        ends += 1;
        let now = at(100 * i64::from(ends));
        core.proof_stored(now, lease, ArtifactId([5; 16]), proof_blob());
        core.completed(now, fast, lease, execution(), proof_blob());
        core.checked(now, lease, Ok(()));
        assert!(ends < 9, "it starves");
    }
    assert_eq!(ends, 3, "two overtook it");
    assert_eq!(core.jobs[&job(&core, 3)].overtaken, 0);
}

#[test]
fn who_takes_no_more_jobs_gives_back_and_finishes_what_runs() {
    let limited = |prefetch| {
        let modes = vec![ProofMode::Core];
        Capabilities { prefetch, ..capabilities(modes) }
    };
    type Change = fn(&mut ProofsCore, Capabilities) -> Vec<Effect>;
    let changes: [(&str, Change); 5] = [
        ("the worker's own drain", |core, _| core.worker_draining(START, worker(1), SessionId(1))),
        ("the operator's drain", |core, _| {
            core.worker_drained(START, worker(1), SessionId(1), Some("disk".into()))
        }),
        ("a pause", |core, _| core.command(START, &Command::Pause("night".into())).1),
        ("fewer places", |core, fewer| {
            core.capabilities_changed(START, worker(1), SessionId(1), fewer)
        }),
        ("no such proofs", |core, fewer| {
            let none = Capabilities { modes: vec![ProofMode::Plonk], prefetch: 1, ..fewer };
            core.capabilities_changed(START, worker(1), SessionId(1), none)
        }),
    ];
    for (what, change) in changes {
        let (mut core, mut memory, [first, second]) = prepared();
        let effects = change(&mut core, limited(0));
        memory.save(&effects);
        assert_eq!(cancels(&effects), [second], "{what}");
        assert_eq!(outcome(&memory, second), AttemptOutcome::GivenBack, "{what}");
        assert_eq!(running(&core, 1), Some((worker(1), first)), "{what}");
        assert_eq!((ahead(&core, 2), ahead(&core, 3)), (None, None), "{what}");
        let drains = |effect: &Effect| matches!(effect, Effect::Send(_, ToWorker::Drain { .. }));
        assert!(!effects.iter().any(drains), "{what}: it still runs one");
    }
}

#[test]
fn a_cut_keeps_what_was_begun_to_prepare() {
    let (mut core, _, [first, second]) = prepared();
    core.progressed(START, worker(1), second, Progress::phase(Phase::Executing));
    core.worker_away(START, worker(1), SessionId(1));
    assert_eq!(ahead(&core, 2), Some((worker(1), second)));
    let effects = core.worker_joined(START, preparing(1, 2, &[first, second]));
    let mut welcomed = resumed(&effects).expect("welcomed");
    welcomed.sort_unstable();
    assert_eq!(welcomed, BTreeSet::from([first, second]).into_iter().collect::<Vec<_>>());
    assert_eq!(ahead(&core, 2), Some((worker(1), second)));
    // What may not have arrived is not waited for.
    let (mut core, mut memory, [_, second]) = prepared();
    memory.save(&core.worker_away(START, worker(1), SessionId(1)));
    assert_eq!((ahead(&core, 2), outcome(&memory, second)), (None, AttemptOutcome::GivenBack));
}

#[test]
fn a_restart_keeps_what_was_prepared() {
    let (_, mut memory, [first, second]) = prepared();
    let (mut core, effects) = memory.restart();
    assert_eq!(effects, []);
    assert_eq!(core.overview().waiting, 2);
    core.worker_joined(START, preparing(1, 9, &[first, second]));
    assert_eq!(ahead(&core, 2), Some((worker(1), second)));
    core.progressed(START, worker(1), second, PROVING);
    assert_eq!(running(&core, 2), Some((worker(1), second)));

    let (_, mut memory, [_, second]) = prepared();
    let (mut core, _) = memory.restart();
    memory.save(&core.sweep(at(limits().return_limit_ms + 1)));
    assert_eq!((ahead(&core, 2), outcome(&memory, second)), (None, AttemptOutcome::GivenBack));
    assert_eq!(core.jobs[&job(&core, 2)].failures.count(), 0);
    let (core, _) = memory.restart();
    assert_eq!(ahead(&core, 2), None);
    assert!(core.jobs[&job(&core, 2)].tried.is_empty(), "it was never begun");
}

#[test]
fn a_failure_while_preparing_counts_as_one_of_an_attempt() {
    let (mut core, mut memory, [_, second]) = prepared();
    let effects = core.failed(START, worker(1), second, failure(FailureClass::Guest));
    memory.save(&effects);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Unexecutable));
    assert_eq!(memory.job_of(2).attempts, 1);
    assert_eq!(outcome(&memory, second), AttemptOutcome::Failed);

    let (mut core, mut memory, [_, second]) = prepared();
    memory.save(&core.failed(START, worker(1), second, failure(FailureClass::Worker)));
    assert_eq!(core.stats[&worker(1)].strikes.len(), 1);
    assert_eq!(core.jobs[&job(&core, 2)].failures.count(), 1);
    assert_eq!(memory.job_of(2).state, JobState::Queued);
}

#[test]
fn a_worker_that_dies_while_it_prepares_is_blamed_for_both() {
    let (mut core, mut memory, [first, second]) = prepared();
    core.progressed(START, worker(1), second, Progress::phase(Phase::Executing));
    memory.save(&core.worker_joined(START, preparing(1, 2, &[])));
    for (request, lease) in [(1, first), (2, second)] {
        assert_eq!(outcome(&memory, lease), AttemptOutcome::Lost);
        assert_eq!(core.jobs[&job(&core, request)].failures.count(), 1);
    }
}

#[test]
fn a_cancelled_request_stops_the_preparation() {
    let (mut core, mut memory, [_, second]) = prepared();
    let effects = core.cancel(START, RequestId([2; 32]), &Client::Address(ALICE)).1;
    memory.save(&effects);
    assert_eq!(cancels(&effects), [second]);
    assert_eq!(outcome(&memory, second), AttemptOutcome::Cancelled);
    assert_eq!(ahead(&core, 3).map(|(to, _)| to), Some(worker(1)));
}

#[test]
fn an_operator_can_take_it_from_the_worker() {
    let (mut core, _, [_, second]) = prepared();
    let command = Command::Requeue(job(&core, 2));
    let (answer, effects) = core.command(START, &command);
    assert!(answer.expect("done").changed);
    assert_eq!(cancels(&effects), [second]);
    assert_eq!(core.jobs[&job(&core, 2)].failures.last, Some(worker(1)));
}

#[test]
fn an_attempt_that_was_overtaken_on_its_own_worker_is_not_stalled() {
    let (mut core, _, [first, second]) = {
        let (mut core, mut memory) = (core(), Memory::default());
        memory.save(&core.worker_joined(START, preparing(1, 1, &[])));
        (1..=2).for_each(|n| memory.save(&submit(&mut core, n, n)));
        let leases = [running(&core, 1), ahead(&core, 2)].map(|it| it.expect("leased").1);
        (core, memory, leases)
    };
    core.executed(START, worker(1), first, execution());
    core.progressed(START, worker(1), second, PROVING);
    let stall = limits().stall_limit_ms;
    for minute in 1..=30 {
        let progress = Progress::steps(Phase::Proving, minute);
        let now = at(i64::try_from(minute).expect("small") * MINUTE);
        core.progressed(now, worker(1), second, progress);
        assert_eq!(core.sweep(now), [], "{minute}");
    }
    core.proof_stored(at(30 * MINUTE), second, ArtifactId([5; 16]), proof_blob());
    core.completed(at(30 * MINUTE), worker(1), second, execution(), proof_blob());
    assert_eq!(core.sweep(at(30 * MINUTE + stall)), []);
    assert_eq!(cancels(&core.sweep(at(30 * MINUTE + stall + 1))), [first], "it has the slot now");
}

#[test]
fn memory_for_the_proof_is_judged_beside_what_will_run_with_it() {
    let with_slots = |slots| {
        let modes = vec![ProofMode::Core];
        let capabilities =
            Capabilities { prefetch: 1, slots, memory_bytes: 10, ..capabilities(modes) };
        let mut core = core();
        core.worker_joined(START, WorkerJoined { capabilities, ..arrival(1, 1, &[]) });
        let spec = new_request(1, 1).spec;
        core.demand.record(&spec, Backend::Cpu, 4);
        (1..=2).for_each(|n| drop(submit(&mut core, n, n)));
        let large = JobSpec { vk_hash: VkHash([9; 32]), ..spec };
        core.demand.record(&large, Backend::Cpu, 7);
        ask(&mut core, START, NewRequest { spec: large, ..new_request(3, 3) });
        core
    };
    assert!(ahead(&with_slots(2), 3).is_none(), "7 beside 4 are more than 10");
    let mut alone = with_slots(1);
    alone.cancel(START, RequestId([2; 32]), &Client::Address(ALICE)).0.expect("cancelled");
    assert!(ahead(&alone, 3).is_some(), "it runs alone");
}

/// Four workers in turn, and two requesters with a backlog: preparation is never wasted.
#[test]
fn a_steady_queue_gives_nothing_back() {
    let (mut core, mut memory) =
        (core_with(Limits { max_waiting: 99, ..limits() }), Memory::default());
    for n in 1..=4 {
        memory.save(&core.worker_joined(START, preparing(n, n.into(), &[])));
    }
    for n in 1..=40 {
        let requester = if n % 2 == 0 { ALICE } else { BOB };
        memory.save(&ask(&mut core, at(n.into()), by(requester, n)));
    }
    for turn in 0..40_u8 {
        let now = at(1000 * i64::from(turn + 1));
        let id = worker(turn % 4 + 1);
        let lease = *core.workers[&id].leases.first().expect("it has work");
        core.progressed(now, id, lease, PROVING);
        memory.save(&core.proof_stored(now, lease, ArtifactId([5; 16]), proof_blob()).1);
        memory.save(&core.completed(now, id, lease, execution(), proof_blob()));
        memory.save(&core.checked(now, lease, Ok(())));
    }
    assert!(core.jobs.is_empty());
    let outcomes: BTreeSet<&str> =
        memory.attempts.values().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, BTreeSet::from(["completed"]));
}
