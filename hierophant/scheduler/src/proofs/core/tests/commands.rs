//! What operators do, in every state of what they do it to.

use arbtest::arbtest;
use hierophant_model::commands::{ClearFilter, Command, CommandOutcome};
use hierophant_model::records::Priority;

use super::memory::Memory;
use super::words::check;
use super::*;

fn job_of(core: &ProofsCore, id: u8) -> JobId {
    core.open.job(RequestId([id; 32])).expect("open")
}

fn outcome(core: &mut ProofsCore, command: &Command) -> (CommandOutcome, Vec<Effect>) {
    let (answer, effects) = core.command(START, command);
    (answer.expect("succeeds"), effects)
}

fn refused(core: &mut ProofsCore, command: &Command) -> Rejection {
    let (answer, effects) = core.command(START, command);
    assert_eq!(effects, [], "nothing changes");
    answer.expect_err("refused")
}

fn queued() -> ClearFilter {
    ClearFilter { states: vec![JobState::Queued], ..ClearFilter::default() }
}

#[test]
fn a_cancelled_request_is_taken_from_its_worker_and_a_shared_job_goes_on() {
    let mut core = core();
    submit(&mut core, 1, 1);
    submit(&mut core, 2, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let (answer, effects) = outcome(&mut core, &Command::CancelRequest(RequestId([1; 32])));
    assert!(answer.changed && answer.now.contains("continues"), "{}", answer.now);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Cancelled));
    assert_eq!(cancels(&effects), []);
    let (_, effects) = outcome(&mut core, &Command::CancelRequest(RequestId([2; 32])));
    assert_eq!(cancels(&effects), [lease]);
    assert_eq!(job_state(&effects), Some(JobState::Cancelled));
    let again = refused(&mut core, &Command::CancelRequest(RequestId([2; 32])));
    assert_eq!(again, Rejection::NotOpen);
}

#[test]
fn a_cancelled_job_takes_all_its_requests_with_it() {
    let mut core = core();
    submit(&mut core, 1, 1);
    submit(&mut core, 2, 1);
    let job = job_of(&core, 1);
    let (answer, effects) = outcome(&mut core, &Command::CancelJob(job));
    assert_eq!(answer, CommandOutcome::changed("the job is cancelled, with 2 requests"));
    for id in [1, 2] {
        assert_eq!(request_state(&effects, id), Some(RequestState::Cancelled));
    }
    assert_eq!(refused(&mut core, &Command::CancelJob(job)), Rejection::NotOpen);
}

#[test]
fn a_requeued_job_goes_elsewhere_and_nobody_is_blamed() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    join(&mut core, 2, 2);
    let (answer, effects) = outcome(&mut core, &Command::Requeue(job));
    assert!(answer.changed);
    assert_eq!(cancels(&effects), [lease]);
    let (next, _) = given_out(&effects).expect("given out at once");
    assert_eq!(next, worker(2));
    let live = &core.jobs[&job];
    assert_eq!((live.failures.count(), live.interruptions), (0, 0));
    assert!(core.stats.values().all(|stats| stats.strikes.is_empty()));
    let late = core.completed(START, worker(1), lease, execution(), proof_blob());
    assert_eq!(job_state(&late), None, "the old attempt counts no more");
}

#[test]
fn a_requeued_job_comes_back_to_the_only_worker_once_its_slot_is_free() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    join(&mut core, 1, 1);
    let (_, effects) = outcome(&mut core, &Command::Requeue(job));
    assert_eq!((given_out(&effects), job_state(&effects)), (None, Some(JobState::Queued)));
    let waits = outcome(&mut core, &Command::Requeue(job)).0;
    assert_eq!(waits, CommandOutcome::unchanged("it is already waiting"));
    let effects = core.held_leases(START, worker(1), SessionId(1), &[]);
    assert_eq!(given_out(&effects).map(|(id, _)| id), Some(worker(1)));
}

#[test]
fn requeueing_ends_a_rest_but_not_the_check_of_a_proof() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let job = job_of(&core, 1);
    join(&mut core, 1, 1);
    join(&mut core, 2, 2);
    for n in [1, 2] {
        let lease = *core.jobs[&job].leases.first().expect("given out");
        core.failed(START, worker(n), lease, failure(FailureClass::Infrastructure));
    }
    assert!(core.jobs[&job].leases.is_empty(), "it rests");
    assert_eq!(given_out(&join(&mut core, 3, 3)), None);
    let (answer, effects) = outcome(&mut core, &Command::Requeue(job));
    assert!(answer.now.contains("delay has ended"));
    let (to, lease) = given_out(&effects).expect("given out at once");
    assert_eq!(to, worker(3), "the others rest");
    hand_in(&mut core, 3, lease);
    let checked = refused(&mut core, &Command::Requeue(job));
    assert!(matches!(checked, Rejection::Conflict(words) if words.contains("being verified")));
}

#[test]
fn a_job_that_was_set_aside_is_made_anew_with_a_whole_retry_budget() {
    let (mut core, mut memory) = (core(), Memory::default());
    for n in 1..=3 {
        memory.save(&join(&mut core, n, n.into()));
    }
    let mut effects = submit(&mut core, 1, 1);
    for n in 1..=3 {
        memory.save(&effects);
        let (to, lease) = given_out(&effects).expect("given out");
        effects = core.failed(START, to, lease, failure(FailureClass::Worker));
        core.worker_draining(START, to, SessionId(n));
    }
    memory.save(&effects);
    let failed = memory.job_of(1).clone();
    assert_eq!(failed.state, JobState::Failed);
    let missing = refused(&mut core, &Command::Requeue(failed.id));
    assert_eq!(missing, Rejection::NotOpen, "only the store knows it");
    let request = memory.requests[&RequestId([1; 32])].clone();
    let (answer, effects) = core.recreate(START, failed.clone(), vec![request]);
    memory.save(&effects);
    let recreated = answer.job.expect("another job");
    assert_ne!(recreated, failed.id);
    assert_eq!(request_state(&effects, 1), Some(RequestState::Open));
    assert_eq!(memory.job_of(1).id, recreated);
    let (mut core, _) = memory.restart();
    assert_eq!(core.jobs[&recreated].failures.count(), 0);
    let effects = core.sweep(Millis(START.0 + 3 * MINUTE));
    assert_eq!(job_state(&effects), None, "nothing gives it up");
}

#[test]
fn a_job_made_anew_joins_the_same_content_that_is_in_work() {
    let (mut core, mut memory) = (core(), Memory::default());
    memory.save(&join(&mut core, 1, 1));
    let effects = submit(&mut core, 1, 1);
    let (_, lease) = given_out(&effects).expect("given out");
    memory.save(&effects);
    memory.save(&core.input_lost(START, lease));
    let (failed, request) =
        (memory.job_of(1).clone(), memory.requests[&RequestId([1; 32])].clone());
    submit(&mut core, 2, 1);
    let running = job_of(&core, 2);
    let (answer, _) = core.recreate(START, failed, vec![request]);
    assert_eq!((answer.job, job_of(&core, 1)), (Some(running), running));
}

#[test]
fn priorities_decide_what_goes_first_and_outlive_a_restart() {
    let (mut core, mut memory) = (core(), Memory::default());
    for id in 1..=3 {
        memory.save(&submit(&mut core, id, id));
    }
    let (low, urgent) = (job_of(&core, 1), job_of(&core, 3));
    memory.save(&outcome(&mut core, &Command::Prioritise(low, Priority::Low)).1);
    memory.save(&outcome(&mut core, &Command::Prioritise(urgent, Priority::Urgent)).1);
    let again = outcome(&mut core, &Command::Prioritise(low, Priority::Low));
    assert_eq!(again, (CommandOutcome::unchanged("its priority is already low"), vec![]));
    let (mut core, _) = memory.restart();
    let why = core.why(START, urgent).expect("unfinished").reason;
    assert!(why.ends_with("; an operator has set its priority to urgent"), "{why}");
    let mut order = Vec::new();
    for n in 1..=3 {
        let (_, lease) = given_out(&join(&mut core, n, n.into())).expect("given out");
        order.push(core.leases.get(&lease).expect("held").job);
    }
    assert_eq!((order[0], order[2]), (urgent, low));
}

#[test]
fn a_pause_holds_what_waits_and_nothing_else_and_outlives_a_restart() {
    let (mut core, mut memory) = (core(), Memory::default());
    memory.save(&submit(&mut core, 1, 1));
    let effects = join(&mut core, 1, 1);
    memory.save(&effects);
    let (_, lease) = given_out(&effects).expect("given out");
    memory.save(&outcome(&mut core, &Command::Pause("new disks".into())).1);
    let again = outcome(&mut core, &Command::Pause("new disks".into()));
    assert_eq!(again, (CommandOutcome::unchanged("dispatch is already paused"), vec![]));
    let effects = submit(&mut core, 2, 2);
    memory.save(&effects);
    assert_eq!(request_state(&effects, 2), Some(RequestState::Open), "requests are accepted");
    assert_eq!(given_out(&join(&mut core, 2, 2)), None);
    let why = core.why(START, job_of(&core, 2)).expect("unfinished");
    assert_eq!((why.reason.as_str(), why.ahead), ("dispatch is paused: new disks", Some(0)));

    let (mut core, _) = memory.restart();
    let paused = core.overview().paused.expect("still paused");
    assert_eq!((paused.reason.as_str(), paused.since), ("new disks", START));
    let effects = core.worker_joined(START, arrival(1, 1, &[lease]));
    assert_eq!(resumed(&effects), Some(vec![lease]), "what is being proved goes on");
    hand_in(&mut core, 1, lease);
    assert_eq!(job_state(&core.checked(START, lease, Ok(()))), Some(JobState::Proved));
    assert_eq!(given_out(&core.held_leases(START, worker(1), SessionId(1), &[])), None);
    let (_, effects) = outcome(&mut core, &Command::Resume);
    assert!(given_out(&effects).is_some());
    assert_eq!(effects[0], Effect::Save(Change::Unset(SettingKind::Paused, String::new())));
    assert_eq!(
        outcome(&mut core, &Command::Resume).0,
        CommandOutcome::unchanged("dispatch is not paused")
    );
}

#[test]
fn a_drained_worker_leaves_when_it_holds_nothing_and_until_then_may_stay() {
    let mut core = core();
    submit(&mut core, 1, 1);
    let (_, lease) = given_out(&join(&mut core, 1, 1)).expect("given out");
    let leave = |reason: &str| Effect::Send(worker(1), ToWorker::Drain { reason: reason.into() });
    assert_eq!(core.worker_drained(START, worker(1), SessionId(1), Some("kernel".into())), []);
    submit(&mut core, 2, 2);
    let why = core.why(START, job_of(&core, 2)).expect("unfinished").reason;
    assert!(why.ends_with("or disconnected; amos is drained: kernel"), "{why}");
    assert_eq!(core.worker_drained(START, worker(1), SessionId(1), None), []);
    core.worker_drained(START, worker(1), SessionId(1), Some("kernel".into()));
    assert!(hand_in(&mut core, 1, lease).contains(&leave("kernel")), "it holds nothing now");
    assert_eq!(
        core.held_leases(START, worker(1), SessionId(1), &[]),
        [],
        "it is asked to leave once"
    );
    // It comes back, as if it had not heard it.
    let drained = WorkerJoined { drained: Some("kernel".into()), ..arrival(1, 2, &[]) };
    let effects = core.worker_joined(START, drained);
    assert!(effects.contains(&leave("kernel")) && given_out(&effects).is_none(), "{effects:?}");
}

#[test]
fn clearing_takes_what_matches_and_spares_the_requests_of_others() {
    let mut core = core();
    submit(&mut core, 1, 1);
    join(&mut core, 1, 1);
    let running = job_of(&core, 1);
    submit(&mut core, 2, 2);
    submit(&mut core, 3, 3);
    let bobs = NewRequest { requester: BOB, ..new_request(4, 3) };
    core.submit(START, bobs, StoreLookup::default()).0.expect("joins");
    let (alone, shared) = (job_of(&core, 2), job_of(&core, 3));
    let alices = ClearFilter { requester: Some(ALICE), ..queued() };
    let found = core.preview_clear(&alices);
    assert_eq!((found.jobs.len(), found.requests), (2, 2));
    assert!(!found.jobs.contains(&running), "it does not wait");
    let (cleared, effects) = core.clear(START, &mut found.jobs.clone(), alices.requester);
    assert_eq!(cleared, found);
    assert_eq!(request_state(&effects, 4), None);
    assert!(core.jobs.contains_key(&shared) && !core.jobs.contains_key(&alone));
    assert_eq!(core.clear(START, &mut vec![found.jobs[0]], None).0.requests, 0, "twice is once");
    for nothing in [
        ClearFilter { mode: Some(ProofMode::Plonk), ..queued() },
        ClearFilter { program: Some(VkHash([1; 32])), ..queued() },
        ClearFilter { created_by: Some(Millis(START.0 - 1)), ..queued() },
        ClearFilter { states: vec![JobState::Verifying], ..queued() },
    ] {
        assert_eq!(core.preview_clear(&nothing).jobs, [], "{nothing:?}");
    }
    let leased = ClearFilter { states: vec![JobState::Leased], ..queued() };
    assert_eq!(core.preview_clear(&leased).jobs, [running]);
    let (_, effects) = core.clear(START, &mut vec![running], None);
    assert_eq!(cancels(&effects).len(), 1);
}

/// For any operator commands between messages of workers: the invariants of jobs, leases and queue hold, and no
/// job is assigned while dispatch is paused or to a drained worker.
#[test]
fn nothing_that_operators_do_breaks_what_holds() {
    arbtest(|input| {
        let mut core = core_with(Limits { race_after: 1.0, max_strikes: 0, ..limits() });
        let (mut now, mut session) = (START, 0);
        let mut last = None;
        for _ in 0..input.int_in_range(0..=60)? {
            now = Millis(now.0 + input.int_in_range(0..=MINUTE)?);
            let n: u8 = input.int_in_range(1..=4)?;
            let jobs: Vec<JobId> = core.jobs.keys().copied().collect();
            let job = if jobs.is_empty() { JobId([0; 16]) } else { *input.choose(&jobs)? };
            let effects = match input.int_in_range(0..=12)? {
                0..=2 => {
                    let id = input.arbitrary()?;
                    core.submit(now, new_request(id, id % 8), StoreLookup::default()).1
                }
                3 => {
                    session += 1;
                    let held: Vec<LeaseId> = core.leases_of(worker(n)).into_iter().collect();
                    core.worker_joined(now, arrival(n, session, &held))
                }
                4 => core.sweep(now),
                5 => core.command(now, &Command::CancelJob(job)).1,
                6 => core.command(now, &Command::CancelRequest(RequestId([n; 32]))).1,
                7 | 8 => core.command(now, &Command::Requeue(job)).1,
                9 => {
                    let classes = [Priority::Urgent, Priority::Normal, Priority::Low];
                    core.command(now, &Command::Prioritise(job, *input.choose(&classes)?)).1
                }
                10 => {
                    let pause = Command::Pause(String::new());
                    core.command(now, if input.arbitrary()? { &pause } else { &Command::Resume }).1
                }
                11 => {
                    let drained = input.arbitrary::<bool>()?.then(String::new);
                    let session =
                        core.workers.get(&worker(n)).map_or(SessionId(0), |it| it.session);
                    core.worker_drained(now, worker(n), session, drained)
                }
                _ => {
                    let mut found = core.preview_clear(&queued());
                    core.clear(now, &mut found.jobs, None).1
                }
            };
            if let Some((to, lease)) = given_out(&effects) {
                assert_eq!(core.paused, None, "given out while paused");
                assert_eq!(core.workers[&to].drained, None, "given to a drained worker");
                last = Some((to, lease));
            }
            if let Some((to, lease)) = last.filter(|_| n == 1) {
                core.progressed(now, to, lease, Progress::phase(Phase::Proving));
            }
            check(&core);
            let open = core.jobs.values().map(|live| live.requests.len()).sum::<usize>();
            assert_eq!(open, core.open.len());
            assert!(core.jobs.values().all(|live| !live.requests.is_empty()));
        }
        Ok(())
    })
    .budget_ms(1000);
}
